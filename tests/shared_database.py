"""One database a worker, for tests that share it: each has workspaces of its own, and tenants never see each other."""

import uuid
from collections.abc import AsyncIterator

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from api.database import DatabaseUrls
from api.embedded_postgres import APP_ROLE, OWNER_ROLE, EmbeddedPostgres
from tests.conftest import Database


@pytest.fixture(scope="session")
async def database(postgres: EmbeddedPostgres, template: str, superuser: AsyncEngine) -> AsyncIterator[Database]:
    """Migrated, with the reference data.  Whoever changes more than a workspace's rows puts it back."""
    name = f"test_shared_{uuid.uuid4().hex}"
    async with superuser.connect() as connection:
        await connection.execute(sa.text(f"CREATE DATABASE {name} TEMPLATE {template} OWNER {OWNER_ROLE}"))
    urls = DatabaseUrls(postgres.url(APP_ROLE, name), postgres.url(OWNER_ROLE, name), is_embedded=True)
    yield Database(name, urls, postgres.url("postgres", name))
    async with superuser.connect() as connection:
        await connection.execute(sa.text(f"DROP DATABASE {name} WITH (FORCE)"))


@pytest.fixture(scope="session")
async def engine(database: Database) -> AsyncIterator[AsyncEngine]:
    """The API's pool, as the plain role; large enough for every crowd that the tests send."""
    engine = create_async_engine(database.urls.app, pool_size=60, max_overflow=0, connect_args={"timeout": 30})
    yield engine
    await engine.dispose()
