"""What every resolver is given: who asks, and transactions that have entered the workspace."""

import asyncio
import datetime as dt
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AbstractContextManager, AsyncExitStack, asynccontextmanager
from copy import copy
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol, Self

import strawberry
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from strawberry.fastapi import BaseContext

from domain.errors import DomainError
from domain.workspaces import Membership, Role, RoleNotAllowed, enter_workspace
from schema.database import Database
from schema.limits import Limits
from schema.loaders import Loaders
from schema.work import Work

ANY_ROLE = tuple(Role)


class Unauthenticated(DomainError):
    code = "UNAUTHENTICATED"


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks: the subject of a verified token, good until it expires (UTC), and the workspace asked for."""

    user_id: str
    expires_at: dt.datetime
    workspace_id: uuid.UUID | None

    def check(self) -> None:
        """Raises Unauthenticated once the token has expired: it is asked at each transaction, on open sockets too."""
        if dt.datetime.now(dt.UTC) >= self.expires_at:
            raise Unauthenticated("The token has expired; get a new one and try again.")


class Watch(Protocol):
    """A wait for news of one job."""

    async def wait(self, timeout_s: float) -> None:
        """Until there may be news since the last call, or the time is over.  A hint: the log is the truth."""


class WakeUps(Protocol):
    """How processes tell each other that a job has news."""

    def announce(self, job_id: uuid.UUID) -> None:
        """Tell all processes, soon, that the job has news.  Call it after the commit."""

    def watch(self, job_id: uuid.UUID) -> AbstractContextManager[Watch]:
        """Hear of the job from now on."""


class _Snapshot:
    """The transaction that one operation's reads share: begun by the first, used by one at a time."""

    def __init__(self, stack: AsyncExitStack) -> None:
        self.lock = asyncio.Lock()
        self._stack = stack
        self._begun: Work | Exception | None = None

    async def begin(self, reading: Callable[[], AbstractAsyncContextManager[Work]]) -> Work:
        """The same transaction for all; what kept the first from it keeps the others as well, without a new wait."""
        if self._begun is None:
            try:
                self._begun = await self._stack.enter_async_context(reading())
            except Exception as refusal:
                self._begun = refusal
                raise
        if isinstance(self._begun, Exception):
            raise self._begun
        return self._begun


class Context(BaseContext):
    """One per HTTP request and one per WebSocket: it holds no connection and caches nothing that may change."""

    def __init__(self, database: Database, wakeups: WakeUps, *, limits: Limits = Limits()) -> None:  # noqa: B008 -- frozen
        super().__init__()
        self.limits = limits
        self._database = database
        self.wakeups = wakeups
        self.principal: Principal | None = None
        self.refusal: Unauthenticated | None = None
        self._snapshot: _Snapshot | None = None

    def authenticate(
        self, find_principal: Callable[[Mapping[str, str]], Principal | None], headers: Mapping[str, Any]
    ) -> None:
        """From headers, or from a socket's `connection_init` payload; a bad token refuses whatever is asked."""
        named = {str(name).lower(): value for name, value in headers.items() if isinstance(value, str)}
        try:
            self.principal, self.refusal = find_principal(named), None
        except Unauthenticated as refusal:
            self.principal, self.refusal = None, refusal

    def fresh(self) -> Self:
        """One for another operation of the same caller: with a snapshot of its own."""
        other = copy(self)
        other._snapshot = None
        other.__dict__.pop("loaders", None)
        return other

    @cached_property
    def loaders(self) -> Loaders:
        return Loaders(self.reading)

    @asynccontextmanager
    async def transaction(self, roles: tuple[Role, ...]) -> AsyncIterator[Work]:
        """One transaction for a mutation: commits at the end, rolls back when anything is raised.

        Raises Unauthenticated, NotAMember, WorkspaceRequired, RoleNotAllowed.
        """
        async with self._begin(self._database.writing) as work:
            _check_role(work, roles)
            yield work
        for job_id in work.announced:
            self.wakeups.announce(job_id)

    @asynccontextmanager
    async def one_snapshot(self) -> AsyncIterator[None]:
        """Everything that is read in the block is of one moment, by one connection.

        For the operation of an HTTP request.  A socket's operations share this context, so they read each for itself.
        """
        if self._snapshot is not None or self.connection_params is not None:
            yield
            return
        async with AsyncExitStack() as stack:
            self._snapshot = _Snapshot(stack)
            try:
                yield
            finally:
                self._snapshot = None

    @asynccontextmanager
    async def reading(self, roles: tuple[Role, ...] = ANY_ROLE) -> AsyncIterator[Work]:
        """A read-only transaction with one snapshot for everything read in it.  Raises as `transaction`."""
        snapshot = self._snapshot
        if snapshot is None:
            async with self._reading_alone() as work:
                _check_role(work, roles)
                yield work
        else:
            async with snapshot.lock:
                work = await snapshot.begin(self._reading_alone)
                _check_role(work, roles)
                yield work

    @asynccontextmanager
    async def _reading_alone(self) -> AsyncIterator[Work]:
        async with self._begin(self._database.reading) as work:
            yield work

    @asynccontextmanager
    async def following(self, roles: tuple[Role, ...]) -> AsyncIterator[Work]:
        """As `reading`, for streams: they wait for their turn however many they are, and none fails for the crowd."""
        async with self._database.turn_of_follower(), self.reading(roles) as work:
            yield work

    @asynccontextmanager
    async def _begin(self, engine: AsyncEngine) -> AsyncIterator[Work]:
        if self.refusal is not None:
            raise self.refusal
        if (principal := self.principal) is None:
            raise Unauthenticated("Send a token: Authorization: Bearer <token>.")
        principal.check()

        async def enter(connection: AsyncConnection) -> Membership:
            return await enter_workspace(connection, principal.user_id, principal.workspace_id)

        async with self._database.begin(engine, enter) as (connection, membership):
            yield Work(connection, membership)


def _check_role(work: Work, roles: tuple[Role, ...]) -> None:
    if work.membership.role not in roles:
        raise RoleNotAllowed(work.membership.role, roles)


__all__ = ["ANY_ROLE", "Context", "Database", "Info", "Principal", "Unauthenticated", "WakeUps", "Watch"]

Info = strawberry.Info[Context, None]
