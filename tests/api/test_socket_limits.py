"""What one socket may do and how long it may live, on a server that is strict about it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed

from api.database import DatabaseUrls
from domain.workspaces import Role
from tests.servers import (
    FOLLOW,
    Server,
    credentials,
    following,
    open_events,
    open_socket,
    raw_socket,
    running_server,
    settings_for,
    until,
)
from tests.tenants import Tenant

IDLE_S = 1.0
AGE_S = 3.0
PER_MINUTE = 8
PROMPTLY_S = 5.0


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


# ---------------------------------------------------------------------------------------------- all of one user's


@pytest.fixture(scope="module")
async def sparing_server(served_urls: DatabaseUrls) -> AsyncIterator[Server]:
    settings = settings_for(served_urls) | {"ROBOT_JOBS_SOCKETS_PER_USER": "2", "ROBOT_JOBS_STREAMS_PER_USER": "3"}
    async with running_server(**settings) as server:
        yield server


async def test_one_socket_too_many_is_closed_with_a_reason_before_it_is_acknowledged(
    sparing_server: Server, shop: Tenant, other_shop: Tenant
) -> None:
    """Not for good: whoever was cut off may be back before the server has noticed."""
    key = {"Authorization": f"Bearer {(await shop.key()).secret}"}

    async def has_place() -> bool:
        async with raw_socket(sparing_server) as socket:
            await socket.send({"type": "connection_init", "payload": credentials(shop)})
            with suppress(ConnectionClosed):
                return bool(await socket.receive() == {"type": "connection_ack"})
        return False

    async with open_socket(sparing_server, credentials(shop)), open_socket(sparing_server, credentials(shop)) as second:
        async with raw_socket(sparing_server) as third:
            await third.send({"type": "connection_init", "payload": credentials(shop)})
            with pytest.raises(ConnectionClosed):
                await third.receive()
            closed = (third.connection.close_code, third.connection.close_reason)
        async with (
            open_socket(sparing_server, credentials(shop, Role.VIEWER)),
            open_socket(sparing_server, credentials(other_shop)),
            open_socket(sparing_server, key),
            raw_socket(sparing_server) as unnamed,
        ):
            await second.connection.close()
            await until(has_place, within_s=PROMPTLY_S)
            await unnamed.send({"type": "ping"})
            assert await unnamed.receive() == {"type": "pong"}

    assert closed == (1013, "2 of your sockets are open here already: close one")


async def test_operations_of_all_sockets_and_streams_of_a_user_count_together(
    sparing_server: Server, shop: Tenant, other_shop: Tenant
) -> None:
    in_hand, foreign = await shop.job(items=1), await other_shop.job(items=1)
    job_id = in_hand.job.id

    async def streamed() -> Any:
        async with open_events(sparing_server, credentials(shop), FOLLOW, following(job_id, after=None)) as events:
            return await events.told()

    async with (
        open_socket(sparing_server, credentials(shop)) as first,
        open_socket(sparing_server, credentials(shop)) as second,
        open_socket(sparing_server, credentials(other_shop)) as of_another,
    ):
        await first.follow(job_id, operation_id="1")
        await first.follow(job_id, operation_id="2")
        await first.send({"type": "ping"})
        assert await first.receive() == {"type": "pong"}
        await second.follow(job_id, operation_id="1")
        await second.follow(job_id, operation_id="2")
        refused = await second.receive()
        over_http = await streamed()
        await of_another.follow(foreign.job.id, operation_id="1")
        await of_another.subscribe("{ __typename }", {}, operation_id="2")
        of_another_told = await of_another.receive()

        await first.send({"type": "complete", "id": "2"})
        await first.send({"type": "ping"})
        assert await first.receive() == {"type": "pong"}
        for document in ("{ __typename }", "{ nope }", "{"):  # whatever becomes of one, its place is free again
            await second.subscribe(document, {}, operation_id="3")
            while (message := await second.receive())["type"] == "next":
                pass
            assert message["type"] == "error" or document == "{ __typename }"
            assert "TOO_MANY" not in str(message)
        await second.follow(job_id, operation_id="4")
        await second.send({"type": "ping"})
        assert await second.receive() == {"type": "pong"}

    assert (refused["id"], code_of(refused)) == ("2", "TOO_MANY_OPERATIONS")
    assert refused["payload"][0]["extensions"]["allowed"] == 3
    assert over_http[1]["errors"][0]["extensions"] == {"code": "TOO_MANY_OPERATIONS", "allowed": 3}
    assert of_another_told["type"] == "next"


async def test_places_of_sockets_and_streams_are_free_when_these_have_ended(
    sparing_server: Server, shop: Tenant
) -> None:
    in_hand = await shop.job(items=1)

    async def has_places() -> bool:
        async with open_events(sparing_server, credentials(shop), "subscription { nope }") as events:
            return "TOO_MANY" not in str(await events.told())

    for _ in range(5):
        async with open_socket(sparing_server, credentials(shop)) as socket:
            for name in "123":
                await socket.follow(in_hand.job.id, operation_id=name)
            await socket.send({"type": "ping"})
            assert await socket.receive() == {"type": "pong"}
        await until(has_places, within_s=PROMPTLY_S)
