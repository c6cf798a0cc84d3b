"""What every resolver is given: who asks, and transactions that have entered the workspace."""

import asyncio
import datetime as dt
import logging
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    AsyncExitStack,
    asynccontextmanager,
    suppress,
)
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Generic, Protocol, TypeVar

import sqlalchemy.exc
import strawberry
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from strawberry.fastapi import BaseContext

from domain.api_keys import (
    ApiKeyNotValid,
    KeyWithWorkspaces,
    PresentedKey,
    enter_workspace_by_key,
    get_key_with_workspaces,
    record_api_key_use,
    user_id_of,
)
from domain.envelopes import KeyRing
from domain.errors import DomainError
from domain.workspaces import (
    Membership,
    NotAMember,
    Role,
    RoleNotAllowed,
    WorkspaceOfViewer,
    WorkspaceRequired,
    enter_workspace,
    list_workspaces_of_user,
)
from schema.loaders import Loaders
from schema.work import Work

ANY_ROLE = tuple(Role)
T = TypeVar("T")
logger = logging.getLogger("robot_jobs.context")


class Unauthenticated(DomainError):
    code = "UNAUTHENTICATED"


class AuthenticationUnavailable(DomainError):
    """The token may be good, but what would tell cannot be reached."""

    code = "SERVICE_UNAVAILABLE"


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


@dataclass(frozen=True, slots=True)
class KeyPrincipal:
    """A robot with an API key, and the workspace asked for.  Whether the key is good, each transaction decides."""

    presented: PresentedKey
    workspace_id: uuid.UUID | None

    @property
    def user_id(self) -> str:
        """A name for limits and logs; records carry the id that the database knows the key by."""
        return f"key:{self.presented.prefix}"

    def check(self) -> None:
        """The database's clock decides, at each transaction."""


@dataclass(frozen=True, slots=True)
class Viewer:
    """Who asks, and where they may work.  `key`: what is known of the key, if it is one."""

    user_id: str
    workspaces: list[WorkspaceOfViewer]
    key: KeyWithWorkspaces | None = None


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


class Database:
    """One pool, seen twice: for transactions that write, and for snapshots that only read."""

    def __init__(self, engine: AsyncEngine) -> None:
        self.writing = engine
        self.reading = engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        # Followers of a busy job all read at once; half of the pool stays free for those who work.
        self.followers = asyncio.Semaphore(max(1, getattr(engine.pool, "size", lambda: 2)() // 2))
        self._recordings: dict[PresentedKey, asyncio.Task[None]] = {}

    def record_use(self, key: PresentedKey) -> None:
        """Note soon that the key was used; the request does not wait for it."""
        if key not in self._recordings:
            task = asyncio.get_running_loop().create_task(self._record_use(key))
            self._recordings[key] = task
            task.add_done_callback(lambda _: self._recordings.pop(key))

    async def _record_use(self, key: PresentedKey) -> None:
        try:
            async with self.writing.begin() as connection:
                await record_api_key_use(connection, key)
        except (OSError, sqlalchemy.exc.SQLAlchemyError) as error:
            logger.warning("the use of the API key %s… was not recorded: %s", key.prefix, error)

    async def finish(self) -> None:
        """Wait for what was promised to be recorded soon."""
        await asyncio.gather(*self._recordings.values())


class _Once(Generic[T]):
    """What is made at most once; what kept it from being made keeps all others from it as well, without a new wait."""

    def __init__(self, make: Callable[[], Awaitable[T]]) -> None:
        self._make = make
        self._made: T | Exception | None = None

    def refuse(self, error: Exception) -> None:
        """From now on nobody gets it."""
        self._made = error

    async def get(self) -> T:
        if self._made is None:
            try:
                self._made = await self._make()
            except Exception as refusal:
                self._made = refusal
                raise
        if isinstance(self._made, Exception):
            raise self._made
        return self._made


class _Snapshot:
    """The transaction that one operation's reads share: begun by the first, used by one at a time."""

    def __init__(
        self,
        opening: Callable[[], AbstractAsyncContextManager[AsyncConnection]],
        entering: Callable[[AsyncConnection], Awaitable[Work]],
    ) -> None:
        async def enter() -> Work:
            return await entering(await self.connection.get())

        self.lock = asyncio.Lock()
        self._stack = AsyncExitStack()
        self.connection = _Once(lambda: self._stack.enter_async_context(opening()))
        self.work = _Once(enter)

    async def end(self) -> None:
        """One field's error can end the operation while others still read: the running one finishes, no more begin.

        Nothing was written, so that the transaction ends badly then does not hide that error.
        """
        async with self.lock:
            for once in (self.connection, self.work):
                once.refuse(RuntimeError("the operation is over"))
            with suppress(sqlalchemy.exc.SQLAlchemyError):
                await self._stack.aclose()


class Context(BaseContext):
    """One per HTTP request and one per WebSocket: it holds no connection and caches nothing that may change."""

    def __init__(self, database: Database, wakeups: WakeUps, *, key_ring: KeyRing | None = None) -> None:
        super().__init__()
        self._database = database
        self.wakeups = wakeups
        self.key_ring = key_ring
        self.principal: Principal | KeyPrincipal | None = None
        self.refusal: DomainError | None = None
        self._snapshot: _Snapshot | None = None

    async def authenticate(
        self,
        find_principal: Callable[[Mapping[str, str]], Awaitable[Principal | KeyPrincipal | None]],
        headers: Mapping[str, Any],
    ) -> None:
        """From headers, or from a socket's `connection_init` payload; a bad token refuses whatever is asked."""
        named = {str(name).lower(): value for name, value in headers.items() if isinstance(value, str)}
        try:
            self.principal, self.refusal = await find_principal(named), None
        except (Unauthenticated, ApiKeyNotValid, AuthenticationUnavailable) as refusal:
            self.principal, self.refusal = None, refusal

    async def is_known(self) -> bool:
        """Whether the principal is one, which of a key only the database can say; when that is away, it may be.

        For sockets as they open: what is asked on them later is checked each time.
        """
        if not isinstance(self.principal, KeyPrincipal):
            return self.principal is not None
        try:
            async with self._reading_alone():
                return True
        except ApiKeyNotValid:
            return False
        except (NotAMember, WorkspaceRequired, OSError, sqlalchemy.exc.SQLAlchemyError):
            return True

    @cached_property
    def loaders(self) -> Loaders:
        return Loaders(self.reading)

    @asynccontextmanager
    async def transaction(self, roles: tuple[Role, ...]) -> AsyncIterator[Work]:
        """One transaction for a mutation: commits at the end, rolls back when anything is raised.

        Raises Unauthenticated, ApiKeyNotValid, NotAMember, WorkspaceRequired, RoleNotAllowed.
        """
        self._checked_principal()
        async with self._database.writing.connect() as connection, connection.begin():
            work = await self._enter(connection)
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
        snapshot = self._snapshot = _Snapshot(self._read_only, self._enter)
        try:
            yield
        finally:
            self._snapshot = None
            await snapshot.end()

    @asynccontextmanager
    async def reading(self, roles: tuple[Role, ...] = ANY_ROLE) -> AsyncIterator[Work]:
        """A read-only transaction with one snapshot for everything read in it.  Raises as `transaction`."""
        self._checked_principal()
        snapshot = self._snapshot
        if snapshot is None:
            async with self._reading_alone() as work:
                _check_role(work, roles)
                yield work
        else:
            async with snapshot.lock:
                work = await snapshot.work.get()
                _check_role(work, roles)
                yield work

    @asynccontextmanager
    async def _reading_alone(self) -> AsyncIterator[Work]:
        async with self._read_only() as connection:
            yield await self._enter(connection)

    @asynccontextmanager
    async def _read_only(self) -> AsyncIterator[AsyncConnection]:
        async with self._database.reading.connect() as connection:
            await connection.begin()  # nothing to commit: closing ends it, on a connection that was lost as well
            yield connection

    async def viewer(self) -> Viewer:
        """Who asks, in whatever workspace or none; one statement.  Raises Unauthenticated, ApiKeyNotValid."""
        principal = self._checked_principal()
        snapshot = self._snapshot
        if snapshot is None:
            async with self._read_only() as connection:
                return await self._view(connection, principal)
        async with snapshot.lock:
            return await self._view(await snapshot.connection.get(), principal)

    async def _view(self, connection: AsyncConnection, principal: Principal | KeyPrincipal) -> Viewer:
        if isinstance(principal, Principal):
            return Viewer(principal.user_id, await list_workspaces_of_user(connection, principal.user_id))
        found = await get_key_with_workspaces(connection, principal.presented)
        if found.is_use_due:
            self._database.record_use(principal.presented)
        return Viewer(user_id_of(found.api_key.id), found.workspaces, found)

    @asynccontextmanager
    async def following(self, roles: tuple[Role, ...]) -> AsyncIterator[Work]:
        """As `reading`, for streams: they wait for their turn however many they are, and none fails for the crowd."""
        async with self._database.followers, self.reading(roles) as work:
            yield work

    def _checked_principal(self) -> Principal | KeyPrincipal:
        """Raises what refuses the caller, before any connection is taken."""
        if self.refusal is not None:
            raise self.refusal
        if self.principal is None:
            raise Unauthenticated("Send a token: Authorization: Bearer <token>.")
        self.principal.check()
        return self.principal

    async def _enter(self, connection: AsyncConnection) -> Work:
        return Work(connection, await self._enter_workspace(connection, self._checked_principal()))

    async def _enter_workspace(self, connection: AsyncConnection, principal: Principal | KeyPrincipal) -> Membership:
        if isinstance(principal, Principal):
            return await enter_workspace(connection, principal.user_id, principal.workspace_id)
        entered = await enter_workspace_by_key(connection, principal.presented, principal.workspace_id)
        if entered.is_use_due:
            self._database.record_use(principal.presented)
        return entered.membership


def _check_role(work: Work, roles: tuple[Role, ...]) -> None:
    if work.membership.role not in roles:
        raise RoleNotAllowed(work.membership.role, roles)


Info = strawberry.Info[Context, None]
