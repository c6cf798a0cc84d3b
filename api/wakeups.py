"""How processes tell each other that a job has news: NOTIFY after the commit, on a connection of its own.

NOTIFY inside the writing transactions would take a lock on the whole database at each commit.  A wake-up is a hint: one
that is lost costs a follower a few seconds, never an event, for followers read the log from their cursor.
"""

import asyncio
import contextlib
import logging
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

logger = logging.getLogger("robot_jobs.wakeups")

CHANNEL = "robot_jobs"
MERGED_FOR_S = 0.005
KEEP_ALIVE_EVERY_S = 5.0
ANSWER_WITHIN_S = 5.0
RECONNECT_AFTER_S = 0.5
LAST_WORDS_WITHIN_S = 0.5
_PAYLOAD_BYTES_AT_MOST = 7_900  # PostgreSQL's own limit is 8,000


class PostgresWakeUps:
    """One LISTEN and one NOTIFY connection per process, however many jobs are watched.

    Both are asked for a sign of life when they have been quiet for `keep_alive_s`: what a silent network does not carry
    is noticed by a question only.  One that does not answer within `answer_within_s` is given up.
    """

    def __init__(
        self, url: str, *, keep_alive_s: float = KEEP_ALIVE_EVERY_S, answer_within_s: float = ANSWER_WITHIN_S
    ) -> None:
        self._keep_alive_s = keep_alive_s
        self._engine = create_async_engine(
            url,
            poolclass=NullPool,
            connect_args={
                "timeout": answer_within_s,
                "command_timeout": answer_within_s,
                "server_settings": {"application_name": "robot-jobs wake-ups"},
            },
        )
        self._watchers: dict[uuid.UUID, list[Callable[[], None]]] = {}
        self._announced: set[uuid.UUID] = set()
        self._has_announced = asyncio.Event()
        self._all_said = asyncio.Event()
        self._all_said.set()
        self._notifying_pid: int | None = None

    def announce(self, job_id: uuid.UUID) -> None:
        """Wake who follows the job here at once, and elsewhere within milliseconds."""
        self._announced.add(job_id)
        self._has_announced.set()
        self._all_said.clear()
        self._wake(job_id)

    @contextlib.contextmanager
    def watch(self, job_id: uuid.UUID, wake: Callable[[], None]) -> Iterator[None]:
        watchers = self._watchers.setdefault(job_id, [])
        watchers.append(wake)
        try:
            yield
        finally:
            watchers.remove(wake)
            if not watchers:
                del self._watchers[job_id]

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Listen and notify until the end of the block; both connections come back by themselves when they are lost.

        At the end what is announced is still said, if that can be done soon.
        """
        tasks = [asyncio.create_task(self._for_ever(self._listen)), asyncio.create_task(self._for_ever(self._notify))]
        try:
            yield
        finally:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LAST_WORDS_WITHIN_S):
                    await self._all_said.wait()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _wake(self, job_id: uuid.UUID) -> None:
        for wake in self._watchers.get(job_id, ()):
            wake()

    async def _for_ever(self, work: Callable[[Any], Awaitable[None]]) -> None:
        while True:
            try:
                async with self._engine.connect() as connection:
                    # asyncpg itself from here on: SQLAlchemy would say goodbye to a connection that gave no answer.
                    driver: Any = (await connection.get_raw_connection()).driver_connection
                    try:
                        await work(driver)
                    finally:
                        driver.terminate()  # to say goodbye on a silent network takes seconds
            except Exception as error:
                logger.warning("wake-ups: the connection was lost, trying again: %r", error)
            await asyncio.sleep(RECONNECT_AFTER_S)

    async def _listen(self, driver: Any) -> None:
        lost = asyncio.Event()
        driver.add_termination_listener(lambda _: lost.set())
        await driver.add_listener(CHANNEL, self._heard)
        for watchers in self._watchers.values():  # whatever was said while nobody listened
            for wake in watchers:
                wake()
        while True:
            await self._quiet(lost)  # noticed at once, where the network says so
            await driver.execute("SELECT 1")

    def _heard(self, _connection: object, pid: int, _channel: str, payload: str) -> None:
        if pid == self._notifying_pid:  # our own words: who follows here was woken when they were said
            return
        for text in payload.split(","):
            with contextlib.suppress(ValueError):  # anybody may NOTIFY
                self._wake(uuid.UUID(text))

    async def _notify(self, driver: Any) -> None:
        self._notifying_pid = driver.get_server_pid()
        while True:
            if not await self._quiet(self._has_announced):
                await driver.execute("SELECT 1")
                continue
            await asyncio.sleep(MERGED_FOR_S)
            self._has_announced.clear()
            announced, self._announced = self._announced, set()
            try:
                for payload in _payloads(announced):
                    await driver.execute("SELECT pg_notify($1, $2)", CHANNEL, payload)
            except BaseException:
                self._announced |= announced  # said again on the next connection
                self._has_announced.set()
                raise
            if not self._announced:
                self._all_said.set()

    async def _quiet(self, event: asyncio.Event) -> bool:
        """Whether the event came before the next question is due."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._keep_alive_s):
                await event.wait()
        return event.is_set()


def _payloads(job_ids: set[uuid.UUID]) -> Iterator[str]:
    """Ids and nothing else: NOTIFY knows no policies, every listener of the database hears it."""
    chunk_size = _PAYLOAD_BYTES_AT_MOST // 37
    ids = [str(job_id) for job_id in job_ids]
    for start in range(0, len(ids), chunk_size):
        yield ",".join(ids[start : start + chunk_size])
