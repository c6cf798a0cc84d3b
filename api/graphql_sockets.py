"""GraphQL over WebSocket (graphql-transport-ws): what Strawberry takes for granted of a client is checked here.

A message that is not as the protocol has it closes the socket with the protocol's code; it ends no task with a fault.
"""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from graphql import GraphQLError
from strawberry.asgi import ASGIWebSocketAdapter
from strawberry.subscriptions.protocols.graphql_transport_ws.handlers import BaseGraphQLTransportWSHandler, Operation
from strawberry.subscriptions.protocols.graphql_transport_ws.types import ConnectionInitMessage

from schema.context import Context
from schema.faults import public_error

_LONGEST_REASON = 123  # bytes; a close frame has no room for more


class TryAgainLater(Exception):
    """Whether the client may connect cannot be told now."""


class SocketMessages(ASGIWebSocketAdapter):
    """Takes in whole messages only."""

    async def iter_json(self, *, ignore_parsing_errors: bool = False) -> AsyncGenerator[object, None]:
        async with aclosing(super().iter_json(ignore_parsing_errors=ignore_parsing_errors)) as messages:
            async for message in messages:
                yield message if is_message(message) else {}  # which closes the socket: 4400, failed to parse

    async def close(self, code: int, reason: str) -> None:
        await super().close(code, reason.encode(errors="replace")[:_LONGEST_REASON].decode(errors="ignore"))


class SocketHandler(BaseGraphQLTransportWSHandler[Context, None]):
    """Answers a document that is not GraphQL with an `error` message for that operation; the others go on."""

    async def handle_connection_init(self, message: ConnectionInitMessage) -> None:
        try:
            await super().handle_connection_init(message)
        except TryAgainLater:
            await self.websocket.close(code=1013, reason="Try again later")

    async def _send_result_stream(self, operation: Operation[Context, None], result_source: Any) -> None:
        try:
            await super()._send_result_stream(operation, result_source)
        except GraphQLError as error:  # raised by the parser, through its cache
            await operation.send_initial_errors([public_error(error)])


def is_message(message: object) -> bool:
    """Whether it has the form that the protocol gives to a client's messages."""
    match message:
        case {"type": "subscribe", "id": str(name), "payload": {"query": str(), **rest}}:
            return name != "" and (
                isinstance(rest.get("variables"), dict | None)
                and isinstance(rest.get("operationName"), str | None)
                and isinstance(rest.get("extensions"), dict | None)
            )
        case {"type": "complete", "id": str()}:
            return True
        case {"type": "subscribe" | "complete"}:
            return False
        case {"type": str()}:
            return True
    return False
