"""The rows that results change, under their locks: jobs by id, then items by id, then orders by id."""

import uuid
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.accounts import IS_TROUBLED, carrier_accounts
from domain.base import array_parameter
from domain.carriers import Carrier
from domain.orders import ORDER_COLUMNS, Order, orders
from domain.robot_jobs.errors import RobotJobItemNotFound
from domain.robot_jobs.tables import ClosedBy, ItemStatus, RobotJob, RobotJobItem, robot_job_items, robot_jobs


@dataclass(frozen=True, slots=True)
class HeldItem:
    """An item and its order under their locks.  `others_wait`: items of its job keep an ending by the system."""

    item: RobotJobItem
    order: Order
    others_wait: bool


# What its account has met so far is seen at once, so that a success of one that is well costs no statement more.
_is_troubled = (
    sa.exists()
    .where(
        carrier_accounts.c.workspace_id == robot_jobs.c.workspace_id,
        carrier_accounts.c.carrier == robot_jobs.c.carrier,
        IS_TROUBLED,
    )
    .correlate(robot_jobs)
    .label("is_troubled")
)
# One item, which is most of them, has statements of its own: those on lists are planned anew each time.
_LOCK_JOB_OF_ITEM = (
    sa.select(_is_troubled, robot_jobs)
    .where(
        robot_jobs.c.id
        == sa.select(robot_job_items.c.job_id)
        .where(robot_job_items.c.id == sa.bindparam("item_id", type_=sa.Uuid()))
        .scalar_subquery()
    )
    .with_for_update(of=robot_jobs)
)
# Each id list is complete before the first row is locked, so rows are locked by id whatever the plan.
_LOCK_JOBS_OF_ITEMS = (
    sa.select(_is_troubled, robot_jobs)
    .where(
        robot_jobs.c.id
        == sa.func.any(
            sa.func.array(
                sa.select(robot_job_items.c.job_id)
                .where(robot_job_items.c.id == sa.func.any(array_parameter("item_ids", sa.Uuid())))
                .scalar_subquery()
            )
        )
    )
    .order_by(robot_jobs.c.id)
    .with_for_update(of=robot_jobs)
)


async def lock_job_of_item(connection: AsyncConnection, item_id: uuid.UUID) -> RobotJob:
    """The job under its lock, which comes before the item's.  Raises RobotJobItemNotFound."""
    jobs, _ = await lock_jobs_of_items(connection, [item_id])
    for job in jobs.values():
        return job
    raise RobotJobItemNotFound(item_id)


async def lock_jobs_of_items(
    connection: AsyncConnection, item_ids: Collection[uuid.UUID]
) -> tuple[dict[uuid.UUID, RobotJob], set[Carrier]]:
    """The jobs by id, and the carriers at which their workspace's account is in trouble."""
    jobs, troubled = {}, set()
    for row in await _of_one_or_many(connection, _LOCK_JOB_OF_ITEM, _LOCK_JOBS_OF_ITEMS, item_ids):
        jobs[row.id] = RobotJob.from_values(*row[1:])
        if row.is_troubled:
            troubled.add(jobs[row.id].carrier)
    return jobs, troubled


_items = (
    sa.select(robot_job_items)
    .where(robot_job_items.c.id == sa.func.any(array_parameter("item_ids", sa.Uuid())))
    .order_by(robot_job_items.c.id)
    .with_for_update(key_share=True)
    .cte("items")
)
_orders = (
    sa.select(*ORDER_COLUMNS)
    .where(orders.c.id == sa.func.any(sa.func.array(sa.select(_items.c.order_id).scalar_subquery())))
    .order_by(orders.c.id)
    .with_for_update(key_share=True)
    .cte("orders_of_items")
)


def _others_closed_by_system(item: Any, asked: sa.ColumnElement[Any]) -> sa.Label[bool]:
    """Whether a proof settles a failed job depends on its other items; looked up only when it comes late.

    Those that are asked for too are in hand, and judged there.
    """
    other = robot_job_items.alias("other")
    is_late = item.status.in_([ItemStatus.ERROR.value, ItemStatus.CANCELLED.value])
    is_there = sa.exists().where(
        other.c.job_id == item.job_id, other.c.id != asked, other.c.closed_by == ClosedBy.SYSTEM.value
    )
    return sa.case((is_late, is_there), else_=sa.false()).label("others_wait")


_LOCK_ITEM_AND_ORDER = (
    sa.select(
        _others_closed_by_system(robot_job_items.c, robot_job_items.c.id),
        robot_job_items,
        *ORDER_COLUMNS,
    )
    .join(orders, orders.c.id == robot_job_items.c.order_id)
    .where(robot_job_items.c.id == sa.bindparam("item_id", type_=sa.Uuid()))
    .with_for_update(key_share=True, of=[robot_job_items, orders])
)
_LOCK_ITEMS_AND_ORDERS = sa.select(
    _others_closed_by_system(_items.c, sa.func.all(array_parameter("item_ids", sa.Uuid()))), *_items.c, *_orders.c
).join(_orders, _orders.c.id == _items.c.order_id)
_ITEM_END = 1 + len(robot_job_items.c)


async def _of_one_or_many(
    connection: AsyncConnection, one: sa.Executable, many: sa.Executable, item_ids: Collection[uuid.UUID]
) -> sa.CursorResult[Any]:
    if len(item_ids) == 1:
        return await connection.execute(one, {"item_id": next(iter(item_ids))})
    return await connection.execute(many, {"item_ids": list(item_ids)})


async def lock_item_and_order(connection: AsyncConnection, item_id: uuid.UUID) -> tuple[RobotJobItem, Order, bool]:
    """Both under their locks, and whether other items of the job keep an ending that the system wrote."""
    held = (await lock_items_and_orders(connection, [item_id]))[item_id]
    return held.item, held.order, held.others_wait


async def lock_items_and_orders(
    connection: AsyncConnection, item_ids: Collection[uuid.UUID]
) -> dict[uuid.UUID, HeldItem]:
    """Those of the items that there are, by id; all items under their locks, then all orders."""
    rows = await _of_one_or_many(connection, _LOCK_ITEM_AND_ORDER, _LOCK_ITEMS_AND_ORDERS, item_ids)
    held = (
        HeldItem(RobotJobItem.from_values(*row[1:_ITEM_END]), Order.from_values(*row[_ITEM_END:]), row[0])
        for row in rows
    )
    return {each.item.id: each for each in held}
