"""Portal passwords decrypted: each read is recorded, what was tampered with is noticed, keys are renewed."""

import asyncio
import logging
from typing import Any

import pytest
import sqlalchemy as sa

from api.database import owner_engine
from domain.base import new_id
from domain.carrier_configs import (
    CarrierConfigDisabled,
    CarrierConfigNotFound,
    CredentialKeysMissing,
    carrier_configs,
    carrier_secrets,
    credential_reads,
)
from domain.carriers import Carrier
from domain.credentials import (
    CarrierCredentials,
    CarrierPasswordMissing,
    CredentialsUnreadable,
    RewrappedSecrets,
    read_carrier_credentials,
    rewrap_carrier_secrets,
)
from domain.envelopes import KeyRing
from domain.errors import InvalidInput
from domain.workspaces import Role, enter_as_owner
from tests.conftest import Database
from tests.domain.secrets import KEY_RING, as_superuser, execute_as_superuser, read_password, upsert
from tests.servers import until
from tests.tenants import Tenant

CARRIER = Carrier.COORDINADORA
NEW_RING = KeyRing.with_new_key(KEY_RING)
ONLY_NEW = KeyRing({2: NEW_RING.keys[2]})


@pytest.fixture
async def shop(tenant: Tenant) -> Tenant:
    """A tenant with a password."""
    await upsert(tenant, username="ana", password="one")
    return tenant


@pytest.fixture
async def other_shop(other_tenant: Tenant) -> Tenant:
    """Another with another."""
    await upsert(other_tenant, username="eve", password="two")
    return other_tenant


async def reads(database: Database, tenant: Tenant) -> list[dict[str, Any]]:
    return await as_superuser(database, credential_reads, tenant)


# ---------------------------------------------------------------------------------------------- reading


async def test_each_read_leaves_one_record(shop: Tenant, database: Database) -> None:
    (config,) = await as_superuser(database, carrier_configs, shop)
    item_id = new_id()

    async with shop.work(Role.ROBOT) as connection:
        credentials = await read_carrier_credentials(
            connection, KEY_RING, CARRIER, read_by="robot 7", purpose="a lease", item_id=item_id
        )

    assert credentials == CarrierCredentials(CARRIER, "ana", "one")
    (record,) = await reads(database, shop)
    assert record["carrier_config_id"] == config["id"]
    assert (record["carrier"], record["read_by"], record["purpose"], record["item_id"]) == (
        "coordinadora",
        "robot 7",
        "a lease",
        item_id,
    )
    await read_password(shop)
    assert len(await reads(database, shop)) == 2


async def test_a_read_that_is_rolled_back_leaves_no_record(shop: Tenant, database: Database) -> None:
    async with shop.work(Role.ROBOT) as connection:
        await read_carrier_credentials(connection, KEY_RING, CARRIER, read_by="robot 7", purpose="a lease")
        await connection.rollback()

    assert await reads(database, shop) == []


@pytest.mark.parametrize("role", [Role.VIEWER, Role.OPERATOR, Role.ADMIN])
async def test_people_cannot_read_it(shop: Tenant, database: Database, role: Role) -> None:
    with pytest.raises(CredentialsUnreadable):
        await read_password(shop, role=role)

    assert await reads(database, shop) == []


async def test_nothing_is_read_of_what_is_not_there(tenant: Tenant, other_shop: Tenant, database: Database) -> None:
    with pytest.raises(CarrierConfigNotFound):
        await read_password(tenant)
    await upsert(tenant, username="ana")
    with pytest.raises(CarrierPasswordMissing):
        await read_password(tenant)
    await upsert(tenant, password="one", is_enabled=False)
    with pytest.raises(CarrierConfigDisabled):
        await read_password(tenant)
    await upsert(tenant, is_enabled=True)
    with pytest.raises(CredentialKeysMissing):
        await read_password(tenant, key_ring=None)

    assert await reads(database, tenant) == []
    assert await reads(database, other_shop) == []


@pytest.mark.parametrize(
    ("read_by", "purpose"), [("", "a lease"), ("x" * 256, "a lease"), ("robot 7", " "), ("robot 7", "x" * 101)]
)
async def test_a_read_says_by_whom_and_why(shop: Tenant, read_by: str, purpose: str) -> None:
    with pytest.raises(InvalidInput):
        async with shop.work(Role.ROBOT) as connection:
            await read_carrier_credentials(connection, KEY_RING, CARRIER, read_by=read_by, purpose=purpose)


def test_credentials_do_not_show_their_password() -> None:
    credentials = CarrierCredentials(CARRIER, "ana", "hunter2")

    assert "hunter2" not in f"{credentials!r} {credentials}"


# ---------------------------------------------------------------------------------------------- tampering


def swap(*columns: str) -> str:
    """Each of the two rows gets the other's."""
    assignments = ", ".join(f"{column} = other.{column}" for column in columns)
    return (
        f"UPDATE carrier_secrets s SET {assignments} FROM carrier_secrets other "  # noqa: S608 -- our own names
        "WHERE s.workspace_id IN (:one, :two) AND other.workspace_id IN (:one, :two) "
        "AND s.workspace_id <> other.workspace_id"
    )


@pytest.mark.parametrize(
    "columns",
    [
        ("ciphertext",),
        ("nonce",),
        ("ciphertext", "nonce"),
        ("wrapped_key",),
        ("wrapped_key_nonce",),
        ("wrapped_key", "wrapped_key_nonce"),
        ("ciphertext", "nonce", "wrapped_key", "wrapped_key_nonce"),
    ],
    ids=" ".join,
)
async def test_what_was_swapped_between_two_rows_is_noticed(
    shop: Tenant, other_shop: Tenant, database: Database, caplog: pytest.LogCaptureFixture, columns: tuple[str, ...]
) -> None:
    changed = await execute_as_superuser(database, swap(*columns), one=shop.workspace_id, two=other_shop.workspace_id)
    assert changed == 2

    for each in (shop, other_shop):
        with pytest.raises(CredentialsUnreadable), caplog.at_level(logging.ERROR, logger="robot_jobs.credentials"):
            await read_password(each)
        assert str(each.workspace_id) in caplog.text
        assert await reads(database, each) == []
    assert "one" not in caplog.text.replace("gone", "")


async def test_a_row_that_was_moved_to_another_workspace_is_noticed(
    shop: Tenant, other_shop: Tenant, database: Database
) -> None:
    ids = {"one": shop.workspace_id, "two": other_shop.workspace_id}
    await execute_as_superuser(database, "DELETE FROM carrier_secrets WHERE workspace_id = :two", two=ids["two"])
    moved = await execute_as_superuser(
        database, "UPDATE carrier_secrets SET workspace_id = :two WHERE workspace_id = :one", **ids
    )
    assert moved == 1

    for each in (shop, other_shop):
        with pytest.raises(CredentialsUnreadable):
            await read_password(each)


async def test_a_changed_version_of_the_key_is_noticed(shop: Tenant, database: Database) -> None:
    await execute_as_superuser(
        database, "UPDATE carrier_secrets SET key_version = 2 WHERE workspace_id = :one", one=shop.workspace_id
    )

    for key_ring in (KEY_RING, NEW_RING):
        with pytest.raises(CredentialsUnreadable):
            await read_password(shop, key_ring=key_ring)


async def test_another_installations_keys_open_nothing(shop: Tenant, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(CredentialsUnreadable) as refused:
        await read_password(shop, key_ring=KeyRing.with_new_key())

    assert "an admin can set it again" in refused.value.message
    assert "not what key version 1 wrapped" in caplog.text


# ---------------------------------------------------------------------------------------------- rotation


async def rewrapped(database: Database, key_ring: KeyRing, *, at_most: int = 500) -> list[RewrappedSecrets]:
    """All batches, each in a transaction of its own."""
    batches: list[RewrappedSecrets] = []
    while not batches or batches[-1].last is not None:
        async with owner_engine(database.urls).begin() as connection:
            await enter_as_owner(connection)
            after = batches[-1].last if batches else None
            batches.append(await rewrap_carrier_secrets(connection, key_ring, after=after, at_most=at_most))
    return batches


@pytest.fixture
async def _no_other_passwords(database: Database) -> None:
    """The database is shared with other tests."""
    await execute_as_superuser(database, "DELETE FROM carrier_secrets")


@pytest.mark.usefixtures("_no_other_passwords")
async def test_rewrapping_leaves_the_passwords_as_they_are(
    database: Database, tenant: Tenant, other_tenant: Tenant
) -> None:
    await upsert(tenant, username="ana", password="one")
    await upsert(other_tenant, username="eve", password="two")
    before = [(await as_superuser(database, carrier_secrets, each))[0] for each in (tenant, other_tenant)]

    batches = await rewrapped(database, NEW_RING, at_most=1)

    assert [batch.rewrapped for batch in batches] == [1, 1, 0]
    assert [batch.unreadable for batch in batches] == [(), (), ()]
    after = [(await as_superuser(database, carrier_secrets, each))[0] for each in (tenant, other_tenant)]
    for old, new in zip(before, after, strict=True):
        assert {name for name in old if old[name] != new[name]} == {"key_version", "wrapped_key", "wrapped_key_nonce"}
    assert await read_password(tenant, key_ring=ONLY_NEW) == "one"
    assert await read_password(other_tenant, key_ring=ONLY_NEW) == "two"
    assert [batch.rewrapped for batch in await rewrapped(database, NEW_RING)] == [0], "again: nothing to do"


@pytest.mark.usefixtures("_no_other_passwords")
async def test_what_cannot_be_unwrapped_is_named_and_the_others_are_renewed(
    database: Database, tenant: Tenant, other_tenant: Tenant
) -> None:
    lost = KeyRing({7: b"l" * 32})
    await upsert(tenant, key_ring=lost, username="ana", password="one")
    await upsert(other_tenant, username="eve", password="two")

    first, _ = await rewrapped(database, NEW_RING)

    assert first.rewrapped == 1
    (unreadable,) = first.unreadable
    assert (unreadable.workspace_id, unreadable.carrier) == (tenant.workspace_id, CARRIER)
    assert unreadable.reason == "key version 7 is not in the key ring"
    assert await read_password(other_tenant, key_ring=ONLY_NEW) == "two"
    assert await read_password(tenant, key_ring=lost) == "one", "untouched"


async def test_the_apis_role_rewraps_nothing(shop: Tenant, database: Database) -> None:
    async with shop.engine.connect() as connection:
        await enter_as_owner(connection)
        with pytest.raises(sa.exc.ProgrammingError, match="permission denied"):
            await rewrap_carrier_secrets(connection, NEW_RING)

    (secret,) = await as_superuser(database, carrier_secrets, shop)
    assert secret["key_version"] == 1


@pytest.mark.usefixtures("_no_other_passwords")
async def test_a_password_that_is_replaced_meanwhile_is_the_new_one(database: Database, tenant: Tenant) -> None:
    await upsert(tenant, username="ana", password="one")

    async with owner_engine(database.urls).connect() as connection, connection.begin():
        await enter_as_owner(connection)
        batch = await rewrap_carrier_secrets(connection, NEW_RING)
        replacing = asyncio.create_task(upsert(tenant, password="two"))
        async with owner_engine(database.urls).connect() as observer:
            await until(lambda: observer.scalar(sa.text("SELECT count(*) FROM pg_locks WHERE NOT granted")))
    await replacing

    assert batch.rewrapped == 1
    assert await read_password(tenant, key_ring=NEW_RING) == "two"
