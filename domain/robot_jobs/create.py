"""A job begins: the orders are checked and locked, then job, items and first event are written together."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.base import array_of, new_id
from domain.carriers import Carrier, match_cities
from domain.city_matching import CityOutcome
from domain.errors import invalid
from domain.events import INSERT_EVENTS, EventType, NewEvent, event_parameters
from domain.orders import ORDERS_AT_MOST, Order, lock_orders
from domain.robot_jobs.blocks import find_blocked_orders
from domain.robot_jobs.errors import IdempotencyKeyInUse, OrdersNotFound, OrdersNotShippable
from domain.robot_jobs.tables import JobType, RobotJob, is_open, robot_job_items, robot_jobs
from domain.text import optional_text

IDEMPOTENCY_KEY_AT_MOST = 200


@dataclass(frozen=True, slots=True)
class CreatedRobotJob:
    job: RobotJob
    duplicate_order_ids: tuple[uuid.UUID, ...]


async def create_robot_job(
    connection: AsyncConnection,
    *,
    workspace_id: uuid.UUID,
    created_by: str,
    carrier: Carrier,
    order_ids: Sequence[uuid.UUID],
    job_type: JobType = JobType.CREATE_SHIPMENT,
    idempotency_key: str | None = None,
) -> CreatedRobotJob:
    """Make a pending job of 1 to 10,000 orders, one item per order in the order given.

    Ids given twice count once and are reported.  All or nothing: one missing or unshippable order refuses the whole.
    With an idempotency key at most one active job of the workspace holds it; two requests at once make one job.
    Locks the orders by id.  A constant number of statements.  Raises InvalidInput, IdempotencyKeyInUse,
    OrdersNotFound, OrdersNotShippable.
    """
    if not 1 <= len(order_ids) <= ORDERS_AT_MOST:
        raise invalid("orderIds", f"must name 1 to {ORDERS_AT_MOST:,} orders; it names {len(order_ids):,}.")
    key = optional_text("idempotencyKey", idempotency_key, at_most=IDEMPOTENCY_KEY_AT_MOST)
    wanted = list(dict.fromkeys(order_ids))
    duplicates = _named_again(order_ids)

    job = await _insert_job(connection, workspace_id, created_by, carrier, job_type, key, len(wanted))
    found = await lock_orders(connection, wanted)
    missing = [order_id for order_id in wanted if order_id not in found]
    if missing:
        raise OrdersNotFound(missing)
    blocked = await find_blocked_orders(connection, [found[order_id] for order_id in wanted])
    if blocked:
        raise OrdersNotShippable(blocked)

    await _insert_items(connection, job, [found[order_id] for order_id in wanted])
    await connection.execute(
        INSERT_EVENTS,
        event_parameters(
            workspace_id,
            [
                NewEvent(
                    stream_id=job.id,
                    seq=job.last_event_seq,
                    type=EventType.JOB_SUBMITTED,
                    job_id=job.id,
                    payload={
                        "jobId": str(job.id),
                        "workspaceId": str(workspace_id),
                        "carrier": carrier,
                        "jobType": job_type,
                        "totalItems": job.total_items,
                        "createdBy": created_by,
                    },
                )
            ],
        ),
    )
    return CreatedRobotJob(job, duplicates)


def _named_again(order_ids: Sequence[uuid.UUID]) -> tuple[uuid.UUID, ...]:
    seen: set[uuid.UUID] = set()
    again: dict[uuid.UUID, None] = {}
    for order_id in order_ids:
        if order_id in seen:
            again[order_id] = None
        seen.add(order_id)
    return tuple(again)


async def _insert_job(
    connection: AsyncConnection,
    workspace_id: uuid.UUID,
    created_by: str,
    carrier: Carrier,
    job_type: JobType,
    key: str | None,
    total_items: int,
) -> RobotJob:
    statement = (
        pg.insert(robot_jobs)
        .values(
            id=new_id(),
            workspace_id=workspace_id,
            carrier=carrier,
            job_type=job_type,
            total_items=total_items,
            idempotency_key=key,
            created_by=created_by,
            last_event_seq=1,
        )
        .on_conflict_do_nothing(
            index_elements=["workspace_id", "idempotency_key"],
            index_where=sa.text("status IN ('pending', 'processing')"),
        )
        .returning(robot_jobs)
    )
    # A second request waits at the unique index until the first has committed, then finds it; the holder may finish
    # between the two statements, and then the key is free again.
    for _ in range(3):
        row = (await connection.execute(statement)).one_or_none()
        if row is not None:
            return RobotJob.from_row(row)
        holder = await find_active_job_with_key(connection, key)
        if holder is not None:
            raise IdempotencyKeyInUse(holder)
    raise RuntimeError("the holder of the idempotency key changed three times")


async def find_active_job_with_key(connection: AsyncConnection, key: str | None) -> RobotJob | None:
    row = (
        await connection.execute(
            sa.select(robot_jobs).where(robot_jobs.c.idempotency_key == key, is_open(robot_jobs.c.status))
        )
    ).one_or_none()
    return RobotJob.from_row(row) if row is not None else None


async def validated_cities(
    connection: AsyncConnection, carrier: Carrier, job_orders: Sequence[Order]
) -> list[str | None]:
    """The carrier city of each order as it is now; None where there is none or the order may not go there."""
    questions = [(order.city, order.department, order.is_cod) for order in job_orders]
    return [
        None if match.outcome is CityOutcome.REJECTED else match.carrier_city
        for match in await match_cities(connection, carrier, questions)
    ]


async def _insert_items(connection: AsyncConnection, job: RobotJob, job_orders: Sequence[Order]) -> None:
    validated = await validated_cities(connection, job.carrier, job_orders)
    rows = (
        sa.func.unnest(
            array_of([new_id() for _ in job_orders], sa.Uuid()),
            array_of([order.id for order in job_orders], sa.Uuid()),
            array_of(validated, sa.Text()),
        )
        .table_valued("id", "order_id", "validated_city")
        .render_derived()
    )
    await connection.execute(
        sa.insert(robot_job_items).from_select(
            ["job_id", "id", "order_id", "validated_city"], sa.select(sa.literal(job.id, sa.Uuid()), *rows.c)
        )
    )
