"""How long to wait before the next try."""

import asyncio
import random


def pause_s(tries: int, *, first_s: float = 0.25, longest_s: float = 15.0) -> float:
    """After so many tries in a row have failed; robots that failed together do not come back together."""
    return min(first_s * 2.0 ** min(tries - 1, 30), longest_s) * random.uniform(0.5, 1.0)  # noqa: S311 -- no secret


async def rest(seconds: float, woken_by: asyncio.Event) -> bool:
    """Wait, but no longer than until the event is set; whether it is."""
    try:
        async with asyncio.timeout(seconds):
            await woken_by.wait()
    except TimeoutError:
        return False
    return True


async def first_of(*events: asyncio.Event) -> None:
    """Wait until one of them is set."""
    waiting = [asyncio.ensure_future(event.wait()) for event in events]
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for each in waiting:
            each.cancel()
