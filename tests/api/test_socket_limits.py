"""What one socket may do and how long it may live, on a server that is strict about it."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from api.database import DatabaseUrls
from tests.servers import Server, credentials, open_events, open_socket, raw_socket, running_server, settings_for
from tests.tenants import Tenant

IDLE_S = 1.0
AGE_S = 3.0
PER_MINUTE = 8


@pytest.fixture(scope="module")
async def hasty_server(served_urls: DatabaseUrls) -> AsyncIterator[Server]:
    settings = settings_for(served_urls) | {
        "ROBOT_JOBS_SOCKET_OPERATIONS": "2",
        "ROBOT_JOBS_SOCKET_INIT_TIMEOUT_S": "0.3",
        "ROBOT_JOBS_SOCKET_IDLE_TIMEOUT_S": str(IDLE_S),
        "ROBOT_JOBS_SOCKET_MAX_AGE_S": str(AGE_S),
        "ROBOT_JOBS_REQUESTS_PER_MINUTE": str(PER_MINUTE),
    }
    async with running_server(**settings) as server:
        yield server


def code_of(message: Any) -> str:
    assert message["type"] == "error", message
    (error,) = message["payload"]
    return str(error["extensions"]["code"])


async def test_socket_that_does_not_introduce_itself_is_closed_with_4408(hasty_server: Server) -> None:
    async with raw_socket(hasty_server) as socket:
        assert await socket.closing() == (4408, "Connection initialisation timeout")


@pytest.mark.parametrize("message", [{"type": "connection_init", "payload": None}, {"type": "connection_init"}])
async def test_introduction_without_a_payload_lacks_a_token_and_breaks_no_protocol(
    server: Server, message: dict[str, object]
) -> None:
    async with raw_socket(server) as socket:
        await socket.send(message)

        assert await socket.closing() == (4403, "Forbidden")


async def test_one_operation_too_many_is_refused_and_the_others_go_on(hasty_server: Server, shop: Tenant) -> None:
    in_hand = await shop.job(items=1)

    async with open_socket(hasty_server, credentials(shop)) as socket:
        for name in ("1", "2", "3"):
            await socket.follow(in_hand.job.id, after="0", operation_id=name)
        refused = await socket.receive()
        await socket.send({"type": "complete", "id": "1"})
        await socket.subscribe("{ __typename }", {}, operation_id="4")
        answered = await socket.receive()

    assert (refused["id"], code_of(refused)) == ("3", "TOO_MANY_OPERATIONS")
    assert (answered["id"], answered["payload"]) == ("4", {"data": {"__typename": "Query"}})


async def test_operations_of_a_socket_count_as_those_of_requests_do(
    hasty_server: Server, shop: Tenant, other_shop: Tenant
) -> None:
    """Before they are read; and the socket stays open."""
    document = "{ __typename }"
    assert "data" in await hasty_server.ask(document, headers=credentials(shop))

    async with open_socket(hasty_server, credentials(shop)) as socket:
        for number in range(PER_MINUTE - 1):
            await socket.subscribe(document if number % 2 else "{", {}, operation_id=str(number))
            while (await socket.receive())["type"] == "next":
                pass
        await socket.subscribe("{", {}, operation_id="one more")
        refused = await socket.receive()
        over_http = await hasty_server.http.post("/graphql", json={"query": document}, headers=credentials(shop))
        await socket.send({"type": "ping"})
        assert await socket.receive() == {"type": "pong"}

    assert (refused["id"], code_of(refused)) == ("one more", "RATE_LIMITED")
    assert refused["payload"][0]["extensions"]["retryAfterSeconds"] > 0
    assert over_http.status_code == 429
    assert "data" in await hasty_server.ask(document, headers=credentials(other_shop))


async def test_stream_over_http_counts_as_one_operation(hasty_server: Server, shop: Tenant) -> None:
    answers = []
    for _ in range(PER_MINUTE + 1):
        async with open_events(hasty_server, credentials(shop), "subscription { nope }") as events:
            await events.answer.aread()
            answers.append(events.answer)

    assert [answer.status_code for answer in answers] == [200] * PER_MINUTE + [429]
    assert answers[-1].json()["errors"][0]["extensions"]["code"] == "RATE_LIMITED"
    assert answers[-1].headers["retry-after"]


async def test_batch_counts_as_many_operations_as_it_has_and_runs_whole_or_not_at_all(
    hasty_server: Server, shop: Tenant
) -> None:
    headers = credentials(shop)

    async def status(operations: int) -> int:
        batch = [{"query": "{ __typename }"}] * operations
        return (await hasty_server.http.post("/graphql", json=batch, headers=headers)).status_code

    assert [await status(5), await status(5), await status(2)] == [200, 429, 200]


async def test_socket_that_asks_nothing_is_closed_whatever_else_it_says(hasty_server: Server, shop: Tenant) -> None:
    clock = asyncio.get_running_loop().time

    async with open_socket(hasty_server, credentials(shop)) as socket:
        started = clock()
        await socket.send({"type": "ping"})
        assert await socket.closing() == (1001, "Nothing was asked for too long.")

    assert IDLE_S - 0.1 < clock() - started < AGE_S


async def test_socket_that_follows_lives_until_it_is_too_old(hasty_server: Server, shop: Tenant) -> None:
    in_hand = await shop.job(items=1)
    clock = asyncio.get_running_loop().time

    async with open_socket(hasty_server, credentials(shop)) as socket:
        started = clock()
        await socket.follow(in_hand.job.id, after="0")
        assert await socket.closing() == (1001, "Open for too long: connect again.")

    assert clock() - started > AGE_S - 0.5
    assert "Traceback" not in hasty_server.log.read_text()
