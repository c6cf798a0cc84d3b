"""Streams: many WebSocket subscribers of one job, beside a plain Strawberry subscription under the same load.

The server has a processor to itself where there are two; PostgreSQL, this process and that of the subscribers share
the other.  Items are closed in transactions of the domain in this process, which tells the server by NOTIFY as another
replica would: what they cost the server is not counted.  The plain server needs no database: it is told of each item
through a pipe, and that moment counts as the commit.
"""

import argparse
import json
import math
import statistics
import tempfile
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Literal, Self

from rich.console import Console
from rich.table import Table
from sqlalchemy.ext.asyncio import create_async_engine

from api.database import DatabaseUrls
from api.wakeups import PostgresWakeUps
from tests.benchmarks.database import fresh_database
from tests.benchmarks.processes import Process, allow_open_files, free_port, processors_apart, server
from tests.benchmarks.rounds import WARM_UPS_AT_MOST, Overloaded, Pace, Round, measure
from tests.benchmarks.sampling import Shares
from tests.benchmarks.sources import PipedSource, Workspace, add_viewers
from tests.benchmarks.subscribers import Crowd, crowd
from tests.servers import environment, settings_for
from tests.tenants import make_tenant

Phase = Literal["main", "order", "stalled", "plain", "bare"]
PHASES: tuple[Phase, ...] = ("main", "order", "stalled", "plain", "bare")
STALLED_COMPLETIONS = 300  # they fill what is on the way, so that the server feels that nobody reads
FIRST_ONES = Pace(subscribers=5, rate=20, seconds=0.5)  # a server's first subscribers have it load what all need

# A prototype of this server beside a plain one, on the machine where that took 148 µs and 72 kB; 1.5 times of it is
# what we allow ourselves.
PLAIN_CPU_US = 148
CPU_RATIO = 1.5 * 12 / PLAIN_CPU_US
MEMORY_RATIO = 1.5 * 22 / 72
P99_MS = 1.5 * 20

PLAIN_READY_AT = "/graphql?query={isAlive}"

console = Console()


@dataclass(frozen=True)
class Load:
    """What is asked of the servers."""

    subscribers: int = 1_000
    rate: float = 50
    seconds: float = 5
    rounds: int = 3
    users: int = 10
    readers: int = 200
    stalled: int = 5
    only: Sequence[Phase] = PHASES
    profile: bool = False

    @classmethod
    def of(cls, given: argparse.Namespace) -> Self:
        return cls(**{each.name: getattr(given, each.name) for each in fields(cls) if hasattr(given, each.name)})

    @property
    def pace(self) -> Pace:
        return Pace(self.subscribers, self.rate, self.seconds)


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--subscribers", type=int, default=Load.subscribers, help="of one job (%(default)s)")
    parser.add_argument("--rate", type=float, default=Load.rate, help="completions a second (%(default)s)")
    parser.add_argument("--seconds", type=float, default=Load.seconds, help="of one round (%(default)s)")
    parser.add_argument("--rounds", type=int, default=Load.rounds, help="the median counts (%(default)s)")
    parser.add_argument("--users", type=int, default=Load.users, help="whose subscribers they are (%(default)s)")
    parser.add_argument("--readers", type=int, default=Load.readers, help="beside the stalled ones (%(default)s)")
    parser.add_argument("--stalled", type=int, default=Load.stalled, help="subscribers who never read (%(default)s)")
    parser.add_argument("--only", nargs="+", choices=PHASES, default=PHASES, help="some phases (all)")
    parser.add_argument("--profile", action="store_true", help="tell where our server works; it costs a little")


@dataclass(slots=True)
class Results:
    main: list[Round] = field(default_factory=list)
    order: list[Round] = field(default_factory=list)
    unstalled: list[Round] = field(default_factory=list)
    stalled: list[Round] = field(default_factory=list)
    plain: list[Round] = field(default_factory=list)
    bare: list[Round] = field(default_factory=list)

    def all(self) -> list[tuple[str, Round]]:
        named = {
            "ours": self.main,
            "orders": self.order,
            "alone": self.unstalled,
            "beside": self.stalled,
            "plain": self.plain,
            "bare": self.bare,
        }
        return [(name, each) for name, rounds in named.items() for each in rounds]


async def main(load: Load) -> None:
    allow_open_files(2 * load.subscribers + 1_000)
    results = Results()
    with processors_apart() as processors:
        async with crowd() as subscribers:
            if {"main", "order", "stalled"} & set(load.only):
                await _measure_ours(load, processors, subscribers, results)
            if "plain" in load.only:
                await _measure_other("plain", PLAIN_READY_AT, load, processors, subscribers, results.plain)
            if "bare" in load.only:
                await _measure_other("bare", "/", load, processors, subscribers, results.bare)
    _show(load, results)


# ---------------------------------------------------------------------------------------------- the servers


async def _measure_ours(load: Load, processors: Sequence[int], subscribers: Crowd, results: Results) -> None:
    with tempfile.TemporaryDirectory(prefix="robot-jobs-bench-") as folder:
        profile = Path(folder) / "profile" if load.profile else None
        log = Path(folder) / "log"
        async with (
            fresh_database() as urls,
            _workspace(urls, load) as workspace,
            _our_server(urls, processors, log, profile) as process,
        ):

            async def run(name: str, pace: Pace, rounds: list[Round], *, with_order: bool = False) -> None:
                items = pace.completions + WARM_UPS_AT_MOST + 1  # the last one keeps the job open
                source = await workspace.job(items, port=process.port, with_order=with_order)
                rounds += await _round(f"ours, {name}", measure(process, subscribers, source, pace))

            await run("first ones", FIRST_ONES, [])
            if "main" in load.only:
                for number in range(load.rounds):
                    await run(f"round {number + 1} of {load.rounds}", load.pace, results.main)
                    if not (results.main and results.main[-1].is_complete):
                        break
            if profile is not None and profile.exists():
                _show_profile(json.loads(profile.read_text(encoding="utf-8")))
            if "order" in load.only:
                await run("with orders", load.pace, results.order, with_order=True)
            if "stalled" in load.only:
                seconds = max(STALLED_COMPLETIONS / load.rate, load.seconds)
                await run("nobody stalled", Pace(load.readers, load.rate, seconds), results.unstalled)
                beside = Pace(load.readers, load.rate, seconds, stalled=load.stalled)
                await run(f"{load.stalled} stalled", beside, results.stalled)
        _tell_of_log("our server", log)


@asynccontextmanager
async def _workspace(urls: DatabaseUrls, load: Load) -> AsyncIterator[Workspace]:
    engine = create_async_engine(urls.app, pool_size=2, max_overflow=0)
    wakeups = PostgresWakeUps(urls.app)
    try:
        tenant = await make_tenant(urls, engine)
        users = await add_viewers(urls, tenant, load.users)
        async with wakeups.running():
            yield Workspace(tenant, wakeups, users)
    finally:
        await engine.dispose()


@asynccontextmanager
async def _our_server(
    urls: DatabaseUrls, processors: Sequence[int], log: Path, profile: Path | None
) -> AsyncIterator[Process]:
    port = free_port()
    settings = settings_for(urls) | {
        "ROBOT_JOBS_PORT": str(port),
        "ROBOT_JOBS_REQUESTS_PER_MINUTE": "1000000",
        "ROBOT_JOBS_STREAMS_PER_USER": "10000",
    }
    arguments = ["api", "serve"] if profile is None else ["tests.benchmarks.sampling", str(profile), "serve"]
    async with server(
        arguments,
        environment(**settings),
        port=port,
        ready_at="/health/ready",
        processors=processors,
        log=log,
        is_sampled=profile is not None,
    ) as process:
        yield process


async def _measure_other(
    module: str, ready_at: str, load: Load, processors: Sequence[int], subscribers: Crowd, rounds: list[Round]
) -> None:
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="robot-jobs-bench-") as folder:
        log = Path(folder) / "log"
        arguments = [f"tests.benchmarks.{module}", str(port)]
        async with server(
            arguments, environment(), port=port, ready_at=ready_at, processors=processors, log=log
        ) as process:

            async def run(name: str, pace: Pace) -> list[Round]:
                source = PipedSource(process, pace.completions)
                return await _round(f"{module}, {name}", measure(process, subscribers, source, pace))

            await run("first ones", FIRST_ONES)
            rounds += await run("the same load", load.pace)
        _tell_of_log(f"the {module} server", log)


def _tell_of_log(whose: str, log: Path) -> None:
    if lines := log.read_text(encoding="utf-8", errors="replace").splitlines():
        console.print(f"[dim]{whose} wrote {len(lines):,} lines to its log, the first: {lines[0][:200]}[/dim]")


async def _round(name: str, measuring: Coroutine[object, object, Round]) -> list[Round]:
    """That one, or none if the server did not get so far."""
    with console.status(name):
        try:
            measured = await measuring
        except Overloaded as error:
            console.print(f"{name}: overloaded; {error}")
            return []
    console.print(
        f"[dim]{name}: {measured.deliveries:,} deliveries in {measured.elapsed_s:.1f} s, "
        f"p99 {measured.latency_ms(0.99):,.1f} ms, {measured.cpu_us:,.1f} µs each[/dim]"
    )
    if measured.closed_per_s < 0.95 * measured.pace.rate:
        console.print(f"{name}: the machine closed {measured.closed_per_s:.1f} items a second only", style="red")
    for problem in measured.problems[:5]:
        console.print(f"{name}: {problem}", style="red", markup=False, highlight=False)
    if len(measured.problems) > 5:
        console.print(f"{name}: {len(measured.problems) - 5:,} other problems", style="red")
    return [measured]


# ---------------------------------------------------------------------------------------------- what came of it


def _show(load: Load, results: Results) -> None:
    if results.main or results.plain or results.bare:
        console.print(_comparison(load, results))
    if results.unstalled or results.stalled:
        console.print(_stalled(load, results))
    console.print(_rounds(results))


@dataclass(frozen=True, slots=True)
class _Row:
    title: str
    figure: Callable[[Round], float]
    form: str
    goal: Callable[[float], str] = lambda _: ""
    """From the CPU time that the plain server took for a delivery: machines differ."""
    rounds: int | None = None
    """How many of them are looked at; all if None."""


def _comparison(load: Load, results: Results) -> Table:
    rows = [
        _Row("told in time, %", lambda each: 100 * each.delivered, ",.1f", lambda _: "100"),
        _Row("once and in order, %", _exact, ",.1f", lambda _: "100"),
        _Row("deliveries per s", lambda each: each.deliveries_per_s, ",.0f"),
        _Row("p50 from commit, ms", lambda each: each.latency_ms(0.5), ",.1f"),
        _Row(
            "p99 from commit, ms",
            lambda each: each.latency_ms(0.99),
            ",.1f",
            lambda plain_us: f"≤ {P99_MS * plain_us / PLAIN_CPU_US:,.0f}" if plain_us > 0 else "",
        ),
        _Row("CPU per delivery, µs", lambda each: each.cpu_us, ",.1f", lambda _: f"≤ {CPU_RATIO:.3f} ×"),
        _Row("  in the program", lambda each: each.user_us, ",.1f"),
        _Row("  in the system", lambda each: each.system_us, ",.1f"),
        _Row("CPU with no news, %", lambda each: 100 * each.idle_share, ",.1f"),
        _Row(
            "kB per idle socket",
            lambda each: each.kb_per_subscriber,
            ",.1f",
            lambda _: f"≤ {MEMORY_RATIO:.2f} ×",
            rounds=1,  # later ones find memory that was used before
        ),
    ]
    table = Table(
        title=f"{load.subscribers:,} subscribers, {load.rate:g} completions a second: median of {load.rounds}",
        caption="plain: a Strawberry subscription as documented.  bare: bytes to sockets and no more.  Latencies are "
        "of what was told in time.  Goals are 1.5 × a prototype, relative to plain; for p99 by how fast this machine "
        "runs plain.",
    )
    for title in ("", "ours", "plain", "bare", "÷ plain", "goal"):
        table.add_column(title, justify="right" if title else "left")
    compared = results.main, results.plain, results.bare
    plain_us = _median(results.plain, lambda each: each.cpu_us)
    for row in rows:
        ours, plain, bare = (_median(rounds[: row.rounds], row.figure) for rounds in compared)
        figures = ["" if math.isnan(figure) else format(figure, row.form) for figure in (ours, plain, bare)]
        ratio = f"{ours / plain:.3f}" if plain and not math.isnan(ours / plain) else ""
        table.add_row(row.title, *figures, ratio, row.goal(plain_us))
    return table


def _stalled(load: Load, results: Results) -> Table:
    table = Table(
        title=f"{load.readers} readers, alone and beside {load.stalled} subscribers who do not read",
        caption="MB: of the server, before; with idle subscribers; after.  stalled: told all once they read again?",
    )
    columns = ("", "told %", "p50 ms", "p99 ms", "CPU µs", "MB", "idle", "after", "stalled")
    for title in columns:
        table.add_column(title, justify="right" if title else "left")
    for title, rounds in (("alone", results.unstalled), ("beside", results.stalled)):
        for each in rounds:
            megabytes = [f"{size / 1e6:,.1f}" for size in (each.memory_before, each.memory_idle, each.memory_after)]
            caught_up = "" if not each.pace.stalled else "told all" if each.caught_up else "not told"
            figures = (each.latency_ms(0.5), each.latency_ms(0.99), each.cpu_us)
            table.add_row(
                title,
                f"{100 * each.delivered:.1f}",
                *map(_short, figures),
                *megabytes,
                caught_up,
            )
    return table


def _rounds(results: Results) -> Table:
    table = Table(
        title="Each round",
        caption="orders: with the order of each item.  CPU: all, in the program + in the system.  crowd: what the "
        "subscribers took of their processor.  others: what others took of the server's; the more, the less the "
        "latencies say.",
    )
    columns = ("", "told %", "p50 ms", "p99 ms", "CPU µs", "crowd %", "others %")
    for title in columns:
        table.add_column(title, justify="right" if title else "left")
    for name, each in results.all():
        table.add_row(
            name,
            f"{100 * each.delivered:.1f}",
            _short(each.latency_ms(0.5)),
            _short(each.latency_ms(0.99)),
            f"{_short(each.cpu_us)}: {_short(each.user_us)} + {_short(each.system_us)}",
            f"{100 * each.crowd_share:.0f}",
            f"{100 * each.others_share:.0f}",
        )
    return table


def _exact(each: Round) -> float:
    return 100 * each.exact / (each.pace.subscribers + each.pace.stalled)


def _median(rounds: Sequence[Round], figure: Callable[[Round], float]) -> float:
    return statistics.median(map(figure, rounds)) if rounds else math.nan


def _short(figure: float) -> str:
    return f"{figure:,.1f}" if figure < 100 else f"{figure:,.0f}"


def _show_profile(shares: Shares) -> None:
    for title, what, counted in (("At", "line", shares["at"]), ("Within", "function", shares["within"])):
        table = Table(title=f"{title}: share of our server's CPU time")
        table.add_column("%", justify="right")
        table.add_column(what)
        for name, share in counted:
            if share < 0.95:  # what all else is within says nothing
                table.add_row(f"{100 * share:.1f}", name)
        console.print(table)
    console.print(f"{100 * shares['collecting']:.1f} % of it is garbage collection, wherever that was noted.")
