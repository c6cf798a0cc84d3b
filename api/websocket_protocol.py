"""uvicorn's WebSockets, where clients do what they should not: each gets the answer that RFC 6455 has for it.

uvicorn closes a connection at once when it has failed.  Then the kernel resets it if anything was left unread, and the
client never learns the code; what waits to be sent to a client that is gone keeps the connection, and all that hangs on
it, for as long as TCP hopes; and a client that sends frames without end is given all the time there is.
"""

import asyncio
from typing import Any, Protocol, cast

from uvicorn._types import ASGIReceiveEvent, ASGISendEvent
from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import Close, CloseCode, Frame
from websockets.http11 import Request
from websockets.protocol import State

WRITER = "robot_jobs.writer"  # the ASGI extension
TAKES_ITS_LEAVE_WITHIN_S = 2.0
FRAMES_AT_ONCE = 500
FRAMES_PER_S = 1_000.0  # of one client; those who send more are read later, and nobody else waits for them
_TAKEN_AT_ONCE = 2_048  # bytes: some hundreds of the shortest frames
_WAITS_S = 0.05
_TEXT = 0x81  # the whole message in one frame; a server masks nothing


class Writer(Protocol):
    """A way to the client of a socket that knows when there is none."""

    writable: asyncio.Event
    """Set while the client takes something, and when it has gone."""

    def write_at_once(self, text: bytes) -> bool:
        """Send a text message if the client takes it now, without any waiting; whether it was sent."""


class WebSocketProtocol(WebSocketsSansIOProtocol):
    """Pongs wait until the client reads again, the last ones only: uvicorn would keep them all, without end."""

    _pongs = b""
    _is_over = False
    """All is said; what still comes is dropped."""
    _waiting: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._came = bytearray()
        self._frames = float(FRAMES_AT_ONCE)  # that may be taken now
        self._counted_at = self.loop.time()

    # ------------------------------------------------------------------------------------------ what comes

    def data_received(self, data: bytes) -> None:
        if not self._is_over:
            self._came += data
            self._take()

    def _take(self) -> None:
        """Of what came as much as is allowed now, and message by message as the application takes them.

        No more is read meanwhile: TCP makes the client wait.
        """
        while self._came and not self._is_over and not self.read_paused and self._may_take():
            part = bytes(self._came[:_TAKEN_AT_ONCE])
            del self._came[:_TAKEN_AT_ONCE]
            super().data_received(part)
            if self.conn.handshake_exc is not None and not self.handshake_initiated:
                # Uvicorn's HTTP has understood it, its WebSockets have not: too many headers.
                self._refuse_handshake(b"400 Bad Request")
        if self._is_over:
            self._came.clear()
        elif self._came:
            self.transport.pause_reading()
        elif not self.read_paused:
            self.transport.resume_reading()

    def _may_take(self) -> bool:
        """Otherwise it goes on by itself in a while."""
        now = self.loop.time()
        self._frames = min(FRAMES_AT_ONCE, self._frames + (now - self._counted_at) * FRAMES_PER_S)
        self._counted_at = now
        if self._frames <= 0 and self._waiting is None:
            self._waiting = self.loop.call_later(_WAITS_S, self._go_on)
        return self._frames > 0

    def _go_on(self) -> None:
        self._waiting = None
        if not self.transport.is_closing():
            self._take()

    def handle_events(self) -> None:
        self._frames -= len(self.conn.events)
        super().handle_events()

    async def receive(self) -> ASGIReceiveEvent:
        message = await super().receive()
        if self._came and not self.disconnected:
            self._take()
        return message

    def handle_connect(self, event: Request) -> None:
        versions = event.headers.get_all("Sec-WebSocket-Version")
        if versions and versions != ["13"]:
            self._refuse_handshake(b"426 Upgrade Required\r\nSec-WebSocket-Version: 13")
            return
        super().handle_connect(event)
        if not self.close_sent:
            extensions = cast(dict[str, Any], self.scope["extensions"])
            extensions[WRITER] = self

    def handle_cont(self, event: Frame) -> None:
        if event.data or event.fin:  # of empty ones there could be any number
            super().handle_cont(event)

    def send_receive_event_to_app(self) -> None:
        if self.curr_msg_data_type == "text" and not _is_utf8(b"".join(self.frames)):
            self.frames = []
            self._fail(CloseCode.INVALID_DATA, "text that is not UTF-8")
            return
        super().send_receive_event_to_app()

    def handle_ping(self) -> None:
        if self._is_over:
            return
        if self.writable.is_set():
            super().handle_ping()
        else:
            # What has come at once is answered at once; of later pings in the same bytes nothing is left to say.
            self._pongs = b"".join(self.conn.data_to_send()) or self._pongs

    def handle_close(self, event: Frame) -> None:
        if not self._is_over:
            super().handle_close(event)

    def handle_parser_exception(self) -> None:
        """The parser has written the close frame that says what was wrong."""
        close = self.conn.close_sent or Close(CloseCode.ABNORMAL_CLOSURE, "")
        self._end(close.code, close.reason)

    def keepalive_timeout(self) -> None:
        self.pong_timer = None
        if not self.close_sent and not self.transport.is_closing():
            self._fail(CloseCode.INTERNAL_ERROR, "keepalive ping timeout")

    # ------------------------------------------------------------------------------------------ what goes out

    async def send(self, message: ASGISendEvent) -> None:
        await self.writable.wait()
        if self.close_sent and self.initial_response is None:
            raise ClientDisconnected  # of the application's end uvicorn knows, not of our own
        await super().send(message)
        if message["type"] == "websocket.accept":
            self._forget_handshake()
        if self.close_timer is not None:  # uvicorn's would wait until all was read
            self.close_timer.cancel()
            self.close_timer = self.loop.call_later(self.close_timeout, self.transport.abort)
            self._take()  # the client's close may be among what came

    def _forget_handshake(self) -> None:
        """Sockets live long, and there are many: nobody looks at the headers any more."""
        self.request.headers.clear()
        self.response.headers.clear()
        cast(list[Any], self.scope["headers"]).clear()

    def write_at_once(self, text: bytes) -> bool:
        """The frame is made here: it is the same as the library's, which takes several times as long."""
        if not self.writable.is_set() or self.close_sent or self.transport.is_closing():
            return False
        size = len(text)
        if size < 126:
            head = bytes((_TEXT, size))
        elif size < 65_536:
            head = b"%c\x7e%b" % (_TEXT, size.to_bytes(2))
        else:
            head = b"%c\x7f%b" % (_TEXT, size.to_bytes(8))
        self.transport.write(head + text)
        return True

    def resume_writing(self) -> None:
        super().resume_writing()
        pongs, self._pongs = self._pongs, b""
        if pongs and not self._is_over and not self.transport.is_closing():
            self.transport.write(pongs)

    # ------------------------------------------------------------------------------------------ the end

    def _refuse_handshake(self, status: bytes) -> None:
        """With the parser's own answer, if it has one."""
        answer = b"HTTP/1.1 %b\r\nConnection: close\r\nContent-Length: 0\r\n\r\n" % status
        self.transport.write(b"".join(self.conn.data_to_send()) or answer)
        self.handshake_complete = True
        self._end(CloseCode.ABNORMAL_CLOSURE)

    def _fail(self, code: int, reason: str) -> None:
        if self.conn.state is State.OPEN:
            self.conn.send_close(code, reason)
        self._end(code, reason)

    def _end(self, code: int, reason: str = "") -> None:
        """Tell the application, and close when the client has; or soon, however much it has not read."""
        self.stop_keepalive()
        self._is_over = self.close_sent = True
        self.queue.put_nowait({"type": "websocket.disconnect", "code": code, "reason": reason})
        if self.transport.is_closing():
            return
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.transport.write_eof()
        if self.read_paused:
            self.read_paused = False
            self.transport.resume_reading()
        if self.close_timer is not None:
            self.close_timer.cancel()
        self.close_timer = self.loop.call_later(TAKES_ITS_LEAVE_WITHIN_S, self.transport.abort)


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True
