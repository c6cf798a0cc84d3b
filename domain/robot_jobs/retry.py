"""Failed items are tried again: a new attempt each, and the job is open once more."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.base import array_of, violated_constraint
from domain.errors import invalid
from domain.events import EventType
from domain.orders import ORDERS_AT_MOST, Order, lock_orders
from domain.robot_jobs.blocks import find_blocked_orders
from domain.robot_jobs.changes import JobChange, write_job_change
from domain.robot_jobs.create import find_active_job_with_key, validated_cities
from domain.robot_jobs.errors import (
    IdempotencyKeyInUse,
    InvalidTransition,
    ItemNotRetryable,
    ItemsNotRetryable,
)
from domain.robot_jobs.status import lock_job
from domain.robot_jobs.tables import (
    ItemStatus,
    JobStatus,
    RobotJob,
    RobotJobItem,
    robot_job_items,
    robot_jobs,
)


@dataclass(frozen=True, slots=True)
class RetriedItems:
    """The job, the items that are pending again, and those failed ones that must not be tried again yet."""

    job: RobotJob
    items: list[RobotJobItem]
    skipped: list[ItemNotRetryable]


async def retry_failed_items(
    connection: AsyncConnection, job_id: uuid.UUID, *, item_ids: Sequence[uuid.UUID] | None = None
) -> RetriedItems:
    """Give failed items a new attempt: all of the job's that may be, or exactly those named.

    Not tried again: an item whose outcome is unknown, or whose order has meanwhile been shipped, archived or taken
    into another job, for a parcel must not go out twice; without names also one that is flagged for review.  Among
    all failed items such are skipped and reported; one of them by name refuses the whole.  A finished job becomes
    pending again, unless another active job holds its idempotency key.  Locks the job, its items, then the orders.
    A constant number of statements.  Raises InvalidInput, RobotJobNotFound, ItemsNotRetryable, IdempotencyKeyInUse,
    InvalidTransition.
    """
    if item_ids is not None and not 1 <= len(item_ids) <= ORDERS_AT_MOST:
        raise invalid("itemIds", f"must name 1 to {ORDERS_AT_MOST:,} items; it names {len(item_ids):,}.")
    job = await lock_job(connection, job_id)
    if job.status is JobStatus.CANCELLED:
        raise InvalidTransition(f"Job {job.id} was cancelled; its items cannot be retried.", job=job)
    if not job.status.is_active:
        await _reopen(connection, job)

    candidates = await _lock_candidates(connection, job, item_ids)
    orders = await lock_orders(connection, [item.order_id for item in candidates.values()])
    refused = await _find_refused(connection, candidates, orders, is_by_name=item_ids is not None)
    unknown = [
        ItemNotRetryable(item_id, None, f"Item {item_id} is not in job {job.id}.")
        for item_id in dict.fromkeys(item_ids or ())
        if item_id not in candidates
    ]
    retryable = [item_id for item_id in candidates if item_id not in refused]
    if (item_ids is not None and (unknown or refused)) or not retryable:
        raise ItemsNotRetryable([*unknown, *refused.values()], job=job)

    cities = await validated_cities(connection, job.carrier, [orders[candidates[each].order_id] for each in retryable])
    items = await _reset(connection, retryable, cities)
    change = JobChange(
        replace(
            job,
            status=job.status if job.status.is_active else JobStatus.PENDING,
            started_at=job.started_at if job.status.is_active else None,
            completed_at=None,
            error=None,
            error_count=job.error_count - len(items),
        )
    )
    change.add(
        EventType.ITEMS_RETRIED,
        jobId=str(job.id),
        workspaceId=str(job.workspace_id),
        items=[{"itemId": str(item.id), "attempt": item.attempt} for item in items],
    )
    return RetriedItems(await write_job_change(connection, change), items, list(refused.values()))


async def _reopen(connection: AsyncConnection, job: RobotJob) -> None:
    """Take the idempotency key back before anything else is locked: a creation that holds the key waits for orders."""
    try:
        async with connection.begin_nested():
            await connection.execute(
                sa.update(robot_jobs)
                .where(robot_jobs.c.id == job.id)
                .values(status=JobStatus.PENDING.value, completed_at=None)
            )
    except IntegrityError as error:
        if violated_constraint(error) != "uq_robot_jobs_active_idempotency_key":
            raise
        holder = await find_active_job_with_key(connection, job.idempotency_key)
        if holder is None:  # it finished in this very moment, so the key is free
            await _reopen(connection, job)
        else:
            raise IdempotencyKeyInUse(holder) from None


async def _lock_candidates(
    connection: AsyncConnection, job: RobotJob, item_ids: Sequence[uuid.UUID] | None
) -> dict[uuid.UUID, RobotJobItem]:
    chosen = (
        robot_job_items.c.status == ItemStatus.ERROR.value
        if item_ids is None
        else robot_job_items.c.id == sa.func.any(array_of(list(item_ids), sa.Uuid()))
    )
    rows = await connection.execute(
        sa.select(robot_job_items)
        .where(robot_job_items.c.job_id == job.id, chosen)
        .order_by(robot_job_items.c.id)
        .with_for_update(key_share=True)
    )
    return {row.id: RobotJobItem.from_row(row) for row in rows}


async def _find_refused(
    connection: AsyncConnection,
    candidates: dict[uuid.UUID, RobotJobItem],
    orders: dict[uuid.UUID, Order],
    *,
    is_by_name: bool,
) -> dict[uuid.UUID, ItemNotRetryable]:
    found = await find_blocked_orders(connection, list(orders.values()), except_items=candidates.keys())
    blocked = {order.order_id: order for order in found}
    reasons: dict[uuid.UUID, str] = {}
    for item in candidates.values():
        if item.status is not ItemStatus.ERROR:
            reasons[item.id] = f"Item {item.id} is {item.status}; only failed items are retried."
        elif item.outcome_unknown:
            reasons[item.id] = f"Nobody knows whether item {item.id} has a parcel; settle its outcome first."
        elif item.review_reason is not None and not is_by_name:
            reasons[item.id] = f"Item {item.id} is flagged for review: {item.review_reason} Name it to retry it."
        elif item.order_id in blocked:
            reasons[item.id] = blocked[item.order_id].message
    return {
        item_id: ItemNotRetryable(item_id, candidates[item_id].status, reason) for item_id, reason in reasons.items()
    }


async def _reset(
    connection: AsyncConnection, item_ids: Sequence[uuid.UUID], cities: Sequence[str | None]
) -> list[RobotJobItem]:
    """Each with its order's city as it is now: a failure is often mended there."""
    chosen = (
        sa.func.unnest(array_of(list(item_ids), sa.Uuid()), array_of(list(cities), sa.Text()))
        .table_valued(sa.column("id", sa.Uuid()), sa.column("validated_city", sa.Text()))
        .render_derived("chosen")
    )
    rows = await connection.execute(
        sa.update(robot_job_items)
        .where(robot_job_items.c.id == chosen.c.id, robot_job_items.c.status == ItemStatus.ERROR.value)
        .values(
            status=ItemStatus.PENDING.value,
            attempt=robot_job_items.c.attempt + 1,
            retry_count=robot_job_items.c.retry_count + 1,
            validated_city=chosen.c.validated_city,
            error_type=None,
            error_message=None,
            closed_by=None,
            review_reason=None,
            started_at=None,
            completed_at=None,
            last_retry_at=sa.func.clock_timestamp(),
            updated_at=sa.func.clock_timestamp(),
        )
        .returning(robot_job_items)
    )
    return sorted((RobotJobItem.from_row(row) for row in rows), key=lambda item: item.id)
