"""What is found out about a parcel of which nobody knew: the only way on for an item with an unknown outcome."""

import uuid
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.accounts import note_portal_works
from domain.errors import InputProblem, InvalidInput
from domain.events import EventType
from domain.orders import REFERENCE_AT_MOST
from domain.robot_jobs.changes import JobChange, write_job_change
from domain.robot_jobs.errors import OutcomeNotOpen, StaleAttempt
from domain.robot_jobs.item_results import ItemResult, ResultStatus
from domain.robot_jobs.late_results import LateResult, keep_for_review
from domain.robot_jobs.locking import lock_item_and_order, lock_job_of_item
from domain.robot_jobs.results import apply_result
from domain.robot_jobs.tables import (
    ItemStatus,
    Resolution,
    RobotJob,
    RobotJobItem,
    robot_job_attempts,
    robot_job_items,
    robot_job_lookups,
)
from domain.text import text_problem

REASON_AT_LEAST, REASON_AT_MOST = 3, 500


@dataclass(frozen=True, slots=True)
class ResolvedOutcome:
    """The item and job after it.  `replayed`: the same was said before; nothing changed now."""

    job: RobotJob
    item: RobotJobItem
    replayed: bool = False


async def resolve_unknown_outcome(
    connection: AsyncConnection,
    item_id: uuid.UUID,
    *,
    reason: str,
    resolved_by: str,
    tracking_number: str | None = None,
    confirmed_absent: bool = False,
    attempt: int | None = None,
) -> ResolvedOutcome | StaleAttempt:
    """Settle whether there is a parcel: it was found, with its number, or it was confirmed that there is none.

    Found, the item becomes a success, as if its robot had reported that.  Absent, it stays as it ended and may be
    retried.  For an item whose outcome is unknown, or one that did not succeed and is flagged for review; who said so
    and why is kept with its try.  The same again changes nothing.  `attempt` None means the current one.  What is said
    of an older one settles nothing: that there was no parcel then says nothing about a later try, and a parcel that was
    found is kept as a late success and returned as StaleAttempt.  Locks the job, then the item, then the order.
    Raises InvalidInput, RobotJobItemNotFound, OutcomeNotOpen.
    """
    number, why = _checked(reason, tracking_number, attempt, confirmed_absent=confirmed_absent)
    resolution = Resolution.CONFIRMED_ABSENT if number is None else Resolution.FOUND
    job = await lock_job_of_item(connection, item_id)
    item, order, others_wait = await lock_item_and_order(connection, item_id)
    if attempt is not None and attempt != item.attempt:
        if attempt > item.attempt or number is None:
            raise OutcomeNotOpen(item, attempt)
        late = ItemResult(item_id=item.id, status=ResultStatus.SUCCESS, attempt=attempt, tracking_number=number)
        kept = await keep_for_review(connection, [LateResult(item, attempt, late)])
        return StaleAttempt(kept[item.id], attempt)
    if not _is_in_question(item):
        if await _was_said(connection, item, resolution, number):
            return ResolvedOutcome(job, item, replayed=True)
        raise OutcomeNotOpen(item)

    looked_up_by = await connection.scalar(_END_LOOKUP, {"of_item": item.id})
    if looked_up_by == resolved_by:
        await note_portal_works(connection, job.workspace_id, job.carrier)
    await connection.execute(
        _KEEP,
        {
            "of_item": item.id,
            "of_attempt": item.attempt,
            "new_resolution": resolution.value,
            "by": resolved_by,
            "reason": why,
        },
    )
    change = JobChange(job, has_unproven_items=others_wait)
    if number is None:
        item = await _clear(connection, item)
        _tell(change, item, resolution, why, resolved_by)
        return ResolvedOutcome(await write_job_change(connection, change), item)
    _tell(change, item, resolution, why, resolved_by)
    result = ItemResult(item_id=item.id, status=ResultStatus.SUCCESS, tracking_number=number)
    recorded = await apply_result(connection, change, item, order, result, resolved_by, settles=True)
    return ResolvedOutcome(recorded.job, recorded.item)


def _checked(
    reason: str, tracking_number: str | None, attempt: int | None, *, confirmed_absent: bool
) -> tuple[str | None, str]:
    problems = []
    if attempt is not None and attempt < 1:
        problems.append(InputProblem("attempt", f"must be 1 or more; it is {attempt}."))
    number = tracking_number.strip() if tracking_number is not None else None
    why = reason.strip()
    if (number is None) is not confirmed_absent:
        problems.append(InputProblem("found", "goes without confirmedAbsent; give exactly one of the two."))
    if number is not None and (problem := text_problem(number, at_most=REFERENCE_AT_MOST) if number else "is empty."):
        problems.append(InputProblem("found.tracking_number", problem))
    if len(why) < REASON_AT_LEAST:
        problems.append(InputProblem("reason", f"must say how it is known, in {REASON_AT_LEAST} characters or more."))
    elif problem := text_problem(why, at_most=REASON_AT_MOST):
        problems.append(InputProblem("reason", problem))
    if problems:
        raise InvalidInput(*problems)
    return number, why


def _is_in_question(item: RobotJobItem) -> bool:
    is_flagged = item.review_reason is not None and item.status in (ItemStatus.ERROR, ItemStatus.CANCELLED)
    return item.outcome_unknown or is_flagged


def _tell(change: JobChange, item: RobotJobItem, resolution: Resolution, reason: str, resolved_by: str) -> None:
    change.add(
        EventType.ITEM_RESOLVED,
        item=item,
        jobId=str(item.job_id),
        itemId=str(item.id),
        orderId=str(item.order_id),
        workspaceId=str(change.job.workspace_id),
        resolution=resolution,
        reason=reason,
        resolvedBy=resolved_by,
    )


async def _was_said(
    connection: AsyncConnection, item: RobotJobItem, resolution: Resolution, number: str | None
) -> bool:
    kept = robot_job_attempts.c
    said = await connection.scalar(
        sa.select(kept.resolution).where(kept.item_id == item.id, kept.attempt == item.attempt)
    )
    return said == resolution and item.tracking_number == number


async def _clear(connection: AsyncConnection, item: RobotJobItem) -> RobotJobItem:
    row = await connection.execute(
        sa.update(robot_job_items)
        .where(robot_job_items.c.id == item.id)
        .values(outcome_unknown=False, review_reason=None, updated_at=sa.func.clock_timestamp())
        .returning(robot_job_items)
    )
    return RobotJobItem.from_row(row.one())


# A robot that looks it up is in the portal, and lets others in; a person may know it otherwise.
_lookup = (
    sa.select(
        robot_job_lookups.c.item_id,
        sa.case(
            (robot_job_lookups.c.lease_expires_at > sa.func.statement_timestamp(), robot_job_lookups.c.leased_by),
            else_=sa.null(),
        ).label("looked_up_by"),
    )
    .where(
        robot_job_lookups.c.item_id == sa.bindparam("of_item", type_=sa.Uuid()),
        robot_job_lookups.c.lease_token.is_not(None),
    )
    .with_for_update()
    .cte("looked_up")
)
_END_LOOKUP = (
    sa.update(robot_job_lookups)
    .where(robot_job_lookups.c.item_id == _lookup.c.item_id)
    .values(lease_token=None, leased_by=None, lease_expires_at=None, claim_id=None)
    .returning(_lookup.c.looked_up_by)
)
_KEEP = (
    sa.update(robot_job_attempts)
    .where(
        robot_job_attempts.c.item_id == sa.bindparam("of_item", type_=sa.Uuid()),
        robot_job_attempts.c.attempt == sa.bindparam("of_attempt", type_=sa.Integer()),
    )
    .values(
        resolution=sa.bindparam("new_resolution", type_=sa.Text()),
        resolved_by=sa.bindparam("by", type_=sa.Text()),
        resolution_reason=sa.bindparam("reason", type_=sa.Text()),
        resolved_at=sa.func.clock_timestamp(),
    )
)
