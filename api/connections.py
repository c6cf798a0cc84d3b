"""HTTP connections as uvicorn has them, and a way to cut one: ASGI itself knows none.

A client that stopped reading keeps its connection open for as long as it likes: to close it means to wait until all
that was written has been read.
"""

import asyncio

from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from api.graphql_streams import ABORT


class Connection(H11Protocol):
    """Requests of it carry its `abort` in their scope."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        app: ASGIApp = self.app

        async def with_abort(scope: Scope, receive: Receive, send: Send) -> None:
            scope["extensions"] = {**scope.get("extensions", {}), ABORT: transport.abort}
            await app(scope, receive, send)

        self.app = with_abort
