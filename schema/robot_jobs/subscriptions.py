"""Jobs live: each stream goes on from its own cursor, and reads are shared by those who follow the same job."""

import asyncio
import re
import time
import uuid
from collections.abc import AsyncGenerator
from functools import partial
from typing import Annotated, cast

import strawberry
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.robot_jobs import RobotJobNotFound, find_robot_jobs
from schema.access import follower, following, subscription
from schema.context import Info
from schema.followers import Message
from schema.ids import parse_id
from schema.robot_jobs import feeds
from schema.robot_jobs.cursors import InvalidCursor
from schema.robot_jobs.feeds import (
    CompletionFeed,
    ProgressFeed,
    RobotJobItemCompleted,
    Stretch,
    get_progress,
    read_stretch,
)
from schema.robot_jobs.types import RobotJob
from schema.selections import is_selected

_CURSOR = re.compile(r"(\d{1,18})\.([0-9a-f]{8})")


JobId = Annotated[strawberry.ID, strawberry.argument(description="The job to follow.")]


@strawberry.type
class RobotJobSubscriptions:
    @subscription(
        "One message per item that is closed, in order, each exactly once.  Without `after` from now on; with the "
        'last `cursor` seen it goes on from there, with "0" from the beginning.  Ends when the job is finished and '
        "all has been told.  A finished job keeps its events for a time: a cursor before what is left is "
        "CURSOR_EXPIRED, and `extensions.oldestCursor` one that is good.",
        of=RobotJobItemCompleted,
    )
    async def robot_job_item_completed(
        self,
        info: Info,
        job_id: JobId,
        after: Annotated[str | None, strawberry.argument(description='The last cursor seen, or "0".')] = None,
    ) -> AsyncGenerator[Message, None]:
        followed = parse_id("jobId", job_id)
        streams = info.context.streams
        async with following(info) as work:
            own = follower(info, work)  # before it reads: access is confirmed as of now
            key = CompletionFeed, work.membership.workspace_id, followed
            stretch = await _first_stretch(work.connection, followed, after, cast(CompletionFeed, streams.find(key)))
        del work  # those who wait long keep nothing
        with streams.follow(own, key, partial(CompletionFeed, stretch.job)) as feed:
            while True:
                for message in stretch.messages:
                    yield message
                own.place = stretch.up_to
                if stretch.is_end:
                    return
                del stretch
                stretch = await feed.next(own)

    @subscription(
        "The newest state of a job: at once, then whenever it changes, at most four times a second, the last state "
        "always.  Ends when the job is finished.",
        of=RobotJob,
    )
    async def robot_job_progress(self, info: Info, job_id: JobId) -> AsyncGenerator[Message, None]:
        followed = parse_id("jobId", job_id)
        asked = frozenset(name for name in ("progress", "failures") if is_selected(info, name))
        async with following(info) as work:
            own = follower(info, work)
            progress = await get_progress(work.connection, followed, asked)
        key = ProgressFeed, work.membership.workspace_id, followed, asked
        del work
        with info.context.streams.follow(own, key, partial(ProgressFeed, progress, asked)) as feed:
            message: Message | None = progress.message()
            while message is not None:
                told_at = time.monotonic()
                yield message
                own.place = message.place
                await asyncio.sleep(told_at + feeds.PROGRESS_AT_MOST_EVERY_S - time.monotonic())
                message = await feed.next(own)


async def _first_stretch(
    connection: AsyncConnection, job_id: uuid.UUID, after: str | None, feed: CompletionFeed | None
) -> Stretch:
    """What is told first; nothing yet if the feed has it.  Raises InvalidCursor, CursorExpired, RobotJobNotFound."""
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
    if (after_seq := int(found[1])) > job.last_event_seq:
        raise InvalidCursor(f"is from the future: the job's newest event is number {job.last_event_seq}.")
    if feed is not None and feed.keeps(after_seq):
        return Stretch(job, [], after_seq)
    return await read_stretch(connection, job_id, after_seq=after_seq)
