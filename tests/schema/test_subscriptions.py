"""Jobs live: nothing is missed, nothing comes twice, and nobody listens longer than they may."""

import asyncio
import gc
import random
import time
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

import domain.robot_jobs
from domain.base import new_id
from domain.robot_jobs import JobStatus, RobotJobItem, retry_failed_items, update_job_status
from domain.workspaces import Role
from schema import followers, streams
from schema.robot_jobs import feeds
from schema.work import Work
from tests.conftest import Database
from tests.domain.ledger import counted_statements
from tests.schema.caller import TIME_LIMIT_S, Api, Caller, MemoryWakeUps, remove_member
from tests.schema.documents import FOLLOW_BOARD, FOLLOW_ITEMS, FOLLOW_PROGRESS, REPORT
from tests.servers import until
from tests.tenants import Tenant


async def report(robot: Caller, item: RobotJobItem, **given: object) -> Any:
    return await robot.do(REPORT, **{"itemId": str(item.id), "status": "SUCCESS", **given})


def told(message: Any) -> tuple[str, str, int, str, int, int]:
    item, job = message["item"], message["job"]
    return item["id"], item["status"], item["attempt"], job["status"], job["successCount"], job["errorCount"]


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Streams that look again after a moment, woken or not."""
    monkeypatch.setattr(streams, "READ_AT_LEAST_EVERY_S", 0.02)
    monkeypatch.setattr(streams, "ACCESS_ASKED_EVERY_S", 0.02)


def test_access_and_log_are_read_again_within_five_seconds() -> None:
    assert streams.READ_AT_LEAST_EVERY_S < 5
    assert streams.ACCESS_ASKED_EVERY_S < followers.ACCESS_GOOD_FOR_S < 5


# robotJobItemCompleted


async def test_from_the_beginning_all_is_told_with_item_and_job_as_of_each_event(tenant: Tenant, robot: Caller) -> None:
    in_hand = await tenant.job(items=3, succeeded=1, failed=1)
    ids = [str(item.id) for item in in_hand.items]

    async with robot.follow(FOLLOW_ITEMS, jobId=str(in_hand.job.id), after="0") as stream:
        past = await stream.messages(2)
        await report(robot, in_hand.items[2])
        live = await stream.rest()

    assert [told(message) for message in [*past, *live]] == [
        (ids[0], "SUCCESS", 1, "PROCESSING", 1, 0),
        (ids[1], "ERROR", 1, "PROCESSING", 1, 1),
        (ids[2], "SUCCESS", 1, "COMPLETED", 2, 1),
    ]
    assert past[1]["item"]["errorType"] == "PORTAL"


async def test_with_a_cursor_it_goes_on_after_that_message(tenant: Tenant, robot: Caller) -> None:
    in_hand = await tenant.job(items=3, succeeded=3)
    job_id = str(in_hand.job.id)
    async with robot.follow(FOLLOW_ITEMS, jobId=job_id, after="0") as stream:
        messages = await stream.rest()

    for seen, message in enumerate(messages, start=1):
        async with robot.follow(FOLLOW_ITEMS, jobId=job_id, after=message["cursor"]) as stream:
            assert await stream.rest() == messages[seen:]


async def test_without_a_cursor_it_starts_now(tenant: Tenant, robot: Caller, wakeups: MemoryWakeUps) -> None:
    in_hand = await tenant.job(items=2, succeeded=1)

    async with robot.follow(FOLLOW_ITEMS, jobId=str(in_hand.job.id)) as stream:
        first = asyncio.create_task(stream.message())
        await wakeups.follower_waits(in_hand.job.id)
        await report(robot, in_hand.items[1])

        assert (await first)["item"]["id"] == str(in_hand.items[1].id)
        assert await stream.is_at_its_end()


async def test_each_item_is_told_once_and_in_order_while_32_connections_report(
    tenant: Tenant, robot: Caller, wakeups: MemoryWakeUps
) -> None:
    in_hand = await tenant.job(items=40)
    job_id = str(in_hand.job.id)
    queue = in_hand.items * 2
    random.shuffle(queue)

    async def worker() -> None:
        while queue:
            item = queue.pop()
            await report(robot, item, trackingNumber=f"P-{item.id}")

    async with (
        robot.follow(FOLLOW_ITEMS, jobId=job_id, after="0") as from_zero,
        robot.follow(FOLLOW_ITEMS, jobId=job_id) as from_now,
    ):
        listening = [asyncio.create_task(stream.rest()) for stream in (from_zero, from_now)]
        await wakeups.follower_waits(in_hand.job.id)
        await asyncio.gather(*(worker() for _ in range(32)))
        messages, messages_from_now = await asyncio.gather(*listening)

    assert sorted(message["item"]["id"] for message in messages) == sorted(str(item.id) for item in in_hand.items)
    assert [message["job"]["successCount"] for message in messages] == list(range(1, 41))
    assert [message["job"]["status"] for message in messages] == ["PROCESSING"] * 39 + ["COMPLETED"]
    seqs = [int(message["cursor"].partition(".")[0]) for message in messages]
    assert seqs == sorted(set(seqs))
    assert messages_from_now == messages[len(messages) - len(messages_from_now) :]


async def test_a_stretch_longer_than_one_read_is_told_whole(tenant: Tenant, robot: Caller) -> None:
    in_hand = await tenant.job(items=401)
    async with tenant.work() as connection:
        await update_job_status(connection, in_hand.job.id, JobStatus.FAILED, updated_by="a test")

    async with robot.follow(FOLLOW_ITEMS, jobId=str(in_hand.job.id), after="0") as stream:
        messages = await stream.rest()

    assert [message["job"]["errorCount"] for message in messages] == list(range(1, 402))
    assert messages[-1]["job"]["status"] == "FAILED"


async def test_a_job_that_is_finished_has_nothing_to_follow_from_now(tenant: Tenant, robot: Caller) -> None:
    in_hand = await tenant.job(items=1, succeeded=1)

    async with robot.follow(FOLLOW_ITEMS, jobId=str(in_hand.job.id)) as stream:
        assert await stream.is_at_its_end()


async def test_a_cancelled_job_tells_each_item_and_ends(tenant: Tenant, robot: Caller, wakeups: MemoryWakeUps) -> None:
    in_hand = await tenant.job(items=2)

    async with robot.follow(FOLLOW_ITEMS, jobId=str(in_hand.job.id)) as stream:
        telling = asyncio.create_task(stream.rest())
        await wakeups.follower_waits(in_hand.job.id)
        async with tenant.work() as connection:
            await update_job_status(connection, in_hand.job.id, JobStatus.CANCELLED, updated_by="a test")
        wakeups.announce(in_hand.job.id)
        messages = await telling

    assert [(each["item"]["status"], each["job"]["cancelledCount"]) for each in messages] == [
        ("CANCELLED", 1),
        ("CANCELLED", 2),
    ]


async def test_a_retry_opens_the_stream_again(tenant: Tenant, robot: Caller) -> None:
    in_hand = await tenant.job(items=1, failed=1)
    job_id = str(in_hand.job.id)
    async with robot.follow(FOLLOW_ITEMS, jobId=job_id, after="0") as stream:
        (failure,) = await stream.rest()
    async with tenant.work() as connection:
        await retry_failed_items(connection, in_hand.job.id)

    async with robot.follow(FOLLOW_ITEMS, jobId=job_id, after=failure["cursor"]) as stream:
        telling = asyncio.create_task(stream.rest())
        await report(robot, in_hand.items[0])
        (success,) = await telling

    assert told(failure)[1:] == ("ERROR", 1, "COMPLETED", 0, 1)
    assert told(success)[1:] == ("SUCCESS", 2, "COMPLETED", 1, 0)
    async with robot.follow(FOLLOW_ITEMS, jobId=job_id, after="0") as stream:
        assert await stream.rest() == [failure, success], "what was told stays as it was told"


async def test_a_cursor_that_is_not_of_this_log_ends_the_stream(tenant: Tenant, robot: Caller) -> None:
    in_hand, other = await tenant.job(items=2, succeeded=1), await tenant.job(items=1, succeeded=1)
    job_id = str(in_hand.job.id)
    async with robot.follow(FOLLOW_ITEMS, jobId=str(other.job.id), after="0") as stream:
        (of_other,) = await stream.rest()
    async with robot.follow(FOLLOW_ITEMS, jobId=job_id, after="0") as stream:
        seq, _, suffix = (await stream.message())["cursor"].partition(".")

    wrong = [
        of_other["cursor"],
        f"{int(seq) + 1}.{suffix}",
        f"{'9' * 18}.{suffix}",
        f"{'9' * 400}.{suffix}",
        f"-1.{suffix}",
        seq,
        "",
        "1",
        "00",
        "x",
        "\x00",
        "\ud800",
        "9" * 10_000,
    ]
    for cursor in wrong:
        async with robot.follow(FOLLOW_ITEMS, jobId=job_id, after=cursor) as stream:
            error = await stream.error_and_end()
        assert error["extensions"]["code"] == "INVALID_CURSOR", cursor[:40]


@pytest.mark.parametrize("document", [FOLLOW_ITEMS, FOLLOW_PROGRESS], ids=["items", "progress"])
async def test_another_tenants_job_is_answered_as_one_that_is_not_there(
    other_tenant: Tenant, robot: Caller, document: str
) -> None:
    foreign, unknown = str((await other_tenant.job(items=1, succeeded=1)).job.id), str(new_id())

    async def answered(**variables: str) -> Any:
        async with robot.follow(document, **variables) as stream:
            return await stream.error_and_end()

    for more in [{}, {"after": "0"}, {"after": f"1.{foreign.replace('-', '')[-8:]}"}, {"after": "x"}]:
        of_nothing = await answered(jobId=unknown, **more)
        assert of_nothing["extensions"]["code"] == "ROBOT_JOB_NOT_FOUND"
        assert str(await answered(jobId=foreign, **more)).replace(foreign, unknown) == str(of_nothing)


@pytest.mark.parametrize("document", [FOLLOW_ITEMS, FOLLOW_PROGRESS], ids=["items", "progress"])
async def test_what_cannot_be_an_id_is_invalid_input(robot: Caller, document: str) -> None:
    for value in ("", "x", "\x00", "\ud800", "x" * 10_000):
        async with robot.follow(document, jobId=value) as stream:
            assert (await stream.error_and_end())["extensions"]["code"] == "INVALID_INPUT"


@pytest.mark.parametrize("document", [FOLLOW_ITEMS, FOLLOW_PROGRESS + "#" * 20_000], ids=["variable", "document"])
async def test_what_would_be_kept_of_a_subscription_is_limited(robot: Caller, document: str) -> None:
    async with robot.follow(document, jobId="x" * (20_000 if document == FOLLOW_ITEMS else 1)) as stream:
        error = await stream.error_and_end()

    assert error["extensions"]["code"] == "QUERY_TOO_COMPLEX"
    assert (error["extensions"]["limit"], error["extensions"]["allowed"]) == ("characters", 20_000)


@pytest.mark.usefixtures("impatient")
async def test_an_expired_token_ends_the_stream(tenant: Tenant, api: Api) -> None:
    in_hand = await tenant.job(items=1)
    caller = api.caller(tenant.user(Role.VIEWER), tenant.workspace_id, expires_in_s=0.4)

    async with (
        caller.follow(FOLLOW_ITEMS, jobId=str(in_hand.job.id)) as items,
        caller.follow(FOLLOW_PROGRESS, jobId=str(in_hand.job.id)) as progress,
    ):
        assert (await progress.message())["status"] == "PENDING"
        errors = [await items.error_and_end(), await progress.error_and_end()]

    assert [error["extensions"]["code"] for error in errors] == ["UNAUTHENTICATED"] * 2


def transactions() -> list[Work]:
    """All that somebody still knows of."""
    gc.collect()
    return [each for each in gc.get_objects() if isinstance(each, Work)]


@pytest.mark.parametrize("document", [FOLLOW_ITEMS, FOLLOW_PROGRESS, FOLLOW_BOARD], ids=["items", "progress", "board"])
async def test_who_waits_keeps_nothing_of_the_transaction_that_it_began_with(
    tenant: Tenant, robot: Caller, document: str
) -> None:
    in_hand = await tenant.job(items=2, succeeded=1)
    job = {} if document is FOLLOW_BOARD else {"jobId": str(in_hand.job.id)}
    past = {"after": "0"} if document is FOLLOW_ITEMS else {}

    before = {id(each) for each in transactions()}

    async with robot.follow(document, **job, **past) as stream:
        await stream.message()

        assert [each for each in transactions() if id(each) not in before] == []


@pytest.mark.usefixtures("impatient")
async def test_a_removed_member_hears_no_more(
    tenant: Tenant, api: Api, database: Database, wakeups: MemoryWakeUps
) -> None:
    in_hand = await tenant.job(items=1)
    caller = api.member(tenant, Role.VIEWER)

    async with (
        caller.follow(FOLLOW_ITEMS, jobId=str(in_hand.job.id)) as items,
        caller.follow(FOLLOW_PROGRESS, jobId=str(in_hand.job.id)) as progress,
    ):
        await progress.message()
        ending = asyncio.create_task(items.error_and_end())
        await wakeups.follower_waits(in_hand.job.id)
        await remove_member(database, tenant, Role.VIEWER)
        errors = [await ending, await progress.error_and_end()]

    assert [error["extensions"]["code"] for error in errors] == ["NOT_A_MEMBER"] * 2


@pytest.mark.usefixtures("impatient")
async def test_a_lost_wake_up_delays_a_message_and_loses_none(
    tenant: Tenant, robot: Caller, wakeups: MemoryWakeUps
) -> None:
    in_hand = await tenant.job(items=2)
    wakeups.loses_all = True

    async with robot.follow(FOLLOW_ITEMS, jobId=str(in_hand.job.id)) as stream:
        telling = asyncio.create_task(stream.rest())
        await wakeups.follower_waits(in_hand.job.id)
        for item in in_hand.items:
            await report(robot, item)
        messages = await telling

    assert [message["item"]["id"] for message in messages] == [str(item.id) for item in in_hand.items]


async def test_what_happens_between_the_first_read_and_the_wait_is_told(
    tenant: Tenant, robot: Caller, wakeups: MemoryWakeUps, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_hand = await tenant.job(items=1)
    read = domain.robot_jobs.read_completions_of_jobs

    async def read_then_report(*arguments: Any, **options: Any) -> Any:
        found = await read(*arguments, **options)
        monkeypatch.setattr(feeds, "read_completions_of_jobs", read)
        await report(robot, in_hand.items[0])
        return found

    monkeypatch.setattr(streams, "READ_AT_LEAST_EVERY_S", 3_600)
    monkeypatch.setattr(feeds, "read_completions_of_jobs", read_then_report)
    async with robot.follow(FOLLOW_ITEMS, jobId=str(in_hand.job.id)) as stream:
        assert len(await stream.rest()) == 1


async def test_an_idle_stream_holds_no_connection_and_leaves_no_watch_behind(
    engine: AsyncEngine, tenant: Tenant, robot: Caller, wakeups: MemoryWakeUps
) -> None:
    in_hand = await tenant.job(items=2, succeeded=1)
    job_id = str(in_hand.job.id)

    async with robot.follow(FOLLOW_ITEMS, jobId=job_id, after="0") as stream:
        await stream.message()
        await until(lambda: checked_out(engine) == 0)  # while the client reads a message
        waiting = asyncio.create_task(stream.rest())
        await wakeups.follower_waits(in_hand.job.id)
        assert checked_out(engine) == 0, "while there is nothing to tell"
        await report(robot, in_hand.items[1])
        await waiting
    async with robot.follow(FOLLOW_PROGRESS, jobId=job_id) as stream:
        await stream.message()
        assert checked_out(engine) == 0

    assert wakeups.watched[in_hand.job.id] == []


def checked_out(engine: AsyncEngine) -> int:
    return int(engine.pool.checkedout())  # type: ignore[attr-defined]  # a queue pool counts


# robotJobProgress


async def test_progress_is_told_at_once_then_merged_and_the_last_state_always(tenant: Tenant, robot: Caller) -> None:
    in_hand = await tenant.job(items=40)

    async with robot.follow(FOLLOW_PROGRESS, jobId=str(in_hand.job.id)) as stream:
        first = await stream.message()
        started_at = time.monotonic()
        telling = asyncio.create_task(stream.rest())
        for item in in_hand.items:
            await report(robot, item)
        messages = await telling
        elapsed_s = time.monotonic() - started_at

    assert first["progress"] == {"pending": 40, "processing": 0, "done": 0, "percent": 0.0}
    assert 1 <= len(messages) <= elapsed_s * 4 + 1, "at most four a second, not one per item"
    assert messages[-1]["status"] == "COMPLETED"
    assert messages[-1]["progress"] == {"pending": 0, "processing": 0, "done": 40, "percent": 100.0}
    counts = [message["successCount"] for message in messages]
    assert counts == sorted(set(counts))


async def test_progress_of_a_finished_job_is_told_once(tenant: Tenant, robot: Caller) -> None:
    in_hand = await tenant.job(items=2, succeeded=1, failed=1)

    async with robot.follow(FOLLOW_PROGRESS, jobId=str(in_hand.job.id)) as stream:
        (only,) = await stream.rest()

    assert (only["status"], only["successCount"], only["errorCount"]) == ("COMPLETED", 1, 1)


@pytest.mark.usefixtures("impatient")
async def test_progress_is_told_without_wake_ups_too(tenant: Tenant, robot: Caller, wakeups: MemoryWakeUps) -> None:
    in_hand = await tenant.job(items=1)
    wakeups.loses_all = True

    async with robot.follow(FOLLOW_PROGRESS, jobId=str(in_hand.job.id)) as stream:
        await stream.message()
        await report(robot, in_hand.items[0])
        (last,) = await stream.rest()

    assert last["status"] == "COMPLETED"


@pytest.mark.usefixtures("impatient")
async def test_progress_says_nothing_while_nothing_changes(
    tenant: Tenant, robot: Caller, wakeups: MemoryWakeUps, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_hand = await tenant.job(items=1)
    monkeypatch.setattr(feeds, "PROGRESS_AT_MOST_EVERY_S", 0.0)

    async with robot.follow(FOLLOW_PROGRESS, jobId=str(in_hand.job.id)) as stream:
        await stream.message()
        telling = asyncio.create_task(stream.rest())
        for _ in range(5):
            await wakeups.follower_waits(in_hand.job.id)
            wakeups.announce(in_hand.job.id)
        await report(robot, in_hand.items[0])
        messages = await telling

    assert [message["status"] for message in messages] == ["COMPLETED"]


async def test_a_crowd_of_followers_waits_for_its_turn_and_none_fails(
    database: Database, tenant: Tenant, wakeups: MemoryWakeUps
) -> None:
    in_hand = await tenant.job(items=5)
    small = create_async_engine(database.urls.app, pool_size=2, max_overflow=0, pool_timeout=0.01)
    crowd = Api(small, wakeups).member(tenant, Role.ROBOT)

    async def follow_all() -> list[Any]:
        async with crowd.follow(FOLLOW_ITEMS, jobId=str(in_hand.job.id), after="0") as stream:
            return await stream.rest()

    following = [asyncio.create_task(follow_all()) for _ in range(40)]
    for item in in_hand.items:
        await report(crowd, item)
    messages = await asyncio.gather(*following)
    await streams.Repeated.finish_all(TIME_LIMIT_S)
    await small.dispose()

    assert [len(each) for each in messages] == [5] * 40


async def test_progress_and_failures_are_read_in_the_snapshot_of_the_job(
    engine: AsyncEngine, tenant: Tenant, robot: Caller
) -> None:
    in_hand = await tenant.job(items=2, succeeded=1, failed=1)
    document = """subscription ($jobId: ID!) { robotJobProgress(jobId: $jobId) {
        errorCount failures { count } progress { itemsPerMinute } } }"""

    with counted_statements(engine) as statements:
        async with robot.follow(document, jobId=str(in_hand.job.id)) as stream:
            (only,) = await stream.rest()

    assert (only["errorCount"], only["failures"]) == (1, [{"count": 1}])
    assert only["progress"]["itemsPerMinute"] > 0
    assert sum("enter_workspace" in statement for statement in statements) == 1
