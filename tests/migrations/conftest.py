"""Servers of each version that is supported, and databases on them that nobody has migrated yet."""

import os
import pwd
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from api.database import DatabaseUrls
from api.embedded_postgres import APP_ROLE, OWNER_ROLE, EmbeddedPostgres
from migrations.grants import list_missing_roles
from tests.conftest import UNSAFE_BUT_FAST

PROGRAMS_OF_15 = Path("/usr/lib/postgresql/15/bin")
Url = Callable[[str, str], str]


@pytest.fixture(scope="session")
def postgres_15() -> Iterator[Url]:
    """The URLs of roles and databases on a server of the system's PostgreSQL 15, on a socket of its own."""
    if not (PROGRAMS_OF_15 / "initdb").exists():
        pytest.skip(f"PostgreSQL 15 is not installed in {PROGRAMS_OF_15}")
    home = Path(tempfile.mkdtemp(prefix="robot-jobs-15-"))
    user = _server_user()
    as_user: dict[str, Any] = {}
    if user is not None:
        os.chown(home, user.pw_uid, user.pw_gid)
        as_user = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}

    def run(program: str, *arguments: str) -> None:
        call = [str(PROGRAMS_OF_15 / program), "-D", str(home / "data"), *arguments]
        subprocess.run(call, check=True, stdout=subprocess.DEVNULL, timeout=60, cwd=home, **as_user)

    settings = {**UNSAFE_BUT_FAST, "listen_addresses": "", "unix_socket_directories": str(home)}
    try:
        run("initdb", "-U", "postgres", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync")
        flags = " ".join(f"-c {name}='{value}'" for name, value in settings.items())
        run("pg_ctl", "start", "-w", "-t", "60", "-l", str(home / "log"), "-o", flags)
        yield lambda role, database: f"postgresql+asyncpg://{role}@/{database}?host={home}"
        run("pg_ctl", "stop", "-w", "-m", "immediate")
    finally:
        shutil.rmtree(home, ignore_errors=True)


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
def server(request: pytest.FixtureRequest) -> Url:
    """Both ends of what is supported: the embedded PostgreSQL, and the oldest version."""
    if request.param == "15":
        url: Url = request.getfixturevalue("postgres_15")
        return url
    embedded: EmbeddedPostgres = request.getfixturevalue("postgres")
    return embedded.url


@dataclass(frozen=True, slots=True)
class Empty:
    """A database without tables: as its owner and the API's role, and as a superuser."""

    urls: DatabaseUrls
    superuser_url: str

    def as_superuser(self) -> AsyncEngine:
        return create_async_engine(self.superuser_url, poolclass=NullPool)

    def as_app(self) -> AsyncEngine:
        return create_async_engine(self.urls.app, poolclass=NullPool)


@pytest.fixture
async def empty(server: Url) -> AsyncIterator[Empty]:
    """A database of the owner's role, beside the plain role of the API."""
    async for made in _make_database(server, owner=OWNER_ROLE, app=APP_ROLE):
        yield made


@pytest.fixture
async def one_role(server: Url) -> AsyncIterator[Empty]:
    """A database whose one plain role is owner and API at once."""
    role = f"alone_{uuid.uuid4().hex}"
    async for made in _make_database(server, owner=role, app=role):
        yield made
    async with _superuser(server).connect() as connection:
        await connection.execute(sa.text(f"DROP ROLE {role}"))


async def _make_database(server: Url, *, owner: str, app: str) -> AsyncIterator[Empty]:
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
        yield Empty(DatabaseUrls(server(app, name), server(owner, name), is_embedded=True), server("postgres", name))
        await connection.execute(sa.text(f"DROP DATABASE {name} WITH (FORCE)"))


def _superuser(server: Url) -> AsyncEngine:
    return create_async_engine(server("postgres", "postgres"), poolclass=NullPool, isolation_level="AUTOCOMMIT")
