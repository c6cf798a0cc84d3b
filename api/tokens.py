"""Tokens of people: JWTs signed with HS256."""

import datetime as dt
import secrets
import uuid
from collections.abc import Mapping
from dataclasses import dataclass

import jwt

from api.kept_secrets import kept_secret
from api.settings import SHORTEST_SECRET, Settings, SettingsError
from schema.context import Principal, Unauthenticated

_LEEWAY_S = 10
_LONGEST_TOKEN = 8_000


@dataclass(frozen=True, slots=True)
class Tokens:
    """Makes and verifies tokens with one secret."""

    secret: str
    issuer: str | None = None
    audience: str | None = None

    def make(self, user_id: str, *, lifetime: dt.timedelta) -> str:
        now = dt.datetime.now(dt.UTC)
        claims = {"sub": user_id, "iat": now, "exp": now + lifetime, "iss": self.issuer, "aud": self.audience}
        present = {name: value for name, value in claims.items() if value is not None}
        return jwt.encode(present, self.secret, algorithm="HS256")

    def principal(self, headers: Mapping[str, str]) -> Principal | None:
        """Who sends these headers (or this `connection_init` payload), or None if there is no Authorization.

        Names are matched in lower case.  Raises Unauthenticated for a token that is not good.
        """
        authorization = headers.get("authorization")
        if authorization is None:
            return None
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer" or not token.strip() or len(token) > _LONGEST_TOKEN:
            raise Unauthenticated("The Authorization header must be: Bearer <token>.")
        user_id, expires_at = self._verify(token.strip())
        principal = Principal(user_id, expires_at, _workspace_id(headers.get("x-workspace-id")))
        principal.check()  # the leeway is for clocks that are ahead at the issuer, not for the end of a token
        return principal

    def _verify(self, token: str) -> tuple[str, dt.datetime]:
        try:
            claims = jwt.decode(
                token,
                self.secret,
                algorithms=["HS256"],
                issuer=self.issuer,
                audience=self.audience,
                leeway=_LEEWAY_S,
                options={"require": ["sub", "exp"], "verify_aud": self.audience is not None},
            )
        except jwt.ExpiredSignatureError:
            raise Unauthenticated("The token has expired; get a new one and try again.") from None
        except (jwt.InvalidTokenError, UnicodeError, ValueError):
            raise Unauthenticated("The token is not valid here.") from None
        user_id = claims["sub"]
        if (
            not isinstance(user_id, str)
            or not 1 <= len(user_id) <= 255
            or "\x00" in user_id
            or not user_id.isprintable()
        ):
            raise Unauthenticated("The token names no user.")
        try:
            expires_at = dt.datetime.fromtimestamp(float(claims["exp"]), dt.UTC)
        except (ValueError, OverflowError, OSError, TypeError):
            raise Unauthenticated("The token is not valid here.") from None
        return user_id, expires_at


def _workspace_id(text: str | None) -> uuid.UUID | None:
    """What is no id is nobody's workspace: the answer is the same as for one of others."""
    if not text:
        return None
    try:
        return uuid.UUID(text)
    except ValueError:
        return uuid.UUID(int=0)


def load_tokens(settings: Settings, *, may_make_secret: bool) -> Tokens:
    """With the secret of the settings, or else with one that is made and kept in the home.  Raises SettingsError."""
    if settings.jwt_secret is not None:
        secret = settings.jwt_secret.get_secret_value()
    elif may_make_secret:
        secret = kept_secret(settings.home / "jwt-secret", lambda: secrets.token_urlsafe(48))
        if len(secret) < SHORTEST_SECRET:
            raise SettingsError(f"ROBOT_JOBS_HOME: {settings.home / 'jwt-secret'} holds no secret; remove the file")
    else:
        raise SettingsError("ROBOT_JOBS_JWT_SECRET: is required with DATABASE_URL; 32 characters or more")
    return Tokens(secret, settings.jwt_issuer, settings.jwt_audience)
