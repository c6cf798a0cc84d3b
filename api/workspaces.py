"""Workspaces and members as the command line makes them, with the demo workspace for a first look."""

import uuid
from importlib.resources import files

from sqlalchemy.ext.asyncio import AsyncConnection

from api.database import DatabaseUrls, owner_transaction
from domain.carrier_configs import CarrierConfig, CarrierConfigChanges, find_carrier_config, upsert_carrier_config
from domain.carriers import Carrier
from domain.envelopes import KeyRing
from domain.order_import import import_orders
from domain.workspaces import (
    Membership,
    NotAMember,
    Role,
    create_workspace,
    enter_as_owner,
    enter_workspace,
    has_workspace,
    set_member,
)

DEMO_WORKSPACE_ID = uuid.UUID("01980000-0000-7000-8000-00000000de30")
DEMO_WORKSPACE_NAME = "Demo shop"
DEMO_LOGIN = "demo"
SANDBOX_PASSWORD = "sandbox"  # noqa: S105 -- no secret: it opens a make-believe portal


class UnknownWorkspace(Exception):
    """There is no workspace with that id."""


def developer_id(role: Role) -> str:
    """The user for whom `robot-jobs token` makes tokens: one per role."""
    return f"developer-{role}"


async def seed_demo_workspace(urls: DatabaseUrls, key_ring: KeyRing | None) -> bool:
    """Make the demo workspace, unless it is there: a member of every role, the sample orders, carrier configs.

    False if it was there already; what people have done in it since is left alone, but a login at the sandbox portal
    that it lacks is added, where there are keys to keep its password with.
    """
    async with owner_transaction(urls) as connection:
        await enter_as_owner(connection)
        is_new = not await has_workspace(connection, DEMO_WORKSPACE_ID)
        if is_new:
            await _make_demo_workspace(connection)
        if key_ring is not None and await _find_config(connection, Carrier.SANDBOX) is None:
            await _set_login(connection, Carrier.SANDBOX, DEMO_LOGIN, key_ring)
    return is_new


async def lend_portal_login(urls: DatabaseUrls, key_ring: KeyRing, carrier: Carrier) -> None:
    """Give the demo workspace a login of its own for that carrier at the sandbox portal, unless it has a password."""
    async with owner_transaction(urls) as connection:
        await enter_as_owner(connection)
        config = await _find_config(connection, carrier)
        if config is None or config.password_updated_at is None:
            # Not the other carrier's: a portal lets an account have one session.
            await _set_login(connection, carrier, f"{DEMO_LOGIN}-{carrier}", key_ring)


async def _make_demo_workspace(connection: AsyncConnection) -> None:
    await create_workspace(connection, DEMO_WORKSPACE_ID, DEMO_WORKSPACE_NAME)
    for role in Role:
        await set_member(connection, Membership(DEMO_WORKSPACE_ID, developer_id(role), role))
    sample = (files("clients") / "console" / "sample_orders.csv").read_text(encoding="utf-8")
    await enter_workspace(connection, developer_id(Role.OPERATOR), DEMO_WORKSPACE_ID)
    await import_orders(connection, workspace_id=DEMO_WORKSPACE_ID, csv_text=sample)
    await enter_workspace(connection, developer_id(Role.ADMIN), DEMO_WORKSPACE_ID)
    await upsert_carrier_config(
        connection,
        Carrier.COORDINADORA,
        CarrierConfigChanges(username=DEMO_LOGIN),
        workspace_id=DEMO_WORKSPACE_ID,
        updated_by=developer_id(Role.ADMIN),
        key_ring=None,
    )


async def _find_config(connection: AsyncConnection, carrier: Carrier) -> CarrierConfig | None:
    try:
        await enter_workspace(connection, developer_id(Role.ADMIN), DEMO_WORKSPACE_ID)
    except NotAMember:
        return None
    return await find_carrier_config(connection, carrier)


async def _set_login(connection: AsyncConnection, carrier: Carrier, username: str, key_ring: KeyRing) -> None:
    """As the demo workspace's admin, who is made one again if somebody has changed that."""
    await set_member(connection, Membership(DEMO_WORKSPACE_ID, developer_id(Role.ADMIN), Role.ADMIN))
    await enter_workspace(connection, developer_id(Role.ADMIN), DEMO_WORKSPACE_ID)
    await upsert_carrier_config(
        connection,
        carrier,
        CarrierConfigChanges(username=username, password=SANDBOX_PASSWORD),
        workspace_id=DEMO_WORKSPACE_ID,
        updated_by=developer_id(Role.ADMIN),
        key_ring=key_ring,
    )


async def ensure_developer(urls: DatabaseUrls, workspace_id: uuid.UUID, role: Role) -> Membership:
    """A member of that workspace with that role, to make a token for.  Raises UnknownWorkspace, DatabaseError."""
    membership = Membership(workspace_id, developer_id(role), role)
    async with owner_transaction(urls) as connection:
        await enter_as_owner(connection)
        if not await has_workspace(connection, workspace_id):
            raise UnknownWorkspace(f"there is no workspace {workspace_id}; `robot-jobs seed` makes the demo workspace")
        await set_member(connection, membership)
    return membership
