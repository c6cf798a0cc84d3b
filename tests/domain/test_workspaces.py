"""Entering a workspace: the membership decides, and a refusal reveals nothing."""

import uuid

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from api.database import owner_engine
from domain.base import new_id
from domain.workspaces import (
    Membership,
    NotAMember,
    Role,
    WorkspaceRequired,
    create_workspace,
    enter_as_owner,
    enter_workspace,
    has_workspace,
    set_member,
    workspaces,
)
from tests.conftest import Database
from tests.tenants import Tenant


async def _add(database: Database, membership: Membership) -> None:
    async with owner_engine(database.urls).begin() as owner:
        await enter_as_owner(owner)
        await set_member(owner, membership)


@pytest.mark.parametrize("role", Role)
async def test_a_member_enters_with_the_own_role(tenant: Tenant, role: Role) -> None:
    async with tenant.engine.begin() as connection:
        membership = await enter_workspace(connection, tenant.user(role), tenant.workspace_id)

    assert membership == Membership(tenant.workspace_id, tenant.user(role), role)


async def test_the_only_membership_needs_no_naming(tenant: Tenant) -> None:
    async with tenant.engine.begin() as connection:
        membership = await enter_workspace(connection, tenant.user(Role.VIEWER), None)

    assert membership.workspace_id == tenant.workspace_id


async def test_one_of_several_memberships_must_be_named(
    tenant: Tenant, other_tenant: Tenant, database: Database
) -> None:
    user = tenant.user(Role.ADMIN)
    await _add(database, Membership(other_tenant.workspace_id, user, Role.VIEWER))

    async with tenant.engine.begin() as connection:
        with pytest.raises(WorkspaceRequired):
            await enter_workspace(connection, user, None)
        named = await enter_workspace(connection, user, other_tenant.workspace_id)

    assert named.role is Role.VIEWER


async def test_another_tenants_workspace_and_none_are_refused_alike(tenant: Tenant, other_tenant: Tenant) -> None:
    messages = set()
    for workspace_id in (other_tenant.workspace_id, new_id(), uuid.UUID(int=0)):
        async with tenant.engine.begin() as connection:
            with pytest.raises(NotAMember) as refusal:
                await enter_workspace(connection, tenant.user(Role.ADMIN), workspace_id)
        messages.add(refusal.value.message)

    assert len(messages) == 1


async def test_after_a_refusal_the_workspace_entered_before_is_left(tenant: Tenant, other_tenant: Tenant) -> None:
    async with tenant.engine.begin() as connection:
        await enter_workspace(connection, tenant.user(Role.ADMIN), tenant.workspace_id)
        with pytest.raises(NotAMember):
            await enter_workspace(connection, tenant.user(Role.ADMIN), other_tenant.workspace_id)

        assert await connection.scalar(sa.text("SELECT app_workspace_id()")) is None


async def test_a_role_is_changed_by_setting_it_again(tenant: Tenant, database: Database) -> None:
    user = tenant.user(Role.VIEWER)
    await _add(database, Membership(tenant.workspace_id, user, Role.ADMIN))

    async with tenant.engine.begin() as connection:
        assert (await enter_workspace(connection, user, None)).role is Role.ADMIN


async def test_a_workspace_is_created_once(tenant: Tenant, database: Database) -> None:
    async with owner_engine(database.urls).begin() as owner:
        await enter_as_owner(owner)
        await create_workspace(owner, tenant.workspace_id, "Another name")

    async with tenant.work() as connection:
        assert await has_workspace(connection, tenant.workspace_id)
        assert await connection.scalar(sa.select(workspaces.c.name)) == "A shop"


async def test_a_workspace_of_others_is_not_there(tenant: Tenant, other_tenant: Tenant, engine: AsyncEngine) -> None:
    async with tenant.work() as connection:
        assert not await has_workspace(connection, other_tenant.workspace_id)
