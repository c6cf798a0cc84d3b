"""All or nothing: when the last statement of a transaction fails, nothing of the first ones is left."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from domain.robot_jobs import JobStatus
from tests.conftest import Database
from tests.tenants import Tenant


@asynccontextmanager
async def _refused_writes(database: Database, table: str, condition: str) -> AsyncIterator[None]:
    """Meanwhile the database refuses what does not meet the condition."""
    superuser = create_async_engine(database.superuser_url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    async with superuser.connect() as connection:
        await connection.execute(sa.text(f"ALTER TABLE {table} ADD CONSTRAINT broken CHECK ({condition}) NOT VALID"))
        try:
            yield
        finally:
            await connection.execute(sa.text(f"ALTER TABLE {table} DROP CONSTRAINT broken"))


async def _assert_leaves_nothing(
    database: Database, tenant: Tenant, table: str, condition: str, work: Callable[[], Awaitable[object]]
) -> None:
    before = await tenant.contents()
    async with _refused_writes(database, table, condition):
        with pytest.raises(IntegrityError, match="broken"):
            await work()
    assert await tenant.contents() == before
    await work()  # the same again goes through: nothing was in its way but the constraint


@pytest.mark.parametrize(
    ("table", "condition"),
    [
        ("robot_job_attempts", "status <> 'success'"),
        ("orders", "tracking_number IS NULL"),
        ("robot_jobs", "success_count = 0"),
        ("events", "type <> 'order/field.changed'"),
        ("events", "type <> 'robot/item.completed'"),
        ("events", "type <> 'robot/job.completed'"),
    ],
)
async def test_a_result_is_written_whole_or_not_at_all(
    database: Database, tenant: Tenant, table: str, condition: str
) -> None:
    in_hand = await tenant.job(items=1)

    await _assert_leaves_nothing(database, tenant, table, condition, lambda: tenant.succeed(in_hand.items[0]))


async def test_a_job_is_made_whole_or_not_at_all(database: Database, tenant: Tenant) -> None:
    order_ids = [order.id for order in await tenant.orders(2)]

    await _assert_leaves_nothing(
        database, tenant, "events", "type <> 'robot/job.submitted'", lambda: tenant.create(order_ids)
    )


async def test_a_retry_is_written_whole_or_not_at_all(database: Database, tenant: Tenant) -> None:
    in_hand = await tenant.job(items=3, failed=3)

    await _assert_leaves_nothing(
        database, tenant, "events", "type <> 'robot/items.retried'", lambda: tenant.retry(in_hand.job.id)
    )


async def test_a_failure_is_written_whole_or_not_at_all(database: Database, tenant: Tenant) -> None:
    in_hand = await tenant.job(items=3)

    await _assert_leaves_nothing(
        database,
        tenant,
        "events",
        "type <> 'robot/job.failed'",
        lambda: tenant.set_status(in_hand.job.id, JobStatus.FAILED),
    )


async def test_an_order_is_changed_with_its_events_or_not_at_all(database: Database, tenant: Tenant) -> None:
    [order] = await tenant.orders(1)

    await _assert_leaves_nothing(
        database,
        tenant,
        "events",
        "type <> 'order/field.changed'",
        lambda: tenant.change_order(order.id, stage="packed"),
    )
