"""The board: a workspace's jobs as people watch them, and how a reader finds what has changed on it.

Found by the events: each change of a job writes one, and the log has an index by workspace and id, whose ids sort by
the time they were made at.  An index on the jobs' own `updated_at` would cost every result more than this costs a look.
"""

import datetime as dt
import uuid
from collections.abc import Collection

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.base import array_of, first_id_at
from domain.events import events
from domain.pages import Direction, PageRequest
from domain.robot_jobs.lists import JOB_ORDERINGS, JobFilter, JobSort, list_robot_jobs
from domain.robot_jobs.tables import RobotJob, robot_jobs

BOARD = JOB_ORDERINGS[JobSort.COMPLETED_AT, Direction.DESC]


async def list_board(connection: AsyncConnection, *, limit: int, job_filter: JobFilter) -> list[RobotJob]:
    """Jobs that are active, the newest first, then the others, the last finished first; one statement."""
    page = PageRequest(limit, ordering=BOARD)
    return (await list_robot_jobs(connection, page=page, job_filter=job_filter)).rows


async def find_changed_jobs(
    connection: AsyncConnection, *, since: dt.datetime, also: Collection[uuid.UUID] = ()
) -> dict[uuid.UUID, int]:
    """The newest event number of each job with an event that was made since then, and of those jobs; one statement.

    An event is made before its transaction commits, by the clock of the process that makes it: ask from well before
    the last time on.  A job that is gone is not among them.
    """
    recent = sa.select(events.c.job_id).where(events.c.id >= first_id_at(since), events.c.job_id.is_not(None))
    named = sa.select(sa.func.unnest(array_of(list(also), sa.Uuid())))
    # As an array they are looked up one by one; a join may read all jobs of the workspace for a few hundred.
    job_ids = sa.func.array(recent.union(named).scalar_subquery())
    rows = await connection.execute(
        sa.select(robot_jobs.c.id, robot_jobs.c.last_event_seq).where(robot_jobs.c.id == sa.func.any(job_ids))
    )
    return {row.id: row.last_event_seq for row in rows}


async def find_jobs_on_board(
    connection: AsyncConnection, job_ids: Collection[uuid.UUID], *, job_filter: JobFilter
) -> dict[uuid.UUID, RobotJob]:
    """Those of the jobs that the filter takes; one statement."""
    rows = await connection.execute(
        sa.select(robot_jobs).where(
            robot_jobs.c.id == sa.func.any(array_of(list(job_ids), sa.Uuid())), *job_filter.conditions(of_few=True)
        )
    )
    return {row.id: RobotJob.from_row(row) for row in rows}
