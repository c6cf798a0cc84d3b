"""HTTP connections that nobody would end."""

import asyncio
import socket
from unittest.mock import Mock

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send
from uvicorn.server import ServerState

from api import connections
from api.connections import Connection
from api.listener import listen
from api.settings import load_settings
from tests.servers import until

HEAD = b"POST /graphql HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n"


async def answer(_scope: Scope, _receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body", "body": b""})


async def connected(*sent: bytes) -> tuple[Connection, Mock]:
    """A connection on which that was sent, piece by piece, and its transport."""
    connection = Connection(uvicorn.Config(answer), ServerState(), {})
    transport = Mock(asyncio.Transport)
    transport.is_closing.return_value = False
    connection.connection_made(transport)
    for data in sent:
        connection.data_received(data)
        await asyncio.sleep(0)
    return connection, transport


@pytest.mark.parametrize("sent", [[], [b"P"], [b"POST /graphql HTTP/1.1\r\n", b"Host: x\r\n"], [HEAD, b"{}", HEAD[:9]]])
async def test_head_of_a_request_that_does_not_come_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch, sent: list[bytes]
) -> None:
    monkeypatch.setattr(connections, "ASKS_WITHIN_S", 0.05)

    _, transport = await connected(*sent)

    await until(lambda: transport.abort.called, within_s=5)


@pytest.mark.parametrize("sent", [[HEAD], [HEAD[:20], HEAD[20:]], [HEAD + b"{}", HEAD]])
async def test_after_the_head_other_limits_hold(sent: list[bytes]) -> None:
    connection, transport = await connected(*sent)

    assert connection._asks_in_time is None
    assert not transport.abort.called


async def test_connections_of_the_listener_are_watched_by_the_kernel() -> None:
    """What that does is shown with lost packets, where they can be lost."""
    listener = listen(load_settings(port=0, stream_heartbeat_s=4))
    with listener, socket.create_connection(listener.getsockname()):
        accepted, _ = listener.accept()
        with accepted:
            assert accepted.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            if hasattr(socket, "TCP_USER_TIMEOUT"):
                assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 10_000
