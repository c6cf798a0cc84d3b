"""A job begins: the orders are checked and locked, then job, items and first event are written together."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.base import array_of, new_id
from domain.carriers import Carrier
from domain.city_matching import CityOutcome
from domain.dispatch_problems import OrderProblems, order_not_found
from domain.errors import invalid
from domain.events import INSERT_EVENTS, EventType, NewEvent, event_parameters
from domain.orders import lock_orders
from domain.robot_jobs.blocks import find_blocked_orders
from domain.robot_jobs.dispatch import (
    CheckedOrder,
    OrderSelection,
    all_known,
    check_orders,
    find_enabled_config,
    select_orders,
)
from domain.robot_jobs.errors import IdempotencyKeyInUse, OrdersRefused
from domain.robot_jobs.tables import JobType, RobotJob, is_open, robot_job_items, robot_jobs
from domain.text import optional_text

IDEMPOTENCY_KEY_AT_MOST = 200
REASON_AT_LEAST, REASON_AT_MOST = 3, 500


class OnInvalid(StrEnum):
    """What becomes of the others when some orders may not go out."""

    REJECT_ALL = "reject_all"
    SKIP_INVALID = "skip_invalid"


@dataclass(frozen=True, slots=True)
class CreatedRobotJob:
    """The job; `refused` were left out of it, `warned` went in with something corrected, both in the order asked.

    `has_more`: more orders were ready than one job takes.
    """

    job: RobotJob
    duplicate_order_ids: tuple[uuid.UUID, ...] = ()
    refused: tuple[OrderProblems, ...] = ()
    warned: tuple[OrderProblems, ...] = ()
    has_more: bool = False


async def create_robot_job(
    connection: AsyncConnection,
    *,
    workspace_id: uuid.UUID,
    created_by: str,
    carrier: Carrier,
    selection: OrderSelection,
    job_type: JobType = JobType.CREATE_SHIPMENT,
    on_invalid: OnInvalid = OnInvalid.REJECT_ALL,
    ship_again_reason: str | None = None,
    idempotency_key: str | None = None,
) -> CreatedRobotJob:
    """Make a pending job of up to 10,000 orders, one item each in the order given, with what is typed for it.

    Ids given twice count once and are reported.  One order that is missing or may not go out refuses the whole, or is
    left out, as `on_invalid` says; without a single good one there is no job in either case.  `ship_again_reason`, 3 to
    500 characters, lets orders go out again that have a tracking number or an unsettled ending, and is recorded; never
    one that is in an open item or of which nobody knows whether it has a parcel (docs/decisions/0009).
    With an idempotency key at most one active job of the workspace holds it; two requests at once make one job.  To
    ship again a key is good once: nothing else tells a repeated request from a wish for a third parcel.
    Takes the key, then locks the orders by id.  A constant number of statements.  Raises InvalidInput,
    IdempotencyKeyInUse, OrdersRefused, CarrierConfigDisabled, CarrierConfigNotFound.
    """
    selection.check(ship_again=ship_again_reason is not None)
    key = optional_text("idempotencyKey", idempotency_key, at_most=IDEMPOTENCY_KEY_AT_MOST)
    reason = _checked_reason(ship_again_reason)
    config = await find_enabled_config(connection, carrier)
    selected = await select_orders(connection, selection, carrier=carrier, config=config)

    new_job = {
        "id": new_id(),
        "workspace_id": workspace_id,
        "carrier": carrier,
        "job_type": job_type,
        "total_items": len(selected.order_ids),
        "idempotency_key": key,
        "ship_again_reason": reason,
        "created_by": created_by,
        "last_event_seq": 1,
    }
    job = await _insert_job(connection, new_job)
    found = await lock_orders(connection, selected.order_ids)
    if selection.all_ready:  # what was held back, or taken by another job, before the lock is ready no more
        still = await select_orders(connection, selection, carrier=carrier, config=config, among=selected.order_ids)
        selected = replace(selected, order_ids=still.order_ids)
    if not selected.order_ids:  # told after the key: the same request again is answered with the job it made
        raise OrdersRefused([])
    known = [found[order_id] for order_id in selected.order_ids if order_id in found]
    checked = await check_orders(
        connection, carrier, known, config=config, shipped_before=all_known(known) if reason is not None else None
    )
    by_id = {each.order.id: each for each in checked}
    refused = tuple(
        by_id[order_id].as_problems() if order_id in by_id else order_not_found(order_id)
        for order_id in selected.order_ids
        if order_id not in by_id or by_id[order_id].outcome is CityOutcome.REJECTED
    )
    good = [each for each in checked if each.outcome is not CityOutcome.REJECTED]
    if not good or (refused and on_invalid is OnInvalid.REJECT_ALL):
        raise OrdersRefused(refused)

    if len(good) != job.total_items:
        job = await _set_total(connection, job, len(good))
    shipped_before = await find_blocked_orders(connection, [each.order for each in good]) if reason is not None else {}
    await _insert_items(connection, job, good)
    await connection.execute(
        INSERT_EVENTS,
        event_parameters(workspace_id, [_submitted(job, [each for each in good if each.order.id in shipped_before])]),
    )
    warned = tuple(each.as_problems() for each in good if each.outcome is CityOutcome.WARNING)
    return CreatedRobotJob(job, _named_again(selection.order_ids or ()), refused, warned, selected.has_more)


def _checked_reason(reason: str | None) -> str | None:
    if reason is None:
        return None
    text = optional_text("shipAgain.reason", reason, at_most=REASON_AT_MOST)
    if text is None or len(text) < REASON_AT_LEAST:
        raise invalid("shipAgain.reason", f"must say why, in {REASON_AT_LEAST} characters or more.")
    return text


def _submitted(job: RobotJob, shipped_before: Sequence[CheckedOrder]) -> NewEvent:
    payload = {
        "jobId": str(job.id),
        "workspaceId": str(job.workspace_id),
        "carrier": job.carrier,
        "jobType": job.job_type,
        "totalItems": job.total_items,
        "createdBy": job.created_by,
    }
    if job.ship_again_reason is not None:
        payload["shipAgain"] = {
            "reason": job.ship_again_reason,
            "orders": [
                {"orderId": str(each.order.id), "previousTrackingNumber": each.order.tracking_number}
                for each in shipped_before
            ],
        }
    return NewEvent(
        stream_id=job.id, seq=job.last_event_seq, type=EventType.JOB_SUBMITTED, job_id=job.id, payload=payload
    )


def _named_again(order_ids: Sequence[uuid.UUID]) -> tuple[uuid.UUID, ...]:
    seen: set[uuid.UUID] = set()
    again: dict[uuid.UUID, None] = {}
    for order_id in order_ids:
        if order_id in seen:
            again[order_id] = None
        seen.add(order_id)
    return tuple(again)


async def _insert_job(connection: AsyncConnection, values: dict[str, Any]) -> RobotJob:
    key = values["idempotency_key"]
    statement = pg.insert(robot_jobs).values(values).on_conflict_do_nothing().returning(robot_jobs)
    # A second request waits at a unique index until the first has committed, then finds it; the holder may finish
    # between the two statements, and then the key is free again.
    for _ in range(3):
        row = (await connection.execute(statement)).one_or_none()
        if row is not None:
            return RobotJob.from_row(row)
        holder = await find_job_with_key(connection, key, ships_again=values["ship_again_reason"] is not None)
        if holder is not None:
            raise IdempotencyKeyInUse(holder)
    raise RuntimeError("the holder of the idempotency key changed three times")


async def find_job_with_key(
    connection: AsyncConnection, key: str | None, *, ships_again: bool = False
) -> RobotJob | None:
    """The active job that holds the key; without one, if `ships_again`, the job that ever shipped again with it."""
    is_active = is_open(robot_jobs.c.status)
    holds = sa.or_(is_active, robot_jobs.c.ship_again_reason.is_not(None)) if ships_again else is_active
    row = (
        await connection.execute(
            sa.select(robot_jobs).where(robot_jobs.c.idempotency_key == key, holds).order_by(is_active.desc()).limit(1)
        )
    ).one_or_none()
    return RobotJob.from_row(row) if row is not None else None


async def _set_total(connection: AsyncConnection, job: RobotJob, total_items: int) -> RobotJob:
    row = await connection.execute(
        sa.update(robot_jobs).where(robot_jobs.c.id == job.id).values(total_items=total_items).returning(robot_jobs)
    )
    return RobotJob.from_row(row.one())


async def _insert_items(connection: AsyncConnection, job: RobotJob, good: Sequence[CheckedOrder]) -> None:
    """Only a job that ships again remembers the numbers which its orders had."""
    is_again = job.ship_again_reason is not None
    rows = (
        sa.func.unnest(
            array_of([new_id() for _ in good], sa.Uuid()),
            array_of([each.order.id for each in good], sa.Uuid()),
            array_of([each.carrier_city for each in good], sa.Text()),
            array_of([each.pedido_input for each in good], pg.JSONB()),
            array_of([each.order.tracking_number if is_again else None for each in good], sa.Text()),
        )
        .table_valued("id", "order_id", "validated_city", "value_sent", "previous_tracking_number")
        .render_derived()
    )
    await connection.execute(
        sa.insert(robot_job_items).from_select(
            ["job_id", "id", "order_id", "validated_city", "value_sent", "previous_tracking_number"],
            sa.select(sa.literal(job.id, sa.Uuid()), *rows.c),
        )
    )
