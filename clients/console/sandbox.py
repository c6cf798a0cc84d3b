"""The sandbox portal as the demo uses it: what it is told to do wrong, and what it has counted."""

from collections.abc import Mapping, Sequence
from typing import Any, Self

import httpx

from clients.console.answers import JobWithItems

ANSWERS_WITHIN_S = 10.0


class PortalUnusable(Exception):
    """It is not there, or is none.  One line for people."""


class ParcelsDiffer(Exception):
    """What the portal has counted is not what the job says.  One line for people."""


class SandboxPortal:
    """Use it as `async with`."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        self._http = httpx.AsyncClient(base_url=self.url, timeout=ANSWERS_WITHIN_S, trust_env=False)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    async def order_faults(self, faults: Sequence[Mapping[str, Any]]) -> None:
        """Raises PortalUnusable."""
        if faults:
            await self._ask("POST", "/sandbox/faults", json=list(faults))

    async def lift_faults(self) -> None:
        """All of them, whoever has ordered them.  Raises PortalUnusable."""
        await self._ask("DELETE", "/sandbox/faults")

    async def count_parcels(self) -> dict[str, list[str]]:
        """The numbers of each order's parcels, by its reference.  Raises PortalUnusable."""
        counted: dict[str, list[str]] = {}
        for parcel in (await self._ask("GET", "/sandbox/parcels"))["parcels"]:
            counted.setdefault(parcel["reference"], []).append(f"{parcel['number']}")
        return counted

    async def _ask(self, method: str, path: str, **request: Any) -> dict[str, Any]:
        try:
            answer = await self._http.request(method, path, **request)
            answered = answer.raise_for_status().json()
        except (httpx.HTTPError, ValueError) as error:
            why = str(error).partition("\n")[0] or type(error).__name__
            raise PortalUnusable(f"No sandbox portal answers at {self.url}: {why}") from None
        return answered if isinstance(answered, dict) else {}


def check_parcels(read: JobWithItems, counted: Mapping[str, Sequence[str]]) -> int:
    """How many parcels the job's orders have: one for each success, under its number, and no other.

    Raises ParcelsDiffer.
    """
    parcels = 0
    for item in read.items:
        reference = read.references[item.id]
        numbers = list(counted.get(reference, ()))
        expected = [item.tracking_number] if item.status == "SUCCESS" else []
        if numbers != expected:
            raise ParcelsDiffer(
                f"Order {reference} is {item.status} with number {item.tracking_number or 'none'}, "
                f"but the portal has counted {len(numbers)} parcels of it: {', '.join(numbers) or 'none'}."
            )
        parcels += len(numbers)
    return parcels
