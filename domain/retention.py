"""How long the event log is kept: old events of finished jobs go, from the beginning of a job's stream on.

What is left of a stream has no gap, and the job says up to which number it was removed: whoever reads on from an
earlier place is told so.  See docs/decisions/0012.
"""

import datetime as dt
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.base import array_parameter
from domain.events import events
from domain.robot_jobs import robot_jobs

EVENTS_AT_MOST = 5_000
JOBS_AT_MOST = 200


@dataclass(frozen=True, slots=True)
class RemovedEvents:
    """`has_more`: the batch was full, so there may be more to remove."""

    count: int
    has_more: bool


async def remove_old_events(
    connection: AsyncConnection, *, older_than: dt.timedelta, limit: int = EVENTS_AT_MOST
) -> RemovedEvents:
    """A batch of at most `limit` events: of jobs in which nothing has happened for so long, and changes of orders.

    For `enter_all_workspaces`.  A job that is active keeps all of its events, however old they are.  Locks the jobs,
    and waits for none: one that somebody works on comes next time.  Safe to repeat.
    """
    of_jobs = await _remove_of_jobs(connection, older_than, limit)
    if of_jobs.has_more:
        return of_jobs
    left = limit - of_jobs.count
    of_orders = await connection.execute(_REMOVE_OF_ORDERS, {"older_than": older_than, "limit": left})
    return RemovedEvents(of_jobs.count + of_orders.rowcount, of_orders.rowcount == left)


async def _remove_of_jobs(connection: AsyncConnection, older_than: dt.timedelta, limit: int) -> RemovedEvents:
    due = (await connection.execute(_LOCK_DUE, {"older_than": older_than, "jobs": JOBS_AT_MOST})).all()
    up_to = {}
    left = limit
    for job in due:
        count = min(left, job.last_event_seq - job.removed_event_seq)  # numbers have no gaps
        if count == 0:
            break
        up_to[job.id] = job.workspace_id, job.removed_event_seq + count
        left -= count
    if up_to:
        await connection.execute(
            _REMOVE_OF_JOBS,
            {
                "job_ids": list(up_to),
                "workspace_ids": [workspace_id for workspace_id, _ in up_to.values()],
                "up_to": [seq for _, seq in up_to.values()],
            },
        )
    return RemovedEvents(limit - left, has_more=left == 0 or len(due) == JOBS_AT_MOST)


_OLDER_THAN = sa.func.statement_timestamp() - sa.bindparam("older_than", type_=sa.Interval())

_LOCK_DUE = (
    sa.select(robot_jobs.c.id, robot_jobs.c.workspace_id, robot_jobs.c.last_event_seq, robot_jobs.c.removed_event_seq)
    .where(
        robot_jobs.c.has_events,
        robot_jobs.c.completed_at < _OLDER_THAN,
        robot_jobs.c.updated_at < _OLDER_THAN,  # a late result may have come since
    )
    .order_by(robot_jobs.c.completed_at)
    .limit(sa.bindparam("jobs", type_=sa.Integer()))
    # SKIP LOCKED: a retry under way makes the job active, and nobody is to wait for the removal of many events.
    .with_for_update(key_share=True, skip_locked=True)
)

_due = (
    sa.func.unnest(
        array_parameter("job_ids", sa.Uuid()),
        array_parameter("workspace_ids", sa.Uuid()),
        array_parameter("up_to", sa.BigInteger()),
    )
    .table_valued("job_id", "workspace_id", "up_to")
    .render_derived("due")
)

# One statement: the log and what the job says of it are never apart.
_REMOVE_OF_JOBS = (
    sa.update(robot_jobs)
    .where(robot_jobs.c.id == _due.c.job_id)
    .values(removed_event_seq=_due.c.up_to)
    .add_cte(
        sa.delete(events)
        .where(
            events.c.workspace_id == _due.c.workspace_id,
            events.c.stream_id == _due.c.job_id,
            events.c.seq <= _due.c.up_to,
        )
        .cte("removed")
    )
)

# Nobody follows an order's stream from a number, so its events go by their own age.
_old = (
    sa.select(events.c.workspace_id, events.c.stream_id, events.c.seq)
    .where(events.c.job_id.is_(None), events.c.occurred_at < _OLDER_THAN)
    .order_by(events.c.occurred_at)
    .limit(sa.bindparam("limit", type_=sa.Integer()))
    .subquery("old")
)
_REMOVE_OF_ORDERS = sa.delete(events).where(
    events.c.workspace_id == _old.c.workspace_id,
    events.c.stream_id == _old.c.stream_id,
    events.c.seq == _old.c.seq,
)
