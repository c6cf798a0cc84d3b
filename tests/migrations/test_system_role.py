"""Who can take on the role that serves all workspaces, who has it by mistake, and what is told then."""

import asyncio
import importlib
import uuid
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine
from sqlalchemy.pool import NullPool

from api.database import DatabaseError, bring_up_to_date, owner_engine, refuse_unsafe
from api.embedded_postgres import APP_ROLE, OWNER_ROLE
from domain.workspaces import SYSTEM_ROLE, enter_all_workspaces
from migrations import grants
from migrations.grants import ensure_system_role, list_missing_roles
from tests.migrations.conftest import OnServer
from tests.migrations.test_migrations import works


@pytest.fixture
async def as_superuser(empty: OnServer) -> AsyncIterator[AsyncConnection]:
    engine = create_async_engine(empty.superuser_url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    async with engine.connect() as connection:
        yield connection


@pytest.fixture
async def stranger(empty: OnServer, as_superuser: AsyncConnection) -> AsyncIterator[OnServer]:
    """The empty database, with an API's role that nobody has told of the system role."""
    role = f"stranger_{uuid.uuid4().hex}"
    await run(as_superuser, f"CREATE ROLE {role} LOGIN")
    yield replace(empty, urls=replace(empty.urls, app=empty.urls.app.replace(APP_ROLE, role)))
    await run(as_superuser, f"DROP OWNED BY {role}", f"DROP ROLE {role}")


async def run(connection: AsyncConnection, *statements: str) -> None:
    for statement in statements:
        await connection.execute(sa.text(statement))


def told(refused: pytest.ExceptionInfo[DatabaseError]) -> list[str]:
    """The statements that the one line says to run."""
    assert "\n" not in str(refused.value)
    return str(refused.value).partition("as a superuser run: ")[2].split("; ")


async def test_migrate_says_what_a_superuser_is_to_run_and_changes_nothing_before(
    stranger: OnServer, as_superuser: AsyncConnection
) -> None:
    role = make_url(stranger.urls.app).username
    with pytest.raises(DatabaseError, match=f"^MIGRATION_DATABASE_URL: the role {role} cannot take on") as refused:
        await bring_up_to_date(stranger.urls)
    assert await as_superuser.scalar(sa.text("SELECT to_regclass('alembic_version')")) is None

    await run(as_superuser, *told(refused))

    await bring_up_to_date(stranger.urls)
    await refuse_unsafe(stranger.as_app())
    await works(stranger)
    async with stranger.as_app().begin() as connection:
        await enter_all_workspaces(connection)
        assert await connection.scalar(sa.text("SELECT count(*) FROM workspaces")) == 2


async def test_serve_refuses_a_role_that_cannot_take_it_on(stranger: OnServer, as_superuser: AsyncConnection) -> None:
    with pytest.raises(DatabaseError, match=r"^DATABASE_URL: the role stranger_\w+ cannot take on") as refused:
        await refuse_unsafe(stranger.as_app())

    await run(as_superuser, *told(refused))

    await refuse_unsafe(stranger.as_app())


async def test_serve_refuses_a_role_that_has_its_rights_all_the_time(
    stranger: OnServer, as_superuser: AsyncConnection
) -> None:
    await run(as_superuser, f"GRANT {SYSTEM_ROLE} TO {make_url(stranger.urls.app).username}")
    with pytest.raises(DatabaseError, match=f"inherits {SYSTEM_ROLE}, so tenants would see each other") as refused:
        await refuse_unsafe(stranger.as_app())

    await run(as_superuser, *told(refused))

    await refuse_unsafe(stranger.as_app())
    async with stranger.as_app().begin() as connection:
        await enter_all_workspaces(connection)


async def test_a_role_that_takes_it_on_by_another_way_is_left_alone(
    stranger: OnServer, as_superuser: AsyncConnection
) -> None:
    role = str(make_url(stranger.urls.app).username)

    await run(as_superuser, f"ALTER ROLE {role} NOINHERIT", f"GRANT {SYSTEM_ROLE} TO {role}")

    await refuse_unsafe(stranger.as_app())
    assert await list_missing_roles(as_superuser, role) == []


async def test_serve_refuses_a_system_role_that_bypasses_policies(
    empty: OnServer, as_superuser: AsyncConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under another name, for the real one is of everybody."""
    name = f"bypassing_{uuid.uuid4().hex}"
    monkeypatch.setattr("api.database.SYSTEM_ROLE", name)
    await run(as_superuser, f"CREATE ROLE {name} BYPASSRLS")
    try:
        with pytest.raises(DatabaseError, match=f"the role {name} is allowed to bypass row level security"):
            await refuse_unsafe(empty.as_app())
    finally:
        await run(as_superuser, f"DROP ROLE {name}")


async def test_owners_who_may_make_roles_make_it_all_at_once(
    empty: OnServer, as_superuser: AsyncConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under another name, for the real one is there already."""
    suffix = uuid.uuid4().hex
    names = [f"system_{suffix}", f"system_{suffix}_member"]
    api_roles = [f"api_{number}_{suffix}" for number in range(3)]
    monkeypatch.setattr(grants, "_MISSING", grants._MISSING.bindparams(system_role=names[0], between=names[1]))
    await run(
        as_superuser, f"CREATE ROLE owner_{suffix} CREATEROLE LOGIN", *(f"CREATE ROLE {api}" for api in api_roles)
    )
    if await as_superuser.scalar(sa.text("SELECT current_setting('server_version_num')::int >= 160000")):
        await run(as_superuser, *(f"GRANT {api} TO owner_{suffix} WITH ADMIN TRUE" for api in api_roles))
    owner = create_async_engine(empty.urls.owner.replace(OWNER_ROLE, f"owner_{suffix}"), poolclass=NullPool)

    async def ensure(api_role: str) -> None:
        async with owner.begin() as connection:
            await ensure_system_role(connection, api_role)

    try:
        await asyncio.gather(*(ensure(api_role) for api_role in api_roles * 3))

        for api_role in api_roles:
            assert await list_missing_roles(as_superuser, api_role) == []
            inherits = sa.select(sa.func.pg_has_role(api_role, names[0], "USAGE"))
            assert await as_superuser.scalar(inherits) is False
    finally:
        for role in (*api_roles, names[1], names[0], f"owner_{suffix}"):
            await run(as_superuser, f"DROP ROLE IF EXISTS {role}")


async def test_alembics_own_command_says_what_is_missing_too(empty: OnServer) -> None:
    revision = importlib.import_module("migrations.versions.0008_system_role")
    create = revision.CREATE_ROLE.replace(SYSTEM_ROLE, f"system_{uuid.uuid4().hex}")

    async with owner_engine(empty.urls).connect() as connection:
        with pytest.raises(ProgrammingError, match=r"as a superuser run: CREATE ROLE system_\w+ NOLOGIN"):
            await connection.execute(sa.text(create))
