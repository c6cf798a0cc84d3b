"""What is followed in this process is read once for all who follow, and one question asks for everybody's access.

The log is the truth and wake-ups are hints.  All that is followed and has news is read in one transaction, and
everything every few seconds, whatever was heard.  Whoever is told something has had access confirmed within the last
five seconds, or asks for it alone: see docs/decisions/0010.
"""

import asyncio
import datetime as dt
import logging
import math
import time
import uuid
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable, Iterable, Iterator, Sequence
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    ExitStack,
    asynccontextmanager,
    contextmanager,
    suppress,
)
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Protocol, Self, TypeVar, cast

from sqlalchemy.ext.asyncio import AsyncConnection

from domain.access import Access, find_lasting
from domain.workspaces import enter_all_workspaces
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


@dataclass(eq=False, slots=True)
class Message:
    """What is told: one object for all who are told it, so that what is made of it is made once.

    `place`: in the order of its feed.  `made`: what it has become for each audience, see schema.deliveries.
    """

    place: int
    value: object
    made: dict[Any, Any] = field(default_factory=dict)


class Deliverer(Protocol):
    """The way to one client."""

    def begin(self, follower: "Follower", context: Any) -> None:
        """The follower has been let in; what it is told is executed in that context."""

    def push(self, message: Message) -> bool:
        """Tell it at once, if that takes no waiting, or change nothing."""


class Follower:
    """One who follows: `look` begins a transaction in the follower's own scope, or raises why there is none any more.

    `place`: up to where all has been told.  `expires_at`: of a token, UTC; None for a key, whose time the database
    knows.  `deliverer`: where there is one, it may be told without being woken.
    """

    __slots__ = (
        "_begin",
        "_expires_at",
        "_fault",
        "_good_at_most_until",
        "_good_until",
        "_news",
        "access",
        "deliverer",
        "place",
    )

    def __init__(
        self,
        look: Callable[[], AbstractAsyncContextManager[Work]],
        access: Access,
        expires_at: dt.datetime | None,
    ) -> None:
        self.access = access
        self.place = 0
        self.deliverer: Deliverer | None = None
        self._begin = look
        self._expires_at = expires_at
        self._good_until = 0.0
        now = time.monotonic()
        left = (expires_at - dt.datetime.now(dt.UTC)).total_seconds() if expires_at is not None else math.inf
        self._good_at_most_until = now + left
        self.confirm(now)
        self._fault: Exception | None = None
        self._news = asyncio.Event()

    def is_overdue(self, now: float) -> bool:
        """Nothing may be told before access has been confirmed again.  `now`: of time.monotonic."""
        return now >= self._good_until

    def is_expired(self) -> bool:
        return self._expires_at is not None and dt.datetime.now(dt.UTC) >= self._expires_at

    def wake(self) -> None:
        self._news.set()

    def confirm(self, as_of: float) -> None:
        self._good_until = min(max(self._good_until, as_of + ACCESS_GOOD_FOR_S), self._good_at_most_until)

    def doubt(self) -> None:
        """Let the follower ask for the own access at once."""
        self._good_until = 0.0
        self.wake()

    def fail(self, fault: Exception) -> None:
        self._fault = fault
        self.wake()

    def push(self, message: Message, now: float) -> bool:
        """Tell what comes next at once, if that takes no waiting and nothing speaks against it."""
        if message.place <= self.place:
            return True  # the follower's own look was newer than what the feed had read
        if (
            self.deliverer is None
            or self._fault is not None
            or now >= self._good_until
            or self._news.is_set()
            or not self.deliverer.push(message)
        ):
            return False
        self.place = message.place
        return True

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
        if self.is_overdue(time.monotonic()):
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
        self._is_paused = False
        self._is_ended = False
        self._task = asyncio.get_running_loop().create_task(self._run())
        self._running.add(self._task)
        self._task.add_done_callback(self._running.discard)

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


class Feed(ABC):
    """What the followers of one thing share: it is read as the system, so it names its workspace in what it asks.

    Its followers all see the same: each has made its first look in a scope of its own.
    """

    at_most_every_s: ClassVar[float] = 0.0

    def __init__(self, workspace_id: uuid.UUID) -> None:
        self.workspace_id = workspace_id
        self.read_at = time.monotonic()
        self.has_news = False
        self._followers: dict[Follower, None] = {}
        self._at_head: dict[Follower, None] = {}
        self._stack = ExitStack()

    @abstractmethod
    def watch(self, wakeups: WakeUps, wake: Callable[[], None]) -> AbstractContextManager[None]:
        """Hear of what it tells of."""

    @classmethod
    @abstractmethod
    async def read_all(cls, connection: AsyncConnection, feeds: Sequence[Self]) -> None:
        """Take up what is new of each, by a number of statements that does not depend on theirs."""

    def open(self, wakeups: WakeUps, wake: Callable[[], None]) -> None:
        def hear() -> None:
            self.has_news = True
            wake()

        self._stack.enter_context(self.watch(wakeups, hear))
        self.has_news = True  # of what happened between the first look and now nobody heard

    def close(self) -> None:
        self._stack.close()

    def join(self, follower: Follower) -> None:
        self._followers[follower] = None

    def leave(self, follower: Follower) -> bool:
        """Whether that was the last one."""
        del self._followers[follower]
        return not self._followers

    def due_in_s(self, now: float) -> float:
        """When it is to be read next; 0 or less: now."""
        return self.read_at + (self.at_most_every_s if self.has_news else READ_AT_LEAST_EVERY_S) - now

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
            for follower in [each for each in self._at_head if not each.push(message, now)]:
                del self._at_head[follower]
                follower.wake()

    def wake(self) -> None:
        for follower in self._followers:
            follower.wake()

    def fail(self, fault: Exception) -> None:
        for follower in self._followers:
            follower.fail(fault)


class Streams:
    """All that is followed in this process."""

    def __init__(self, database: Database, wakeups: WakeUps) -> None:
        self.wakeups = wakeups
        self._database = database
        self._feeds: dict[Hashable, Feed] = {}
        self._followers: set[Follower] = set()
        self._news = asyncio.Event()
        self._one_at_a_time = asyncio.Lock()  # of the pool's connections, one is enough for all this
        self._is_resting = False
        self._asked_at = 0.0
        self._work: list[Repeated] = []

    def find(self, key: Hashable) -> Feed | None:
        """The feed with that key, if somebody follows it."""
        return self._feeds.get(key)

    @contextmanager
    def follow(self, follower: Follower, key: Hashable, make: Callable[[], F]) -> Iterator[F]:
        """The feed with that key, made if nobody follows it yet; it ends with its last follower."""
        feed = self._feeds.get(key)
        if feed is None:
            feed = self._feeds[key] = make()
            feed.open(self.wakeups, self._news.set)
            self._news.set()
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
        if not self._work:
            self._asked_at = time.monotonic()
            self._work = [Repeated(self._read, self._pause), Repeated(self._ask_for_access, asyncio.sleep)]

    def _leave(self, follower: Follower) -> None:
        self._followers.discard(follower)
        if not self._followers:
            for each in self._work:
                each.end()
            self._work = []

    # ------------------------------------------------------------------------------------------ reading

    async def _pause(self, seconds: float) -> None:
        """Until there is news, or so long; when the database was away, so long in any case."""
        if self._is_resting:
            await asyncio.sleep(seconds)
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._news.wait()
        self._news.clear()

    async def _read(self) -> float:
        """Read all that is due; how long to pause then, unless there is news."""
        now = time.monotonic()
        due = [feed for feed in self._feeds.values() if feed.due_in_s(now) <= 0]
        self._is_resting = bool(due) and not await self._read_together(due)
        if self._is_resting:
            return TRY_AGAIN_AFTER_S
        now = time.monotonic()
        return max(0.0, min((feed.due_in_s(now) for feed in self._feeds.values()), default=READ_AT_LEAST_EVERY_S))

    async def _read_together(self, due: Sequence[Feed]) -> bool:
        """Whether the database was there: if not, they stay due."""
        try:
            await self._read_feeds(due)
        except Exception as error:
            if is_unreachable(error):  # streams go on when it is back; who waits too long is told so: see below
                logger.warning("what is followed cannot be read now: %s", error)
                for feed in due:
                    feed.has_news = True
                return False
            if len(due) > 1:  # each alone: the fault of one is not that of the others
                return all([await self._read_together([feed]) for feed in due])
            due[0].fail(error)
        return True

    async def _read_feeds(self, due: Sequence[Feed]) -> None:
        kinds: dict[type[Feed], list[Feed]] = defaultdict(list)
        for feed in due:
            feed.read_at, feed.has_news = time.monotonic(), False
            kinds[type(feed)].append(feed)
        async with (
            self._one_at_a_time,
            self._database.begin(self._database.reading, enter_all_workspaces) as (connection, _),
        ):
            for kind, feeds in kinds.items():
                await kind.read_all(connection, feeds)

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
                self._one_at_a_time,
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
