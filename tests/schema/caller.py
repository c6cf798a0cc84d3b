"""Callers of the API in process: their operations run as the server runs them, without a network."""

import asyncio
import datetime as dt
import json
import uuid
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Any, cast

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from api.database import owner_engine
from domain.api_keys import PresentedKey
from domain.envelopes import KeyRing
from domain.workspaces import Role, enter_as_owner, workspace_members
from schema import schema
from schema.context import Context
from schema.database import Database
from schema.deliveries import OperationRefused, Outlet
from schema.documents import find_document
from schema.limits import Limits
from schema.principals import KeyPrincipal, Principal
from schema.streams import Streams
from tests.conftest import Database as TestDatabase
from tests.domain.secrets import KEY_RING
from tests.servers import until
from tests.tenants import Tenant

TIME_LIMIT_S = 20.0


class MemoryWakeUps:
    """Wake-ups within this process.  `loses_all`: as if no NOTIFY ever arrived."""

    def __init__(self) -> None:
        self.loses_all = False
        self.announced: list[uuid.UUID] = []
        self.watched: dict[uuid.UUID, list[Callable[[], None]]] = defaultdict(list)
        self.streams: Streams | None = None

    def announce(self, job_id: uuid.UUID) -> None:
        self.announced.append(job_id)
        if not self.loses_all:
            for wake in self.watched[job_id]:
                wake()

    @contextmanager
    def watch(self, job_id: uuid.UUID, wake: Callable[[], None]) -> Iterator[None]:
        self.watched[job_id].append(wake)
        try:
            yield
        finally:
            self.watched[job_id].remove(wake)

    async def follower_waits(self, watched_id: uuid.UUID) -> None:
        """Until a follower of the job has been told all there is, and waits for news."""

        def waits() -> bool:
            feeds = [feed for feed in streams._feeds.values() if feed.watched_id == watched_id]
            readers = [streams._reader_of(feed)._loop for feed in feeds]
            is_reading = not all(reader is not None and reader._is_paused for reader in readers)
            has_news = any(feed.has_news for feed in feeds)
            return not is_reading and not has_news and any(feed._at_head for feed in feeds)

        streams = cast(Streams, self.streams)
        await until(waits)


class Stream:
    """A subscription's messages; each wait for one has a time limit.

    The client takes a message only when a test waits for it.
    """

    def __init__(self) -> None:
        self._wanted = 0
        self._is_wanted = asyncio.Event()
        self._payloads: asyncio.Queue[Any] = asyncio.Queue()

    def offer(self, payload: bytes) -> bool:
        if self._is_wanted.is_set():
            self._take(json.loads(payload))
            return True
        return False

    async def ready(self) -> None:
        await self._is_wanted.wait()

    async def send(self, payload: bytes) -> None:
        self._take(json.loads(payload))

    def _take(self, payload: Any) -> None:
        self._payloads.put_nowait(payload)
        self._wanted -= 1
        if self._wanted == 0:
            self._is_wanted.clear()

    async def run(self, deliver: Callable[[Outlet], Awaitable[None]]) -> None:
        try:
            await deliver(self)
        except OperationRefused as refused:
            self._payloads.put_nowait({"errors": [error.formatted for error in refused.errors]})
        finally:
            self._payloads.put_nowait(None)

    async def message(self) -> Any:
        """The data of the next message, which carries no errors."""
        result = await self._next()
        assert "errors" not in result, result["errors"]
        (data,) = result["data"].values()
        return data

    async def messages(self, count: int) -> list[Any]:
        return [await self.message() for _ in range(count)]

    async def rest(self) -> list[Any]:
        """The data of all messages until the stream ends by itself."""
        messages = []
        with suppress(StopAsyncIteration):
            while True:
                messages.append(await self.message())
        return messages

    async def error_and_end(self) -> dict[str, Any]:
        """The error that is the stream's last message."""
        result = await self._next()
        (error,) = result["errors"]
        assert await self.is_at_its_end()
        found: dict[str, Any] = error
        return found

    async def codes(self) -> set[str]:
        """The codes of the next message's errors."""
        return {error["extensions"]["code"] for error in (await self._next()).get("errors", ())}

    async def is_at_its_end(self) -> bool:
        try:
            await self._next()
        except StopAsyncIteration:
            return True
        return False

    async def _next(self) -> Any:
        self._wanted += 1
        self._is_wanted.set()
        async with asyncio.timeout(TIME_LIMIT_S):
            payload = await self._payloads.get()
        if payload is None:
            self._payloads.put_nowait(None)
            raise StopAsyncIteration
        return payload


@dataclass(frozen=True, slots=True)
class Caller:
    """Somebody with, or without, a good token."""

    database: Database
    streams: Streams
    principal: Principal | KeyPrincipal | None
    key_ring: KeyRing | None = KEY_RING
    limits: Limits = field(default_factory=Limits)

    def within(self, workspace_id: str | None) -> "Caller":
        """The same, having named that workspace."""
        assert self.principal is not None
        return replace(
            self, principal=replace(self.principal, workspace_id=uuid.UUID(workspace_id) if workspace_id else None)
        )

    def context(self) -> Context:
        context = Context(self.database, self.streams, limits=self.limits, key_ring=self.key_ring)
        context.principal = self.principal
        return context

    async def execute(self, document: str, /, **variables: object) -> Any:
        """The result as the transports get it; each call has a context of its own, as each HTTP request has."""
        async with asyncio.timeout(TIME_LIMIT_S):
            return await schema.execute(document, variable_values=dict(variables), context_value=self.context())

    async def ask(self, document: str, /, **variables: object) -> Any:
        """The data of an operation that meets no top-level error."""
        result = await self.execute(document, **variables)
        assert result.errors is None, result.errors
        return result.data

    async def do(self, document: str, /, **given: object) -> Any:
        """The answer of a document with one mutation; the keywords are its input."""
        data = await self.ask(document, input=given)
        (answer,) = data.values()
        return answer

    async def refused(self, document: str, /, **variables: object) -> dict[str, Any]:
        """The one top-level error of an operation."""
        result = await self.execute(document, **variables)
        assert result.errors is not None, result.data
        (error,) = result.errors
        formatted: dict[str, Any] = error.formatted
        return formatted

    async def code(self, document: str, /, **variables: object) -> str:
        """The code of the one top-level error."""
        return str((await self.refused(document, **variables))["extensions"]["code"])

    @asynccontextmanager
    async def follow(self, document: str, /, **variables: object) -> AsyncIterator[Stream]:
        """A subscription, ended with the block."""
        stream = Stream()
        context = self.context()
        deliver = partial(schema.deliver, find_document(document, self.limits), None, dict(variables), context)
        running = asyncio.create_task(stream.run(deliver))
        try:
            yield stream
        finally:
            running.cancel()
            await asyncio.wait([running])
            if not running.cancelled():
                running.result()


@dataclass(frozen=True)
class Api:
    """The API on the test's database: as one process, whose callers share what they follow."""

    engine: AsyncEngine
    wakeups: MemoryWakeUps

    @cached_property
    def database(self) -> Database:
        return Database(self.engine, available_within_s=TIME_LIMIT_S)  # on a busy machine less is soon over

    @cached_property
    def streams(self) -> Streams:
        self.wakeups.streams = Streams(self.database, self.wakeups)
        return self.wakeups.streams

    def nobody(self) -> Caller:
        return Caller(self.database, self.streams, None)

    def caller(self, user_id: str, workspace_id: uuid.UUID | None = None, *, expires_in_s: float = 3_600) -> Caller:
        expires_at = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=expires_in_s)
        return Caller(self.database, self.streams, Principal(user_id, expires_at, workspace_id))

    def robot(self, secret: str, workspace_id: uuid.UUID | None = None) -> Caller:
        """With an API key."""
        return Caller(self.database, self.streams, KeyPrincipal(PresentedKey.of(secret), workspace_id))

    def member(self, tenant: Tenant, role: Role = Role.OPERATOR) -> Caller:
        return self.caller(tenant.user(role), tenant.workspace_id)


async def remove_member(database: TestDatabase, tenant: Tenant, role: Role) -> None:
    """Revoke the membership of the tenant's member with that role."""
    async with owner_engine(database.urls).begin() as connection:
        await enter_as_owner(connection)
        await connection.execute(
            sa.delete(workspace_members).where(
                workspace_members.c.workspace_id == tenant.workspace_id,
                workspace_members.c.user_id == tenant.user(role),
            )
        )
