"""Followers of a job share their reads: one reader per job and process, and one question for everybody's access.

The log is the truth and wake-ups are hints.  A feed reads on when it is woken, and every few seconds while somebody
waits for it; it reads in the scope of one of its followers, so PostgreSQL decides as ever.  Whoever is told something
has had access confirmed within the last five seconds, or asks for it alone: see docs/decisions/0010.
"""

import asyncio
import datetime as dt
import logging
import time
import uuid
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable, Iterator
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager, contextmanager
from dataclasses import replace
from typing import ClassVar, TypeVar, cast

from sqlalchemy.ext.asyncio import AsyncConnection

from domain.access import Access, find_lasting
from domain.errors import DomainError
from schema.database import Database
from schema.faults import is_unreachable
from schema.wakeups import WakeUps
from schema.work import Work

logger = logging.getLogger("robot_jobs.streams")

READ_AT_LEAST_EVERY_S = 4.0  # what a lost wake-up costs at most
ACCESS_ASKED_EVERY_S = 3.0
ACCESS_GOOD_FOR_S = 4.5
TRY_AGAIN_AFTER_S = 0.5

F = TypeVar("F", bound="Feed")


class Follower:
    """One who follows: `look` begins a transaction in the follower's own scope, or raises why there is none any more.

    `expires_at`: of a token, UTC; None for a key, whose time the database knows.
    """

    def __init__(
        self,
        look: Callable[[], AbstractAsyncContextManager[Work]],
        access: Access,
        expires_at: dt.datetime | None,
    ) -> None:
        self.access = access
        self._begin = look
        self._expires_at = expires_at
        self._good_until = time.monotonic() + ACCESS_GOOD_FOR_S
        self._fault: Exception | None = None
        self._news = asyncio.Event()

    @property
    def is_overdue(self) -> bool:
        """Nothing may be told before access has been confirmed again."""
        return time.monotonic() >= self._good_until

    def is_expired(self) -> bool:
        return self._expires_at is not None and dt.datetime.now(dt.UTC) >= self._expires_at

    def wake(self) -> None:
        self._news.set()

    def confirm(self, as_of: float) -> None:
        self._good_until = max(self._good_until, as_of + ACCESS_GOOD_FOR_S)

    def doubt(self) -> None:
        """Let the follower ask for the own access at once."""
        self._good_until = 0.0
        self.wake()

    def fail(self, fault: Exception) -> None:
        self._fault = fault
        self.wake()

    @asynccontextmanager
    async def look(self) -> AsyncIterator[Work]:
        """A transaction in the follower's scope; to begin it is to confirm the access."""
        began_at = time.monotonic()
        async with self._begin() as work:
            self.access = replace(self.access, membership=work.membership)
            self.confirm(began_at)
            yield work

    async def check(self) -> None:
        """Before each message; costs no query while access is confirmed.  Raises why there is to be none."""
        if self._fault is not None:
            raise self._fault
        if self.is_overdue:
            async with self.look():
                pass

    async def wait(self) -> None:
        """Until there may be news.  Raises as `check`."""
        await self._news.wait()
        self._news.clear()
        await self.check()


class Repeated:
    """Runs a step, pauses for as long as the step says, and so on.

    Ended in a pause, it ends at once.  A step that is under way is finished: to cancel it would cost its connection.
    """

    _running: ClassVar[set[asyncio.Task[None]]] = set()  # the event loop itself keeps no hold of tasks

    def __init__(self, step: Callable[[], Awaitable[float]], pause: Callable[[float], Awaitable[object]]) -> None:
        self._step = step
        self._pause = pause
        self._task: asyncio.Task[None] | None = None
        self._is_paused = False
        self._is_ended = False

    def start(self, *, after_s: float = 0.0) -> None:
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run(after_s))
            self._running.add(self._task)
            self._task.add_done_callback(self._running.discard)

    def end(self) -> None:
        self._is_ended = True
        if self._task is not None and self._is_paused:
            self._task.cancel()

    async def _run(self, pause_s: float) -> None:
        while not self._is_ended:
            if pause_s > 0:
                self._is_paused = True
                await self._pause(pause_s)
                self._is_paused = False
            pause_s = await self._step()


class Feed(ABC):
    """What the followers of one thing share.  It reads only while somebody waits, or has waited, for what comes next.

    `watched_id`: what it wakes up with, a job or a workspace.
    """

    def __init__(self, watched_id: uuid.UUID, *, at_most_every_s: float = 0.0) -> None:
        self.watched_id = watched_id
        self._at_most_every_s = at_most_every_s
        self._followers: dict[Follower, None] = {}
        self._stack = ExitStack()

    @abstractmethod
    async def read(self, connection: AsyncConnection) -> None:
        """Take up what is new, and wake the followers if anything is."""

    def open(self, wakeups: WakeUps) -> None:
        watch = self._stack.enter_context(wakeups.watch(self.watched_id))

        async def pause(seconds: float) -> None:
            await asyncio.sleep(self._at_most_every_s)
            await watch.wait(seconds)

        self._reader = Repeated(self._read_once, pause)
        self._stack.callback(self._reader.end)

    def close(self) -> None:
        self._stack.close()

    def join(self, follower: Follower) -> None:
        self._followers[follower] = None

    def leave(self, follower: Follower) -> bool:
        """Whether that was the last one."""
        del self._followers[follower]
        return not self._followers

    def wake(self) -> None:
        for follower in self._followers:
            follower.wake()

    async def wait(self, follower: Follower) -> None:
        """Until there may be news for the follower.  Raises as Follower.check."""
        self._reader.start()
        await follower.wait()

    async def _read_once(self) -> float:
        """How long to pause then."""
        try:
            return READ_AT_LEAST_EVERY_S if await self._read_for_anyone() else TRY_AGAIN_AFTER_S
        except Exception as error:
            if is_unreachable(error):  # streams go on when it is back; who waits too long is told so: see Streams
                logger.warning("a followed job cannot be read now: %s", error)
                return TRY_AGAIN_AFTER_S
            for follower in self._followers:
                follower.fail(error)
            return READ_AT_LEAST_EVERY_S

    async def _read_for_anyone(self) -> bool:
        """In the scope of the first follower who has one; the others learn for themselves why they have none."""
        refused: set[Access] = set()
        for follower in list(self._followers):
            if follower.is_expired() or follower.access in refused:
                follower.doubt()
                continue
            has_entered = False
            try:
                async with follower.look() as work:
                    has_entered = True
                    await self.read(work.connection)
            except DomainError as refusal:
                if has_entered:
                    follower.fail(refusal)
                else:
                    refused.add(follower.access)
                    follower.doubt()
            else:
                return True
        return False


class Streams:
    """All that is followed in this process."""

    def __init__(self, database: Database, wakeups: WakeUps) -> None:
        self.wakeups = wakeups
        self._database = database
        self._feeds: dict[Hashable, Feed] = {}
        self._followers: set[Follower] = set()
        self._asking: Repeated | None = None

    @contextmanager
    def follow(self, follower: Follower, key: Hashable, make: Callable[[], F]) -> Iterator[F]:
        """The feed with that key, made if nobody follows it yet; it ends with its last follower."""
        feed = self._feeds.get(key)
        if feed is None:
            feed = self._feeds[key] = make()
            feed.open(self.wakeups)
        feed.join(follower)
        self._join(follower)
        try:
            yield cast(F, feed)
        finally:
            self._leave(follower)
            if feed.leave(follower):
                del self._feeds[key]
                feed.close()

    def _join(self, follower: Follower) -> None:
        self._followers.add(follower)
        if self._asking is None:
            self._asking = Repeated(self._ask_for_access, asyncio.sleep)
            self._asking.start(after_s=ACCESS_ASKED_EVERY_S)

    def _leave(self, follower: Follower) -> None:
        self._followers.discard(follower)
        if not self._followers and self._asking is not None:
            self._asking.end()
            self._asking = None

    async def _ask_for_access(self) -> float:
        """One question for all; who has lost access, or cannot be sure of it for much longer, asks alone then."""
        granted: dict[Access, list[Follower]] = defaultdict(list)
        for follower in self._followers:
            if follower.is_expired():
                follower.doubt()
            else:
                granted[follower.access].append(follower)
        asked_at = time.monotonic()
        try:
            async with self._database.begin(
                self._database.reading, lambda connection: find_lasting(connection, granted)
            ) as (_, lasting):
                pass
        except Exception as error:  # whatever it is: access that nobody confirms runs out
            logger.warning("access cannot be asked for now: %s", error, exc_info=not is_unreachable(error))
            for follower in self._followers:
                if follower.is_overdue:
                    follower.wake()
            return TRY_AGAIN_AFTER_S
        for access, followers in granted.items():
            for follower in followers:
                if access in lasting.granted:
                    follower.confirm(asked_at)
                else:
                    follower.doubt()
        for key in lasting.due:  # to follow is to use it
            self._database.record_use(key)
        return ACCESS_ASKED_EVERY_S
