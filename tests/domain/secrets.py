"""Carrier configs and their passwords in tests: written as an admin, read as a robot, seen as a superuser."""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from domain.carrier_configs import CarrierConfig, CarrierConfigChanges, upsert_carrier_config
from domain.carriers import Carrier
from domain.credentials import read_carrier_credentials
from domain.envelopes import KeyRing
from domain.workspaces import Role
from tests.conftest import Database
from tests.tenants import Tenant

KEY_RING = KeyRing({1: b"known to the tests, to no one else"[:32]})


async def upsert(tenant: Tenant, *, key_ring: KeyRing | None = KEY_RING, **changes: Any) -> CarrierConfig:
    """As an admin, committed."""
    async with tenant.work(Role.ADMIN) as connection:
        return await upsert_carrier_config(
            connection,
            Carrier.COORDINADORA,
            CarrierConfigChanges(**changes),
            workspace_id=tenant.workspace_id,
            updated_by=tenant.user(Role.ADMIN),
            key_ring=key_ring,
        )


async def read_password(tenant: Tenant, *, key_ring: KeyRing | None = KEY_RING, role: Role = Role.ROBOT) -> str:
    """As a robot, committed."""
    async with tenant.work(role) as connection:
        credentials = await read_carrier_credentials(
            connection, key_ring, Carrier.COORDINADORA, read_by=tenant.user(role), purpose="a test"
        )
    return credentials.password


async def as_superuser(database: Database, table: sa.Table, tenant: Tenant) -> list[dict[str, Any]]:
    """The tenant's rows, whatever the policies say."""
    engine = create_async_engine(database.superuser_url, poolclass=NullPool)
    async with engine.connect() as connection:
        rows = await connection.execute(sa.select(table).where(table.c.workspace_id == tenant.workspace_id))
        return [dict(row) for row in rows.mappings()]


async def execute_as_superuser(database: Database, statement: str, **parameters: object) -> int:
    """How many rows it changed."""
    engine = create_async_engine(database.superuser_url, poolclass=NullPool)
    async with engine.begin() as connection:
        return (await connection.execute(sa.text(statement), parameters)).rowcount
