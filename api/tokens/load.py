"""Tokens as the settings have them, and the secret that is made where none is set."""

import secrets

from api.kept_secrets import kept_secret
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
        secret = kept_secret(settings.home / "jwt-secret", lambda: secrets.token_urlsafe(48))
        if len(secret) < SHORTEST_SECRET:
            raise SettingsError(f"ROBOT_JOBS_HOME: {settings.home / 'jwt-secret'} holds no secret; remove the file")
    elif keys is not None:
        secret = None
    else:
        raise SettingsError(
            "ROBOT_JOBS_JWT_SECRET: is required with DATABASE_URL, 32 characters or more; or ROBOT_JOBS_JWKS_URL"
        )
    return Tokens(secret, settings.jwt_issuer, settings.jwt_audience, keys)
