"""`python -m tests.benchmarks.bare PORT`: the least that a server must do, so that one sees what is left to gain.

It answers the handshake and graphql-transport-ws without looking closely, and writes each message to each socket with
that one's operation id in it, through asyncio: no framework, no GraphQL, no limits, no care for slow readers.  What
happened is a line of JSON on its standard input, as for the plain server.
"""

import asyncio
import base64
import hashlib
import json
import sys
from typing import Any, cast

from tests.benchmarks.frames import TEXT, server_frame, split_frames

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # of RFC 6455

followers: dict["Socket", bytes] = {}


class Socket(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self._rest = b""
        self._is_upgraded = False

    def data_received(self, data: bytes) -> None:
        if not self._is_upgraded:
            self._upgrade(data)
            return
        frames, self._rest = split_frames(self._rest + data)
        for first_byte, payload in frames:
            if first_byte == TEXT:
                self._take(json.loads(payload))

    def connection_lost(self, _: Exception | None) -> None:
        followers.pop(self, None)

    def _upgrade(self, data: bytes) -> None:
        headers = {name.lower(): value for name, _, value in (line.partition(b": ") for line in data.split(b"\r\n"))}
        if b"sec-websocket-key" not in headers:
            self.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            return
        digest = hashlib.sha1(headers[b"sec-websocket-key"] + _GUID, usedforsecurity=False).digest()
        self.transport.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Protocol: graphql-transport-ws\r\n"
            b"Sec-WebSocket-Accept: " + base64.b64encode(digest) + b"\r\n\r\n"
        )
        self._is_upgraded = True

    def _take(self, message: dict[str, Any]) -> None:
        if message["type"] == "connection_init":
            self.transport.write(server_frame(TEXT, b'{"type":"connection_ack"}'))
        elif message["type"] == "subscribe":
            followers[self] = message["id"].encode()


async def main(port: int) -> None:
    loop = asyncio.get_running_loop()
    await loop.create_server(Socket, "127.0.0.1", port, backlog=2_048)
    lines = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    async for line in lines:
        told = json.loads(line)
        del told["item"]["order"]
        news = json.dumps({"data": {"robotJobItemCompleted": told}}, separators=(",", ":")).encode()
        for socket, operation_id in followers.items():
            message = b'{"id":"' + operation_id + b'","type":"next","payload":' + news + b"}"
            socket.transport.write(server_frame(TEXT, message))


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
