"""Access of many, asked at once: each keeps or loses it for itself, and asking opens nothing."""

import datetime as dt
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.ext.asyncio import AsyncEngine

from api.database import owner_engine
from domain.access import Access, find_lasting
from domain.api_keys import (
    CreatedApiKey,
    PresentedKey,
    api_keys,
    enter_workspace_by_key,
    make_secret,
    record_api_key_use,
)
from domain.base import new_id
from domain.orders import orders
from domain.workspaces import (
    Membership,
    Role,
    enter_as_owner,
    enter_workspace,
    set_member,
    workspace_members,
    workspaces,
)
from tests.conftest import Database
from tests.domain.ledger import counted_statements
from tests.tenants import Tenant, make_installation_key


def member(tenant: Tenant, role: Role = Role.OPERATOR) -> Access:
    return Access(Membership(tenant.workspace_id, tenant.user(role), role))


async def by_key(tenant: Tenant, created: CreatedApiKey) -> Access:
    """As the key was let in."""
    presented = PresentedKey.of(created.secret)
    async with tenant.engine.begin() as connection:
        return Access((await enter_workspace_by_key(connection, presented, tenant.workspace_id)).membership, presented)


async def lasting(engine: AsyncEngine, *granted: Access) -> set[Access]:
    async with engine.begin() as connection:
        return (await find_lasting(connection, granted)).granted


async def as_owner(database: Database, statement: sa.Update | sa.Delete) -> None:
    async with owner_engine(database.urls).begin() as owner:
        await enter_as_owner(owner)
        await owner.execute(statement)


async def test_all_who_have_access_are_found_with_one_statement(
    engine: AsyncEngine, database: Database, tenant: Tenant, other_tenant: Tenant
) -> None:
    everywhere = await make_installation_key(database.urls)
    granted = {
        *(member(each, role) for each in (tenant, other_tenant) for role in Role),
        *[await by_key(tenant, await tenant.key(f"robot {number}")) for number in range(3)],
        await by_key(tenant, everywhere),
        await by_key(other_tenant, everywhere),
    }

    with counted_statements(engine) as statements:
        found = await lasting(engine, *granted)

    assert found == granted
    assert len(statements) == 1


async def test_a_key_says_when_its_use_is_to_be_recorded(engine: AsyncEngine, tenant: Tenant) -> None:
    used, unused = [await by_key(tenant, await tenant.key(name)) for name in ("used", "unused")]
    assert used.key is not None
    async with engine.begin() as connection:
        await record_api_key_use(connection, used.key)

    async with engine.begin() as connection:
        found = await find_lasting(connection, [used, unused, member(tenant)])

    assert found.granted == {used, unused, member(tenant)}
    assert found.due == {unused.key}


async def test_nobody_is_found_when_nobody_is_asked_for(engine: AsyncEngine) -> None:
    assert await lasting(engine) == set()


async def test_who_never_had_access_is_not_found(engine: AsyncEngine, tenant: Tenant, other_tenant: Tenant) -> None:
    of_key = await by_key(tenant, await tenant.key())
    another = await by_key(tenant, await tenant.key("another"))
    wrong = [
        Access(Membership(other_tenant.workspace_id, tenant.user(Role.ADMIN), Role.ADMIN)),
        Access(Membership(uuid.UUID(int=0), tenant.user(Role.ADMIN), Role.ADMIN)),
        Access(Membership(tenant.workspace_id, "stranger", Role.VIEWER)),
        Access(Membership(tenant.workspace_id, '"},{', Role.VIEWER)),
        replace(of_key, key=PresentedKey.of(make_secret())),
        replace(of_key, membership=replace(of_key.membership, api_key_id=new_id())),
    ]

    for each in wrong:
        assert await lasting(engine, each, member(tenant), another) == {member(tenant), another}, each


Loss = Callable[[], Awaitable[None]]


@pytest.fixture(params=["revoked key", "expired key", "revoked member", "other role"])
async def losing(request: pytest.FixtureRequest, database: Database, tenant: Tenant) -> tuple[Access, Loss]:
    """An access, and how it is lost."""
    access = member(tenant, Role.OPERATOR)
    of_member = workspace_members.c.user_id == tenant.user(Role.OPERATOR)
    if "key" in request.param:
        created = await tenant.key()
        access = await by_key(tenant, created)
        now = dt.datetime.now(dt.UTC)
        lost = {"revoked_at": now} if request.param == "revoked key" else {"expires_at": now}
        return access, lambda: as_owner(
            database, sa.update(api_keys).where(api_keys.c.id == created.api_key.id).values(lost)
        )
    if request.param == "revoked member":
        return access, lambda: as_owner(database, sa.delete(workspace_members).where(of_member))

    async def demote() -> None:
        async with owner_engine(database.urls).begin() as owner:
            await enter_as_owner(owner)
            await set_member(owner, replace(access.membership, role=Role.VIEWER))

    return access, demote


async def test_what_is_lost_is_not_found_and_others_keep_theirs(
    engine: AsyncEngine, tenant: Tenant, other_tenant: Tenant, losing: tuple[Access, Loss]
) -> None:
    access, lose = losing
    others = {member(tenant, Role.ADMIN), member(other_tenant), await by_key(tenant, await tenant.key("another"))}
    assert await lasting(engine, access, *others) == {access, *others}

    await lose()

    assert await lasting(engine, access, *others) == others


async def test_asking_enters_no_workspace_and_leaves_no_sight_behind(
    engine: AsyncEngine, tenant: Tenant, other_tenant: Tenant
) -> None:
    await tenant.job(items=1)
    of_key = await by_key(tenant, await tenant.key())

    async with engine.begin() as connection:
        assert (await find_lasting(connection, [member(tenant, Role.ADMIN), of_key])).granted
        for table in (workspace_members, workspaces, orders):
            assert (await connection.execute(sa.select(table))).all() == []
        assert (await connection.execute(sa.select(api_keys.c.id))).all() == []

        await enter_workspace(connection, other_tenant.user(Role.VIEWER), other_tenant.workspace_id)
        assert (await find_lasting(connection, [member(tenant)])).granted == {member(tenant)}
        seen = await connection.execute(sa.select(workspace_members.c.user_id))
        assert seen.scalars().all() == [other_tenant.user(Role.VIEWER)]
        assert (await connection.execute(sa.select(orders))).all() == []


async def test_to_be_told_of_many_opens_none_of_their_workspaces(engine: AsyncEngine, tenant: Tenant) -> None:
    """The settings themselves, as if they had been left behind: they show who is a member, and no tenant's rows."""
    await tenant.job(items=1)
    admin = tenant.user(Role.ADMIN)

    async with engine.begin() as connection:
        for name, value in (("user_ids", f'{{"{admin}"}}'), ("workspace_id", str(tenant.workspace_id))):
            await connection.execute(
                sa.text("SELECT set_config(:name, :value, true)"), {"name": f"robot_jobs.{name}", "value": value}
            )
        assert (await connection.execute(sa.select(orders))).all() == []
        with pytest.raises(ProgrammingError, match="row-level security"):
            await connection.execute(sa.insert(orders).values(id=new_id(), workspace_id=tenant.workspace_id))
