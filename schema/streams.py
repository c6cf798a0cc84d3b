"""What is followed in this process is read once for all who follow, and one question asks for everybody's access.

The log is the truth and wake-ups are hints.  All that is followed and has news is read in one transaction, and
everything every few seconds, whatever was heard.  Whoever is told something has had access confirmed within the last
five seconds, or asks for it alone: see docs/decisions/0010.
"""

import asyncio
import logging
import time
import uuid
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Awaitable, Callable, Hashable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import ClassVar, Self, TypeVar, cast

from sqlalchemy.ext.asyncio import AsyncConnection

from domain.access import Access, find_lasting
from domain.errors import DomainError
from domain.workspaces import enter_all_workspaces
from schema.database import Database
from schema.faults import is_unreachable
from schema.followers import Follower, Message
from schema.wakeups import WakeUps

logger = logging.getLogger("robot_jobs.streams")

READ_AT_LEAST_EVERY_S = 4.0  # what a lost wake-up costs at most
ACCESS_ASKED_EVERY_S = 3.0
TRY_AGAIN_AFTER_S = 0.5

F = TypeVar("F", bound="Feed")


class Repeated:
    """Runs a step, pauses for as long as the step says, and so on.

    Ended in a pause, it ends at once.  A step that is under way is finished: to cancel it would cost its connection.
    """

    _running: ClassVar[set[asyncio.Task[None]]] = set()  # the event loop itself keeps no hold of tasks

    def __init__(self, step: Callable[[], Awaitable[float]], pause: Callable[[float], Awaitable[object]]) -> None:
        self._step = step
        self._pause = pause
        self._is_paused = False
        self._is_ended = False
        self._task = asyncio.get_running_loop().create_task(self._run())
        self._running.add(self._task)
        self._task.add_done_callback(self._running.discard)

    @classmethod
    async def finish_all(cls, within_s: float) -> None:
        """Wait, so long at most, for the steps that are under way though all has ended: they use the database."""
        if cls._running:
            await asyncio.wait(cls._running, timeout=within_s)

    def end(self) -> None:
        self._is_ended = True
        if self._is_paused:
            self._task.cancel()

    async def _run(self) -> None:
        while True:
            pause_s = await self._step()
            if self._is_ended:
                return
            self._is_paused = True
            await self._pause(pause_s)
            self._is_paused = False


class Feed:
    """What the followers of one thing share.  They all see the same: each has made a first look in a scope of its own.

    `watched_id`: what it wakes up with, a job or a workspace.
    """

    def __init__(self, watched_id: uuid.UUID, *, at_most_every_s: float = 0.0) -> None:
        self.watched_id = watched_id
        self.followers: dict[Follower, None] = {}
        self.has_news = False
        self.read_at = time.monotonic()
        self._at_most_every_s = at_most_every_s
        self._at_head: dict[Follower, None] = {}
        self._stack = ExitStack()

    def open(self, wakeups: WakeUps, wake: Callable[[], None]) -> None:
        def hear() -> None:
            self.has_news = True
            wake()

        self._stack.enter_context(wakeups.watch(self.watched_id, hear))
        hear()  # of what happened between the first look and now nobody heard

    def close(self) -> None:
        self._stack.close()

    def join(self, follower: Follower) -> None:
        self.followers[follower] = None

    def leave(self, follower: Follower) -> bool:
        """Whether that was the last one."""
        del self.followers[follower]
        return not self.followers

    def due_in_s(self, now: float) -> float:
        """When it is to be read next; 0 or less: now."""
        return self.read_at + (self._at_most_every_s if self.has_news else READ_AT_LEAST_EVERY_S) - now

    async def wait(self, follower: Follower) -> None:
        """Until there may be something to tell that has not been told yet: see `tell`.  Raises as Follower.check.

        Call it when the follower has been told all that there is.
        """
        self._at_head[follower] = None
        try:
            await follower.wait()
        finally:
            self._at_head.pop(follower, None)

    def tell(self, messages: Iterable[Message]) -> None:
        """In order, and at once to all who wait and can be told without waiting; the others are woken."""
        now = time.monotonic()
        for message in messages:
            for follower in [each for each in self._at_head if not _push(each, message, now)]:
                del self._at_head[follower]
                follower.wake()

    def wake(self) -> None:
        for follower in self.followers:
            follower.wake()

    def fail(self, fault: Exception) -> None:
        for follower in self.followers:
            follower.fail(fault)


def _push(follower: Follower, message: Message, now: float) -> bool:
    try:
        return follower.push(message, now)
    except Exception:  # whatever it is: it is this follower's, who meets it again when awake, and no one else's
        logger.exception("a follower could not be told at once")
        return False


class SharedFeed(Feed, ABC):
    """One that is read together with all others of its kind, as the system: it is of what a follower was let in to."""

    @classmethod
    @abstractmethod
    async def read_all(cls, connection: AsyncConnection, feeds: Sequence[Self]) -> None:
        """Take up what is new of each, by a number of statements that does not depend on theirs."""


class ScopedFeed(Feed, ABC):
    """One that is read in the scope of one of its followers, for what it asks has no other bounds."""

    @abstractmethod
    async def read(self, connection: AsyncConnection) -> None:
        """Take up what is new."""


Read = Callable[[Sequence[Feed]], Awaitable[None]]


class Reader:
    """Reads feeds when they are due, one at a time or all together: that is what `read` is for.

    A fault of one feed ends its streams; while the database is away they wait.
    """

    def __init__(self, read: Read) -> None:
        self.feeds: dict[Feed, None] = {}
        self._read = read
        self._news = asyncio.Event()
        self._is_resting = False
        self._loop: Repeated | None = None

    def add(self, feed: Feed, wakeups: WakeUps) -> None:
        self.feeds[feed] = None
        feed.open(wakeups, self._news.set)
        if self._loop is None:
            self._loop = Repeated(self._read_due, self._pause)

    def remove(self, feed: Feed) -> None:
        del self.feeds[feed]
        feed.close()
        if not self.feeds and self._loop is not None:
            self._loop.end()
            self._loop = None

    async def _pause(self, seconds: float) -> None:
        """Until there is news, or so long; when the database was away, so long in any case."""
        if self._is_resting:
            await asyncio.sleep(seconds)
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._news.wait()
        self._news.clear()

    async def _read_due(self) -> float:
        """How long to pause then, unless there is news."""
        now = time.monotonic()
        due = [feed for feed in self.feeds if feed.due_in_s(now) <= 0]
        self._is_resting = bool(due) and not await self._try(due)
        if self._is_resting:
            return TRY_AGAIN_AFTER_S
        now = time.monotonic()
        return max(0.0, min((feed.due_in_s(now) for feed in self.feeds), default=READ_AT_LEAST_EVERY_S))

    async def _try(self, due: Sequence[Feed]) -> bool:
        """Whether the database was there: if not, they stay due."""
        for feed in due:
            feed.read_at, feed.has_news = time.monotonic(), False
        try:
            await self._read(due)
        except Exception as error:
            if is_unreachable(error):  # streams go on when it is back; who waits too long is told so: see Streams
                logger.warning("what is followed cannot be read now: %s", error)
                for feed in due:
                    feed.has_news = True
                return False
            if len(due) > 1:  # each alone: the fault of one is not that of the others
                return await self._try_alone(due)
            due[0].fail(error)
        return True

    async def _try_alone(self, due: Sequence[Feed]) -> bool:
        for number, feed in enumerate(due):
            if not await self._try([feed]):
                for unread in due[number:]:
                    unread.has_news = True
                return False
        return True


class Streams:
    """All that is followed in this process."""

    def __init__(self, database: Database, wakeups: WakeUps) -> None:
        self.wakeups = wakeups
        self._database = database
        self._feeds: dict[Hashable, Feed] = {}
        self._followers: set[Follower] = set()
        self._shared, self._scoped = Reader(self._read_together), Reader(self._read_in_scopes)
        self._asking: Repeated | None = None
        self._asked_at = 0.0

    def find(self, key: Hashable) -> Feed | None:
        """The feed with that key, if somebody follows it."""
        return self._feeds.get(key)

    @contextmanager
    def follow(self, follower: Follower, key: Hashable, make: Callable[[], F]) -> Iterator[F]:
        """The feed with that key, made if nobody follows it yet; it ends with its last follower."""
        feed = self._feeds.get(key)
        if feed is None:
            feed = self._feeds[key] = make()
            self._reader_of(feed).add(feed, self.wakeups)
        feed.join(follower)
        self._join(follower)
        try:
            yield cast(F, feed)
        finally:
            self._leave(follower)
            if feed.leave(follower):
                del self._feeds[key]
                self._reader_of(feed).remove(feed)

    def _join(self, follower: Follower) -> None:
        self._followers.add(follower)
        if self._asking is None:
            self._asked_at = time.monotonic()
            self._asking = Repeated(self._ask_for_access, asyncio.sleep)

    def _leave(self, follower: Follower) -> None:
        self._followers.discard(follower)
        if not self._followers and self._asking is not None:
            self._asking.end()
            self._asking = None

    # ------------------------------------------------------------------------------------------ reading

    def _reader_of(self, feed: Feed) -> Reader:
        return self._shared if isinstance(feed, SharedFeed) else self._scoped

    async def _read_together(self, due: Sequence[Feed]) -> None:
        kinds: dict[type[SharedFeed], list[SharedFeed]] = defaultdict(list)
        for feed in cast(Sequence[SharedFeed], due):
            kinds[type(feed)].append(feed)
        async with (
            self._database.turn_of_reader,
            self._database.begin(self._database.reading, enter_all_workspaces) as (connection, _),
        ):
            for kind, feeds in kinds.items():
                await kind.read_all(connection, feeds)

    async def _read_in_scopes(self, due: Sequence[Feed]) -> None:
        for feed in cast(Sequence[ScopedFeed], due):
            await self._read_in_scope(feed)

    async def _read_in_scope(self, feed: ScopedFeed) -> None:
        """Of the first follower who has one; the others learn for themselves why they have none."""
        refused: set[Access] = set()
        for follower in list(feed.followers):
            if follower.is_expired() or follower.access in refused:
                follower.doubt()
                continue
            has_entered = False
            try:
                async with follower.look() as work:
                    has_entered = True
                    await feed.read(work.connection)
            except DomainError:
                if has_entered:
                    raise
                refused.add(follower.access)
                follower.doubt()
            else:
                return

    # ------------------------------------------------------------------------------------------ access

    async def _ask_for_access(self) -> float:
        """One question for all; who has lost access, or cannot be sure of it for much longer, asks alone then."""
        if (pause_s := self._asked_at + ACCESS_ASKED_EVERY_S - time.monotonic()) > 0:
            return pause_s  # who has just come has just been let in
        granted: dict[Access, list[Follower]] = defaultdict(list)
        for follower in self._followers:
            if follower.is_expired():
                follower.doubt()
            else:
                granted[follower.access].append(follower)
        asked_at = time.monotonic()
        try:
            async with (
                self._database.turn_of_asker,
                self._database.begin(self._database.reading, lambda connection: find_lasting(connection, granted)) as (
                    _,
                    lasting,
                ),
            ):
                pass
        except Exception as error:  # whatever it is: access that nobody confirms runs out
            logger.warning("access cannot be asked for now: %s", error, exc_info=not is_unreachable(error))
            now = time.monotonic()
            for follower in self._followers:
                if follower.is_overdue(now):
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
