"""Tenancy is decided by PostgreSQL: these tests go past the domain and speak SQL as the API's own role."""

import uuid
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from api.database import owner_engine
from domain.base import new_id
from domain.events import events
from domain.evidence import ContentType, NewEvidence, evidence, record_evidence
from domain.orders import orders
from domain.robot_jobs import robot_job_attempts, robot_job_items, robot_jobs
from domain.workspaces import (
    Membership,
    NotAMember,
    Role,
    enter_as_owner,
    enter_workspace,
    set_member,
    workspace_members,
    workspaces,
)
from tests.conftest import Database
from tests.tenants import TENANT_TABLES, Tenant

WRITABLE_TABLES = (orders, robot_jobs, robot_job_items, robot_job_attempts)
any_table = pytest.mark.parametrize("table", TENANT_TABLES, ids=lambda table: table.name)
any_writable_table = pytest.mark.parametrize("table", WRITABLE_TABLES, ids=lambda table: table.name)


@pytest.fixture
async def tenant_with_rows(tenant: Tenant) -> Tenant:
    """A tenant with rows in every table: an open, a shipped and a failed item, with attempts, events and evidence."""
    in_hand = await tenant.job(items=3, succeeded=1, failed=1)
    seen = NewEvidence.of(in_hand.items[1].id, 1, ContentType.PNG, b"a picture")
    async with tenant.work() as connection:
        await record_evidence(connection, seen, created_by=tenant.user(Role.ROBOT), kept_for=None)
    return tenant


async def _rows(connection: AsyncConnection, table: sa.Table) -> list[dict[str, Any]]:
    return [dict(row) for row in (await connection.execute(sa.select(table))).mappings()]


def _another(table: sa.Table, row: dict[str, Any]) -> dict[str, Any]:
    """A copy of the row that is in the way of no other."""
    if table is robot_job_attempts:
        return row | {"attempt": row["attempt"] + 90}
    copy = {name: value for name, value in row.items() if table.c[name].computed is None} | {"id": new_id()}
    if table is orders:
        return copy | {"reference": str(copy["id"])}
    if table is evidence:
        return copy | {"sha256": copy["id"].bytes * 2}
    if table is events:
        return copy | {"seq": row["seq"] + 90}
    if table is robot_job_items:
        cancelled = {"status": "cancelled", "completed_at": row["created_at"], "closed_by": "system"}
        return copy | cancelled | {"error_type": None, "tracking_number": None}
    return copy


@any_table
async def test_another_tenants_rows_are_invisible(
    tenant_with_rows: Tenant, other_tenant: Tenant, table: sa.Table
) -> None:
    async with tenant_with_rows.work() as connection:
        own = await _rows(connection, table)
    async with other_tenant.work(Role.ADMIN) as connection:
        seen = await _rows(connection, table)

    assert own != []
    assert seen == []


@any_table
async def test_another_tenants_rows_cannot_be_written(
    tenant_with_rows: Tenant, other_tenant: Tenant, table: sa.Table
) -> None:
    before = await tenant_with_rows.contents()
    async with tenant_with_rows.work() as connection:
        foreign = (await _rows(connection, table))[0]

    with pytest.raises(ProgrammingError, match="row-level security"):
        async with other_tenant.work(Role.ADMIN) as connection:
            await connection.execute(sa.insert(table).values(_another(table, foreign)))

    assert await tenant_with_rows.contents() == before


@any_writable_table
async def test_another_tenants_rows_cannot_be_changed(
    tenant_with_rows: Tenant, other_tenant: Tenant, table: sa.Table
) -> None:
    before = await tenant_with_rows.contents()
    column = table.c.completed_at if table is robot_job_attempts else table.c.updated_at

    async with other_tenant.work(Role.ADMIN) as connection:
        changed = await connection.execute(sa.update(table).values({column: sa.func.now()}))

    assert changed.rowcount == 0
    assert await tenant_with_rows.contents() == before


@any_table
async def test_rows_are_never_deleted_by_the_api(tenant_with_rows: Tenant, table: sa.Table) -> None:
    before = await tenant_with_rows.contents()

    with pytest.raises(ProgrammingError, match="permission denied"):
        async with tenant_with_rows.work(Role.ADMIN) as connection:
            await connection.execute(sa.delete(table))

    assert await tenant_with_rows.contents() == before


@any_table
async def test_a_viewer_reads_and_cannot_insert_even_by_sql(tenant_with_rows: Tenant, table: sa.Table) -> None:
    async with tenant_with_rows.work(Role.VIEWER) as connection:
        seen = await _rows(connection, table)

    with pytest.raises(ProgrammingError, match="row-level security"):
        async with tenant_with_rows.work(Role.VIEWER) as connection:
            await connection.execute(sa.insert(table).values(_another(table, seen[0])))


@any_writable_table
async def test_a_viewer_cannot_change_rows_even_by_sql(tenant_with_rows: Tenant, table: sa.Table) -> None:
    before = await tenant_with_rows.contents()
    column = table.c.completed_at if table is robot_job_attempts else table.c.updated_at

    async with tenant_with_rows.work(Role.VIEWER) as connection:
        changed = await connection.execute(sa.update(table).values({column: sa.func.now()}))

    assert changed.rowcount == 0
    assert await tenant_with_rows.contents() == before


@any_table
async def test_an_operator_may_insert_what_a_viewer_may_not(tenant_with_rows: Tenant, table: sa.Table) -> None:
    async with tenant_with_rows.work(Role.OPERATOR) as connection:
        row = (await _rows(connection, table))[0]
        if table is robot_job_items:
            row["order_id"] = await connection.scalar(
                sa.insert(orders).values(_another(orders, (await _rows(connection, orders))[0])).returning(orders.c.id)
            )
        await connection.execute(sa.insert(table).values(_another(table, row)))


async def test_an_item_cannot_point_at_another_tenants_order(tenant: Tenant, other_tenant: Tenant) -> None:
    in_hand = await tenant.job(items=1)
    [foreign] = await other_tenant.orders(1)

    with pytest.raises(ProgrammingError, match="row-level security"):
        async with tenant.work(Role.ADMIN) as connection:
            await connection.execute(
                sa.insert(robot_job_items).values(id=new_id(), job_id=in_hand.job.id, order_id=foreign.id)
            )
    with pytest.raises(ProgrammingError, match="row-level security"):
        async with tenant.work(Role.ADMIN) as connection:
            await connection.execute(sa.update(robot_job_items).values(order_id=foreign.id))

    assert await tenant.read(in_hand.job.id) == in_hand


async def test_an_item_cannot_point_at_another_tenants_job(tenant: Tenant, other_tenant: Tenant) -> None:
    in_hand = await tenant.job(items=1)
    [order] = await tenant.orders(1)
    foreign = await other_tenant.job(items=1)

    with pytest.raises(ProgrammingError, match="row-level security"):
        async with tenant.work(Role.ADMIN) as connection:
            await connection.execute(
                sa.insert(robot_job_items).values(id=new_id(), job_id=foreign.job.id, order_id=order.id)
            )
    with pytest.raises(ProgrammingError, match="row-level security"):
        async with tenant.work(Role.ADMIN) as connection:
            await connection.execute(sa.update(robot_job_items).values(job_id=foreign.job.id))

    assert await tenant.read(in_hand.job.id) == in_hand
    assert await other_tenant.read(foreign.job.id) == foreign


@pytest.mark.parametrize("table", [orders, robot_jobs], ids=lambda table: table.name)
async def test_a_row_cannot_be_moved_to_another_tenant(tenant: Tenant, other_tenant: Tenant, table: sa.Table) -> None:
    await tenant.job(items=1)
    before = await tenant.contents()

    with pytest.raises(ProgrammingError, match="row-level security"):
        async with tenant.work(Role.ADMIN) as connection:
            await connection.execute(sa.update(table).values(workspace_id=other_tenant.workspace_id))

    assert await tenant.contents() == before


@pytest.mark.parametrize("table", [*TENANT_TABLES, workspaces, workspace_members], ids=lambda table: table.name)
async def test_without_entering_a_workspace_nothing_is_visible(
    tenant_with_rows: Tenant, engine: AsyncEngine, table: sa.Table
) -> None:
    async with engine.begin() as connection:
        assert await _rows(connection, table) == []


async def test_a_member_sees_only_the_own_workspaces_and_memberships(tenant: Tenant, other_tenant: Tenant) -> None:
    async with tenant.work() as connection:
        seen = await _rows(connection, workspaces)
        members = await _rows(connection, workspace_members)

    assert [row["id"] for row in seen] == [tenant.workspace_id]
    assert [(row["workspace_id"], row["user_id"]) for row in members] == [
        (tenant.workspace_id, tenant.user(Role.OPERATOR))
    ]


async def test_naming_another_workspace_by_its_setting_shows_nothing(
    tenant_with_rows: Tenant, other_tenant: Tenant
) -> None:
    async with other_tenant.work(Role.ADMIN) as connection:
        await connection.execute(
            sa.text("SELECT set_config('robot_jobs.workspace_id', :id, true)"),
            {"id": str(tenant_with_rows.workspace_id)},
        )
        assert await _rows(connection, orders) == []


async def test_the_scope_does_not_leak_through_the_pool(tenant_with_rows: Tenant, database: Database) -> None:
    pool = create_async_engine(database.urls.app, pool_size=1, max_overflow=0)
    pids: list[int | None] = []

    for outcome in ("commit", "rollback"):
        async with pool.connect() as connection:
            await enter_workspace(connection, tenant_with_rows.user(Role.ADMIN), tenant_with_rows.workspace_id)
            assert await _rows(connection, orders) != []
            await (connection.commit() if outcome == "commit" else connection.rollback())
        async with pool.begin() as connection:
            pids.append(await connection.scalar(sa.text("SELECT pg_backend_pid()")))
            assert await _rows(connection, orders) == []

    assert len(set(pids)) == 1
    await pool.dispose()


async def test_a_revoked_member_sees_nothing_in_the_next_transaction(
    tenant_with_rows: Tenant, database: Database
) -> None:
    user = tenant_with_rows.user(Role.OPERATOR)
    async with tenant_with_rows.work() as connection:
        assert await _rows(connection, orders) != []

    async with owner_engine(database.urls).begin() as owner:
        await enter_as_owner(owner)
        await owner.execute(sa.delete(workspace_members).where(workspace_members.c.user_id == user))

    async with tenant_with_rows.engine.begin() as connection:
        with pytest.raises(NotAMember):
            await enter_workspace(connection, user, tenant_with_rows.workspace_id)
        assert await _rows(connection, orders) == []


async def test_a_member_who_became_a_viewer_cannot_write_in_the_next_transaction(
    tenant_with_rows: Tenant, database: Database
) -> None:
    demoted = Membership(tenant_with_rows.workspace_id, tenant_with_rows.user(Role.OPERATOR), Role.VIEWER)
    async with owner_engine(database.urls).begin() as owner:
        await enter_as_owner(owner)
        await set_member(owner, demoted)

    async with tenant_with_rows.work(Role.OPERATOR) as connection:
        changed = await connection.execute(sa.update(orders).values(stage="packed"))

    assert changed.rowcount == 0


async def test_the_apis_role_gains_nothing_by_the_system_scope(tenant_with_rows: Tenant, engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        await enter_as_owner(connection)
        assert await _rows(connection, workspaces) == []
        assert await _rows(connection, workspace_members) == []
        assert await _rows(connection, orders) == []
        assert await connection.scalar(sa.text("SELECT app_is_system()")) is False

        intruder = Membership(tenant_with_rows.workspace_id, "intruder", Role.ADMIN)
        with pytest.raises(ProgrammingError, match="permission denied"):
            await set_member(connection, intruder)


async def test_the_tables_owner_obeys_the_policies_too(tenant_with_rows: Tenant, database: Database) -> None:
    async with owner_engine(database.urls).begin() as owner:
        for table in TENANT_TABLES:
            assert await _rows(owner, table) == []


async def test_every_table_with_a_tenants_rows_forces_its_policies(tenant: Tenant) -> None:
    async with tenant.work() as connection:
        bare = await connection.execute(
            sa.text(
                "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace "
                "AND NOT (relrowsecurity AND relforcerowsecurity)"
            )
        )
        unprotected = set(bare.scalars())

    assert unprotected == {
        "alembic_version",
        "carrier_coverage",
        "dane_municipalities",
        "department_abbreviations",
        "reference_data_loads",
    }


@pytest.mark.parametrize("workspace_id", [uuid.UUID(int=0), None])
async def test_a_stranger_enters_no_workspace(engine: AsyncEngine, workspace_id: uuid.UUID | None) -> None:
    async with engine.begin() as connection:
        with pytest.raises(NotAMember):
            await enter_workspace(connection, "stranger", workspace_id)
