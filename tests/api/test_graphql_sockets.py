"""GraphQL over WebSocket: who may connect, what may be said, and what is left when a client goes away."""

import asyncio
import json
import uuid
from typing import Any

import psutil  # type: ignore[import-untyped, unused-ignore]
import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine
from websockets.typing import Subprotocol

from api.database import DatabaseUrls, owner_engine
from domain.workspaces import Membership, Role, enter_as_owner, set_member
from schema.streams import READ_AT_LEAST_EVERY_S
from tests.servers import FOLLOW, PATIENCE_S, Server, Socket, credentials, open_socket, raw_socket, token, until
from tests.tenants import Tenant

TYPENAME = {"query": "{ __typename }"}


def subscribe(payload: object, operation_id: object = "1") -> dict[str, object]:
    return {"type": "subscribe", "id": operation_id, "payload": payload}


# ---------------------------------------------------------------------------------------------- who may connect


@pytest.mark.parametrize(
    "payload",
    [
        {},
        {"Authorization": ""},
        {"Authorization": 5},
        {"Authorization": "Bearer x.y.z"},
        {"Authorization": "Basic eDp5"},
        {"Authorization": f"Bearer {token('somebody', secret='a secret of somebody else, long enough')}"},
        {"Authorization": f"Bearer {token('somebody', lifetime_s=-60)}"},
        {"token": token("somebody")},
    ],
)
async def test_socket_without_a_good_token_is_closed_with_4403(server: Server, payload: dict[str, object]) -> None:
    async with raw_socket(server) as socket:
        await socket.send({"type": "connection_init", "payload": payload})

        assert await socket.closing() == (4403, "Forbidden")


async def test_legacy_protocol_is_refused(server: Server) -> None:
    async with raw_socket(server, protocol=Subprotocol("graphql-ws")) as socket:
        assert (await socket.closing())[0] == 4406


async def test_names_in_the_payload_are_read_whatever_their_case(server: Server, shop: Tenant) -> None:
    payload = {name.lower(): value for name, value in credentials(shop).items()}

    async with open_socket(server, payload) as socket:
        await socket.send(subscribe({"query": "{ orders { nodes { id } } }"}))
        answer = await socket.receive()

    assert answer["payload"] == {"data": {"orders": {"nodes": []}}}


async def test_payload_names_the_workspace(
    server: Server, served_urls: DatabaseUrls, shop: Tenant, other_shop: Tenant
) -> None:
    user = shop.user(Role.OPERATOR)
    async with owner_engine(served_urls).begin() as connection:
        await enter_as_owner(connection)
        await set_member(connection, Membership(other_shop.workspace_id, user, Role.VIEWER))
    await other_shop.orders(1)
    authorization = {"Authorization": f"Bearer {token(user)}"}

    async def asked(workspace: dict[str, str]) -> Any:
        async with open_socket(server, authorization | workspace) as socket:
            await socket.send(subscribe({"query": "{ orders { nodes { id } } }"}))
            return (await socket.receive())["payload"]

    assert len((await asked({"X-Workspace-Id": str(other_shop.workspace_id)}))["data"]["orders"]["nodes"]) == 1
    assert len((await asked({"X-Workspace-Id": str(shop.workspace_id)}))["data"]["orders"]["nodes"]) == 0
    assert (await asked({}))["errors"][0]["extensions"]["code"] == "WORKSPACE_REQUIRED"
    assert (await asked({"X-Workspace-Id": "x"}))["errors"][0]["extensions"]["code"] == "NOT_A_MEMBER"


async def test_job_of_another_tenant_cannot_be_followed(server: Server, shop: Tenant, other_shop: Tenant) -> None:
    in_hand = await other_shop.job(items=1)

    async with open_socket(server, credentials(shop)) as socket:
        await socket.follow(in_hand.job.id, after="0")
        foreign = (await socket.receive())["payload"]
        await socket.receive()
        unknown_id = uuid.uuid4()
        await socket.follow(unknown_id, after="0", operation_id="2")
        unknown = (await socket.receive())["payload"]

    assert foreign["errors"][0]["extensions"]["code"] == "ROBOT_JOB_NOT_FOUND"
    assert json.dumps(foreign).replace(str(in_hand.job.id), str(unknown_id)) == json.dumps(unknown)


async def test_expired_token_ends_a_stream_without_news_within_five_seconds(server: Server, shop: Tenant) -> None:
    in_hand = await shop.job(items=2)
    clock = asyncio.get_running_loop().time
    await server.report(in_hand.items[0].id, headers=credentials(shop))

    started = clock()
    async with open_socket(server, credentials(shop, lifetime_s=4)) as socket:
        await socket.follow(in_hand.job.id, after="0")
        assert (await socket.completion())["item"]["id"] == str(in_hand.items[0].id)
        ended = await socket.receive()
        lived_s = clock() - started

    assert ended["payload"]["errors"][0]["extensions"]["code"] == "UNAUTHENTICATED"
    assert lived_s < 4 + READ_AT_LEAST_EVERY_S + 2


# ---------------------------------------------------------------------------------------------- what may be said


@pytest.mark.parametrize(
    ("message", "code"),
    [
        pytest.param(5, 4400, id="number"),
        pytest.param(None, 4400, id="null"),
        pytest.param([], 4400, id="list"),
        pytest.param({}, 4400, id="no type"),
        pytest.param({"type": 5}, 4400, id="type is a number"),
        pytest.param({"type": ["ping"]}, 4400, id="type is a list"),
        pytest.param({"type": "nope"}, 4400, id="unknown type"),
        pytest.param({"type": "é" * 5_000}, 4400, id="long type"),
        pytest.param({"type": "\ud800"}, 4400, id="type is half a character"),
        pytest.param({"type": "subscribe"}, 4400, id="subscribe and nothing else"),
        pytest.param(subscribe(TYPENAME, operation_id=5), 4400, id="id is a number"),
        pytest.param(subscribe(TYPENAME, operation_id=["1"]), 4400, id="id is a list"),
        pytest.param(subscribe(TYPENAME, operation_id=""), 4400, id="id is empty"),
        pytest.param(subscribe("x"), 4400, id="payload is a string"),
        pytest.param(subscribe(None), 4400, id="payload is null"),
        pytest.param(subscribe({}), 4400, id="no query"),
        pytest.param(subscribe({"query": 5}), 4400, id="query is a number"),
        pytest.param(subscribe(TYPENAME | {"variables": 5}), 4400, id="variables are a number"),
        pytest.param(subscribe(TYPENAME | {"operationName": 5}), 4400, id="operationName is a number"),
        pytest.param({"type": "complete"}, 4400, id="complete without an id"),
        pytest.param({"type": "complete", "id": ["1"]}, 4400, id="complete with a list"),
        pytest.param({"type": "connection_init"}, 4429, id="a second connection_init"),
        pytest.param("x" * 1_100_000, 1009, id="too long"),
    ],
)
async def test_message_that_breaks_the_protocol_closes_the_socket_with_its_code(
    server: Server, shop: Tenant, message: object, code: int
) -> None:
    logged = len(server.log.read_text())

    async with open_socket(server, credentials(shop)) as socket:
        await socket.send(message)
        closed_with, _ = await socket.closing()

    assert closed_with == code
    assert "Traceback" not in server.log.read_text()[logged:]


@pytest.mark.parametrize("frame", ["{", "", "[" * 100_000, "1" * 5_000, b"\x00\xff", b'{"type":"ping"}'])
async def test_frame_that_is_no_json_text_closes_the_socket(server: Server, shop: Tenant, frame: str | bytes) -> None:
    logged = len(server.log.read_text())

    async with open_socket(server, credentials(shop)) as socket:
        await socket.connection.send(frame)
        closed_with, _ = await socket.closing()

    assert closed_with == 4400
    assert "Traceback" not in server.log.read_text()[logged:]


@pytest.mark.parametrize("payload", [5, "x", []])
async def test_payload_that_is_no_object_is_refused(server: Server, payload: object) -> None:
    async with raw_socket(server) as socket:
        await socket.send({"type": "connection_init", "payload": payload})

        assert (await socket.closing())[0] == 4400


async def test_nothing_is_answered_before_connection_init(server: Server) -> None:
    async with raw_socket(server) as socket:
        await socket.send(subscribe(TYPENAME))

        assert (await socket.closing())[0] == 4401


async def test_second_operation_with_the_same_id_closes_the_socket(server: Server, shop: Tenant) -> None:
    in_hand = await shop.job(items=1)

    async with open_socket(server, credentials(shop)) as socket:
        await socket.follow(in_hand.job.id)
        await socket.follow(in_hand.job.id)

        assert (await socket.closing())[0] == 4409


@pytest.mark.parametrize("document", ["{", "\ud800", "{ " + "x" * 500 + " ! }", "{ nope }"])
async def test_document_that_is_no_graphql_is_an_error_of_that_operation_alone(
    server: Server, shop: Tenant, document: str
) -> None:
    in_hand = await shop.job(items=1)
    logged = len(server.log.read_text())

    async with open_socket(server, credentials(shop)) as socket:
        await socket.follow(in_hand.job.id, after="0", operation_id="good")
        await socket.send(subscribe({"query": document}, operation_id="bad"))
        answer = await socket.receive()
        await server.report(in_hand.items[0].id, headers=credentials(shop))
        told = await socket.completions()

    assert (answer["type"], answer["id"]) == ("error", "bad")
    assert answer["payload"][0]["extensions"]["code"] in ("GRAPHQL_PARSE_FAILED", "GRAPHQL_VALIDATION_FAILED")
    assert len(told) == 1
    assert "Traceback" not in server.log.read_text()[logged:]


async def test_ping_is_answered(server: Server, shop: Tenant) -> None:
    async with open_socket(server, credentials(shop)) as socket:
        await socket.send({"type": "ping"})

        assert await socket.receive() == {"type": "pong"}


# ---------------------------------------------------------------------------------------------- what is left


async def test_clients_that_go_away_in_mid_stream_leave_nothing_behind(
    server: Server, shop: Tenant, served_engine: AsyncEngine
) -> None:
    """More sockets than the pool has connections; some say goodbye, the others are just gone."""
    in_hand = await shop.job(items=2)
    process = psutil.Process(server.process.pid)
    open_files = process.num_fds()

    async def go_away(number: int) -> None:
        async with open_socket(server, credentials(shop)) as socket:
            await socket.follow(in_hand.job.id, after="0")
            await socket.completion()
            if number % 2:
                socket.connection.transport.abort()

    await server.report(in_hand.items[0].id, headers=credentials(shop))
    await asyncio.gather(*(go_away(number) for number in range(40)))
    await server.report(in_hand.items[1].id, headers=credentials(shop))

    await until(lambda: process.num_fds() <= open_files + 10)  # the pool of ten may have grown
    async with served_engine.connect() as connection:
        busy = await connection.scalar(
            sa.text(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
                " AND application_name = 'robot-jobs' AND state <> 'idle' AND xact_start < now() - interval '5 seconds'"
            )
        )
    assert busy == 0
    assert "errors" not in await server.ask("{ orders { nodes { id } } }", headers=credentials(shop))


async def test_open_sockets_hold_no_connection(server: Server, shop: Tenant, served_engine: AsyncEngine) -> None:
    in_hand = await shop.job(items=1)
    sockets: list[Socket] = []

    async def follow(everybody_follows: asyncio.Barrier, done: asyncio.Event) -> None:
        async with open_socket(server, credentials(shop)) as socket:
            await socket.subscribe(FOLLOW, {"jobId": str(in_hand.job.id), "after": "0"})
            sockets.append(socket)
            await everybody_follows.wait()
            await done.wait()
            assert len(await socket.completions()) == 1

    everybody_follows, done = asyncio.Barrier(26), asyncio.Event()
    async with asyncio.timeout(PATIENCE_S), asyncio.TaskGroup() as group:
        for _ in range(25):
            group.create_task(follow(everybody_follows, done))
        await everybody_follows.wait()
        answer = await server.ask("{ orders { nodes { id } } }", headers=credentials(shop))
        await server.report(in_hand.items[0].id, headers=credentials(shop))
        done.set()

    assert "errors" not in answer
