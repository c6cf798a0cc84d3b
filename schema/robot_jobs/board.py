"""The board live: all jobs of a workspace, told as they change, and read once for all who watch the same.

The law: who applies the messages in their order has the newest state of each job that was told or has changed since
the first message, as far as the filter takes it, a few seconds after it was committed at the latest.  An older state
never comes after a newer one, and none comes twice however many wake-ups there are; only what changed while a follower
came, or within the minute before and had no room in the first message, may be told after it.

A look asks for the jobs with events made since the look before, and for some time before that, because an event is
made before its transaction commits, and transactions commit in another order than they began.  Each look goes back
LOOK_BACK_S; every few seconds one goes back LOOK_FAR_BACK_S, and looks at the jobs of the board whatever the log says.
So wake-ups, which name no job, may be lost; a change is missed only if its job was not on the board and more than
LOOK_FAR_BACK_S lie between its event and its commit, the difference between the processes' clocks included.
"""

import asyncio
import datetime as dt
import itertools
import time
import uuid
from collections.abc import AsyncGenerator, Collection, Iterable
from dataclasses import dataclass
from functools import partial
from itertools import takewhile
from typing import Annotated

import strawberry
from sqlalchemy.ext.asyncio import AsyncConnection

import domain.robot_jobs
from domain.robot_jobs import (
    JobFilter,
    find_changed_jobs,
    find_jobs_on_board,
    list_board,
    list_failures,
    measure_pace,
)
from schema import streams
from schema.access import follower, following, subscription
from schema.context import Info
from schema.followers import Follower, Message
from schema.robot_jobs.filters import RobotJobFilter
from schema.robot_jobs.types import KnownOfJob, RobotJob
from schema.selections import find_selected
from schema.streams import ScopedFeed

BOARD_AT_MOST_EVERY_S = 0.25
LOOK_BACK_S = 5.0
LOOK_FAR_BACK_S = 60.0
FIRST_JOBS = 100
TOLD_AT_ONCE = 100
KEPT_JOBS = 1_000


@strawberry.type(description="What is new on the board.")
class RobotJobsChanged:
    jobs: list[RobotJob] = strawberry.field(
        description="Jobs that were created or have changed, each as it is now; at most 100, others follow."
    )
    left_ids: list[strawberry.ID] = strawberry.field(
        description="Jobs that are not on the board any more: drop those that you show.  The filter takes them no "
        "longer, they are gone, or 1,000 others have changed since."
    )
    is_snapshot: bool = strawberry.field(
        description="The board as it stands: drop what you show and begin with these.  The first message is one, and "
        "so is the next to a client that has fallen too far behind."
    )


@dataclass(frozen=True, slots=True)
class Board:
    """What is watched: which jobs, and what is asked of them beyond their own row."""

    job_filter: JobFilter
    asked: frozenset[str]

    async def read_first(self, connection: AsyncConnection) -> list[RobotJob]:
        """The board as it stands, at most FIRST_JOBS."""
        jobs = await list_board(connection, limit=FIRST_JOBS, job_filter=self.job_filter)
        return await self._shown(connection, jobs)

    async def read_those(
        self, connection: AsyncConnection, job_ids: Collection[uuid.UUID]
    ) -> dict[uuid.UUID, RobotJob]:
        """Those of the jobs that belong on the board."""
        if not job_ids:
            return {}
        jobs = await find_jobs_on_board(connection, job_ids, job_filter=self.job_filter)
        return {shown.job.id: shown for shown in await self._shown(connection, jobs.values())}

    async def _shown(self, connection: AsyncConnection, jobs: Collection[domain.robot_jobs.RobotJob]) -> list[RobotJob]:
        job_ids = [job.id for job in jobs]
        paces = await measure_pace(connection, job_ids) if jobs and "progress" in self.asked else {}
        failures = await list_failures(connection, job_ids) if jobs and "failures" in self.asked else {}
        return [
            RobotJob.from_domain(job, KnownOfJob(pace=paces.get(job.id), failures=failures.get(job.id))) for job in jobs
        ]


@dataclass(frozen=True, slots=True)
class Beginning:
    """Taken before a first look: what has a higher number than `number` may be newer than what the look shows."""

    number: int
    at: dt.datetime

    @classmethod
    def now(cls) -> "Beginning":
        return cls(next(_numbers), dt.datetime.now(dt.UTC))


_numbers = itertools.count(1)  # of all boards of the process, so that one can be taken before it is known which board


@dataclass(frozen=True, slots=True)
class Kept:
    """A job on the board as it was last read, or that it has left: `shown` is None."""

    job_id: uuid.UUID
    number: int
    seq: int
    shown: RobotJob | None


class BoardFeed(ScopedFeed):
    """The newest state of each job on a board, numbered in the order they changed in.

    Followers at the same place are given the same message.  Who is behind gets the newest state of each job that has
    changed meanwhile, however often it has; who is further behind than what is kept begins anew.
    """

    def __init__(self, workspace_id: uuid.UUID, board: Board, begun_at: dt.datetime) -> None:
        super().__init__(workspace_id, at_most_every_s=BOARD_AT_MOST_EVERY_S)
        self._board = board
        self._shown: dict[uuid.UUID, Kept] = {}  # both in the order of their numbers
        self._left: dict[uuid.UUID, Kept] = {}
        self._seen: dict[uuid.UUID, int] = {}  # event numbers of what the far look and those since have found
        self._newest = self._forgotten = 0
        self._told: dict[int, Message] = {}
        self._looked_at = self._looked_far_at = begun_at
        self._look_far_from = 0.0

    def take(self, first: list[RobotJob], beginning: Beginning) -> Message:
        """A follower's first message.  What its look has found is news for the others too."""
        message = RobotJobsChanged(jobs=first, left_ids=[], is_snapshot=True)
        if beginning.number < self._forgotten:  # what has come since that look is not known any more: look again
            return Message(beginning.number, message)
        newest = self._newest
        seqs = {shown.job.id: shown.job.last_event_seq for shown in first}
        for shown in reversed(first):
            self._take(shown)
        later = [kept.number for kept in self._shown.values() if kept.seq > seqs.get(kept.job_id, -1)]
        later += [kept.number for kept in self._left.values() if kept.job_id in seqs]
        place = min((number for number in later if number > beginning.number), default=self._newest + 1) - 1
        if self._newest > newest:
            self.wake()
        return Message(place, message)

    async def next(self, follower: Follower) -> Message:
        """What is new after the follower's place, as soon as anything is.  Raises as Follower.check."""
        while self._newest <= follower.place:
            await self.wait(follower)
        if follower.place >= self._forgotten:
            return self._since(follower.place)
        beginning = Beginning.now()
        async with follower.look() as work:
            first = await self._board.read_first(work.connection)
        return self.take(first, beginning)

    async def read(self, connection: AsyncConnection) -> None:
        now = dt.datetime.now(dt.UTC)
        is_far = time.monotonic() >= self._look_far_from
        last, back_s = (self._looked_far_at, LOOK_FAR_BACK_S) if is_far else (self._looked_at, LOOK_BACK_S)
        on_board = [*self._shown, *self._left] if is_far else []
        since = min(last, now) - dt.timedelta(seconds=back_s)  # a clock may be set back
        found = await find_changed_jobs(connection, since=since, also=on_board)
        changed = [job_id for job_id, seq in found.items() if seq > self._seq(job_id)]
        newest = self._newest
        if len(changed) > KEPT_JOBS:
            self._begin_anew()
        else:
            taken = await self._board.read_those(connection, changed)
            gone = [job_id for job_id in on_board if job_id not in found]
            self._apply({job_id: found[job_id] for job_id in changed}, taken, gone)
        self._seen = found if is_far else self._seen | found
        self._looked_at = now
        if is_far:
            self._looked_far_at = now
            self._look_far_from = time.monotonic() + streams.READ_AT_LEAST_EVERY_S
        if self._newest > newest:
            self.wake()

    def _apply(
        self, changed: dict[uuid.UUID, int], taken: dict[uuid.UUID, RobotJob], gone: Iterable[uuid.UUID]
    ) -> None:
        for job_id, seq in changed.items():
            if seq <= self._seq(job_id):
                continue  # meanwhile a follower's first look has found it
            if job_id in taken:
                self._show(taken[job_id])
            elif job_id in self._shown:
                self._leave(job_id, seq)
        for job_id in gone:
            if job_id in self._shown:
                self._leave(job_id, self._shown[job_id].seq)

    def _seq(self, job_id: uuid.UUID) -> int:
        kept = self._shown.get(job_id) or self._left.get(job_id)
        return max(kept.seq if kept is not None else 0, self._seen.get(job_id, 0))

    def _take(self, shown: RobotJob) -> None:
        job_id, seq = shown.job.id, shown.job.last_event_seq
        left = self._left.get(job_id)
        on_board = self._shown.get(job_id)
        if left is None and on_board is None and seq < self._seen.get(job_id, 0):
            self._leave(job_id, self._seen[job_id])  # nobody here knew of it when it left
        elif (left is None or seq >= left.seq) and (on_board is None or seq > on_board.seq):
            self._show(shown)

    def _show(self, shown: RobotJob) -> None:
        job_id = shown.job.id
        self._left.pop(job_id, None)
        self._shown.pop(job_id, None)
        self._shown[job_id] = Kept(job_id, self._next_number(), shown.job.last_event_seq, shown)
        if len(self._shown) > KEPT_JOBS:
            oldest = next(iter(self._shown.values()))
            self._leave(oldest.job_id, oldest.seq)

    def _leave(self, job_id: uuid.UUID, seq: int) -> None:
        self._shown.pop(job_id, None)
        self._left[job_id] = Kept(job_id, self._next_number(), seq, None)
        if len(self._left) > KEPT_JOBS:
            self._forgotten = self._left.pop(next(iter(self._left))).number

    def _begin_anew(self) -> None:
        """More has changed at once than is kept."""
        self._shown.clear()
        self._left.clear()
        self._forgotten = self._next_number()

    def _next_number(self) -> int:
        self._told.clear()
        self._newest = next(_numbers)
        return self._newest

    def _since(self, place: int) -> Message:
        """The oldest changes after that place; one object for all who are there."""
        told = self._told.get(place)
        if told is None:
            newer = [
                *takewhile(lambda kept: kept.number > place, reversed(self._shown.values())),
                *takewhile(lambda kept: kept.number > place, reversed(self._left.values())),
            ]
            newer = sorted(newer, key=lambda kept: kept.number)[:TOLD_AT_ONCE]
            message = RobotJobsChanged(
                jobs=[kept.shown for kept in newer if kept.shown is not None],
                left_ids=[strawberry.ID(str(kept.job_id)) for kept in newer if kept.shown is None],
                is_snapshot=False,
            )
            told = self._told[place] = Message(newer[-1].number, message)
        return told


@strawberry.type
class BoardSubscriptions:
    @subscription(
        "The board of the workspace's jobs: at once as it stands, at most 100 jobs, the active ones first, newest "
        "first, then those that finished last; that is `robotJobs` ordered by COMPLETED_AT, descending, which has the "
        "rest.  Then the jobs that were created or have changed, at most four messages a second, the last state of "
        "each always.  A job is asked for the filter whenever it changes.  The stream does not end by itself and has "
        "no cursor: after a cut subscribe again, and begin with the first message.",
        of=RobotJobsChanged,
    )
    async def robot_jobs_changed(
        self,
        info: Info,
        filter: Annotated[  # noqa: A002 -- the contract's name
            RobotJobFilter | None, strawberry.argument(description="Which jobs.")
        ] = None,
    ) -> AsyncGenerator[Message, None]:
        board = Board(filter.to_domain() if filter is not None else JobFilter(), _asked(info))
        beginning = Beginning.now()
        async with following(info) as work:
            own = follower(info, work)
            first = await board.read_first(work.connection)
        scope = work.membership.workspace_id, work.membership.carriers
        make = partial(BoardFeed, work.membership.workspace_id, board, beginning.at)
        del work  # those who wait long keep nothing
        with info.context.streams.follow(own, (BoardFeed, *scope, board), make) as feed:
            message = feed.take(first, beginning)
            del first
            while True:
                told_at, own.place = time.monotonic(), message.place
                yield message
                del message
                await asyncio.sleep(told_at + BOARD_AT_MOST_EVERY_S - time.monotonic())
                message = await feed.next(own)


def _asked(info: Info) -> frozenset[str]:
    """What is read with the jobs, for all of them at once."""
    names = frozenset(name for selected in find_selected(info, "jobs") for name in selected.names)
    return names & {"progress", "failures"}
