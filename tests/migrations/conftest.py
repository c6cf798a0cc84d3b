"""Servers of each version that is supported, and databases on them, migrated or not yet.

A migrated one is shared: who changes it rolls that back.
"""

import fcntl
import os
import pwd
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from api.database import DatabaseUrls, bring_up_to_date
from api.embedded_postgres import APP_ROLE, OWNER_ROLE, EmbeddedPostgres
from migrations.grants import list_missing_roles
from tests.conftest import UNSAFE_BUT_FAST, Database
from tests.shared_database import database

__all__ = ["database"]

PROGRAMS_OF_15 = Path("/usr/lib/postgresql/15/bin")
Url = Callable[[str, str], str]


@pytest.fixture(scope="session")
def postgres_15(postgres: EmbeddedPostgres, testrun_uid: str) -> Iterator[Url]:
    """The URLs of roles and databases on a server of the system's PostgreSQL 15, on a socket of its own.

    All workers of a run share it too: the first makes it, and the last removes it.
    """
    if not (PROGRAMS_OF_15 / "initdb").exists():
        pytest.skip(f"PostgreSQL 15 is not installed in {PROGRAMS_OF_15}")
    home = Path(tempfile.gettempdir()) / f"robot-jobs-15-{os.geteuid()}-{testrun_uid}"
    user = _server_user()
    with (postgres.home / "15.lock").open("a") as users:
        fcntl.flock(users, fcntl.LOCK_EX)
        if not home.exists():
            _start_15(home, user)
        fcntl.flock(users, fcntl.LOCK_SH)
        yield lambda role, database: f"postgresql+asyncpg://{role}@/{database}?host={home}"
        with suppress(BlockingIOError):  # others are still at it
            fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
            try:
                _run_15(home, user, "pg_ctl", "stop", "-w", "-m", "immediate")
            finally:
                shutil.rmtree(home, ignore_errors=True)


def _start_15(home: Path, user: pwd.struct_passwd | None) -> None:
    home.mkdir(mode=0o700)
    try:
        if user is not None:
            os.chown(home, user.pw_uid, user.pw_gid)
        _run_15(home, user, "initdb", "-U", "postgres", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync")
        settings = {**UNSAFE_BUT_FAST, "listen_addresses": "", "unix_socket_directories": str(home)}
        flags = " ".join(f"-c {name}='{value}'" for name, value in settings.items())
        _run_15(home, user, "pg_ctl", "start", "-w", "-t", "60", "-l", str(home / "log"), "-o", flags)
    except BaseException:
        shutil.rmtree(home, ignore_errors=True)
        raise


def _run_15(home: Path, user: pwd.struct_passwd | None, program: str, *arguments: str) -> None:
    as_user: dict[str, Any] = {} if user is None else {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    call = [str(PROGRAMS_OF_15 / program), "-D", str(home / "data"), *arguments]
    subprocess.run(call, check=True, stdout=subprocess.DEVNULL, timeout=60, cwd=home, **as_user)


def _server_user() -> pwd.struct_passwd | None:
    """Whom the server runs as when the tests run as root, which PostgreSQL refuses."""
    if os.geteuid() != 0:
        return None
    known = {each.pw_name: each for each in pwd.getpwall()}
    user = known.get("postgres") or known.get("nobody")
    if user is None:
        pytest.skip("PostgreSQL does not run as root, and there is neither a user postgres nor nobody")
    return user


@pytest.fixture(params=["embedded", "15"])
def version(request: pytest.FixtureRequest) -> str:
    """Both ends of what is supported: the embedded PostgreSQL, and the oldest version."""
    return str(request.param)


@pytest.fixture
def server(request: pytest.FixtureRequest, version: str) -> Url:
    if version == "15":
        url: Url = request.getfixturevalue("postgres_15")
        return url
    embedded: EmbeddedPostgres = request.getfixturevalue("postgres")
    return embedded.url


@dataclass(frozen=True, slots=True)
class OnServer:
    """A database on one of the servers: as its owner and the API's role, and as a superuser."""

    urls: DatabaseUrls
    superuser_url: str

    def as_superuser(self) -> AsyncEngine:
        return create_async_engine(self.superuser_url, poolclass=NullPool)

    def as_app(self) -> AsyncEngine:
        return create_async_engine(self.urls.app, poolclass=NullPool)


@pytest.fixture(scope="session")
async def migrated_15(postgres_15: Url) -> AsyncIterator[OnServer]:
    async for made in _make_database(postgres_15, owner=OWNER_ROLE, app=APP_ROLE):
        await bring_up_to_date(made.urls)
        yield made


@pytest.fixture
def migrated(request: pytest.FixtureRequest, version: str) -> OnServer:
    """A migrated database with the reference data, to be looked at and left as it is."""
    if version == "15":
        of_15: OnServer = request.getfixturevalue("migrated_15")
        return of_15
    embedded: Database = request.getfixturevalue("database")
    return OnServer(embedded.urls, embedded.superuser_url)


@pytest.fixture
async def empty(server: Url) -> AsyncIterator[OnServer]:
    """A database of the owner's role, beside the plain role of the API."""
    async for made in _make_database(server, owner=OWNER_ROLE, app=APP_ROLE):
        yield made


@pytest.fixture
async def one_role(server: Url) -> AsyncIterator[OnServer]:
    """A database whose one plain role is owner and API at once."""
    role = f"alone_{uuid.uuid4().hex}"
    async for made in _make_database(server, owner=role, app=role):
        yield made
    async with _superuser(server).connect() as connection:
        await connection.execute(sa.text(f"DROP ROLE {role}"))


async def _make_database(server: Url, *, owner: str, app: str) -> AsyncIterator[OnServer]:
    name = f"migrations_{uuid.uuid4().hex}"
    async with _superuser(server).connect() as connection:
        for role in {owner, app}:
            await connection.execute(
                sa.text(
                    f"DO $$ BEGIN CREATE ROLE {role} LOGIN NOSUPERUSER NOBYPASSRLS; "
                    "EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$"
                )
            )
        for statement in await list_missing_roles(connection, app):
            await connection.execute(sa.text(statement))
        await connection.execute(sa.text(f"CREATE DATABASE {name} OWNER {owner} STRATEGY FILE_COPY"))
        yield OnServer(DatabaseUrls(server(app, name), server(owner, name), is_embedded=True), server("postgres", name))
        await connection.execute(sa.text(f"DROP DATABASE {name} WITH (FORCE)"))


def _superuser(server: Url) -> AsyncEngine:
    return create_async_engine(server("postgres", "postgres"), poolclass=NullPool, isolation_level="AUTOCOMMIT")
