"""SIGTERM: nobody new is let in, who is in gets an answer or a code, and the process ends in time."""

import asyncio
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from api.database import DatabaseUrls
from domain.robot_jobs.tables import robot_jobs
from tests.servers import (
    FOLLOW,
    REPORT,
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
from tests.tenants import JobInHand, Tenant

ENDS_WITHIN_S = 10.0
ALL_ORDERS = """orders(first: 100) { nodes {
    id reference recipientName recipientPhone recipientEmail address city department products units totalCop tags
    } }"""


@asynccontextmanager
async def locked(shop: Tenant, in_hand: JobInHand) -> AsyncIterator[None]:
    """Whoever reports of the job waits until the end of the block."""
    async with shop.work() as connection:
        await connection.execute(sa.select(robot_jobs.c.id).where(robot_jobs.c.id == in_hand.job.id).with_for_update())
        yield


async def is_refused(server: Server) -> bool:
    try:
        async with httpx.AsyncClient(trust_env=False) as newcomer:
            await newcomer.get(f"{server.url}/health/live")
    except httpx.TransportError:
        return True
    return False


async def waits_for_a_lock(engine: AsyncEngine) -> bool:
    waiting = sa.text(
        "SELECT count(*) > 0 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    async with engine.connect() as connection:
        return bool(await connection.scalar(waiting))


async def test_running_requests_are_answered_and_sockets_are_told_to_come_back(
    served_urls: DatabaseUrls, served_engine: AsyncEngine, shop: Tenant
) -> None:
    in_hand = await shop.job(items=2)
    async with running_server(**settings_for(served_urls)) as server:
        async with (
            open_socket(server, credentials(shop)) as follower,
            open_socket(server, credentials(shop)) as idle,
            raw_socket(server) as unnamed,
        ):
            await follower.follow(in_hand.job.id, after="0")
            await server.report(in_hand.items[0].id, headers=credentials(shop))
            await follower.completion()
            async with locked(shop, in_hand):
                running = asyncio.create_task(server.report(in_hand.items[1].id, headers=credentials(shop)))
                await until(lambda: waits_for_a_lock(served_engine))

                started = time.monotonic()
                server.process.send_signal(signal.SIGTERM)
                closed = [await each.closing() for each in (follower, idle, unnamed)]
                await until(lambda: is_refused(server))
                assert not running.done()

            answer = await running
            await asyncio.to_thread(server.process.wait, ENDS_WITHIN_S)
        took_s = time.monotonic() - started

        assert closed == [(1001, "The server is stopping.")] * 3
        assert answer["job"]["status"] == "COMPLETED"
        assert took_s < ENDS_WITHIN_S
        assert "Traceback" not in server.log.read_text()


async def test_streams_over_http_end_and_are_told_to_come_back(served_urls: DatabaseUrls, shop: Tenant) -> None:
    """Without `complete`, for the job goes on; and one who has stopped reading does not hold up the others."""
    in_hand = await shop.job(items=2)
    finished = await shop.job(items=100, succeeded=99)
    everything = f"""subscription ($jobId: ID!, $after: String) {{
      robotJobItemCompleted(jobId: $jobId, after: $after) {{
        job {{ items(first: 100) {{ nodes {{ {" ".join(f"a{n}: valueSent" for n in range(30))} }} }} }}
      }}
    }}"""
    request = following(in_hand.job.id)
    async with (
        running_server(**settings_for(served_urls)) as server,
        open_events(server, credentials(shop), FOLLOW, request) as events,
        open_events(server, credentials(shop), FOLLOW, request, accept="multipart/mixed;subscriptionSpec=1.0") as parts,
        open_events(server, credentials(shop), everything, following(finished.job.id)) as stalled,
    ):
        chunks, content = stalled.answer.aiter_raw(), b""
        while b"event: next" not in content:  # the beginning of a megabyte, and no more of it is read
            content += await anext(chunks)
        await server.report(in_hand.items[0].id, headers=credentials(shop))
        await events.completion()

        started = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        end, told_in_parts = await events.told(), await parts.answer.aread()
        await asyncio.to_thread(server.process.wait, ENDS_WITHIN_S)
        took_s = time.monotonic() - started
        logged = server.log.read_text()

    assert end is None
    assert told_in_parts.endswith(
        b'{"payload":null,"errors":[{"message":"The server is stopping: subscribe again.",'
        b'"extensions":{"code":"SERVICE_UNAVAILABLE"}}]}\r\n--graphql--\r\n'
    )
    assert took_s < ENDS_WITHIN_S - 5, "nobody waits for who has stopped reading"
    assert "Traceback" not in logged
    assert "exceeded" not in logged


async def test_those_who_do_not_let_go_hold_nobody_up(
    served_urls: DatabaseUrls, served_engine: AsyncEngine, shop: Tenant
) -> None:
    """A request that takes for ever, and clients that stopped reading while much is told to them."""
    in_hand = await shop.job(items=1)
    await shop.orders(100)
    document = "{ a: " + ALL_ORDERS + " b: " + ALL_ORDERS + " c: " + ALL_ORDERS + " }"
    result = {"itemId": str(in_hand.items[0].id), "status": "SUCCESS"}
    settings = settings_for(served_urls) | {"ROBOT_JOBS_SHUTDOWN_TIMEOUT_S": "1"}
    async with (
        running_server(**settings) as server,
        locked(shop, in_hand),
        open_socket(server, credentials(shop)) as stalled,
    ):
        stalled.connection.transport.pause_reading()
        for number in range(90):
            await stalled.subscribe(document, {}, operation_id=str(number))
        request = {"query": REPORT, "variables": {"input": result}}
        running = asyncio.create_task(server.http.post("/graphql", json=request, headers=credentials(shop)))
        await until(lambda: waits_for_a_lock(served_engine))

        started = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        await asyncio.to_thread(server.process.wait, ENDS_WITHIN_S)
        took_s = time.monotonic() - started
        answer = await running
        stalled.connection.transport.abort()

    assert took_s < ENDS_WITHIN_S - 4, "four seconds less than with the default"
    assert answer.status_code == 503
    assert answer.json()["errors"][0]["extensions"]["code"] == "SERVICE_UNAVAILABLE"
    assert (await shop.read(in_hand.job.id)).items[0].status == "pending", "all or nothing"
