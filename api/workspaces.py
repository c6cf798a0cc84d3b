"""Workspaces and members as the command line makes them, with the demo workspace for a first look."""

import uuid
from importlib.resources import files

from api.database import DatabaseUrls, owner_transaction
from domain.carrier_configs import CarrierConfigChanges, upsert_carrier_config
from domain.carriers import Carrier
from domain.order_import import import_orders
from domain.workspaces import (
    Membership,
    Role,
    create_workspace,
    enter_as_owner,
    enter_workspace,
    has_workspace,
    set_member,
)

DEMO_WORKSPACE_ID = uuid.UUID("01980000-0000-7000-8000-00000000de30")
DEMO_WORKSPACE_NAME = "Demo shop"


class UnknownWorkspace(Exception):
    """There is no workspace with that id."""


def developer_id(role: Role) -> str:
    """The user for whom `robot-jobs token` makes tokens: one per role."""
    return f"developer-{role}"


async def seed_demo_workspace(urls: DatabaseUrls) -> bool:
    """Make the demo workspace, unless it is there: a member of every role, the sample orders, a carrier config.

    False if it was there already; what people have done in it since is left alone.
    """
    async with owner_transaction(urls) as connection:
        await enter_as_owner(connection)
        if await has_workspace(connection, DEMO_WORKSPACE_ID):
            return False
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
            CarrierConfigChanges(username="demo"),
            workspace_id=DEMO_WORKSPACE_ID,
            updated_by=developer_id(Role.ADMIN),
            key_ring=None,
        )
    return True


async def ensure_developer(urls: DatabaseUrls, workspace_id: uuid.UUID, role: Role) -> Membership:
    """A member of that workspace with that role, to make a token for.  Raises UnknownWorkspace, DatabaseError."""
    membership = Membership(workspace_id, developer_id(role), role)
    async with owner_transaction(urls) as connection:
        await enter_as_owner(connection)
        if not await has_workspace(connection, workspace_id):
            raise UnknownWorkspace(f"there is no workspace {workspace_id}; `robot-jobs seed` makes the demo workspace")
        await set_member(connection, membership)
    return membership
