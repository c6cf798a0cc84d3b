"""Jobs live.  The log is the truth and wake-ups are hints: every stream reads on from its own cursor."""

import asyncio
import re
import time
import uuid
from collections.abc import AsyncGenerator
from typing import Annotated

import strawberry
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.errors import DomainError
from domain.robot_jobs import RobotJobNotFound, find_robot_jobs, list_failures, measure_pace, read_completions
from schema.access import following, subscription
from schema.context import Info
from schema.ids import parse_id
from schema.robot_jobs.types import KnownOfJob, RobotJob, RobotJobItem
from schema.selections import is_selected

# Access is asked again with every read, and there is a read at least this often: a revoked member or an expired token
# ends the stream within that time, and a lost wake-up costs no more than that.
READ_AT_LEAST_EVERY_S = 4.0
PROGRESS_AT_MOST_EVERY_S = 0.25

_CURSOR = re.compile(r"(\d{1,18})\.([0-9a-f]{8})")


class InvalidCursor(DomainError):
    code = "INVALID_CURSOR"

    def __init__(self, why: str) -> None:
        super().__init__(f'The cursor {why}  Read the job again, then follow it from its newest cursor or from "0".')


@strawberry.type(description="An item was closed.  Item and job are as of that event.")
class RobotJobItemCompleted:
    cursor: str = strawberry.field(description="Give the last one seen as `after` to go on from there.")
    item: RobotJobItem = strawberry.field(description="The item as it was closed.")
    job: RobotJob = strawberry.field(
        description="The job with this item counted, and no later one; lists within it are read as they are now."
    )


JobId = Annotated[strawberry.ID, strawberry.argument(description="The job to follow.")]


@strawberry.type
class RobotJobSubscriptions:
    @subscription(
        "One message per item that is closed, in order, each exactly once.  Without `after` from now on; with the "
        'last `cursor` seen it goes on from there, with "0" from the beginning.  Ends when the job is finished and '
        "all has been told."
    )
    async def robot_job_item_completed(
        self,
        info: Info,
        job_id: JobId,
        after: Annotated[str | None, strawberry.argument(description='The last cursor seen, or "0".')] = None,
    ) -> AsyncGenerator[RobotJobItemCompleted, None]:
        context, followed = info.context, parse_id("jobId", job_id)
        with context.wakeups.watch(followed) as watch:  # before the first read, so that nothing falls between
            seen = await _first_seq(info, followed, after)
            while True:
                async with following(info) as work:
                    read = await read_completions(work.connection, followed, after_seq=seen)
                for completion in read.completions:
                    yield RobotJobItemCompleted(
                        cursor=encode_event_cursor(followed, completion.seq),
                        item=RobotJobItem.from_domain(completion.item),
                        job=RobotJob.from_domain(completion.job),
                    )
                    seen = completion.seq
                if read.is_all_told:
                    return
                if not read.has_more:
                    await watch.wait(READ_AT_LEAST_EVERY_S)

    @subscription(
        "The newest state of a job: at once, then whenever it changes, at most four times a second, the last state "
        "always.  Ends when the job is finished."
    )
    async def robot_job_progress(self, info: Info, job_id: JobId) -> AsyncGenerator[RobotJob, None]:
        context, followed = info.context, parse_id("jobId", job_id)
        asked = {name for name in ("progress", "failures") if is_selected(info, name)}
        told, told_at = -1, 0.0
        with context.wakeups.watch(followed) as watch:
            while True:
                async with following(info) as work:
                    job = (await find_robot_jobs(work.connection, [followed])).get(followed)
                    if job is None:
                        raise RobotJobNotFound(followed)
                    known = await _read_known(work.connection, followed, asked) if job.last_event_seq != told else None
                if job.last_event_seq != told:
                    told, told_at = job.last_event_seq, time.monotonic()
                    yield RobotJob.from_domain(job, known)
                if not job.status.is_active:
                    return
                await watch.wait(READ_AT_LEAST_EVERY_S)
                await asyncio.sleep(told_at + PROGRESS_AT_MOST_EVERY_S - time.monotonic())


async def _read_known(connection: AsyncConnection, job_id: uuid.UUID, asked: set[str]) -> KnownOfJob:
    """What the client asks of the job, of the same snapshot as the job itself."""
    return KnownOfJob(
        pace=(await measure_pace(connection, [job_id]))[job_id] if "progress" in asked else None,
        failures=(await list_failures(connection, [job_id]))[job_id] if "failures" in asked else None,
    )


def encode_event_cursor(job_id: uuid.UUID, seq: int) -> str:
    """A place in a job's log; it carries a part of the job's id, so that another job's cursor is noticed."""
    return f"{seq}.{job_id.hex[-8:]}"


async def _first_seq(info: Info, job_id: uuid.UUID, after: str | None) -> int:
    """The number to go on from.  Raises InvalidCursor, RobotJobNotFound."""
    if after == "0":
        return 0
    async with following(info) as work:
        job = (await find_robot_jobs(work.connection, [job_id])).get(job_id)
    if job is None:
        raise RobotJobNotFound(job_id)
    if after is None:
        return job.last_event_seq
    found = _CURSOR.fullmatch(after)
    if found is None:
        raise InvalidCursor("is not one of this subscription's.")
    if found[2] != job_id.hex[-8:]:
        raise InvalidCursor("belongs to another job.")
    if int(found[1]) > job.last_event_seq:
        raise InvalidCursor(f"is from the future: the job's newest event is number {job.last_event_seq}.")
    return int(found[1])
