"""Claims: what they cost beside 100 closed items and beside a million, in two databases, in turns.

Each claim is given back before the next.  The floor is a transaction that enters a workspace.
"""

import asyncio
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import sqlalchemy as sa
from rich.console import Console
from rich.table import Table
from sqlalchemy.ext.asyncio import create_async_engine

from api.database import DatabaseUrls, owner_engine
from domain.carriers import Carrier
from domain.robot_jobs import list_workspaces_in_turn, robot_job_items
from domain.workspaces import Role, enter_all_workspaces
from tests.benchmarks.database import fresh_database
from tests.tenants import Tenant, make_tenant

CLOSED = (100, 1_000_000)
SAMPLES = 100
ROBOTS = 8
_ORDERS = """
    INSERT INTO orders (id, workspace_id, reference, recipient_name, recipient_phone, recipient_email, address, city,
                        department, products, units, total_cop, declared_value_cop, tags, is_cod)
    SELECT gen_random_uuid(), :workspace_id, 'DONE-' || n, '', '', '', '', '', '', '', 1, 0, 0, '', false
    FROM generate_series(1, CAST(:orders AS int)) n
"""
_JOBS = """
    INSERT INTO robot_jobs (id, workspace_id, carrier, job_type, status, total_items, success_count, created_by,
                            started_at, completed_at)
    SELECT gen_random_uuid(), :workspace_id, 'coordinadora', 'create_shipment', 'completed', CAST(:orders AS int),
           CAST(:orders AS int), 'bench', now(), now()
    FROM generate_series(1, CAST(:jobs AS int)) n
"""
_ITEMS = """
    INSERT INTO robot_job_items (id, job_id, order_id, status, tracking_number, completed_at, closed_by)
    SELECT gen_random_uuid(), j.id, o.id, 'success', 'TRK', now(), 'robot'
    FROM robot_jobs j
    JOIN orders o ON o.workspace_id = j.workspace_id AND starts_with(o.reference, 'DONE-')
    WHERE j.workspace_id = :workspace_id AND j.created_by = 'bench'
"""


@dataclass(frozen=True, slots=True)
class Place:
    """A database with shops that have something to do, and with what one of them has done."""

    closed_items: int
    shops: list[Tenant]


async def main() -> None:
    async with AsyncExitStack() as stack:
        places = [await stack.enter_async_context(_place(closed)) for closed in CLOSED]
        found = {name: await _medians_s(places, work, all_shops=name == CROWD) for name, work in _WORK.items()}
    _show(found)


@asynccontextmanager
async def _place(closed: int) -> AsyncIterator[Place]:
    async with fresh_database() as urls:
        engine = create_async_engine(urls.app, pool_size=ROBOTS, max_overflow=0)
        shops = [await make_tenant(urls, engine) for _ in range(ROBOTS)]
        for shop in shops:
            await shop.configure(max_concurrent_leases=100)
            await shop.job(items=100)
        await _fill(urls, shops[0], closed)
        yield Place(closed, shops)
        await engine.dispose()


async def _fill(urls: DatabaseUrls, shop: Tenant, closed: int) -> None:
    """Completed jobs of so many items together, beside what the workspace has to do."""
    orders = min(closed, 1_000)
    given = {"workspace_id": shop.workspace_id, "orders": orders, "jobs": closed // orders}
    tables = ("orders", "robot_jobs", "robot_job_items")
    async with owner_engine(urls).begin() as owner:  # past the policies, which would look at each row
        for table in tables:
            await owner.execute(sa.text(f"ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY"))
        for statement in (_ORDERS, _JOBS, _ITEMS):
            await owner.execute(sa.text(statement), {name: given[name] for name in given if f":{name}" in statement})
        for table in tables:
            await owner.execute(sa.text(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY"))
    async with owner_engine(urls).connect() as owner:
        autocommit = await owner.execution_options(isolation_level="AUTOCOMMIT")
        await autocommit.execute(sa.text(f"VACUUM ANALYZE {', '.join(tables)}"))


# ---------------------------------------------------------------------------------------------- what is measured


async def _enter(shops: list[Tenant]) -> None:
    async with shops[0].work(Role.ROBOT):
        pass


async def _claim_one(shops: list[Tenant]) -> None:
    await _claim(shops[0], 1)


async def _claim_ten(shops: list[Tenant]) -> None:
    await _claim(shops[0], 10)


async def _claim_at_once(shops: list[Tenant]) -> None:
    await asyncio.gather(*(_claim(shop, 1) for shop in shops))


async def _ask_whose_turn(shops: list[Tenant]) -> None:
    async with shops[0].engine.begin() as connection:
        await enter_all_workspaces(connection)
        assert len(await list_workspaces_in_turn(connection, Carrier.COORDINADORA)) == ROBOTS


async def _sweep(shops: list[Tenant]) -> None:
    await shops[0].sweep()


CROWD = f"{ROBOTS} robots claim one item each at once"
_WORK: dict[str, Callable[[list[Tenant]], Awaitable[None]]] = {
    "enter a workspace (floor)": _enter,
    "claim one item": _claim_one,
    "claim ten items": _claim_ten,
    CROWD: _claim_at_once,
    "ask whose turn it is": _ask_whose_turn,
    "sweep, with nothing to do": _sweep,
}


async def _claim(shop: Tenant, count: int) -> None:
    claimed = await shop.claim(count)
    assert len(claimed.items) == count


async def _medians_s(
    places: list[Place], work: Callable[[list[Tenant]], Awaitable[None]], *, all_shops: bool
) -> list[float]:
    """By place; the places take turns, and what was claimed is given back each time, which is not counted."""
    samples: list[list[float]] = [[] for _ in places]
    for _ in range(SAMPLES):
        for place, its_samples in zip(places, samples, strict=True):
            started = time.perf_counter()
            await work(place.shops)
            its_samples.append(time.perf_counter() - started)
            await _give_back(place.shops if all_shops else place.shops[:1])
    return [statistics.median(each) for each in samples]


async def _give_back(shops: list[Tenant]) -> None:
    for shop in shops:
        async with shop.work(Role.ROBOT) as connection:
            await connection.execute(_GIVE_BACK)


_GIVE_BACK = (
    sa.update(robot_job_items)
    .where(robot_job_items.c.lease_token.is_not(None))
    .values(status="pending", lease_token=None, leased_by=None, lease_expires_at=None, started_at=None)
)


def _show(found: dict[str, list[float]]) -> None:
    table = Table(title=f"Medians of {SAMPLES}, ms, taken in turns")
    table.add_column("")
    for title in (*(f"{closed:,} closed items" for closed in CLOSED), "ratio"):
        table.add_column(title, justify="right")
    for name, (few, many) in found.items():
        table.add_row(name, f"{1_000 * few:,.2f}", f"{1_000 * many:,.2f}", f"{many / few:,.2f}")
    Console(width=120).print(table)
