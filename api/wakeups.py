"""How processes tell each other that a job has news: NOTIFY after the commit, on a connection of its own.

NOTIFY inside the writing transactions would take a lock on the whole database at each commit.  A wake-up is a hint: one
that is lost costs a follower a few seconds, never an event, for followers read the log from their cursor.
"""

import asyncio
import contextlib
import logging
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine
from sqlalchemy.pool import NullPool

logger = logging.getLogger("robot_jobs.wakeups")

CHANNEL = "robot_jobs"
MERGED_FOR_S = 0.005
KEEP_ALIVE_EVERY_S = 5.0
ANSWER_WITHIN_S = 5.0
RECONNECT_AFTER_S = 0.5
_PAYLOAD_BYTES_AT_MOST = 7_900  # PostgreSQL's own limit is 8,000


class PostgresWakeUps:
    """One LISTEN and one NOTIFY connection per process, however many jobs are watched."""

    def __init__(self, url: str) -> None:
        self._engine = create_async_engine(
            url,
            poolclass=NullPool,
            connect_args={
                "timeout": ANSWER_WITHIN_S,
                "command_timeout": ANSWER_WITHIN_S,
                "server_settings": {"application_name": "robot-jobs wake-ups"},
            },
        )
        self._watchers: dict[uuid.UUID, list[Callable[[], None]]] = {}
        self._announced: set[uuid.UUID] = set()
        self._has_announced = asyncio.Event()
        self._notifying_pid: int | None = None

    def announce(self, job_id: uuid.UUID) -> None:
        """Wake who follows the job here at once, and elsewhere within milliseconds."""
        self._announced.add(job_id)
        self._has_announced.set()
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
        """Listen and notify until the end of the block; both connections come back by themselves when they are lost."""
        tasks = [asyncio.create_task(self._for_ever(self._listen)), asyncio.create_task(self._for_ever(self._notify))]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _wake(self, job_id: uuid.UUID) -> None:
        for wake in self._watchers.get(job_id, ()):
            wake()

    async def _for_ever(self, work: Any) -> None:
        while True:
            try:
                async with self._engine.connect() as connection:
                    await connection.execution_options(isolation_level="AUTOCOMMIT")
                    await work(connection)
            except Exception as error:
                logger.warning("wake-ups: the connection was lost, trying again: %r", error)
            await asyncio.sleep(RECONNECT_AFTER_S)

    async def _listen(self, connection: AsyncConnection) -> None:
        driver: Any = (await connection.get_raw_connection()).driver_connection
        lost = asyncio.Event()
        driver.add_termination_listener(lambda _: lost.set())
        await driver.add_listener(CHANNEL, self._heard)
        for watchers in self._watchers.values():  # whatever was said while nobody listened
            for wake in watchers:
                wake()
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(KEEP_ALIVE_EVERY_S):
                    await lost.wait()  # noticed at once, where the network says so
            await connection.execute(sa.text("SELECT 1"))  # a silent network is noticed by a question only

    def _heard(self, _connection: object, pid: int, _channel: str, payload: str) -> None:
        if pid == self._notifying_pid:  # our own words: who follows here was woken when they were said
            return
        for text in payload.split(","):
            with contextlib.suppress(ValueError):  # anybody may NOTIFY
                self._wake(uuid.UUID(text))

    async def _notify(self, connection: AsyncConnection) -> None:
        driver: Any = (await connection.get_raw_connection()).driver_connection
        self._notifying_pid = driver.get_server_pid()
        while True:
            await self._has_announced.wait()
            await asyncio.sleep(MERGED_FOR_S)
            self._has_announced.clear()
            announced, self._announced = self._announced, set()
            try:
                for payload in _payloads(announced):
                    await connection.execute(sa.select(sa.func.pg_notify(CHANNEL, payload)))
            except BaseException:
                self._announced |= announced  # said again on the next connection
                self._has_announced.set()
                raise


def _payloads(job_ids: set[uuid.UUID]) -> Iterator[str]:
    """Ids and nothing else: NOTIFY knows no policies, every listener of the database hears it."""
    chunk_size = _PAYLOAD_BYTES_AT_MOST // 37
    ids = [str(job_id) for job_id in job_ids]
    for start in range(0, len(ids), chunk_size):
        yield ",".join(ids[start : start + chunk_size])
