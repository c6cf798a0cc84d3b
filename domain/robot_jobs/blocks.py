"""Which orders may not be shipped now: a parcel must never go out twice."""

import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.base import array_of
from domain.dispatch_problems import DispatchProblem, DispatchProblemCode
from domain.orders import Order
from domain.robot_jobs.tables import ItemStatus, is_open, robot_job_items

_item = robot_job_items.c

# Open, or with an ending that leaves open whether there is a parcel: the outcome is unknown, the item is flagged for
# review, or a success brought no tracking number.
IS_UNSETTLED = sa.or_(
    is_open(_item.status),
    _item.outcome_unknown,
    sa.and_(_item.status == ItemStatus.ERROR.value, _item.review_reason.is_not(None)),
    sa.and_(_item.status == ItemStatus.SUCCESS.value, _item.tracking_number.is_(None)),
)


@dataclass(frozen=True, slots=True)
class ShippedBefore:
    """What a person knew of an order when she said to ship it again: its number, and the items made until then."""

    tracking_number: str | None
    until_item_id: uuid.UUID | None
    """Items with a greater id came later; None when all there are were known."""


async def find_blocked_orders(
    connection: AsyncConnection,
    candidates: Sequence[Order],
    *,
    except_items: Collection[uuid.UUID] = (),
    shipped_before: Mapping[uuid.UUID, ShippedBefore] | None = None,
) -> dict[uuid.UUID, DispatchProblem]:
    """Those of the orders that are shipped, archived, or in an open or unsettled item, by id, and why.

    `except_items` are left out of it: those that are about to be retried.  `shipped_before` overrides, for orders that
    are to be shipped again, the tracking number and what was unsettled then; never an open item, nor one of which
    nobody knows whether it has a parcel.  One statement.  The answer stays true until commit only if the caller holds
    the orders' locks.
    """
    rows = await connection.execute(
        sa.select(_item.id, _item.order_id, _item.job_id, _item.status, _item.outcome_unknown)
        .where(_item.order_id == sa.func.any(array_of([order.id for order in candidates], sa.Uuid())), IS_UNSETTLED)
        .order_by(is_open(_item.status))  # an open item, if there is one, is named
    )
    again = shipped_before or {}
    unsettled = {
        row.order_id: row
        for row in rows
        if row.id not in except_items and not _is_overridden(row, again.get(row.order_id))
    }
    problems = {order.id: _problem(order, unsettled.get(order.id), again.get(order.id)) for order in candidates}
    return {order_id: problem for order_id, problem in problems.items() if problem is not None}


def _is_overridden(item: sa.Row[*tuple[Any, ...]], before: ShippedBefore | None) -> bool:
    if before is None or ItemStatus(item.status).is_open or item.outcome_unknown:
        return False
    return before.until_item_id is None or bool(item.id <= before.until_item_id)


def _problem(
    order: Order, holder: sa.Row[*tuple[Any, ...]] | None, before: ShippedBefore | None
) -> DispatchProblem | None:
    status = ItemStatus(holder.status) if holder is not None else None
    job_id = holder.job_id if holder is not None else None
    is_known_number = before is not None and before.tracking_number == order.tracking_number
    if order.tracking_number is not None and not is_known_number:
        code, what = DispatchProblemCode.ALREADY_SHIPPED, f"It was shipped already: {order.tracking_number}."
    elif status is ItemStatus.SUCCESS:
        code = DispatchProblemCode.ALREADY_SHIPPED
        what = f"It was shipped in job {job_id}, which did not learn its tracking number."
    elif status is ItemStatus.ERROR:
        code = DispatchProblemCode.OUTCOME_UNKNOWN
        what = f"It may have a parcel already: what happened in job {job_id} must be settled first."
    elif status is not None:
        code, what = DispatchProblemCode.IN_OPEN_JOB, f"It is being shipped in job {job_id}."
    elif order.archived_at is not None:
        code, what = DispatchProblemCode.ARCHIVED, "It is archived."
    else:
        return None
    return DispatchProblem(code, what, job_id=job_id)
