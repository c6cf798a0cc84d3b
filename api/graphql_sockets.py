"""GraphQL over WebSocket (graphql-transport-ws): what Strawberry takes for granted of a client is checked here.

A message that is not as the protocol has it closes the socket with the protocol's code; it ends no task with a fault.
"""

import asyncio
import json
import math
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing, suppress
from dataclasses import dataclass
from typing import Any, cast

from graphql import GraphQLError
from starlette.websockets import WebSocketDisconnect, WebSocketState
from strawberry.asgi import ASGIWebSocketAdapter
from strawberry.http.exceptions import WebSocketDisconnected
from strawberry.subscriptions.protocols.graphql_transport_ws.handlers import BaseGraphQLTransportWSHandler, Operation

from api.websocket_protocol import WRITER, Writer
from schema import Contract
from schema.context import Context
from schema.deliveries import ClientGone, OperationRefused
from schema.documents import Document, find_document
from schema.errors import ErrorCode
from schema.faults import public_error

GOING_AWAY = 1001  # clients connect again
TRY_AGAIN_LATER = 1013
CLOSED_WITHIN_S = 1.0  # a client that reads nothing does not hold up the others
_LONGEST_REASON = 123  # bytes; a close frame has no room for more


class TryAgainLater(Exception):
    """The client may not connect now, or whether it may cannot be told; it says why, in the words of a close reason."""


@dataclass(frozen=True, slots=True)
class SocketLimits:
    """What one socket may do, and how long it may live."""

    operations: int
    idle_s: float
    age_s: float


class OpenSockets:
    """The sockets of this process, so that they can be told when it stops."""

    def __init__(self) -> None:
        self.is_stopping = False
        self._open: set[SocketHandler] = set()

    def add(self, handler: "SocketHandler") -> None:
        self._open.add(handler)

    def remove(self, handler: "SocketHandler") -> None:
        self._open.discard(handler)

    async def stop(self) -> None:
        """Close all, and each that still comes, with a code that says: connect again."""
        self.is_stopping = True
        if closing := [asyncio.create_task(handler.go_away("The server is stopping.")) for handler in self._open]:
            await asyncio.wait(closing, timeout=CLOSED_WITHIN_S)


class SocketOutlet:
    """The way of one subscription's payloads to the client of a socket."""

    def __init__(self, operation: Operation[Context, None], websocket: "SocketMessages") -> None:
        self._operation = operation
        self._websocket = websocket
        self._writer = websocket.writer
        self._opening = b'{"type":"next","id":%b,"payload":' % json.dumps(operation.id).encode("ascii")

    def offer(self, payload: bytes) -> bool:
        return not self._operation.completed and self._writer.write_at_once(self._opening + payload + b"}")

    async def ready(self) -> None:
        await self._writer.writable.wait()

    async def send(self, payload: bytes) -> None:
        if self._operation.completed:
            raise ClientGone
        await self._websocket.send_text((self._opening + payload + b"}").decode("ascii"))


class SocketMessages(ASGIWebSocketAdapter):
    """Takes in whole messages only."""

    async def iter_json(self, *, ignore_parsing_errors: bool = False) -> AsyncGenerator[object, None]:
        async with aclosing(super().iter_json(ignore_parsing_errors=ignore_parsing_errors)) as messages:
            async for message in messages:
                yield message if is_message(message) else {}  # which closes the socket: 4400, failed to parse

    async def send_json(self, message: Mapping[str, object]) -> None:
        """Nothing, when nobody listens any more: `iter_json` ends then, and all operations with it."""
        if self.is_open:
            with suppress(WebSocketDisconnected):
                await super().send_json(message)

    async def send_text(self, text: str) -> None:
        """Raises ClientGone."""
        if not self.is_open:
            raise ClientGone
        try:
            await self.ws.send_text(text)
        except WebSocketDisconnect:
            raise ClientGone from None

    @property
    def is_open(self) -> bool:
        """Whether we have not closed it ourselves: then nobody listens any more."""
        return self.ws.application_state != WebSocketState.DISCONNECTED

    @property
    def writer(self) -> Writer:
        writer: Writer = self.ws.scope["extensions"][WRITER]
        return writer

    async def close(self, code: int, reason: str) -> None:
        if self.ws.application_state != WebSocketState.DISCONNECTED:
            with suppress(WebSocketDisconnect):
                await super().close(code, reason.encode(errors="replace")[:_LONGEST_REASON].decode(errors="ignore"))


class SocketHandler(BaseGraphQLTransportWSHandler[Context, None]):
    """Each operation is answered for itself, and no socket lives for ever."""

    view: Any  # api.graphql.Router: what all sockets share

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._loop = asyncio.get_running_loop()
        self._open_since = self._quiet_since = self._loop.time()
        self._timer: asyncio.TimerHandle | None = None

    async def handle(self) -> None:
        self.view.sockets.add(self)
        self._go_away_in_time()
        try:
            await super().handle()
        finally:
            if self._timer is not None:
                self._timer.cancel()
            self.view.sockets.remove(self)
            self.view.socket_places.give_back(self.context)

    async def go_away(self, why: str) -> None:
        await self.websocket.close(GOING_AWAY, why)

    def _go_away_in_time(self) -> None:
        """When no operation has run for long, when it is old, and at once when the server stops."""
        now = self._loop.time()
        limits: SocketLimits = self.view.socket_limits
        old_at = self._open_since + limits.age_s
        idle_at = math.inf if self.operations else self._quiet_since + limits.idle_s
        why = None
        if self.view.sockets.is_stopping:
            why = "The server is stopping."
        elif now >= old_at:
            why = "Open for too long: connect again."
        elif now >= idle_at:
            why = "Nothing was asked for too long."
        if why is None:
            self._timer = self._loop.call_at(min(old_at, idle_at, now + limits.idle_s), self._go_away_in_time)
        else:
            self._going = asyncio.create_task(self.go_away(why))

    async def handle_connection_init(self, message: Any) -> None:
        if message.get("payload", {}) is None:  # as good as none
            message = {"type": "connection_init"}
        try:
            await super().handle_connection_init(message)
        except TryAgainLater as refusal:
            await self.websocket.close(TRY_AGAIN_LATER, str(refusal))
        self.connection_init_timeout_task = None  # it has been cancelled, and is not kept

    async def handle_ping(self, message: Any) -> None:
        """What is asked with comes back, as from the reference server; nobody else could match the two."""
        payload = message.get("payload")
        await self.send_message({"type": "pong"} if payload is None else {"type": "pong", "payload": payload})

    async def handle_subscribe(self, message: Any) -> None:
        self._quiet_since = self._loop.time()
        if self.connection_acknowledged and message["id"] not in self.operations:
            refusal = self._refusal(message["id"])
            if refusal is not None:
                payload = [refusal.formatted]
                await self.send_message({"id": message["id"], "type": "error", "payload": payload})
                return
        await super().handle_subscribe(message)

    def _refusal(self, operation_id: str) -> GraphQLError | None:
        """Why this operation is not begun now, or None; it is counted before it is read."""
        allowed = self.view.socket_limits.operations
        if len(self.operations) >= allowed:
            message = f"{allowed} operations run on this socket already: end one, or open another socket."
            return GraphQLError(message, extensions={"code": ErrorCode.TOO_MANY_OPERATIONS.value, "allowed": allowed})
        refusal: GraphQLError | None = self.view.refusal_of_another(self.context, holder=(self, operation_id))
        return refusal

    def forget_id(self, id: str) -> None:  # noqa: A002 -- Strawberry's hook
        super().forget_id(id)
        self._has_ended(id)

    async def cleanup_operation(self, operation_id: str) -> None:
        """Nothing is told of it from now on, however late its task learns that: the id may be another's by then."""
        if operation_id in self.operations:
            self.operations[operation_id].completed = True
        await super().cleanup_operation(operation_id)
        self._has_ended(operation_id)

    def _has_ended(self, operation_id: str) -> None:
        self.view.stream_places.give_back((self, operation_id))
        self._quiet_since = self._loop.time()

    async def run_operation(self, operation: Operation[Context, None]) -> None:
        try:
            document = find_document(operation.query, self.context.limits)
        except GraphQLError as error:
            return await operation.send_initial_errors([public_error(error)])
        if not document.is_subscription(operation.operation_name):
            return await super().run_operation(operation)
        operation.query = document.text  # which all have who ask the same
        try:
            await self._follow(operation, document)
        except ClientGone:
            pass
        except Exception as error:
            await self.handle_task_exception(error)
            await operation.send_operation_message({"id": operation.id, "type": "complete"})

    async def _follow(self, operation: Operation[Context, None], document: Document) -> None:
        outlet = SocketOutlet(operation, cast(SocketMessages, self.websocket))
        contract: Contract = self.view.schema
        try:
            await contract.deliver(document, operation.operation_name, operation.variables, self.context, outlet)
        except OperationRefused as refused:
            await operation.send_initial_errors(refused.errors)
        else:
            await operation.send_operation_message({"id": operation.id, "type": "complete"})

    @staticmethod
    def _get_pre_execution_close_reason(error: GraphQLError) -> str | None:  # noqa: ARG004 -- Strawberry's hook
        """A bad document is an error of that operation: the others on the socket go on."""
        return None


def is_message(message: object) -> bool:
    """Whether it has the form that the protocol gives to a client's messages."""
    match message:
        case {"type": "subscribe", "id": str(name), "payload": {"query": str(), **rest}}:
            return name != "" and (
                isinstance(rest.get("variables"), dict | None)
                and isinstance(rest.get("operationName"), str | None)
                and isinstance(rest.get("extensions"), dict | None)
            )
        case {"type": "complete", "id": str(name)}:
            return name != ""
        case {"type": "subscribe" | "complete"}:
            return False
        case {"type": "ping" | "pong", **rest}:
            return isinstance(rest.get("payload"), dict | None)
        case {"type": str()}:
            return True
    return False
