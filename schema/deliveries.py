"""Subscriptions on their way to clients: equal ones are executed and encoded once, and each client gets the same bytes.

Two are equal when nothing that a result depends on differs between them: the operation, the variables that are used
below its root field, and what the followers may see.  Where they stand in the log does not count.
"""

import asyncio
import json
import weakref
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from functools import partial
from typing import Any, Protocol, cast

from graphql import ExecutionResult, Executor, GraphQLError, GraphQLSchema

from domain.workspaces import Membership
from schema.context import Context
from schema.documents import Document
from schema.faults import public_error
from schema.followers import Follower, Message

SHARED_FOR_S = 1.0  # what was read beside a message: it is told "as it is now"


class OperationRefused(Exception):
    """What was asked cannot be executed: nothing has begun."""

    def __init__(self, errors: list[GraphQLError]) -> None:
        super().__init__(str(errors[0]))
        self.errors = errors


class ClientGone(Exception):
    """Raised by an outlet: nobody listens any more."""


class Outlet(Protocol):
    """The way to one client."""

    def offer(self, payload: bytes) -> bool:
        """Send it if that takes no waiting and nothing else waits to be sent, or do nothing."""

    async def ready(self) -> None:
        """Wait until the client takes something.  Raises ClientGone."""

    async def send(self, payload: bytes) -> None:
        """Send it now.  Raises ClientGone."""


class Audience:
    """Equal subscriptions."""

    def __init__(self, schema: GraphQLSchema, document: Document, name: str | None, variables: dict[str, Any]) -> None:
        self._schema = schema
        self._document = document
        self._name = name
        self._variables = variables
        self._key = weakref.ref(self)  # a message lives on when nobody is left to be told this of it

    def payload_at_once(self, message: Message, context: Context) -> bytes | None:
        """What the message is for this audience, unless that has to be waited for or met an error."""
        made = message.made.get(self._key)
        if made is None:
            made = self._make(message, context)
        return made if isinstance(made, bytes) else None

    async def payload(self, message: Message, context: Context) -> bytes:
        """What the message is for this audience."""
        made = message.made.get(self._key)
        if made is None:
            made = self._make(message, context)
        if isinstance(made, asyncio.Task):
            made = await asyncio.shield(made)
        if isinstance(made, bytes):
            return made
        # It met an error, which may be about who it was executed for.
        result = self._execute(message, context)
        return _payload(result if isinstance(result, ExecutionResult) else await result)

    def _make(self, message: Message, context: Context) -> "bytes | asyncio.Task[bytes | None] | None":
        result = self._execute(message, context)
        if isinstance(result, ExecutionResult):
            made: bytes | asyncio.Task[bytes | None] | None = None if result.errors else _payload(result)
        else:
            made = asyncio.ensure_future(self._finish(message, result))
        if made is not None:
            for gone in [key for key in message.made if key() is None]:
                del message.made[gone]
            message.made[self._key] = made
        return made

    async def _finish(self, message: Message, executing: Any) -> bytes | None:
        result: ExecutionResult | None = None
        try:
            result = await executing
        finally:
            if result is None or result.errors:
                del message.made[self._key]
            else:
                asyncio.get_running_loop().call_later(SHARED_FOR_S, message.made.pop, self._key, None)
        return None if result.errors else _payload(result)

    def _execute(self, message: Message, context: Context) -> Any:
        """An ExecutionResult, or something to await that becomes one."""
        executor = Executor.build(
            self._schema,
            self._document.node,
            root_value=message.value,
            context_value=context,
            raw_variable_values=self._variables,
            operation_name=self._name,
        )
        return cast("Executor[Any]", executor).execute_operation(False)  # it was built with these variables before


class Audiences:
    """Those of one schema; each lives as long as a subscription of it."""

    def __init__(self, schema: GraphQLSchema) -> None:
        self._schema = schema
        self._known: weakref.WeakValueDictionary[Any, Audience] = weakref.WeakValueDictionary()

    def find(self, document: Document, name: str | None, variables: dict[str, Any], sees: object) -> Audience:
        """`sees`: what decides of the follower what a result may hold."""
        inner = {each: variables[each] for each in document.variables_below_root(name) if each in variables}
        key = document.text, name, json.dumps(inner, sort_keys=True), sees
        if (audience := self._known.get(key)) is None:
            audience = self._known[key] = Audience(self._schema, document, name, variables)
        return audience


class Delivery:
    """One subscription, on its way to one client."""

    def __init__(
        self, audiences: Audiences, document: Document, name: str | None, variables: dict[str, Any], outlet: Outlet
    ) -> None:
        self._find_audience = partial(audiences.find, document, name, variables)
        self._outlet = outlet

    def begin(self, follower: Follower, context: Context) -> None:
        """The follower has been let in: what it is told is executed in that context, which is the follower's own."""
        self._context = context
        self._follower = follower
        self._member = follower.access.membership
        self._audience = self._audience_of(self._member)
        follower.deliverer = self

    def push(self, message: Message) -> bool:
        payload = self._own_audience().payload_at_once(message, self._context)
        return payload is not None and self._outlet.offer(payload)

    async def run(self, source: AsyncGenerator[Message, None]) -> None:
        """Until all is told, or until something ends it before, which is told last.  Raises ClientGone."""
        try:
            async with aclosing(source):
                async for message in source:
                    payload = await self._own_audience().payload(message, self._context)
                    await self._outlet.ready()
                    await self._follower.check()
                    await self._outlet.send(payload)
                    await self._outlet.ready()  # who takes nothing now is told what is newest then
        except ClientGone:
            raise
        except Exception as fault:
            error = GraphQLError(str(fault), original_error=fault)
            await self._outlet.ready()
            await self._outlet.send(_payload(ExecutionResult(None, [error])))

    def _own_audience(self) -> Audience:
        """Another one when the follower's role is another."""
        if (member := self._follower.access.membership) is not self._member:
            self._member = member
            self._audience = self._audience_of(member)
        return self._audience

    def _audience_of(self, member: Membership) -> Audience:
        return self._find_audience((member.workspace_id, member.role, member.carriers))


def encode(body: Mapping[str, Any]) -> bytes:
    """On one line and in ASCII: a message may quote half of a surrogate pair, which has no UTF-8."""
    return json.dumps(body, separators=(",", ":")).encode("ascii")


def _payload(result: ExecutionResult) -> bytes:
    body: dict[str, Any] = {"data": result.data}
    if result.errors:
        body["errors"] = [public_error(error).formatted for error in result.errors]
    return encode(body)
