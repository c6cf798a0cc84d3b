"""What clients send, taken off the wire within limits of size and time."""

import asyncio
from typing import cast

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.graphql import refusal_response
from api.requests import Refusal
from schema.errors import ErrorCode

_DRAINED_TIMES = 32


class Body:
    """The body of a request that has not been read yet."""

    def __init__(self, receive: Receive, *, max_bytes: int, timeout_s: float) -> None:
        self._receive = receive
        self._max_bytes = max_bytes
        self._timeout_s = timeout_s
        self._received = 0
        self._is_complete = False

    async def read(self) -> bytes:
        """All of it.  Raises Refusal over the limit (413) or out of time (408), ClientDisconnect."""
        body = bytearray()
        await self._take(body)
        if self._received > self._max_bytes:
            limit = f"The body is over the limit of {self._max_bytes:,} bytes."
            raise Refusal(413, limit, ErrorCode.BODY_TOO_LARGE, headers={"Connection": "close"})
        return bytes(body)

    async def drop(self) -> None:
        """Whatever of it has not been read: the request is refused without it.  Raises as `read`."""
        await self._take(None)

    async def _take(self, body: bytearray | None) -> None:
        # What is too much is still taken off the wire for a while, and dropped: a client that is cut off in the middle
        # of sending sees a broken connection instead of the answer.
        try:
            async with asyncio.timeout(self._timeout_s):
                while not self._is_complete and self._received <= _DRAINED_TIMES * self._max_bytes:
                    message = await self._receive()
                    if message["type"] == "http.disconnect":
                        raise ClientDisconnect
                    chunk = message.get("body", b"")
                    self._received += len(chunk)
                    if body is not None and self._received <= self._max_bytes:
                        body += chunk
                    self._is_complete = not message.get("more_body", False)
        except TimeoutError:
            slow = f"The body has not arrived within {self._timeout_s:g} s."
            raise Refusal(408, slow, headers={"Connection": "close"}) from None


class BodyLimit:
    """Refuses bodies over the limit with 413 before they are read into memory, and slow ones with 408.

    What is put under that path reads its own bodies, with limits of its own.
    """

    def __init__(self, app: ASGIApp, max_bytes: int, timeout_s: float, puts_are_free_under: str) -> None:
        self._app = app
        self._max_bytes = max_bytes
        self._timeout_s = timeout_s
        self._free = puts_are_free_under

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] in ("GET", "HEAD", "OPTIONS") or self._reads_its_own(scope):
            await self._app(scope, receive, send)
            return
        try:
            body = await Body(receive, max_bytes=self._max_bytes, timeout_s=self._timeout_s).read()
        except ClientDisconnect:
            return
        except Refusal as refusal:
            await refusal_response(refusal)(scope, receive, send)
            return
        given = iter([{"type": "http.request", "body": body, "more_body": False}])

        async def replay() -> Message:
            return cast(Message, next(given, None)) or await receive()

        await self._app(scope, replay, send)

    def _reads_its_own(self, scope: Scope) -> bool:
        return bool(scope["method"] == "PUT" and scope["path"].startswith(self._free))
