"""What claims, renewals and sweeps cost does not grow with what is done: asked of the planner, as the API's roles."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from domain.carriers import Carrier
from domain.orders import orders
from domain.robot_jobs import (
    HeldLease,
    claim_job_items,
    close_unclaimable_items,
    end_expired_leases,
    list_workspaces_in_turn,
    renew_leases,
)
from domain.workspaces import Role, enter_all_workspaces, enter_workspace
from tests.conftest import Database
from tests.domain.ledger import counted_statements
from tests.domain.test_list_plans import _FILL, MANY, _nodes, most_rows
from tests.own_database import database, engine
from tests.tenants import JobInHand, Tenant, held, make_tenant

__all__ = ["database", "engine"]  # fixtures

CLOSED = """
    INSERT INTO robot_job_items (id, job_id, order_id, status, completed_at, closed_by)
    SELECT gen_random_uuid(), :job_id, id, 'cancelled', now(), 'system' FROM orders
    WHERE workspace_id = :workspace_id AND reference LIKE 'ORD-%' AND address = ''
"""
LEASED = """
    INSERT INTO robot_job_items (id, job_id, order_id, status, lease_token, leased_by, lease_expires_at, started_at)
    SELECT gen_random_uuid(), :job_id, id, 'processing', gen_random_uuid(), 'a robot', now() + interval '1 day', now()
    FROM orders
    WHERE workspace_id = :workspace_id AND reference LIKE 'ORD-%' AND address = ''
"""


@pytest.fixture(scope="module")
async def full(database: Database, engine: AsyncEngine) -> tuple[Tenant, JobInHand]:
    """A workspace that has done a lot, with an open job most of whose items are closed; in another all are leased."""
    tenants = [await make_tenant(database.urls, engine) for _ in range(2)]
    for tenant in tenants:
        async with tenant.work() as connection:
            for statement in _FILL:
                given = {"workspace_id": tenant.workspace_id, "many": MANY}
                await connection.execute(
                    sa.text(statement), {name: given[name] for name in given if f":{name}" in statement}
                )
    tenant, other = tenants
    await tenant.configure(max_concurrent_leases=50)
    in_hand = await tenant.job(items=30)
    for each, job, items in ((tenant, in_hand.job, CLOSED), (other, (await other.job()).job, LEASED)):
        async with each.work() as connection:
            await connection.execute(sa.text(items), {"job_id": job.id, "workspace_id": each.workspace_id})
    superuser = create_async_engine(database.superuser_url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    async with superuser.connect() as connection:
        await connection.execute(sa.text("VACUUM ANALYZE orders, robot_jobs, robot_job_items, events"))
    await superuser.dispose()
    return tenant, in_hand


async def _explained(
    tenant: Tenant,
    enter: Callable[[AsyncConnection], Awaitable[object]],
    work: Callable[[AsyncConnection], Awaitable[object]],
) -> dict[str, float]:
    """The most rows that any node of each statement looked at; nothing is kept of it."""
    sent: list[tuple[str, Any]] = []

    def note(_connection: object, _cursor: object, statement: str, parameters: Any, *_: object) -> None:
        sent.append((statement, parameters))

    async with tenant.engine.connect() as connection:
        await enter(connection)
        sa.event.listen(tenant.engine.sync_engine, "before_cursor_execute", note)
        try:
            await work(connection)
        finally:
            sa.event.remove(tenant.engine.sync_engine, "before_cursor_execute", note)
        await connection.rollback()
        await enter(connection)
        found = {}
        for statement, parameters in sent:
            explained = await connection.exec_driver_sql(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}", parameters)
            (plan,) = explained.scalar_one()
            found[statement] = most_rows(list(_nodes(plan["Plan"])))
        await connection.rollback()
    return found


def _as_robot(tenant: Tenant) -> Callable[[AsyncConnection], Awaitable[object]]:
    return lambda connection: enter_workspace(connection, tenant.user(Role.ROBOT), tenant.workspace_id)


async def test_a_claim_looks_at_what_is_open_alone(full: tuple[Tenant, JobInHand]) -> None:
    tenant, _ = full

    async def claim(connection: AsyncConnection) -> None:
        claimed = await claim_job_items(
            connection, Carrier.COORDINADORA, workspace_id=tenant.workspace_id, claimed_by="a robot", limit=10
        )
        assert len(claimed.items) == 10

    looked_at = await _explained(tenant, _as_robot(tenant), claim)

    assert len(looked_at) >= 5, "account, its leases, candidates, items, leases; and the jobs that begin"
    assert max(looked_at.values()) <= 100, looked_at


async def test_whose_turn_it_is_is_asked_of_what_is_open_alone(full: tuple[Tenant, JobInHand]) -> None:
    tenant, _ = full

    async def ask(connection: AsyncConnection) -> None:
        assert await list_workspaces_in_turn(connection, Carrier.COORDINADORA)
        await list_workspaces_in_turn(connection, Carrier.COORDINADORA, lookups=True)

    looked_at = await _explained(tenant, enter_all_workspaces, ask)

    assert len(looked_at) == 2
    assert max(looked_at.values()) <= 200, looked_at


async def test_renewals_and_sweeps_look_at_what_is_leased_alone(full: tuple[Tenant, JobInHand]) -> None:
    tenant, in_hand = full
    claimed = (await tenant.claim(10)).items
    leases: list[HeldLease] = [held(item) for item in claimed]
    await tenant.run_out(*claimed[:5])

    async def renew(connection: AsyncConnection) -> None:
        await renew_leases(connection, leases, lease_s=60)

    async def sweep(connection: AsyncConnection) -> None:
        assert (await end_expired_leases(connection)).count == 5

    try:
        renewing = await _explained(tenant, _as_robot(tenant), renew)
        sweeping = await _explained(tenant, enter_all_workspaces, sweep)
    finally:
        await tenant.sweep()

    assert (len(renewing), len(sweeping)) == (1, 6)
    assert max(*renewing.values(), *sweeping.values()) <= 200, (renewing, sweeping)
    assert in_hand.job.id == claimed[0].job_id


async def test_what_no_robot_may_take_is_found_among_what_waits(full: tuple[Tenant, JobInHand]) -> None:
    tenant, in_hand = full

    async def ship_otherwise(number: str | None) -> None:
        async with tenant.work() as connection:
            shipped = sa.update(orders).where(orders.c.id == in_hand.items[-1].order_id)
            await connection.execute(shipped.values(tracking_number=number))

    async def sweep(connection: AsyncConnection) -> None:
        assert (await close_unclaimable_items(connection)).count == 1

    while (await tenant.close_unclaimable()).has_more:
        pass  # what other tests have left
    await ship_otherwise("PED-1")
    try:
        looked_at = await _explained(tenant, enter_all_workspaces, sweep)
    finally:
        await ship_otherwise(None)

    assert len(looked_at) == 5, "what is due, jobs, items, close, write"
    assert max(looked_at.values()) <= 200, looked_at


async def test_what_a_claim_takes_does_not_grow_with_it(tenant: Tenant) -> None:
    await tenant.configure(max_concurrent_leases=100)
    counts = []
    for size in (1, 30):
        await tenant.job(items=size)
        with counted_statements(tenant.engine) as sent:
            claimed = await tenant.claim(size)
        assert len(claimed.items) == size
        counts.append(len(sent))

    assert counts == [9, 9]
