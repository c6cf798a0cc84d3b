"""GraphQL over HTTP and WebSocket: Strawberry's router, with our authentication, limits and errors in front."""

import json
from typing import Any, cast

from cross_web import AsyncHTTPRequestAdapter, HTTPException
from starlette.requests import HTTPConnection
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from strawberry.exceptions import ConnectionRejectionError, MissingQueryError
from strawberry.fastapi import GraphQLRouter
from strawberry.http import GraphQLRequestData
from strawberry.schema.exceptions import CannotGetOperationTypeError, InvalidOperationTypeError
from strawberry.subscriptions import GRAPHQL_TRANSPORT_WS_PROTOCOL
from strawberry.types.execution import ExecutionResult
from strawberry.types.graphql import OperationType
from strawberry.types.unset import UNSET, UnsetType

from api.graphiql import asks_for_graphiql, graphiql_page
from api.graphql_sockets import SocketHandler, SocketMessages, TryAgainLater
from api.settings import Settings
from api.tokens import Tokens
from domain.envelopes import KeyRing
from schema import schema
from schema.context import AuthenticationUnavailable, Context, Database, WakeUps
from schema.errors import ErrorCode

OPERATIONS_PER_SOCKET_AT_MOST = 100
# Subscriptions are for WebSockets: as a single answer they would be a fault.
_ALLOWED = {"GET": {OperationType.QUERY}, "POST": {OperationType.QUERY, OperationType.MUTATION}}
_DRAINED_TIMES = 32


class Router(GraphQLRouter[Context, None]):
    """Answers every body that is no GraphQL request with a 400 and a GraphQL error."""

    websocket_adapter_class = SocketMessages
    graphql_transport_ws_handler_class = SocketHandler

    def __init__(
        self,
        settings: Settings,
        tokens: Tokens,
        database: Database,
        wakeups: WakeUps,
        *,
        key_ring: KeyRing | None = None,
    ) -> None:
        self._tokens = tokens
        self._shows_graphiql = settings.graphiql

        async def context(connection: HTTPConnection) -> Context:
            new = Context(database, wakeups, key_ring=key_ring)
            if connection.scope["type"] == "http":
                await new.authenticate(tokens.principal, connection.headers)
            return new

        super().__init__(
            schema,
            path="/graphql",
            graphql_ide=None,
            context_getter=context,
            subscription_protocols=[GRAPHQL_TRANSPORT_WS_PROTOCOL],
            max_subscriptions_per_connection=OPERATIONS_PER_SOCKET_AT_MOST,
            allowed_origins=settings.allowed_origins,
        )

    async def run(self, request: Any, context: Any = UNSET, root_value: Any = UNSET) -> Any:
        if self.is_websocket_request(request):
            return await super().run(request, context, root_value)
        if self._shows_graphiql and asks_for_graphiql(request):
            return graphiql_page()
        try:
            return await super().run(request, context, root_value)
        except HTTPException as error:
            return error_response(error.status_code, error.reason or "", ErrorCode.BAD_REQUEST)

    def should_render_graphql_ide(self, request: Any) -> bool:  # noqa: ARG002 -- Strawberry's hook
        """Ours is answered before; a program that accepts anything gets JSON."""
        return False

    def decode_json(self, data: str | bytes) -> object:
        """Whatever cannot be read is no JSON: bad UTF-8, numbers of thousands of digits, arrays nested too deep."""
        try:
            return json.loads(data)
        except (ValueError, RecursionError):
            raise json.JSONDecodeError("not JSON", "", 0) from None

    async def parse_http_body(self, request: AsyncHTTPRequestAdapter) -> GraphQLRequestData | list[GraphQLRequestData]:
        try:
            data = await super().parse_http_body(request)
        except (AttributeError, TypeError):
            raise HTTPException(400, "The body must be a JSON object with a query.") from None
        if isinstance(data, GraphQLRequestData) and not isinstance(data.operation_name, str | None):
            raise HTTPException(400, "The operationName must be a string or null.")
        return data

    async def execute_single(
        self,
        request: Any,  # noqa: ARG002 -- Strawberry's hook
        request_adapter: AsyncHTTPRequestAdapter,
        sub_response: Any,  # noqa: ARG002 -- as above
        context: Context,
        root_value: None,
        request_data: GraphQLRequestData,
    ) -> ExecutionResult:
        try:
            return await self.schema.execute(
                request_data.query,
                variable_values=request_data.variables,
                context_value=context,
                root_value=root_value,
                operation_name=request_data.operation_name,
                allowed_operation_types=_ALLOWED[request_adapter.method],
                operation_extensions=request_data.extensions,
            )
        except CannotGetOperationTypeError as error:
            raise HTTPException(400, error.as_http_error_reason()) from error
        except InvalidOperationTypeError as error:
            raise HTTPException(400, error.as_http_error_reason(request_adapter.method)) from error
        except MissingQueryError as error:
            raise HTTPException(400, "No GraphQL query found in the request") from error

    async def on_ws_connect(self, context: Context) -> UnsetType | dict[str, object] | None:
        """The payload carries what HTTP has in headers; a socket without a good token is closed with 4403."""
        await context.authenticate(self._tokens.principal, context.connection_params or {})
        if isinstance(context.refusal, AuthenticationUnavailable):
            raise TryAgainLater
        if not await context.is_known():
            raise ConnectionRejectionError
        return UnsetType()


def error_response(status: int, message: str, code: ErrorCode) -> Response:
    """A refusal of the request as a whole, in GraphQL's shape."""
    error = {"message": message, "extensions": {"code": code.value}}
    # ASCII only: a message may quote half of a surrogate pair, which has no UTF-8.
    return Response(json.dumps({"errors": [error]}), status_code=status, media_type="application/json")


class BodyLimit:
    """Refuses bodies over the limit with 413 before they are read into memory."""

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self._app = app
        self._max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] in ("GET", "HEAD", "OPTIONS"):
            await self._app(scope, receive, send)
            return
        body = bytearray()
        received = 0
        is_complete = False
        # What is too much is still taken off the wire for a while, and dropped: a client that is cut off in the middle
        # of sending sees a broken connection instead of the answer.
        while not is_complete and received <= _DRAINED_TIMES * self._max_bytes:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            chunk = message.get("body", b"")
            received += len(chunk)
            if received <= self._max_bytes:
                body += chunk
            is_complete = not message.get("more_body", False)
        if received > self._max_bytes:
            limit = f"The body is over the limit of {self._max_bytes:,} bytes."
            response = error_response(413, limit, ErrorCode.BODY_TOO_LARGE)
            response.headers["Connection"] = "close"
            await response(scope, receive, send)
            return
        given = iter([{"type": "http.request", "body": bytes(body), "more_body": False}])

        async def replay() -> Message:
            return cast(Message, next(given, None)) or await receive()

        await self._app(scope, replay, send)
