"""Closing items: the one guarded write through which every item ends, and the attempt that is kept of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.base import array_parameter
from domain.robot_jobs.tables import (
    ClosedBy,
    ErrorType,
    ItemStatus,
    RobotJobItem,
    is_open,
    robot_job_attempts,
    robot_job_items,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Closing:
    """How an item ends."""

    status: ItemStatus
    tracking_number: str | None = None
    carrier_guide_number: str | None = None
    error_type: ErrorType | None = None
    error_message: str | None = None
    review_reason: str | None = None
    outcome_unknown: bool = False
    robot: str | None = None
    steps: Sequence[dict[str, Any]] = ()
    settles: bool = False
    """Why the item was flagged for review until now has been looked into."""


_closings = (
    sa.func.unnest(
        array_parameter("item_ids", sa.Uuid()),
        array_parameter("attempts", sa.Integer()),
        array_parameter("statuses", sa.Text()),
        array_parameter("tracking_numbers", sa.Text()),
        array_parameter("carrier_guide_numbers", sa.Text()),
        array_parameter("error_types", sa.Text()),
        array_parameter("error_messages", sa.Text()),
        array_parameter("review_reasons", sa.Text()),
        array_parameter("outcomes_unknown", sa.Boolean()),
        array_parameter("settle", sa.Boolean()),
        array_parameter("robots", sa.Text()),
        sa.bindparam("steps", type_=pg.ARRAY(pg.JSONB(), dimensions=1)),
    )
    .table_valued(
        sa.column("item_id", sa.Uuid()),
        sa.column("attempt", sa.Integer()),
        sa.column("status", sa.Text()),
        sa.column("tracking_number", sa.Text()),
        sa.column("carrier_guide_number", sa.Text()),
        sa.column("error_type", sa.Text()),
        sa.column("error_message", sa.Text()),
        sa.column("review_reason", sa.Text()),
        sa.column("outcome_unknown", sa.Boolean()),
        sa.column("settles", sa.Boolean()),
        sa.column("robot", sa.Text()),
        sa.column("steps", pg.JSONB()),
    )
    .render_derived("closings")
)
# A late proof for an order that has meanwhile gone into another job: that item is about to make a second parcel.  Only
# this item can be flagged, for the other job's lock may not be taken now.
_other = robot_job_items.alias("other")
_also_open = sa.case(
    (
        sa.and_(
            robot_job_items.c.closed_by == ClosedBy.SYSTEM.value,
            _closings.c.status == ItemStatus.SUCCESS.value,
        ),
        sa.select(
            sa.literal("The order is also in an open item of job ")
            .concat(sa.cast(_other.c.job_id, sa.Text()))
            .concat(": stop that before it makes a second parcel.")
        )
        .where(_other.c.order_id == robot_job_items.c.order_id, is_open(_other.c.status))
        .limit(1)
        .correlate(robot_job_items)
        .scalar_subquery(),
    ),
    else_=sa.null(),
)
_flag_before = sa.case((_closings.c.settles, sa.null()), else_=robot_job_items.c.review_reason)
_closed = (
    sa.update(robot_job_items)
    .where(
        robot_job_items.c.id == _closings.c.item_id,
        robot_job_items.c.attempt == _closings.c.attempt,
        sa.or_(
            is_open(robot_job_items.c.status),
            robot_job_items.c.closed_by == ClosedBy.SYSTEM.value,
            robot_job_items.c.outcome_unknown,
            sa.and_(robot_job_items.c.status == ItemStatus.ERROR.value, robot_job_items.c.review_reason.is_not(None)),
            sa.and_(
                robot_job_items.c.status == ItemStatus.SUCCESS.value,
                sa.or_(robot_job_items.c.tracking_number.is_(None), robot_job_items.c.carrier_guide_number.is_(None)),
            ),
        ),
    )
    .values(
        status=_closings.c.status,
        tracking_number=_closings.c.tracking_number,
        carrier_guide_number=_closings.c.carrier_guide_number,
        error_type=_closings.c.error_type,
        error_message=_closings.c.error_message,
        outcome_unknown=_closings.c.outcome_unknown,
        lease_token=None,
        leased_by=None,
        lease_expires_at=None,
        claim_id=None,
        closed_by=sa.bindparam("closed_by", type_=sa.Text()),
        review_reason=sa.func.coalesce(_closings.c.review_reason, _also_open, _flag_before),
        started_at=sa.func.coalesce(robot_job_items.c.started_at, sa.func.clock_timestamp()),
        completed_at=sa.func.clock_timestamp(),
        updated_at=sa.func.clock_timestamp(),
    )
    .returning(robot_job_items, _closings.c.robot, _closings.c.steps)
    .cte("closed")
)
_attempt_of_closed = pg.insert(robot_job_attempts).from_select(
    [
        "item_id",
        "attempt",
        "status",
        "tracking_number",
        "carrier_guide_number",
        "value_sent",
        "error_type",
        "error_message",
        "closed_by",
        "reported_by",
        "started_at",
        "completed_at",
        "submitted_at",
        "reserved_number",
        "robot",
        "steps",
    ],
    sa.select(
        _closed.c.id,
        _closed.c.attempt,
        _closed.c.status,
        _closed.c.tracking_number,
        _closed.c.carrier_guide_number,
        _closed.c.value_sent,
        _closed.c.error_type,
        _closed.c.error_message,
        _closed.c.closed_by,
        sa.bindparam("reported_by", type_=sa.Text()),
        _closed.c.started_at,
        _closed.c.completed_at,
        _closed.c.submitted_at,
        _closed.c.reserved_number,
        _closed.c.robot,
        _closed.c.steps,
    ),
)
# An attempt that was closed before keeps its own ending; the proof that came later stands beside it.  What its robot
# did is new, if it was closed without the robot's word.
_recorded_attempt = _attempt_of_closed.on_conflict_do_update(
    index_elements=["item_id", "attempt"],
    set_={
        "late_results": robot_job_attempts.c.late_results.concat(
            sa.func.jsonb_build_array(
                sa.func.jsonb_build_object(
                    "status",
                    _attempt_of_closed.excluded.status,
                    "trackingNumber",
                    _attempt_of_closed.excluded.tracking_number,
                    "carrierGuideNumber",
                    _attempt_of_closed.excluded.carrier_guide_number,
                )
            )
        ),
        "late_result_at": sa.func.clock_timestamp(),
        "robot": sa.func.coalesce(robot_job_attempts.c.robot, _attempt_of_closed.excluded.robot),
        "steps": sa.case(
            (sa.func.jsonb_array_length(robot_job_attempts.c.steps) == 0, _attempt_of_closed.excluded.steps),
            else_=robot_job_attempts.c.steps,
        ),
    },
)
CLOSE_ITEMS = (
    sa.select(*(_closed.c[column.name] for column in robot_job_items.c))
    .add_cte(_recorded_attempt.cte("recorded_attempt"))
    .order_by(_closed.c.id)
)


async def close_items(
    connection: AsyncConnection,
    closings: Sequence[tuple[RobotJobItem, Closing]],
    *,
    closed_by: ClosedBy,
    reported_by: str,
) -> list[RobotJobItem]:
    """Close those items and keep each attempt; one statement, in the order of the ids.

    Guarded: an item that is no longer open at that attempt, nor closed by the system, nor with an unsettled ending, nor
    a success that lacks a number, is left alone and missing from the answer.  Its lease ends with it.  The caller
    holds the job's lock.
    """
    rows = await connection.execute(
        CLOSE_ITEMS,
        {
            "item_ids": [item.id for item, _ in closings],
            "attempts": [item.attempt for item, _ in closings],
            "statuses": [closing.status.value for _, closing in closings],
            "tracking_numbers": [closing.tracking_number for _, closing in closings],
            "carrier_guide_numbers": [closing.carrier_guide_number for _, closing in closings],
            "error_types": [closing.error_type for _, closing in closings],
            "error_messages": [closing.error_message for _, closing in closings],
            "review_reasons": [closing.review_reason for _, closing in closings],
            "settle": [closing.settles for _, closing in closings],
            "robots": [closing.robot for _, closing in closings],
            "steps": [list(closing.steps) for _, closing in closings],
            "outcomes_unknown": [closing.outcome_unknown for _, closing in closings],
            "closed_by": closed_by.value,
            "reported_by": reported_by,
        },
    )
    return [RobotJobItem.from_row(row) for row in rows]
