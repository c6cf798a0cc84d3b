"""The API in process on one database a worker, and those who call it."""

from collections.abc import AsyncIterator

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from domain.workspaces import Role
from schema.streams import Repeated
from tests.schema.caller import TIME_LIMIT_S, Api, Caller, MemoryWakeUps
from tests.shared_database import database, engine
from tests.tenants import Tenant

__all__ = ["api", "database", "engine", "operator", "robot", "stranger", "wakeups"]


@pytest.fixture
def wakeups() -> MemoryWakeUps:
    return MemoryWakeUps()


@pytest.fixture
async def api(engine: AsyncEngine, wakeups: MemoryWakeUps) -> AsyncIterator[Api]:
    yield Api(engine, wakeups)
    await Repeated.finish_all(TIME_LIMIT_S)


@pytest.fixture
def operator(api: Api, tenant: Tenant) -> Caller:
    return api.member(tenant)


@pytest.fixture
def robot(api: Api, tenant: Tenant) -> Caller:
    return api.member(tenant, Role.ROBOT)


@pytest.fixture
def stranger(api: Api, other_tenant: Tenant) -> Caller:
    """An operator of another workspace."""
    return api.member(other_tenant)
