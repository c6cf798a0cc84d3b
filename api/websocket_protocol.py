"""uvicorn's WebSockets, with a way to write at once, and made for clients that ask for answers and read none."""

import asyncio
from typing import Any, Protocol, cast

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.http11 import Request
from websockets.protocol import State

WRITER = "robot_jobs.writer"  # the ASGI extension


class Writer(Protocol):
    """A way to the client of a socket that knows when there is none."""

    writable: asyncio.Event
    """Set while the client takes something, and when it has gone."""

    def write_at_once(self, text: bytes) -> bool:
        """Send a text message if the client takes it now, without any waiting; whether it was sent."""


class WebSocketProtocol(WebSocketsSansIOProtocol):
    """Pongs wait until the client reads again, the last ones only: uvicorn would keep them all, without end."""

    _pongs = b""

    def handle_connect(self, event: Request) -> None:
        super().handle_connect(event)
        if self.handshake_initiated:
            extensions = cast(dict[str, Any], self.scope["extensions"])
            extensions[WRITER] = self

    def write_at_once(self, text: bytes) -> bool:
        if not self.writable.is_set() or self.close_sent or self.disconnected or self.conn.state is not State.OPEN:
            return False
        self.conn.send_text(text)
        self.transport.write(b"".join(self.conn.data_to_send()))
        return True

    def handle_ping(self) -> None:
        if self.writable.is_set():
            super().handle_ping()
        else:
            # What has come at once is answered at once; of later pings in the same bytes nothing is left to say.
            self._pongs = b"".join(self.conn.data_to_send()) or self._pongs

    def resume_writing(self) -> None:
        super().resume_writing()
        pongs, self._pongs = self._pongs, b""
        if pongs and not self.transport.is_closing():
            self.transport.write(pongs)
