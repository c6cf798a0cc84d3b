"""Jobs live: each stream goes on from its own cursor, and reads are shared by those who follow the same job."""

import asyncio
import re
import time
import uuid
from collections.abc import AsyncGenerator
from functools import partial
from typing import Annotated

import strawberry
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.robot_jobs import RobotJobNotFound, find_robot_jobs
from schema.access import follower, following, subscription
from schema.context import Info
from schema.ids import parse_id
from schema.robot_jobs import feeds
from schema.robot_jobs.cursors import InvalidCursor, encode_event_cursor
from schema.robot_jobs.feeds import CompletionFeed, ProgressFeed, Stretch, get_progress, read_stretch
from schema.robot_jobs.types import RobotJob, RobotJobItem
from schema.selections import is_selected

_CURSOR = re.compile(r"(\d{1,18})\.([0-9a-f]{8})")


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
        "all has been told.  A finished job keeps its events for a time: a cursor before what is left is "
        "CURSOR_EXPIRED, and `extensions.oldestCursor` one that is good."
    )
    async def robot_job_item_completed(
        self,
        info: Info,
        job_id: JobId,
        after: Annotated[str | None, strawberry.argument(description='The last cursor seen, or "0".')] = None,
    ) -> AsyncGenerator[RobotJobItemCompleted, None]:
        followed = parse_id("jobId", job_id)
        async with following(info) as work:
            stretch = await _first_stretch(work.connection, followed, after)
            own = follower(info, work)
        key = CompletionFeed, work.membership.workspace_id, followed
        with info.context.streams.follow(own, key, partial(CompletionFeed, stretch.job)) as feed:
            while True:
                for completion in stretch.completions:
                    await own.check()
                    yield RobotJobItemCompleted(
                        cursor=encode_event_cursor(followed, completion.seq),
                        item=RobotJobItem.from_domain(completion.item),
                        job=RobotJob.from_domain(completion.job),
                    )
                if stretch.is_end:
                    return
                stretch.completions.clear()  # those who wait long keep nothing
                stretch = await feed.next(own, stretch.up_to)

    @subscription(
        "The newest state of a job: at once, then whenever it changes, at most four times a second, the last state "
        "always.  Ends when the job is finished."
    )
    async def robot_job_progress(self, info: Info, job_id: JobId) -> AsyncGenerator[RobotJob, None]:
        followed = parse_id("jobId", job_id)
        asked = frozenset(name for name in ("progress", "failures") if is_selected(info, name))
        async with following(info) as work:
            progress = await get_progress(work.connection, followed, asked)
            own = follower(info, work)
        key = ProgressFeed, work.membership.workspace_id, followed, asked
        with info.context.streams.follow(own, key, partial(ProgressFeed, progress, asked)) as feed:
            while True:
                told_at = time.monotonic()
                yield RobotJob.from_domain(progress.job, progress.known)
                if not progress.job.status.is_active:
                    return
                await asyncio.sleep(told_at + feeds.PROGRESS_AT_MOST_EVERY_S - time.monotonic())
                progress = await feed.next(own, progress.job.last_event_seq)
                await own.check()


async def _first_stretch(connection: AsyncConnection, job_id: uuid.UUID, after: str | None) -> Stretch:
    """What is told first.  Raises InvalidCursor, CursorExpired, RobotJobNotFound."""
    if after == "0":
        return await read_stretch(connection, job_id, after_seq=0)
    job = (await find_robot_jobs(connection, [job_id])).get(job_id)
    if job is None:
        raise RobotJobNotFound(job_id)
    if after is None:
        return Stretch(job, [], job.last_event_seq)
    found = _CURSOR.fullmatch(after)
    if found is None:
        raise InvalidCursor("is not one of this subscription's.")
    if found[2] != job_id.hex[-8:]:
        raise InvalidCursor("belongs to another job.")
    if int(found[1]) > job.last_event_seq:
        raise InvalidCursor(f"is from the future: the job's newest event is number {job.last_event_seq}.")
    return await read_stretch(connection, job_id, after_seq=int(found[1]))
