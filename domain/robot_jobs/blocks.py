"""Which orders may not be shipped now: a parcel must never go out twice."""

import uuid
from collections.abc import Collection, Sequence

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.base import array_of
from domain.orders import Order
from domain.robot_jobs.errors import BlockedOrder, DispatchBlock
from domain.robot_jobs.tables import ItemStatus, is_open, robot_job_items


async def find_blocked_orders(
    connection: AsyncConnection, candidates: Sequence[Order], *, except_items: Collection[uuid.UUID] = ()
) -> list[BlockedOrder]:
    """Those of the orders that are shipped, archived, or in an open or unresolved item; in the order given.

    Unresolved is an item whose outcome is unknown, one that is flagged for review, and a success that brought no
    tracking number.  `except_items` are left out of it: those that are about to be retried.  One statement.  The
    answer stays true until commit only if the caller holds the orders' locks.
    """
    item = robot_job_items.c
    rows = await connection.execute(
        sa.select(item.id, item.order_id, item.job_id, item.status)
        .where(
            item.order_id == sa.func.any(array_of([order.id for order in candidates], sa.Uuid())),
            sa.or_(
                is_open(item.status),
                item.outcome_unknown,
                sa.and_(item.status == ItemStatus.ERROR.value, item.review_reason.is_not(None)),
                sa.and_(item.status == ItemStatus.SUCCESS.value, item.tracking_number.is_(None)),
            ),
        )
        .order_by(is_open(item.status))  # an open item, if there is one, is named
    )
    unsettled = {row.order_id: row for row in rows if row.id not in except_items}
    blocked: list[BlockedOrder] = []
    for order in candidates:
        holder = unsettled.get(order.id)
        status = ItemStatus(holder.status) if holder is not None else None
        if order.tracking_number is not None:
            block, what = DispatchBlock.ALREADY_SHIPPED, f"was shipped already: {order.tracking_number}."
        elif holder is not None and status is ItemStatus.SUCCESS:
            block = DispatchBlock.ALREADY_SHIPPED
            what = f"was shipped in job {holder.job_id}, which did not learn its tracking number."
        elif holder is not None and status is ItemStatus.ERROR:
            block = DispatchBlock.OUTCOME_UNKNOWN
            what = f"may have a parcel already: what happened in job {holder.job_id} must be settled first."
        elif holder is not None:
            block, what = DispatchBlock.IN_OPEN_JOB, f"is being shipped in job {holder.job_id}."
        elif order.archived_at is not None:
            block, what = DispatchBlock.ARCHIVED, "is archived."
        else:
            continue
        job_id = holder.job_id if holder is not None else None
        blocked.append(BlockedOrder(order.id, order.reference, block, f"Order {order.reference} {what}", job_id))
    return blocked
