"""One database for the tests of a module that look at all workspaces: what others have left would be seen as well."""

from collections.abc import AsyncIterator

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from api.embedded_postgres import EmbeddedPostgres
from tests.conftest import Database, made_database, pool_of


@pytest.fixture(scope="module")
async def database(postgres: EmbeddedPostgres, template: str, superuser: AsyncEngine) -> AsyncIterator[Database]:
    """Migrated, with the reference data, and no tenant but the module's."""
    async with made_database(postgres, template, superuser) as database:
        yield database


@pytest.fixture(scope="module")
async def engine(database: Database) -> AsyncIterator[AsyncEngine]:
    async with pool_of(database.urls, 5) as engine:
        yield engine
