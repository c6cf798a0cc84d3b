"""How long a cut connection is waited for, and what is said of it."""

import asyncio

import pytest

from clients.console.outages import Outage, ServerUnreachable, pause_s


def _outage(told: list[str], *, patience_s: float) -> Outage:
    return Outage(cut="Cut.", back="Back", patience_s=patience_s, tell=told.append)


def test_pauses_grow_to_two_seconds_and_no_further() -> None:
    assert [pause_s(tries) for tries in (1, 2, 3, 4, 5, 1_000)] == [0.25, 0.5, 1, 2, 2, 2]


async def test_an_outage_that_the_first_new_try_ends_is_not_mentioned() -> None:
    told: list[str] = []
    outage = _outage(told, patience_s=5)

    await outage.pause(1)
    outage.end()

    assert told == []


async def test_callers_that_fail_together_say_it_once() -> None:
    told: list[str] = []
    outage = _outage(told, patience_s=5)

    await asyncio.gather(*(outage.pause(2) for _ in range(4)))
    outage.end()

    assert len(told) == 2
    assert told[0] == "Cut. Trying again for up to 5 s …"
    assert told[1].startswith("Back after 0.")


async def test_after_its_patience_the_outage_is_final() -> None:
    outage = _outage([], patience_s=0.1)
    await outage.pause(1)

    with pytest.raises(ServerUnreachable, match="run the demo again"):
        await outage.pause(2)


async def test_an_outage_that_ended_starts_a_new_clock() -> None:
    outage = _outage([], patience_s=0.1)
    await outage.pause(1)
    outage.end()

    await outage.pause(1)
