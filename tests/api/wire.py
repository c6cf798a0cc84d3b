"""A WebSocket client that sends whatever bytes it is told to, and does not mend what is wrong with them."""

import asyncio
import base64
import ctypes
import json
import socket
import struct
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

from tests.servers import PATIENCE_S, PROTOCOL, Server

TEXT, BINARY, CLOSE, PING, PONG = 0x1, 0x2, 0x8, 0x9, 0xA
CONTINUATION = 0x0
_ATTACH_FILTER = 26  # SO_ATTACH_FILTER
_MASK = b"\x01\x02\x03\x04"


def frame(opcode: int, payload: bytes = b"", *, fin: bool = True, rsv: int = 0, is_masked: bool = True) -> bytes:
    first = (0x80 if fin else 0) | rsv << 4 | opcode
    return bytes([first]) + length(len(payload), is_masked=is_masked) + (masked(payload) if is_masked else payload)


def length(size: int, *, is_masked: bool = True) -> bytes:
    mark = 0x80 if is_masked else 0
    if size < 126:
        return bytes([mark | size])
    if size < 65_536:
        return struct.pack("!BH", mark | 126, size)
    return struct.pack("!BQ", mark | 127, size)


def masked(payload: bytes) -> bytes:
    mask = (_MASK * (len(payload) // 4 + 1))[: len(payload)]
    return _MASK + (int.from_bytes(payload) ^ int.from_bytes(mask)).to_bytes(len(payload))


def text(message: object, **options: Any) -> bytes:
    return frame(TEXT, json.dumps(message).encode(), **options)


def close_frame(code: int | None, reason: bytes = b"") -> bytes:
    return frame(CLOSE, b"" if code is None else struct.pack("!H", code) + reason)


@dataclass(frozen=True, slots=True)
class Wire:
    """What is read is what the server wrote, frame by frame."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, *frames: bytes) -> None:
        """All at once; that nobody takes it any more is no trouble."""
        self.writer.write(b"".join(frames))
        with suppress(ConnectionError):
            await self.writer.drain()

    async def receive(self) -> tuple[int, bytes]:
        """The next frame: its opcode and payload.  Raises IncompleteReadError at the end, or ConnectionError."""
        async with asyncio.timeout(PATIENCE_S):
            first, second = await self.reader.readexactly(2)
            assert first & 0x70 == 0, "no extension was agreed on"
            assert second & 0x80 == 0, "a server masks nothing"
            size = second & 0x7F
            if size >= 126:
                size = int.from_bytes(await self.reader.readexactly(2 if size == 126 else 8))
            return first & 0x0F, await self.reader.readexactly(size)

    async def message(self) -> Any:
        opcode, payload = await self.receive()
        assert opcode == TEXT, (opcode, payload)
        return json.loads(payload)

    async def closing(self) -> int:
        """The code with which the server closes, whatever it says before: 1005 for none, 1006 for no close frame."""
        try:
            while True:
                opcode, payload = await self.receive()
                if opcode == CLOSE:
                    await self.send(frame(CLOSE, payload))
                    return int.from_bytes(payload[:2]) if payload else 1005
        except (asyncio.IncompleteReadError, ConnectionError):
            return 1006

    async def end(self) -> bytes:
        """What comes until the connection is closed, or broken."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                return await self.reader.read()
        except ConnectionError:
            return b""

    def vanish(self) -> None:
        """Whatever comes from now on is lost on the way, unacknowledged; nobody is told.  On Linux alone."""
        drop_all = ctypes.create_string_buffer(struct.pack("HBBI", 0x06, 0, 0, 0))  # a packet filter's `ret 0`
        given = struct.pack("HP", 1, ctypes.addressof(drop_all))
        self.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, _ATTACH_FILTER, given)


def request(
    server: Server, headers: Iterable[tuple[str, str]], *, method: str = "GET", path: str = "/graphql"
) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", f"Host: 127.0.0.1:{server.port}"]
    return "\r\n".join([*lines, *(f"{name}: {value}" for name, value in headers), "", ""]).encode()


def upgrade(**changed: str | None) -> list[tuple[str, str]]:
    """The headers of a handshake; None leaves one out, and _ is for -."""
    headers: dict[str, str | None] = {
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Key": base64.b64encode(b"sixteen bytes ..").decode(),
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Protocol": PROTOCOL,
    }
    headers |= {name.replace("_", "-"): value for name, value in changed.items()}
    return [(name, value) for name, value in headers.items() if value is not None]


@asynccontextmanager
async def connected(server: Server) -> AsyncIterator[Wire]:
    """A connection on which nothing has been said."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    try:
        yield Wire(reader, writer)
    finally:
        writer.transport.abort()


@asynccontextmanager
async def open_wire(
    server: Server, payload: Mapping[str, str] | None = None, **changed: str | None
) -> AsyncIterator[Wire]:
    """After the handshake; with a payload, after `connection_init` too."""
    async with connected(server) as wire:
        await wire.send(request(server, upgrade(**changed)))
        head = await wire.reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101 "), head
        assert b"sec-websocket-extensions" not in head.lower()
        if payload is not None:
            await wire.send(text({"type": "connection_init", "payload": payload}))
            assert await wire.message() == {"type": "connection_ack"}
        yield wire
