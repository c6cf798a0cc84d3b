"""Servers that are killed and servers that are stopped: nothing acknowledged is lost, nothing is told twice."""

import asyncio
import signal
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine
from websockets.exceptions import ConnectionClosed

from api.database import DatabaseUrls
from domain.robot_jobs import RobotJobItem
from tests.conftest import Database
from tests.servers import Server, credentials, open_socket, running_server, settings_for
from tests.tenants import Tenant

KILLED_AFTER = 60  # results told


class Follower:
    """Follows a job over any number of servers, with the cursor of the last completion told."""

    def __init__(self, tenant: Tenant, job_id: Any) -> None:
        self.tenant = tenant
        self.job_id = job_id
        self.told: list[Any] = []
        self.ends: list[str] = []
        self.has_seen_enough = asyncio.Event()

    async def follow(self, server: Server) -> None:
        """Until all has been told, or the connection breaks."""
        after = self.told[-1]["cursor"] if self.told else "0"
        try:
            async with open_socket(server, credentials(self.tenant)) as socket:
                await socket.follow(self.job_id, after=after)
                while (message := await socket.receive())["type"] == "next":
                    self.told.append(message["payload"]["data"]["robotJobItemCompleted"])
                    if len(self.told) >= KILLED_AFTER:
                        self.has_seen_enough.set()
                self.ends.append(message["type"])
        except ConnectionClosed:
            pass


async def report_all(
    server: Server, tenant: Tenant, items: Iterator[RobotJobItem], acknowledged: set[str], doubtful: list[RobotJobItem]
) -> None:
    """Until there are no more, or the server is gone; what was not acknowledged is doubtful."""
    for item in items:
        try:
            answer = await server.report(item.id, headers=credentials(tenant))
        except httpx.HTTPError:
            doubtful.append(item)
            return
        assert answer["__typename"] == "UpdateJobItemResultSuccess", answer
        acknowledged.add(str(item.id))


async def test_server_killed_between_results_loses_nothing_acknowledged_and_tells_nothing_twice(
    database: Database, engine: AsyncEngine, tenant: Tenant
) -> None:
    in_hand = await tenant.job(items=200)
    follower = Follower(tenant, in_hand.job.id)
    acknowledged: set[str] = set()
    doubtful: list[RobotJobItem] = []
    items = iter(in_hand.items)

    async with running_server(**settings_for(database.urls)) as server, asyncio.TaskGroup() as group:
        group.create_task(follower.follow(server))
        for _ in range(4):
            group.create_task(report_all(server, tenant, items, acknowledged, doubtful))
        await follower.has_seen_enough.wait()
        assert await server.end(signal.SIGKILL) == -signal.SIGKILL

    assert follower.ends == []
    kept = {str(item.id): item.status for item in (await tenant.read(in_hand.job.id)).items}
    assert len(acknowledged) >= KILLED_AFTER - 4
    assert {kept[item_id] for item_id in acknowledged} == {"success"}

    async with running_server(**settings_for(database.urls)) as server, asyncio.TaskGroup() as group:
        group.create_task(follower.follow(server))
        rest = iter([*doubtful, *items])
        for _ in range(4):
            group.create_task(report_all(server, tenant, rest, acknowledged, []))

    assert len(acknowledged) == 200
    assert follower.ends == ["complete"]
    assert len({completion["item"]["id"] for completion in follower.told}) == len(follower.told) == 200
    seqs = [int(completion["cursor"].partition(".")[0]) for completion in follower.told]
    assert seqs == sorted(seqs)
    assert [completion["job"]["successCount"] for completion in follower.told] == list(range(1, 201))
    await assert_counters_equal_a_recount(tenant, in_hand.job.id)


async def assert_counters_equal_a_recount(tenant: Tenant, job_id: Any) -> None:
    async with tenant.work() as connection:
        job = (
            await connection.execute(
                sa.text(
                    "SELECT status, success_count, error_count, last_event_seq,"
                    " (SELECT count(*) FROM robot_job_items WHERE job_id = j.id AND status = 'success') AS succeeded,"
                    " (SELECT count(*) FROM robot_job_items WHERE job_id = j.id AND status = 'error') AS failed,"
                    " (SELECT count(*) FROM events WHERE stream_id = j.id) AS events,"
                    " (SELECT count(*) FROM events WHERE stream_id = j.id AND type = 'robot/job.completed') AS ends"
                    " FROM robot_jobs AS j WHERE id = :id"
                ),
                {"id": job_id},
            )
        ).one()
    assert (job.success_count, job.error_count) == (job.succeeded, job.failed) == (200, 0)
    assert job.status == "completed"
    assert job.events == job.last_event_seq
    assert job.ends == 1


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 0), (signal.SIGTERM, -signal.SIGTERM)])
async def test_stop_with_open_sockets_takes_a_few_seconds_and_shows_no_traceback(
    served_urls: DatabaseUrls, shop: Tenant, number: signal.Signals, code: int
) -> None:
    in_hand = await shop.job(items=2)
    clock = asyncio.get_running_loop().time

    async with running_server(**settings_for(served_urls)) as server:
        async with open_socket(server, credentials(shop)) as idle, open_socket(server, credentials(shop)) as following:
            await following.follow(in_hand.job.id, after="0")
            await server.report(in_hand.items[0].id, headers=credentials(shop))
            await following.completion()

            stopped_at = clock()
            ended_with = await server.end(number)
            took_s = clock() - stopped_at

            assert (await idle.closing())[0] == 1001
            assert (await following.closing())[0] == 1001
        assert ended_with in (0, code)
        assert took_s < 8
        assert "Traceback" not in server.output.read_text() + server.log.read_text()
