"""Which orders may not be shipped now: a parcel must never go out twice."""

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.base import array_of
from domain.orders import Order
from domain.robot_jobs.errors import BlockedOrder, DispatchBlock
from domain.robot_jobs.tables import robot_job_items


async def find_blocked_orders(connection: AsyncConnection, candidates: Sequence[Order]) -> list[BlockedOrder]:
    """Those of the orders that are shipped, archived, or in an open or unresolved item; in the order given.

    One statement.  The answer stays true until commit only if the caller holds the orders' locks.
    """
    rows = await connection.execute(
        sa.select(robot_job_items.c.order_id, robot_job_items.c.job_id, robot_job_items.c.outcome_unknown).where(
            robot_job_items.c.order_id == sa.func.any(array_of([order.id for order in candidates], sa.Uuid())),
            sa.or_(robot_job_items.c.status.in_(["pending", "processing"]), robot_job_items.c.outcome_unknown),
        )
    )
    unsettled = {row.order_id: row for row in rows}
    blocked: list[BlockedOrder] = []
    for order in candidates:
        holder = unsettled.get(order.id)
        if order.tracking_number is not None:
            block, what = DispatchBlock.ALREADY_SHIPPED, f"was shipped already: {order.tracking_number}."
        elif holder is not None and holder.outcome_unknown:
            block = DispatchBlock.OUTCOME_UNKNOWN
            what = f"may have a parcel already: the outcome in job {holder.job_id} must be settled first."
        elif holder is not None:
            block, what = DispatchBlock.IN_OPEN_JOB, f"is being shipped in job {holder.job_id}."
        elif order.archived_at is not None:
            block, what = DispatchBlock.ARCHIVED, "is archived."
        else:
            continue
        job_id = holder.job_id if holder is not None else None
        blocked.append(BlockedOrder(order.id, order.reference, block, f"Order {order.reference} {what}", job_id))
    return blocked
