"""Finds or starts the database, brings it up to date, and opens the API's pool as a plain role."""

import asyncio
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from api.settings import Settings
from migrations.run import is_current, migrate

DATABASE = "robot_jobs"
LEAST_VERSION = 15


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
    """Migrate, load the reference data, grant rights; two quick reads when there is nothing to do."""
    async with owner_engine(urls).begin() as connection:
        if not await is_current(connection):
            owner = await connection.scalar(sa.select(sa.func.current_user()))
            await migrate(connection, app_role=make_url(urls.app).username or str(owner))


async def is_up_to_date(engine: AsyncEngine) -> bool:
    """Whether tables and reference data are this version's."""
    async with engine.begin() as connection:
        return await is_current(connection)


def owner_engine(urls: DatabaseUrls) -> AsyncEngine:
    """For a single transaction as the tables' owner; it keeps no connection."""
    return create_async_engine(urls.owner, poolclass=NullPool, connect_args={"timeout": 10})


def app_engine(settings: Settings, urls: DatabaseUrls) -> AsyncEngine:
    """The API's pool.  Nothing waits for ever: not for a connection, not for a statement, not for a dead network."""
    return create_async_engine(
        urls.app,
        pool_size=settings.pool_size,
        max_overflow=0,
        pool_timeout=settings.pool_timeout_s,
        pool_pre_ping=False,
        pool_use_lifo=True,
        connect_args={
            "timeout": settings.pool_timeout_s,
            "command_timeout": settings.command_timeout_s,
            "server_settings": {"application_name": "robot-jobs", "timezone": "UTC", "jit": "off"},
        },
    )


async def refuse_unsafe(engine: AsyncEngine) -> None:
    """Raises DatabaseError for a role that row level security does not bind, and for a server that is too old."""
    try:
        async with engine.connect() as connection:
            row = (
                await connection.execute(
                    sa.text(
                        "SELECT rolname, rolsuper, rolbypassrls, current_setting('server_version_num')::int AS version "
                        "FROM pg_roles WHERE rolname = current_user"
                    )
                )
            ).one()
    except (OSError, sa.exc.SQLAlchemyError) as error:
        reason = getattr(error, "orig", None) or error
        raise DatabaseError(f"DATABASE_URL: cannot connect: {reason}") from error
    if row.version < LEAST_VERSION * 10_000:
        raise DatabaseError(f"PostgreSQL {row.version // 10_000} is too old: {LEAST_VERSION} or later is needed.")
    if row.rolsuper or row.rolbypassrls:
        what = "a superuser" if row.rolsuper else "allowed to bypass row level security (BYPASSRLS)"
        raise DatabaseError(
            f"DATABASE_URL: the role {row.rolname} is {what}, so tenants would see each other. "
            "Use a plain role; docs/operations.md shows how to make one."
        )
