"""The last moment before the portal's button: from here on nobody tries again on a guess."""

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.errors import invalid
from domain.orders import REFERENCE_AT_MOST, orders
from domain.robot_jobs.errors import LeaseLost, NumberAlreadyReserved, OrderShippedMeanwhile
from domain.robot_jobs.leases import IS_CLAIMABLE, HeldLease
from domain.robot_jobs.tables import RobotJobItem, reserved_numbers, robot_job_items, robot_jobs
from domain.text import optional_text

_item = robot_job_items.c


async def mark_item_submitting(
    connection: AsyncConnection, lease: HeldLease, *, reserved_number: str | None = None
) -> RobotJobItem:
    """The robot is about to press the portal's button; from now on nobody else may try before it is known what came.

    The same again is answered as the first time.  Refused once the lease has run out, was taken away or has ended,
    and when the order has got a tracking number meanwhile, or an earlier try was reported as a success.
    `reserved_number` is the portal's number that the order is sent under: by it an unknown outcome is looked up, so
    no other try of the account ever gets the same.  Locks the item and its order.  Raises InvalidInput, LeaseLost,
    OrderShippedMeanwhile, NumberAlreadyReserved.
    """
    number = optional_text("reserved_number", reserved_number, at_most=REFERENCE_AT_MOST)
    row = (await connection.execute(_LOCK_LEASED, {"item_id": lease.item_id, "token": lease.token})).one_or_none()
    if row is None or not row.is_running:
        raise LeaseLost(lease.item_id)
    item = RobotJobItem.from_values(*row[2:])
    if item.submitted_at is not None:
        if item.reserved_number != number:
            raise invalid("reserved_number", f"is another one than the item was marked with: {item.reserved_number}.")
        return item
    if not row.may_be_sent:
        raise OrderShippedMeanwhile(lease.item_id)
    if number is not None:
        await _reserve(connection, item, number)
    marked = await connection.execute(_MARK, {"item_id": lease.item_id, "number": number})
    return RobotJobItem.from_row(marked.one())


async def _reserve(connection: AsyncConnection, item: RobotJobItem, number: str) -> None:
    """Waits for another try that is reserving the same number just now."""
    reserved = await connection.scalar(_RESERVE, {"item_id": item.id, "number": number})
    if reserved is None:
        raise NumberAlreadyReserved(item.id, number)


_LOCK_LEASED = (
    sa.select(
        (_item.lease_expires_at > sa.func.clock_timestamp()).label("is_running"),
        IS_CLAIMABLE.label("may_be_sent"),
        robot_job_items,
    )
    .join(orders, orders.c.id == _item.order_id)
    .where(
        _item.id == sa.bindparam("item_id", type_=sa.Uuid()),
        _item.lease_token == sa.bindparam("token", type_=sa.Uuid()),
    )
    .with_for_update(key_share=True, of=[robot_job_items, orders])
)
_RESERVE = (
    pg.insert(reserved_numbers)
    .from_select(
        ["workspace_id", "carrier", "number", "item_id", "attempt"],
        sa.select(
            robot_jobs.c.workspace_id,
            robot_jobs.c.carrier,
            sa.bindparam("number", type_=sa.Text()),
            _item.id,
            _item.attempt,
        )
        .join(robot_jobs, robot_jobs.c.id == _item.job_id)
        .where(_item.id == sa.bindparam("item_id", type_=sa.Uuid())),
    )
    .on_conflict_do_nothing(index_elements=["workspace_id", "carrier", "number"])
    .returning(reserved_numbers.c.number)
)
_MARK = (
    sa.update(robot_job_items)
    .where(_item.id == sa.bindparam("item_id", type_=sa.Uuid()))
    .values(
        submitted_at=sa.func.clock_timestamp(),
        updated_at=sa.func.clock_timestamp(),
        reserved_number=sa.bindparam("number", type_=sa.Text()),
    )
    .returning(robot_job_items)
)
