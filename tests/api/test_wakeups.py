"""Wake-ups between processes: prompt, merged, small, and back by themselves when a connection is lost."""

import asyncio
import contextlib
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from api.database import DatabaseUrls
from api.settings import load_settings
from api.wakeups import CHANNEL, LAST_WORDS_WITHIN_S, PostgresWakeUps, _payloads
from tests.api.network import Network
from tests.conftest import Database
from tests.servers import until

LONG_S = 30.0  # a wait that nobody lets come to its end
PROMPTLY_S = 5.0


class Watch:
    """A wait for news of one job."""

    def __init__(self) -> None:
        self._news = asyncio.Event()

    def wake(self) -> None:
        self._news.set()

    async def wait(self, timeout_s: float) -> None:
        """Until there was news since the last call, or the time is over."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._news.wait()
        self._news.clear()


@contextmanager
def watching(wakeups: PostgresWakeUps, job_id: uuid.UUID) -> Iterator[Watch]:
    watch = Watch()
    with wakeups.watch(job_id, watch.wake):
        yield watch


async def is_woken(wakeups: PostgresWakeUps, job_id: uuid.UUID, *, announced_at: PostgresWakeUps) -> bool:
    """Whether a wait for the job at one process ends promptly when it is announced at another."""
    with watching(wakeups, job_id) as watch:
        started = time.monotonic()
        announced_at.announce(job_id)
        await watch.wait(LONG_S)
        return time.monotonic() - started < PROMPTLY_S


async def connections(engine: AsyncEngine) -> set[int]:
    async with engine.connect() as connection:
        return set(
            await connection.scalars(
                sa.text(
                    "SELECT pid FROM pg_stat_activity WHERE datname = current_database()"
                    " AND application_name = 'robot-jobs wake-ups' AND state = 'idle'"
                )
            )
        )


async def listening(engine: AsyncEngine, count: int) -> set[int]:
    """The connections, when there are that many."""

    async def enough() -> set[int]:
        found = await connections(engine)
        return found if len(found) >= count else set()

    return set(await until(enough))


async def test_news_wake_those_who_wait_for_that_job_at_every_process(database: Database, engine: AsyncEngine) -> None:
    here, there = PostgresWakeUps(database.urls.app), PostgresWakeUps(database.urls.app)
    job_id, other_job_id = uuid.uuid4(), uuid.uuid4()

    async with here.running(), there.running():
        await listening(engine, 4)
        assert await is_woken(there, job_id, announced_at=here)
        assert await is_woken(here, job_id, announced_at=here)
        with watching(there, other_job_id) as other:
            assert await is_woken(there, job_id, announced_at=here)
            started = time.monotonic()
            await other.wait(0.05)
            assert time.monotonic() - started >= 0.05


async def test_announcements_of_a_few_milliseconds_are_merged_into_one_notification(
    database: Database, engine: AsyncEngine
) -> None:
    wakeups = PostgresWakeUps(database.urls.app)
    first, second = str(uuid.uuid4()), str(uuid.uuid4())
    heard: list[str] = []

    def hear(_connection: object, _pid: int, _channel: str, payload: str) -> None:
        heard.append(payload)

    async def notifications() -> int:
        """How many it takes to tell of two jobs, one announced just after the other, many times each."""
        heard.clear()
        for job_id in (first, second):
            for _ in range(20):
                wakeups.announce(uuid.UUID(job_id))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        await until(lambda: {*",".join(heard).split(",")} == {first, second})
        return len(heard)

    async with engine.connect() as connection:
        driver = (await connection.get_raw_connection()).driver_connection
        assert driver is not None
        await driver.add_listener(CHANNEL, hear)
        async with wakeups.running():
            await listening(engine, 2)
            counts = [await notifications() for _ in range(10)]
        await driver.remove_listener(CHANNEL, hear)

    assert min(counts) == 1  # not max: a machine may stall
    assert max(counts) <= 2


def test_payloads_are_below_the_limit_and_lose_none() -> None:
    jobs = {uuid.uuid4() for _ in range(1_000)}

    payloads = list(_payloads(jobs))

    assert max(len(payload.encode()) for payload in payloads) < 8_000
    assert len(payloads) < 10
    assert {uuid.UUID(text) for payload in payloads for text in payload.split(",")} == jobs
    assert list(_payloads(set())) == []


async def test_lost_connections_come_back_and_what_was_missed_wakes_everybody(
    database: Database, engine: AsyncEngine
) -> None:
    here, there = PostgresWakeUps(database.urls.app), PostgresWakeUps(database.urls.app)
    job_id = uuid.uuid4()

    async with here.running(), there.running():
        before = await listening(engine, 4)
        with watching(there, job_id) as watch:
            async with engine.begin() as connection:
                for pid in before:
                    await connection.execute(sa.select(sa.func.pg_terminate_backend(pid)))
            started = time.monotonic()
            await watch.wait(LONG_S)  # it may have missed something while nobody listened
            assert time.monotonic() - started < PROMPTLY_S
        # The first one finds the connection lost, and is said again on the next.
        assert await is_woken(there, job_id, announced_at=here)
        assert await is_woken(there, job_id, announced_at=here)


async def test_notifications_of_others_do_no_harm(database: Database, engine: AsyncEngine) -> None:
    wakeups = PostgresWakeUps(database.urls.app)
    job_id = uuid.uuid4()
    faults: list[object] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _loop, context: faults.append(context))

    try:
        async with wakeups.running():
            await listening(engine, 2)
            with watching(wakeups, job_id) as watch:
                async with engine.begin() as connection:
                    for payload in ("", "x", f"x,{job_id}"):
                        await connection.execute(sa.select(sa.func.pg_notify(CHANNEL, payload)))
                started = time.monotonic()
                await watch.wait(LONG_S)
                assert time.monotonic() - started < PROMPTLY_S
    finally:
        loop.set_exception_handler(None)
    assert faults == []


async def test_nothing_is_kept_of_those_who_no_longer_wait(database: Database) -> None:
    wakeups = PostgresWakeUps(database.urls.app)

    for _ in range(3):
        job_id = uuid.uuid4()
        with watching(wakeups, job_id), watching(wakeups, job_id):
            assert len(wakeups._watchers) == 1

    assert wakeups._watchers == {}


async def test_stopped_wake_ups_leave_no_connection(database: Database, engine: AsyncEngine) -> None:
    wakeups = PostgresWakeUps(database.urls.app)

    async with wakeups.running():
        await listening(engine, 2)

    async def are_gone() -> bool:
        return not await connections(engine)

    await until(are_gone)


async def test_a_burst_of_announcements_makes_few_notifications(database: Database, engine: AsyncEngine) -> None:
    wakeups = PostgresWakeUps(database.urls.app)
    jobs = {str(uuid.uuid4()) for _ in range(1_000)}
    heard: list[str] = []

    def hear(_connection: object, _pid: int, _channel: str, payload: str) -> None:
        heard.append(payload)

    async with engine.connect() as connection:
        driver = (await connection.get_raw_connection()).driver_connection
        assert driver is not None
        await driver.add_listener(CHANNEL, hear)
        async with wakeups.running():
            await listening(engine, 2)
            for job in [*jobs] * 3:
                wakeups.announce(uuid.UUID(job))
            await until(lambda: {*",".join(heard).split(",")} == jobs)
        await driver.remove_listener(CHANNEL, hear)

    assert len(heard) <= 2 * 5, "a thousand ids fill five; the merging may have ended in between, once"


async def test_what_was_announced_just_before_the_end_is_said(database: Database, engine: AsyncEngine) -> None:
    here, there = PostgresWakeUps(database.urls.app), PostgresWakeUps(database.urls.app)
    job_id = uuid.uuid4()

    async with there.running(), contextlib.AsyncExitStack() as leaving:
        await leaving.enter_async_context(here.running())
        await listening(engine, 4)
        assert await is_woken(there, job_id, announced_at=here)
        with watching(there, job_id) as watch:
            here.announce(job_id)
            await leaving.aclose()
            started = time.monotonic()
            await watch.wait(LONG_S)

    assert time.monotonic() - started < PROMPTLY_S


# ---------------------------------------------------------------------------------------------- a silent network

KEEP_ALIVE_S, ANSWER_S = 0.4, 0.6
NOTICED_WITHIN_S = KEEP_ALIVE_S + ANSWER_S + 3  # on a machine that tests keep busy


@contextlib.asynccontextmanager
async def apart(
    network: Network, urls: DatabaseUrls, engine: AsyncEngine
) -> AsyncIterator[tuple[PostgresWakeUps, PostgresWakeUps]]:
    """Two processes, the first of which has the network between itself and the database."""
    here = PostgresWakeUps(load_url(network.url(urls)), keep_alive_s=KEEP_ALIVE_S, answer_within_s=ANSWER_S)
    there = PostgresWakeUps(urls.app)
    async with here.running(), there.running():
        await listening(engine, 4)
        yield here, there


def load_url(url: str) -> str:
    made = load_settings(DATABASE_URL=url).database_url
    assert made is not None
    return made


async def test_connections_that_a_router_forgot_are_replaced_and_what_was_missed_wakes_everybody(
    database: Database, engine: AsyncEngine, network: Network
) -> None:
    job_id = uuid.uuid4()
    async with apart(network, database.urls, engine) as (here, there):
        with watching(here, job_id) as watch:
            await network.forget()
            there.announce(job_id)  # is lost
            started = time.monotonic()
            await watch.wait(LONG_S)

            assert KEEP_ALIVE_S / 2 < time.monotonic() - started < NOTICED_WITHIN_S
        assert await is_woken(here, job_id, announced_at=there)
        assert await is_woken(there, job_id, announced_at=here)


async def test_a_silent_network_holds_nobody_up_once_it_speaks_again(
    database: Database, engine: AsyncEngine, network: Network
) -> None:
    """Neither the goodbye to the connections that were, nor the attempts to make new ones meanwhile."""
    job_id = uuid.uuid4()
    async with apart(network, database.urls, engine) as (here, there):
        with watching(here, job_id) as mine, watching(there, job_id) as theirs:
            await network.silence()
            here.announce(job_id)
            await mine.wait(LONG_S)
            there.announce(job_id)
            await theirs.wait(LONG_S)
            await mine.wait(NOTICED_WITHIN_S)  # for nothing: nobody is heard
            await network.forget()
            started = time.monotonic()
            await mine.wait(LONG_S)
            await theirs.wait(LONG_S)  # what could not be said is said again

            assert time.monotonic() - started < NOTICED_WITHIN_S


async def test_an_idle_connection_for_notifications_is_replaced_before_it_is_needed(
    database: Database, engine: AsyncEngine, network: Network
) -> None:
    async with apart(network, database.urls, engine) as (here, there):
        before = await listening(engine, 4)
        await network.forget()

        async def are_new() -> bool:
            return len(await connections(engine) - before) >= 2

        await until(are_new, within_s=NOTICED_WITHIN_S)
        job_id = uuid.uuid4()
        with watching(there, job_id) as watch:
            started = time.monotonic()
            here.announce(job_id)
            await watch.wait(LONG_S)

            assert time.monotonic() - started < ANSWER_S


async def test_the_end_does_not_wait_for_a_silent_network(
    database: Database, engine: AsyncEngine, network: Network
) -> None:
    here = PostgresWakeUps(load_url(network.url(database.urls)))
    async with here.running():
        await listening(engine, 2)
        await network.silence()
        here.announce(uuid.uuid4())
        started = time.monotonic()

    assert time.monotonic() - started < LAST_WORDS_WITHIN_S + 1


async def test_a_process_is_not_woken_again_by_its_own_words(database: Database, engine: AsyncEngine) -> None:
    here, there = PostgresWakeUps(database.urls.app), PostgresWakeUps(database.urls.app)
    job_id = uuid.uuid4()

    async with here.running(), there.running():
        await listening(engine, 4)
        with watching(here, job_id) as mine, watching(there, job_id) as theirs:
            here.announce(job_id)
            await mine.wait(LONG_S)
            await theirs.wait(LONG_S)  # by now the notification has come to every process
            started = time.monotonic()
            await mine.wait(0.2)

        assert time.monotonic() - started >= 0.2
