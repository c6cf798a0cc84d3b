"""Servers that tests share where they do not break them: two processes on one database."""

from collections.abc import AsyncIterator

import pytest

from api.database import DatabaseUrls
from api.embedded_postgres import EmbeddedPostgres
from tests.api.network import Network
from tests.servers import Server, running_server, settings_for


@pytest.fixture(scope="session")
async def server(served_urls: DatabaseUrls) -> AsyncIterator[Server]:
    """A server that no test may break."""
    async with running_server(**settings_for(served_urls)) as server:
        yield server


@pytest.fixture(scope="session")
async def other_server(served_urls: DatabaseUrls) -> AsyncIterator[Server]:
    """A second process on the same database."""
    async with running_server(**settings_for(served_urls)) as server:
        yield server


@pytest.fixture
async def network(postgres: EmbeddedPostgres) -> AsyncIterator[Network]:
    network = Network(postgres.socket_dir / ".s.PGSQL.5432")
    await network.mend()
    yield network
    await network.close()
