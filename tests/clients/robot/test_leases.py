"""Leases by the robot's own clock: renewed in time, over in time, whatever the wall clock says."""

import asyncio
from collections.abc import Sequence

import pytest

from clients.robot.leases import Lease, LeaseEnded, LeaseSet, LeaseState, lease_clock


def lease(name: str = "a", *, lease_s: float = 30, asked_ago_s: float = 0, workspace: str = "w") -> Lease:
    return Lease("item", name, workspace, lease_clock() - asked_ago_s, lease_s)


def test_a_lease_is_counted_from_when_it_was_asked_for() -> None:
    lease(lease_s=30, asked_ago_s=29).check()

    with pytest.raises(LeaseEnded, match="has run out"):
        lease(lease_s=30, asked_ago_s=30).check()


@pytest.mark.parametrize("state", [LeaseState.STOP, LeaseState.LOST])
def test_a_lease_that_the_api_has_ended_is_over(state: LeaseState) -> None:
    ended = lease()
    ended.state = state

    with pytest.raises(LeaseEnded, match=state):
        ended.check()


async def test_leases_are_renewed_together_every_third_of_their_time() -> None:
    renewed: list[list[str]] = []
    is_enough = asyncio.Event()

    async def renew(leases: Sequence[Lease], within_s: float) -> None:
        assert within_s == pytest.approx(0.1)
        renewed.append([each.token for each in leases])
        for each in leases:
            each.asked_at = lease_clock()
        if len(renewed) == 3:
            is_enough.set()

    held, since = LeaseSet(renew), lease_clock()
    renewing = asyncio.create_task(held.keep_renewed())
    held.hold([lease("a", lease_s=0.3), lease("b", lease_s=0.3)])
    async with asyncio.timeout(10):
        await is_enough.wait()
    renewing.cancel()

    assert renewed == [["a", "b"]] * 3
    assert lease_clock() - since >= 0.3


async def test_what_is_let_go_of_is_not_renewed() -> None:
    renewed: list[str] = []
    has_renewed = asyncio.Event()

    async def renew(leases: Sequence[Lease], _: float) -> None:
        renewed.extend(each.token for each in leases)
        for each in leases:
            each.state = LeaseState.STOP
        has_renewed.set()

    held, dropped, stopped = LeaseSet(renew), lease("a", asked_ago_s=20), lease("b", asked_ago_s=20)
    held.hold([dropped, stopped])
    held.drop(dropped)
    renewing = asyncio.create_task(held.keep_renewed())
    async with asyncio.timeout(10):
        await has_renewed.wait()
    renewing.cancel()

    assert renewed == ["b"]
    assert stopped.state is LeaseState.STOP
