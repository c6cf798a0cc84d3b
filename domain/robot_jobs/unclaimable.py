"""Pending items that no robot may take any more are closed, so that their job comes to its end."""

import uuid
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.base import array_parameter
from domain.orders import orders
from domain.robot_jobs.changes import JobChange, write_job_changes
from domain.robot_jobs.closing import Closing
from domain.robot_jobs.expiry import BATCH, close_by_system, lock_jobs_passing_by
from domain.robot_jobs.tables import ErrorType, ItemStatus, RobotJob, RobotJobItem, robot_job_items

_item = robot_job_items.c


@dataclass(frozen=True, slots=True)
class UnclaimableItems:
    """The jobs that changed, and how many items were closed.  `has_more`: a batch was full."""

    jobs: list[RobotJob]
    count: int
    has_more: bool


async def close_unclaimable_items(connection: AsyncConnection, *, limit: int = BATCH) -> UnclaimableItems:
    """Close what waits for a robot and would wait for ever, a batch of it, in all workspaces.

    That is: the order has got a tracking number by another way since the job was made, or a parcel was reported for an
    earlier try.  The item becomes an error for a person to look at; counters, job status and events as for a result.
    Locks the jobs, passing by those that somebody else has locked, then the items by id.  For the system role
    (`enter_all_workspaces`).  A constant number of statements.
    """
    due = (await connection.scalars(_DUE, {"limit": limit})).all()
    if not due:
        return UnclaimableItems([], 0, has_more=False)
    jobs = await lock_jobs_passing_by(connection, set(due))
    rows = (await connection.execute(_LOCK_UNCLAIMABLE, {"job_ids": list(jobs), "limit": limit})).all()
    if not rows:
        return UnclaimableItems([], 0, has_more=False)
    closings = []
    for row in rows:
        item = RobotJobItem.from_values(*row[1:])
        closings.append((item, _closing(item, row.order_number)))
    changes: dict[uuid.UUID, JobChange] = {job_id: JobChange(job) for job_id, job in jobs.items()}
    await close_by_system(connection, closings, changes)
    changed = [change for change in changes.values() if change.events]
    return UnclaimableItems(await write_job_changes(connection, changed), len(closings), has_more=len(rows) == limit)


def _closing(item: RobotJobItem, order_number: str | None) -> Closing:
    if order_number is not None and order_number != item.previous_tracking_number:
        why = (
            f"The order has got the tracking number {order_number} by another way, so robots do not send it.  If it "
            "has to go out once more, make a job that says so."
        )
    else:
        why = "A parcel was reported for an earlier try, so robots do not send it: find out first whether there is one."
    return Closing(status=ItemStatus.ERROR, error_type=ErrorType.VALIDATION, error_message=why)


# What `IS_CLAIMABLE` is not, said so that no null hides a row.
_is_unclaimable = sa.and_(
    _item.status == sa.literal_column("'pending'"),
    sa.or_(
        _item.review_reason.is_not(None),
        sa.and_(
            orders.c.tracking_number.is_not(None),
            orders.c.tracking_number.is_distinct_from(_item.previous_tracking_number),
        ),
    ),
)
_DUE = (
    sa.select(_item.job_id)
    .join(orders, orders.c.id == _item.order_id)
    .where(_is_unclaimable)
    .limit(sa.bindparam("limit", type_=sa.Integer()))
)
_LOCK_UNCLAIMABLE = (
    sa.select(orders.c.tracking_number.label("order_number"), robot_job_items)
    .join(orders, orders.c.id == _item.order_id)
    .where(_item.job_id == sa.func.any(array_parameter("job_ids", sa.Uuid())), _is_unclaimable)
    .order_by(_item.id)
    .limit(sa.bindparam("limit", type_=sa.Integer()))
    .with_for_update(key_share=True, of=robot_job_items)
)
