"""A job's status as someone outside sets it: taken up, failed or cancelled as a whole."""

import datetime as dt
import uuid
from dataclasses import replace
from enum import StrEnum

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.robot_jobs.changes import JobChange, write_job_change
from domain.robot_jobs.closing import Closing, close_items
from domain.robot_jobs.errors import InvalidTransition, RobotJobNotFound
from domain.robot_jobs.tables import (
    ClosedBy,
    ErrorType,
    ItemStatus,
    JobStatus,
    RobotJob,
    RobotJobItem,
    is_open,
    robot_job_items,
    robot_jobs,
)
from domain.text import optional_text

ERROR_AT_MOST = 2_000


class JobStatusUpdate(StrEnum):
    """What a job may be set to from outside."""

    PROCESSING = JobStatus.PROCESSING.value
    FAILED = JobStatus.FAILED.value
    CANCELLED = JobStatus.CANCELLED.value


async def lock_job(connection: AsyncConnection, job_id: uuid.UUID) -> RobotJob:
    """The job under its lock, which comes before those of its items.  Raises RobotJobNotFound."""
    row = (
        await connection.execute(sa.select(robot_jobs).where(robot_jobs.c.id == job_id).with_for_update())
    ).one_or_none()
    if row is None:
        raise RobotJobNotFound(job_id)
    return RobotJob.from_row(row)


async def update_job_status(
    connection: AsyncConnection,
    job_id: uuid.UUID,
    status: JobStatus,
    *,
    updated_by: str,
    error: str | None = None,
    error_type: ErrorType | None = None,
) -> RobotJob:
    """Take a job up, fail it or cancel it; setting the status that it has changes nothing.

    Failing closes every open item as an error of `error_type` (default unknown) with the job's `error` as its message;
    of those that a robot had submitted nobody knows then whether they have a parcel.  Cancelling closes the open items
    as cancelled, but for those that were submitted: they are finished and count, and the job is cancelled with the
    last of them.  A job completes by itself with its last item, and only a retry makes it pending again.  Locks the
    job, then its open items.  Raises InvalidInput, RobotJobNotFound, InvalidTransition.
    """
    error = optional_text("error", error, at_most=ERROR_AT_MOST)
    job = await lock_job(connection, job_id)
    if job.status is status:
        return job
    match status:
        case JobStatus.PROCESSING if job.status is JobStatus.PENDING:
            return await _start(connection, job)
        case JobStatus.FAILED if job.status.is_active:
            reason = error or "The job failed; no reason was given."
            return await _fail(connection, replace(job, error=reason), error_type or ErrorType.UNKNOWN, updated_by)
        case JobStatus.CANCELLED if job.cancel_requested_at is not None and job.status.is_active:
            return job
        case JobStatus.CANCELLED if job.status.is_active:
            return await _cancel(connection, replace(job, error=error), updated_by)
        case JobStatus.COMPLETED if job.status.is_active:
            raise InvalidTransition(
                f"Job {job.id} still has {job.open_count} open items; it completes by itself with the last one.",
                job=job,
            )
        case _:
            raise InvalidTransition.of_job(job, status)


async def cancel_robot_job(
    connection: AsyncConnection, job_id: uuid.UUID, *, cancelled_by: str, reason: str | None = None
) -> RobotJob:
    """Begin nothing more of it; what was submitted is finished: see update_job_status.  Again changes nothing.

    Raises InvalidInput, RobotJobNotFound, InvalidTransition.
    """
    reason = optional_text("reason", reason, at_most=ERROR_AT_MOST)
    return await update_job_status(connection, job_id, JobStatus.CANCELLED, updated_by=cancelled_by, error=reason)


async def _start(connection: AsyncConnection, job: RobotJob) -> RobotJob:
    now = await _now(connection)
    change = JobChange(replace(job, started_at=now, updated_at=now))
    change.start()
    return await write_job_change(connection, change)


async def _fail(connection: AsyncConnection, job: RobotJob, error_type: ErrorType, updated_by: str) -> RobotJob:
    closing = Closing(status=ItemStatus.ERROR, error_type=error_type, error_message=job.error)
    unknown = replace(closing, error_type=ErrorType.TIMEOUT, outcome_unknown=True)
    closings = [
        (item, closing if item.submitted_at is None else unknown) for item in await _lock_open_items(connection, job)
    ]
    return await _close(
        connection, JobChange(job, finish_as=JobStatus.FAILED, has_unproven_items=True), closings, updated_by
    )


async def _cancel(connection: AsyncConnection, job: RobotJob, updated_by: str) -> RobotJob:
    closing = Closing(status=ItemStatus.CANCELLED)
    closings = [(item, closing) for item in await _lock_open_items(connection, job) if item.submitted_at is None]
    now = await _now(connection)
    job = replace(job, cancel_requested_at=now, updated_at=now)
    return await _close(connection, JobChange(job, has_unproven_items=True), closings, updated_by)


async def _lock_open_items(connection: AsyncConnection, job: RobotJob) -> list[RobotJobItem]:
    rows = await connection.execute(
        sa.select(robot_job_items)
        .where(robot_job_items.c.job_id == job.id, is_open(robot_job_items.c.status))
        .order_by(robot_job_items.c.id)
        .with_for_update(key_share=True)
    )
    return [RobotJobItem.from_row(row) for row in rows]


async def _close(
    connection: AsyncConnection, change: JobChange, closings: list[tuple[RobotJobItem, Closing]], updated_by: str
) -> RobotJob:
    if closings:
        closed = await close_items(connection, closings, closed_by=ClosedBy.SYSTEM, reported_by=updated_by)
        for (before, _), after in zip(closings, closed, strict=True):
            change.item_closed(before=before, after=after)
    return await write_job_change(connection, change)


async def _now(connection: AsyncConnection) -> dt.datetime:
    now: dt.datetime = (await connection.execute(sa.select(sa.func.clock_timestamp()))).scalar_one()
    return now
