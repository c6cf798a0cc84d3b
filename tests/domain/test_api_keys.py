"""API keys: made once, revoked for good; what each opens is PostgreSQL's decision in every transaction."""

import asyncio
import datetime as dt
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, ProgrammingError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from api.database import owner_engine
from domain.api_keys import (
    ACTIVE_KEYS_AT_MOST,
    ApiKeyNotFound,
    ApiKeyNotValid,
    CreatedApiKey,
    PresentedKey,
    TooManyApiKeys,
    api_keys,
    enter_workspace_by_key,
    get_key_with_workspaces,
    list_api_keys,
    make_secret,
    record_api_key_use,
    revoke_api_key,
)
from domain.base import new_id
from domain.carriers import Carrier
from domain.errors import InvalidInput
from domain.events import events
from domain.pages import PageRequest
from domain.robot_jobs import robot_job_attempts, robot_job_items, robot_jobs
from domain.workspaces import (
    Membership,
    NotAMember,
    Role,
    WorkspaceRequired,
    enter_as_owner,
    enter_workspace,
    workspaces,
)
from tests.conftest import Database
from tests.domain.ledger import at_once, counted_statements
from tests.tenants import TENANT_TABLES, Tenant, make_installation_key

NOW = dt.datetime.now(dt.UTC)
OF_JOBS = (robot_jobs, robot_job_items, robot_job_attempts, events)


@asynccontextmanager
async def entered(
    engine: AsyncEngine, created: CreatedApiKey, workspace_id: uuid.UUID | None = None
) -> AsyncIterator[AsyncConnection]:
    """A transaction that the key has entered, committed at the end."""
    async with engine.begin() as connection:
        await enter_workspace_by_key(connection, PresentedKey.of(created.secret), workspace_id)
        yield connection


async def count(connection: AsyncConnection, table: sa.Table) -> int:
    return int(await connection.scalar(sa.select(sa.func.count()).select_from(table)) or 0)


async def set_key(database: Database, created: CreatedApiKey, **values: Any) -> None:
    """Change the key's row as only the tables' owner may."""
    async with owner_engine(database.urls).begin() as owner:
        await enter_as_owner(owner)
        await owner.execute(sa.update(api_keys).where(api_keys.c.id == created.api_key.id).values(**values))


async def last_use(tenant: Tenant) -> dt.datetime | None:
    async with tenant.work(Role.ADMIN) as connection:
        return (await list_api_keys(connection, page=PageRequest(1))).rows[0].last_used_at


# ---------------------------------------------------------------------------------------------- secrets


def test_a_secret_is_long_random_and_ends_with_its_checksum() -> None:
    made = {make_secret() for _ in range(200)}

    assert len({secret[:30] for secret in made}) == 200
    for secret in made:
        assert secret.startswith("rjk_")
        assert len(secret) == 53
        assert secret.isascii()
        assert PresentedKey.of(secret).prefix == secret[:12]


@pytest.mark.parametrize("position", [4, 20, 46, 47, 52])
def test_a_slip_in_a_secret_is_noticed_without_asking_anybody(position: int) -> None:
    secret = make_secret()
    other = "a" if secret[position] != "a" else "b"

    with pytest.raises(ApiKeyNotValid):
        PresentedKey.of(secret[:position] + other + secret[position + 1 :])


@pytest.mark.parametrize(
    "text",
    ["", "rjk_", "rjk_" + "a" * 49, "rjk_" + "ñ" * 49, make_secret() + " ", "x"],
    ids=["empty", "prefix", "no checksum", "not ASCII", "blank after it", "short"],
)
def test_what_is_no_secret_is_refused(text: str) -> None:
    with pytest.raises(ApiKeyNotValid):
        PresentedKey.of(text)


# ---------------------------------------------------------------------------------------------- making and revoking


async def test_a_key_is_made_as_asked_and_its_secret_kept_nowhere(tenant: Tenant, database: Database) -> None:
    expires_at = NOW + dt.timedelta(days=3)

    created = await tenant.key("  robot 1 ", carriers=[Carrier.COORDINADORA] * 2, expires_at=expires_at)

    key = created.api_key
    assert (key.name, key.workspace_id, key.carriers) == ("robot 1", tenant.workspace_id, (Carrier.COORDINADORA,))
    assert (key.expires_at, key.revoked_at, key.last_used_at) == (expires_at, None, None)
    assert (key.created_by, key.prefix) == (tenant.user(Role.ADMIN), created.secret[:12])
    assert created.secret not in repr(key)
    async with owner_engine(database.urls).begin() as owner:
        await enter_as_owner(owner)
        row = (await owner.execute(sa.select(api_keys).where(api_keys.c.id == key.id))).one()
    assert created.secret[12:] not in repr(row)
    assert row.secret_sha256 == PresentedKey.of(created.secret).sha256


async def test_days_are_counted_from_now(tenant: Tenant) -> None:
    key = (await tenant.key(expires_in_days=30)).api_key

    assert key.expires_at is not None
    assert abs(key.expires_at - dt.datetime.now(dt.UTC) - dt.timedelta(days=30)) < dt.timedelta(minutes=5)
    assert (await tenant.key()).api_key.expires_at is None


@pytest.mark.parametrize(
    ("given", "path"),
    [
        ({"name": "  "}, "name"),
        ({"name": "x" * 101}, "name"),
        ({"name": "a\0b"}, "name"),
        ({"carriers": []}, "carriers"),
        ({"expires_in_days": 0}, "expires_in_days"),
        ({"expires_in_days": 3_651}, "expires_in_days"),
        ({"expires_in_days": 5, "expires_at": NOW + dt.timedelta(days=5)}, "expires_in_days"),
        ({"expires_at": NOW - dt.timedelta(seconds=1)}, "expires_at"),
        ({"expires_at": NOW + dt.timedelta(days=3_652)}, "expires_at"),
        ({"expires_at": dt.datetime(2099, 1, 1)}, "expires_at"),  # noqa: DTZ001 -- it shall lack its zone
        ({"expires_at": dt.datetime.max.replace(tzinfo=dt.timezone(-dt.timedelta(hours=12)))}, "expires_at"),
    ],
)
async def test_what_cannot_be_a_key_is_refused_and_nothing_made(
    tenant: Tenant, given: dict[str, Any], path: str
) -> None:
    with pytest.raises(InvalidInput) as refused:
        await tenant.key(**given)

    assert [problem.path for problem in refused.value.problems] == [path]
    async with tenant.work(Role.ADMIN) as connection:
        assert await count(connection, api_keys) == 0


async def test_a_workspace_has_a_hundred_active_keys_even_if_made_at_once(tenant: Tenant, other_tenant: Tenant) -> None:
    keys = [await tenant.key() for _ in range(ACTIVE_KEYS_AT_MOST - 3)]
    await other_tenant.key()

    answers = await at_once(*(tenant.key() for _ in range(8)))

    assert sum(isinstance(answer, CreatedApiKey) for answer in answers) == 3
    assert sum(isinstance(answer, TooManyApiKeys) for answer in answers) == 5
    async with tenant.work(Role.ADMIN) as connection:
        await revoke_api_key(connection, keys[0].api_key.id)
    await tenant.key()
    with pytest.raises(TooManyApiKeys):
        await tenant.key()


async def test_keys_are_listed_newest_first_whatever_became_of_them(tenant: Tenant, other_tenant: Tenant) -> None:
    made = [(await tenant.key()).api_key.id for _ in range(3)]
    await other_tenant.key()
    async with tenant.work(Role.ADMIN) as connection:
        await revoke_api_key(connection, made[1])
        first = await list_api_keys(connection, page=PageRequest(2))
        second = await list_api_keys(connection, page=PageRequest(2, after=(first.rows[-1].id,)))

    assert [key.id for key in first.rows + second.rows] == made[::-1]
    assert (first.has_next, second.has_next) == (True, False)


async def test_revoking_twice_keeps_the_first_time(tenant: Tenant) -> None:
    created = await tenant.key()
    times = []
    for _ in range(2):
        async with tenant.work(Role.ADMIN) as connection:
            times.append((await revoke_api_key(connection, created.api_key.id)).revoked_at)

    assert times[0] is not None
    assert times[0] == times[1]


async def test_another_tenants_key_and_none_are_refused_alike(
    tenant: Tenant, other_tenant: Tenant, database: Database
) -> None:
    foreign = (await other_tenant.key()).api_key.id
    installations = (await make_installation_key(database.urls)).api_key.id
    messages = set()
    for key_id in (foreign, installations, unknown := new_id()):
        async with tenant.work(Role.ADMIN) as connection:
            with pytest.raises(ApiKeyNotFound) as refused:
                await revoke_api_key(connection, key_id)
        messages.add(refused.value.message.replace(str(key_id), str(unknown)))

    assert len(messages) == 1
    async with other_tenant.work(Role.ADMIN) as connection:
        assert (await list_api_keys(connection, page=PageRequest(9))).rows[0].revoked_at is None


# ---------------------------------------------------------------------------------------------- entering


async def test_a_key_enters_its_workspace_as_a_robot_with_one_statement(tenant: Tenant) -> None:
    created = await tenant.key(carriers=[Carrier.COORDINADORA])

    for named in (None, tenant.workspace_id):
        async with tenant.engine.begin() as connection:
            with counted_statements(tenant.engine) as sent:
                found = await enter_workspace_by_key(connection, PresentedKey.of(created.secret), named)
            assert len(sent) == 1
        assert found.membership == Membership(
            tenant.workspace_id,
            f"key:{created.api_key.id}",
            Role.ROBOT,
            carriers=(Carrier.COORDINADORA,),
            api_key_id=created.api_key.id,
        )


async def test_a_key_sees_and_writes_as_a_robot_does(tenant: Tenant) -> None:
    await tenant.job(items=3, succeeded=1, failed=1)
    created = await tenant.key()

    async with entered(tenant.engine, created) as connection:
        by_key = {table.name: await count(connection, table) for table in TENANT_TABLES}
        changed = await connection.execute(sa.update(robot_job_items).values(updated_at=sa.func.now()))

    assert by_key == {name: len(rows) for name, rows in (await tenant.contents()).items()}
    assert changed.rowcount == 3


async def test_a_key_sees_nothing_of_other_workspaces(tenant: Tenant, other_tenant: Tenant) -> None:
    await other_tenant.job(items=2, succeeded=1)
    created = await tenant.key()

    async with entered(tenant.engine, created) as connection:
        assert {await count(connection, table) for table in TENANT_TABLES} == {0}
        assert list(await connection.scalars(sa.select(workspaces.c.id))) == [tenant.workspace_id]
        await connection.execute(
            sa.text("SELECT set_config('robot_jobs.workspace_id', :id, true)"), {"id": str(other_tenant.workspace_id)}
        )
        assert {await count(connection, table) for table in TENANT_TABLES} == {0}


async def test_a_key_is_refused_another_workspace_and_none_alike(tenant: Tenant, other_tenant: Tenant) -> None:
    presented = PresentedKey.of((await tenant.key()).secret)

    for named in (other_tenant.workspace_id, new_id()):
        async with tenant.engine.begin() as connection:
            with pytest.raises(NotAMember):
                await enter_workspace_by_key(connection, presented, named)
            assert await connection.scalar(sa.text("SELECT app_workspace_id()")) is None


async def test_a_key_of_the_installation_names_one_of_several_workspaces(
    tenant: Tenant, other_tenant: Tenant, database: Database
) -> None:
    await tenant.job(items=1)
    created = await make_installation_key(database.urls)
    presented = PresentedKey.of(created.secret)

    async with tenant.engine.begin() as connection:
        with pytest.raises(WorkspaceRequired):
            await enter_workspace_by_key(connection, presented, None)
        with pytest.raises(NotAMember):
            await enter_workspace_by_key(connection, presented, new_id())
        assert await count(connection, robot_jobs) == 0
    async with entered(tenant.engine, created, tenant.workspace_id) as connection:
        assert await count(connection, robot_jobs) == 1
    async with entered(tenant.engine, created, other_tenant.workspace_id) as connection:
        assert await count(connection, robot_jobs) == 0


@pytest.mark.parametrize("end", ["revoked_at", "expires_at"])
@pytest.mark.parametrize("is_of_installation", [False, True])
async def test_a_key_that_has_ended_opens_nothing_in_the_next_transaction(
    tenant: Tenant, database: Database, end: str, is_of_installation: bool
) -> None:
    await tenant.job(items=1)
    created = await make_installation_key(database.urls) if is_of_installation else await tenant.key()
    async with entered(tenant.engine, created, tenant.workspace_id) as connection:
        assert await count(connection, robot_jobs) == 1

    await set_key(database, created, **{end: sa.func.now()})

    async with tenant.engine.begin() as connection:
        for named in (None, tenant.workspace_id):
            with pytest.raises(ApiKeyNotValid):
                await enter_workspace_by_key(connection, PresentedKey.of(created.secret), named)
        with pytest.raises(ApiKeyNotValid):
            await get_key_with_workspaces(connection, PresentedKey.of(created.secret))
        # Not even for one who says by hand what entering would have said.
        for name, value in {
            "api_key_id": str(created.api_key.id),
            "api_key_sha256": PresentedKey.of(created.secret).sha256.hex(),
            "workspace_id": str(tenant.workspace_id),
        }.items():
            await connection.execute(sa.select(sa.func.set_config(f"robot_jobs.{name}", value, True)))
        for table in (*TENANT_TABLES, api_keys, workspaces):
            assert await count(connection, table) == 0
        assert await connection.scalar(sa.text("SELECT app_writable_workspace_id()")) is None


async def test_the_id_of_a_key_is_no_key(tenant: Tenant) -> None:
    await tenant.job(items=1)
    created = await tenant.key()

    async with tenant.engine.begin() as connection:
        for name, value in {"api_key_id": created.api_key.id, "workspace_id": tenant.workspace_id}.items():
            await connection.execute(sa.select(sa.func.set_config(f"robot_jobs.{name}", str(value), True)))
        assert await count(connection, robot_jobs) == 0


async def test_an_unknown_secret_is_refused_as_an_ended_one(tenant: Tenant) -> None:
    await tenant.key()

    async with tenant.engine.begin() as connection:
        with pytest.raises(ApiKeyNotValid):
            await enter_workspace_by_key(connection, PresentedKey.of(make_secret()), tenant.workspace_id)


async def test_the_prefix_alone_finds_no_key(tenant: Tenant) -> None:
    created = await tenant.key()

    async with tenant.engine.begin() as connection:
        with pytest.raises(ApiKeyNotValid):
            await enter_workspace_by_key(connection, PresentedKey(created.api_key.prefix, bytes(32)), None)


async def test_one_who_enters_after_another_in_one_transaction_leaves_nothing_of_the_first(
    tenant: Tenant, other_tenant: Tenant
) -> None:
    await tenant.job(items=1)
    created = await other_tenant.key(carriers=[Carrier.COORDINADORA])

    async with entered(tenant.engine, created) as connection:
        await enter_workspace(connection, tenant.user(Role.VIEWER), tenant.workspace_id)
        assert await count(connection, robot_jobs) == 1
        assert await count(connection, api_keys) == 0
        assert await connection.scalar(sa.text("SELECT app_carriers()")) is None
        assert await connection.scalar(sa.text("SELECT app_writable_workspace_id()")) is None
    async with tenant.work(Role.ADMIN) as connection:
        await enter_workspace_by_key(connection, PresentedKey.of(created.secret), None)
        assert await count(connection, robot_jobs) == 0
        assert await connection.scalar(sa.text("SELECT app_user_id()")) is None


# ---------------------------------------------------------------------------------------------- carriers


async def test_a_key_of_another_carrier_sees_no_job_and_changes_none(tenant: Tenant, own_database: Database) -> None:
    in_hand = await tenant.job(items=2, succeeded=1)
    created = await tenant.key(carriers=[Carrier.COORDINADORA])
    before = await tenant.contents()
    async with entered(tenant.engine, created) as connection:
        assert [await count(connection, table) for table in OF_JOBS] == [1, 2, 1, len(before["events"])]

    async with owner_engine(own_database.urls).begin() as owner:  # there is only one carrier as yet
        await owner.execute(sa.text("ALTER TABLE api_keys DROP CONSTRAINT ck_api_keys_carriers_known"))
    await set_key(own_database, created, carriers=["another"])

    async with tenant.engine.begin() as connection:
        await connection.execute(
            sa.text("SELECT enter_workspace_by_key(:prefix, :sha256, NULL)"),
            {"prefix": created.api_key.prefix, "sha256": PresentedKey.of(created.secret).sha256.hex()},
        )
        assert [await count(connection, table) for table in OF_JOBS[:3]] == [0, 0, 0]
        assert set(await connection.scalars(sa.select(events.c.type))) == {"order/field.changed"}
        for table in (robot_jobs, robot_job_items):
            changed = await connection.execute(sa.update(table).values(updated_at=sa.func.now()))
            assert changed.rowcount == 0
        row = before["robot_jobs"][0]
        given = zip(robot_jobs.c, row, strict=True)
        job = {column.name: value for column, value in given if column.computed is None}
        with pytest.raises(ProgrammingError, match="row-level security"):
            async with connection.begin_nested():
                await connection.execute(sa.insert(robot_jobs).values(job | {"id": new_id()}))
        with pytest.raises(ProgrammingError, match="row-level security"):
            async with connection.begin_nested():
                await connection.execute(
                    sa.insert(events).values(
                        workspace_id=tenant.workspace_id,
                        stream_id=in_hand.job.id,
                        seq=99,
                        id=new_id(),
                        type="robot/item.completed",
                        job_id=in_hand.job.id,
                        payload={},
                    )
                )
    assert await tenant.contents() == before


# ---------------------------------------------------------------------------------------------- rows of keys


@pytest.mark.parametrize("role", [Role.VIEWER, Role.OPERATOR, Role.ROBOT])
async def test_only_admins_see_and_manage_keys_even_by_sql(tenant: Tenant, role: Role) -> None:
    created = await tenant.key()

    async with tenant.work(role) as connection:
        assert await count(connection, api_keys) == 0
        changed = await connection.execute(sa.update(api_keys).values(revoked_at=sa.func.now()))
        assert changed.rowcount == 0
        with pytest.raises(ProgrammingError, match="row-level security"):
            await connection.execute(_another(created, tenant.workspace_id))


async def test_an_admin_makes_keys_of_the_own_workspace_alone(tenant: Tenant, other_tenant: Tenant) -> None:
    created = await tenant.key()

    for workspace_id in (other_tenant.workspace_id, None):
        async with tenant.work(Role.ADMIN) as connection:
            with pytest.raises(ProgrammingError, match="row-level security"):
                await connection.execute(_another(created, workspace_id))


async def test_a_key_sees_itself_and_no_other_key(tenant: Tenant, database: Database) -> None:
    created = await tenant.key()
    await tenant.key()
    await make_installation_key(database.urls)

    async with entered(tenant.engine, created) as connection:
        assert list(await connection.scalars(sa.select(api_keys.c.id))) == [created.api_key.id]
        with pytest.raises(ProgrammingError, match="row-level security"):
            await connection.execute(_another(created, tenant.workspace_id))


@pytest.mark.parametrize("column", [column.name for column in api_keys.c if column.name != "last_used_at"])
async def test_nothing_of_a_key_can_be_changed_by_the_api_but_to_revoke_it(tenant: Tenant, column: str) -> None:
    created = await tenant.key()
    value = sa.null() if column == "revoked_at" else sa.text(column)
    async with tenant.work(Role.ADMIN) as connection:
        await revoke_api_key(connection, created.api_key.id)

    async with tenant.work(Role.ADMIN) as connection:
        statement = sa.update(api_keys).values({column: value})
        if column == "revoked_at":
            assert (await connection.execute(statement)).rowcount == 0
        else:
            with pytest.raises(ProgrammingError, match="permission denied"):
                await connection.execute(statement)


async def test_the_hash_of_a_secret_can_be_read_by_nobody_who_uses_the_api(tenant: Tenant) -> None:
    created = await tenant.key()

    for statement in (
        sa.select(api_keys.c.secret_sha256),
        sa.select(api_keys.c.id).where(api_keys.c.secret_sha256 == PresentedKey.of(created.secret).sha256),
        sa.text("SELECT api_keys FROM api_keys"),
    ):
        async with tenant.work(Role.ADMIN) as connection:
            with pytest.raises(ProgrammingError, match="permission denied"):
                await connection.execute(statement)
        async with entered(tenant.engine, created) as connection:
            with pytest.raises(ProgrammingError, match="permission denied"):
                await connection.execute(statement)


async def test_keys_are_never_deleted_by_the_api(tenant: Tenant) -> None:
    await tenant.key()

    async with tenant.work(Role.ADMIN) as connection:
        with pytest.raises(ProgrammingError, match="permission denied"):
            await connection.execute(sa.delete(api_keys))


async def test_a_key_carries_no_unknown_carrier(tenant: Tenant) -> None:
    created = await tenant.key()

    for carriers in ([], ["another"]):
        async with tenant.work(Role.ADMIN) as connection:
            with pytest.raises(DBAPIError, match="ck_api_keys_carriers_known"):
                await connection.execute(_another(created, tenant.workspace_id).values(carriers=carriers))


def _another(created: CreatedApiKey, workspace_id: uuid.UUID | None) -> sa.Insert:
    return sa.insert(api_keys).values(
        id=new_id(),
        workspace_id=workspace_id,
        name="another",
        prefix=created.api_key.prefix,
        secret_sha256=uuid.uuid4().bytes * 2,
        created_by="somebody",
    )


# ---------------------------------------------------------------------------------------------- use


async def test_use_is_recorded_once_a_minute(tenant: Tenant, database: Database) -> None:
    created = await tenant.key()
    presented = PresentedKey.of(created.secret)

    async def use() -> bool:
        async with tenant.engine.begin() as connection:
            is_due = (await enter_workspace_by_key(connection, presented, None)).is_use_due
        async with tenant.engine.begin() as connection:
            await record_api_key_use(connection, presented)
        return is_due

    assert await use()
    first = await last_use(tenant)
    assert first is not None
    assert not await use()
    assert await last_use(tenant) == first
    await set_key(database, created, last_used_at=first - dt.timedelta(seconds=61))
    assert await use()
    assert (await last_use(tenant) or first) > first - dt.timedelta(seconds=61)


async def test_recording_a_use_waits_for_nobody(tenant: Tenant, database: Database) -> None:
    created = await tenant.key()

    async with owner_engine(database.urls).begin() as owner:
        await enter_as_owner(owner)
        await owner.execute(sa.select(api_keys.c.id).with_for_update())
        async with asyncio.timeout(5), tenant.engine.begin() as connection:
            await record_api_key_use(connection, PresentedKey.of(created.secret))

    assert await last_use(tenant) is None


async def test_a_key_that_has_ended_records_no_use(tenant: Tenant, database: Database) -> None:
    created = await tenant.key()
    await set_key(database, created, revoked_at=sa.func.now())

    async with tenant.engine.begin() as connection:
        await record_api_key_use(connection, PresentedKey.of(created.secret))

    assert await last_use(tenant) is None


# ---------------------------------------------------------------------------------------------- who asks


async def test_a_key_knows_where_it_works_with_one_statement(
    tenant: Tenant, other_tenant: Tenant, database: Database
) -> None:
    own, everywhere = await tenant.key(), await make_installation_key(database.urls)

    async with tenant.engine.begin() as connection:
        with counted_statements(tenant.engine) as sent:
            of_own = await get_key_with_workspaces(connection, PresentedKey.of(own.secret))
        of_all = await get_key_with_workspaces(connection, PresentedKey.of(everywhere.secret))

    assert len(sent) == 1
    assert of_own.api_key == own.api_key
    assert [(each.id, each.role) for each in of_own.workspaces] == [(tenant.workspace_id, Role.ROBOT)]
    assert {tenant.workspace_id, other_tenant.workspace_id} <= {each.id for each in of_all.workspaces}


async def test_asking_who_one_is_leaves_the_workspace_as_it_was(tenant: Tenant) -> None:
    await tenant.job(items=1)
    created = await tenant.key(carriers=[Carrier.COORDINADORA])

    async with entered(tenant.engine, created) as connection:
        await get_key_with_workspaces(connection, PresentedKey.of(created.secret))
        assert await count(connection, robot_jobs) == 1
        assert await connection.scalar(sa.text("SELECT app_carriers()")) == ["coordinadora"]


@pytest.fixture
async def own_database(database: Database) -> AsyncIterator[Database]:
    """The shared database, to change a table of it: it is put back."""
    yield database
    async with owner_engine(database.urls).begin() as owner:
        await enter_as_owner(owner)
        await owner.execute(sa.text("UPDATE api_keys SET carriers = NULL WHERE carriers = ARRAY['another']"))
        await owner.execute(
            sa.text(
                "ALTER TABLE api_keys ADD CONSTRAINT ck_api_keys_carriers_known "
                "CHECK (cardinality(carriers) > 0 AND carriers <@ ARRAY['coordinadora'])"
            )
        )
