"""What the followers of a job are told, read once for all of them."""

import uuid
from collections import deque
from dataclasses import dataclass
from itertools import takewhile

from sqlalchemy.ext.asyncio import AsyncConnection

from domain.robot_jobs import (
    Completions,
    ItemCompletion,
    RobotJob,
    RobotJobNotFound,
    find_robot_jobs,
    list_failures,
    measure_pace,
    read_completions,
)
from schema.robot_jobs.types import KnownOfJob
from schema.streams import Feed, Follower

KEPT_COMPLETIONS = 128  # per followed job: who is further behind reads the log
PROGRESS_AT_MOST_EVERY_S = 0.25


@dataclass(frozen=True, slots=True)
class Stretch:
    """Some of a job's completions: with them all is told up to event number `up_to`.  The job as it stood when read."""

    job: RobotJob
    completions: list[ItemCompletion]
    up_to: int

    @property
    def is_end(self) -> bool:
        return self.up_to == self.job.last_event_seq and not self.job.status.is_active


async def read_stretch(connection: AsyncConnection, job_id: uuid.UUID, *, after_seq: int) -> Stretch:
    """From the log, at most as much as one read gives.  Raises RobotJobNotFound."""
    return _stretch(await read_completions(connection, job_id, after_seq=after_seq))


def _stretch(read: Completions) -> Stretch:
    # Job and completions are of one snapshot, and numbers are given under the job's lock: below its newest there is
    # none that is still to come.
    up_to = read.completions[-1].seq if read.has_more else read.job.last_event_seq
    return Stretch(read.job, read.completions, up_to)


class CompletionFeed(Feed):
    """The newest completions of a job; each follower goes on from the own place in the log."""

    def __init__(self, job: RobotJob) -> None:
        super().__init__(job.id)
        self.job_id = job.id
        self._job = job
        self._kept: deque[ItemCompletion] = deque()
        self._kept_after = self._read_up_to = job.last_event_seq

    async def read(self, connection: AsyncConnection) -> None:
        while True:
            stretch = await read_stretch(connection, self.job_id, after_seq=self._read_up_to)
            if stretch.up_to > self._read_up_to:
                self._keep(stretch)
                self.wake()
            if stretch.up_to == stretch.job.last_event_seq:
                return

    async def next(self, follower: Follower, after_seq: int) -> Stretch:
        """What comes after that number, as soon as there is any or the end of it.  Raises as Follower.check."""
        while after_seq >= self._kept_after:
            newer = self._kept_since(after_seq)
            after_seq = max(after_seq, self._read_up_to)
            stretch = Stretch(self._job, newer, after_seq)
            if newer or stretch.is_end:
                return stretch
            await self.wait(follower)
        async with follower.look() as work:
            return await read_stretch(work.connection, self.job_id, after_seq=after_seq)

    def _kept_since(self, seq: int) -> list[ItemCompletion]:
        return list(takewhile(lambda completion: completion.seq > seq, reversed(self._kept)))[::-1]

    def _keep(self, stretch: Stretch) -> None:
        self._job, self._read_up_to = stretch.job, stretch.up_to
        self._kept.extend(stretch.completions)
        while len(self._kept) > KEPT_COMPLETIONS:
            self._kept_after = self._kept.popleft().seq


@dataclass(frozen=True, slots=True)
class Progress:
    """A job, and what was asked of it in the same snapshot."""

    job: RobotJob
    known: KnownOfJob


async def get_progress(
    connection: AsyncConnection, job_id: uuid.UUID, asked: frozenset[str], *, unless: Progress | None = None
) -> Progress:
    """The job as it stands; `unless` itself if nothing has happened since.  Raises RobotJobNotFound."""
    job = (await find_robot_jobs(connection, [job_id])).get(job_id)
    if job is None:
        raise RobotJobNotFound(job_id)
    if unless is not None and job.last_event_seq == unless.job.last_event_seq:
        return unless
    known = KnownOfJob(
        pace=(await measure_pace(connection, [job_id]))[job_id] if "progress" in asked else None,
        failures=(await list_failures(connection, [job_id]))[job_id] if "failures" in asked else None,
    )
    return Progress(job, known)


class ProgressFeed(Feed):
    """The newest state of a job, for followers who ask the same of it."""

    def __init__(self, first: Progress, asked: frozenset[str]) -> None:
        super().__init__(first.job.id, at_most_every_s=PROGRESS_AT_MOST_EVERY_S)
        self.job_id = first.job.id
        self._asked = asked
        self._newest = first

    async def read(self, connection: AsyncConnection) -> None:
        read = await get_progress(connection, self.job_id, self._asked, unless=self._newest)
        if read is not self._newest:
            self._newest = read
            self.wake()

    async def next(self, follower: Follower, after_seq: int) -> Progress:
        """The newest state, as soon as there is one after that event.  Raises as Follower.check."""
        while self._newest.job.last_event_seq <= after_seq:
            await self.wait(follower)
        return self._newest
