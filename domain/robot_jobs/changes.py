"""What happens to a job as its items close: counters, status and events, worked out first, then written at once."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.base import array_parameter
from domain.events import (
    INSERT_EVENTS,
    INSERT_EVENTS_OF_MANY,
    EventType,
    NewEvent,
    event_parameters,
    parameters_of_many,
)
from domain.robot_jobs.tables import ItemStatus, JobStatus, RobotJob, RobotJobItem, robot_jobs

_FINISHED = {
    JobStatus.COMPLETED: EventType.JOB_COMPLETED,
    JobStatus.FAILED: EventType.JOB_FAILED,
    JobStatus.CANCELLED: EventType.JOB_CANCELLED,
}
_COUNTERS = {
    ItemStatus.SUCCESS: "success_count",
    ItemStatus.ERROR: "error_count",
    ItemStatus.CANCELLED: "cancelled_count",
}


def next_job_status(job: RobotJob, *, finish_as: JobStatus, has_unproven_items: bool) -> JobStatus:
    """The status that the counters call for.

    Closing the last open item finishes an active job.  A failed or cancelled job becomes
    completed when a late proof has replaced the last thing that the system itself had written.
    """
    if job.status is JobStatus.COMPLETED:
        return JobStatus.COMPLETED
    if job.status.is_active and job.open_count == 0:
        return finish_as
    if job.status.is_active:
        return job.status
    return job.status if has_unproven_items else JobStatus.COMPLETED


class JobChange:
    """The job as it will be, and the events to tell; begins with the job as read under its lock.

    `finish_as`: what the job becomes when its last open item closes, if not what its row says.  `has_unproven_items`:
    whether other items keep an ending that the system wrote; it may change from item to item.
    """

    def __init__(self, job: RobotJob, *, finish_as: JobStatus | None = None, has_unproven_items: bool = False) -> None:
        self.job = job
        self.events: list[NewEvent] = []
        self._finish_as = finish_as or job.finishes_as
        self.has_unproven_items = has_unproven_items

    def start(self, item: RobotJobItem | None = None) -> None:
        """Pending becomes processing, from the time that the item was taken up."""
        if self.job.status is JobStatus.PENDING:
            self.job = replace(self.job, status=JobStatus.PROCESSING)
            if item is not None:
                self.job = replace(self.job, started_at=item.started_at)
            self.add(EventType.JOB_STARTED)

    def item_closed(self, *, before: RobotJobItem, after: RobotJobItem) -> None:
        """Count the item, settle the job's status, tell both: each event carries the counters as of that event."""
        if self._finish_as is JobStatus.COMPLETED and before.status.is_open:
            self.start(after)
        if before.status in _COUNTERS:
            self._count(before.status, -1)
        self._count(after.status, +1)
        was = self.job.status
        status = next_job_status(self.job, finish_as=self._finish_as, has_unproven_items=self.has_unproven_items)
        is_finished_now = status is not was and not status.is_active
        self.job = replace(
            self.job,
            status=status,
            completed_at=after.completed_at if is_finished_now else self.job.completed_at,
            updated_at=after.updated_at,
            error=None if status is JobStatus.COMPLETED else self.job.error,
        )
        self.add(
            EventType.ITEM_COMPLETED,
            item=after,
            jobId=str(after.job_id),
            itemId=str(after.id),
            orderId=str(after.order_id),
            workspaceId=str(self.job.workspace_id),
            **after.snapshot(),
        )
        if is_finished_now:
            self.add(_FINISHED[status])

    def add(self, type_: EventType, *, item: RobotJobItem | None = None, **facts: object) -> None:
        """Append an event with the next number; without facts of its own it tells how the job stands."""
        seq = self.job.last_event_seq + 1
        self.job = replace(self.job, last_event_seq=seq)
        own = facts or {
            "jobId": str(self.job.id),
            "workspaceId": str(self.job.workspace_id),
            "error": self.job.error,
        }
        self.events.append(
            NewEvent(
                stream_id=self.job.id,
                seq=seq,
                type=type_,
                payload={**own, "job": self.job.snapshot()},
                job_id=self.job.id,
                item_id=item.id if item is not None else None,
            )
        )

    def _count(self, status: ItemStatus, step: int) -> None:
        counter = _COUNTERS[status]
        value = getattr(self.job, counter) + step
        match counter:
            case "success_count":
                self.job = replace(self.job, success_count=value)
            case "error_count":
                self.job = replace(self.job, error_count=value)
            case _:
                self.job = replace(self.job, cancelled_count=value)


_WRITTEN: dict[str, sa.types.TypeEngine[Any]] = {
    "status": sa.Text(),
    "success_count": sa.Integer(),
    "error_count": sa.Integer(),
    "cancelled_count": sa.Integer(),
    "error": sa.Text(),
    "last_event_seq": sa.BigInteger(),
    "started_at": sa.DateTime(timezone=True),
    "completed_at": sa.DateTime(timezone=True),
}
_WRITE_JOB = (
    sa.update(robot_jobs)
    .where(robot_jobs.c.id == sa.bindparam("job_id", type_=sa.Uuid()))
    .values(
        **{name: sa.bindparam(f"new_{name}", type_=type_) for name, type_ in _WRITTEN.items()},
        cancel_requested_at=sa.bindparam("new_cancel_requested_at", type_=sa.DateTime(timezone=True)),
        updated_at=sa.func.clock_timestamp(),
    )
    .returning(robot_jobs)
    .add_cte(INSERT_EVENTS.cte("recorded"))
)


async def write_job_change(connection: AsyncConnection, change: JobChange) -> RobotJob:
    """Write the job and its events; one statement.  The caller holds the job's lock."""
    job = change.job
    row = await connection.execute(
        _WRITE_JOB,
        {
            "job_id": job.id,
            **{f"new_{name}": getattr(job, name) for name in _WRITTEN},
            "new_cancel_requested_at": job.cancel_requested_at,
            **event_parameters(job.workspace_id, change.events),
        },
    )
    return RobotJob.from_row(row.one())


_changes = (
    sa.func.unnest(
        array_parameter("job_ids", sa.Uuid()), *(array_parameter(f"new_{name}", _WRITTEN[name]) for name in _WRITTEN)
    )
    .table_valued(sa.column("job_id", sa.Uuid()), *(sa.column(name, type_) for name, type_ in _WRITTEN.items()))
    .render_derived("changes")
)
_WRITE_JOBS = (
    sa.update(robot_jobs)
    .where(robot_jobs.c.id == _changes.c.job_id)
    .values(**{name: _changes.c[name] for name in _WRITTEN}, updated_at=sa.func.clock_timestamp())
    .returning(robot_jobs)
    .add_cte(INSERT_EVENTS_OF_MANY.cte("recorded"))
)


async def write_job_changes(connection: AsyncConnection, changes: Sequence[JobChange]) -> list[RobotJob]:
    """As write_job_change, for jobs of any workspaces; one statement.  Does not write when cancelling was asked for."""
    jobs = [change.job for change in changes]
    rows = await connection.execute(
        _WRITE_JOBS,
        {
            "job_ids": [job.id for job in jobs],
            **{f"new_{name}": [getattr(job, name) for job in jobs] for name in _WRITTEN},
            **parameters_of_many(
                [(job.workspace_id, change.events) for job, change in zip(jobs, changes, strict=True)]
            ),
        },
    )
    return [RobotJob.from_row(row) for row in rows]
