"""One round of a stream's benchmark: subscribers connect, items are closed at a steady pace, all is checked."""

import asyncio
import datetime as dt
import json
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.benchmarks.processes import Process, Work, work_of
from tests.benchmarks.sources import Closed, Source
from tests.benchmarks.subscribers import Crowd, Heard, Report, Sample

QUIET_SHARE = 0.05  # of a processor: a server that does less is at rest
AT_REST_WITHIN_S = 20.0
LOOKED_FOR_S = 0.25
IDLE_FOR_S = 1.0
FIRST_HEARD_WITHIN_S = 10.0
TOLD_WITHIN_S = 5.0  # after the last commit; who is not done by then is overloaded
CAUGHT_UP_WITHIN_S = 15.0
COUNTED_EVERY_S = 0.05
WARM_UPS_AT_MOST = 3


class Overloaded(Exception):
    """The server did not get as far as to be measured."""


@dataclass(frozen=True, slots=True)
class Pace:
    """What one round asks of a server."""

    subscribers: int
    rate: float
    """Completions a second."""
    seconds: float
    stalled: int = 0
    """Further subscribers, who do not read."""

    @property
    def completions(self) -> int:
        return math.ceil(self.rate * self.seconds)


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """What was measured."""

    pace: Pace
    elapsed_s: float
    """From the first commit until all was told, or the time was over."""
    closed_per_s: float
    """The pace that was really kept: a busy machine commits late."""
    deliveries: int
    latencies_ns: list[int] = field(repr=False)
    """From commit to receipt, of what was delivered; sorted."""
    work: Work
    crowd_share: float
    """Of a processor that the subscribers took; near to 1 it is they who are late."""
    others_share: float
    """Of the server's processor that somebody else took: the more, the less is said about latencies."""
    idle_share: float
    """Of a processor, while nothing happened."""
    memory_before: int
    """Bytes; before the first subscriber."""
    memory_idle: int
    """With all subscribers, before the first completion."""
    memory_after: int
    exact: int
    """Subscribers who heard each completion exactly once, in order, as far as they heard any."""
    caught_up: bool
    """Whether the stalled ones, when they read again, were told all."""
    problems: list[str]

    @property
    def delivered(self) -> float:
        return self.deliveries / (self.pace.subscribers * self.pace.completions)

    @property
    def is_complete(self) -> bool:
        return self.deliveries == self.pace.subscribers * self.pace.completions

    @property
    def deliveries_per_s(self) -> float:
        return self.deliveries / self.elapsed_s

    @property
    def cpu_us(self) -> float:
        return self._each(self.work.total_s)

    @property
    def user_us(self) -> float:
        return self._each(self.work.user_s)

    @property
    def system_us(self) -> float:
        return self._each(self.work.system_s)

    @property
    def kb_per_subscriber(self) -> float:
        return (self.memory_idle - self.memory_before) / 1_000 / self.pace.subscribers

    def latency_ms(self, share: float) -> float:
        """What that share of the deliveries did not exceed."""
        if not self.latencies_ns:
            return math.nan
        return self.latencies_ns[min(len(self.latencies_ns) - 1, int(share * len(self.latencies_ns)))] / 1e6

    def _each(self, seconds: float) -> float:
        return seconds * 1e6 / self.deliveries if self.deliveries else math.nan


async def measure(server: Process, crowd: Crowd, source: Source, pace: Pace) -> Round:
    """Takes a bounded time, however slow the server is.  Raises Overloaded."""
    try:
        return await _measure(server, crowd, source, pace)
    except Overloaded:
        await crowd.hand_in()
        raise


async def _measure(server: Process, crowd: Crowd, source: Source, pace: Pace) -> Round:
    await _at_rest(server)
    memory_before = server.memory_bytes()
    numbers = range(pace.subscribers + pace.stalled)
    subscriptions = [source.subscription(number) for number in numbers]
    await crowd.connect(subscriptions[: pace.subscribers])
    await crowd.connect(subscriptions[pace.subscribers :], is_stalled=True)
    await _at_rest(server)
    memory_idle = server.memory_bytes()

    warm_ups = await _warm_up(crowd, source)
    await _at_rest(server)
    idle_share = await _share(server, IDLE_FOR_S)
    heard_before = (await crowd.count()).received

    server.start_sampling()
    crowd_before, all_before_s = work_of(crowd.pid), server.processor_work_s()
    work_before, began_at = server.work(), time.monotonic()
    closed = await _close_at(pace, source, began_at)
    closed_per_s = len(closed) / max(pace.seconds, time.monotonic() - began_at)
    to_hear = heard_before + pace.subscribers * pace.completions
    heard = await _heard(crowd, to_hear, within_s=TOLD_WITHIN_S)
    work, elapsed_s = server.work() - work_before, time.monotonic() - began_at
    crowd_share = (work_of(crowd.pid) - crowd_before).total_s / elapsed_s
    others_s = server.processor_work_s() - all_before_s - work.total_s
    server.stop_sampling()
    memory_after = server.memory_bytes()

    caught_up = heard >= to_hear
    if pace.stalled and caught_up:
        await crowd.read_on()
        to_hear += pace.stalled * (len(warm_ups) + len(closed))
        caught_up = await _heard(crowd, to_hear, within_s=CAUGHT_UP_WITHIN_S) >= to_hear
    report = await crowd.hand_in()
    exact, problems = check(report, [*warm_ups, *closed], [source.hears_all(number) for number in numbers])
    latencies_ns = _latencies(
        report.heard[: pace.subscribers],
        {each.seq: each.at_ns for each in closed},
        until_ns=int((began_at + elapsed_s) * 1e9),
    )
    return Round(
        pace=pace,
        elapsed_s=elapsed_s,
        closed_per_s=closed_per_s,
        deliveries=heard - heard_before,
        latencies_ns=latencies_ns,
        work=work,
        crowd_share=crowd_share,
        others_share=max(0.0, others_s) / elapsed_s,
        idle_share=idle_share,
        memory_before=memory_before,
        memory_idle=memory_idle,
        memory_after=memory_after,
        exact=exact,
        caught_up=caught_up,
        problems=problems,
    )


async def _warm_up(crowd: Crowd, source: Source) -> list[Closed]:
    """Everybody has heard something then, and so is known to follow."""
    closed = []
    for _ in range(WARM_UPS_AT_MOST):
        closed.append(await source.close_one())
        until = time.monotonic() + FIRST_HEARD_WITHIN_S
        while time.monotonic() < until:
            count = await crowd.count()
            if count.least:
                return closed
            if count.problems:
                break
            await asyncio.sleep(COUNTED_EVERY_S)
    count = await crowd.count()
    raise Overloaded(f"not every subscriber has heard a first message: {count.received:,} came; {count.problems[:3]}")


async def _close_at(pace: Pace, source: Source, began_at: float) -> list[Closed]:
    closed = []
    for number in range(pace.completions):
        await asyncio.sleep(began_at + number / pace.rate - time.monotonic())
        closed.append(await source.close_one())
    return closed


async def _heard(crowd: Crowd, to_hear: int, *, within_s: float) -> int:
    """How many messages were received, once it is that many or the time is over."""
    until = time.monotonic() + within_s
    while True:
        received = (await crowd.count()).received
        if received >= to_hear or time.monotonic() >= until:
            return received
        await asyncio.sleep(COUNTED_EVERY_S)


async def _at_rest(server: Process) -> None:
    until = time.monotonic() + AT_REST_WITHIN_S
    while await _share(server, LOOKED_FOR_S) > QUIET_SHARE:
        if time.monotonic() >= until:
            raise Overloaded(f"it was not at rest within {AT_REST_WITHIN_S:g} s")


async def _share(server: Process, seconds: float) -> float:
    """Of a processor that the server takes now."""
    before, began_at = server.work(), time.monotonic()
    await asyncio.sleep(seconds)
    return (server.work() - before).total_s / (time.monotonic() - began_at)


def _latencies(heard: Sequence[Heard], committed_ns: dict[int, int], *, until_ns: int) -> list[int]:
    return sorted(
        at_ns - committed_ns[seq]
        for each in heard
        for seq, at_ns in zip(each.seqs, each.times_ns, strict=True)
        if seq in committed_ns and at_ns <= until_ns
    )


# ---------------------------------------------------------------------------------------------- is it right?


def check(report: Report, closed: Sequence[Closed], hears_all: Sequence[bool]) -> tuple[int, list[str]]:
    """How many heard each completion exactly once and in order, as far as they heard any; and what is wrong."""
    problems = list(report.problems)
    expected = [each.seq for each in closed]
    exact = 0
    for number, (heard, is_told_all) in enumerate(zip(report.heard, hears_all, strict=True)):
        first = 0 if is_told_all or not heard.seqs else _index(expected, heard.seqs[0])
        if list(heard.seqs) == expected[first : first + len(heard.seqs)]:
            exact += 1
        else:
            problems.append(f"subscriber {number} heard {list(heard.seqs)[:20]}… of {expected[:20]}…")
    told = {each.seq: each.told for each in closed}
    problems += [f"told {sample.message!r}" for sample in report.samples if not _is_right(sample, told.get(sample.seq))]
    return exact, problems


def _index(expected: Sequence[int], seq: int) -> int:
    return expected.index(seq) if seq in expected else len(expected)


def _is_right(sample: Sample, told: dict[str, Any] | None) -> bool:
    message = json.loads(sample.message)
    if told is None or (message["id"], message["type"]) != (sample.operation_id, "next"):
        return False
    if message["payload"].keys() != {"data"}:
        return False
    found = message["payload"]["data"]["robotJobItemCompleted"]
    item = dict(told["item"])
    if "order" not in found["item"]:
        del item["order"]
    at, expected_at = (dt.datetime.fromisoformat(each.pop("completedAt")) for each in (found["item"], item))
    found.pop("cursor")  # which was read already
    return at == expected_at and found == {"item": item, "job": told["job"]}
