"""The portal that a carrier is tried at, as whoever looks at it from behind sees it: /sandbox, over HTTP."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from clients.robot.sandbox_portal.server import running_portal
from clients.robot.sandbox_portal.settings import PortalSettings

ANSWERS_WITHIN_S = 30.0
FAST = PortalSettings(dialog_delay_s=(0.02, 0.05), suggestions_delay_s=0.02, guide_after_s=0)


@dataclass(frozen=True, slots=True)
class PortalUnderTest:
    url: str
    http: httpx.AsyncClient

    async def order_faults(self, *faults: dict[str, Any]) -> None:
        await self._send("POST", "/sandbox/faults", list(faults))

    async def lift_faults(self) -> None:
        await self._send("DELETE", "/sandbox/faults")

    async def add_parcels(self, account: str, count: int, *, step: int = 1) -> None:
        """That many by hand, with every `step`th number."""
        numbers = range(step, step * count + 1, step)
        await self._send("POST", "/sandbox/parcels", [{"account": account, "number": number} for number in numbers])

    async def set_account(self, account: str, **changes: Any) -> None:
        await self._send("POST", "/sandbox/accounts", {"name": account} | changes)

    async def end_session(self, account: str) -> None:
        await self.set_account(account, is_locked=True)
        await self.set_account(account, is_locked=False)

    async def account(self, name: str) -> Any:
        accounts = (await self._send("GET", "/sandbox/accounts"))["accounts"]
        return next((each for each in accounts if each["name"] == name), {"logins": 0, "refused_logins": 0})

    async def parcels(self, reference: str) -> list[Any]:
        """Every parcel of that order, whoever's it is."""
        parcels: list[Any] = (await self._send("GET", "/sandbox/parcels", reference=reference))["parcels"]
        return parcels

    async def submissions(self) -> dict[str, int]:
        """How often any button was pressed, by the end of it."""
        counts: dict[str, int] = {}
        for order in (await self._send("GET", "/sandbox/orders"))["orders"]:
            for outcome, times in order["submissions"].items():
                counts[outcome] = counts.get(outcome, 0) + times
        return counts

    async def _send(self, method: str, path: str, body: object = None, **params: str) -> Any:
        answer = await self.http.request(method, path, json=body, params=params)
        assert answer.is_success, answer.text
        return answer.json()


@asynccontextmanager
async def portal_under_test(url: str | None) -> AsyncIterator[PortalUnderTest]:
    """That one, which forgets everything; or one of its own, fast, in this process."""
    if url is None:
        async with running_portal(FAST) as portal, portal_under_test(portal.url) as seen:
            yield seen
        return
    async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=ANSWERS_WITHIN_S) as http:
        (await http.post("/sandbox/reset", json={})).raise_for_status()
        yield PortalUnderTest(url, http)
