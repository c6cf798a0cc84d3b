"""The carrier's portal, open for one account at a time: logins are few, and never tried again after a refusal."""

import asyncio
import hashlib
from collections.abc import Awaitable
from typing import TypeVar

from clients.robot.api import Credentials
from clients.robot.carrier import Account, Carrier, CarrierSettings, LoginRefused, PageEvidence
from clients.robot.journal import Journal
from clients.robot.logs import Log, Secrets

_CLOSING_TIMEOUT_S = 20.0
_EVIDENCE_TIMEOUT_S = 15.0
_EVIDENCE_AT_MOST = 2_000_000

T = TypeVar("T")


class Desk:
    def __init__(
        self, carrier_class: type[Carrier], settings: CarrierSettings, journal: Journal, secrets: Secrets, log: Log
    ) -> None:
        self._carrier_class, self._settings, self._journal = carrier_class, settings, journal
        self._secrets, self._log = secrets, log
        self._account: Account | None = None
        self._carrier: Carrier | None = None
        self._is_open = False
        self._refused: dict[str, tuple[str, bool]] = {}
        """By account the login that was refused, and whether the API knows."""

    @property
    def account(self) -> Account:
        if self._account is None:
            raise RuntimeError("the desk is taken for an account first")
        return self._account

    async def take(self, workspace_id: str | None, credentials: Credentials, *, is_probe: bool) -> None:
        """For that account.  A refused login is tried again only if the API knows of it and asks for a probe: then
        somebody has resumed the account.  Raises LoginRefused.
        """
        self._secrets.add(credentials.password)
        account = Account(
            f"{self._carrier_class.name}-{workspace_id or 'own'}", credentials.username, credentials.password
        )
        fingerprint, is_known = self._refused.get(account.name, (None, False))
        if fingerprint == _fingerprint(account):
            if not (is_known and is_probe):
                raise LoginRefused("The portal has refused this login before; it is not tried again.")
            self._log.info("login_is_tried_again", account=account.name)
        self._refused.pop(account.name, None)
        if account != self._account:
            await self.leave()
            self._account = account

    async def carrier(self) -> Carrier:
        """Logged in.  Raises LoginRefused, PortalUnavailable, SessionLost, TimeoutError."""
        if self._carrier is None:
            self._carrier = self._carrier_class(self._settings, self.account)
        if not self._is_open:
            await self._open(self._carrier, self._journal.kept_session(self.account.name, self.account.username))
        return self._carrier

    async def log_in_again(self) -> Carrier:
        """After the portal has forgotten the session.  Raises as `carrier`."""
        self._is_open = False
        self._journal.keep_session(self.account.name, self.account.username, None)
        return await self.carrier()

    async def _open(self, carrier: Carrier, kept: object) -> None:
        try:
            session = await self.limited(carrier.open_session(kept))
        except LoginRefused:
            self._journal.keep_session(self.account.name, self.account.username, None)
            self._refused[self.account.name] = (_fingerprint(self.account), False)
            await self.leave()
            raise
        self._is_open = True
        self._journal.keep_session(self.account.name, self.account.username, session)

    def refusal_is_known(self) -> None:
        """The API has heard that the login was refused."""
        for account, (fingerprint, _) in self._refused.items():
            self._refused[account] = (fingerprint, True)

    async def limited(self, step: Awaitable[T]) -> T:
        """A step of the carrier, which has limits of its own; this one is for a step that hangs all the same."""
        async with asyncio.timeout(self._settings.answer_timeout_s * 6):
            return await step

    async def limited_result(self, step: Awaitable[T]) -> T:
        async with asyncio.timeout(self._settings.result_timeout_s + self._settings.answer_timeout_s):
            return await step

    async def evidence(self) -> PageEvidence | None:
        """What the portal shows, without the password; None when there is nothing, or too much."""
        if self._carrier is None:
            return None
        try:
            async with asyncio.timeout(_EVIDENCE_TIMEOUT_S):
                page = await self._carrier.evidence()
        except Exception as error:  # evidence is welcome, and no reason to fail
            self._log.warning("no_evidence", error=f"{type(error).__name__}: {error}")
            return None
        if page is None or len(page.content) > _EVIDENCE_AT_MOST:
            return None
        if page.content_type.startswith("image/"):
            return page
        return PageEvidence(page.content_type, self._secrets.hide_bytes(page.content))

    async def leave(self) -> None:
        """Close the connection or the browser; the session stays good, and is kept."""
        carrier, self._carrier, self._is_open = self._carrier, None, False
        if carrier is None:
            return
        try:
            async with asyncio.timeout(_CLOSING_TIMEOUT_S):
                await carrier.close()
        except Exception as error:  # it is let go of anyway
            self._log.warning("carrier_did_not_close", error=f"{type(error).__name__}: {error}")


def _fingerprint(account: Account) -> str:
    """Tells two logins apart; it stays in this process."""
    return hashlib.sha256(f"{account.username}\0{account.password}".encode()).hexdigest()
