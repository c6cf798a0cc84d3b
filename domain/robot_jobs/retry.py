"""Failed items are tried again: a new attempt each, and the job is open once more."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.base import array_of, violated_constraint
from domain.carrier_configs import CarrierConfig
from domain.city_matching import CityOutcome
from domain.errors import invalid
from domain.events import EventType
from domain.orders import ORDERS_AT_MOST, Order, lock_orders
from domain.robot_jobs.blocks import ShippedBefore
from domain.robot_jobs.changes import JobChange, write_job_change
from domain.robot_jobs.create import find_job_with_key
from domain.robot_jobs.dispatch import CheckedOrder, check_orders, find_enabled_config
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
    """Give failed items a new attempt, with what their orders say now: all of the job's that may be, or those named.

    Not tried again: an item whose outcome is unknown, or whose order has meanwhile been shipped, archived or taken
    into another job, for a parcel must not go out twice; nor one whose order the carrier would refuse as it is;
    without names also one that is flagged for review.  Among all failed items such are skipped and reported; one of
    them by name refuses the whole.  A finished job becomes pending again, unless another active job holds its
    idempotency key.  Locks the job, its items, then the orders.  A constant number of statements.  Raises
    InvalidInput, RobotJobNotFound, ItemsNotRetryable, IdempotencyKeyInUse, InvalidTransition, CarrierConfigDisabled.
    """
    if item_ids is not None and not 1 <= len(item_ids) <= ORDERS_AT_MOST:
        raise invalid("itemIds", f"must name 1 to {ORDERS_AT_MOST:,} items; it names {len(item_ids):,}.")
    job = await lock_job(connection, job_id)
    if job.status is JobStatus.CANCELLED or job.cancel_requested_at is not None:
        raise InvalidTransition(f"Job {job.id} was cancelled; its items cannot be retried.", job=job)
    config = await find_enabled_config(connection, job.carrier)
    if not job.status.is_active:
        await _reopen(connection, job)

    candidates = await _lock_candidates(connection, job, item_ids)
    orders = await lock_orders(connection, [item.order_id for item in candidates.values()])
    checked = await _check(connection, job, candidates, orders, config)
    refused = _find_refused(candidates, checked, is_by_name=item_ids is not None)
    unknown = [
        ItemNotRetryable(item_id, None, f"Item {item_id} is not in job {job.id}.")
        for item_id in dict.fromkeys(item_ids or ())
        if item_id not in candidates
    ]
    retryable = [item_id for item_id in candidates if item_id not in refused]
    if (item_ids is not None and (unknown or refused)) or not retryable:
        raise ItemsNotRetryable([*unknown, *refused.values()], job=job)

    items = await _reset(connection, {item_id: checked[item_id] for item_id in retryable})
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
        holder = await find_job_with_key(connection, job.idempotency_key)
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


async def _check(
    connection: AsyncConnection,
    job: RobotJob,
    candidates: dict[uuid.UUID, RobotJobItem],
    orders: dict[uuid.UUID, Order],
    config: CarrierConfig | None,
) -> dict[uuid.UUID, CheckedOrder]:
    """Each item's order, by the item's id.  A job that ships again goes by what was known when it was made."""
    known = {
        item.order_id: ShippedBefore(item.previous_tracking_number, item.id)
        for item in candidates.values()
        if job.ship_again_reason is not None
    }
    checked = await check_orders(
        connection,
        job.carrier,
        [orders[item.order_id] for item in candidates.values()],
        config=config,
        except_items=candidates.keys(),
        shipped_before=known,
    )
    return dict(zip(candidates, checked, strict=True))


def _find_refused(
    candidates: dict[uuid.UUID, RobotJobItem], checked: dict[uuid.UUID, CheckedOrder], *, is_by_name: bool
) -> dict[uuid.UUID, ItemNotRetryable]:
    reasons: dict[uuid.UUID, str] = {}
    for item in candidates.values():
        order = checked[item.id]
        if item.status is not ItemStatus.ERROR:
            reasons[item.id] = f"Item {item.id} is {item.status}; only failed items are retried."
        elif item.outcome_unknown:
            reasons[item.id] = f"Nobody knows whether item {item.id} has a parcel; settle its outcome first."
        elif item.review_reason is not None and not is_by_name:
            reasons[item.id] = f"Item {item.id} is flagged for review: {item.review_reason} Name it to retry it."
        elif order.outcome is CityOutcome.REJECTED:
            wrong = " ".join(problem.message for problem in order.problems if not problem.is_warning)
            reasons[item.id] = f"Order {order.order.reference}: {wrong}"
    return {
        item_id: ItemNotRetryable(item_id, candidates[item_id].status, reason) for item_id, reason in reasons.items()
    }


async def _reset(connection: AsyncConnection, checked: dict[uuid.UUID, CheckedOrder]) -> list[RobotJobItem]:
    """Each with what its order says now: a failure is often mended there."""
    chosen = (
        sa.func.unnest(
            array_of(list(checked), sa.Uuid()),
            array_of([each.carrier_city for each in checked.values()], sa.Text()),
            array_of([each.pedido_input for each in checked.values()], pg.JSONB()),
        )
        .table_valued(
            sa.column("id", sa.Uuid()), sa.column("validated_city", sa.Text()), sa.column("value_sent", pg.JSONB())
        )
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
            value_sent=chosen.c.value_sent,
            error_type=None,
            error_message=None,
            closed_by=None,
            review_reason=None,
            submitted_at=None,
            reserved_number=None,
            started_at=None,
            completed_at=None,
            last_retry_at=sa.func.clock_timestamp(),
            updated_at=sa.func.clock_timestamp(),
        )
        .returning(robot_job_items)
    )
    return sorted((RobotJobItem.from_row(row) for row in rows), key=lambda item: item.id)
