"""A cursor from before what is left of a job's log is refused, and the answer says how to go on; nothing is skipped."""

import asyncio
import datetime as dt
import re

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from domain.retention import remove_old_events
from domain.robot_jobs import JobStatus
from domain.workspaces import enter_all_workspaces
from schema.robot_jobs import feeds
from tests.conftest import database, engine
from tests.schema.caller import Caller, MemoryWakeUps
from tests.schema.documents import FOLLOW_ITEMS, FOLLOW_PROGRESS
from tests.tenants import Tenant

__all__ = ["database", "engine"]  # of each test's own: a sweep goes through all that there is


async def sweep(engine: AsyncEngine, limit: int = 5_000) -> None:
    async with engine.begin() as connection:
        await enter_all_workspaces(connection)
        await remove_old_events(connection, older_than=dt.timedelta(0), limit=limit)


async def test_a_cursor_from_before_is_refused_with_one_that_is_good(
    tenant: Tenant, robot: Caller, engine: AsyncEngine
) -> None:
    in_hand = await tenant.job(items=4, failed=4)
    job_id = str(in_hand.job.id)
    async with robot.follow(FOLLOW_ITEMS, jobId=job_id, after="0") as stream:
        messages = await stream.rest()
    seqs = [int(message["cursor"].partition(".")[0]) for message in messages]

    await sweep(engine, limit=seqs[1])  # the first two completions, and what came before

    for cursor in ("0", messages[0]["cursor"]):
        async with robot.follow(FOLLOW_ITEMS, jobId=job_id, after=cursor) as stream:
            error = await stream.error_and_end()
        assert error["extensions"] == {"code": "CURSOR_EXPIRED", "oldestCursor": messages[1]["cursor"]}
        assert error["message"] == (
            f"The events of job {job_id} up to number {seqs[1]} are no longer kept.  Read the job again, which tells "
            f'what came of it; then follow it with `after: "{messages[1]["cursor"]}"`.'
        )
    async with robot.follow(FOLLOW_ITEMS, jobId=job_id, after=error["extensions"]["oldestCursor"]) as stream:
        assert await stream.rest() == messages[2:]
    async with robot.follow(FOLLOW_ITEMS, jobId=job_id, after=messages[2]["cursor"]) as stream:
        assert await stream.rest() == messages[3:]


async def test_a_finished_job_without_events_is_read_and_followed_as_before(
    tenant: Tenant, robot: Caller, engine: AsyncEngine
) -> None:
    in_hand = await tenant.job(items=1, failed=1)
    job_id = str(in_hand.job.id)
    await sweep(engine)

    answer = await robot.execute(
        "query ($id: ID!) { robotJob(id: $id) { status errorCount failures { count } events { seq } } }", id=job_id
    )
    assert answer.data["robotJob"] == {"status": "COMPLETED", "errorCount": 1, "failures": [{"count": 1}], "events": []}
    async with robot.follow(FOLLOW_ITEMS, jobId=job_id) as stream:
        assert await stream.is_at_its_end()
    async with robot.follow(FOLLOW_PROGRESS, jobId=job_id) as stream:
        assert [told["status"] for told in await stream.rest()] == ["COMPLETED"]


async def test_a_job_that_is_retried_afterwards_is_told_from_now_on(
    tenant: Tenant, robot: Caller, engine: AsyncEngine, wakeups: MemoryWakeUps
) -> None:
    in_hand = await tenant.job(items=2, failed=2)
    job_id = str(in_hand.job.id)
    await sweep(engine)
    async with robot.follow(FOLLOW_ITEMS, jobId=job_id, after="0") as stream:
        oldest = (await stream.error_and_end())["extensions"]["oldestCursor"]
    await tenant.retry(in_hand.job.id)

    async with (
        robot.follow(FOLLOW_ITEMS, jobId=job_id) as from_now,
        robot.follow(FOLLOW_ITEMS, jobId=job_id, after=oldest) as from_oldest,
    ):
        telling = [asyncio.create_task(stream.rest()) for stream in (from_now, from_oldest)]
        await wakeups.follower_waits(in_hand.job.id)
        for item in in_hand.items:
            await tenant.succeed(item)
            wakeups.announce(in_hand.job.id)
        told, told_from_oldest = await asyncio.gather(*telling)

    assert [(each["item"]["id"], each["item"]["attempt"]) for each in told_from_oldest] == [
        (str(item.id), 2) for item in in_hand.items
    ]
    assert told == told_from_oldest[len(told_from_oldest) - len(told) :]
    async with robot.follow(FOLLOW_ITEMS, jobId=job_id, after="0") as stream:
        assert (await stream.error_and_end())["extensions"]["code"] == "CURSOR_EXPIRED"


async def test_a_follower_who_is_behind_when_they_go_is_told_so_and_skips_nothing(
    tenant: Tenant, robot: Caller, engine: AsyncEngine
) -> None:
    """Behind by a whole retention period, and more than one read: so nobody but who has stopped reading."""
    in_hand = await tenant.job(items=250)
    await tenant.set_status(in_hand.job.id, JobStatus.FAILED)

    async with robot.follow(FOLLOW_ITEMS, jobId=str(in_hand.job.id), after="0") as stream:
        first = await stream.message()
        await sweep(engine)
        rest = await stream.messages(feeds.READ_AT_ONCE - 1)
        error = await stream.error_and_end()

    assert [message["job"]["errorCount"] for message in [first, *rest]] == list(range(1, feeds.READ_AT_ONCE + 1))
    assert error["extensions"]["code"] == "CURSOR_EXPIRED"


async def test_of_an_active_job_no_follower_can_be_behind_what_is_kept(
    tenant: Tenant, robot: Caller, engine: AsyncEngine, wakeups: MemoryWakeUps, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However slow: not even when followers share nothing, and each reads the log again and again."""
    monkeypatch.setattr(feeds, "KEPT_COMPLETIONS", 0)
    in_hand = await tenant.job(items=6)
    job_id = str(in_hand.job.id)

    async with robot.follow(FOLLOW_ITEMS, jobId=job_id, after="0") as stream:
        told = []
        for number, item in enumerate(in_hand.items):
            await tenant.fail(item)
            if number < 5:
                await sweep(engine)
            wakeups.announce(in_hand.job.id)
            told.append(await stream.message())

    assert [message["item"]["id"] for message in told] == [str(item.id) for item in in_hand.items]


async def test_what_is_told_of_it_names_nothing_of_other_tenants(
    tenant: Tenant, stranger: Caller, engine: AsyncEngine
) -> None:
    job_id = str((await tenant.job(items=1, failed=1)).job.id)
    await sweep(engine)

    async with stranger.follow(FOLLOW_ITEMS, jobId=job_id, after="0") as stream:
        error = await stream.error_and_end()

    assert error["extensions"] == {"code": "ROBOT_JOB_NOT_FOUND"}
    assert not re.search(r"kept|removed", error["message"])
