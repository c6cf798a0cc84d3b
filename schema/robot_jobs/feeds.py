"""What the followers of a job are told, read once for all of them."""

import uuid
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Self

import strawberry
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.robot_jobs import (
    Completions,
    EventsRemoved,
    ItemCompletion,
    RobotJobNotFound,
    find_robot_jobs,
    list_failures,
    measure_pace,
    read_completions,
    read_completions_of_jobs,
)
from domain.robot_jobs import RobotJob as DomainJob
from schema.followers import Follower, Message
from schema.robot_jobs.cursors import CursorExpired, encode_event_cursor
from schema.robot_jobs.types import KnownOfJob, RobotJob, RobotJobItem
from schema.streams import SharedFeed

KEPT_COMPLETIONS = 128  # per followed job: who is further behind reads the log
READ_AT_ONCE = 100  # completions, by a follower who reads the log
PROGRESS_AT_MOST_EVERY_S = 0.25


@strawberry.type(description="An item was closed.  Item and job are as of that event.")
class RobotJobItemCompleted:
    cursor: str = strawberry.field(description="Give the last one seen as `after` to go on from there.")
    item: RobotJobItem = strawberry.field(description="The item as it was closed.")
    job: RobotJob = strawberry.field(
        description="The job with this item counted, and no later one; lists within it are read as they are now."
    )


@dataclass(frozen=True, slots=True)
class Stretch:
    """Some of a job's completions: with them all is told up to event number `up_to`.  The job as it stood when read."""

    job: DomainJob
    messages: list[Message]
    up_to: int

    @property
    def is_end(self) -> bool:
        return self.up_to == self.job.last_event_seq and not self.job.status.is_active


async def read_stretch(connection: AsyncConnection, job_id: uuid.UUID, *, after_seq: int) -> Stretch:
    """From the log, at most as much as one read gives.  Raises RobotJobNotFound, CursorExpired."""
    try:
        return _stretch(await read_completions(connection, job_id, after_seq=after_seq, limit=READ_AT_ONCE))
    except EventsRemoved as removed:
        raise CursorExpired(removed.job) from removed


def _stretch(read: Completions) -> Stretch:
    # Job and completions are of one snapshot, and numbers are given under the job's lock: below its newest there is
    # none that is still to come.
    up_to = read.completions[-1].seq if read.has_more else read.job.last_event_seq
    return Stretch(read.job, [_message(completion) for completion in read.completions], up_to)


def _message(completion: ItemCompletion) -> Message:
    cursor = encode_event_cursor(completion.job.id, completion.seq)
    item, job = RobotJobItem.from_domain(completion.item), RobotJob.from_domain(completion.job)
    return Message(completion.seq, RobotJobItemCompleted(cursor=cursor, item=item, job=job))


class CompletionFeed(SharedFeed):
    """The newest completions of a job; each follower goes on from the own place in the log."""

    def __init__(self, job: DomainJob) -> None:
        super().__init__(job.id)
        self._job = job
        self._kept: deque[Message] = deque()
        self._kept_after = self._read_up_to = job.last_event_seq

    @classmethod
    async def read_all(cls, connection: AsyncConnection, feeds: Sequence[Self]) -> None:
        read = await read_completions_of_jobs(connection, {feed._job.id: feed._read_up_to for feed in feeds})
        for feed in feeds:
            if (completions := read.get(feed._job.id)) is None:
                feed.fail(RobotJobNotFound(feed._job.id))
            elif feed._read_up_to < completions.job.removed_event_seq:
                feed.fail(CursorExpired(completions.job))
            else:
                feed._take(_stretch(completions))

    def keeps(self, after_seq: int) -> bool:
        """Whether all that comes after that number is here."""
        return after_seq >= self._kept_after

    async def next(self, follower: Follower) -> Stretch:
        """What comes after the follower's place, as soon as there is any or the end of it.  Raises as Follower.check.

        Places move on while the follower waits: see Feed.tell.
        """
        while self.keeps(follower.place):
            newer = list(takewhile(lambda message: message.place > follower.place, reversed(self._kept)))[::-1]
            up_to = max(follower.place, self._read_up_to)
            stretch = Stretch(self._job, newer, up_to)
            if newer or stretch.is_end:
                return stretch
            follower.place = up_to
            await self.wait(follower)
        async with follower.look() as work:
            return await read_stretch(work.connection, self._job.id, after_seq=follower.place)

    def _take(self, read: Stretch) -> None:
        if read.up_to == self._read_up_to and read.job == self._job:
            return
        self._job, self._read_up_to = read.job, read.up_to
        self.has_news = self.has_news or read.up_to < read.job.last_event_seq
        self._kept.extend(read.messages)
        self.tell(read.messages)
        while len(self._kept) > KEPT_COMPLETIONS:
            self._kept_after = self._kept.popleft().place
        if not read.job.status.is_active:
            self.wake()


@dataclass(frozen=True, slots=True)
class Progress:
    """A job, and what was asked of it in the same snapshot."""

    job: DomainJob
    known: KnownOfJob

    def message(self) -> Message:
        return Message(self.job.last_event_seq, RobotJob.from_domain(self.job, self.known))


Asked = frozenset[str]
"""Which of the fields that cost a statement of their own are asked for."""


async def get_progress(connection: AsyncConnection, job_id: uuid.UUID, asked: Asked) -> Progress:
    """The job as it stands.  Raises RobotJobNotFound."""
    job = (await find_robot_jobs(connection, [job_id])).get(job_id)
    if job is None:
        raise RobotJobNotFound(job_id)
    [progress] = await _progress_of(connection, [(job, asked)])
    return progress


async def _progress_of(connection: AsyncConnection, asked_of: Sequence[tuple[DomainJob, Asked]]) -> list[Progress]:
    """Of each, two statements at most for all of them."""
    paced = [job.id for job, asked in asked_of if "progress" in asked]
    sorted_out = [job.id for job, asked in asked_of if "failures" in asked]
    paces = await measure_pace(connection, paced) if paced else {}
    failures = await list_failures(connection, sorted_out) if sorted_out else {}
    return [
        Progress(
            job,
            KnownOfJob(
                pace=paces[job.id] if "progress" in asked else None,
                failures=failures[job.id] if "failures" in asked else None,
            ),
        )
        for job, asked in asked_of
    ]


class ProgressFeed(SharedFeed):
    """The newest state of a job, for followers who ask the same of it."""

    def __init__(self, first: Progress, asked: Asked) -> None:
        super().__init__(first.job.id, at_most_every_s=PROGRESS_AT_MOST_EVERY_S)
        self._asked = asked
        self._job = first.job
        self._newest = first.message()

    @classmethod
    async def read_all(cls, connection: AsyncConnection, feeds: Sequence[Self]) -> None:
        jobs = await find_robot_jobs(connection, list({feed._job.id for feed in feeds}))
        for feed in feeds:
            if feed._job.id not in jobs:
                feed.fail(RobotJobNotFound(feed._job.id))
        changed = [feed for feed in feeds if feed._job.id in jobs and feed._is_older_than(jobs[feed._job.id])]
        read = await _progress_of(connection, [(jobs[feed._job.id], feed._asked) for feed in changed])
        for feed, progress in zip(changed, read, strict=True):
            feed._job, feed._newest = progress.job, progress.message()
            feed.tell([feed._newest])
            if not progress.job.status.is_active:
                feed.wake()

    async def next(self, follower: Follower) -> Message | None:
        """The newest state, as soon as there is one after the follower's place; None at the end.

        Raises as Follower.check.
        """
        while self._newest.place <= follower.place:
            if self._newest.place == follower.place and not self._job.status.is_active:
                return None
            await self.wait(follower)
        return self._newest

    def _is_older_than(self, job: DomainJob) -> bool:
        return self._job.last_event_seq < job.last_event_seq
