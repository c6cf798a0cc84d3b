"""Tokens as the settings have them, and the secret that is made where none is set."""

import os
import secrets
import uuid
from pathlib import Path

from api.settings import SHORTEST_SECRET, Settings, SettingsError
from api.tokens.issuer_keys import IssuerKeys
from api.tokens.verify import Tokens


def load_tokens(settings: Settings, *, may_make_secret: bool) -> Tokens:
    """With the secret and the JWKS address of the settings, or else with a secret made and kept in the home.

    `may_make_secret`: also beside a JWKS address, for developers' tokens.  Raises SettingsError.
    """
    keys = IssuerKeys(settings.jwks_url) if settings.jwks_url is not None else None
    if keys is not None and settings.jwt_issuer is None:
        # Many issuers publish the same keys for all their customers: only the name tells one from another.
        raise SettingsError("ROBOT_JOBS_JWT_ISSUER: is required with ROBOT_JOBS_JWKS_URL; what tokens carry as `iss`")
    secret: str | None
    if settings.jwt_secret is not None:
        secret = settings.jwt_secret.get_secret_value()
    elif may_make_secret:
        secret = _kept_secret(settings.home / "jwt-secret")
        if len(secret) < SHORTEST_SECRET:
            raise SettingsError(f"ROBOT_JOBS_HOME: {settings.home / 'jwt-secret'} holds no secret; remove the file")
    elif keys is not None:
        secret = None
    else:
        raise SettingsError(
            "ROBOT_JOBS_JWT_SECRET: is required with DATABASE_URL, 32 characters or more; or ROBOT_JOBS_JWKS_URL"
        )
    return Tokens(secret, settings.jwt_issuer, settings.jwt_audience, keys)


def _kept_secret(path: Path) -> str:
    """Made once, readable by its owner only; two processes at once keep the same one."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            _make_secret(path)
        return path.read_text().strip()
    except (OSError, UnicodeError) as error:
        raise SettingsError(f"ROBOT_JOBS_HOME: cannot keep a secret in {path.parent}: {error}") from error


def _make_secret(path: Path) -> None:
    fresh = path.with_name(f"{path.name}.{uuid.uuid4().hex}")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(secrets.token_urlsafe(48))
        file.flush()
        os.fsync(file.fileno())  # what is linked must be whole after a power cut, too
    try:
        os.link(fresh, path)  # whole or not at all, and never over one that is there
    except FileExistsError:
        pass
    finally:
        fresh.unlink()
