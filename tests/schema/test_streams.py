"""Shared streams: a crowd costs what one costs, and each follower is told as if it were alone."""

import asyncio
import datetime as dt
import importlib
import time
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, cast

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from api.database import owner_engine
from domain.api_keys import api_keys
from domain.robot_jobs import ItemResult, JobStatus, ResultStatus, read_completions_of_jobs, update_job_item_result
from domain.workspaces import Membership, Role, enter_as_owner, enter_workspace, set_member
from schema import streams
from schema.followers import ACCESS_GOOD_FOR_S
from schema.robot_jobs import feeds
from schema.streams import Feed, Reader, Streams
from tests.conftest import Database
from tests.domain.ledger import counted_statements
from tests.schema.caller import TIME_LIMIT_S, Api, Caller, MemoryWakeUps, Stream, remove_member
from tests.schema.documents import FOLLOW_BOARD, FOLLOW_ITEMS, FOLLOW_PROGRESS
from tests.servers import until
from tests.tenants import Tenant, make_tenant

both = pytest.mark.parametrize("document", [FOLLOW_ITEMS, FOLLOW_PROGRESS], ids=["items", "progress"])


@asynccontextmanager
async def crowd(caller: Caller, count: int, document: str, job_id: uuid.UUID) -> AsyncIterator[list[Stream]]:
    """That many followers of the job."""
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(caller.follow(document, jobId=str(job_id))) for _ in range(count)]


def followers_of(hub: Streams) -> int:
    return len(hub._followers)


def seqs(messages: list[Any]) -> list[int]:
    return [int(message["cursor"].partition(".")[0]) for message in messages]


class Pause:
    """Holds up the reads of followed jobs: `reached` when one has read and not yet told, until `go` is set."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.reached, self.go = asyncio.Event(), asyncio.Event()
        self.reads = 0
        read = read_completions_of_jobs

        async def read_and_wait(*arguments: Any, **options: Any) -> Any:
            found = await read(*arguments, **options)
            self.reads += 1
            self.reached.set()
            await self.go.wait()
            return found

        monkeypatch.setattr(feeds, "read_completions_of_jobs", read_and_wait)


# what a crowd costs


@both
async def test_fifty_idle_followers_cost_as_much_as_one(
    engine: AsyncEngine,
    tenant: Tenant,
    api: Api,
    robot: Caller,
    monkeypatch: pytest.MonkeyPatch,
    document: str,
) -> None:
    monkeypatch.setattr(streams, "READ_AT_LEAST_EVERY_S", 0.2)
    monkeypatch.setattr(streams, "ACCESS_ASKED_EVERY_S", 0.2)

    async def cost(count: int) -> tuple[int, int]:
        """The reads of the job and the questions for access while both are done twice."""
        in_hand = await tenant.job(items=1)
        async with crowd(robot, count, document, in_hand.job.id) as followers:
            if document == FOLLOW_PROGRESS:
                await asyncio.gather(*(follower.message() for follower in followers))
            waiting = [asyncio.create_task(follower.message()) for follower in followers]
            await until(lambda: followers_of(api.streams) == count)
            with counted_statements(engine) as statements:

                def done() -> tuple[int, int]:
                    entered = sum("robot_jobs_system" in each for each in statements)
                    return entered, sum("list_access" in each for each in statements)

                await until(lambda: min(done()) >= 2)
                found = done()
                others = [each for each in statements if "robot_jobs_system" not in each and "list_access" not in each]
            await tenant.succeed(in_hand.items[0])
            await asyncio.gather(*waiting)
        assert len(others) <= found[0] * 2, others
        assert not any("enter_workspace" in each for each in others)
        return found

    of_one, of_many = await cost(1), await cost(50)

    assert max(of_one) <= 4
    assert max(of_many) <= 4


@both
async def test_one_completion_is_read_once_for_fifty_followers(
    engine: AsyncEngine, tenant: Tenant, robot: Caller, wakeups: MemoryWakeUps, document: str
) -> None:
    in_hand = await tenant.job(items=1)

    async with crowd(robot, 50, document, in_hand.job.id) as followers:
        if document == FOLLOW_PROGRESS:
            await asyncio.gather(*(follower.message() for follower in followers))
        waiting = [asyncio.create_task(follower.rest()) for follower in followers]
        await wakeups.follower_waits(in_hand.job.id)
        await tenant.succeed(in_hand.items[0])
        with counted_statements(engine) as statements:
            wakeups.announce(in_hand.job.id)
            told = await asyncio.gather(*waiting)

    assert [len(each) for each in told] == [1] * 50
    assert all(each == told[0] for each in told)
    assert len(statements) <= 4, statements


async def test_a_job_that_nobody_follows_any_more_costs_nothing(
    engine: AsyncEngine, tenant: Tenant, api: Api, robot: Caller, wakeups: MemoryWakeUps
) -> None:
    in_hand = await tenant.job(items=1)
    async with crowd(robot, 3, FOLLOW_ITEMS, in_hand.job.id) as followers:
        waiting = [asyncio.create_task(follower.message()) for follower in followers]
        await wakeups.follower_waits(in_hand.job.id)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)

    assert wakeups.watched[in_hand.job.id] == []
    assert (api.streams._feeds, api.streams._followers, api.streams._asking) == ({}, set(), None)
    await until(lambda: not streams.Repeated._running)
    with counted_statements(engine) as statements:
        wakeups.announce(in_hand.job.id)
        await asyncio.sleep(0)
    assert statements == []


# races


async def test_who_joins_between_a_read_and_its_telling_misses_nothing_and_hears_nothing_twice(
    tenant: Tenant, robot: Caller, api: Api, wakeups: MemoryWakeUps, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_hand = await tenant.job(items=3)
    first, second, third = in_hand.items
    async with robot.follow(FOLLOW_ITEMS, jobId=str(in_hand.job.id)) as early:
        hearing_early = asyncio.create_task(early.rest())
        await wakeups.follower_waits(in_hand.job.id)
        pause = Pause(monkeypatch)
        await tenant.succeed(first)
        wakeups.announce(in_hand.job.id)
        await pause.reached.wait()  # the reader knows the first, and has not told it
        await tenant.succeed(second)

        async with robot.follow(FOLLOW_ITEMS, jobId=str(in_hand.job.id)) as late:
            hearing_late = asyncio.create_task(late.rest())  # from the second on
            await until(lambda: followers_of(api.streams) == 2)
            pause.go.set()
            wakeups.announce(in_hand.job.id)
            await tenant.succeed(third)
            wakeups.announce(in_hand.job.id)
            told_early, told_late = await hearing_early, await hearing_late

    assert [each["item"]["id"] for each in told_early] == [str(item.id) for item in in_hand.items]
    assert told_late == told_early[2:]


async def test_who_joins_with_a_cursor_while_others_are_told_gets_all_from_there(
    tenant: Tenant, robot: Caller, wakeups: MemoryWakeUps
) -> None:
    in_hand = await tenant.job(items=6, succeeded=3)
    job_id = str(in_hand.job.id)
    async with robot.follow(FOLLOW_ITEMS, jobId=job_id) as live:
        hearing = asyncio.create_task(live.rest())
        await wakeups.follower_waits(in_hand.job.id)
        await tenant.succeed(in_hand.items[3])
        wakeups.announce(in_hand.job.id)
        async with AsyncExitStack() as stack:
            whole = [await stack.enter_async_context(robot.follow(FOLLOW_ITEMS, jobId=job_id, after="0"))]
            past = [await whole[0].message() for _ in range(4)]
            for message in past:
                resumed = robot.follow(FOLLOW_ITEMS, jobId=job_id, after=message["cursor"])
                whole.append(await stack.enter_async_context(resumed))
            hearing_rest = [asyncio.create_task(stream.rest()) for stream in whole]
            for item in in_hand.items[4:]:
                await tenant.succeed(item)
                wakeups.announce(in_hand.job.id)
            from_zero, *from_cursors = await asyncio.gather(*hearing_rest)
        told_live = await hearing

    everything = [*past, *from_zero]
    assert [each["item"]["id"] for each in everything] == [str(item.id) for item in in_hand.items]
    assert from_cursors == [everything[seen:] for seen in range(1, 5)]
    assert told_live == everything[3:]


async def test_a_follower_slower_than_what_is_kept_reads_the_log_and_misses_nothing(
    tenant: Tenant, robot: Caller, wakeups: MemoryWakeUps, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feeds, "KEPT_COMPLETIONS", 3)
    in_hand = await tenant.job(items=20)
    kept: list[int] = []

    async with (
        robot.follow(FOLLOW_ITEMS, jobId=str(in_hand.job.id)) as slow,
        robot.follow(FOLLOW_ITEMS, jobId=str(in_hand.job.id)) as quick,
    ):
        hearing_slow = asyncio.create_task(slow.message())
        told_quick = []
        for item in in_hand.items[:19]:
            hearing = asyncio.create_task(quick.message())
            await wakeups.follower_waits(in_hand.job.id)
            await tenant.succeed(item)
            wakeups.announce(in_hand.job.id)
            told_quick.append(await hearing)
            (feed,) = robot.streams._feeds.values()
            assert isinstance(feed, feeds.CompletionFeed)
            kept.append(len(feed._kept))
        await tenant.succeed(in_hand.items[19])
        wakeups.announce(in_hand.job.id)
        told_quick += await quick.rest()
        told_slow = [await hearing_slow, *await slow.rest()]

    assert max(kept) == 3, "bounded, however slow anybody is"
    assert [each["item"]["id"] for each in told_quick] == [str(item.id) for item in in_hand.items]
    assert told_slow == told_quick


async def test_a_burst_longer_than_read_and_ring_is_told_whole_to_who_waits(
    tenant: Tenant, robot: Caller, wakeups: MemoryWakeUps
) -> None:
    in_hand = await tenant.job(items=450)

    async with crowd(robot, 3, FOLLOW_ITEMS, in_hand.job.id) as followers:
        hearing = [asyncio.create_task(follower.rest()) for follower in followers]
        await wakeups.follower_waits(in_hand.job.id)
        await tenant.set_status(in_hand.job.id, JobStatus.FAILED)
        wakeups.announce(in_hand.job.id)
        told = await asyncio.gather(*hearing)

    for each in told:
        assert [message["job"]["errorCount"] for message in each] == list(range(1, 451))


async def test_transactions_that_commit_in_the_opposite_order_of_their_start_are_told_in_order(
    engine: AsyncEngine, tenant: Tenant, robot: Caller, wakeups: MemoryWakeUps
) -> None:
    in_hand = await tenant.job(items=2)
    first, second = in_hand.items

    async def write(connection: AsyncConnection, item_id: uuid.UUID) -> None:
        result = ItemResult(item_id=item_id, status=ResultStatus.SUCCESS, tracking_number=f"T-{item_id}")
        await update_job_item_result(connection, result, reported_by=tenant.user(Role.ROBOT))

    async with crowd(robot, 3, FOLLOW_ITEMS, in_hand.job.id) as followers:
        hearing = [asyncio.create_task(follower.rest()) for follower in followers]
        await wakeups.follower_waits(in_hand.job.id)
        async with engine.connect() as earlier, engine.connect() as later:
            for connection in (earlier, later):
                await connection.begin()
                await enter_workspace(connection, tenant.user(Role.ROBOT), tenant.workspace_id)
                await connection.execute(sa.text("SELECT pg_current_xact_id()"))  # it has begun, and has its number
            await write(later, second.id)
            await later.commit()
            wakeups.announce(in_hand.job.id)
            await write(earlier, first.id)
            wakeups.announce(in_hand.job.id)  # too early: a hint, no more
            await wakeups.follower_waits(in_hand.job.id)
            await earlier.commit()
            wakeups.announce(in_hand.job.id)
        told = await asyncio.gather(*hearing)

    for each in told:
        assert [message["item"]["id"] for message in each] == [str(second.id), str(first.id)]
        assert seqs(each) == sorted(seqs(each))


async def test_who_comes_after_a_retry_is_not_ended_by_what_was_read_before_it(
    tenant: Tenant, robot: Caller, wakeups: MemoryWakeUps
) -> None:
    in_hand = await tenant.job(items=1)
    async with robot.follow(FOLLOW_ITEMS, jobId=str(in_hand.job.id)) as slow:
        await wakeups.follower_waits(in_hand.job.id)
        [feed] = robot.streams._feeds.values()
        await tenant.fail(in_hand.items[0])
        wakeups.announce(in_hand.job.id)
        await until(lambda: not cast(feeds.CompletionFeed, feed)._job.status.is_active)  # and the client reads nothing
        await tenant.retry(in_hand.job.id)

        async with robot.follow(FOLLOW_ITEMS, jobId=str(in_hand.job.id)) as new:
            hearing = asyncio.create_task(new.message())
            await until(lambda: len(robot.streams._followers) == 2)
            await tenant.succeed(in_hand.items[0])
            wakeups.announce(in_hand.job.id)
            success = await hearing
            assert await new.is_at_its_end()
        told = await slow.rest()

    assert success["job"]["successCount"] == 1
    assert [(message["job"]["errorCount"], message["job"]["successCount"]) for message in told] == [(1, 0)]


# access


async def test_with_an_expired_token_nothing_is_told_and_the_others_go_on(
    tenant: Tenant, api: Api, wakeups: MemoryWakeUps, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "ACCESS_ASKED_EVERY_S", 3_600)  # it is not asked for, but known
    in_hand = await tenant.job(items=1)
    user = tenant.user(Role.VIEWER)
    passing, lasting = api.caller(user, tenant.workspace_id, expires_in_s=0.5), api.caller(user, tenant.workspace_id)

    async with (
        passing.follow(FOLLOW_ITEMS, jobId=str(in_hand.job.id)) as ending,
        lasting.follow(FOLLOW_ITEMS, jobId=str(in_hand.job.id)) as staying,
    ):
        error = asyncio.create_task(ending.error_and_end())
        hearing = asyncio.create_task(staying.rest())
        await until(lambda: followers_of(api.streams) == 2)
        first = min(api.streams._followers, key=lambda follower: cast(dt.datetime, follower._expires_at))
        await wakeups.follower_waits(in_hand.job.id)
        await until(first.is_expired)
        await tenant.succeed(in_hand.items[0])
        wakeups.announce(in_hand.job.id)
        told = await hearing

    assert len(told) == 1
    assert (await error)["extensions"]["code"] == "UNAUTHENTICATED"


async def test_one_in_a_crowd_who_loses_access_is_found_without_news(
    tenant: Tenant, api: Api, database: Database, wakeups: MemoryWakeUps, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "ACCESS_ASKED_EVERY_S", 0.02)
    in_hand = await tenant.job(items=1)
    admin, viewer = api.member(tenant, Role.ADMIN), api.member(tenant, Role.VIEWER)

    async with (
        admin.follow(FOLLOW_ITEMS, jobId=str(in_hand.job.id)) as staying,
        viewer.follow(FOLLOW_ITEMS, jobId=str(in_hand.job.id)) as losing,
    ):
        hearing = asyncio.create_task(staying.rest())
        ending = asyncio.create_task(losing.error_and_end())
        await until(lambda: followers_of(api.streams) == 2)
        await remove_member(database, tenant, Role.VIEWER)
        error = await ending
        await tenant.succeed(in_hand.items[0])
        wakeups.announce(in_hand.job.id)
        told = await hearing

    assert error["extensions"]["code"] == "NOT_A_MEMBER"
    assert len(told) == 1


async def test_access_that_is_confirmed_for_all_needs_no_look_of_ones_own(
    engine: AsyncEngine, tenant: Tenant, api: Api, robot: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "ACCESS_ASKED_EVERY_S", 0.02)
    monkeypatch.setattr(streams, "READ_AT_LEAST_EVERY_S", 3_600)
    in_hand = await tenant.job(items=1)

    async with crowd(robot, 3, FOLLOW_ITEMS, in_hand.job.id) as followers:
        waiting = [asyncio.create_task(follower.message()) for follower in followers]
        await until(lambda: followers_of(api.streams) == 3)
        began = {follower: follower._good_until for follower in api.streams._followers}
        with counted_statements(engine) as statements:
            await until(lambda: all(follower._good_until > began[follower] for follower in began))
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)

    assert not any("enter_workspace" in each for each in statements)


async def test_a_key_that_only_follows_is_in_use(
    tenant: Tenant, api: Api, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "ACCESS_ASKED_EVERY_S", 0.02)
    monkeypatch.setattr("schema.followers.ACCESS_GOOD_FOR_S", 3_600)  # nobody enters again
    monkeypatch.setattr(streams, "READ_AT_LEAST_EVERY_S", 3_600)
    in_hand, created = await tenant.job(items=1), await tenant.key()
    long_ago = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)

    async def last_used_at() -> dt.datetime | None:
        async with tenant.work(Role.ADMIN) as connection:
            return cast(dt.datetime | None, await connection.scalar(sa.select(api_keys.c.last_used_at)))

    async def is_recorded() -> bool:
        return await last_used_at() not in (None, long_ago)

    async with api.robot(created.secret).follow(FOLLOW_ITEMS, jobId=str(in_hand.job.id)) as stream:
        hearing = asyncio.create_task(stream.message())
        await until(lambda: followers_of(api.streams) == 1)
        await until(is_recorded)  # on entering
        async with owner_engine(database.urls).begin() as owner:
            await enter_as_owner(owner)
            await owner.execute(
                sa.update(api_keys).where(api_keys.c.id == created.api_key.id).values(last_used_at=long_ago)
            )
        await until(is_recorded)
        hearing.cancel()
        await asyncio.gather(hearing, return_exceptions=True)
    await api.database.finish()


async def test_who_reads_slowly_is_told_nothing_after_access_was_lost(
    tenant: Tenant, api: Api, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "ACCESS_ASKED_EVERY_S", 0.02)
    in_hand = await tenant.job(items=5, succeeded=4)

    async with api.member(tenant, Role.VIEWER).follow(FOLLOW_ITEMS, jobId=str(in_hand.job.id), after="0") as stream:
        await stream.message()
        (follower,) = api.streams._followers
        await remove_member(database, tenant, Role.VIEWER)
        await until(lambda: follower.is_overdue(time.monotonic()))
        error = await stream.error_and_end()

    assert error["extensions"]["code"] == "NOT_A_MEMBER"


@pytest.mark.parametrize(
    ("document", "first_read"),
    [
        (FOLLOW_ITEMS, "schema.robot_jobs.subscriptions.find_robot_jobs"),
        (FOLLOW_PROGRESS, "schema.robot_jobs.subscriptions.get_progress"),
        (FOLLOW_BOARD, "schema.robot_jobs.board.list_board"),
    ],
    ids=["items", "progress", "board"],
)
async def test_access_is_confirmed_as_of_the_entry_however_long_the_first_read_takes(
    tenant: Tenant, api: Api, robot: Caller, monkeypatch: pytest.MonkeyPatch, document: str, first_read: str
) -> None:
    in_hand = await tenant.job(items=1)
    module, _, name = first_read.rpartition(".")
    read = getattr(importlib.import_module(module), name)
    began_at = 0.0

    async def note(*arguments: Any, **options: Any) -> Any:
        nonlocal began_at
        began_at = time.monotonic()
        return await read(*arguments, **options)

    monkeypatch.setattr(first_read, note)
    variables = {} if document == FOLLOW_BOARD else {"jobId": str(in_hand.job.id)}
    async with robot.follow(document, **variables):
        await until(lambda: followers_of(api.streams) == 1)
        (follower,) = api.streams._followers

        assert follower.is_overdue(began_at + ACCESS_GOOD_FOR_S)


async def test_a_second_workspace_does_not_disturb_who_follows_in_the_only_one(
    database: Database, engine: AsyncEngine, tenant: Tenant, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "ACCESS_ASKED_EVERY_S", 0.02)
    monkeypatch.setattr(streams, "READ_AT_LEAST_EVERY_S", 0.02)
    in_hand = await tenant.job(items=1)
    user = tenant.user(Role.VIEWER)

    async with api.caller(user).follow(FOLLOW_ITEMS, jobId=str(in_hand.job.id)) as stream:
        hearing = asyncio.create_task(stream.rest())
        await until(lambda: followers_of(api.streams) == 1)
        other = await make_tenant(database.urls, engine)
        await add_member(database, other, user)
        await tenant.succeed(in_hand.items[0])
        told = await hearing

    assert len(told) == 1


async def add_member(database: Database, tenant: Tenant, user_id: str) -> None:
    async with owner_engine(database.urls).begin() as owner:
        await enter_as_owner(owner)
        await set_member(owner, Membership(tenant.workspace_id, user_id, Role.VIEWER))


# a database that goes away


class Trouble:
    """Lets the database of a caller be away."""

    def __init__(self, engine: AsyncEngine) -> None:
        self.is_away = False
        sa.event.listen(engine.sync_engine, "before_cursor_execute", self._refuse)

    def _refuse(self, *_: object) -> None:
        if self.is_away:
            raise ConnectionResetError("the network is cut")


@pytest.fixture
async def troubled(database: Database, wakeups: MemoryWakeUps) -> AsyncIterator[tuple[Api, Trouble]]:
    """An API whose database can be cut off."""
    engine = create_async_engine(database.urls.app, pool_size=5, max_overflow=0)
    yield Api(engine, wakeups), Trouble(engine)
    await streams.Repeated.finish_all(TIME_LIMIT_S)
    await engine.dispose()


@both
async def test_a_read_that_fails_is_made_again_and_nothing_is_lost(
    tenant: Tenant,
    wakeups: MemoryWakeUps,
    troubled: tuple[Api, Trouble],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    document: str,
) -> None:
    monkeypatch.setattr(streams, "READ_AT_LEAST_EVERY_S", 3_600)  # it is made again for its own sake
    monkeypatch.setattr(streams, "TRY_AGAIN_AFTER_S", 0.02)
    api, trouble = troubled
    in_hand = await tenant.job(items=2)

    async with crowd(api.member(tenant), 3, document, in_hand.job.id) as followers:
        if document == FOLLOW_PROGRESS:
            await asyncio.gather(*(follower.message() for follower in followers))
        hearing = [asyncio.create_task(follower.rest()) for follower in followers]
        await wakeups.follower_waits(in_hand.job.id)
        trouble.is_away = True
        for item in in_hand.items:
            await tenant.succeed(item)
        wakeups.announce(in_hand.job.id)
        await until(lambda: "what is followed cannot be read now" in caplog.text)
        trouble.is_away = False
        told = await asyncio.gather(*hearing)

    for each in told:
        assert len(each) == (2 if document == FOLLOW_ITEMS else 1)
        assert each[-1].get("job", each[-1])["successCount"] == 2


@both
async def test_who_cannot_be_confirmed_in_time_is_told_that_the_database_is_away(
    tenant: Tenant,
    wakeups: MemoryWakeUps,
    troubled: tuple[Api, Trouble],
    monkeypatch: pytest.MonkeyPatch,
    document: str,
) -> None:
    monkeypatch.setattr(streams, "TRY_AGAIN_AFTER_S", 0.02)
    monkeypatch.setattr(streams, "ACCESS_ASKED_EVERY_S", 0.02)
    monkeypatch.setattr("schema.followers.ACCESS_GOOD_FOR_S", 0.5)
    api, trouble = troubled
    in_hand = await tenant.job(items=1)

    async with crowd(api.member(tenant), 3, document, in_hand.job.id) as followers:
        if document == FOLLOW_PROGRESS:
            await asyncio.gather(*(follower.message() for follower in followers))
        ending = [asyncio.create_task(follower.error_and_end()) for follower in followers]
        await wakeups.follower_waits(in_hand.job.id)
        trouble.is_away = True
        errors = await asyncio.gather(*ending)

    assert [error["extensions"]["code"] for error in errors] == ["SERVICE_UNAVAILABLE"] * 3


async def test_a_fault_of_the_reader_ends_each_stream_with_an_id_to_quote(
    tenant: Tenant, robot: Caller, wakeups: MemoryWakeUps, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_hand = await tenant.job(items=1)

    async def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    async with crowd(robot, 2, FOLLOW_ITEMS, in_hand.job.id) as followers:
        ending = [asyncio.create_task(follower.error_and_end()) for follower in followers]
        await wakeups.follower_waits(in_hand.job.id)
        monkeypatch.setattr(feeds, "read_completions_of_jobs", fail)
        wakeups.announce(in_hand.job.id)
        errors = await asyncio.gather(*ending)

    assert [error["extensions"]["code"] for error in errors] == ["INTERNAL_ERROR"] * 2


# leaving


@pytest.mark.parametrize("others", [0, 1])
async def test_a_follower_cancelled_during_the_read_leaks_nothing(
    engine: AsyncEngine,
    tenant: Tenant,
    robot: Caller,
    api: Api,
    wakeups: MemoryWakeUps,
    monkeypatch: pytest.MonkeyPatch,
    others: int,
) -> None:
    in_hand = await tenant.job(items=2)
    first, second = in_hand.items
    async with crowd(robot, others, FOLLOW_ITEMS, in_hand.job.id) as staying:
        async with robot.follow(FOLLOW_ITEMS, jobId=str(in_hand.job.id)) as leaving:
            cancelled = asyncio.create_task(leaving.message())
            hearing = [asyncio.create_task(stream.rest()) for stream in staying]
            await until(lambda: followers_of(api.streams) == 1 + others)
            await wakeups.follower_waits(in_hand.job.id)
            pause = Pause(monkeypatch)
            await tenant.succeed(first)
            wakeups.announce(in_hand.job.id)
            await pause.reached.wait()
            cancelled.cancel()
            await asyncio.gather(cancelled, return_exceptions=True)
        assert followers_of(api.streams) == others
        pause.go.set()
        await tenant.succeed(second)
        wakeups.announce(in_hand.job.id)
        told = await asyncio.gather(*hearing)

    assert [[message["item"]["id"] for message in each] for each in told] == [[str(first.id), str(second.id)]] * others
    assert wakeups.watched[in_hand.job.id] == []
    await until(lambda: not streams.Repeated._running)
    assert engine.pool.checkedout() == 0  # type: ignore[attr-defined]  # a queue pool counts


async def test_followers_of_two_workspaces_share_nothing(
    tenant: Tenant, other_tenant: Tenant, api: Api, wakeups: MemoryWakeUps
) -> None:
    mine, theirs = await tenant.job(items=1), await other_tenant.job(items=1)

    async with (
        api.member(tenant).follow(FOLLOW_ITEMS, jobId=str(mine.job.id)) as own,
        api.member(other_tenant).follow(FOLLOW_ITEMS, jobId=str(theirs.job.id)) as other,
        api.member(other_tenant).follow(FOLLOW_ITEMS, jobId=str(mine.job.id)) as foreign,
    ):
        hearing = [asyncio.create_task(stream.rest()) for stream in (own, other)]
        await wakeups.follower_waits(mine.job.id)
        await wakeups.follower_waits(theirs.job.id)
        assert (await foreign.error_and_end())["extensions"]["code"] == "ROBOT_JOB_NOT_FOUND"
        assert len(api.streams._feeds) == 2
        for shop, in_hand in ((tenant, mine), (other_tenant, theirs)):
            await shop.succeed(in_hand.items[0])
            wakeups.announce(in_hand.job.id)
        told = await asyncio.gather(*hearing)

    assert [[message["item"]["id"] for message in each] for each in told] == [
        [str(mine.items[0].id)],
        [str(theirs.items[0].id)],
    ]


async def test_feeds_that_are_read_alone_do_not_each_wait_for_a_database_that_goes_away() -> None:
    tried: list[int] = []

    async def read(due: Sequence[Feed]) -> None:
        tried.append(len(due))
        raise ZeroDivisionError if len(due) > 1 else ConnectionResetError

    reader = Reader(read)
    many = [Feed(uuid.uuid4()) for _ in range(5)]

    assert not await reader._try(many)
    assert tried == [5, 1]
    assert all(feed.has_news for feed in many)
