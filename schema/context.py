"""What every resolver is given: who asks, and transactions that have entered the workspace."""

import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from contextvars import ContextVar
from copy import copy
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Self

import sqlalchemy.exc
import strawberry
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from strawberry.fastapi import BaseContext

from domain.access import Access
from domain.accounts import Breaker
from domain.api_keys import (
    ApiKeyNotValid,
    KeyWithWorkspaces,
    enter_workspace_by_key,
    get_key_with_workspaces,
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
    enter_all_workspaces,
    enter_workspace,
    list_workspaces_of_user,
)
from schema.database import Database
from schema.followers import Deliverer, Follower
from schema.limits import Limits
from schema.loaders import Loaders
from schema.principals import AuthenticationUnavailable, KeyPrincipal, Principal, Unauthenticated
from schema.snapshots import Snapshot, Step
from schema.streams import Streams
from schema.work import Work

ANY_ROLE = tuple(Role)
_answered_in: ContextVar[uuid.UUID | None] = ContextVar("answered in", default=None)  # each operation has its own task


@dataclass(frozen=True, slots=True)
class Viewer:
    """Who asks, and where they may work.  `key`: what is known of the key, if it is one."""

    user_id: str
    workspaces: list[WorkspaceOfViewer]
    key: KeyWithWorkspaces | None = None


class Context(BaseContext):
    """One per HTTP request and one per WebSocket: it holds no connection and caches nothing that may change."""

    def __init__(
        self,
        database: Database,
        streams: Streams,
        *,
        limits: Limits = Limits(),  # noqa: B008 -- frozen
        key_ring: KeyRing | None = None,
        breaker: Breaker = Breaker(),  # noqa: B008 -- frozen
    ) -> None:
        super().__init__()
        self._database = database
        self.streams = streams
        self.limits = limits
        self.key_ring = key_ring
        self.breaker = breaker
        self.principal: Principal | KeyPrincipal | None = None
        self.refusal: DomainError | None = None
        self.deliverer: Deliverer | None = None  # of the subscription that runs, if one does
        self._snapshot: Snapshot | None = None
        self._loaders: dict[uuid.UUID | None, Loaders] = {}

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
            await self.check_key()
        except ApiKeyNotValid:
            return False
        except (OSError, sqlalchemy.exc.SQLAlchemyError):
            pass
        return True

    async def check_key(self) -> None:
        """Raises ApiKeyNotValid, and OSError or SQLAlchemyError when the database is away."""
        with suppress(NotAMember, WorkspaceRequired):  # of those only who has a good key is told
            async with self._begin(self._database.reading, self._enter):
                pass

    def fresh(self) -> Self:
        """One for another operation of the same caller: with a snapshot of its own."""
        other = copy(self)
        other._snapshot = None
        other._loaders = {}
        return other

    @property
    def loaders(self) -> Loaders:
        """A batch is of one workspace, also for a key of the installation that asks for several at once."""
        where = _answered_in.get()
        if where not in self._loaders:
            self._loaders[where] = Loaders(self.reading)
        return self._loaders[where]

    def answer_in(self, workspace_id: uuid.UUID | None) -> None:
        """What the running operation reads from now on is of that workspace, if the caller has named none."""
        _answered_in.set(workspace_id)

    @asynccontextmanager
    async def transaction(
        self, roles: tuple[Role, ...], *, workspace_id: uuid.UUID | None = None
    ) -> AsyncIterator[Work]:
        """One transaction for a mutation: commits at the end, rolls back when anything is raised.

        `workspace_id`: where, if the caller has not said it.  Raises Unauthenticated, ApiKeyNotValid, NotAMember,
        WorkspaceRequired, RoleNotAllowed.
        """
        principal = self._checked_principal()
        if workspace_id is not None:
            principal = replace(principal, workspace_id=workspace_id)
        whose = str(principal.workspace_id or principal.identity)
        enter = partial(self._enter, principal=principal)
        async with (
            self._database.turn_of_writer(whose) as since,
            self._database.begin(self._database.writing, enter, since=since) as (_, work),
        ):
            _check_role(work, roles)
            yield work
        for changed_id in work.announced:
            self.streams.wakeups.announce(changed_id)

    async def workspaces_in_turn(
        self, list_in_turn: Callable[[AsyncConnection], Awaitable[list[uuid.UUID]]]
    ) -> Sequence[uuid.UUID | None]:
        """Where the caller may do what it has not said where to do; None: where it says, or its only workspace.

        A key of the installation may work everywhere, and for it alone the list is asked for, as the system.  Raises
        Unauthenticated, ApiKeyNotValid.
        """
        principal = self._checked_principal()
        if not isinstance(principal, KeyPrincipal) or principal.workspace_id is not None:
            return [None]
        async with self._database.begin(self._database.reading, self._enter_or_stay_out) as (connection, entered):
            if entered:
                return [None]
            await enter_all_workspaces(connection)
            return await list_in_turn(connection)

    async def _enter_or_stay_out(self, connection: AsyncConnection) -> bool:
        """Whether there is one workspace to enter; False for several.  Raises ApiKeyNotValid, NotAMember."""
        with suppress(WorkspaceRequired):
            await self._enter(connection)
            return True
        return False

    @asynccontextmanager
    async def one_snapshot(self) -> AsyncIterator[None]:
        """Everything that is read in the block is of one moment, by one connection.

        For the operation of an HTTP request.  A socket's operations share this context, so they read each for itself.
        """
        if self._snapshot is not None or self.connection_params is not None:
            yield
            return
        snapshot = self._snapshot = Snapshot(lambda step: self._begin(self._database.reading, step))
        try:
            yield
        finally:
            self._snapshot = None
            await snapshot.end()

    @asynccontextmanager
    async def reading(self, roles: tuple[Role, ...] = ANY_ROLE) -> AsyncIterator[Work]:
        """A read-only transaction with one snapshot for everything read in it.  Raises as `transaction`."""
        async with self._read(self._entering()) as work:
            _check_role(work, roles)
            yield work

    def _entering(self) -> Step[Work]:
        principal, where = self._checked_principal(), _answered_in.get()
        if where is None or principal.workspace_id is not None:
            return self._enter
        return partial(self._enter, principal=replace(principal, workspace_id=where))

    async def viewer(self) -> Viewer:
        """Who asks, in whatever workspace or none; one statement.  Raises Unauthenticated, ApiKeyNotValid."""
        viewer: Viewer
        async with self._read(self._view) as viewer:
            return viewer

    @asynccontextmanager
    async def following(self, roles: tuple[Role, ...]) -> AsyncIterator[Work]:
        """As `reading`, for streams: they wait for their turn however many they are, and none fails for the crowd."""
        async with self._database.turn_of_follower(), self.reading(roles) as work:
            yield work

    def follower(self, membership: Membership, roles: tuple[Role, ...]) -> Follower:
        """Who asks, as one who follows in that workspace from now on; it need not have been named."""
        principal = self._checked_principal()
        own = self.fresh() if self.deliverer is None else self  # a delivery has a context of its own
        own.principal = replace(principal, workspace_id=membership.workspace_id)
        look = partial(own.following, roles)
        if isinstance(principal, Principal):
            follower = Follower(look, Access(membership), principal.expires_at)
        else:
            follower = Follower(look, Access(membership, principal.presented), None)
        if self.deliverer is not None:
            self.deliverer.begin(follower, own)
        return follower

    @asynccontextmanager
    async def _read(self, step: Step[Any]) -> AsyncIterator[Any]:
        """What the step gives, in the operation's snapshot, if it has one."""
        self._checked_principal()
        snapshot = self._snapshot
        if snapshot is None:
            async with self._begin(self._database.reading, step) as (_, made):
                yield made
        else:
            async with snapshot.lock:
                yield await snapshot.get(step)

    def _begin(self, engine: AsyncEngine, step: Step[Any]) -> AbstractAsyncContextManager[tuple[AsyncConnection, Any]]:
        self._checked_principal()
        return self._database.begin(engine, step)

    def _checked_principal(self) -> Principal | KeyPrincipal:
        """Raises what refuses the caller, before any connection is taken."""
        if self.refusal is not None:
            raise self.refusal
        if self.principal is None:
            raise Unauthenticated("Send a token: Authorization: Bearer <token>.")
        self.principal.check()
        return self.principal

    async def _enter(self, connection: AsyncConnection, principal: Principal | KeyPrincipal | None = None) -> Work:
        return Work(connection, await self._enter_workspace(connection, principal or self._checked_principal()))

    async def _enter_workspace(self, connection: AsyncConnection, principal: Principal | KeyPrincipal) -> Membership:
        if isinstance(principal, Principal):
            return await enter_workspace(connection, principal.user_id, principal.workspace_id)
        entered = await enter_workspace_by_key(connection, principal.presented, principal.workspace_id)
        if entered.is_use_due:
            self._database.record_use(principal.presented)
        return entered.membership

    async def _view(self, connection: AsyncConnection) -> Viewer:
        principal = self._checked_principal()
        if isinstance(principal, Principal):
            return Viewer(principal.user_id, await list_workspaces_of_user(connection, principal.user_id))
        found = await get_key_with_workspaces(connection, principal.presented)
        if found.is_use_due:
            self._database.record_use(principal.presented)
        return Viewer(user_id_of(found.api_key.id), found.workspaces, found)


def _check_role(work: Work, roles: tuple[Role, ...]) -> None:
    if work.membership.role not in roles:
        raise RoleNotAllowed(work.membership.role, roles)


Info = strawberry.Info[Context, None]
