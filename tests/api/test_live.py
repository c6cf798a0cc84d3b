"""Jobs live through several processes: what is reported at one is told at the others, once and in order."""

import asyncio

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from schema.streams import READ_AT_LEAST_EVERY_S
from tests.conftest import Database
from tests.servers import Server, credentials, open_socket, running_server, settings_for, until
from tests.tenants import Tenant

PROMPTLY_S = READ_AT_LEAST_EVERY_S / 2  # not by the regular read: by a wake-up


async def test_result_reported_at_one_process_is_told_at_the_other_promptly(
    server: Server, other_server: Server, shop: Tenant
) -> None:
    in_hand = await shop.job(items=6)
    clock = asyncio.get_running_loop().time
    waits_s = []

    async with open_socket(other_server, credentials(shop)) as socket:
        await socket.follow(in_hand.job.id, after="0")
        for item in in_hand.items[:-1]:
            reported_at = clock()
            await server.report(item.id, headers=credentials(shop))
            assert (await socket.completion())["item"]["id"] == str(item.id)
            waits_s.append(clock() - reported_at)
        await server.report(in_hand.items[-1].id, headers=credentials(shop))
        told = await socket.completions()

    # The first may have come before anybody followed; a machine may stall once.
    assert sorted(waits_s)[len(waits_s) // 2] < PROMPTLY_S
    assert [completion["job"]["status"] for completion in told] == ["COMPLETED"]


async def test_board_is_told_promptly_of_what_changes_at_the_other_process(
    server: Server, other_server: Server, shop: Tenant
) -> None:
    in_hand = await shop.job(items=5)
    clock = asyncio.get_running_loop().time
    waits_s = []

    async with open_socket(other_server, credentials(shop)) as socket:
        await socket.subscribe("subscription { robotJobsChanged { isSnapshot jobs { id successCount } } }", {})
        assert (await socket.receive())["payload"]["data"]["robotJobsChanged"]["isSnapshot"]
        for count, item in enumerate(in_hand.items, 1):
            reported_at = clock()
            await server.report(item.id, headers=credentials(shop))
            told = (await socket.receive())["payload"]["data"]["robotJobsChanged"]
            assert told == {"isSnapshot": False, "jobs": [{"id": str(in_hand.job.id), "successCount": count}]}
            waits_s.append(clock() - reported_at)

    assert sorted(waits_s)[len(waits_s) // 2] < PROMPTLY_S


async def test_follower_goes_on_from_its_cursor_at_any_process(
    server: Server, other_server: Server, shop: Tenant
) -> None:
    in_hand = await shop.job(items=6)
    told = []
    cursor = "0"

    for number, followed in enumerate((server, server, other_server)):
        async with open_socket(followed, credentials(shop)) as socket:
            await socket.follow(in_hand.job.id, after=cursor)
            for item in in_hand.items[2 * number : 2 * number + 2]:
                await server.report(item.id, headers=credentials(shop))
            for _ in range(2):
                told.append(await socket.completion())
                cursor = told[-1]["cursor"]
            socket.connection.transport.abort()  # cut, not closed

    assert [completion["item"]["id"] for completion in told] == [str(item.id) for item in in_hand.items]
    assert [completion["job"]["successCount"] for completion in told] == [1, 2, 3, 4, 5, 6]


async def test_followers_at_both_processes_are_told_the_same(
    server: Server, other_server: Server, shop: Tenant
) -> None:
    in_hand = await shop.job(items=30)

    async def follow(followed: Server) -> list[object]:
        async with open_socket(followed, credentials(shop)) as socket:
            await socket.follow(in_hand.job.id, after="0")
            return await socket.completions()

    async with asyncio.TaskGroup() as group:
        followers = [group.create_task(follow(followed)) for followed in (server, server, other_server)]
        for number, item in enumerate(in_hand.items):
            group.create_task((server, other_server)[number % 2].report(item.id, headers=credentials(shop)))

    first, second, third = (follower.result() for follower in followers)
    assert len(first) == 30
    assert first == second == third


async def test_followers_get_everything_when_wake_up_connections_are_killed_and_wake_ups_come_back(
    database: Database, engine: AsyncEngine, tenant: Tenant
) -> None:
    in_hand = await tenant.job(items=4)
    first, second, third, last = in_hand.items
    headers = credentials(tenant)
    clock = asyncio.get_running_loop().time

    async def wake_up_connections() -> set[int]:
        async with engine.connect() as connection:
            return set(
                await connection.scalars(
                    sa.text(
                        "SELECT pid FROM pg_stat_activity WHERE datname = current_database()"
                        " AND application_name = 'robot-jobs wake-ups'"
                    )
                )
            )

    async with (
        running_server(**settings_for(database.urls)) as server,
        open_socket(server, headers) as socket,
    ):
        await socket.follow(in_hand.job.id, after="0")
        await server.report(first.id, headers=headers)
        await socket.completion()

        before = await wake_up_connections()
        assert len(before) == 2
        async with engine.begin() as connection:
            for pid in before:
                await connection.execute(sa.select(sa.func.pg_terminate_backend(pid)))
        await tenant.succeed(second)  # nobody announces it
        assert (await socket.completion(within_s=READ_AT_LEAST_EVERY_S + 5))["item"]["id"] == str(second.id)

        async def listens_again() -> bool:  # the other one is needed for what is reported here
            return bool(await wake_up_connections() - before)

        await until(listens_again)
        waits_s = []
        for item in (third, last):  # as another process would say it
            await tenant.succeed(item)
            said_at = clock()
            async with engine.begin() as connection:
                await connection.execute(sa.select(sa.func.pg_notify("robot_jobs", str(in_hand.job.id))))
            assert (await socket.completion())["item"]["id"] == str(item.id)
            waits_s.append(clock() - said_at)
        assert min(waits_s) < PROMPTLY_S
        assert (await socket.receive())["type"] == "complete"
        await until(lambda: "trying again" in server.log.read_text())
        assert "Traceback" not in server.log.read_text()
