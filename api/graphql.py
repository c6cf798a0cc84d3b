"""GraphQL over HTTP and WebSocket: Strawberry's router, with our authentication, limits and errors in front."""

import asyncio
import json
import math
from collections.abc import Awaitable, Hashable, Mapping
from datetime import timedelta
from functools import partial
from typing import Any, cast

from graphql import GraphQLError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket
from strawberry.exceptions import ConnectionRejectionError
from strawberry.fastapi import GraphQLRouter
from strawberry.schema.exceptions import CannotGetOperationTypeError, InvalidOperationTypeError
from strawberry.subscriptions import GRAPHQL_TRANSPORT_WS_PROTOCOL
from strawberry.types.graphql import OperationType
from strawberry.types.unset import UnsetType

from api.callers import Places
from api.good_keys import GoodKeys
from api.graphiql import asks_for_graphiql, graphiql_page
from api.graphql_sockets import OpenSockets, SocketHandler, SocketLimits, SocketMessages, TryAgainLater
from api.graphql_streams import Form, OpenStreams, StreamedAnswer, StreamLimits, single_answer, too_many_streams
from api.rate_limit import RateLimiter
from api.requests import JSON, Accepted, Asked, Refusal, accepted_forms, decode_json, read_request
from api.settings import Settings
from api.tokens import Tokens
from domain.api_keys import ApiKeyNotValid
from domain.envelopes import KeyRing
from schema import schema
from schema.context import Context
from schema.database import Database
from schema.documents import find_document
from schema.errors import ErrorCode
from schema.faults import public_error
from schema.principals import AuthenticationUnavailable, KeyPrincipal, Principal
from schema.streams import Streams
from schema.wakeups import WakeUps

# Subscriptions are streams: as a single answer they would be a fault.
_ALLOWED = {"GET": {OperationType.QUERY}, "POST": {OperationType.QUERY, OperationType.MUTATION}}
PATH = "/graphql"
_STATUS = {ErrorCode.SERVICE_UNAVAILABLE.value: 503, ErrorCode.INTERNAL_ERROR.value: 500}


class SubscriptionAsked(Exception):
    """The operation is a subscription: its answer is a stream, or none."""


class Endpoint:
    """For Starlette, which takes no function for an application."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)


class Router(GraphQLRouter[Context, None]):
    """One address for all: every answer to a program is GraphQL's shape, whatever was sent."""

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
        self._max_batch = settings.max_batch
        self._shutdown_timeout_s = settings.shutdown_timeout_s
        self._running: set[asyncio.Task[Any]] = set()
        self.rates = RateLimiter(settings.requests_per_minute)
        self._good_keys = GoodKeys()
        self.sockets = OpenSockets()
        self.socket_limits = SocketLimits(
            operations=settings.socket_operations,
            idle_s=settings.socket_idle_timeout_s,
            age_s=settings.socket_max_age_s,
        )
        self.socket_places = Places(settings.sockets_per_user)
        self.stream_places = Places(settings.streams_per_user)
        self.streams = OpenStreams(
            StreamLimits(age_s=settings.socket_max_age_s, heartbeat_s=settings.stream_heartbeat_s), self.stream_places
        )
        self._new_context = partial(
            Context,
            database,
            Streams(database, wakeups),
            limits=settings.limits(),
            key_ring=key_ring,
            breaker=settings.breaker(),
        )
        super().__init__(
            schema,
            path=PATH,
            graphql_ide=None,
            subscription_protocols=[GRAPHQL_TRANSPORT_WS_PROTOCOL],
            connection_init_wait_timeout=timedelta(seconds=settings.socket_init_timeout_s),
            max_subscriptions_per_connection=None,  # the handler's own limit has a code
            allowed_origins=settings.allowed_origins,
        )

    def http_route(self) -> Route:
        """Straight to `answer`: FastAPI's solving of dependencies would cost each request time."""
        return Route(PATH, Endpoint(self.answer))

    async def answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """To an HTTP request.  Raises HTTPException."""
        if scope["method"] not in _ALLOWED:
            raise HTTPException(405)
        request = Request(scope, receive, send)
        if self._shows_graphiql and asks_for_graphiql(request):
            response = graphiql_page()
        else:
            context = self._new_context()
            await context.authenticate(self._tokens.principal, request.headers)
            response = await self._answer(request, context)
        await response(scope, receive, send)

    async def talk(self, scope: Scope, receive: Receive, send: Send) -> None:
        """With the client of a WebSocket."""
        await self.run(WebSocket(scope, receive, send), self._new_context(), None)

    async def stop(self) -> None:
        """Close sockets and streams, and let the rest run for so long; whoever has no answer then is told so."""
        await asyncio.gather(self.sockets.stop(), self.streams.stop())
        asyncio.get_running_loop().call_later(self._shutdown_timeout_s, self._cut_off)

    def _cut_off(self) -> None:
        for task in self._running:
            task.cancel()

    async def _answer(self, request: Request, context: Context) -> Response:
        """Who asks and how often is looked at before what is asked; a refusal is a GraphQL error in any case."""
        try:
            accepted = accepted_forms(request.headers.get("accept"))
        except Refusal as refusal:
            return refusal_response(refusal)
        return await self.guarded(self._answer_as(request, context, accepted), accepted.media_type or JSON)

    async def _answer_as(self, request: Request, context: Context, accepted: Accepted) -> Response:
        await self._admit(request, context)
        asked = await read_request(request, max_batch=min(self._max_batch, self.rates.per_minute))
        if isinstance(asked, Asked):
            return await self._answer_one(asked, context, accepted, request.method)
        return await self._answer_batch(asked, context, accepted)

    async def admitted(self, request: Request) -> Context:
        """For what else is served to those who may use the API, and counts as an operation.  Raises Refusal."""
        context = self._new_context()
        await context.authenticate(self._tokens.principal, request.headers)
        await self._admit(request, context)
        return context

    async def guarded(self, answering: Awaitable[Response], media_type: str = JSON) -> Response:
        """The answer, or why there is none; a stop waits for it for so long."""
        task = cast("asyncio.Task[Any]", asyncio.current_task())
        self._running.add(task)
        try:
            return await answering
        except Refusal as refusal:
            return refusal_response(refusal, media_type)
        except ClientDisconnect:
            raise
        except asyncio.CancelledError:
            if not self.sockets.is_stopping:
                raise
            message = "The server is stopping and could not wait for this to end; send it again."
            return refusal_response(Refusal(503, message, ErrorCode.SERVICE_UNAVAILABLE), media_type)
        except Exception as fault:
            return fault_response(fault, media_type)
        finally:
            self._running.discard(task)

    async def _answer_one(self, asked: Asked, context: Context, accepted: Accepted, method: str) -> Response:
        try:
            body, status = await self._execute(asked, context, method)
        except SubscriptionAsked:
            return self._stream(asked, context, accepted.stream)
        if accepted.media_type is None and accepted.stream is not None:
            return single_answer(accepted.stream, body)
        media_type = accepted.media_type or JSON
        if media_type == JSON and status == 400:
            status = 200
        return _response(self.encode_json(body), status, media_type)

    async def _answer_batch(self, asked: list[Asked], context: Context, accepted: Accepted) -> Response:
        if accepted.media_type is None:
            raise Refusal(406, f"A batch is answered in {JSON}; Accept does not take it.")
        if len(asked) > 1:
            self._count(rate_key(context.principal), len(asked) - 1)
        # One after the other, each in a snapshot of its own: a batch is no more than its operations in order.
        answers = [await self._execute_of_batch(each, context.fresh()) for each in asked]
        return _response(self.encode_json(answers), 200, accepted.media_type)

    async def _admit(self, request: Request, context: Context) -> None:
        if self.sockets.is_stopping:  # on a connection that was kept from before
            message = "The server is stopping: connect again."
            raise Refusal(503, message, ErrorCode.SERVICE_UNAVAILABLE, headers={"Connection": "close"})
        if isinstance(context.refusal, AuthenticationUnavailable):
            raise Refusal(503, context.refusal.message, ErrorCode.SERVICE_UNAVAILABLE)
        if context.principal is None:
            challenge = "Bearer" if context.refusal is None else 'Bearer error="invalid_token"'
            message = context.refusal.message if context.refusal else "Send a token: Authorization: Bearer <token>."
            raise Refusal(401, message, ErrorCode.UNAUTHENTICATED, headers={"WWW-Authenticate": challenge})
        if isinstance(context.principal, KeyPrincipal) and not self._good_keys.has(context.principal.presented):
            await self._check_key(request, context, context.principal)
        self._count(rate_key(context.principal), 1)

    async def _check_key(self, request: Request, context: Context, principal: KeyPrincipal) -> None:
        """Who makes keys up is read nothing of, and is counted by address: of made-up keys there is no end."""
        self._count(f"address {request.client.host if request.client else ''}", 1)
        try:
            await context.check_key()
        except ApiKeyNotValid as refusal:
            headers = {"WWW-Authenticate": 'Bearer error="invalid_token"'}
            raise Refusal(401, refusal.message, ErrorCode.UNAUTHENTICATED, headers=headers) from None
        self._good_keys.add(principal.presented)

    def _count(self, caller: str, count: int) -> None:
        if wait_s := self.rates.take(caller, count):
            error = rate_limited(self.rates, wait_s)
            facts = dict(error.extensions or {})
            del facts["code"]
            headers = {"Retry-After": str(facts["retryAfterSeconds"])}
            raise Refusal(429, error.message, ErrorCode.RATE_LIMITED, headers=headers, facts=facts)

    def refusal_of_another(self, context: Context, *, holder: Hashable) -> GraphQLError | None:
        """Why a socket's next operation is refused, or None: then the holder has a place for it."""
        caller = rate_key(context.principal)
        if wait_s := self.rates.take(caller):
            return rate_limited(self.rates, wait_s)
        if not self.stream_places.take(caller, holder):
            return too_many_streams(self.stream_places.per_caller)
        return None

    async def _execute(self, asked: Asked, context: Context, method: str) -> tuple[dict[str, Any], int]:
        """The answer, and its status in the newer media type: a request that could not be executed has no data.

        Raises SubscriptionAsked, which is not begun here, and Refusal.
        """
        try:
            result = await self.schema.execute(
                asked.query,
                variable_values=asked.variables,
                context_value=context,
                root_value=None,
                operation_name=asked.operation_name,
                allowed_operation_types=_ALLOWED[method],
                operation_extensions=asked.extensions,
            )
        except CannotGetOperationTypeError:
            which = f"called {asked.operation_name}" if asked.operation_name else "to execute"
            return _errors(f"The document has no operation {which}.", ErrorCode.BAD_REQUEST), 400
        except InvalidOperationTypeError as error:
            if error.operation_type is OperationType.SUBSCRIPTION:
                raise SubscriptionAsked from None
            raise Refusal(405, "A mutation must be sent with POST.", headers={"Allow": "POST"}) from None
        if not result.errors:
            return {"data": result.data}, 200
        errors = [error.formatted for error in result.errors]
        if result.data is not None or any(error.path for error in result.errors):
            return {"data": result.data, "errors": errors}, 200
        codes = {(error.extensions or {}).get("code") for error in result.errors}
        return {"errors": errors}, max(_STATUS.get(str(code), 400) for code in codes)

    async def _execute_of_batch(self, asked: Asked, context: Context) -> dict[str, Any]:
        """What is refused of a batch keeps nobody from the answers of the others, which may have changed something."""
        try:
            return (await self._execute(asked, context, "POST"))[0]
        except SubscriptionAsked:
            return _errors("A subscription cannot be part of a batch: send it alone.", ErrorCode.BAD_REQUEST)
        except Refusal as refusal:
            return _errors(refusal.message, refusal.code, **refusal.facts)

    def _stream(self, asked: Asked, context: Context, form: Form | None) -> Response:
        if form is None:
            raise Refusal(
                400,
                "A subscription is a stream: follow it over a WebSocket (graphql-transport-ws) at this address, or "
                "send Accept: text/event-stream, or Accept: multipart/mixed;subscriptionSpec=1.0.",
            )

        document = find_document(asked.query, context.limits)  # which was read before
        deliver = partial(schema.deliver, document, asked.operation_name, asked.variables, context)
        return StreamedAnswer(form, deliver, self.streams, caller=rate_key(context.principal))

    def decode_json(self, data: str | bytes) -> object:
        """For sockets, which know one kind of error only."""
        try:
            return decode_json(data)
        except ValueError as error:
            raise json.JSONDecodeError(str(error), "", 0) from None

    async def on_ws_connect(self, context: Context) -> UnsetType | dict[str, object] | None:
        """The payload carries what HTTP has in headers; a socket without a good token is closed with 4403."""
        given, context.connection_params = context.connection_params, {}  # tokens are not kept
        await context.authenticate(self._tokens.principal, given or {})
        if isinstance(context.refusal, AuthenticationUnavailable):
            raise TryAgainLater("Try again later")
        if not await context.is_known():
            raise ConnectionRejectionError
        if not self.socket_places.take(rate_key(context.principal), holder=context):
            raise TryAgainLater(f"{self.socket_places.per_caller:,} of your sockets are open here already: close one")
        return UnsetType()


def rate_key(principal: Principal | KeyPrincipal | None) -> str:
    """Whose operations are counted together; nobody can use up another's by pretending."""
    return principal.identity if principal is not None else ""


def rate_limited(rates: RateLimiter, wait_s: float) -> GraphQLError:
    seconds = math.ceil(wait_s)
    message = f"More than {rates.per_minute:,} operations in a minute: try again in {seconds} s."
    return GraphQLError(message, extensions={"code": ErrorCode.RATE_LIMITED.value, "retryAfterSeconds": seconds})


def _errors(message: str, code: ErrorCode, **facts: Any) -> dict[str, Any]:
    return {"errors": [{"message": message, "extensions": {"code": code.value, **facts}}]}


def _response(content: str | bytes, status: int, media_type: str, headers: Mapping[str, str] | None = None) -> Response:
    return Response(content, status_code=status, media_type=media_type, headers=headers)


def refusal_response(refusal: Refusal, media_type: str = JSON) -> Response:
    """A refusal of the request as a whole, in GraphQL's shape."""
    body = _errors(refusal.message, refusal.code, **refusal.facts)
    # ASCII only: a message may quote half of a surrogate pair, which has no UTF-8.
    return _response(json.dumps(body), refusal.status, media_type, refusal.headers)


def not_allowed(method: str, allowed: str) -> Refusal:
    """Of a method that is not among those, which are separated by commas."""
    message = f"{method} is not allowed here: {allowed.replace(', ', ' or ')} is."
    return Refusal(405, message, headers={"Allow": allowed})


def fault_response(fault: Exception, media_type: str = JSON) -> Response:
    """What went wrong on our side; the log has it under the id that the answer shows."""
    error = public_error(GraphQLError(str(fault), original_error=fault))
    status = _STATUS.get(str((error.extensions or {})["code"]), 500)
    return _response(json.dumps({"errors": [error.formatted]}), status, media_type)
