"""Transactions from one pool, taken up in time or not at all: also when the database is gone, silent, or just back."""

import asyncio
import logging
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from domain.api_keys import PresentedKey, record_api_key_use

logger = logging.getLogger("robot_jobs.database")
T = TypeVar("T")
AVAILABLE_WITHIN_S = 1.5


class Database:
    """One pool, seen twice: for transactions that write, and for snapshots that only read."""

    def __init__(self, engine: AsyncEngine, *, available_within_s: float = AVAILABLE_WITHIN_S) -> None:
        self.writing = engine
        self.reading = engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        self._available_within_s = available_within_s
        self._idle = _idle_connections(engine)
        # Followers of a busy job all read at once, and one workspace may write a lot: half of the pool stays free.
        self._half = max(1, getattr(engine.pool, "size", lambda: 2)() // 2)
        has_room = self._half > 2
        self._followers = asyncio.Semaphore(self._half - 2 if has_room else 1)
        # What is read for all who follow, and asked for all: neither waits for those who only come, nor for the other.
        self.turn_of_reader = asyncio.Semaphore(1) if has_room else self._followers
        self.turn_of_asker = asyncio.Semaphore(1) if has_room else self._followers
        self._writers: weakref.WeakValueDictionary[str, asyncio.Semaphore] = weakref.WeakValueDictionary()
        self._gone_at = 0.0
        self._recordings: dict[PresentedKey, asyncio.Task[None]] = {}

    @asynccontextmanager
    async def begin(
        self, engine: AsyncEngine, enter: Callable[[AsyncConnection], Awaitable[T]], *, since: float | None = None
    ) -> AsyncIterator[tuple[AsyncConnection, T]]:
        """A transaction that has been entered; commits at the end, rolls back when anything is raised.

        To find a connection and to enter have one time limit together, counted from `since` on the loop's clock for
        who has waited already.  A connection that proves dead before anything was done costs another try, not an
        error.  Raises TimeoutError, OSError or SQLAlchemyError.
        """
        stack, connection, entered = await self._begun(engine, enter, since)
        async with stack:
            yield connection, entered

    @asynccontextmanager
    async def turn_of_follower(self) -> AsyncIterator[None]:
        """Those who follow wait for their turn however many they are; but not for a database that is gone."""
        waits_since = asyncio.get_running_loop().time()
        async with self._followers:
            if self._gone_at > waits_since:
                raise TimeoutError("the database went away during the wait for a turn")
            yield

    @asynccontextmanager
    async def turn_of_writer(self, whose: str) -> AsyncIterator[float]:
        """Half of the pool is the most that one may write with at a time; since when it waited, on the loop's clock.

        Raises TimeoutError.
        """
        waits_since = asyncio.get_running_loop().time()
        turns = self._writers.setdefault(whose, asyncio.Semaphore(self._half))
        async with asyncio.timeout(self._available_within_s / 2):  # the rest of the time is for a connection
            await turns.acquire()
        try:
            yield waits_since
        finally:
            turns.release()

    def record_use(self, key: PresentedKey) -> None:
        """Note soon that the key was used; the request does not wait for it."""
        if key not in self._recordings:
            task = asyncio.get_running_loop().create_task(self._record_use(key))
            self._recordings[key] = task
            task.add_done_callback(lambda _: self._recordings.pop(key))

    async def finish(self) -> None:
        """Wait for what was promised to be recorded soon."""
        await asyncio.gather(*self._recordings.values())

    async def _record_use(self, key: PresentedKey) -> None:
        async def record(connection: AsyncConnection) -> None:
            await record_api_key_use(connection, key)

        try:
            async with self.begin(self.writing, record):
                pass
        except (OSError, sa.exc.SQLAlchemyError) as error:
            logger.warning("the use of the API key %s… was not recorded: %s", key.prefix, error)

    async def _begun(
        self, engine: AsyncEngine, enter: Callable[[AsyncConnection], Awaitable[T]], since: float | None
    ) -> tuple[AsyncExitStack, AsyncConnection, T]:
        clock = asyncio.get_running_loop().time
        began_at = clock()
        deadline = (since or began_at) + self._available_within_s
        cut_at = began_at + (deadline - began_at) / 2  # the rest of the time is for a new connection
        while True:
            waiting = asyncio.timeout_at(deadline)
            try:
                async with AsyncExitStack() as stack:
                    async with waiting:
                        connection = await stack.enter_async_context(engine.connect())
                    await stack.enter_async_context(connection.begin())
                    with self._cut_off(connection, at=cut_at):
                        entered = await enter(connection)
                    return stack.pop_all(), connection, entered
            except sa.exc.DBAPIError as error:
                if not error.connection_invalidated or clock() >= deadline:
                    raise
                self._gone_at = clock()
                cut_at = deadline
            except OSError:  # TimeoutError is one
                if not waiting.expired():  # that may have been the wait for others to finish
                    self._gone_at = clock()
                raise

    @contextmanager
    def _cut_off(self, connection: AsyncConnection, *, at: float) -> Iterator[None]:
        """Breaks the connection then, which ends its statement at once: to cancel would wait for a silent network."""
        driver: Any = connection.sync_connection.connection.driver_connection  # type: ignore[union-attr]  # it is open

        def cut() -> None:
            driver.terminate()
            self._idle.terminate()  # they have been through the same

        timer = asyncio.get_running_loop().call_at(at, cut)
        try:
            yield
        finally:
            timer.cancel()


class _IdleConnections:
    """The pool's connections that nobody uses: one that has broken meanwhile is replaced before it is handed out."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._idle: set[Any] = set()
        pool = engine.sync_engine.pool
        sa.event.listen(pool, "checkin", self._came_back)
        sa.event.listen(pool, "checkout", self._is_wanted)
        sa.event.listen(pool, "close", self._is_closed)

    def terminate(self) -> None:
        for adapted in list(self._idle):
            adapted.driver_connection.terminate()

    def _came_back(self, adapted: Any, _record: object) -> None:
        if adapted is not None:
            self._idle.add(adapted)

    def _is_wanted(self, adapted: Any, _record: object, _proxy: object) -> None:
        self._idle.discard(adapted)
        if adapted.driver_connection.is_closed():
            raise sa.exc.InvalidatePoolError

    def _is_closed(self, adapted: Any, _record: object) -> None:
        self._idle.discard(adapted)


_watched: "weakref.WeakKeyDictionary[AsyncEngine, _IdleConnections]" = weakref.WeakKeyDictionary()


def _idle_connections(engine: AsyncEngine) -> _IdleConnections:
    if (known := _watched.get(engine)) is None:
        known = _watched[engine] = _IdleConnections(engine)
    return known
