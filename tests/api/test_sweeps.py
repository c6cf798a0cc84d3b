"""Sweeps: one process at a time does each, none disturbs the server, and they end with it."""

import asyncio
import datetime as dt
import logging
import socket
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from api.app import create_app
from api.evidence_files import EvidenceFiles
from api.settings import Settings, load_settings
from api.sweeps import Batch, Sweep, Sweeps, sweeps_of
from api.tokens import Tokens
from domain.robot_jobs import HeldBack, robot_jobs
from domain.workspaces import SYSTEM_ROLE
from schema.database import Database as Pool
from tests.conftest import Database
from tests.domain.ledger import counted_statements
from tests.servers import SECRET, until
from tests.tenants import Tenant

SOON_S = 0.001


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.sweeps.FIRST_WITHIN_S", SOON_S)
    monkeypatch.setattr("api.sweeps.TRY_AGAIN_AFTER_S", SOON_S)


@pytest.fixture
async def pool(engine: AsyncEngine) -> Pool:
    return Pool(engine, available_within_s=30)


@pytest.fixture
async def other_pool(database: Database) -> AsyncIterator[Pool]:
    """Of another process."""
    engine = create_async_engine(database.urls.app)
    yield Pool(engine, available_within_s=30)
    await engine.dispose()


def sweep_of(
    work: Callable[[AsyncConnection], Awaitable[bool]], name: str = "crumbs", every_s: float = SOON_S
) -> Sweep:
    async def batch(connection: AsyncConnection) -> Batch:
        return Batch(await work(connection))

    return Sweep(name, every_s, batch)


def sweeps_with(settings: Settings) -> list[Sweep]:
    return sweeps_of(settings, EvidenceFiles(settings.evidence_folder))


def removal_of(settings: Settings) -> Sweep | None:
    """The sweep of old events, if the settings ask for it."""
    return next(
        (sweep for sweep in sweeps_with(settings) if sweep.name == "old events"),
        None,
    )


class Work:
    """Work that waits until it may end."""

    def __init__(self) -> None:
        self.begun = 0
        self.may_end = asyncio.Event()

    async def __call__(self, _: AsyncConnection) -> bool:
        self.begun += 1
        await self.may_end.wait()
        return False


async def test_one_process_at_a_time_does_it(pool: Pool, other_pool: Pool) -> None:
    work, other_work = Work(), Work()
    other_work.may_end.set()
    here, there = Sweeps(pool, []), Sweeps(other_pool, [])

    doing = asyncio.create_task(here.sweep(sweep_of(work)))
    await until(lambda: work.begun)
    await there.sweep(sweep_of(other_work))
    assert other_work.begun == 0
    await there.sweep(sweep_of(other_work, "dust"))
    assert other_work.begun == 1, "another sweep is another lock"
    work.may_end.set()
    await doing

    await there.sweep(sweep_of(other_work))
    assert other_work.begun == 2


async def test_it_works_for_all_workspaces_and_leaves_a_plain_connection(database: Database) -> None:
    engine = create_async_engine(database.urls.app, pool_size=1, max_overflow=0)
    seen = []

    async def who(connection: AsyncConnection) -> bool:
        seen.append(await connection.scalar(sa.text("SELECT current_user")))
        return False

    await Sweeps(Pool(engine), []).sweep(sweep_of(who))
    async with engine.connect() as connection:
        await who(connection)
    await engine.dispose()

    assert seen == [SYSTEM_ROLE, "robot_jobs_app"]


async def test_it_goes_on_while_there_is_more_to_do_and_then_every_so_often(pool: Pool) -> None:
    done = []

    async def work(_: AsyncConnection) -> bool:
        done.append(time.monotonic())
        return len(done) < 5

    async with Sweeps(pool, [sweep_of(work, every_s=3_600)]).running():
        await until(lambda: len(done) == 5)
        often = Sweeps(pool, [sweep_of(work, "dust")])
        async with often.running():
            await until(lambda: len(done) >= 8)


async def test_one_that_fails_is_logged_and_tried_again_and_others_go_on(
    pool: Pool, caplog: pytest.LogCaptureFixture
) -> None:
    done = {"crumbs": 0, "dust": 0}

    async def work(name: str, connection: AsyncConnection) -> bool:
        done[name] += 1
        if name == "crumbs":
            await connection.execute(sa.text("SELECT 1 / 0"))
        return False

    async with Sweeps(pool, [sweep_of(partial(work, name), name) for name in done]).running():
        await until(lambda: min(done.values()) >= 3)

    failures = [record for record in caplog.records if record.name == "robot_jobs.sweeps"]
    assert {record.getMessage() for record in failures} == {"the sweep of crumbs failed, and will be tried again"}
    assert len(failures) >= 2
    assert all(record.exc_info for record in failures)


async def test_while_the_database_is_away_there_is_one_warning(caplog: pytest.LogCaptureFixture) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # and does not listen
        url = f"postgresql+asyncpg://robot_jobs@127.0.0.1:{nobody.getsockname()[1]}/robot_jobs"
        engine = create_async_engine(url)
        tried = []
        sa.event.listen(engine.sync_engine, "do_connect", lambda *_: tried.append(1))
        async with Sweeps(Pool(engine), [sweep_of(Work(), name) for name in ("crumbs", "dust")]).running():
            await until(lambda: len(tried) >= 10)
        await engine.dispose()

    (warning,) = [record for record in caplog.records if record.name == "robot_jobs.sweeps"]
    assert warning.levelno == logging.WARNING
    assert warning.exc_info is None


async def test_it_ends_at_once_in_the_middle_of_a_statement(pool: Pool, engine: AsyncEngine) -> None:
    begun = asyncio.Event()

    async def work(connection: AsyncConnection) -> bool:
        begun.set()
        await connection.execute(sa.text("SELECT pg_sleep(3600)"))
        return False

    async with asyncio.timeout(30):
        async with Sweeps(pool, [sweep_of(work)]).running():
            await begun.wait()
            began_at = time.monotonic()
    assert time.monotonic() - began_at < 5

    async def is_free() -> bool:
        async with engine.begin() as connection:
            held = sa.text(
                "SELECT count(*) = 0 FROM pg_locks l JOIN pg_database d ON d.oid = l.database WHERE "
                "l.locktype = 'advisory' AND d.datname = current_database()"
            )
            return bool(await connection.scalar(held))

    await until(is_free)


async def test_it_ends_at_once_in_a_pause(pool: Pool) -> None:
    work = Work()
    work.may_end.set()
    async with asyncio.timeout(30):
        async with Sweeps(pool, [sweep_of(work, every_s=3_600)]).running():
            await until(lambda: work.begun)


async def test_with_nothing_to_remove_it_costs_four_statements_an_hour(pool: Pool, engine: AsyncEngine) -> None:
    sweep = removal_of(load_settings())
    assert sweep is not None

    with counted_statements(engine) as sent:
        assert await Sweeps(pool, []).sweep(sweep) is False

    assert len(sent) == 4, "lock, enter, jobs, orders"
    assert sweep.every_s == 3_600


async def test_the_server_removes_what_is_older_than_the_setting_says(
    tenant: Tenant, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    old, young = [(await tenant.job(items=1, failed=1)).job for _ in range(2)]
    async with tenant.work() as connection:
        past = sa.func.clock_timestamp() - dt.timedelta(days=31)
        await connection.execute(
            sa.update(robot_jobs).where(robot_jobs.c.id == old.id).values(completed_at=past, updated_at=past)
        )
    kept = await tenant.events(young.id)
    settings = load_settings(event_retention_days=30, pool_timeout_s=30)
    app = create_app(settings, database.urls, Tokens(SECRET))

    with caplog.at_level(logging.INFO, "robot_jobs.sweeps"):
        async with app.router.lifespan_context(app):
            await until(lambda: "removed" in caplog.text)

    assert await tenant.events(old.id) == []
    assert await tenant.events(young.id) == kept != []
    assert f"removed {old.last_event_seq} old events" in caplog.text


def test_events_are_kept_for_90_days_by_default_and_with_0_for_ever() -> None:
    by_default = removal_of(load_settings())

    assert by_default is not None
    assert by_default.work.args == (dt.timedelta(days=90),)  # type: ignore[attr-defined]  # a partial
    assert removal_of(load_settings(event_retention_days=0)) is None


async def test_with_no_lease_to_end_it_costs_three_statements(pool: Pool, engine: AsyncEngine) -> None:
    [sweep] = [sweep for sweep in sweeps_with(load_settings()) if sweep.name == "expired leases"]

    with counted_statements(engine) as sent:
        assert await Sweeps(pool, []).sweep(sweep) is False

    assert len(sent) == 3, "lock, enter, jobs"
    assert sweep.every_s == 5


async def test_the_server_ends_leases_that_run_out_and_wakes_who_follows(pool: Pool, tenant: Tenant) -> None:
    [sweep] = [sweep for sweep in sweeps_with(load_settings()) if sweep.name == "expired leases"]
    in_hand = await tenant.job(items=1)
    [item] = (await tenant.claim()).items
    await tenant.run_out(item)
    told: list[uuid.UUID] = []

    await Sweeps(pool, [], told.append).sweep(sweep)

    assert told == [in_hand.job.id, tenant.workspace_id]
    assert (await tenant.item(item)).attempt == 2


async def test_robots_lost_pause_an_account_after_as_many_as_the_settings_say(pool: Pool, tenant: Tenant) -> None:
    [sweep] = [sweep for sweep in sweeps_with(load_settings(pause_after_errors=1)) if sweep.name == "expired leases"]
    await tenant.job(items=1)
    [item] = (await tenant.claim()).items
    await tenant.run_out(item)

    await Sweeps(pool, []).sweep(sweep)

    assert (await tenant.claim()).held_back is HeldBack.ACCOUNT_PAUSED


async def test_the_server_closes_what_no_robot_may_take_and_wakes_who_follows(pool: Pool, tenant: Tenant) -> None:
    [sweep] = [sweep for sweep in sweeps_with(load_settings()) if sweep.name == "items that nobody may take"]
    in_hand = await tenant.job(items=1)
    await tenant.change_order(in_hand.items[0].order_id, tracking_number="PED-1")
    told: list[uuid.UUID] = []

    await Sweeps(pool, [], told.append).sweep(sweep)

    assert {in_hand.job.id, tenant.workspace_id} <= set(told)
    assert sweep.every_s == 60
