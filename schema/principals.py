"""Who asks: a person with a verified token, or a robot with an API key."""

import datetime as dt
import uuid
from dataclasses import dataclass

from domain.api_keys import PresentedKey
from domain.errors import DomainError


class Unauthenticated(DomainError):
    code = "UNAUTHENTICATED"


class AuthenticationUnavailable(DomainError):
    """The token may be good, but what would tell cannot be reached."""

    code = "SERVICE_UNAVAILABLE"


@dataclass(frozen=True, slots=True)
class Principal:
    """The subject of a verified token, good until it expires (UTC), and the workspace asked for."""

    user_id: str
    expires_at: dt.datetime
    workspace_id: uuid.UUID | None

    @property
    def identity(self) -> str:
        """Tells who it is from all others."""
        return self.user_id

    def check(self) -> None:
        """Raises Unauthenticated once the token has expired: it is asked at each transaction, on open sockets too."""
        if dt.datetime.now(dt.UTC) >= self.expires_at:
            raise Unauthenticated("The token has expired; get a new one and try again.")


@dataclass(frozen=True, slots=True)
class KeyPrincipal:
    """A robot with an API key, and the workspace asked for.  Whether the key is good, each transaction decides."""

    presented: PresentedKey
    workspace_id: uuid.UUID | None

    @property
    def identity(self) -> str:
        """As a person's; nobody can pretend to have it."""
        return self.presented.sha256.hex()

    def check(self) -> None:
        """The database's clock decides, at each transaction."""
