"""A page costs what it shows, however much its workspace and others hold: asked of the planner, as the API's role."""

import datetime as dt
import uuid
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from domain.filters import SearchText
from domain.orders import NEWEST_ORDERS, ORDER_ORDERINGS, OrderFilter, OrderSort, list_orders
from domain.pages import Direction, Ordering, PageRequest
from domain.robot_jobs import (
    JOB_ORDERINGS,
    NEWEST_JOBS,
    ItemFilter,
    JobFilter,
    JobSort,
    find_changed_jobs,
    list_items_of_jobs,
    list_items_of_orders,
    list_robot_jobs,
)
from tests.conftest import Database
from tests.tenants import Tenant, make_tenant

MANY = 4_000
_FILL = (
    """
    INSERT INTO orders (id, workspace_id, reference, recipient_name, recipient_phone, recipient_email, address, city,
                        department, products, units, total_cop, declared_value_cop, tags, is_cod, created_at,
                        updated_at)
    SELECT gen_random_uuid(), :workspace_id, 'ORD-' || n, 'Ana Gómez', '', '', '', '', '', '', 1, n % 500, 0, '', false,
           now() - n * interval '1 minute', now() - n * interval '1 second'
    FROM generate_series(1, :many) n
    """,
    """
    INSERT INTO robot_jobs (id, workspace_id, carrier, job_type, status, total_items, cancelled_count, created_by,
                            created_at, completed_at)
    SELECT gen_random_uuid(), :workspace_id, 'coordinadora', 'create_shipment', 'cancelled', 1, 1, 'a test',
           now() - n * interval '1 minute', now() - n * interval '1 second'
    FROM generate_series(1, :many) n
    """,
    """
    INSERT INTO robot_job_items (id, job_id, order_id, status, completed_at, closed_by)
    SELECT gen_random_uuid(), j.id, o.id, 'cancelled', now(), 'system'
    FROM (SELECT id, row_number() OVER (ORDER BY id) n FROM robot_jobs WHERE workspace_id = :workspace_id) j
    JOIN (SELECT id, row_number() OVER (ORDER BY id) n FROM orders WHERE workspace_id = :workspace_id) o USING (n)
    """,
    # As if one had been written each second; an id begins with the milliseconds of its time.
    """
    INSERT INTO events (workspace_id, stream_id, seq, id, type, job_id, payload)
    SELECT workspace_id, id, 1, (
               lpad(to_hex((extract(epoch FROM now() - n * interval '1 second') * 1000)::bigint), 12, '0')
               || '7000' || right(gen_random_uuid()::text, 17)
           )::uuid, 'robot/job.cancelled', id, '{}'
    FROM (SELECT *, row_number() OVER (ORDER BY id) n FROM robot_jobs WHERE workspace_id = :workspace_id) j
    """,
)


@pytest.fixture(scope="module")
async def full(database: Database, engine: AsyncEngine) -> Tenant:
    """One of three workspaces that each have a lot."""
    tenants = [await make_tenant(database.urls, engine) for _ in range(3)]
    for tenant in tenants:
        async with tenant.work() as connection:
            for statement in _FILL:
                given = {"workspace_id": tenant.workspace_id, "many": MANY}
                await connection.execute(
                    sa.text(statement), {name: given[name] for name in given if f":{name}" in statement}
                )
    superuser = create_async_engine(database.superuser_url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    async with superuser.connect() as connection:
        await connection.execute(sa.text("VACUUM ANALYZE orders, robot_jobs, robot_job_items, events"))
    return tenants[1]


async def plan_of(
    tenant: Tenant, read: Callable[[AsyncConnection], Awaitable[Any]], *, with_scans: bool = True
) -> list[dict[str, Any]]:
    """The nodes of the plan of the one statement that is sent, as it ran."""
    sent: list[tuple[str, Any]] = []

    def note(_connection: object, _cursor: object, statement: str, parameters: Any, *_: object) -> None:
        sent.append((statement, parameters))

    async with tenant.work() as connection:
        sa.event.listen(tenant.engine.sync_engine, "before_cursor_execute", note)
        try:
            await read(connection)
        finally:
            sa.event.remove(tenant.engine.sync_engine, "before_cursor_execute", note)
        ((statement, parameters),) = sent
        await connection.execute(sa.select(sa.func.set_config("enable_seqscan", "on" if with_scans else "off", True)))
        explained = await connection.exec_driver_sql(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}", tuple(parameters))
        (plan,) = explained.scalar_one()
    return list(_nodes(plan["Plan"]))


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", ()):
        yield from _nodes(child)


def sorts(nodes: list[dict[str, Any]]) -> list[str]:
    return [node["Node Type"] for node in nodes if "Sort" in node["Node Type"]]


def most_rows(nodes: list[dict[str, Any]]) -> float:
    """The most that any node has looked at."""
    return max(
        float((node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"]) for node in nodes
    )


LISTS: dict[str, tuple[Any, Ordering]] = {
    **{
        ordering.name: (list_orders, ordering)
        for ordering in (NEWEST_ORDERS, *(ORDER_ORDERINGS[sort, Direction.DESC] for sort in OrderSort))
    },
    **{
        ordering.name: (list_robot_jobs, ordering)
        for ordering in (NEWEST_JOBS, *(JOB_ORDERINGS[sort, Direction.DESC] for sort in JobSort))
    },
}


@pytest.mark.parametrize("name", LISTS)
async def test_a_page_is_read_from_an_index_and_the_workspace_is_not_sorted(full: Tenant, name: str) -> None:
    list_page, ordering = LISTS[name]
    async with full.work() as connection:
        middle = (await list_page(connection, page=PageRequest(MANY // 2, ordering=ordering))).rows[-1]
    place = ordering.place("after", ordering.cursor(middle))

    for page in (
        PageRequest(20, ordering=ordering),
        PageRequest(20, is_backward=True, ordering=ordering),
        PageRequest(20, after=place, ordering=ordering),
        PageRequest(20, before=place, is_backward=True, ordering=ordering),
    ):
        nodes = await plan_of(full, lambda connection, page=page: list_page(connection, page=page))  # type: ignore[misc]  # a default

        assert sorts(nodes) == [], page
        # PostgreSQL compares amounts only after the policy, so their pages are read from the list's start.
        limit = MANY if ordering is ORDER_ORDERINGS[OrderSort.TOTAL, Direction.DESC] else 40
        assert most_rows(nodes) <= limit, page


async def test_the_items_of_a_page_of_jobs_and_of_orders_are_read_from_an_index(full: Tenant) -> None:
    async with full.work() as connection:
        jobs = (await list_robot_jobs(connection, page=PageRequest(20))).rows
        orders = (await list_orders(connection, page=PageRequest(20))).rows
    wanted = ItemFilter(search=SearchText("ana"))

    for read in (
        lambda connection: list_items_of_jobs(connection, [job.id for job in jobs], page=PageRequest(5)),
        lambda connection: list_items_of_jobs(
            connection, [job.id for job in jobs], page=PageRequest(5), item_filter=wanted
        ),
        lambda connection: list_items_of_orders(connection, [order.id for order in orders], page=PageRequest(5)),
    ):
        assert most_rows(await plan_of(full, read)) <= 100


async def test_what_has_changed_is_found_by_an_index_on_the_events(full: Tenant) -> None:
    async with full.work() as connection:
        named = [job.id for job in (await list_robot_jobs(connection, page=PageRequest(20))).rows]
    since = dt.datetime.now(dt.UTC) - dt.timedelta(minutes=5)

    async def read(connection: AsyncConnection) -> dict[uuid.UUID, int]:
        return await find_changed_jobs(connection, since=since, also=named)

    async with full.work() as connection:
        found = len(await read(connection))
    assert 20 < found <= 320
    assert most_rows(await plan_of(full, read)) <= found + 20


async def test_a_search_stays_within_the_workspace(full: Tenant) -> None:
    for read in (
        lambda connection: list_orders(
            connection, page=PageRequest(20), order_filter=OrderFilter(search=SearchText("ord-3999"))
        ),
        lambda connection: list_robot_jobs(
            connection, page=PageRequest(20), job_filter=JobFilter(search=SearchText("ord-3999"))
        ),
    ):
        # A third of all rows is read fastest by a scan; the question is whether an index could lead to it.
        assert most_rows(await plan_of(full, read, with_scans=False)) <= MANY
