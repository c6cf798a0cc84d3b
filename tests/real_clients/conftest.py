"""Real clients in processes of their own, on one server a worker."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from api.database import DatabaseUrls
from tests.conftest import Database
from tests.real_clients.node import MUST_RUN, Node, SetUpFailed, must_run, set_up
from tests.servers import Server, running_server, settings_for
from tests.shared_database import database, engine
from tests.tenants import Tenant, make_tenant

__all__ = ["database", "engine"]


@pytest.fixture(scope="session")
async def node() -> Node:
    """Node.js with the clients and generators installed."""
    try:
        return await asyncio.to_thread(set_up)
    except SetUpFailed as error:
        if must_run():
            pytest.fail(f"real clients cannot be tried, and {MUST_RUN} says that they must: {error}", pytrace=False)
        pytest.skip(f"REAL CLIENTS NOT TRIED: Node.js or its packages could not be installed: {error}")


@pytest.fixture(scope="session")
async def served_urls(database: Database) -> DatabaseUrls:
    return database.urls


@pytest.fixture(scope="session")
async def server(served_urls: DatabaseUrls) -> AsyncIterator[Server]:
    """A server that no test may break; it tells its schema, as gql wants."""
    async with running_server("--dev", **settings_for(served_urls)) as server:
        yield server


@pytest.fixture
async def shop(served_urls: DatabaseUrls, engine: AsyncEngine) -> Tenant:
    """A workspace of this test's own."""
    return await make_tenant(served_urls, engine)
