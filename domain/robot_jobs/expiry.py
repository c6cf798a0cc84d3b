"""Leases that have run out are ended: what no robot had submitted is done again, the rest may not be."""

import uuid
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.accounts import Breaker, note_lost_robots
from domain.base import array_parameter
from domain.carriers import Carrier
from domain.events import EventType
from domain.robot_jobs.changes import JobChange, write_job_changes
from domain.robot_jobs.closing import Closing, close_items
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

SWEEPER = "system"
EXPIRIES_AT_MOST = 3
"""An item that so many robots have died of, since a person last said to try it, is left to a person."""
BATCH = 500

_RAN_OUT = "The robot's lease ran out before it had submitted anything."
_RAN_OUT_TOO_OFTEN = f"{_RAN_OUT}  That was try {{count}} in a row: retry it when the reason is known."
_UNKNOWN = "The robot's lease ran out after it had submitted: nobody knows whether there is a parcel."

_item = robot_job_items.c


@dataclass(frozen=True, slots=True)
class ExpiredLeases:
    """The jobs that changed.  `has_more`: a batch was full, so there may be more to end."""

    jobs: list[RobotJob]
    requeued: int
    given_up: int
    unknown: int
    has_more: bool

    @property
    def count(self) -> int:
        return self.requeued + self.given_up + self.unknown


async def end_expired_leases(
    connection: AsyncConnection,
    *,
    limit: int = BATCH,
    breaker: Breaker = Breaker(),  # noqa: B008 -- frozen
) -> ExpiredLeases:
    """End what leases have run out by the database's clock, a batch of them, in all workspaces.

    Not submitted: the try is closed as an error and the item is pending again with a new one; after several such
    tries in a row it stays an error, and the account counts its robot as a portal error.  Submitted: an error with an
    unknown outcome.  Attempts, counters, job status and events as for a result.  Locks the jobs, passing by those that
    somebody else has locked, then the items by id, then the accounts.  For the system role (`enter_all_workspaces`).
    A constant number of statements.
    """
    due = (await connection.scalars(_DUE, {"limit": limit})).all()
    if not due:
        return ExpiredLeases([], 0, 0, 0, has_more=False)
    jobs = await lock_jobs_passing_by(connection, set(due))
    rows = (await connection.execute(_LOCK_EXPIRED, {"job_ids": list(jobs), "limit": limit})).all()
    expired = [(RobotJobItem.from_values(*row[1:]), int(row.expiries) + 1) for row in rows]

    closings: list[tuple[RobotJobItem, Closing]] = []
    again: list[RobotJobItem] = []
    for item, count in expired:
        if item.submitted_at is not None:
            closings.append((item, replace(_timeout(_UNKNOWN), outcome_unknown=True)))
        elif count >= EXPIRIES_AT_MOST:
            closings.append((item, _timeout(_RAN_OUT_TOO_OFTEN.format(count=count))))
        else:
            again.append(item)
    changes = {job_id: JobChange(job) for job_id, job in jobs.items()}
    await _requeue(connection, again, changes)
    await close_by_system(connection, closings, changes)
    changed = [change for change in changes.values() if change.events]
    written = await write_job_changes(connection, changed) if changed else []
    await note_lost_robots(connection, _count_lost_robots(expired, jobs), breaker=breaker)
    return ExpiredLeases(
        written,
        requeued=len(again),
        given_up=sum(not closing.outcome_unknown for _, closing in closings),
        unknown=sum(closing.outcome_unknown for _, closing in closings),
        has_more=len(rows) == limit,
    )


def _count_lost_robots(
    expired: Sequence[tuple[RobotJobItem, int]], jobs: Mapping[uuid.UUID, RobotJob]
) -> Counter[tuple[uuid.UUID, Carrier]]:
    """By account.  A robot that held several items died once."""
    lost = {
        (job.workspace_id, job.carrier, item.leased_by)
        for item, job in ((item, jobs[item.job_id]) for item, _ in expired)
        if item.submitted_at is None
    }
    return Counter((workspace_id, carrier) for workspace_id, carrier, _ in lost)


def _timeout(message: str) -> Closing:
    return Closing(status=ItemStatus.ERROR, error_type=ErrorType.TIMEOUT, error_message=message)


async def lock_jobs_passing_by(
    connection: AsyncConnection, job_ids: Collection[uuid.UUID]
) -> dict[uuid.UUID, RobotJob]:
    """Those of the jobs that nobody else has locked, by id, under their locks."""
    found = await connection.execute(_LOCK_JOBS, {"job_ids": list(job_ids)})
    return {row.id: RobotJob.from_row(row) for row in found}


async def close_by_system(
    connection: AsyncConnection,
    closings: Sequence[tuple[RobotJobItem, Closing]],
    changes: dict[uuid.UUID, JobChange],
) -> None:
    """Close the items and tell their jobs' changes, which are then to be written.  The caller holds their locks."""
    if not closings:
        return
    closed = await close_items(connection, closings, closed_by=ClosedBy.SYSTEM, reported_by=SWEEPER)
    for (before, _), after in zip(closings, closed, strict=True):
        changes[after.job_id].item_closed(before=before, after=after)


async def _requeue(
    connection: AsyncConnection, items: Sequence[RobotJobItem], changes: dict[uuid.UUID, JobChange]
) -> None:
    """The tries that ended are kept before the items forget them."""
    if not items:
        return
    await connection.execute(
        _REQUEUE, {"item_ids": [item.id for item in items], "message": _RAN_OUT, "reported_by": SWEEPER}
    )
    by_job: dict[uuid.UUID, list[RobotJobItem]] = {}
    for item in items:
        by_job.setdefault(item.job_id, []).append(item)
    for job_id, those in by_job.items():
        changes[job_id].add(
            EventType.ITEMS_RETRIED,
            jobId=str(job_id),
            workspaceId=str(changes[job_id].job.workspace_id),
            items=[{"itemId": str(item.id), "attempt": item.attempt + 1} for item in those],
        )


# Not clock_timestamp(): what may change while a statement runs is compared with every lease that there is.
_HAS_RUN_OUT = _item.lease_expires_at <= sa.func.statement_timestamp()
_DUE = (
    sa.select(_item.job_id)
    .where(_HAS_RUN_OUT)
    .order_by(_item.lease_expires_at)
    .limit(sa.bindparam("limit", type_=sa.Integer()))
)
# SKIP LOCKED: of several jobs, one whose results are coming in now has its turn the next time.
_LOCK_JOBS = (
    sa.select(robot_jobs)
    .where(robot_jobs.c.id == sa.func.any(array_parameter("job_ids", sa.Uuid())))
    .order_by(robot_jobs.c.id)
    .with_for_update(skip_locked=True)
)
_kept = robot_job_attempts.c
_expiries = (
    sa.select(sa.func.count())
    .where(
        _kept.item_id == _item.id,
        _kept.reported_by == SWEEPER,
        _kept.completed_at > sa.func.coalesce(_item.last_retry_at, _item.created_at),
    )
    .correlate(robot_job_items)
    .scalar_subquery()
)
_LOCK_EXPIRED = (
    sa.select(_expiries.label("expiries"), robot_job_items)
    .where(_item.job_id == sa.func.any(array_parameter("job_ids", sa.Uuid())), _HAS_RUN_OUT)
    .order_by(_item.id)
    .limit(sa.bindparam("limit", type_=sa.Integer()))
    .with_for_update(key_share=True, of=robot_job_items)
)

_ended = (
    pg.insert(robot_job_attempts)
    .from_select(
        [
            "item_id",
            "attempt",
            "status",
            "error_type",
            "error_message",
            "closed_by",
            "reported_by",
            "started_at",
            "value_sent",
        ],
        sa.select(
            _item.id,
            _item.attempt,
            sa.literal(ItemStatus.ERROR.value),
            sa.literal(ErrorType.TIMEOUT.value),
            sa.bindparam("message", type_=sa.Text()),
            sa.literal(ClosedBy.SYSTEM.value),
            sa.bindparam("reported_by", type_=sa.Text()),
            _item.started_at,
            _item.value_sent,
        ).where(_item.id == sa.func.any(array_parameter("item_ids", sa.Uuid()))),
    )
    .cte("ended")
)
_REQUEUE = (
    sa.update(robot_job_items)
    .where(_item.id == sa.func.any(array_parameter("item_ids", sa.Uuid())))
    .values(
        status=ItemStatus.PENDING.value,
        attempt=_item.attempt + 1,
        retry_count=_item.retry_count + 1,
        lease_token=None,
        leased_by=None,
        lease_expires_at=None,
        claim_id=None,
        started_at=None,
        updated_at=sa.func.clock_timestamp(),
    )
    .add_cte(_ended)
)
