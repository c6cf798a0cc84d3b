"""What is done every so often for all workspaces, by whichever process comes first.

Every process has every sweep.  A lock of the database lets one process at a time do it; the others pass on.  A sweep
works in batches, each a transaction of its own, and gives way between them.
"""

import asyncio
import datetime as dt
import logging
import random
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from api.settings import Settings
from domain.accounts import Breaker
from domain.base import first_id_at
from domain.evidence import BATCH as EVIDENCE_AT_ONCE
from domain.evidence import EvidenceStore, list_strays, remove_expired_evidence
from domain.retention import remove_old_events
from domain.robot_jobs import RobotJob, close_unclaimable_items, end_expired_leases
from domain.workspaces import enter_all_workspaces
from schema.database import Database
from schema.faults import is_unreachable

logger = logging.getLogger("robot_jobs.sweeps")

FIRST_WITHIN_S = 60.0
TRY_AGAIN_AFTER_S = 60.0
ENDED_WITHIN_S = 1.0
EXPIRED_LEASES_EVERY_S = 5.0
UNCLAIMABLE_ITEMS_EVERY_S = 60.0
STRAYS_OLDER_THAN = dt.timedelta(hours=1)
"""Longer than a request can take from its bytes to its row."""


@dataclass(frozen=True, slots=True)
class Batch:
    """What a sweep has done at once; who follows one of `changed` is woken when it has been committed."""

    has_more: bool
    changed: tuple[uuid.UUID, ...] = ()
    afterwards: Callable[[], Awaitable[None]] | None = None
    """What is to be done outside of the database when this has been committed."""


@dataclass(frozen=True, slots=True)
class Sweep:
    """`work` does a batch in a transaction that has entered all workspaces."""

    name: str
    every_s: float
    work: Callable[[AsyncConnection], Awaitable[Batch]]


def sweeps_of(settings: Settings, store: EvidenceStore) -> list[Sweep]:
    """The sweeps that the settings ask for."""
    sweeps = [
        Sweep("expired leases", EXPIRED_LEASES_EVERY_S, partial(_end_expired_leases, settings.breaker())),
        Sweep("items that nobody may take", UNCLAIMABLE_ITEMS_EVERY_S, _close_unclaimable_items),
        Sweep("expired evidence", 3_600, partial(_remove_expired_evidence, store)),
        Sweep("stray evidence", 3_600, StrayEvidence(store)),
    ]
    if settings.event_retention_days:
        period = dt.timedelta(days=settings.event_retention_days)
        sweeps.append(Sweep("old events", 3_600, partial(_remove_old_events, period)))
    return sweeps


async def _remove_old_events(period: dt.timedelta, connection: AsyncConnection) -> Batch:
    removed = await remove_old_events(connection, older_than=period)
    if removed.count:
        logger.info("removed %d old events", removed.count)
    return Batch(removed.has_more)


async def _remove_expired_evidence(store: EvidenceStore, connection: AsyncConnection) -> Batch:
    """The rows, and then their bytes: those that a crash leaves are strays."""
    removed = await remove_expired_evidence(connection)
    if not removed:
        return Batch(has_more=False)
    logger.info("removed %d pieces of evidence that have expired", len(removed))
    return Batch(has_more=len(removed) == EVIDENCE_AT_ONCE, afterwards=partial(store.remove, removed))


class StrayEvidence:
    """Bytes in the store that no row knows, an hour after they came; looks through all that there is, by id."""

    def __init__(self, store: EvidenceStore) -> None:
        self._store = store
        self._after: uuid.UUID | None = None

    async def __call__(self, connection: AsyncConnection) -> Batch:
        before = first_id_at(dt.datetime.now(dt.UTC) - STRAYS_OLDER_THAN)
        stored = await self._store.list_ids(before=before, after=self._after, limit=EVIDENCE_AT_ONCE)
        strays = await list_strays(connection, stored) if stored else []
        has_more = len(stored) == EVIDENCE_AT_ONCE
        self._after = stored[-1] if has_more else None
        if not strays:
            return Batch(has_more)
        logger.info("removed %d pieces of evidence that were never recorded", len(strays))
        return Batch(has_more, afterwards=partial(self._store.remove, strays))


async def _end_expired_leases(breaker: Breaker, connection: AsyncConnection) -> Batch:
    ended = await end_expired_leases(connection, breaker=breaker)
    if ended.count:
        logger.info(
            "%d leases ran out: %d items are pending again, %d were given up, of %d the outcome is unknown",
            ended.count,
            ended.requeued,
            ended.given_up,
            ended.unknown,
        )
    return Batch(ended.has_more, _changed(ended.jobs))


async def _close_unclaimable_items(connection: AsyncConnection) -> Batch:
    closed = await close_unclaimable_items(connection)
    if closed.count:
        logger.info("closed %d items that no robot may take: there may be a parcel already", closed.count)
    return Batch(closed.has_more, _changed(closed.jobs))


def _changed(jobs: Sequence[RobotJob]) -> tuple[uuid.UUID, ...]:
    """Whom it concerns: who follows a job, and who follows a workspace's board."""
    return tuple(id_ for job in jobs for id_ in (job.id, job.workspace_id))


def _tell_nobody(_: uuid.UUID) -> None:
    """Where nobody follows."""


class Sweeps:
    """Runs each sweep every so often.  Whatever goes wrong in one is logged and tried again; it ends nothing."""

    def __init__(
        self, database: Database, sweeps: Sequence[Sweep], announce: Callable[[uuid.UUID], None] = _tell_nobody
    ) -> None:
        self._database = database
        self._sweeps = sweeps
        self._announce = announce
        self._is_away = False

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Sweep until the end of the block.  A batch that is under way then is rolled back."""
        tasks = [asyncio.create_task(self._repeat(sweep)) for sweep in self._sweeps]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            if tasks:  # not awaited beyond its time: to cancel a statement waits for a silent network
                await asyncio.wait(tasks, timeout=ENDED_WITHIN_S)

    async def sweep(self, sweep: Sweep) -> bool:
        """One batch, unless another process is at it; whether there is more to do."""
        async with self._database.begin(self._database.writing, partial(_enter, sweep.name)) as (connection, is_ours):
            batch = await sweep.work(connection) if is_ours else Batch(has_more=False)
        for changed_id in batch.changed:
            self._announce(changed_id)
        if batch.afterwards is not None:
            await batch.afterwards()
        return batch.has_more

    async def _repeat(self, sweep: Sweep) -> None:
        # Processes that were started together do not come together.
        pause_s = random.uniform(0, min(sweep.every_s, FIRST_WITHIN_S))  # noqa: S311 -- no secret
        while True:
            await asyncio.sleep(pause_s)
            pause_s = await self._once(sweep) * random.uniform(0.9, 1.1)  # noqa: S311 -- no secret

    async def _once(self, sweep: Sweep) -> float:
        """All that there is to do; how long to pause then."""
        try:
            while True:
                began_at = time.monotonic()
                has_more = await self.sweep(sweep)
                self._is_away = False
                if not has_more:
                    return sweep.every_s
                await asyncio.sleep(time.monotonic() - began_at)  # half of the time is for others
        except Exception as error:  # whatever it is: the server goes on, and so do the other sweeps
            if not is_unreachable(error):
                logger.exception("the sweep of %s failed, and will be tried again", sweep.name)
            elif not self._is_away:
                logger.warning("the database cannot be reached for the sweep of %s: %s", sweep.name, error)
                self._is_away = True
            return min(sweep.every_s, TRY_AGAIN_AFTER_S)


async def _enter(name: str, connection: AsyncConnection) -> bool:
    """Whether the sweep is this transaction's until it ends; all workspaces are entered then."""
    is_ours = bool(await connection.scalar(_TRY_LOCK, {"name": f"robot-jobs sweep of {name}"}))
    if is_ours:
        await enter_all_workspaces(connection)
    return is_ours


_TRY_LOCK = sa.text("SELECT pg_try_advisory_xact_lock(hashtextextended(:name, 0))").bindparams(
    sa.bindparam("name", type_=sa.Text)
)
