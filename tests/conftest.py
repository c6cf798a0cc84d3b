"""A real PostgreSQL for every test: one embedded server and one migrated template a run, one database a test."""

import fcntl
import os
import shutil
import sys
import tempfile
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from api.database import DatabaseUrls, bring_up_to_date
from api.embedded_postgres import (
    APP_ROLE,
    OWNER_ROLE,
    EmbeddedPostgres,
    ensure_roles_and_database,
    start_embedded_postgres,
)
from tests.browser import browser, chromium
from tests.tenants import Tenant, make_tenant, tenants_made_quickly

__all__ = ["browser", "chromium"]  # fixtures

# Nothing here outlives a run, so nothing needs to survive a power cut.
UNSAFE_BUT_FAST = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "autovacuum": "off",
    "max_connections": "500",
}
_REMOVE_WHEN_STOPPED = (
    "import pathlib, shutil, sys, time\n"
    "home = pathlib.Path(sys.argv[1])\n"
    "pid, until = home / 'data' / 'postmaster.pid', time.monotonic() + 1_800\n"
    "while pid.exists() and time.monotonic() < until: time.sleep(0.1)\n"
    "pid.exists() or shutil.rmtree(home, ignore_errors=True)"  # the other workers may still be at it
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Shuffled already, those of each kind stay so."""
    items.sort(key=lambda item: item.get_closest_marker("long") is None)


@pytest.fixture(scope="session")
def postgres(testrun_uid: str) -> Iterator[EmbeddedPostgres]:
    """All workers of a run share one server; it stops after the last of them."""
    home = Path(tempfile.gettempdir()) / f"robot-jobs-tests-{os.geteuid()}-{testrun_uid}"
    yield start_embedded_postgres(home, settings=UNSAFE_BUT_FAST)
    if os.environ.get("PYTEST_XDIST_WORKER", "gw0") == "gw0":
        os.spawnv(os.P_NOWAIT, sys.executable, [sys.executable, "-c", _REMOVE_WHEN_STOPPED, str(home)])


@pytest.fixture(scope="session")
async def template(postgres: EmbeddedPostgres) -> str:
    """The name of a migrated database with the reference data, made by the first worker, to be cloned for each test."""
    name = "template_of_tests"
    with (postgres.home / "template.lock").open("a") as made:
        fcntl.flock(made, fcntl.LOCK_EX)
        if made.seek(0, os.SEEK_END) == 0:
            await ensure_roles_and_database(postgres, name)
            await bring_up_to_date(_urls(postgres, name))
            made.write("made")  # nobody connects to it from now on: a database in use cannot be cloned
    return name


@dataclass(frozen=True, slots=True)
class Database:
    name: str
    urls: DatabaseUrls
    superuser_url: str


def _urls(postgres: EmbeddedPostgres, name: str) -> DatabaseUrls:
    return DatabaseUrls(postgres.url(APP_ROLE, name), postgres.url(OWNER_ROLE, name), is_embedded=True)


@pytest.fixture(scope="session")
async def superuser(postgres: EmbeddedPostgres) -> AsyncIterator[AsyncEngine]:
    engine = create_async_engine(postgres.url("postgres", "postgres"), poolclass=NullPool, isolation_level="AUTOCOMMIT")
    yield engine
    await engine.dispose()


@pytest.fixture
async def database(postgres: EmbeddedPostgres, template: str, superuser: AsyncEngine) -> AsyncIterator[Database]:
    """A database of this test's own: migrated, with the reference data, and no tenant."""
    async with made_database(postgres, template, superuser) as database:
        yield database


@asynccontextmanager
async def made_database(postgres: EmbeddedPostgres, template: str, superuser: AsyncEngine) -> AsyncIterator[Database]:
    """As long as the block lasts."""
    name = f"test_{uuid.uuid4().hex}"
    async with superuser.connect() as connection:
        await connection.execute(
            sa.text(f"CREATE DATABASE {name} TEMPLATE {template} OWNER {OWNER_ROLE} STRATEGY FILE_COPY")
        )
    database = Database(name, _urls(postgres, name), postgres.url("postgres", name))
    async with tenants_made_quickly(database.urls):
        yield database
    async with superuser.connect() as connection:
        await connection.execute(sa.text(f"DROP DATABASE {name} WITH (FORCE)"))


@asynccontextmanager
async def pool_of(urls: DatabaseUrls, size: int) -> AsyncIterator[AsyncEngine]:
    """As the plain role.  Who comes alone after a crowd is given the connection that was used last and knows it all."""
    engine = create_async_engine(
        urls.app, pool_size=size, max_overflow=0, pool_use_lifo=True, connect_args={"timeout": 30}
    )
    yield engine
    await engine.dispose()


@pytest.fixture
async def engine(database: Database) -> AsyncIterator[AsyncEngine]:
    """The API's pool on the test's database, as the plain role."""
    async with pool_of(database.urls, 40) as engine:
        yield engine


@pytest.fixture
async def tenant(database: Database, engine: AsyncEngine) -> Tenant:
    """A workspace with a member of each role."""
    return await make_tenant(database.urls, engine)


@pytest.fixture
async def other_tenant(database: Database, engine: AsyncEngine) -> Tenant:
    """Another workspace with members of its own."""
    return await make_tenant(database.urls, engine)


@pytest.fixture(scope="session")
async def served_urls(postgres: EmbeddedPostgres, template: str, superuser: AsyncEngine) -> AsyncIterator[DatabaseUrls]:
    """A migrated database for the shared servers."""
    async with made_database(postgres, template, superuser) as database:
        yield database.urls


@pytest.fixture(scope="session")
async def served_engine(served_urls: DatabaseUrls) -> AsyncIterator[AsyncEngine]:
    async with pool_of(served_urls, 5) as engine:
        yield engine


@pytest.fixture
async def shop(served_urls: DatabaseUrls, served_engine: AsyncEngine) -> Tenant:
    """A workspace of this test's own on the shared servers."""
    return await make_tenant(served_urls, served_engine)


@pytest.fixture
async def other_shop(served_urls: DatabaseUrls, served_engine: AsyncEngine) -> Tenant:
    """Another workspace there."""
    return await make_tenant(served_urls, served_engine)


@pytest.fixture
def reachable_folder() -> Iterator[Path]:
    """A folder that other users may enter, as the server's user must when the tests run as root."""
    folder = Path(tempfile.mkdtemp(prefix="robot-jobs-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)
