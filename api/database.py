"""Finds or starts the database, brings it up to date, and opens the API's pool as a plain role."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from api.settings import Settings
from domain.workspaces import SYSTEM_ROLE
from migrations.grants import SystemRoleMissing, list_missing_roles
from migrations.run import is_current, migrate

DATABASE = "robot_jobs"
LEAST_VERSION = 15
_NOT_MIGRATED = "the database is not at this version; run: robot-jobs migrate"


class DatabaseError(Exception):
    """One line: why the API cannot start on this database, and what to do."""


@dataclass(frozen=True, slots=True)
class DatabaseUrls:
    """The same database as the API's plain role, and as the owner of the tables."""

    app: str
    owner: str
    is_embedded: bool


async def find_database(settings: Settings) -> DatabaseUrls:
    """The database of the settings; without one the embedded PostgreSQL, started if it is not running.

    Raises EmbeddedPostgresError.
    """
    if settings.database_url is not None:
        return DatabaseUrls(settings.database_url, settings.migration_database_url or settings.database_url, False)
    from api.embedded_postgres import (  # noqa: PLC0415 -- not imported where it is not used
        APP_ROLE,
        OWNER_ROLE,
        ensure_roles_and_database,
        start_embedded_postgres,
    )

    server = await asyncio.to_thread(start_embedded_postgres, Path(settings.home) / "postgres")
    await ensure_roles_and_database(server, DATABASE)
    return DatabaseUrls(server.url(APP_ROLE, DATABASE), server.url(OWNER_ROLE, DATABASE), True)


async def bring_up_to_date(urls: DatabaseUrls) -> None:
    """Migrate, load the reference data, grant rights; two quick reads when there is nothing to do.

    Raises DatabaseError.
    """
    async with owner_transaction(urls) as connection:
        if not await is_current(connection):
            owner = await connection.scalar(sa.select(sa.func.current_user()))
            await migrate(connection, app_role=make_url(urls.app).username or str(owner))


async def refuse_outdated(engine: AsyncEngine) -> None:
    """Raises DatabaseError unless tables and reference data are this version's."""
    async with engine.begin() as connection:
        if not await is_current(connection):
            raise DatabaseError(_NOT_MIGRATED)


def owner_engine(urls: DatabaseUrls) -> AsyncEngine:
    """For a single transaction as the tables' owner; it keeps no connection."""
    return create_async_engine(urls.owner, poolclass=NullPool, connect_args={"timeout": 10})


@asynccontextmanager
async def owner_transaction(urls: DatabaseUrls) -> AsyncIterator[AsyncConnection]:
    """A transaction as the tables' owner.  Raises DatabaseError for the wrong database and for the wrong role."""
    setting = "DATABASE_URL" if urls.owner == urls.app else "MIGRATION_DATABASE_URL"
    async with _connected(owner_engine(urls), setting) as connection:
        try:
            async with connection.begin():
                yield connection
        except SystemRoleMissing as error:
            raise DatabaseError(f"{setting}: {error}") from error
        except sa.exc.ProgrammingError as error:
            match getattr(error.orig, "sqlstate", None):
                case "42501":  # insufficient_privilege
                    reason = str(error.orig).partition("\n")[0]
                    raise DatabaseError(f"{setting}: {reason}; use the role that owns the tables") from error
                case "42P01":  # undefined_table
                    raise DatabaseError(_NOT_MIGRATED) from error
            raise


@asynccontextmanager
async def _connected(engine: AsyncEngine, setting: str) -> AsyncIterator[AsyncConnection]:
    """A connection.  Raises DatabaseError, with the name of the setting, when there is none to be had."""
    try:
        connection = await engine.connect()
    except TimeoutError as error:
        raise DatabaseError(f"{setting}: cannot connect: the database does not answer") from error
    except (OSError, sa.exc.SQLAlchemyError) as error:
        reason = str(getattr(error, "orig", None) or error).partition("\n")[0]
        raise DatabaseError(f"{setting}: cannot connect: {reason}") from error
    try:
        yield connection
    finally:
        await connection.close()


def app_engine(settings: Settings, urls: DatabaseUrls) -> AsyncEngine:
    """The API's pool.  Nothing waits for ever: not for a connection, not for a statement, not for a dead network."""
    return create_async_engine(
        urls.app,
        pool_size=settings.pool_size,
        max_overflow=0,
        pool_timeout=settings.pool_timeout_s,
        pool_pre_ping=False,
        pool_use_lifo=True,
        hide_parameters=True,  # a fault's log would hold customers' addresses, and hashes of keys
        connect_args={
            "timeout": settings.pool_timeout_s / 2,  # so that one try to connect does not take up all the time there is
            "command_timeout": settings.command_timeout_s,
            "server_settings": {"application_name": "robot-jobs", "timezone": "UTC", "jit": "off"},
        },
    )


async def refuse_unsafe(engine: AsyncEngine) -> None:
    """Raises DatabaseError for a server that is too old, and for a role that row level security does not bind.

    One that has the rights of SYSTEM_ROLE all the time is not bound either; one that cannot take it on cannot sweep.
    """
    async with _connected(engine, "DATABASE_URL") as connection:
        roles = {role.rolname: role for role in await connection.execute(_ROLES, {"system_role": SYSTEM_ROLE})}
        role = next(each for each in roles.values() if each.is_current)
        missing = await list_missing_roles(connection, role.rolname)
    if role.version < LEAST_VERSION * 10_000:
        raise DatabaseError(f"PostgreSQL {role.version // 10_000} is too old: {LEAST_VERSION} or later is needed.")
    for each in roles.values():
        if each.rolsuper or each.rolbypassrls:
            what = "a superuser" if each.rolsuper else "allowed to bypass row level security (BYPASSRLS)"
            raise DatabaseError(
                f"DATABASE_URL: the role {each.rolname} is {what}, so tenants would see each other. "
                "Use a plain role; docs/operations.md shows how to make one."
            )
    if SYSTEM_ROLE not in roles:
        return  # the database is not migrated, which is told next
    if roles[SYSTEM_ROLE].is_inherited:
        raise DatabaseError(
            f"DATABASE_URL: the role {role.rolname} inherits {SYSTEM_ROLE}, so tenants would see each other; "
            f"as a superuser run: {'; '.join(missing)}"
        )
    if missing:
        raise DatabaseError(f"DATABASE_URL: {SystemRoleMissing(role.rolname, missing)}")


_ROLES = sa.text("""
    SELECT rolname, rolsuper, rolbypassrls, rolname = current_user AS is_current,
           rolname <> current_user AND pg_has_role(current_user, oid, 'USAGE') AS is_inherited,
           current_setting('server_version_num')::int AS version
    FROM pg_roles WHERE rolname IN (current_user, :system_role)
""")
