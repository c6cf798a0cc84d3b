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
    cancelling closes them as cancelled.  A job completes by itself with its last item, and only a retry makes it
    pending again.  Locks the job, then its open items.  Raises InvalidInput, RobotJobNotFound, InvalidTransition.
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
            closing = Closing(status=ItemStatus.ERROR, error_type=error_type or ErrorType.UNKNOWN, error_message=reason)
            return await _close(connection, replace(job, error=reason), closing, status, updated_by)
        case JobStatus.CANCELLED if job.status.is_active:
            closing = Closing(status=ItemStatus.CANCELLED)
            return await _close(connection, replace(job, error=error), closing, status, updated_by)
        case JobStatus.COMPLETED if job.status.is_active:
            raise InvalidTransition(
                f"Job {job.id} still has {job.open_count} open items; it completes by itself with the last one.",
                job=job,
            )
        case _:
            raise InvalidTransition.of_job(job, status)


async def _start(connection: AsyncConnection, job: RobotJob) -> RobotJob:
    now: dt.datetime = (await connection.execute(sa.select(sa.func.clock_timestamp()))).scalar_one()
    change = JobChange(replace(job, started_at=now, updated_at=now))
    change.start()
    return await write_job_change(connection, change)


async def _close(
    connection: AsyncConnection, job: RobotJob, closing: Closing, status: JobStatus, updated_by: str
) -> RobotJob:
    rows = await connection.execute(
        sa.select(robot_job_items)
        .where(robot_job_items.c.job_id == job.id, is_open(robot_job_items.c.status))
        .order_by(robot_job_items.c.id)
        .with_for_update(key_share=True)
    )
    open_items = [RobotJobItem.from_row(row) for row in rows]
    closed = await close_items(
        connection,
        [(item, closing) for item in open_items],
        closed_by=ClosedBy.SYSTEM,
        reported_by=updated_by,
    )
    change = JobChange(job, finish_as=status, has_unproven_items=True)
    for before, after in zip(open_items, closed, strict=True):
        change.item_closed(before=before, after=after)
    return await write_job_change(connection, change)
