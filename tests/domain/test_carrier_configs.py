"""Carrier configs: made, changed in part, removed; by admins alone, and even SQL shows admins no password."""

import asyncio
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError, ProgrammingError
from sqlalchemy.ext.asyncio import AsyncConnection

from api.database import owner_engine
from domain.base import new_id
from domain.carrier_configs import (
    PASSWORD_AT_MOST,
    CarrierConfig,
    CarrierConfigChanges,
    CarrierConfigNotFound,
    CredentialKeysMissing,
    ShippingDefaultsChanges,
    carrier_configs,
    carrier_secrets,
    credential_reads,
    delete_carrier_config,
    find_carrier_config,
    find_carrier_configs,
    upsert_carrier_config,
)
from domain.carriers import Carrier
from domain.errors import InvalidInput
from domain.pedido_input import ShippingDefaults, UnitsStep
from domain.workspaces import Role, enter_as_owner, enter_workspace
from tests.conftest import Database
from tests.domain.secrets import KEY_RING, as_superuser, read_password, upsert
from tests.tenants import Tenant

CARRIER = Carrier.COORDINADORA
TABLES = (carrier_configs, carrier_secrets, credential_reads)
any_table = pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)


async def found(tenant: Tenant, role: Role = Role.ADMIN) -> CarrierConfig | None:
    async with tenant.work(role) as connection:
        return await find_carrier_config(connection, CARRIER)


async def problems(tenant: Tenant, **changes: Any) -> dict[str, str]:
    """What is wrong with the changes, by path; nothing was written."""
    before = await found(tenant)
    with pytest.raises(InvalidInput) as refused:
        await upsert(tenant, **changes)
    assert await found(tenant) == before
    return {problem.path: problem.message for problem in refused.value.problems}


# ---------------------------------------------------------------------------------------------- making, changing


async def test_a_new_config_has_defaults(tenant: Tenant) -> None:
    made = await upsert(tenant, username=" ana ")

    assert made == await found(tenant)
    assert (made.workspace_id, made.carrier, made.username) == (tenant.workspace_id, CARRIER, "ana")
    assert made.is_enabled
    assert made.dispatch_stage is None
    assert made.shipping_defaults == ShippingDefaults()
    assert not made.has_password
    assert made.updated_by == tenant.user(Role.ADMIN)


async def test_what_is_left_out_stays(tenant: Tenant) -> None:
    steps = (UnitsStep(Decimal(0), 1), UnitsStep(Decimal("100000.50"), 2))
    first = await upsert(
        tenant,
        username="ana",
        is_enabled=False,
        dispatch_stage="ready",
        shipping_defaults=ShippingDefaultsChanges(
            declared_value_cop=70_000,
            weight_kg=Decimal("1.250"),
            height_cm=1,
            length_cm=2,
            width_cm=3,
            reference="Shop",
            units_by_total=steps,
        ),
        password="one",
    )

    second = await upsert(tenant, shipping_defaults=ShippingDefaultsChanges(width_cm=500))

    assert first.shipping_defaults.units_by_total == steps
    assert second.shipping_defaults == replace(first.shipping_defaults, width_cm=500)
    assert replace(second, shipping_defaults=first.shipping_defaults, updated_at=first.updated_at) == first
    assert second.updated_at > first.updated_at
    await upsert(tenant, is_enabled=True)
    assert await read_password(tenant) == "one"


async def test_null_clears_what_may_be_empty(tenant: Tenant) -> None:
    await upsert(
        tenant, username="ana", dispatch_stage="ready", shipping_defaults=ShippingDefaultsChanges(reference="Shop")
    )

    cleared = await upsert(
        tenant,
        dispatch_stage=None,
        shipping_defaults=ShippingDefaultsChanges(reference="  ", units_by_total=()),
    )

    assert cleared.dispatch_stage is None
    assert cleared.shipping_defaults == ShippingDefaults()


async def test_a_config_is_made_with_a_username(tenant: Tenant) -> None:
    assert await problems(tenant, password="one") == {"username": "is needed to make a config for this carrier."}


async def test_the_password_is_set_kept_replaced_and_removed(tenant: Tenant, database: Database) -> None:
    made = await upsert(tenant, username="ana", password="one")
    kept = await upsert(tenant, is_enabled=True)
    assert await read_password(tenant) == "one"
    replaced = await upsert(tenant, password=" two ")
    assert await read_password(tenant) == " two ", "blanks may be part of it"

    removed = await upsert(tenant, password=None)

    assert made.password_updated_at is not None
    assert kept.password_updated_at == made.password_updated_at
    assert replaced.password_updated_at is not None
    assert replaced.password_updated_at > made.password_updated_at
    assert not removed.has_password
    assert await as_superuser(database, carrier_secrets, tenant) == []


async def test_two_at_once_make_one_config(tenant: Tenant, database: Database) -> None:
    made = await asyncio.gather(*(upsert(tenant, username="ana", password=f"pass {n}") for n in range(8)))

    assert len({config.id for config in made}) == 1
    assert len(await as_superuser(database, carrier_secrets, tenant)) == 1
    assert (await read_password(tenant)).startswith("pass ")


async def test_without_keys_a_password_is_refused_and_the_rest_works(tenant: Tenant) -> None:
    with pytest.raises(CredentialKeysMissing, match="ROBOT_JOBS_CREDENTIAL_KEYS"):
        await upsert(tenant, key_ring=None, username="ana", password="one")
    assert await found(tenant) is None

    assert (await upsert(tenant, key_ring=None, username="ana", password=None)).username == "ana"


async def test_all_configs_are_listed(tenant: Tenant, other_tenant: Tenant) -> None:
    made = await upsert(tenant, username="ana")
    await upsert(other_tenant, username="eve")

    async with tenant.work(Role.VIEWER) as connection:
        assert await find_carrier_configs(connection) == [made]


async def test_a_deleted_config_takes_its_password_with_it_and_leaves_the_record(
    tenant: Tenant, database: Database
) -> None:
    made = await upsert(tenant, username="ana", password="one")
    await read_password(tenant)

    async with tenant.work(Role.ADMIN) as connection:
        assert await delete_carrier_config(connection, CARRIER) == made

    assert await found(tenant) is None
    assert await as_superuser(database, carrier_secrets, tenant) == []
    (record,) = await as_superuser(database, credential_reads, tenant)
    assert record["carrier_config_id"] == made.id
    with pytest.raises(CarrierConfigNotFound):
        async with tenant.work(Role.ADMIN) as connection:
            await delete_carrier_config(connection, CARRIER)


# ---------------------------------------------------------------------------------------------- limits


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"username": None}, "username"),
        ({"username": " "}, "username"),
        ({"username": "x" * 201}, "username"),
        ({"username": "a\x00b"}, "username"),
        ({"is_enabled": None}, "is_enabled"),
        ({"dispatch_stage": "x" * 101}, "dispatch_stage"),
        ({"dispatch_stage": "\ud800"}, "dispatch_stage"),
        ({"password": ""}, "password"),
        ({"password": "x" * (PASSWORD_AT_MOST + 1)}, "password"),
        ({"password": "x\x00"}, "password"),
        ({"password": "x\ud800"}, "password"),
    ],
)
async def test_what_cannot_be_is_refused(tenant: Tenant, changes: dict[str, Any], path: str) -> None:
    await upsert(tenant, username="ana")

    assert set(await problems(tenant, **changes)) == {path}


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"declared_value_cop": -1}, "declared_value_cop"),
        ({"declared_value_cop": 1_000_000_000}, "declared_value_cop"),
        ({"declared_value_cop": None}, "declared_value_cop"),
        ({"weight_kg": Decimal("0.009")}, "weight_kg"),
        ({"weight_kg": Decimal("1000.001")}, "weight_kg"),
        ({"weight_kg": Decimal("1.0001")}, "weight_kg"),
        ({"weight_kg": Decimal("NaN")}, "weight_kg"),
        ({"weight_kg": Decimal("sNaN")}, "weight_kg"),
        ({"weight_kg": Decimal("-Infinity")}, "weight_kg"),
        ({"weight_kg": Decimal("1e400")}, "weight_kg"),
        ({"weight_kg": None}, "weight_kg"),
        ({"height_cm": 0}, "height_cm"),
        ({"length_cm": 501}, "length_cm"),
        ({"width_cm": None}, "width_cm"),
        ({"reference": "x" * 101}, "reference"),
        ({"units_by_total": None}, "units_by_total"),
        ({"units_by_total": [UnitsStep(Decimal(n), 1) for n in range(21)]}, "units_by_total"),
        ({"units_by_total": [UnitsStep(Decimal(-1), 1)]}, "units_by_total.0.from_total_cop"),
        ({"units_by_total": [UnitsStep(Decimal("0.001"), 1)]}, "units_by_total.0.from_total_cop"),
        ({"units_by_total": [UnitsStep(Decimal(1), 0)]}, "units_by_total.0.units"),
        ({"units_by_total": [UnitsStep(Decimal(1), 10_001)]}, "units_by_total.0.units"),
        ({"units_by_total": [UnitsStep(Decimal(5), 1), UnitsStep(Decimal(5), 2)]}, "units_by_total.1.from_total_cop"),
        ({"units_by_total": [UnitsStep(Decimal(5), 1), UnitsStep(Decimal(4), 2)]}, "units_by_total.1.from_total_cop"),
    ],
)
async def test_shipping_defaults_have_limits(tenant: Tenant, changes: dict[str, Any], path: str) -> None:
    await upsert(tenant, username="ana")

    wrong = await problems(tenant, shipping_defaults=ShippingDefaultsChanges(**changes))

    assert set(wrong) == {f"shipping_defaults.{path}"}


async def test_the_limits_themselves_are_allowed(tenant: Tenant) -> None:
    for number in (0, 1):
        shipping = ShippingDefaultsChanges(
            declared_value_cop=(0, 999_999_999)[number],
            weight_kg=(Decimal("0.01"), Decimal(1000))[number],
            height_cm=(1, 500)[number],
            length_cm=(1, 500)[number],
            width_cm=(1, 500)[number],
            reference="x" * 100,
            units_by_total=[UnitsStep(Decimal(n), 10_000) for n in range(20)],
        )
        await upsert(
            tenant,
            username="🔑" * 200,
            dispatch_stage="x" * 100,
            password="🔑" * PASSWORD_AT_MOST,
            shipping_defaults=shipping,
        )

    assert await read_password(tenant) == "🔑" * PASSWORD_AT_MOST


async def test_everything_wrong_is_named_at_once(tenant: Tenant) -> None:
    wrong = await problems(
        tenant, username="", password="", shipping_defaults=ShippingDefaultsChanges(height_cm=0, length_cm=0)
    )

    assert set(wrong) == {"username", "password", "shipping_defaults.height_cm", "shipping_defaults.length_cm"}


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("username", ""),
        ("dispatch_stage", ""),
        ("declared_value_cop", -1),
        ("weight_kg", Decimal(0)),
        ("height_cm", 0),
        ("length_cm", 501),
        ("width_cm", 0),
        ("reference", ""),
        ("units_by_total", {}),
        ("units_by_total", [{}] * 21),
        ("carrier", "nobody"),
    ],
)
async def test_the_table_has_the_limits_too(tenant: Tenant, column: str, value: object) -> None:
    await upsert(tenant, username="ana")

    with pytest.raises(IntegrityError, match="check constraint"):
        async with tenant.work(Role.ADMIN) as connection:
            await connection.execute(sa.update(carrier_configs).values({column: value}))


def test_changes_do_not_show_their_password() -> None:
    assert "hunter2" not in repr(CarrierConfigChanges(username="ana", password="hunter2"))


# ---------------------------------------------------------------------------------------------- who may, by SQL


@pytest.fixture
async def shop(tenant: Tenant) -> Tenant:
    """A tenant with a row in each of the tables."""
    await upsert(tenant, username="ana", password="one")
    await read_password(tenant)
    return tenant


async def count(connection: AsyncConnection, table: sa.Table) -> int:
    return int(await connection.scalar(sa.select(sa.func.count()).select_from(table)) or 0)


@any_table
async def test_each_role_sees_what_is_for_it(shop: Tenant, table: sa.Table) -> None:
    expected = {
        carrier_configs: set(Role),
        carrier_secrets: {Role.ROBOT},
        credential_reads: {Role.ADMIN},
    }[table]

    seen = set()
    for role in Role:
        async with shop.work(role) as connection:
            if await count(connection, table):
                seen.add(role)

    assert seen == expected


async def test_a_robot_of_other_carriers_sees_no_password(shop: Tenant) -> None:
    for carriers, seen in (("{sandbox}", 0), ("{}", 0), ("{sandbox,coordinadora}", 1), ("", 1)):
        async with shop.work(Role.ROBOT) as connection:
            await connection.execute(sa.select(sa.func.set_config("robot_jobs.carriers", carriers, True)))
            assert await count(connection, carrier_secrets) == seen, carriers


@any_table
async def test_another_tenant_sees_nothing(shop: Tenant, other_tenant: Tenant, table: sa.Table) -> None:
    for role in Role:
        async with other_tenant.work(role) as connection:
            assert await count(connection, table) == 0


@any_table
async def test_the_systems_scope_is_nothing_to_the_apis_role(shop: Tenant, table: sa.Table) -> None:
    async with shop.engine.connect() as connection:
        await connection.execute(sa.text("SELECT set_config('robot_jobs.system', 'on', true)"))
        assert await count(connection, table) == 0


@pytest.mark.parametrize("role", [Role.VIEWER, Role.OPERATOR, Role.ROBOT])
async def test_none_but_admins_change_configs_even_by_sql(shop: Tenant, database: Database, role: Role) -> None:
    before = [await as_superuser(database, table, shop) for table in (carrier_configs, carrier_secrets)]
    (config,) = before[0]

    async with shop.work(role) as connection:
        assert (await connection.execute(sa.update(carrier_configs).values(username="eve"))).rowcount == 0
        assert (await connection.execute(sa.delete(carrier_configs))).rowcount == 0
        await connection.execute(sa.text("SELECT set_config('robot_jobs.carrier', 'coordinadora', true)"))
        assert (await connection.execute(sa.delete(carrier_secrets))).rowcount == 0
    for table, row in ((carrier_configs, config), (carrier_secrets, before[1][0])):
        with pytest.raises(ProgrammingError, match="row-level security"):
            async with shop.work(role) as connection:
                await connection.execute(sa.insert(table).values(row | ({"id": new_id()} if "id" in row else {})))
    with pytest.raises(ProgrammingError, match="row-level security"):
        async with shop.work(role) as connection:
            await upsert_carrier_config(
                connection,
                CARRIER,
                CarrierConfigChanges(username="eve", password="mine"),
                workspace_id=shop.workspace_id,
                updated_by="eve",
                key_ring=KEY_RING,
            )

    assert [await as_superuser(database, table, shop) for table in (carrier_configs, carrier_secrets)] == before


async def test_another_tenants_admin_changes_nothing_even_by_sql(
    shop: Tenant, other_tenant: Tenant, database: Database
) -> None:
    before = [await as_superuser(database, table, shop) for table in TABLES]
    (config,), (secret,), _ = before

    async with other_tenant.work(Role.ADMIN) as connection:
        assert (await connection.execute(sa.update(carrier_configs).values(username="eve"))).rowcount == 0
        assert (await connection.execute(sa.delete(carrier_configs))).rowcount == 0
        await connection.execute(sa.text("SELECT set_config('robot_jobs.carrier', 'coordinadora', true)"))
        assert (await connection.execute(sa.delete(carrier_secrets))).rowcount == 0
    for table, row in ((carrier_configs, config | {"id": new_id()}), (carrier_secrets, secret)):
        with pytest.raises(ProgrammingError, match="row-level security"):
            async with other_tenant.work(Role.ADMIN) as connection:
                await connection.execute(sa.insert(table).values(row))

    assert [await as_superuser(database, table, shop) for table in TABLES] == before


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM carrier_secrets RETURNING ciphertext",
        "DELETE FROM carrier_secrets WHERE octet_length(ciphertext) > 0",
        "INSERT INTO carrier_secrets SELECT * FROM carrier_secrets ON CONFLICT DO NOTHING",
    ],
)
async def test_an_admin_learns_nothing_by_writing(shop: Tenant, database: Database, statement: str) -> None:
    async with shop.work(Role.ADMIN) as connection:
        await connection.execute(sa.text("SELECT set_config('robot_jobs.carrier', 'coordinadora', true)"))
        assert (await connection.execute(sa.text(statement))).rowcount == 0

    assert len(await as_superuser(database, carrier_secrets, shop)) == 1


async def test_an_admin_cannot_get_a_row_back_from_an_insert(shop: Tenant, database: Database) -> None:
    (secret,) = await as_superuser(database, carrier_secrets, shop)
    await upsert(shop, password=None)

    with pytest.raises(ProgrammingError, match="row-level security"):
        async with shop.work(Role.ADMIN) as connection:
            await connection.execute(sa.insert(carrier_secrets).values(secret).returning(carrier_secrets.c.ciphertext))


async def test_a_delete_that_names_no_carrier_removes_no_password(shop: Tenant, database: Database) -> None:
    async with shop.work(Role.ADMIN) as connection:
        assert (await connection.execute(sa.delete(carrier_secrets))).rowcount == 0

    assert len(await as_superuser(database, carrier_secrets, shop)) == 1


async def test_a_password_replaced_in_the_systems_scope_is_one_workspaces(
    shop: Tenant, other_tenant: Tenant, database: Database
) -> None:
    await upsert(other_tenant, username="eve", password="two")

    async with owner_engine(database.urls).begin() as connection:
        await enter_as_owner(connection)
        await enter_workspace(connection, shop.user(Role.ADMIN), shop.workspace_id)
        await upsert_carrier_config(
            connection,
            CARRIER,
            CarrierConfigChanges(password="new"),
            workspace_id=shop.workspace_id,
            updated_by="command line",
            key_ring=KEY_RING,
        )

    assert await read_password(shop) == "new"
    assert await read_password(other_tenant) == "two"


@pytest.mark.parametrize("role", list(Role))
@pytest.mark.parametrize("statement", ["UPDATE credential_reads SET read_by = 'me'", "DELETE FROM credential_reads"])
async def test_the_record_of_reads_is_only_added_to(shop: Tenant, role: Role, statement: str) -> None:
    with pytest.raises(ProgrammingError, match="permission denied"):
        async with shop.work(role) as connection:
            await connection.execute(sa.text(statement))


@pytest.mark.parametrize("role", [Role.VIEWER, Role.OPERATOR, Role.ADMIN])
async def test_people_cannot_add_to_the_record_of_reads(shop: Tenant, database: Database, role: Role) -> None:
    (record,) = await as_superuser(database, credential_reads, shop)

    with pytest.raises(ProgrammingError, match="row-level security"):
        async with shop.work(role) as connection:
            await connection.execute(sa.insert(credential_reads).values(record | {"id": new_id()}))
