"""No connection to be had: everybody is told so in time, and the first who asks when it is back gets an answer."""

import asyncio
import json
import time
import uuid
from collections.abc import AsyncIterator, Awaitable
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from api.database import DatabaseUrls
from schema.followers import ACCESS_GOOD_FOR_S
from tests.api.network import Network
from tests.api.test_stopping import locked
from tests.servers import FOLLOW, REPORT, Server, credentials, open_socket, running_server, settings_for, until
from tests.tenants import Tenant

POOL_SIZE = 4
SAID_WITHIN_S = 2.0
LIMIT_S = 1.0  # less than by default: what is asserted is not for a busy machine to break
JOBS = "{ robotJobs { nodes { id } } }"


@pytest.fixture
async def behind(network: Network, served_urls: DatabaseUrls) -> AsyncIterator[Server]:
    """A server with a small pool behind the network."""
    settings = settings_for(served_urls) | {
        "DATABASE_URL": network.url(served_urls),
        "ROBOT_JOBS_POOL_SIZE": str(POOL_SIZE),
        "ROBOT_JOBS_POOL_TIMEOUT_S": str(LIMIT_S),
    }
    async with running_server(**settings) as server:
        yield server


async def code_of(answer: Awaitable[Any]) -> tuple[str, float]:
    """The code of the answer, and how long it took."""
    started = time.monotonic()
    answered = await answer
    took_s = time.monotonic() - started
    return (answered["errors"][0]["extensions"]["code"] if "errors" in answered else "OK"), took_s


async def codes_of(*answers: Awaitable[Any]) -> tuple[set[str], float]:
    """The codes of answers asked for at once, and how long the slowest took."""
    found = await asyncio.gather(*(code_of(each) for each in answers))
    return {code for code, _ in found}, max(took_s for _, took_s in found)


async def warm_up(server: Server, headers: dict[str, str]) -> None:
    """All connections of its pool are open, and nobody has waited for one."""
    assert (await codes_of(*(server.ask(JOBS, headers=headers) for _ in range(POOL_SIZE))))[0] == {"OK"}


async def test_everybody_is_told_in_time_and_the_first_afterwards_is_answered(
    behind: Server, network: Network, shop: Tenant
) -> None:
    in_hand = await shop.job(items=1)
    headers = credentials(shop)
    result = {"input": {"itemId": str(in_hand.items[0].id), "status": "SUCCESS"}}

    async with open_socket(behind, headers) as socket:

        async def follow() -> Any:
            """Many new subscriptions on a socket that is open already: they wait for their turn, but not in vain."""
            for _ in range(12):
                await socket.subscribe(FOLLOW, {"jobId": str(in_hand.job.id)}, operation_id=uuid.uuid4().hex)
            payloads: list[Any] = []
            while len(payloads) < 12:
                message = await socket.receive()
                if message["type"] == "next":
                    payloads.append(message["payload"])
            (code,) = {payload["errors"][0]["extensions"]["code"] for payload in payloads}
            assert code == "SERVICE_UNAVAILABLE"
            return payloads[-1]

        for trouble in (network.silence, network.cut, network.silence):
            await warm_up(behind, headers)

            await trouble()
            for _ in range(2):  # with connections from before, then without
                asked = [behind.ask(JOBS, headers=headers) for _ in range(3 * POOL_SIZE)]
                codes, took_s = await codes_of(*asked, behind.ask(REPORT, result, headers=headers), follow())
                assert codes == {"SERVICE_UNAVAILABLE"}
                assert took_s < SAID_WITHIN_S
            assert (await behind.http.get("/health/ready")).status_code == 503

            await network.mend()
            assert (await code_of(behind.ask(JOBS, headers=headers)))[0] == "OK"
            assert (await behind.http.get("/health/ready")).status_code == 200

    assert (await shop.read(in_hand.job.id)).items[0].status == "pending"
    assert "Traceback" not in behind.log.read_text()


@pytest.mark.long
@pytest.mark.parametrize("trouble", ["cut", "silence", "forget"])
async def test_streams_outlive_a_short_absence_of_the_database(
    behind: Server, network: Network, shop: Tenant, trouble: str
) -> None:
    in_hand = await shop.job(items=3)
    headers = credentials(shop)

    async with open_socket(behind, headers) as first, open_socket(behind, headers) as second:
        for socket in (first, second):
            await socket.follow(in_hand.job.id, after="0")
        await shop.succeed(in_hand.items[0])
        told = [[await socket.completion()] for socket in (first, second)]

        await getattr(network, trouble)()
        await shop.succeed(in_hand.items[1])
        if trouble == "cut":
            await until(lambda: "trying again" in behind.log.read_text())
        await network.mend()
        for each, socket in zip(told, (first, second), strict=True):
            each.append(await socket.completion())
        await shop.succeed(in_hand.items[2])
        for each, socket in zip(told, (first, second), strict=True):
            each.extend(await socket.completions())

    assert told[0] == told[1]
    assert [each["item"]["id"] for each in told[0]] == [str(item.id) for item in in_hand.items]
    assert "Traceback" not in behind.log.read_text()


async def test_a_stream_is_told_when_the_database_stays_away(behind: Server, network: Network, shop: Tenant) -> None:
    in_hand = await shop.job(items=2, succeeded=1)

    async with open_socket(behind, credentials(shop)) as socket:
        await socket.follow(in_hand.job.id, after="0")
        await socket.completion()
        await network.silence()
        started = time.monotonic()
        ended = await socket.receive()
        took_s = time.monotonic() - started
        await network.mend()

    assert ended["payload"]["errors"][0]["extensions"]["code"] == "SERVICE_UNAVAILABLE"
    assert took_s < ACCESS_GOOD_FOR_S + 3 * LIMIT_S
    assert "Traceback" not in behind.log.read_text()


async def test_connections_that_the_network_has_forgotten_cost_one_caller_a_second_and_nobody_an_error(
    behind: Server, network: Network, shop: Tenant
) -> None:
    headers = credentials(shop)
    await warm_up(behind, headers)

    await network.forget()
    first, first_took_s = await code_of(behind.ask(JOBS, headers=headers))
    others, _ = await codes_of(*[behind.ask(JOBS, headers=headers) for _ in range(3 * POOL_SIZE)])

    assert (first, others) == ("OK", {"OK"})
    assert first_took_s < SAID_WITHIN_S
    assert network.asked_in_vain() <= 2  # of four; a sweep of the server's own may have been a caller, too


async def test_who_finds_no_free_connection_is_told_in_time(
    behind: Server, served_engine: AsyncEngine, shop: Tenant, other_shop: Tenant
) -> None:
    """Each workspace may write with half of the pool."""
    in_hand, others = await shop.job(items=POOL_SIZE // 2), await other_shop.job(items=POOL_SIZE // 2)
    headers = credentials(shop)

    async with locked(shop, in_hand), locked(other_shop, others):
        reports = [(item.id, headers) for item in in_hand.items]
        reports += [(item.id, credentials(other_shop)) for item in others.items]
        working = [asyncio.create_task(behind.report(item_id, headers=whose)) for item_id, whose in reports]
        await until(lambda: waiting_for_a_lock(served_engine, POOL_SIZE))
        codes, took_s = await codes_of(*[behind.ask(JOBS, headers=headers) for _ in range(5)])
        assert (await behind.http.get("/health/ready")).status_code == 503

    assert codes == {"SERVICE_UNAVAILABLE"}
    assert took_s < SAID_WITHIN_S
    assert (await asyncio.gather(*working))[-1]["__typename"] == "UpdateJobItemResultSuccess"
    assert (await code_of(behind.ask(JOBS, headers=headers)))[0] == "OK"


async def test_clients_that_go_away_in_mid_request_leak_no_connection(
    behind: Server, served_engine: AsyncEngine, shop: Tenant
) -> None:
    """In the middle of the body, while the request waits for a connection, and while it runs."""
    in_hand = await shop.job(items=1)
    headers = credentials(shop)
    request = json.dumps(
        {"query": REPORT, "variables": {"input": {"itemId": str(in_hand.items[0].id), "status": "SUCCESS"}}}
    ).encode()

    async with locked(shop, in_hand):
        for number in range(10 * POOL_SIZE):
            sent = request if number % 4 else request[: len(request) // 2]
            await go_away_after(behind, sent, len(request), headers)
            if number == POOL_SIZE:
                await until(lambda: waiting_for_a_lock(served_engine, 1))

    await until(lambda: is_whole(served_engine))
    codes, _ = await codes_of(*[behind.ask(JOBS, headers=headers) for _ in range(3 * POOL_SIZE)])
    assert codes == {"OK"}


async def go_away_after(server: Server, sent: bytes, promised: int, headers: dict[str, str]) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", server.port)
    lines = {**headers, "Host": "x", "Content-Type": "application/json", "Content-Length": str(promised)}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    writer.write(f"POST /graphql HTTP/1.1\r\n{head}\r\n".encode() + sent)
    await writer.drain()
    writer.transport.abort()


async def waiting_for_a_lock(engine: AsyncEngine, at_least: int) -> bool:
    return await count(engine, "wait_event_type = 'Lock'") >= at_least


async def is_whole(engine: AsyncEngine) -> bool:
    """Whether every connection of the servers is back in its pool."""
    return await count(engine, "application_name = 'robot-jobs' AND state <> 'idle'") == 0


async def count(engine: AsyncEngine, condition: str) -> int:
    async with engine.connect() as connection:
        found = await connection.scalar(
            sa.text(f"SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND {condition}")  # noqa: S608
        )
    return int(found or 0)
