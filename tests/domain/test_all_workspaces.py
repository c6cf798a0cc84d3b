"""The system role, spoken as SQL by the API's own login: it reads every workspace, and may do hardly anything there."""

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from domain.base import metadata
from domain.events import events
from domain.orders import orders
from domain.robot_jobs import robot_job_items, robot_jobs
from domain.workspaces import enter_all_workspaces, workspaces
from migrations.grants import SYSTEM_GRANTS
from tests.conftest import Database
from tests.own_database import database, engine
from tests.tenants import Tenant, make_tenant

__all__ = ["database", "engine"]  # fixtures

READABLE = (workspaces, robot_jobs, robot_job_items, events)


async def count(connection: AsyncConnection, table: sa.Table) -> int:
    return int(await connection.scalar(sa.select(sa.func.count()).select_from(table)) or 0)


async def who(connection: AsyncConnection) -> str:
    return str(await connection.scalar(sa.text("SELECT current_user")))


@pytest.fixture(scope="module")
async def two(database: Database, engine: AsyncEngine) -> tuple[Tenant, Tenant]:
    """Two tenants with a finished job each, and nobody else."""
    tenant, other = await make_tenant(database.urls, engine), await make_tenant(database.urls, engine)
    for each in (tenant, other):
        await each.job(items=2, succeeded=1, failed=1)
    return tenant, other


async def test_it_reads_what_several_workspaces_hold(two: tuple[Tenant, Tenant], engine: AsyncEngine) -> None:
    expected = {table.name: 0 for table in READABLE[1:]}
    for tenant in two:
        async with tenant.work() as connection:
            for table in READABLE[1:]:
                expected[table.name] += await count(connection, table)

    async with engine.begin() as connection:
        await enter_all_workspaces(connection)
        seen = {table.name: await count(connection, table) for table in READABLE[1:]}
        ids = await connection.scalars(sa.select(events.c.workspace_id).distinct())
        assert set(ids) == {tenant.workspace_id for tenant in two}
        assert await count(connection, workspaces) == 2

    assert seen == expected
    assert all(seen.values())


@pytest.mark.parametrize("name", sorted(set(metadata.tables) - set(SYSTEM_GRANTS)))
async def test_it_may_not_read_what_it_does_not_need(
    two: tuple[Tenant, Tenant], engine: AsyncEngine, name: str
) -> None:
    async with engine.begin() as connection:
        await enter_all_workspaces(connection)
        with pytest.raises(ProgrammingError, match=f"permission denied for table {name}"):
            await count(connection, metadata.tables[name])


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE events SET payload = '{}'",
        "UPDATE robot_jobs SET total_items = 1",
        "UPDATE robot_jobs SET workspace_id = gen_random_uuid()",
        "UPDATE robot_job_items SET value_sent = '{}'",
        "UPDATE robot_job_items SET order_id = gen_random_uuid()",
        "UPDATE robot_job_attempts SET status = 'success'",
        "DELETE FROM robot_job_attempts",
        "UPDATE orders SET tracking_number = '1'",
        "DELETE FROM robot_job_items",
        "DELETE FROM robot_jobs",
        "DELETE FROM workspaces",
        "TRUNCATE events",
        "CREATE TABLE mine (id int)",
    ],
)
async def test_it_may_not_write_what_it_does_not_need(
    two: tuple[Tenant, Tenant], engine: AsyncEngine, statement: str
) -> None:
    before = [await tenant.contents() for tenant in two]

    async with engine.begin() as connection:
        await enter_all_workspaces(connection)
        with pytest.raises(ProgrammingError, match=r"permission denied|must be owner"):
            await connection.execute(sa.text(statement))

    assert [await tenant.contents() for tenant in two] == before


@pytest.mark.parametrize("outcome", ["commit", "rollback"])
async def test_after_the_transaction_the_connection_is_the_plain_role_again(
    two: tuple[Tenant, Tenant], database: Database, outcome: str
) -> None:
    pool = create_async_engine(database.urls.app, pool_size=1, max_overflow=0)
    pids = []
    async with pool.connect() as connection:
        plain = await who(connection)
        await connection.rollback()
        await enter_all_workspaces(connection)
        assert await who(connection) == "robot_jobs_system"
        pids.append(await connection.scalar(sa.text("SELECT pg_backend_pid()")))
        await (connection.commit() if outcome == "commit" else connection.rollback())
    async with pool.begin() as connection:
        assert await who(connection) == plain
        assert [await count(connection, table) for table in READABLE] == [0, 0, 0, 0]
        pids.append(await connection.scalar(sa.text("SELECT pg_backend_pid()")))

    assert len(set(pids)) == 1
    await pool.dispose()


async def test_a_tenant_sees_what_it_saw_before(two: tuple[Tenant, Tenant], database: Database) -> None:
    """Also on a connection, and with statements, that the system role has just used."""
    pool = create_async_engine(database.urls.app, pool_size=1, max_overflow=0)
    here, there = (Tenant(pool, tenant.workspace_id) for tenant in two)
    for tenant in (here, there):
        before = await tenant.contents()
        async with pool.begin() as connection:
            await enter_all_workspaces(connection)
            for table in READABLE:
                await connection.execute(sa.select(table))

        assert await tenant.contents() == before
        async with tenant.work() as connection:
            assert set(await connection.scalars(sa.select(events.c.workspace_id))) == {tenant.workspace_id}
            assert await count(connection, workspaces) == 1
    await pool.dispose()


async def test_the_role_alone_opens_nothing_to_whoever_does_not_take_it_on(
    two: tuple[Tenant, Tenant], engine: AsyncEngine
) -> None:
    async with engine.begin() as connection:
        assert [await count(connection, table) for table in (*READABLE, orders)] == [0, 0, 0, 0, 0]


async def test_reading_for_all_workspaces_asks_no_policy_of_tenants(engine: AsyncEngine) -> None:
    """Else each row of an item would look for its job, and the plan would read tables that are not granted."""
    async with engine.begin() as connection:
        await enter_all_workspaces(connection)
        for name in SYSTEM_GRANTS:
            plan = await connection.scalars(sa.text(f"EXPLAIN SELECT 1 FROM {name}"))  # noqa: S608 -- our own names
            assert not [line for line in plan if "Filter" in line or "SubPlan" in line], name
