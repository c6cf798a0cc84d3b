"""A lease by the robot's own clock: counted from when it was asked for, so no clock has to agree with another."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from clients.robot.backoff import rest

# Counts on while a laptop sleeps, and no wall clock moves it.
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)

_AFTER_A_FAILURE_S = 1.0


def lease_clock() -> float:
    """Seconds since some moment in the past."""
    return time.clock_gettime(_CLOCK)


class LeaseState(StrEnum):
    """What the API says to do with an item."""

    GO_ON = "GO_ON"
    STOP = "STOP"
    LOST = "LOST"


class LeaseEnded(Exception):
    """Nothing was submitted, and nothing may be: let go of the item."""


@dataclass(slots=True)
class Lease:
    item_id: str
    token: str
    workspace_id: str | None
    asked_at: float
    """When it was asked for, or for its last renewal, by `lease_clock`."""
    lease_s: float
    state: LeaseState = LeaseState.GO_ON

    @property
    def left_s(self) -> float:
        """By this clock at least so long; negative when it may have ended."""
        return self.asked_at + self.lease_s - lease_clock()

    @property
    def due_in_s(self) -> float:
        """Until it should be renewed."""
        return self.asked_at + self.lease_s / 3 - lease_clock()

    def check(self) -> None:
        """Raises LeaseEnded."""
        if self.state is not LeaseState.GO_ON:
            raise LeaseEnded(f"the API said {self.state} when the lease was renewed")
        if self.left_s <= 0:
            raise LeaseEnded("the lease has run out")


class LeaseSet:
    """The leases in hand; a renewal every third of their time, until nothing is held."""

    def __init__(self, renew: Callable[[Sequence[Lease], float], Awaitable[None]]) -> None:
        self._renew = renew
        """Asks once for all of them, for so many seconds at most, and writes into them what is answered."""
        self._held: dict[str, Lease] = {}
        self._changed = asyncio.Event()

    def __len__(self) -> int:
        return len(self._held)

    def hold(self, leases: Iterable[Lease]) -> None:
        self._held |= {lease.token: lease for lease in leases}
        self._changed.set()

    def drop(self, lease: Lease) -> None:
        self._held.pop(lease.token, None)

    async def keep_renewed(self) -> None:
        """Until cancelled."""
        while True:
            self._changed.clear()
            running = [lease for lease in self._held.values() if lease.state is LeaseState.GO_ON]
            if not running:
                await self._changed.wait()
                continue
            wait_s = min(lease.due_in_s for lease in running)
            if await rest(max(wait_s, 0), self._changed):
                continue
            of_one = running[0].workspace_id
            due = [lease for lease in running if lease.workspace_id == of_one]
            await self._renew(due, due[0].lease_s / 3)
            if any(lease.state is LeaseState.GO_ON and lease.due_in_s <= 0 for lease in due):
                await asyncio.sleep(_AFTER_A_FAILURE_S)
