"""HTTP connections as uvicorn has them, with an end for those that nobody else ends.

A client that stopped reading keeps its connection open for as long as it likes: to close it means to wait until all
that was written has been read, and ASGI knows no other way.  One that says half a request would be waited for for ever.
"""

import asyncio

import h11
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from api.graphql_streams import ABORT

ASKS_WITHIN_S = 10.0


class Connection(H11Protocol):
    """Requests of it carry its `abort` in their scope."""

    _asks_in_time: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        app: ASGIApp = self.app

        async def with_abort(scope: Scope, receive: Receive, send: Send) -> None:
            scope["extensions"] = {**scope.get("extensions", {}), ABORT: transport.abort}
            await app(scope, receive, send)

        self.app = with_abort
        self._expect_request()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._expect_request()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._expect_nothing()

    def _expect_request(self) -> None:
        """Its head must be there in time, counted from its first byte; of the first, from the connection on."""
        if self.conn.their_state is not h11.IDLE or self.transport.is_closing():
            self._expect_nothing()
        elif self._asks_in_time is None:
            self._asks_in_time = self.loop.call_later(ASKS_WITHIN_S, self.transport.abort)

    def _expect_nothing(self) -> None:
        if self._asks_in_time is not None:
            self._asks_in_time.cancel()
            self._asks_in_time = None
