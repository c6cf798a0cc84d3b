"""No workspace takes the whole process: half of the pool is the most that one may write with at a time."""

import asyncio
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import create_async_engine

from domain.orders import orders
from tests.conftest import Database
from tests.schema.caller import Api, MemoryWakeUps
from tests.schema.documents import UPDATE_ORDER
from tests.tenants import Tenant


async def test_writers_of_one_workspace_leave_connections_for_another(
    database: Database, tenant: Tenant, other_tenant: Tenant, wakeups: MemoryWakeUps
) -> None:
    [mine] = await tenant.orders(1)
    [theirs] = await other_tenant.orders(1)
    engine = create_async_engine(database.urls.app, pool_size=4, max_overflow=0, pool_timeout=5)
    api = Api(engine, wakeups)
    busy, other = api.member(tenant), api.member(other_tenant)

    async with tenant.work() as connection:
        await connection.execute(sa.select(orders.c.id).where(orders.c.id == mine.id).with_for_update())
        waiting = [asyncio.create_task(busy.execute(UPDATE_ORDER, input=_city(mine.id))) for _ in range(8)]
        refused = [task.result() for task in await _first_done(waiting, 4)]
        answer = await other.do(UPDATE_ORDER, **_city(theirs.id))
    await asyncio.gather(*waiting)
    await engine.dispose()

    assert answer["__typename"] == "UpdateOrderSuccess"
    codes = {error.extensions["code"] for result in refused for error in result.errors or ()}
    assert codes == {"SERVICE_UNAVAILABLE"}


def _city(order_id: object) -> dict[str, object]:
    return {"orderId": str(order_id), "city": "Cali"}


async def _first_done(tasks: list[asyncio.Task[Any]], count: int) -> list[asyncio.Task[Any]]:
    while len(done := [task for task in tasks if task.done()]) < count:
        await asyncio.wait([task for task in tasks if not task.done()], return_when=asyncio.FIRST_COMPLETED)
    return done
