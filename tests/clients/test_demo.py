"""The demo against a real server process: the product's main job, from a file to tracking numbers."""

import asyncio
import io
from typing import Any

import sqlalchemy as sa
from rich.console import Console

from clients.console.demo import ALL_SHIPPED, CANNOT_RUN, DemoOptions, run_demo
from domain.orders import orders
from domain.robot_jobs import robot_job_items
from domain.workspaces import Role
from tests.conftest import Database
from tests.servers import Server, running_server, settings_for, token, until
from tests.tenants import Tenant

SHIPPABLE = 164  # of the 199 sample orders; 35 need a correction first


def options(server: Server, tenant: Tenant, **more: Any) -> DemoOptions:
    return DemoOptions(
        url=f"{server.url}/graphql",
        token=token(tenant.user(Role.OPERATOR)),
        workspace_id=str(tenant.workspace_id),
        console=Console(file=io.StringIO(), width=100),
        **({"delay_ms": 0} | more),
    )


async def count_shipped(tenant: Tenant) -> int:
    async with tenant.work() as connection:
        return int(
            await connection.scalar(sa.select(sa.func.count()).where(orders.c.tracking_number.is_not(None))) or 0
        )


async def test_the_demo_ships_the_sample_orders_and_ships_none_again(database: Database, tenant: Tenant) -> None:
    async with running_server(**settings_for(database.urls)) as server:
        first = await run_demo(options(server, tenant))
        second = await run_demo(options(server, tenant))

    async with tenant.work() as connection:
        items = await connection.scalar(sa.select(sa.func.count()).select_from(robot_job_items))
    assert (first, second) == (ALL_SHIPPED, ALL_SHIPPED)
    assert (await count_shipped(tenant), items) == (SHIPPABLE, SHIPPABLE)


async def test_the_demo_started_again_after_a_killed_server_finishes_its_job(
    database: Database, tenant: Tenant
) -> None:
    async def half_are_shipped() -> bool:
        return await count_shipped(tenant) >= SHIPPABLE // 2

    async with running_server(**settings_for(database.urls)) as server:
        running = asyncio.create_task(run_demo(options(server, tenant, delay_ms=20, patience_s=0.5)))
        await until(half_are_shipped)
        await server.end()
        cut_short = await running

    async with running_server(**settings_for(database.urls)) as server:
        again = await run_demo(options(server, tenant))

    assert (cut_short, again) == (CANNOT_RUN, ALL_SHIPPED)
    assert await count_shipped(tenant) == SHIPPABLE
