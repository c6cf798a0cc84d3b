"""Tenants, orders and jobs for tests: name only what matters, the rest has defaults."""

import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from api.database import DatabaseUrls, owner_engine
from domain.base import new_id
from domain.carriers import Carrier
from domain.order_import import import_orders
from domain.orders import Order
from domain.pages import PageRequest
from domain.robot_jobs import (
    ErrorType,
    ItemResult,
    RecordedResult,
    ResultStatus,
    RobotJob,
    RobotJobItem,
    create_robot_job,
    get_job_with_items,
    update_job_item_result,
)
from domain.workspaces import Membership, Role, create_workspace, enter_system, enter_workspace, set_member

HEADER = (
    "order_id,contact_name,contact_phone,contact_email,shipping_address,shipping_city,shipping_department,"
    "products,units,total_value,declared_value,tags,is_cod"
)


def csv_of(*references: str, city: str = "Medellín", department: str = "Antioquia", total: str = "52900") -> str:
    """A CSV file with one good order per reference."""
    lines = [
        f"{reference},Ana Gómez,3091234567,ana@example.com,Calle 1 # 2-3,{city},{department},"
        f"1x Gorra,1,{total},55000,,true"
        for reference in references
    ]
    return "\n".join([HEADER, *lines]) + "\n"


@dataclass(frozen=True, slots=True)
class JobInHand:
    """A job as it was made, with its items in order."""

    job: RobotJob
    items: list[RobotJobItem]


@dataclass(frozen=True, slots=True)
class Tenant:
    """A workspace, and the ways to work in it: each method is one committed transaction."""

    engine: AsyncEngine
    workspace_id: uuid.UUID

    def user(self, role: Role) -> str:
        return f"{role}@{self.workspace_id}"

    @asynccontextmanager
    async def work(self, role: Role = Role.OPERATOR) -> AsyncIterator[AsyncConnection]:
        """A transaction within the workspace, committed at the end."""
        async with self.engine.begin() as connection:
            await enter_workspace(connection, self.user(role), self.workspace_id)
            yield connection

    async def orders(self, count: int = 3, *, city: str = "Medellín", department: str = "Antioquia") -> list[Order]:
        references = [f"ORD-{new_id().hex[-12:]}-{number}" for number in range(count)]
        async with self.work() as connection:
            imported = await import_orders(
                connection,
                workspace_id=self.workspace_id,
                csv_text=csv_of(*references, city=city, department=department),
            )
        return [line.order for line in imported.imported]

    async def job(
        self,
        items: int = 3,
        *,
        succeeded: int = 0,
        failed: int = 0,
        idempotency_key: str | None = None,
        orders: Sequence[Order] | None = None,
    ) -> JobInHand:
        """A job of that many new orders; the first ones have succeeded, the next ones failed, the others are open."""
        job_orders = orders if orders is not None else await self.orders(items)
        async with self.work() as connection:
            created = await create_robot_job(
                connection,
                workspace_id=self.workspace_id,
                created_by=self.user(Role.OPERATOR),
                carrier=Carrier.COORDINADORA,
                order_ids=[order.id for order in job_orders],
                idempotency_key=idempotency_key,
            )
        in_hand = await self.read(created.job.id)
        for item in in_hand.items[:succeeded]:
            await self.succeed(item)
        for item in in_hand.items[succeeded : succeeded + failed]:
            await self.fail(item)
        return await self.read(created.job.id)

    async def read(self, job_id: uuid.UUID) -> JobInHand:
        async with self.work() as connection:
            read = await get_job_with_items(connection, job_id, page=PageRequest.of(first=1_000, at_most=1_000))
        return JobInHand(read.job, read.items.rows)

    async def succeed(
        self, item: RobotJobItem, *, attempt: int | None = None, tracking_number: str | None = None
    ) -> RecordedResult | Exception:
        return await self.report(
            ItemResult(
                item_id=item.id,
                status=ResultStatus.SUCCESS,
                attempt=attempt,
                tracking_number=tracking_number or f"TRK-{item.id.hex[-10:]}",
            )
        )

    async def fail(
        self,
        item: RobotJobItem,
        *,
        attempt: int | None = None,
        error_type: ErrorType = ErrorType.PORTAL,
        message: str = "The portal said no.",
    ) -> RecordedResult | Exception:
        return await self.report(
            ItemResult(
                item_id=item.id,
                status=ResultStatus.ERROR,
                attempt=attempt,
                error_type=error_type,
                error_message=message,
            )
        )

    async def report(self, result: ItemResult) -> RecordedResult | Exception:
        async with self.work(Role.ROBOT) as connection:
            return await update_job_item_result(connection, result, reported_by=self.user(Role.ROBOT))


async def make_tenant(urls: DatabaseUrls, engine: AsyncEngine) -> Tenant:
    tenant = Tenant(engine, new_id())
    async with owner_engine(urls).begin() as connection:
        await enter_system(connection)
        await create_workspace(connection, tenant.workspace_id, "A shop")
        for role in Role:
            await set_member(connection, Membership(tenant.workspace_id, tenant.user(role), role))
    return tenant
