"""Servers that tests share where they do not break them: two processes on one database."""

from collections.abc import AsyncIterator

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from api.database import DatabaseUrls
from api.embedded_postgres import APP_ROLE, OWNER_ROLE, EmbeddedPostgres
from tests.api.network import Network
from tests.servers import Server, running_server, settings_for
from tests.tenants import Tenant, make_tenant


@pytest.fixture(scope="session")
async def served_urls(
    postgres: EmbeddedPostgres, template: str, superuser: AsyncEngine, worker_id: str
) -> AsyncIterator[DatabaseUrls]:
    """A migrated database for the shared servers."""
    name = f"served_{worker_id}"
    async with superuser.connect() as connection:
        await connection.execute(sa.text(f"CREATE DATABASE {name} TEMPLATE {template} OWNER {OWNER_ROLE}"))
    yield DatabaseUrls(postgres.url(APP_ROLE, name), postgres.url(OWNER_ROLE, name), is_embedded=True)
    async with superuser.connect() as connection:
        await connection.execute(sa.text(f"DROP DATABASE {name} WITH (FORCE)"))


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


@pytest.fixture(scope="session")
async def served_engine(served_urls: DatabaseUrls) -> AsyncIterator[AsyncEngine]:
    engine = create_async_engine(served_urls.app, pool_size=5, max_overflow=0, connect_args={"timeout": 30})
    yield engine
    await engine.dispose()


@pytest.fixture
async def shop(served_urls: DatabaseUrls, served_engine: AsyncEngine) -> Tenant:
    """A workspace of this test's own on the shared servers."""
    return await make_tenant(served_urls, served_engine)


@pytest.fixture
async def other_shop(served_urls: DatabaseUrls, served_engine: AsyncEngine) -> Tenant:
    """Another workspace there."""
    return await make_tenant(served_urls, served_engine)


@pytest.fixture
async def network(postgres: EmbeddedPostgres) -> AsyncIterator[Network]:
    network = Network(postgres.socket_dir / ".s.PGSQL.5432")
    await network.mend()
    yield network
    await network.close()
