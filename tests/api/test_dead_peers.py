"""Clients that are gone, and nobody was told: packets are lost on the way, or the program hangs.

Each user has one place on this server: when the next one is let in, nothing of the first is left.
"""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import pytest

from api.database import DatabaseUrls
from tests.api.test_socket_protocol import follows_anew, subscribe
from tests.api.wire import PING, Wire, connected, open_wire, request, text
from tests.servers import (
    FOLLOW,
    Server,
    credentials,
    following,
    open_events,
    open_socket,
    running_server,
    settings_for,
    until,
)
from tests.tenants import Tenant

PING_S = 0.5
HEARTBEAT_S = 0.4
NOTICED_WITHIN_S = 10.0

needs_linux = pytest.mark.skipif(sys.platform != "linux", reason="only there packets can be dropped without privileges")


@pytest.fixture(scope="module")
async def watchful_server(served_urls: DatabaseUrls) -> AsyncIterator[Server]:
    settings = settings_for(served_urls) | {
        "ROBOT_JOBS_SOCKETS_PER_USER": "1",
        "ROBOT_JOBS_STREAMS_PER_USER": "1",
        "ROBOT_JOBS_SOCKET_PING_S": str(PING_S),
        "ROBOT_JOBS_STREAM_HEARTBEAT_S": str(HEARTBEAT_S),
    }
    async with running_server(**settings) as server:
        yield server
        said = server.log.read_text()
        assert "Traceback" not in said
        assert "never retrieved" not in said


async def follow_frame(shop: Tenant, *, succeeded: int = 0) -> bytes:
    in_hand = await shop.job(items=succeeded + 1, succeeded=succeeded)
    return text(subscribe("1", {"query": FOLLOW, "variables": following(in_hand.job.id)}))


@needs_linux
async def test_socket_whose_packets_are_lost_is_noticed_and_leaves_nothing(
    watchful_server: Server, shop: Tenant
) -> None:
    follow = await follow_frame(shop)
    async with open_wire(watchful_server, credentials(shop)) as wire:
        await wire.send(follow)
        wire.vanish()

        async with asyncio.timeout(NOTICED_WITHIN_S):
            await follows_anew(watchful_server, shop, follow)


async def test_socket_that_answers_no_ping_is_closed_with_a_code(watchful_server: Server, shop: Tenant) -> None:
    async with open_wire(watchful_server, credentials(shop)) as wire:
        assert (await wire.receive())[0] == PING

        async with asyncio.timeout(NOTICED_WITHIN_S):
            assert await wire.closing() == 1011


async def test_socket_that_reads_nothing_while_much_is_told_leaves_nothing(
    watchful_server: Server, shop: Tenant
) -> None:
    """What waits for it would keep the connection open: it is cut off."""
    follow = await follow_frame(shop)
    large = "x" * 100_000
    async with open_wire(watchful_server, credentials(shop)) as wire:
        wire.writer.transport.pause_reading()  # type: ignore[attr-defined]  # a StreamWriter's is a Transport
        await wire.send(follow)
        asking = asyncio.create_task(wire.send(*[text({"type": "ping", "payload": {"x": large}})] * 300))

        async with asyncio.timeout(NOTICED_WITHIN_S):
            await follows_anew(watchful_server, shop, follow)
        asking.cancel()


async def test_idle_client_that_answers_pings_stays(watchful_server: Server, shop: Tenant) -> None:
    async with open_socket(watchful_server, credentials(shop)) as socket:
        with suppress(TimeoutError):
            await socket.receive(within_s=5 * PING_S)

        await socket.send({"type": "ping"})
        assert await socket.receive() == {"type": "pong"}


@needs_linux
@pytest.mark.parametrize("accept", ["text/event-stream", "multipart/mixed;subscriptionSpec=1.0"])
async def test_stream_whose_packets_are_lost_is_noticed_and_leaves_nothing(
    watchful_server: Server, shop: Tenant, accept: str
) -> None:
    in_hand = await shop.job(items=2, succeeded=1)

    async def follows() -> Any:
        async with open_events(watchful_server, credentials(shop), FOLLOW, following(in_hand.job.id)) as events:
            received = await events.told()
            return received is not None and "data" in received[1]

    async with connected(watchful_server) as wire:
        await ask_for_stream(wire, watchful_server, shop, following(in_hand.job.id), accept)
        await wire.reader.readuntil(b'"cursor"')
        assert not await follows()
        wire.vanish()

        await until(follows, within_s=NOTICED_WITHIN_S)


async def ask_for_stream(wire: Wire, server: Server, shop: Tenant, variables: dict[str, object], accept: str) -> None:
    body = json.dumps({"query": FOLLOW, "variables": variables}).encode()
    headers = {"Accept": accept, "Content-Type": "application/json", "Content-Length": str(len(body))}
    await wire.send(request(server, (headers | credentials(shop)).items(), method="POST") + body)
