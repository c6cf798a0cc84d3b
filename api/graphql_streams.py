"""Subscriptions over plain HTTP: Server-Sent Events, and multipart as Apollo Client asks for it.

https://github.com/enisdenjo/graphql-sse/blob/master/PROTOCOL.md, distinct connections mode;
https://www.apollographql.com/docs/graphos/routing/operations/subscriptions/multipart-protocol
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from graphql import GraphQLError
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from api.callers import Places
from api.settings import HEARTBEATS_UNTIL_STALLED
from schema.deliveries import OperationRefused, Outlet, encode
from schema.errors import ErrorCode
from schema.faults import public_error

ABORT = "robot_jobs.abort"  # the ASGI extension by which a connection is cut: see api.connections
ENDED_WITHIN_S = 1.0  # a client that reads nothing does not hold up a stop

Deliver = Callable[[Outlet], Awaitable[None]]
"""Runs a subscription until all is told to that outlet.  Raises OperationRefused."""


# ---------------------------------------------------------------------------------------------- forms


class Form(Protocol):
    """How results are written one after the other."""

    media_type: str
    opening: bytes
    heartbeat: bytes
    ending: bytes
    """After the last result: there will be no more."""

    def next(self, payload: bytes) -> bytes:
        """One result, encoded on one line."""

    def cut(self, why: str) -> bytes:
        """An end that is none: the client is to subscribe again, from its last cursor."""


class EventStream:
    """Bare line feeds, and no blank after an empty `data:`: urql's reader takes nothing else."""

    media_type = "text/event-stream"
    opening = heartbeat = b":\n\n"
    ending = b"event: complete\ndata:\n\n"

    def next(self, payload: bytes) -> bytes:
        return b"event: next\ndata: %b\n\n" % payload

    def cut(self, why: str) -> bytes:
        """graphql-sse subscribes again when the answer ends without `complete`."""
        return f": {why}\n\n".encode()


class Multipart:
    """The delimiter comes with the part before it, not with the one after: a part is read when its end is seen."""

    media_type = 'multipart/mixed;boundary="graphql";subscriptionSpec=1.0'
    opening = b"--graphql"
    heartbeat = b"\r\nContent-Type: application/json\r\n\r\n{}\r\n--graphql"
    ending = b"--\r\n"

    def next(self, payload: bytes) -> bytes:
        return self._part(b'{"payload":%b}' % payload)

    def cut(self, why: str) -> bytes:
        """Errors beside a payload of null are the transport's: Apollo Client's RetryLink subscribes again."""
        error = {"message": why, "extensions": {"code": ErrorCode.SERVICE_UNAVAILABLE.value}}
        return self._part(encode({"payload": None, "errors": [error]})) + self.ending

    def _part(self, body: bytes) -> bytes:
        return b"\r\nContent-Type: application/json\r\n\r\n%b\r\n--graphql" % body


EVENT_STREAM = EventStream()
MULTIPART = Multipart()


def single_answer(form: Form, body: Mapping[str, Any]) -> Response:
    """A result that no other follows, for those who take streams only."""
    content = form.opening + form.next(encode(body)) + form.ending
    return Response(content, headers=_headers(form))


def _headers(form: Form) -> dict[str, str]:
    # No proxy on the way is to keep it, to compress it or to wait for more of it.
    return {
        "Content-Type": form.media_type,
        "Cache-Control": "no-cache, no-transform",
        "X-Accel-Buffering": "no",
    }


# ---------------------------------------------------------------------------------------------- streams


@dataclass(frozen=True, slots=True)
class StreamLimits:
    """How long they live, and how often the silent ones say that they do."""

    age_s: float
    heartbeat_s: float


class OpenStreams:
    """The streams of this process: each caller may have so many, and all are told when it stops.

    `places`: shared with the operations of sockets.
    """

    def __init__(self, limits: StreamLimits, places: Places) -> None:
        self.limits = limits
        self._places = places
        self.is_stopping = False
        self._open: set[Stream] = set()

    @contextmanager
    def place(self, caller: str) -> Iterator[GraphQLError | None]:
        """A place among the caller's streams until the end of the block, or why there is none."""
        holder = object()
        if not self._places.take(caller, holder):
            yield too_many_streams(self._places.per_caller)
            return
        try:
            yield None
        finally:
            self._places.give_back(holder)

    def add(self, stream: "Stream") -> None:
        self._open.add(stream)

    def remove(self, stream: "Stream") -> None:
        self._open.discard(stream)

    async def stop(self) -> None:
        """End all, and each that still comes; who does not let go is cut off."""
        self.is_stopping = True
        if not self._open:
            return
        for stream in self._open:
            stream.stop()
        await asyncio.wait([stream.over for stream in self._open], timeout=ENDED_WITHIN_S)
        for stream in self._open:
            stream.abort()


def too_many_streams(allowed: int) -> GraphQLError:
    message = f"{allowed:,} of your subscriptions run here already, on sockets and over HTTP together: end one."
    return GraphQLError(message, extensions={"code": ErrorCode.TOO_MANY_OPERATIONS.value, "allowed": allowed})


class StreamedAnswer(Response):
    """The answer to a subscription."""

    def __init__(self, form: Form, deliver: Deliver, streams: OpenStreams, *, caller: str) -> None:
        super().__init__(headers=_headers(form))
        del self.headers["content-length"]
        self._form = form
        self._deliver = deliver
        self._streams = streams
        self._caller = caller

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        with self._streams.place(self._caller) as refusal:
            deliver = self._deliver if refusal is None else partial(_refuse, refusal)
            abort = scope.get("extensions", {}).get(ABORT, _nothing)
            stream = Stream(self._form, deliver, send, abort, self._streams.limits)
            self._streams.add(stream)
            if self._streams.is_stopping:
                stream.stop()
            try:
                await stream.run(receive)
            finally:
                self._streams.remove(stream)


class Stream:
    """A subscription that is told to one client.

    Nothing is asked of the subscription before what came last is on its way: a client that reads slowly is told later,
    and what it has not read waits in the log.
    """

    def __init__(
        self, form: Form, deliver: Deliver, send: Send, abort: Callable[[], None], limits: StreamLimits
    ) -> None:
        self._form = form
        self._deliver = deliver
        self._send = send
        self._sending = asyncio.Lock()
        self._limits = limits
        self._clock = asyncio.get_running_loop().time
        self._quiet_since = self._clock()
        self._stopped: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.abort = abort

    def stop(self) -> None:
        if not self._stopped.done():
            self._stopped.set_result(None)

    async def run(self, receive: Receive) -> None:
        """Until all is told, the client has gone, it is too old, or the server stops."""
        telling = asyncio.create_task(self._tell())
        gone = asyncio.create_task(_until_gone(receive))
        try:
            ending = await self._watch(telling, gone)
            telling.cancel()  # before the end is said: it may wait for a client that does not read
            if ending is not None:
                await self._say(ending, is_last=True)
        finally:
            telling.cancel()
            gone.cancel()
            await asyncio.gather(telling, gone, return_exceptions=True)  # the subscription is closed then
            self.over.set_result(None)

    async def _watch(self, telling: "asyncio.Task[None]", gone: "asyncio.Task[None]") -> bytes | None:
        """What is to be said at the end; None when nobody listens."""
        too_old_at = self._clock() + self._limits.age_s
        while True:
            heartbeat_at = self._quiet_since + self._limits.heartbeat_s
            timeout_s = max(0.0, min(heartbeat_at, too_old_at) - self._clock())
            await asyncio.wait({telling, gone, self._stopped}, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
            if gone.done():
                return None
            if telling.done():
                return self._form.ending
            if self._stopped.done():
                return self._form.cut("The server is stopping: subscribe again.")
            if self._clock() >= too_old_at:
                return self._form.cut("Open for too long: subscribe again.")
            if self._clock() >= self._quiet_since + self._limits.heartbeat_s and not await self._beat():
                return None

    async def _beat(self) -> bool:
        """Whether the client still reads.  One that does not is cut off: what waits for it would wait for ever."""
        try:
            async with asyncio.timeout(self._limits.heartbeat_s * HEARTBEATS_UNTIL_STALLED):
                await self._say(self._form.heartbeat)
        except TimeoutError:
            self.abort()
            return False
        return True

    def offer(self, payload: bytes) -> bool:  # noqa: ARG002 -- as outlets have it
        return False

    async def ready(self) -> None:
        """The server holds back whatever is said, and be it nothing, until what was said before has been taken."""
        await self._say(b"")

    async def send(self, payload: bytes) -> None:
        await self._say(self._form.next(payload))

    async def _tell(self) -> None:
        await self._say(self._form.opening)
        try:
            await self._deliver(self)
        except OperationRefused as refused:
            await self.send(encode({"errors": [error.formatted for error in refused.errors]}))
        except Exception as fault:
            error = public_error(GraphQLError(str(fault), original_error=fault))
            await self.send(encode({"errors": [error.formatted]}))

    async def _say(self, content: bytes, *, is_last: bool = False) -> None:
        async with self._sending:
            await self._send({"type": "http.response.body", "body": content, "more_body": not is_last})
            self._quiet_since = self._clock()


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _refuse(error: GraphQLError, _: Outlet) -> None:
    raise OperationRefused([error])


def _nothing() -> None:
    """Where the server knows no way to cut a connection."""
