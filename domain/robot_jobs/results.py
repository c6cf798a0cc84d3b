"""One result per try, counted exactly once: item, counters, job status, order and events in one transaction."""

import uuid
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, assert_never

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.errors import InputProblem, InvalidInput, invalid
from domain.orders import ORDER_COLUMNS, REFERENCE_AT_MOST, Order, orders, write_order_changes
from domain.robot_jobs.changes import JobChange, write_job_change
from domain.robot_jobs.closing import Closing, close_items
from domain.robot_jobs.errors import LeaseLost, ResultConflict, RobotJobItemNotFound, StaleAttempt
from domain.robot_jobs.tables import (
    ClosedBy,
    ErrorType,
    ItemStatus,
    RobotJob,
    RobotJobItem,
    robot_job_attempts,
    robot_job_items,
    robot_jobs,
)
from domain.text import optional_text

ERROR_MESSAGE_AT_MOST = 2_000
LATE_RESULTS_AT_MOST = 20


class ResultStatus(StrEnum):
    SUCCESS = "success"
    ERROR = "error"


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemResult:
    """What a robot reports for one try of one item.  `attempt` None means the current one.

    A lease is good for one attempt: with its token the attempt must be named, and decides.
    """

    item_id: uuid.UUID
    status: ResultStatus
    attempt: int | None = None
    lease_token: uuid.UUID | None = None
    tracking_number: str | None = None
    carrier_guide_number: str | None = None
    error_type: ErrorType | None = None
    error_message: str | None = None

    def checked(self) -> "ItemResult":
        """The same, with blanks cut off and the error type filled in.  Raises InvalidInput."""
        is_success = self.status is ResultStatus.SUCCESS
        problems = []
        if self.attempt is not None and not 1 <= self.attempt < 2**31:
            problems.append(InputProblem("attempt", f"must be 1 or more; it is {self.attempt}."))
        if self.lease_token is not None and self.attempt is None:
            problems.append(InputProblem("attempt", "must go with leaseToken, for a lease may have ended meanwhile."))
        for name in ("error_type", "error_message") if is_success else ("tracking_number", "carrier_guide_number"):
            if getattr(self, name) is not None:
                problems.append(InputProblem(name, f"does not go with a result of status {self.status}."))
        if problems:
            raise InvalidInput(*problems)
        return ItemResult(
            item_id=self.item_id,
            status=self.status,
            attempt=self.attempt,
            lease_token=self.lease_token,
            tracking_number=optional_text("tracking_number", self.tracking_number, at_most=REFERENCE_AT_MOST),
            carrier_guide_number=optional_text(
                "carrier_guide_number", self.carrier_guide_number, at_most=REFERENCE_AT_MOST
            ),
            error_type=None if is_success else self.error_type or ErrorType.UNKNOWN,
            error_message=optional_text("error_message", self.error_message, at_most=ERROR_MESSAGE_AT_MOST),
        )

    def as_json(self) -> dict[str, Any]:
        return {
            "status": self.status,
            "trackingNumber": self.tracking_number,
            "carrierGuideNumber": self.carrier_guide_number,
            "errorType": self.error_type,
            "errorMessage": self.error_message,
        }


class Decision(StrEnum):
    """What a result does to its item."""

    CLOSES = "closes"  # the open item
    CORRECTS = "corrects"  # what the system itself had written, or an ending that nobody knew
    COMPLETES = "completes"  # a success with the numbers that it lacked
    REPLAYS = "replays"  # what is recorded already
    CONFLICTS = "conflicts"  # with what a robot reported for this attempt
    IS_STALE = "is_stale"  # it belongs to an older attempt


def decide(item: RobotJobItem, result: ItemResult) -> Decision:
    """The rule of results, without I/O.  Raises InvalidInput for an attempt that has not begun."""
    if result.attempt is not None and result.attempt > item.attempt:
        raise invalid("attempt", f"{result.attempt} has not begun; item {item.id} is at attempt {item.attempt}.")
    if result.attempt is not None and result.attempt < item.attempt:
        return Decision.IS_STALE
    if item.status.is_open:
        return Decision.CLOSES
    recorded = (item.tracking_number, item.carrier_guide_number, item.error_type, item.error_message)
    reported = (result.tracking_number, result.carrier_guide_number, result.error_type, result.error_message)
    if item.status.value == result.status.value and recorded == reported:
        return Decision.REPLAYS
    if _adds_numbers(item, result):
        return Decision.COMPLETES
    has_proof = result.status is ResultStatus.SUCCESS and result.tracking_number is not None
    if (item.closed_by is ClosedBy.SYSTEM or item.outcome_unknown) and has_proof:
        return Decision.CORRECTS
    return Decision.CONFLICTS


def _adds_numbers(item: RobotJobItem, result: ItemResult) -> bool:
    """Whether the result repeats a success and brings a number that was missing, contradicting none."""
    pairs = (
        (item.tracking_number, result.tracking_number),
        (item.carrier_guide_number, result.carrier_guide_number),
    )
    return (
        item.status is ItemStatus.SUCCESS
        and result.status is ResultStatus.SUCCESS
        and all(known is None or known == reported for known, reported in pairs)
    )


@dataclass(frozen=True, slots=True)
class RecordedResult:
    """The item and job after the result.  `replayed`: the same result was recorded before; nothing changed now."""

    job: RobotJob
    item: RobotJobItem
    replayed: bool


async def update_job_item_result(
    connection: AsyncConnection, result: ItemResult, *, reported_by: str
) -> RecordedResult | StaleAttempt | ResultConflict:
    """Record a robot's result for one item; five statements at most.

    A result counts once: the same one again is answered as the first time.  A different one for a closed attempt is
    ResultConflict, one for an older attempt StaleAttempt; both are returned, not raised, because what they say is
    kept with its attempt, and a success among them flags the item for review (a parcel may exist twice).  A success
    with a tracking number beats an error that the system itself wrote, or an unknown outcome, and one that brings only
    the numbers which an earlier success lacked completes that.  Locks the job, then the item, then the order.
    Raises InvalidInput, RobotJobItemNotFound, and LeaseLost for a token that is not of the attempt in hand.
    """
    result = result.checked()
    job = await lock_job_of_item(connection, result.item_id)
    item, order, others_wait = await lock_item_and_order(connection, result.item_id)
    decision = decide(item, result)
    match decision:
        case Decision.CLOSES if result.lease_token not in (None, item.lease_token):
            raise LeaseLost(item.id)
        case Decision.CLOSES | Decision.CORRECTS | Decision.COMPLETES:
            # Numbers that follow settle nothing that the system itself had written.
            has_unproven_items = others_wait or decision is Decision.COMPLETES
            change = JobChange(job, has_unproven_items=has_unproven_items)
            return await apply_result(connection, change, item, order, result, reported_by)
        case Decision.REPLAYS:
            return RecordedResult(job, item, replayed=True)
        case Decision.CONFLICTS:
            return ResultConflict(await _keep_for_review(connection, item, item.attempt, result))
        case Decision.IS_STALE:
            attempt = result.attempt or item.attempt
            return StaleAttempt(await _keep_for_review(connection, item, attempt, result), attempt)
        case _:
            assert_never(decision)


_LOCK_JOB_OF_ITEM = (
    sa.select(robot_jobs)
    .where(
        robot_jobs.c.id
        == sa.select(robot_job_items.c.job_id)
        .where(robot_job_items.c.id == sa.bindparam("item_id", type_=sa.Uuid()))
        .scalar_subquery()
    )
    .with_for_update()
)


async def lock_job_of_item(connection: AsyncConnection, item_id: uuid.UUID) -> RobotJob:
    """The job under its lock, which comes before the item's.  Raises RobotJobItemNotFound."""
    row = (await connection.execute(_LOCK_JOB_OF_ITEM, {"item_id": item_id})).one_or_none()
    if row is None:
        raise RobotJobItemNotFound(item_id)
    return RobotJob.from_row(row)


# Whether a proof settles a failed job depends on its other items; asked only when it comes late.
_other = robot_job_items.alias("other")
_others_closed_by_system = sa.case(
    (
        robot_job_items.c.status.in_([ItemStatus.ERROR.value, ItemStatus.CANCELLED.value]),
        sa.exists().where(
            _other.c.job_id == robot_job_items.c.job_id,
            _other.c.id != robot_job_items.c.id,
            _other.c.closed_by == ClosedBy.SYSTEM.value,
        ),
    ),
    else_=sa.false(),
)
_LOCK_ITEM_AND_ORDER = (
    sa.select(_others_closed_by_system.label("others_closed_by_system"), robot_job_items, *ORDER_COLUMNS)
    .join(orders, orders.c.id == robot_job_items.c.order_id)
    .where(robot_job_items.c.id == sa.bindparam("item_id", type_=sa.Uuid()))
    .with_for_update(key_share=True, of=[robot_job_items, orders])
)
_ITEM_END = 1 + len(robot_job_items.c)


async def lock_item_and_order(connection: AsyncConnection, item_id: uuid.UUID) -> tuple[RobotJobItem, Order, bool]:
    """Both under their locks, and whether other items of the job keep an ending that the system wrote."""
    row = (await connection.execute(_LOCK_ITEM_AND_ORDER, {"item_id": item_id})).one()
    return RobotJobItem.from_values(*row[1:_ITEM_END]), Order.from_values(*row[_ITEM_END:]), row[0]


async def apply_result(
    connection: AsyncConnection,
    change: JobChange,
    item: RobotJobItem,
    order: Order,
    result: ItemResult,
    reported_by: str,
    *,
    settles: bool = False,
) -> RecordedResult:
    """Close the item so, with all that follows.  The caller holds the locks of job, item and order.

    `settles`: why the item was flagged for review has been looked into.
    """
    closing = Closing(
        status=ItemStatus(result.status),
        tracking_number=result.tracking_number,
        carrier_guide_number=result.carrier_guide_number,
        error_type=result.error_type,
        error_message=result.error_message,
        review_reason=_review_reason(item, order, result),
        outcome_unknown=_leaves_outcome_unknown(item, result),
        settles=settles,
    )
    closed = await close_items(connection, [(item, closing)], closed_by=ClosedBy.ROBOT, reported_by=reported_by)
    # What an earlier success lacked comes too late for an order that shows a later parcel.
    is_too_late = item.status is ItemStatus.SUCCESS and _shows_another_parcel(order, item, result)
    if result.tracking_number is not None and not is_too_late:
        await write_order_changes(connection, [(order, _shipped(change.job, order, result))])
    for after in closed:
        change.item_closed(before=item, after=after)
    return RecordedResult(await write_job_change(connection, change), closed[0], replayed=False)


def _leaves_outcome_unknown(item: RobotJobItem, result: ItemResult) -> bool:
    """After the button only the portal's own refusal says that there is no parcel."""
    return item.submitted_at is not None and result.error_type in (ErrorType.TIMEOUT, ErrorType.UNKNOWN)


def _review_reason(item: RobotJobItem, order: Order, result: ItemResult) -> str | None:
    """Why a person must look at a success whose number is news."""
    if result.tracking_number is None or item.tracking_number is not None:
        return None
    if result.tracking_number == item.previous_tracking_number:
        return f"It was to be shipped again, but came back with the first parcel's number {result.tracking_number}."
    if _shows_another_parcel(order, item, result):
        return f"The order had the tracking number {order.tracking_number} already."
    return None


def _shows_another_parcel(order: Order, item: RobotJobItem, result: ItemResult) -> bool:
    """A parcel that nobody knew of when the item's job was made."""
    return order.tracking_number not in (None, result.tracking_number, item.previous_tracking_number)


def _shipped(job: RobotJob, order: Order, result: ItemResult) -> dict[str, Any]:
    """What the order shows of its parcel.  A guide number belongs to its tracking number: a new one drops the old."""
    shipped: dict[str, Any] = {"carrier": job.carrier, "tracking_number": result.tracking_number}
    if result.carrier_guide_number is not None or order.tracking_number not in (None, result.tracking_number):
        shipped["carrier_guide_number"] = result.carrier_guide_number
    return shipped


_KEEP_LATE_RESULT = (
    sa.update(robot_job_attempts)
    .where(
        robot_job_attempts.c.item_id == sa.bindparam("of_item", type_=sa.Uuid()),
        robot_job_attempts.c.attempt == sa.bindparam("of_attempt", type_=sa.Integer()),
        sa.not_(robot_job_attempts.c.late_results.contains(sa.bindparam("result", type_=pg.JSONB()))),
        sa.func.jsonb_array_length(robot_job_attempts.c.late_results) < LATE_RESULTS_AT_MOST,
    )
    .values(
        late_results=robot_job_attempts.c.late_results.concat(sa.bindparam("result", type_=pg.JSONB())),
        late_result_at=sa.func.clock_timestamp(),
    )
)


async def _keep_for_review(
    connection: AsyncConnection, item: RobotJobItem, attempt: int, result: ItemResult
) -> RobotJobItem:
    """Keep a result that changes nothing with its attempt; a success flags the item, for a parcel may exist twice."""
    await connection.execute(
        _KEEP_LATE_RESULT, {"of_item": item.id, "of_attempt": attempt, "result": [result.as_json()]}
    )
    is_known = result.tracking_number is not None and result.tracking_number == item.tracking_number
    if result.status is ResultStatus.ERROR or is_known or item.review_reason is not None:
        return item
    number = f" with tracking number {result.tracking_number}" if result.tracking_number else ""
    row = await connection.execute(
        sa.update(robot_job_items)
        .where(robot_job_items.c.id == item.id)
        .values(
            review_reason=f"A robot reported a success{number} for attempt {attempt}: a parcel may exist twice.",
            updated_at=sa.func.clock_timestamp(),
        )
        .returning(robot_job_items)
    )
    return RobotJobItem.from_row(row.one())
