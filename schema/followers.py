"""Those who follow, and what they are told."""

import asyncio
import datetime as dt
import math
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Any, Protocol

from domain.access import Access
from schema.work import Work

ACCESS_GOOD_FOR_S = 4.5


@dataclass(eq=False, slots=True)
class Message:
    """What is told: one object for all who are told it, so that what is made of it is made once.

    `place`: in the order of its feed.  `made`: what it has become for each audience, by a weak reference to that, see
    schema.deliveries.
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
        "_has_news",
        "_waiting",
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
        self._fault: tuple[Exception, TracebackType | None] | None = None
        self._has_news = False
        self._waiting: asyncio.Future[None] | None = None

    def is_overdue(self, now: float) -> bool:
        """Nothing may be told before access has been confirmed again.  `now`: of time.monotonic."""
        return now >= self._good_until

    def is_expired(self) -> bool:
        return self._expires_at is not None and dt.datetime.now(dt.UTC) >= self._expires_at

    def wake(self) -> None:
        self._has_news = True
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    def confirm(self, as_of: float) -> None:
        self._good_until = min(max(self._good_until, as_of + ACCESS_GOOD_FOR_S), self._good_at_most_until)

    def doubt(self) -> None:
        """Let the follower ask for the own access at once."""
        self._good_until = 0.0
        self.wake()

    def fail(self, fault: Exception) -> None:
        self._fault = fault, fault.__traceback__
        self.wake()

    def push(self, message: Message, now: float) -> bool:
        """Tell what comes next at once, if that takes no waiting and nothing speaks against it."""
        if message.place <= self.place:
            return True  # the follower's own look was newer than what the feed had read
        if (
            self.deliverer is None
            or self._fault is not None
            or now >= self._good_until
            or self._has_news
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
            fault, traceback = self._fault  # which is not to grow with each follower who raises it
            raise fault.with_traceback(traceback)
        if self.is_overdue(time.monotonic()):
            async with self.look():
                pass

    async def wait(self) -> None:
        """Until there may be news.  Raises as `check`."""
        if not self._has_news:
            self._waiting = asyncio.get_running_loop().create_future()
            try:
                await self._waiting
            finally:
                self._waiting = None
        self._has_news = False
        await self.check()
