"""The databases on which the API refuses to start, and the two ways of the documentation to make one that it takes."""

import re
import socket
import uuid
from collections.abc import AsyncIterator

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from api.database import DatabaseError, DatabaseUrls, app_engine, bring_up_to_date, refuse_outdated, refuse_unsafe
from api.embedded_postgres import APP_ROLE, OWNER_ROLE, EmbeddedPostgres
from api.settings import load_settings
from api.workspaces import DEMO_WORKSPACE_ID, ensure_developer
from domain.robot_jobs import find_robot_jobs
from domain.workspaces import Role
from tests.api.test_settings import OPERATIONS, refusal
from tests.servers import settings_for
from tests.tenants import make_tenant


@pytest.fixture
async def empty_urls(postgres: EmbeddedPostgres, superuser: AsyncEngine) -> AsyncIterator[DatabaseUrls]:
    """A database that nobody has migrated."""
    name = f"empty_{uuid.uuid4().hex}"
    async with superuser.connect() as connection:
        await connection.execute(sa.text(f"CREATE DATABASE {name} OWNER {OWNER_ROLE}"))
    yield DatabaseUrls(postgres.url(APP_ROLE, name), postgres.url(OWNER_ROLE, name), is_embedded=False)
    async with superuser.connect() as connection:
        await connection.execute(sa.text(f"DROP DATABASE {name} WITH (FORCE)"))


@pytest.fixture
async def bypassing_url(
    postgres: EmbeddedPostgres, superuser: AsyncEngine, served_urls: DatabaseUrls
) -> AsyncIterator[str]:
    """The served database as a role that policies do not bind, though it is no superuser."""
    role = f"bypassing_{uuid.uuid4().hex}"
    async with superuser.connect() as connection:
        await connection.execute(sa.text(f"CREATE ROLE {role} LOGIN BYPASSRLS"))
    yield served_urls.app.replace(APP_ROLE, role)
    async with superuser.connect() as connection:
        await connection.execute(sa.text(f"DROP ROLE {role}"))


async def refusal_of(url: str) -> str:
    engine = create_async_engine(url, poolclass=NullPool, connect_args={"timeout": 1})
    with pytest.raises(DatabaseError) as refused:
        await refuse_unsafe(engine)
    await engine.dispose()
    return str(refused.value)


# ---------------------------------------------------------------------------------------------- serve refuses


def test_serve_refuses_a_superuser(served_urls: DatabaseUrls) -> None:
    url = served_urls.app.replace(APP_ROLE, "postgres")

    said = refusal("serve", **settings_for(served_urls) | {"DATABASE_URL": url})

    assert said.startswith("DATABASE_URL: the role postgres is a superuser, so tenants would see each other.")


def test_serve_refuses_a_database_that_is_not_migrated(empty_urls: DatabaseUrls) -> None:
    said = refusal("serve", **settings_for(empty_urls))

    assert said == "the database is not at this version; run: robot-jobs migrate"


def test_serve_refuses_a_port_in_use(served_urls: DatabaseUrls) -> None:
    with socket.create_server(("127.0.0.1", 0)) as somebody:
        port = somebody.getsockname()[1]

        said = refusal("serve", **settings_for(served_urls) | {"ROBOT_JOBS_PORT": str(port)})

    assert said == f"ROBOT_JOBS_PORT: cannot listen on 127.0.0.1:{port}: Address already in use"


def test_migrate_says_whose_url_is_wrong(served_urls: DatabaseUrls) -> None:
    wrong = served_urls.owner.replace("/test_", "/nothing_")

    said = refusal("migrate", **settings_for(served_urls) | {"MIGRATION_DATABASE_URL": wrong})

    assert re.fullmatch(r'MIGRATION_DATABASE_URL: cannot connect: database "nothing_\w+" does not exist', said)


async def test_role_that_bypasses_row_level_security_is_refused(bypassing_url: str) -> None:
    assert "is allowed to bypass row level security (BYPASSRLS)" in await refusal_of(bypassing_url)


async def test_reasons_are_one_line(served_urls: DatabaseUrls) -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf, socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # and does not listen
        silent = f"postgresql+asyncpg://robot_jobs@127.0.0.1:{deaf.getsockname()[1]}/robot_jobs?ssl=disable"
        for url, reason in (
            (served_urls.app.replace("/test_", "/nothing_"), "does not exist"),
            (served_urls.app.replace(APP_ROLE, "nobody_here"), 'role "nobody_here" does not exist'),
            ("postgresql+asyncpg://robot_jobs@/robot_jobs?host=/tmp/nowhere", "No such file or directory"),
            (f"postgresql+asyncpg://robot_jobs:hunter2@127.0.0.1:{nobody.getsockname()[1]}/x", "Connect call failed"),
            (silent, "the database does not answer"),
        ):
            said = await refusal_of(url)
            assert said.startswith("DATABASE_URL: cannot connect: ")
            assert reason in said
            assert "\n" not in said
            assert "hunter2" not in said


async def test_commands_say_that_they_need_the_owner_or_a_migration(
    empty_urls: DatabaseUrls, served_urls: DatabaseUrls
) -> None:
    with pytest.raises(DatabaseError, match="the database is not at this version; run: robot-jobs migrate"):
        await ensure_developer(empty_urls, DEMO_WORKSPACE_ID, Role.VIEWER)
    with pytest.raises(DatabaseError, match=r"^DATABASE_URL: permission denied .* use the role that owns the tables$"):
        await bring_up_to_date(DatabaseUrls(empty_urls.app, empty_urls.app, is_embedded=False))


# ---------------------------------------------------------------------------------------------- documentation


@pytest.mark.parametrize("way", [0, 1], ids=["two roles", "one role"])
async def test_documented_sql_makes_a_database_that_works_and_keeps_tenants_apart(
    superuser: AsyncEngine, postgres: EmbeddedPostgres, way: int
) -> None:
    name = f"docs_{uuid.uuid4().hex}"
    statements = re.findall(r"```sql\n(.*?)```", OPERATIONS.read_text(encoding="utf-8"), re.DOTALL)[way]
    statements = re.sub(r"robot_jobs(?!_system)", name, statements)
    statements = statements.replace("CREATE ROLE robot_jobs_system NOLOGIN;", "")  # is of all databases of the server
    roles = re.findall(r"CREATE ROLE (\w+)", statements)
    urls = DatabaseUrls(postgres.url(roles[-1], name), postgres.url(roles[0], name), is_embedded=False)
    async with superuser.connect() as connection:
        for statement in filter(str.strip, statements.split(";")):
            await connection.execute(sa.text(statement))
    try:
        await bring_up_to_date(urls)
        engine = create_async_engine(urls.app, poolclass=NullPool)
        await refuse_unsafe(engine)
        await refuse_outdated(engine)
        tenant, other_tenant = await make_tenant(urls, engine), await make_tenant(urls, engine)
        in_hand = await tenant.job(items=2, succeeded=1, failed=1)
        async with other_tenant.work() as connection:
            assert await find_robot_jobs(connection, [in_hand.job.id]) == {}
        await engine.dispose()
        assert in_hand.job.status == "completed"
    finally:
        async with superuser.connect() as connection:
            await connection.execute(sa.text(f"DROP DATABASE {name} WITH (FORCE)"))
            for role in roles:
                await connection.execute(sa.text(f"DROP ROLE {role}"))


async def test_what_goes_wrong_in_a_statement_is_told_without_what_was_sent(served_urls: DatabaseUrls) -> None:
    """Faults are logged as they are: a customer's address or a key's hash has no place there."""
    engine = app_engine(load_settings(), served_urls)
    async with engine.connect() as connection:
        with pytest.raises(sa.exc.DBAPIError) as raised:
            await connection.execute(sa.text("SELECT CAST(:address AS text), 1 / 0"), {"address": "Calle 1 # 2-3"})
    await engine.dispose()

    assert "1 / 0" in str(raised.value)
    assert "Calle 1" not in str(raised.value)
