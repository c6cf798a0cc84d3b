"""The API in process on one database a worker, and those who call it."""

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from domain.workspaces import Role
from tests.schema.caller import Api, Caller, MemoryWakeUps
from tests.shared_database import database, engine
from tests.tenants import Tenant

__all__ = ["api", "database", "engine", "operator", "robot", "stranger", "wakeups"]


@pytest.fixture
def wakeups() -> MemoryWakeUps:
    return MemoryWakeUps()


@pytest.fixture
def api(engine: AsyncEngine, wakeups: MemoryWakeUps) -> Api:
    return Api(engine, wakeups)


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
