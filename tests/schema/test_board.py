"""The board live: whatever changes is told, its last state always, and nothing is said while nothing changes."""

import asyncio
import datetime as dt
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from functools import partial
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

import domain.robot_jobs
from domain.carriers import Carrier
from domain.robot_jobs import (
    ItemResult,
    OrderSelection,
    ResultStatus,
    create_robot_job,
    robot_jobs,
    update_job_item_result,
)
from domain.workspaces import Role, enter_workspace
from schema import streams
from schema.followers import Message
from schema.robot_jobs import board
from tests.conftest import Database
from tests.domain.ledger import counted_statements
from tests.schema.caller import TIME_LIMIT_S, Api, Caller, MemoryWakeUps, Stream, remove_member
from tests.schema.documents import CREATE, FOLLOW_BOARD, JOBS, REPORT
from tests.servers import until
from tests.tenants import Tenant, make_tenant

ACTIVE = {"status": ["PENDING", "PROCESSING"]}
FAILURES = """subscription { robotJobsChanged { jobs { id failures { count } progress { itemsPerMinute } } } }"""


class Client:
    """Shows what a stream tells, as its messages say."""

    def __init__(self, stream: Stream) -> None:
        self.jobs: dict[str, Any] = {}
        self.messages: list[Any] = []
        self._stream = stream

    async def hear(self) -> Any:
        message = await self._stream.message()
        self.messages.append(message)
        if message["isSnapshot"]:
            self.jobs.clear()
        for job in message["jobs"]:
            self.jobs.pop(job["id"], None)
            self.jobs[job["id"]] = job
        for left in message["leftIds"]:
            self.jobs.pop(left, None)
        return message

    async def hear_on(self) -> None:
        while True:
            await self.hear()

    @property
    def told(self) -> list[str]:
        """The ids of the jobs told, in order."""
        return [job["id"] for message in self.messages for job in message["jobs"]]


@asynccontextmanager
async def watching(caller: Caller, **filter_: object) -> AsyncIterator[Client]:
    """Somebody who has heard how the board stands, and hears on."""
    async with caller.follow(FOLLOW_BOARD, filter=filter_ or None) as stream:
        client = Client(stream)
        assert (await client.hear())["isSnapshot"]
        hearing = asyncio.create_task(client.hear_on())
        try:
            yield client
            if hearing.done():
                await hearing
        finally:
            hearing.cancel()
            await asyncio.gather(hearing, return_exceptions=True)


async def shows(client: Client, is_it: Callable[[dict[str, Any]], bool]) -> None:
    """Wait until what the client shows is that."""
    await until(lambda: is_it(client.jobs))


async def settled(tenant: Tenant, wakeups: MemoryWakeUps, *, looks: int = 3) -> None:
    """All that there is to tell has been read, and looked for again."""
    for _ in range(looks):
        await wakeups.follower_waits(tenant.workspace_id)
        wakeups.announce(tenant.workspace_id)
        await asyncio.sleep(0)
    await wakeups.follower_waits(tenant.workspace_id)


@pytest.fixture
def prompt(monkeypatch: pytest.MonkeyPatch) -> None:
    """Boards that do not merge what comes within a quarter of a second."""
    monkeypatch.setattr(board, "BOARD_AT_MOST_EVERY_S", 0.0)


@pytest.fixture
def never_far(monkeypatch: pytest.MonkeyPatch) -> None:
    """Boards that look far back once only, when they begin."""
    monkeypatch.setattr(streams, "READ_AT_LEAST_EVERY_S", 3_600)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Streams that look again after a moment, woken or not."""
    monkeypatch.setattr(streams, "READ_AT_LEAST_EVERY_S", 0.02)
    monkeypatch.setattr(streams, "ACCESS_ASKED_EVERY_S", 0.02)


# the first message


async def test_the_board_as_it_stands_is_told_at_once_active_jobs_first_then_what_finished_last(
    tenant: Tenant, other_tenant: Tenant, robot: Caller
) -> None:
    finished_first, active, finished_last, active_newer = [await tenant.job(items=1) for _ in range(4)]
    await tenant.succeed(finished_first.items[0])
    await tenant.fail(finished_last.items[0])
    await other_tenant.job(items=1)

    async with robot.follow(FOLLOW_BOARD) as stream:
        message = await stream.message()

    in_order = [active_newer, active, finished_last, finished_first]
    assert [job["id"] for job in message["jobs"]] == [str(each.job.id) for each in in_order]
    assert message["jobs"][2]["errorCount"] == 1
    assert (message["leftIds"], message["isSnapshot"]) == ([], True)
    listed = await robot.ask(JOBS, orderBy={"field": "COMPLETED_AT", "direction": "DESC"})
    assert [node["id"] for node in listed["robotJobs"]["nodes"]] == [job["id"] for job in message["jobs"]]


async def test_an_empty_board_is_told_too(tenant: Tenant, robot: Caller) -> None:
    async with robot.follow(FOLLOW_BOARD) as stream:
        assert await stream.message() == {"jobs": [], "leftIds": [], "isSnapshot": True}


async def test_the_first_message_has_a_limit(tenant: Tenant, robot: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(board, "FIRST_JOBS", 2)
    jobs = [await tenant.job(items=1) for _ in range(3)]

    async with robot.follow(FOLLOW_BOARD) as stream:
        message = await stream.message()

    assert [job["id"] for job in message["jobs"]] == [str(each.job.id) for each in jobs[:0:-1]]


async def test_the_filter_decides_and_its_mistakes_are_named(tenant: Tenant, robot: Caller) -> None:
    await tenant.job(items=1, succeeded=1)
    failed, _ = await tenant.job(items=1, failed=1), await tenant.job(items=1)

    async with robot.follow(FOLLOW_BOARD, filter={"errorType": ["PORTAL"]}) as stream:
        message = await stream.message()
    async with robot.follow(FOLLOW_BOARD, filter={"search": "x"}) as stream:
        error = await stream.error_and_end()

    assert [job["id"] for job in message["jobs"]] == [str(failed.job.id)]
    assert error["extensions"]["code"] == "INVALID_INPUT"


# what changes


async def test_jobs_are_told_as_they_are_created_and_change(tenant: Tenant, api: Api) -> None:
    in_hand = await tenant.job(items=2)
    order, *_ = await tenant.orders(1)
    operator, robot = api.member(tenant), api.member(tenant, Role.ROBOT)

    async with robot.follow(FOLLOW_BOARD) as stream:
        client = Client(stream)
        await client.hear()
        await robot.do(REPORT, itemId=str(in_hand.items[0].id), status="SUCCESS")
        changed = await client.hear()
        created = (await operator.do(CREATE, carrier="COORDINADORA", orderIds=[str(order.id)]))["job"]
        new = await client.hear()

    assert [(job["id"], job["successCount"]) for job in changed["jobs"]] == [(str(in_hand.job.id), 1)]
    assert [job["id"] for job in new["jobs"]] == [created["id"]]
    assert (changed["isSnapshot"], changed["leftIds"]) == (False, [])


async def test_changes_are_merged_and_the_last_state_is_told_always(tenant: Tenant, robot: Caller) -> None:
    jobs = [await tenant.job(items=10) for _ in range(4)]

    async with watching(robot) as client:
        started_at = time.monotonic()
        for items in zip(*(each.items for each in jobs), strict=True):
            for item in items:
                await robot.do(REPORT, itemId=str(item.id), status="SUCCESS")
        await until(lambda: [job["status"] for job in client.jobs.values()] == ["COMPLETED"] * 4)
        elapsed_s = time.monotonic() - started_at

    assert 2 <= len(client.messages) <= elapsed_s * 4 + 2, "at most four a second, not one per item"
    for each in jobs:
        counts = [
            job["successCount"]
            for message in client.messages
            for job in message["jobs"]
            if job["id"] == str(each.job.id)
        ]
        assert counts == sorted(set(counts)), "each state once"


@pytest.mark.usefixtures("impatient")
async def test_changes_are_told_without_wake_ups_too(tenant: Tenant, robot: Caller, wakeups: MemoryWakeUps) -> None:
    in_hand = await tenant.job(items=1)
    wakeups.loses_all = True

    async with watching(robot) as client:
        await robot.do(REPORT, itemId=str(in_hand.items[0].id), status="SUCCESS")
        new = await tenant.job(items=1)
        await until(lambda: len(client.jobs) == 2)
        await until(lambda: client.jobs[str(in_hand.job.id)]["status"] == "COMPLETED")

    assert client.jobs.keys() == {str(in_hand.job.id), str(new.job.id)}


@pytest.mark.usefixtures("prompt")
async def test_nothing_is_said_while_nothing_changes(
    engine: AsyncEngine, tenant: Tenant, other_tenant: Tenant, robot: Caller, wakeups: MemoryWakeUps
) -> None:
    in_hand = await tenant.job(items=2, succeeded=1)

    async with watching(robot) as client:
        await settled(tenant, wakeups)
        with counted_statements(engine) as statements:
            wakeups.announce(tenant.workspace_id)
            await until(lambda: len(statements) >= 2)
            await wakeups.follower_waits(tenant.workspace_id)
        await other_tenant.job(items=1, failed=1)
        await settled(tenant, wakeups)
        await tenant.succeed(in_hand.items[1])
        wakeups.announce(tenant.workspace_id)
        await until(lambda: len(client.messages) > 1)

    assert len(statements) == 2, "who looks, and whether anything has changed"
    assert client.told == [str(in_hand.job.id)] * 2


@pytest.mark.usefixtures("prompt")
async def test_a_job_that_the_filter_takes_no_longer_is_named_and_others_are_not(
    tenant: Tenant, robot: Caller, wakeups: MemoryWakeUps
) -> None:
    never, leaving = await tenant.job(items=1, failed=1), await tenant.job(items=1)

    async with watching(robot, **ACTIVE) as client:
        await settled(tenant, wakeups)
        await tenant.retry(never.job.id)  # comes
        wakeups.announce(tenant.workspace_id)
        await until(lambda: len(client.messages) == 2)
        await tenant.succeed(leaving.items[0])
        wakeups.announce(tenant.workspace_id)
        await until(lambda: len(client.messages) == 3)
        other = await tenant.job(items=1, succeeded=1)  # never was on this board
        await settled(tenant, wakeups)
        await tenant.fail(never.items[0], attempt=2)
        wakeups.announce(tenant.workspace_id)
        await until(lambda: len(client.messages) == 4)

    assert [message["leftIds"] for message in client.messages] == [[], [], [str(leaving.job.id)], [str(never.job.id)]]
    assert client.told == [str(leaving.job.id), str(never.job.id)]
    assert str(other.job.id) not in client.told


@pytest.mark.usefixtures("prompt", "impatient")
async def test_a_search_and_error_types_are_asked_of_jobs_as_they_change(tenant: Tenant, robot: Caller) -> None:
    [ana, _], named = await tenant.orders(2), await tenant.orders_named("ZX-81")
    found, other = await tenant.job(orders=named), await tenant.job(orders=[ana])

    async with watching(robot, search="zx-8") as by_search, watching(robot, errorType=["PORTAL"]) as by_error:
        await tenant.fail(other.items[0])
        await until(lambda: by_error.jobs.keys() == {str(other.job.id)})
        await tenant.fail(found.items[0])
        await until(lambda: by_search.jobs[str(found.job.id)]["errorCount"] == 1)
        await tenant.retry(found.job.id)
        await until(lambda: by_error.jobs.keys() == {str(other.job.id)} and len(by_error.messages) >= 4)

    assert set(by_search.told) == {str(found.job.id)}
    assert by_error.messages[-1]["leftIds"] == [str(found.job.id)]


@pytest.mark.usefixtures("prompt", "impatient")
async def test_a_job_that_is_gone_is_named(
    database: Database, engine: AsyncEngine, tenant: Tenant, robot: Caller
) -> None:
    in_hand = await tenant.job(items=1)
    superuser = create_async_engine(database.superuser_url)

    async with watching(robot) as client:
        async with superuser.begin() as connection:
            await connection.execute(sa.delete(robot_jobs).where(robot_jobs.c.id == in_hand.job.id))
        await until(lambda: client.messages[-1]["leftIds"] == [str(in_hand.job.id)])

    assert client.jobs == {}
    await superuser.dispose()


@pytest.mark.usefixtures("never_far")
async def test_more_than_fits_in_a_message_follows_in_others(
    tenant: Tenant, robot: Caller, wakeups: MemoryWakeUps, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(board, "TOLD_AT_ONCE", 3)

    async with watching(robot) as client:
        await settled(tenant, wakeups, looks=1)
        jobs = [await tenant.job(items=1) for _ in range(7)]
        wakeups.announce(tenant.workspace_id)
        await until(lambda: len(client.jobs) == 7)

    assert [len(message["jobs"]) for message in client.messages] == [0, 3, 3, 1]
    assert sorted(client.told) == sorted(str(each.job.id) for each in jobs)


# in which order transactions commit


@asynccontextmanager
async def transaction(engine: AsyncEngine, tenant: Tenant) -> AsyncIterator[AsyncConnection]:
    """One within the workspace, rolled back unless it is committed."""
    async with engine.connect() as connection:
        await connection.begin()
        await enter_workspace(connection, tenant.user(Role.OPERATOR), tenant.workspace_id)
        yield connection


async def create(connection: AsyncConnection, tenant: Tenant, order_id: uuid.UUID) -> str:
    created = await create_robot_job(
        connection,
        workspace_id=tenant.workspace_id,
        created_by=tenant.user(Role.OPERATOR),
        carrier=Carrier.COORDINADORA,
        selection=OrderSelection([order_id]),
    )
    return str(created.job.id)


async def succeed(connection: AsyncConnection, tenant: Tenant, item_id: uuid.UUID) -> None:
    result = ItemResult(item_id=item_id, status=ResultStatus.SUCCESS, tracking_number=f"T-{item_id}")
    await update_job_item_result(connection, result, reported_by=tenant.user(Role.OPERATOR))


@pytest.mark.usefixtures("prompt")
@pytest.mark.parametrize("looks", ["near", "far"])
async def test_what_commits_late_is_told_although_later_ones_were_told_before(
    engine: AsyncEngine,
    tenant: Tenant,
    robot: Caller,
    wakeups: MemoryWakeUps,
    monkeypatch: pytest.MonkeyPatch,
    looks: str,
) -> None:
    if looks == "near":
        monkeypatch.setattr(streams, "READ_AT_LEAST_EVERY_S", 3_600)
    else:
        monkeypatch.setattr(streams, "READ_AT_LEAST_EVERY_S", 0.02)
        monkeypatch.setattr(board, "LOOK_BACK_S", 0.0)
    first, second = await tenant.orders(2)

    async with watching(robot) as client:
        async with transaction(engine, tenant) as earlier, transaction(engine, tenant) as later:
            late = await create(earlier, tenant, first.id)
            early = await create(later, tenant, second.id)
            await later.commit()
            wakeups.announce(tenant.workspace_id)
            await until(lambda: client.told == [early])
            await settled(tenant, wakeups)
            await earlier.commit()
        wakeups.announce(tenant.workspace_id)
        await until(lambda: client.told == [early, late])


@pytest.mark.usefixtures("prompt", "impatient")
async def test_a_job_on_the_board_is_looked_at_however_long_its_transaction_took(
    engine: AsyncEngine, tenant: Tenant, robot: Caller, wakeups: MemoryWakeUps, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_hand = await tenant.job(items=2)
    for name in ("LOOK_BACK_S", "LOOK_FAR_BACK_S"):
        monkeypatch.setattr(board, name, 0.0)

    async with watching(robot) as client:
        async with transaction(engine, tenant) as connection:
            await succeed(connection, tenant, in_hand.items[0].id)
            await settled(tenant, wakeups)
            await connection.commit()
        await until(lambda: client.jobs[str(in_hand.job.id)]["successCount"] == 1)


Step = tuple[str, int]
_steps = st.lists(
    st.tuples(st.sampled_from(["create", "succeed", "succeed", "commit", "commit", "look", "join"]), st.integers(0, 9)),
    min_size=8,
    max_size=30,
)


@pytest.mark.usefixtures("prompt", "never_far")
@settings(
    max_examples=12,
    deadline=None,
    database=None,
    phases=[Phase.generate],  # a failure is short enough to read as it is; shrinking it would take minutes
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(steps=_steps)
async def test_who_applies_the_messages_shows_the_board_whatever_commits_when(
    database: Database, engine: AsyncEngine, api: Api, wakeups: MemoryWakeUps, steps: list[Step]
) -> None:
    tenant = await make_tenant(database.urls, engine)
    robot = api.member(tenant, Role.ROBOT)
    orders = iter(await tenant.orders(len(steps)))
    before = [await tenant.job(items=4) for _ in range(3)]
    free = {each.job.id: list(each.items) for each in before}

    async with AsyncExitStack() as clients_end, AsyncExitStack() as transactions_end:
        clients = [await clients_end.enter_async_context(watching(robot))]
        active = [await clients_end.enter_async_context(watching(robot, **ACTIVE))]
        running: list[tuple[AsyncConnection, Callable[[], None]]] = []
        for name, number in steps:
            match name:
                case "create":
                    connection = await transactions_end.enter_async_context(transaction(engine, tenant))
                    await create(connection, tenant, next(orders).id)
                    running.append((connection, partial(free.update, {})))
                case "succeed" if free:
                    job_id = sorted(free)[number % len(free)]
                    items = free.pop(job_id)  # its row is locked until the commit
                    connection = await transactions_end.enter_async_context(transaction(engine, tenant))
                    await succeed(connection, tenant, items.pop().id)
                    running.append((connection, partial(free.update, {job_id: items} if items else {})))
                case "commit" if running:
                    connection, is_done = running.pop(number % len(running))
                    await connection.commit()
                    is_done()
                    if number % 3:
                        wakeups.announce(tenant.workspace_id)
                case "look":
                    await settled(tenant, wakeups, looks=number % 3)
                case "join":
                    (active if number % 2 else clients).append(
                        await clients_end.enter_async_context(watching(robot, **(ACTIVE if number % 2 else {})))
                    )
        for connection, _ in reversed(running):
            await connection.commit()
        wakeups.announce(tenant.workspace_id)

        truth = await _truth(robot)
        for client in clients:
            await shows(client, lambda jobs: jobs == truth)
        only_active = {job_id: job for job_id, job in truth.items() if job["status"] in ACTIVE["status"]}
        for client in active:
            await shows(client, lambda jobs: jobs == only_active)
        await settled(tenant, wakeups)
        assert [client.jobs for client in clients] == [truth] * len(clients)

    for client in (*clients, *active):
        for shown_id in truth:
            counts = [
                job["successCount"] for message in client.messages for job in message["jobs"] if job["id"] == shown_id
            ]
            assert counts == sorted(set(counts)), "each state once, and never an older one after a newer one"


async def _truth(caller: Caller) -> dict[str, Any]:
    """All jobs, as the list has them."""
    fields = "id status totalItems successCount errorCount"
    listed = await caller.ask(f"{{ robotJobs(first: 100) {{ nodes {{ {fields} }} pageInfo {{ hasNextPage }} }} }}")
    assert not listed["robotJobs"]["pageInfo"]["hasNextPage"]
    return {node["id"]: node for node in listed["robotJobs"]["nodes"]}


# those who fall behind, and boards that are full


@asynccontextmanager
async def stalled(caller: Caller, wakeups: MemoryWakeUps, tenant: Tenant) -> AsyncIterator[tuple[Client, Client]]:
    """One who has heard the first message and takes no other yet, and one who hears on."""
    async with caller.follow(FOLLOW_BOARD) as stream, watching(caller) as lively:
        slow = Client(stream)
        await slow.hear()
        await settled(tenant, wakeups, looks=1)
        yield slow, lively


def small(monkeypatch: pytest.MonkeyPatch, jobs: int) -> None:
    """Let boards hold that many jobs."""
    monkeypatch.setattr(board, "FIRST_JOBS", jobs)
    monkeypatch.setattr(board, "KEPT_JOBS", jobs)


async def change(tenant: Tenant, wakeups: MemoryWakeUps, lively: Client, work: Any) -> Any:
    """Do it, and let the lively one be told."""
    heard = len(lively.messages)
    done = await work
    wakeups.announce(tenant.workspace_id)
    await until(lambda: len(lively.messages) > heard)
    return done


@pytest.mark.usefixtures("prompt")
async def test_who_was_away_is_told_the_newest_state_of_each_job_once(
    tenant: Tenant, robot: Caller, wakeups: MemoryWakeUps
) -> None:
    first, second = await tenant.job(items=5), await tenant.job(items=5)

    async with stalled(robot, wakeups, tenant) as (slow, lively):
        for item in (first.items[0], *second.items[:2], *first.items[1:3]):
            await change(tenant, wakeups, lively, tenant.succeed(item))
        message = await slow.hear()

    assert [(job["id"], job["successCount"]) for job in message["jobs"]] == [
        (str(second.job.id), 2),
        (str(first.job.id), 3),
    ]
    assert slow.jobs == lively.jobs


@pytest.mark.usefixtures("prompt")
async def test_jobs_that_are_pushed_out_are_named_and_come_back_when_they_change(
    tenant: Tenant, robot: Caller, wakeups: MemoryWakeUps, monkeypatch: pytest.MonkeyPatch
) -> None:
    small(monkeypatch, 3)
    oldest = await tenant.job(items=1)

    async with watching(robot) as client:
        await settled(tenant, wakeups, looks=1)
        others = [await change(tenant, wakeups, client, tenant.job(items=1)) for _ in range(3)]
        shown = [str(each.job.id) for each in others]
        assert list(client.jobs) == shown
        assert client.messages[-1]["leftIds"] == [str(oldest.job.id)]
        await settled(tenant, wakeups)
        assert list(client.jobs) == shown, "it is pushed out once"
        await change(tenant, wakeups, client, tenant.succeed(oldest.items[0]))

    assert list(client.jobs) == [*shown[1:], str(oldest.job.id)]
    assert client.messages[-1]["leftIds"] == [shown[0]]


@pytest.mark.usefixtures("prompt")
async def test_a_job_that_was_pushed_out_is_on_the_board_of_who_comes_then(
    tenant: Tenant, robot: Caller, wakeups: MemoryWakeUps, monkeypatch: pytest.MonkeyPatch
) -> None:
    small(monkeypatch, 2)
    jobs = [await tenant.job(items=1) for _ in range(2)]

    async with watching(robot, **ACTIVE) as early:
        await settled(tenant, wakeups, looks=1)
        new = await change(tenant, wakeups, early, tenant.job(items=1))
        assert early.messages[-1]["leftIds"] == [str(jobs[0].job.id)]
        await tenant.succeed(new.items[0])  # now two are active, of which one was pushed out
        wakeups.announce(tenant.workspace_id)
        await until(lambda: len(early.jobs) == 1)
        async with watching(robot, **ACTIVE) as late:
            assert late.jobs.keys() == {str(each.job.id) for each in jobs}
            await tenant.succeed(jobs[0].items[0])
            wakeups.announce(tenant.workspace_id)
            await until(lambda: late.jobs.keys() == {str(jobs[1].job.id)})


@pytest.mark.usefixtures("prompt")
async def test_who_is_further_behind_than_what_is_kept_begins_anew(
    tenant: Tenant, robot: Caller, wakeups: MemoryWakeUps, monkeypatch: pytest.MonkeyPatch
) -> None:
    small(monkeypatch, 2)

    async with stalled(robot, wakeups, tenant) as (slow, lively):
        for _ in range(5):
            await change(tenant, wakeups, lively, tenant.job(items=1))
            (feed,) = robot.streams._feeds.values()
            assert isinstance(feed, board.BoardFeed)
            assert max(len(feed._shown), len(feed._left)) <= 2, "bounded, however slow anybody is"
        message = await slow.hear()
        new = await change(tenant, wakeups, lively, tenant.job(items=1))
        await until(lambda: str(new.job.id) in lively.jobs)
        follows = await slow.hear()

    assert (message["isSnapshot"], len(message["jobs"])) == (True, 2)
    assert (follows["isSnapshot"], str(new.job.id) in slow.jobs) == (False, True)
    assert [each["isSnapshot"] for each in lively.messages].count(True) == 1


@pytest.mark.usefixtures("prompt", "never_far")
async def test_more_changes_at_once_than_are_kept_let_everybody_begin_anew(
    tenant: Tenant, robot: Caller, wakeups: MemoryWakeUps, monkeypatch: pytest.MonkeyPatch
) -> None:
    small(monkeypatch, 2)
    await tenant.job(items=1)

    async with watching(robot) as first, watching(robot) as second:
        await settled(tenant, wakeups)
        jobs = [await tenant.job(items=1) for _ in range(3)]
        wakeups.announce(tenant.workspace_id)
        newest = {str(each.job.id) for each in jobs[1:]}
        for client in (first, second):
            await shows(client, lambda jobs: jobs.keys() == newest)
        await settled(tenant, wakeups)
        heard = len(first.messages)
        await settled(tenant, wakeups)

    assert [each["isSnapshot"] for each in first.messages].count(True) == 2
    assert len(first.messages) == heard
    assert first.jobs.keys() == newest, "what there was no room for is not told later"


# what it costs


async def test_a_look_costs_the_same_however_many_jobs_have_changed(
    engine: AsyncEngine, tenant: Tenant, robot: Caller, wakeups: MemoryWakeUps, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "READ_AT_LEAST_EVERY_S", 3_600)

    async def cost(count: int) -> tuple[int, int]:
        """The statements of a first message, and those of the look that finds that many jobs."""
        with counted_statements(engine) as statements:
            async with robot.follow(FAILURES) as stream:
                await stream.message()
                first = len(statements)
                hearing = asyncio.create_task(stream.message())
                await settled(tenant, wakeups, looks=1)
                jobs = [await tenant.job(items=2, failed=1) for _ in range(count)]
                statements.clear()
                wakeups.announce(tenant.workspace_id)
                message = await hearing
        assert {job["id"] for job in message["jobs"]} == {str(each.job.id) for each in jobs}
        assert all(job["failures"] == [{"count": 1}] for job in message["jobs"])
        assert all(job["progress"]["itemsPerMinute"] > 0 for job in message["jobs"])
        return first, len(statements)

    await tenant.job(items=2, failed=1)
    assert await cost(1) == (4, 5)
    assert await cost(12) == (4, 5)


@pytest.mark.usefixtures("prompt", "never_far")
async def test_what_is_not_on_the_board_is_asked_for_once(
    engine: AsyncEngine, tenant: Tenant, robot: Caller, wakeups: MemoryWakeUps
) -> None:
    async with watching(robot, **ACTIVE):
        await tenant.job(items=1, succeeded=1)
        await settled(tenant, wakeups)
        with counted_statements(engine) as statements:
            await settled(tenant, wakeups)

    assert len(statements) == 2 * sum("enter_workspace" in each for each in statements) > 0


async def test_what_is_not_asked_of_the_jobs_is_not_read(engine: AsyncEngine, tenant: Tenant, robot: Caller) -> None:
    await tenant.job(items=2, failed=1)
    documents = {
        "subscription { robotJobsChanged { jobs { id } } }": 2,
        "subscription { robotJobsChanged { ...Board } } fragment Board on RobotJobsChanged "
        "{ shown: jobs { id progress { pending } } }": 3,
        "subscription ($is: Boolean = false) { robotJobsChanged { jobs { id failures @include(if: $is) { count } } } }"
        "": 2,
    }

    for document, expected in documents.items():
        with counted_statements(engine) as statements:
            async with robot.follow(document) as stream:
                await stream.message()
        assert len(statements) == expected, statements


async def test_what_a_board_asks_counts_as_much_as_a_list_of_a_hundred_jobs(tenant: Tenant, robot: Caller) -> None:
    documents = {
        f"subscription {{ robotJobsChanged {{ jobs {{ items(first: {first}) {{ nodes {{ id }} }} }} }} }}": first
        for first in (48, 49)
    }

    refused = []
    for document, first in documents.items():
        async with robot.follow(document) as stream:
            if await stream.codes() == {"QUERY_TOO_COMPLEX"}:
                refused.append(first)

    assert refused == [49]


async def test_what_hangs_on_the_jobs_of_a_message_is_read_for_all_at_once(
    engine: AsyncEngine, tenant: Tenant, robot: Caller
) -> None:
    document = "subscription { robotJobsChanged { jobs { id items(first: 5) { nodes { order { reference } } } } } }"
    for _ in range(6):
        await tenant.job(items=2)

    with counted_statements(engine) as statements:
        async with robot.follow(document) as stream:
            message = await stream.message()

    assert [len(job["items"]["nodes"]) for job in message["jobs"]] == [2] * 6
    assert len(statements) == 2 + 2 + 2, "the board, the items, the orders, each with who asks"


@asynccontextmanager
async def crowd(caller: Caller, count: int) -> AsyncIterator[list[Client]]:
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(watching(caller)) for _ in range(count)]


async def test_one_change_is_read_once_for_fifty_followers_and_told_with_one_object(
    engine: AsyncEngine, tenant: Tenant, robot: Caller, wakeups: MemoryWakeUps, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[Message] = []
    since = board.BoardFeed._since

    def note(feed: board.BoardFeed, place: int) -> Message:
        told.append(since(feed, place))
        return told[-1]

    monkeypatch.setattr(board.BoardFeed, "_since", note)
    in_hand = await tenant.job(items=1)

    async with crowd(robot, 50) as clients:
        await settled(tenant, wakeups, looks=1)
        await tenant.succeed(in_hand.items[0])
        with counted_statements(engine) as statements:
            wakeups.announce(tenant.workspace_id)
            for client in clients:
                await shows(client, lambda jobs: all(job["status"] == "COMPLETED" for job in jobs.values()))

    assert sum("enter_workspace" in each for each in statements) == 1, statements
    assert len(told) == 50
    assert len({id(each) for each in told}) == 1


async def test_feeds_are_shared_by_those_alone_who_watch_and_may_see_the_same(
    tenant: Tenant, other_tenant: Tenant, api: Api
) -> None:
    robot = api.member(tenant, Role.ROBOT)
    limited, unlimited = await tenant.key("limited", carriers=[Carrier.COORDINADORA]), await tenant.key("unlimited")

    async with AsyncExitStack() as stack:
        for caller in (robot, api.member(tenant), api.robot(unlimited.secret)):
            await stack.enter_async_context(watching(caller))
        assert len(api.streams._feeds) == 1
        await stack.enter_async_context(watching(api.robot(limited.secret)))
        assert len(api.streams._feeds) == 2, "a key that sees some carriers' jobs only"
        await stack.enter_async_context(watching(api.member(other_tenant)))
        assert len(api.streams._feeds) == 3
        await stack.enter_async_context(watching(robot, **ACTIVE))
        await stack.enter_async_context(watching(api.member(tenant), **ACTIVE))
        assert len(api.streams._feeds) == 4
        failing = await stack.enter_async_context(robot.follow(FAILURES))
        await failing.message()
        assert len(api.streams._feeds) == 5


async def test_a_board_that_nobody_watches_any_more_costs_nothing(
    engine: AsyncEngine, tenant: Tenant, api: Api, robot: Caller, wakeups: MemoryWakeUps
) -> None:
    async with crowd(robot, 3):
        await wakeups.follower_waits(tenant.workspace_id)
        assert int(engine.pool.checkedout()) == 0, "while there is nothing to tell"  # type: ignore[attr-defined]  # a queue pool counts

    assert wakeups.watched[tenant.workspace_id] == []
    assert (api.streams._feeds, api.streams._followers, api.streams._asking) == ({}, set(), None)


# races


class Pause:
    """Holds up the looks of boards: `reached` when one has looked and not yet told, until `go` is set."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
        self.reached, self.go = asyncio.Event(), asyncio.Event()
        find = getattr(domain.robot_jobs, step)

        async def find_and_wait(*arguments: Any, **options: Any) -> Any:
            found = await find(*arguments, **options)
            self.reached.set()
            await self.go.wait()
            return found

        monkeypatch.setattr(board, step, find_and_wait)


@pytest.mark.usefixtures("prompt")
@pytest.mark.parametrize("step", ["find_changed_jobs", "find_jobs_on_board"])
async def test_who_joins_between_a_look_and_its_telling_misses_nothing_and_hears_nothing_twice(
    tenant: Tenant, robot: Caller, wakeups: MemoryWakeUps, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    known, told_late = await tenant.job(items=2), await tenant.job(items=2)

    async with watching(robot) as early:
        await settled(tenant, wakeups)
        pause = Pause(monkeypatch, step)
        await tenant.succeed(known.items[0])
        wakeups.announce(tenant.workspace_id)
        await pause.reached.wait()  # the reader knows of that one, and has told nobody
        await tenant.succeed(told_late.items[0])
        new = await tenant.job(items=1)
        async with watching(robot) as late:
            await until(lambda: len(early.jobs) == 3)  # what the newcomer's look has found is news for all
            pause.go.set()
            wakeups.announce(tenant.workspace_id)
            await settled(tenant, wakeups)
            await tenant.succeed(new.items[0])
            wakeups.announce(tenant.workspace_id)
            for client in (early, late):
                await shows(client, lambda jobs: jobs[str(new.job.id)]["successCount"] == 1)

    assert late.jobs == early.jobs
    assert late.told[3:] == [str(new.job.id)]
    assert sorted(early.told[2:]) == sorted(str(each.job.id) for each in (known, told_late, new, new))


@pytest.mark.usefixtures("prompt")
async def test_what_was_told_before_somebody_came_is_not_told_to_the_newcomer(
    tenant: Tenant, robot: Caller, wakeups: MemoryWakeUps, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(board, "FIRST_JOBS", 2)
    jobs = [await tenant.job(items=2) for _ in range(3)]

    async with watching(robot) as early:
        await settled(tenant, wakeups)
        assert len(early.jobs) == 3, "the third has changed within the last minute"
        async with watching(robot) as late:
            await settled(tenant, wakeups)
            await change(tenant, wakeups, late, tenant.succeed(jobs[0].items[0]))

    assert late.told == [str(each.job.id) for each in (jobs[2], jobs[1], jobs[0])]


@asynccontextmanager
async def slow_newcomer(
    caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[Client, asyncio.Event, asyncio.Task[Any]]]:
    """One whose first look has seen the board, and who is not told before the event is set."""
    read_first = board.Board.read_first
    looked, go = asyncio.Event(), asyncio.Event()

    async def look_and_wait(*arguments: Any) -> Any:
        found = await read_first(*arguments)
        if not looked.is_set():
            looked.set()
            await go.wait()
        return found

    monkeypatch.setattr(board.Board, "read_first", look_and_wait)
    async with caller.follow(FOLLOW_BOARD, filter=ACTIVE) as stream:
        client = Client(stream)
        hearing = asyncio.create_task(client.hear())
        await looked.wait()
        yield client, go, hearing


@pytest.mark.usefixtures("prompt", "never_far")
async def test_what_a_newcomer_has_not_seen_yet_is_told_though_others_were_told_before_it_joined(
    tenant: Tenant, robot: Caller, wakeups: MemoryWakeUps, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_hand, leaving = await tenant.job(items=2), await tenant.job(items=1)

    async with watching(robot, **ACTIVE) as early:
        await settled(tenant, wakeups)
        async with slow_newcomer(robot, monkeypatch) as (late, go, hearing):
            for item in (in_hand.items[0], leaving.items[0]):
                await tenant.succeed(item)
            wakeups.announce(tenant.workspace_id)
            await until(lambda: early.jobs.keys() == {str(in_hand.job.id)})
            go.set()
            await hearing
            assert late.jobs[str(in_hand.job.id)]["successCount"] == 0
            await late.hear()

    assert late.jobs == early.jobs
    assert late.jobs[str(in_hand.job.id)]["successCount"] == 1


@pytest.mark.usefixtures("prompt", "never_far")
async def test_a_job_that_nobody_knew_of_and_that_left_during_a_newcomers_look_is_named_to_the_newcomer(
    tenant: Tenant, robot: Caller, wakeups: MemoryWakeUps, monkeypatch: pytest.MonkeyPatch
) -> None:
    leaving, newer = await tenant.job(items=1), await tenant.job(items=2)
    monkeypatch.setattr(board, "FIRST_JOBS", 1)
    for name in ("LOOK_BACK_S", "LOOK_FAR_BACK_S"):
        monkeypatch.setattr(board, name, 0.0)

    async with watching(robot, **ACTIVE) as early:
        await settled(tenant, wakeups)
        assert early.jobs.keys() == {str(newer.job.id)}
        monkeypatch.setattr(board, "FIRST_JOBS", 2)
        async with slow_newcomer(robot, monkeypatch) as (late, go, hearing):
            await tenant.succeed(leaving.items[0])
            await change(tenant, wakeups, early, tenant.succeed(newer.items[0]))
            go.set()
            await hearing
            assert str(leaving.job.id) in late.jobs
            await late.hear()

    assert late.jobs == early.jobs
    assert late.jobs.keys() == {str(newer.job.id)}


@pytest.mark.usefixtures("prompt", "never_far")
async def test_a_newcomer_begins_anew_when_too_much_has_changed_during_its_look(
    tenant: Tenant, robot: Caller, wakeups: MemoryWakeUps, monkeypatch: pytest.MonkeyPatch
) -> None:
    small(monkeypatch, 2)
    first, second = await tenant.job(items=2), await tenant.job(items=1)

    async with watching(robot, **ACTIVE) as early:
        await settled(tenant, wakeups)
        async with slow_newcomer(robot, monkeypatch) as (late, go, hearing):
            await tenant.succeed(first.items[0])
            await tenant.succeed(second.items[0])
            await change(tenant, wakeups, early, tenant.job(items=1))  # three have changed, two are kept
            go.set()
            await hearing
            assert late.jobs.keys() == {str(first.job.id), str(second.job.id)}
            assert (await late.hear())["isSnapshot"]
            await shows(early, lambda jobs: jobs == late.jobs)


# access, and a database that goes away


@pytest.mark.usefixtures("prompt")
async def test_who_loses_access_is_told_why_and_the_others_go_on(
    database: Database, tenant: Tenant, api: Api, wakeups: MemoryWakeUps
) -> None:
    in_hand = await tenant.job(items=1)

    async with api.member(tenant, Role.VIEWER).follow(FOLLOW_BOARD) as losing:
        await losing.message()  # it is the first, in whose scope is read
        ending = asyncio.create_task(losing.error_and_end())
        async with watching(api.member(tenant, Role.ADMIN)) as staying:
            await settled(tenant, wakeups, looks=1)
            await remove_member(database, tenant, Role.VIEWER)
            await tenant.succeed(in_hand.items[0])
            wakeups.announce(tenant.workspace_id)
            await until(lambda: staying.jobs[str(in_hand.job.id)]["status"] == "COMPLETED")
            error = await ending

    assert error["extensions"]["code"] == "NOT_A_MEMBER"


@pytest.mark.usefixtures("prompt")
async def test_who_reads_slowly_is_told_nothing_after_access_was_lost(
    database: Database, tenant: Tenant, api: Api, wakeups: MemoryWakeUps, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "ACCESS_ASKED_EVERY_S", 0.02)
    in_hand = await tenant.job(items=1)

    async with api.member(tenant, Role.VIEWER).follow(FOLLOW_BOARD) as slow:
        await slow.message()
        (follower,) = api.streams._followers
        async with watching(api.member(tenant, Role.ADMIN)) as other:
            await settled(tenant, wakeups, looks=1)
            await change(tenant, wakeups, other, tenant.succeed(in_hand.items[0]))  # there is something to tell
            await remove_member(database, tenant, Role.VIEWER)
            await until(lambda: follower.is_overdue(time.monotonic()))
            error = await slow.error_and_end()

    assert error["extensions"]["code"] == "NOT_A_MEMBER"


@contextmanager
def away(engine: AsyncEngine) -> Iterator[None]:
    """The database cannot be reached."""

    def refuse(*_: object) -> None:
        raise ConnectionResetError("the network is cut")

    sa.event.listen(engine.sync_engine, "before_cursor_execute", refuse)
    try:
        yield
    finally:
        sa.event.remove(engine.sync_engine, "before_cursor_execute", refuse)


@pytest.mark.usefixtures("prompt")
async def test_a_look_that_fails_is_made_again_from_where_the_last_good_one_was(
    database: Database,
    tenant: Tenant,
    wakeups: MemoryWakeUps,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(streams, "TRY_AGAIN_AFTER_S", 0.02)
    monkeypatch.setattr(board, "LOOK_BACK_S", 0.0)
    monkeypatch.setattr(board, "LOOK_FAR_BACK_S", 0.0)
    own_engine = create_async_engine(database.urls.app, pool_size=5, max_overflow=0)

    async with watching(Api(own_engine, wakeups).member(tenant)) as client:
        await settled(tenant, wakeups)
        with away(own_engine):
            in_hand = await tenant.job(items=1)
            wakeups.announce(tenant.workspace_id)
            await until(lambda: "cannot be read now" in caplog.text)
        await until(lambda: client.jobs.keys() == {str(in_hand.job.id)})
    await streams.Repeated.finish_all(TIME_LIMIT_S)
    await own_engine.dispose()


@pytest.mark.usefixtures("prompt", "never_far")
async def test_a_clock_that_is_set_back_loses_nothing(
    tenant: Tenant, robot: Caller, wakeups: MemoryWakeUps, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with watching(robot) as client:
        await settled(tenant, wakeups)
        (feed,) = robot.streams._feeds.values()
        assert isinstance(feed, board.BoardFeed)
        feed._looked_at += dt.timedelta(hours=1)
        new = await change(tenant, wakeups, client, tenant.job(items=1))

    assert client.jobs.keys() == {str(new.job.id)}
