"""Old events go from the front of finished jobs' streams; what is left has no gap, and active jobs keep all."""

import asyncio
import datetime as dt
import random
from contextlib import suppress

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from domain.errors import DomainError
from domain.events import EventType, events
from domain.retention import JOBS_AT_MOST, RemovedEvents, remove_old_events
from domain.robot_jobs import (
    EventsRemoved,
    ItemResult,
    JobStatus,
    ResultStatus,
    RobotJob,
    read_completions,
    robot_jobs,
)
from domain.workspaces import enter_all_workspaces
from tests.conftest import database, engine
from tests.domain.ledger import at_once, counted_statements
from tests.tenants import Tenant

__all__ = ["database", "engine"]  # of each test's own: a sweep goes through all that there is

NOW = dt.timedelta(0)
PERIOD = dt.timedelta(days=90)


async def sweep(engine: AsyncEngine, older_than: dt.timedelta = NOW, **options: int) -> RemovedEvents:
    async with engine.begin() as connection:
        await enter_all_workspaces(connection)
        return await remove_old_events(connection, older_than=older_than, **options)


async def age(tenant: Tenant, job: RobotJob, *, finished: dt.timedelta, changed: dt.timedelta | None = None) -> None:
    """As if the job had finished, and last changed, so long ago."""
    async with tenant.work() as connection:
        await connection.execute(
            sa.update(robot_jobs)
            .where(robot_jobs.c.id == job.id)
            .values(
                completed_at=sa.func.clock_timestamp() - finished,
                updated_at=sa.func.clock_timestamp() - (finished if changed is None else changed),
            )
        )


async def left(tenant: Tenant, job: RobotJob) -> list[int]:
    """The numbers of the events that are left, which are those after what the job says has been removed."""
    read = (await tenant.read(job.id)).job
    numbers = [event.seq for event in await tenant.events(job.id)]
    assert numbers == list(range(read.removed_event_seq + 1, read.last_event_seq + 1))
    assert read.has_events == bool(numbers)
    return numbers


async def test_a_finished_job_loses_its_events_after_the_period(tenant: Tenant, engine: AsyncEngine) -> None:
    old, young = (await tenant.job(items=2, succeeded=1, failed=1)).job, (await tenant.job(items=1, failed=1)).job
    await age(tenant, old, finished=PERIOD + dt.timedelta(minutes=1))
    await age(tenant, young, finished=PERIOD - dt.timedelta(minutes=1))
    before = await left(tenant, young)

    removed = await sweep(engine, PERIOD)

    assert removed == RemovedEvents(old.last_event_seq, has_more=False)
    assert await left(tenant, old) == []
    assert await left(tenant, young) == before != []
    assert (await tenant.read(old.id)).job.status is JobStatus.COMPLETED
    assert await sweep(engine, PERIOD) == RemovedEvents(0, has_more=False), "doing it again changes nothing"


@pytest.mark.parametrize("status", [JobStatus.FAILED, JobStatus.CANCELLED])
async def test_failed_and_cancelled_jobs_are_finished_too(
    tenant: Tenant, engine: AsyncEngine, status: JobStatus
) -> None:
    job = (await tenant.job(items=2, failed=1)).job
    await tenant.set_status(job.id, status)

    await sweep(engine)

    assert await left(tenant, job) == []


async def test_an_active_job_keeps_all_of_its_events(tenant: Tenant, engine: AsyncEngine) -> None:
    pending = (await tenant.job(items=1)).job
    processing = (await tenant.job(items=3, failed=2)).job
    retried = (await tenant.job(items=1, failed=1)).job
    await tenant.retry(retried.id)

    removed = await sweep(engine)

    assert removed.count == 0
    for job in (pending, processing, retried):
        assert await left(tenant, job) == list(range(1, (await tenant.read(job.id)).job.last_event_seq + 1))


async def test_a_job_in_which_something_has_happened_since_keeps_its_events(
    tenant: Tenant, engine: AsyncEngine
) -> None:
    """A late result may be told long after a job has finished."""
    job = (await tenant.job(items=1, failed=1)).job
    await age(tenant, job, finished=2 * PERIOD, changed=PERIOD / 2)

    assert (await sweep(engine, PERIOD)).count == 0

    assert await left(tenant, job) != []


async def test_several_workspaces_are_swept_together(tenant: Tenant, other_tenant: Tenant, engine: AsyncEngine) -> None:
    jobs = [(each, (await each.job(items=1, failed=1)).job) for each in (tenant, other_tenant)]
    active = (await other_tenant.job(items=1)).job

    with counted_statements(engine) as sent:
        removed = await sweep(engine)

    assert removed.count == sum(job.last_event_seq for _, job in jobs)
    for each, job in jobs:
        assert await left(each, job) == []
    assert await left(other_tenant, active) == [1]
    assert len(sent) == 4, "as many for any number of jobs: enter, lock, remove, and the orders'"


async def test_a_batch_is_bounded_and_leaves_no_gap(tenant: Tenant, engine: AsyncEngine) -> None:
    jobs = [(await tenant.job(items=3, failed=3)).job for _ in range(2)]
    total = sum(job.last_event_seq for job in jobs)
    removed = 0

    while (batch := await sweep(engine, limit=4)).has_more:
        removed += batch.count
        assert batch.count == 4
        assert sum([len(await left(tenant, job)) for job in jobs]) == total - removed

    assert removed + batch.count == total
    assert [await left(tenant, job) for job in jobs] == [[], []]


async def test_more_jobs_than_one_batch_takes_are_more_to_do(
    tenant: Tenant, engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert JOBS_AT_MOST >= 100
    monkeypatch.setattr("domain.retention.JOBS_AT_MOST", 1)
    jobs = [(await tenant.job(items=1, succeeded=1)).job for _ in range(2)]

    assert [(await sweep(engine)).has_more for _ in range(3)] == [True, True, False]

    assert [await left(tenant, job) for job in jobs] == [[], []]


async def test_changes_of_orders_go_by_their_own_age(tenant: Tenant, engine: AsyncEngine) -> None:
    [order] = await tenant.orders(1)
    await tenant.change_order(order.id, stage="packed")
    assert (await sweep(engine, dt.timedelta(hours=1))).count == 0
    assert [event.type for event in await tenant.events(order.id)] == [EventType.ORDER_FIELD_CHANGED]

    assert await sweep(engine, limit=1) == RemovedEvents(1, has_more=True)

    assert await sweep(engine, limit=1) == RemovedEvents(0, has_more=False)
    assert await tenant.events(order.id) == []
    await tenant.change_order(order.id, stage="sent")
    assert [event.seq for event in await tenant.events(order.id)] == [2]


async def test_a_job_that_is_retried_after_the_sweep_goes_on_from_its_last_number(
    tenant: Tenant, engine: AsyncEngine
) -> None:
    in_hand = await tenant.job(items=2, succeeded=1, failed=1)
    await sweep(engine)
    await tenant.retry(in_hand.job.id)
    await tenant.succeed(in_hand.items[1])

    last = in_hand.job.last_event_seq
    numbers = await left(tenant, in_hand.job)
    async with tenant.work() as connection:
        read = await read_completions(connection, in_hand.job.id, after_seq=last)

    assert numbers[0] == last + 1
    assert [(told.item.id, told.item.attempt) for told in read.completions] == [(in_hand.items[1].id, 2)]
    assert read.is_all_told
    await sweep(engine)
    assert await left(tenant, in_hand.job) == [], "what has come since is removed in its turn"


async def test_nobody_reads_on_over_what_has_been_removed(tenant: Tenant, engine: AsyncEngine) -> None:
    job = (await tenant.job(items=3, succeeded=3)).job
    await sweep(engine, limit=3)

    async with tenant.work() as connection:
        for after_seq in (0, 1, 2):
            with pytest.raises(EventsRemoved):
                await read_completions(connection, job.id, after_seq=after_seq)
        assert (await read_completions(connection, job.id, after_seq=3)).completions


async def test_a_job_that_somebody_works_on_is_left_for_the_next_time(tenant: Tenant, engine: AsyncEngine) -> None:
    busy, idle = [(await tenant.job(items=1, failed=1)).job for _ in range(2)]

    async with tenant.work() as connection:
        await connection.execute(sa.select(robot_jobs).where(robot_jobs.c.id == busy.id).with_for_update())
        async with asyncio.timeout(10):
            await sweep(engine)
            assert await left(tenant, idle) == []
            assert await left(tenant, busy) != []

    await sweep(engine)
    assert await left(tenant, busy) == []


async def test_sweeps_retries_and_results_at_once_leave_no_gap_and_lose_nothing_of_active_jobs(
    tenant: Tenant, engine: AsyncEngine
) -> None:
    jobs = [await tenant.job(items=2, failed=2) for _ in range(4)]
    working = True

    async def sweeper() -> None:
        while working:
            await sweep(engine, limit=random.randint(1, 4))  # noqa: S311 -- no secret

    async def robot(number: int) -> None:
        in_hand = jobs[number]
        for _ in range(12):
            before = (await tenant.read(in_hand.job.id)).job.last_event_seq
            retried = await tenant.retry(in_hand.job.id)
            told = [event.seq for event in await tenant.events(in_hand.job.id)]
            assert before + 1 in told, "an active job keeps what has happened since the retry"
            for item in retried.items:
                with suppress(DomainError):
                    await tenant.report(ItemResult(item_id=item.id, status=ResultStatus.ERROR, error_message="no"))

    async def robots() -> None:
        nonlocal working
        try:
            await at_once(*(robot(number) for number in range(len(jobs))))
        finally:
            working = False

    await at_once(sweeper(), sweeper(), robots())

    for in_hand in jobs:
        job = (await tenant.read(in_hand.job.id)).job
        assert (job.status, job.error_count) == (JobStatus.COMPLETED, 2)
        await left(tenant, job)
    while (await sweep(engine)).has_more:
        pass
    async with tenant.work() as connection:
        assert await connection.scalar(sa.select(sa.func.count()).select_from(events)) == 0


async def test_no_index_is_on_what_each_result_writes(engine: AsyncEngine) -> None:
    """It would keep a job's row from being updated in place, and cost a new entry in every index of the table."""
    async with engine.begin() as connection:
        indexed = await connection.scalars(
            sa.text(
                "SELECT a.attname::text FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid "
                "WHERE i.indrelid = 'robot_jobs'::regclass "
                "AND pg_get_indexdef(i.indexrelid) ~ ('\\m' || a.attname || '\\M')"
            )
        )

    assert set(indexed) & {"last_event_seq", "updated_at", "success_count", "error_count", "has_events"} == {
        "has_events"
    }


@pytest.mark.parametrize("column", ["completed_at", "occurred_at"])
async def test_what_is_not_due_is_not_looked_at(engine: AsyncEngine, column: str) -> None:
    """An index is gone into at a time that stays the same throughout the statement, or else read from end to end."""
    sent: list[tuple[str, tuple[object, ...]]] = []

    def note(_connection: object, _cursor: object, statement: str, parameters: tuple[object, ...], *_: object) -> None:
        sent.append((statement, parameters))

    sa.event.listen(engine.sync_engine, "before_cursor_execute", note)
    await sweep(engine, PERIOD)
    sa.event.remove(engine.sync_engine, "before_cursor_execute", note)
    ((statement, parameters),) = [each for each in sent if f"{column} < " in each[0]]
    async with engine.begin() as connection:
        await enter_all_workspaces(connection)
        for scan in ("enable_seqscan", "enable_bitmapscan"):
            await connection.execute(sa.select(sa.func.set_config(scan, "off", True)))
        explained = await connection.exec_driver_sql(f"EXPLAIN {statement}", tuple(parameters))
        plan = "\n".join(row[0] for row in explained)

    assert f"Index Cond: ({column} <" in plan, plan
