"""What must be true of a job at every moment, asked of the tables themselves."""

import asyncio
import uuid
from collections import Counter
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from domain.errors import DomainError
from domain.robot_jobs import ItemStatus, find_robot_jobs, list_events, robot_job_items
from tests.tenants import Tenant

T = TypeVar("T")


async def assert_adds_up(tenant: Tenant, job_id: uuid.UUID) -> None:
    """Counters equal a recount, a job is finished when its last item is, its events have no gap and tell the same."""
    async with tenant.work() as connection:
        job = (await find_robot_jobs(connection, [job_id]))[job_id]
        rows = await connection.execute(
            sa.select(robot_job_items.c.status, sa.func.count())
            .where(robot_job_items.c.job_id == job_id)
            .group_by(robot_job_items.c.status)
        )
        recount = Counter({ItemStatus(status): count for status, count in rows})
        stream = (await list_events(connection, [job_id], after_seq=0, limit=10_000))[job_id]

    counted = (job.success_count, job.error_count, job.cancelled_count)
    assert counted == (recount[ItemStatus.SUCCESS], recount[ItemStatus.ERROR], recount[ItemStatus.CANCELLED])
    assert sum(counted) <= job.total_items == recount.total()
    assert job.status.is_active == any(recount[status] for status in ItemStatus if status.is_open)
    assert [event.seq for event in stream] == list(range(1, job.last_event_seq + 1))
    if "job" in stream[-1].payload:
        told = job.as_of(stream[-1].payload["job"])
        assert (told.status, told.success_count, told.error_count, told.cancelled_count) == (job.status, *counted)


async def at_once(*work: Coroutine[Any, Any, T]) -> list[T | DomainError]:
    """Run all of it at the same time; expected refusals are answers, anything else (a deadlock!) is raised."""
    async with asyncio.timeout(300):
        answers = await asyncio.gather(*work, return_exceptions=True)
    broken = [answer for answer in answers if isinstance(answer, Exception) and not isinstance(answer, DomainError)]
    if broken:
        raise ExceptionGroup("not an expected refusal", broken)
    return [answer for answer in answers if isinstance(answer, DomainError) or not isinstance(answer, BaseException)]


@contextmanager
def counted_statements(engine: AsyncEngine) -> Iterator[list[str]]:
    """The statements that are sent meanwhile; BEGIN and COMMIT are not among them."""
    sent: list[str] = []

    def note(connection: object, cursor: object, statement: str, *_: object) -> None:
        sent.append(statement)

    sa.event.listen(engine.sync_engine, "before_cursor_execute", note)
    try:
        yield sent
    finally:
        sa.event.remove(engine.sync_engine, "before_cursor_execute", note)


async def until_blocked(tenant: Tenant, count: int, *, by: AsyncConnection) -> None:
    """Until so many sessions wait for that one, directly or behind another."""
    holder = await by.scalar(sa.text("SELECT pg_backend_pid()"))
    behind = sa.text(
        "WITH RECURSIVE behind (pid) AS (SELECT CAST(:holder AS int) UNION "
        "SELECT a.pid FROM pg_stat_activity a, behind b "
        "WHERE a.datname = current_database() AND b.pid = ANY (pg_blocking_pids(a.pid))) "
        "SELECT count(*) - 1 FROM behind"
    )
    async with asyncio.timeout(20), tenant.engine.connect() as connection:
        while await connection.scalar(behind, {"holder": holder}) != count:
            await connection.rollback()
