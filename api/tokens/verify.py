"""Who sends a token: the JWT of a person, or the API key of a robot."""

import datetime as dt
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jwt

from api.settings import SettingsError
from api.tokens.issuer_keys import ALGORITHMS, IssuerKeys, PublicKey
from domain.api_keys import SECRET_START, USER_START, PresentedKey
from schema.principals import KeyPrincipal, Principal, Unauthenticated

_LEEWAY_S = 10
_LONGEST_TOKEN = 8_000
_NOT_VALID = "The token is not valid here."


@dataclass(frozen=True, slots=True)
class Tokens:
    """Verifies tokens, and makes some for developers where there is a secret.

    HS256 is for the secret alone, the asymmetric algorithms for the issuer's keys alone, each key for its own one: the
    token's header only says which of them to try.
    """

    secret: str | None
    issuer: str | None = None
    audience: str | None = None
    keys: IssuerKeys | None = None

    def make(self, user_id: str, *, lifetime: dt.timedelta) -> str:
        """Raises SettingsError where only the issuer makes tokens."""
        if self.secret is None:
            raise SettingsError("ROBOT_JOBS_JWT_SECRET: is needed to make tokens; here only the issuer's are good")
        now = dt.datetime.now(dt.UTC)
        claims = {"sub": user_id, "iat": now, "exp": now + lifetime, "iss": self.issuer, "aud": self.audience}
        present = {name: value for name, value in claims.items() if value is not None}
        return jwt.encode(present, self.secret, algorithm="HS256")

    async def principal(self, headers: Mapping[str, str]) -> Principal | KeyPrincipal | None:
        """Who sends these headers (or this `connection_init` payload), or None if there is no Authorization.

        Names are matched in lower case.  Raises Unauthenticated or ApiKeyNotValid for a token that is not good, and
        AuthenticationUnavailable when the issuer's keys would be needed and cannot be had.
        """
        authorization = headers.get("authorization")
        if authorization is None:
            return None
        scheme, _, token = authorization.partition(" ")
        token = token.strip()
        if scheme.lower() != "bearer" or not token or len(token) > _LONGEST_TOKEN:
            raise Unauthenticated("The Authorization header must be: Bearer <token>.")
        workspace_id = _workspace_id(headers.get("x-workspace-id"))
        if token.startswith(SECRET_START):
            return KeyPrincipal(PresentedKey.of(token), workspace_id)
        user_id, expires_at = _subject(await self._verify(token))
        principal = Principal(user_id, expires_at, workspace_id)
        principal.check()  # the leeway is for clocks that are ahead at the issuer, not for the end of a token
        return principal

    async def _verify(self, token: str) -> dict[str, Any]:
        """The claims of a good token."""
        try:
            key, algorithm = await self._key_for(jwt.get_unverified_header(token))
            return jwt.decode(
                token,
                key,
                algorithms=[algorithm],
                issuer=self.issuer,
                audience=self.audience,
                leeway=_LEEWAY_S,
                options={"require": ["sub", "exp"], "verify_aud": self.audience is not None},
            )
        except jwt.ExpiredSignatureError:
            raise Unauthenticated("The token has expired; get a new one and try again.") from None
        except (jwt.PyJWTError, UnicodeError, ValueError, RecursionError):
            raise Unauthenticated(_NOT_VALID) from None

    async def _key_for(self, header: dict[str, Any]) -> tuple[str | PublicKey, str]:
        match header:
            case {"alg": "HS256"} if self.secret is not None:
                return self.secret, "HS256"
            case {"alg": str(algorithm)} if self.keys is not None and algorithm in ALGORITHMS:
                found = await self.keys.find(header.get("kid"), algorithm)
                if found is not None:
                    return found, algorithm
        raise Unauthenticated(_NOT_VALID)


def _subject(claims: dict[str, Any]) -> tuple[str, dt.datetime]:
    user_id = claims["sub"]
    if not isinstance(user_id, str) or not 1 <= len(user_id) <= 255 or "\x00" in user_id or not user_id.isprintable():
        raise Unauthenticated("The token names no user.")
    if user_id.startswith(USER_START):
        raise Unauthenticated(f"The token's subject begins with {USER_START}, which is for API keys alone.")
    try:
        return user_id, dt.datetime.fromtimestamp(float(claims["exp"]), dt.UTC)
    except (ValueError, OverflowError, OSError, TypeError):
        raise Unauthenticated(_NOT_VALID) from None


def _workspace_id(text: str | None) -> uuid.UUID | None:
    """What is no id is nobody's workspace: the answer is the same as for one of others."""
    if not text:
        return None
    try:
        return uuid.UUID(text)
    except ValueError:
        return uuid.UUID(int=0)
