"""Jobs and items as people read them.  One statement a question, however many jobs it is asked of."""

import datetime as dt
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.base import array_of
from domain.carriers import Carrier
from domain.events import EventType, events
from domain.pages import Page, PageRequest
from domain.robot_jobs.errors import RobotJobNotFound
from domain.robot_jobs.item_results import AttemptStep
from domain.robot_jobs.lists import ItemFilter, list_items_of_jobs
from domain.robot_jobs.tables import (
    ErrorType,
    ItemStatus,
    JobType,
    Resolution,
    RobotJob,
    RobotJobItem,
    is_open,
    robot_job_attempts,
    robot_job_items,
    robot_jobs,
)


@dataclass(frozen=True, slots=True)
class JobWithItems:
    job: RobotJob
    items: Page[RobotJobItem]


async def get_job_with_items(
    connection: AsyncConnection,
    job_id: uuid.UUID,
    *,
    page: PageRequest,
    item_filter: ItemFilter | None = None,
) -> JobWithItems:
    """A job and a page of its items.  In a repeatable-read transaction its counters agree with them.

    Raises RobotJobNotFound.
    """
    jobs = await find_robot_jobs(connection, [job_id])
    if job_id not in jobs:
        raise RobotJobNotFound(job_id)
    pages = await list_items_of_jobs(connection, [job_id], page=page, item_filter=item_filter)
    return JobWithItems(jobs[job_id], pages[job_id])


async def find_robot_jobs(connection: AsyncConnection, job_ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, RobotJob]:
    """Those of the jobs that are this workspace's, by id."""
    rows = await connection.execute(
        sa.select(robot_jobs).where(robot_jobs.c.id == sa.func.any(array_of(list(job_ids), sa.Uuid())))
    )
    return {row.id: RobotJob.from_row(row) for row in rows}


async def get_active_job(
    connection: AsyncConnection, carrier: Carrier, job_type: JobType = JobType.CREATE_SHIPMENT
) -> RobotJob | None:
    """The newest job of that kind that is pending or processing, or None."""
    row = (
        await connection.execute(
            sa.select(robot_jobs)
            .where(
                robot_jobs.c.carrier == carrier.value,
                robot_jobs.c.job_type == job_type.value,
                is_open(robot_jobs.c.status),
            )
            .order_by(robot_jobs.c.id.desc())
            .limit(1)
        )
    ).one_or_none()
    return RobotJob.from_row(row) if row is not None else None


async def find_robot_job_items(
    connection: AsyncConnection, item_ids: Sequence[uuid.UUID]
) -> dict[uuid.UUID, RobotJobItem]:
    """Those of the items that are this workspace's, by id."""
    rows = await connection.execute(
        sa.select(robot_job_items).where(robot_job_items.c.id == sa.func.any(array_of(list(item_ids), sa.Uuid())))
    )
    return {row.id: RobotJobItem.from_row(row) for row in rows}


@dataclass(frozen=True, slots=True)
class Pace:
    """How many items a robot is working on, and how many were closed since the job was last started."""

    processing: int = 0
    closed_since_start: int = 0


async def measure_pace(connection: AsyncConnection, job_ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, Pace]:
    """The pace of each job; one statement for all of them.  After a retry what was closed before does not count."""
    item = robot_job_items.c
    rows = await connection.execute(
        sa.select(
            item.job_id,
            sa.func.count().filter(item.status == ItemStatus.PROCESSING.value).label("processing"),
            sa.func.count().filter(item.completed_at >= robot_jobs.c.started_at).label("closed"),
        )
        .join(robot_jobs, robot_jobs.c.id == item.job_id)
        .where(item.job_id == sa.func.any(array_of(list(job_ids), sa.Uuid())))
        .group_by(item.job_id)
    )
    return dict.fromkeys(job_ids, Pace()) | {row.job_id: Pace(row.processing, row.closed) for row in rows}


class FailureAction(StrEnum):
    """What a person must do about a failed item."""

    FIX_ORDER = "fix_order"
    RETRY = "retry"
    CHECK_PORTAL = "check_portal"
    INVESTIGATE = "investigate"


@dataclass(frozen=True, slots=True)
class FailureGroup:
    """Failed items of one job for which the same must be done; messages are the most frequent ones, at most 5."""

    action: FailureAction
    error_type: ErrorType
    count: int
    messages: list[str]


def failure_action(error_type: ErrorType, *, needs_look: bool) -> FailureAction:
    """`needs_look`: nobody knows whether the parcel exists, or the item is flagged for review."""
    if needs_look:
        return FailureAction.CHECK_PORTAL
    match error_type:
        case ErrorType.VALIDATION:
            return FailureAction.FIX_ORDER
        case ErrorType.PORTAL | ErrorType.TIMEOUT:
            return FailureAction.RETRY
        case ErrorType.UNKNOWN:
            return FailureAction.INVESTIGATE


async def list_failures(
    connection: AsyncConnection, job_ids: Sequence[uuid.UUID]
) -> dict[uuid.UUID, list[FailureGroup]]:
    """Each job's failed items grouped by what must be done, the largest group first; one statement for all jobs."""
    needs_look = sa.or_(robot_job_items.c.outcome_unknown, robot_job_items.c.review_reason.is_not(None))
    rows = await connection.execute(
        sa.select(
            robot_job_items.c.job_id,
            robot_job_items.c.error_type,
            needs_look.label("needs_look"),
            robot_job_items.c.error_message,
            sa.func.count().label("items"),
        )
        .where(
            robot_job_items.c.job_id == sa.func.any(array_of(list(job_ids), sa.Uuid())),
            robot_job_items.c.status == ItemStatus.ERROR.value,
        )
        .group_by(
            robot_job_items.c.job_id,
            robot_job_items.c.error_type,
            "needs_look",
            robot_job_items.c.error_message,
        )
        .order_by(sa.desc("items"), robot_job_items.c.error_message)
    )
    groups: dict[uuid.UUID, dict[tuple[FailureAction, ErrorType], FailureGroup]] = {job_id: {} for job_id in job_ids}
    for row in rows:
        error_type = ErrorType(row.error_type)
        action = failure_action(error_type, needs_look=row.needs_look)
        before = groups[row.job_id].get((action, error_type), FailureGroup(action, error_type, 0, []))
        messages = [*before.messages, row.error_message] if row.error_message else before.messages
        groups[row.job_id][action, error_type] = FailureGroup(
            action, error_type, before.count + row.items, messages[:5]
        )
    return {
        job_id: sorted(of_job.values(), key=lambda group: (-group.count, group.error_type))
        for job_id, of_job in groups.items()
    }


@dataclass(frozen=True, slots=True)
class Attempt:
    """One closed try of an item."""

    item_id: uuid.UUID
    attempt: int
    status: ItemStatus
    tracking_number: str | None
    value_sent: dict[str, Any] | None
    error_type: ErrorType | None
    error_message: str | None
    late_results: list[dict[str, Any]]
    started_at: dt.datetime | None
    completed_at: dt.datetime
    submitted_at: dt.datetime | None
    reserved_number: str | None
    resolution: Resolution | None
    resolved_by: str | None
    resolution_reason: str | None
    resolved_at: dt.datetime | None
    robot: str | None
    steps: list[AttemptStep]


async def list_attempts(connection: AsyncConnection, item_ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, list[Attempt]]:
    """The closed tries of each item, the first one first; one statement for all items."""
    kept = robot_job_attempts.c
    rows = await connection.execute(
        sa.select(
            kept.item_id,
            kept.attempt,
            kept.status,
            kept.tracking_number,
            kept.value_sent,
            kept.error_type,
            kept.error_message,
            kept.late_results,
            kept.started_at,
            kept.completed_at,
            kept.submitted_at,
            kept.reserved_number,
            kept.resolution,
            kept.resolved_by,
            kept.resolution_reason,
            kept.resolved_at,
            kept.robot,
            kept.steps,
        )
        .where(kept.item_id == sa.func.any(array_of(list(item_ids), sa.Uuid())))
        .order_by(kept.item_id, kept.attempt)
    )
    found: dict[uuid.UUID, list[Attempt]] = {item_id: [] for item_id in item_ids}
    for row in rows:
        found[row.item_id].append(
            Attempt(
                row.item_id,
                row.attempt,
                ItemStatus(row.status),
                row.tracking_number,
                row.value_sent,
                ErrorType(row.error_type) if row.error_type else None,
                row.error_message,
                row.late_results,
                row.started_at,
                row.completed_at,
                row.submitted_at,
                row.reserved_number,
                Resolution(row.resolution) if row.resolution else None,
                row.resolved_by,
                row.resolution_reason,
                row.resolved_at,
                row.robot,
                [AttemptStep.from_json(step) for step in row.steps],
            )
        )
    return found


@dataclass(frozen=True, slots=True)
class Event:
    """An event as it was read."""

    id: uuid.UUID
    seq: int
    type: EventType
    payload: dict[str, Any]
    occurred_at: dt.datetime


async def list_events(
    connection: AsyncConnection, stream_ids: Sequence[uuid.UUID], *, after_seq: int, limit: int
) -> dict[uuid.UUID, list[Event]]:
    """Each stream's events after that number, in order, at most `limit` of each; one statement for all streams."""
    asked = sa.func.unnest(array_of(list(stream_ids), sa.Uuid())).table_valued("id").render_derived("asked")
    of_stream = (
        sa.select(events)
        .where(events.c.stream_id == asked.c.id, events.c.seq > after_seq)
        .order_by(events.c.seq)
        .limit(limit)
        .lateral("of_stream")
    )
    rows = await connection.execute(
        sa.select(of_stream).select_from(asked.join(of_stream, sa.true())).order_by(of_stream.c.seq)
    )
    found: dict[uuid.UUID, list[Event]] = {stream_id: [] for stream_id in stream_ids}
    for row in rows:
        found[row.stream_id].append(Event(row.id, row.seq, EventType(row.type), row.payload, row.occurred_at))
    return found


@dataclass(frozen=True, slots=True)
class ItemCompletion:
    """An item that was closed, with item and job as of that event."""

    seq: int
    item: RobotJobItem
    job: RobotJob


@dataclass(frozen=True, slots=True)
class Completions:
    """A stretch of a job's completions, and the job as it stands.  `has_more`: the stretch was cut at its limit."""

    job: RobotJob
    completions: list[ItemCompletion]
    has_more: bool

    @property
    def is_all_told(self) -> bool:
        return not self.has_more and not self.job.status.is_active


class EventsRemoved(Exception):
    """Someone would read on in a job's log from a place before what is left of it."""

    def __init__(self, job: RobotJob) -> None:
        super().__init__(f"events of job {job.id} up to number {job.removed_event_seq} have been removed")
        self.job = job


async def read_completions(
    connection: AsyncConnection, job_id: uuid.UUID, *, after_seq: int, limit: int = 200
) -> Completions:
    """As read_completions_of_jobs, of one job.

    Raises RobotJobNotFound, and EventsRemoved rather than skip what is no longer kept.
    """
    read = (await read_completions_of_jobs(connection, {job_id: after_seq}, limit=limit)).get(job_id)
    if read is None:
        raise RobotJobNotFound(job_id)
    if after_seq < read.job.removed_event_seq:
        raise EventsRemoved(read.job)
    return read


async def read_completions_of_jobs(
    connection: AsyncConnection, after_seqs: Mapping[uuid.UUID, int], *, limit: int = 200
) -> dict[uuid.UUID, Completions]:
    """Each job's completions after its event number, in order, at most `limit` of each, and how the job stands.

    One statement, one snapshot.  Jobs that are not to be seen are left out.  Where a job's `removed_event_seq` is above
    the number, some are no longer kept.
    """
    asked = (
        sa.func.unnest(
            array_of(list(after_seqs), sa.Uuid()),
            array_of(list(after_seqs.values()), sa.BigInteger()),
        )
        .table_valued("job_id", "after_seq")
        .render_derived("asked")
    )
    recent = (
        sa.select(events.c.seq, events.c.payload, events.c.item_id)
        .where(
            events.c.workspace_id == robot_jobs.c.workspace_id,
            events.c.stream_id == robot_jobs.c.id,
            events.c.seq > asked.c.after_seq,
            events.c.type == EventType.ITEM_COMPLETED.value,
        )
        .order_by(events.c.seq)
        .limit(limit)
        .lateral("recent")
    )
    rows = await connection.execute(
        sa.select(recent.c.seq, recent.c.payload, robot_jobs, robot_job_items)
        .select_from(
            asked.join(robot_jobs, robot_jobs.c.id == asked.c.job_id)
            .outerjoin(recent, sa.true())
            .outerjoin(robot_job_items, robot_job_items.c.id == recent.c.item_id)
        )
        .order_by(recent.c.seq)
    )
    item_at = 2 + len(robot_jobs.c)
    jobs: dict[uuid.UUID, RobotJob] = {}
    found: dict[uuid.UUID, list[ItemCompletion]] = {}
    for row in rows:
        job_id = row[2]
        if job_id not in jobs:
            jobs[job_id], found[job_id] = RobotJob.from_values(*row[2:item_at]), []
        if row.seq is not None:
            item = RobotJobItem.from_values(*row[item_at:]).as_of(row.payload)
            found[job_id].append(ItemCompletion(row.seq, item, jobs[job_id].as_of(row.payload["job"])))
    return {job_id: Completions(job, found[job_id], len(found[job_id]) == limit) for job_id, job in jobs.items()}
