"""One database a worker, for tests that share it: each has workspaces of its own, and tenants never see each other."""

from collections.abc import AsyncIterator

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from api.embedded_postgres import EmbeddedPostgres
from tests.conftest import Database, made_database, pool_of


@pytest.fixture(scope="session")
async def database(postgres: EmbeddedPostgres, template: str, superuser: AsyncEngine) -> AsyncIterator[Database]:
    """Migrated, with the reference data.  Whoever changes more than a workspace's rows puts it back."""
    async with made_database(postgres, template, superuser) as database:
        yield database


@pytest.fixture(scope="session")
async def engine(database: Database) -> AsyncIterator[AsyncEngine]:
    """The API's pool; large enough for every crowd that the tests send."""
    async with pool_of(database.urls, 60) as engine:
        yield engine
