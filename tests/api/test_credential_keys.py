"""The key ring: from the settings, or made and kept; and the commands that renew it."""

import asyncio
import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from api.credential_keys import FILE, load_key_ring, require_key_ring
from api.database import DatabaseUrls
from api.settings import SettingsError, load_settings
from domain.carrier_configs import carrier_secrets
from domain.envelopes import KeyRing
from domain.workspaces import Role
from tests.api.test_settings import refusal
from tests.conftest import Database
from tests.domain.secrets import KEY_RING, as_superuser, read_password, upsert
from tests.schema.documents import UPSERT_CONFIG
from tests.servers import Server, credentials, run_command, running_server, settings_for
from tests.tenants import Tenant

NEW_RING = KeyRing.with_new_key(KEY_RING)


def test_the_ring_of_the_settings_wins(tmp_path: Path) -> None:
    settings = load_settings(home=tmp_path, credential_keys=KEY_RING.as_text())

    assert load_key_ring(settings, may_make=True) == KEY_RING
    assert list(tmp_path.iterdir()) == []
    assert KEY_RING.as_text() not in repr(settings)


def test_a_ring_is_made_once_and_only_its_owner_can_read_it(tmp_path: Path) -> None:
    settings = load_settings(home=tmp_path / "home")

    made = load_key_ring(settings, may_make=True)

    assert made is not None
    assert made.newest == 1
    assert load_key_ring(settings, may_make=True) == made
    assert stat.S_IMODE((tmp_path / "home" / FILE).stat().st_mode) == 0o600
    assert [path.name for path in (tmp_path / "home").iterdir()] == [FILE]


def test_two_that_make_the_ring_at_once_keep_the_same(tmp_path: Path) -> None:
    for attempt in range(20):
        settings = load_settings(home=tmp_path / str(attempt))
        together = threading.Barrier(4)

        def load(settings=settings, together=together) -> KeyRing | None:  # type: ignore[no-untyped-def]  # bound now
            together.wait()
            return load_key_ring(settings, may_make=True)

        with ThreadPoolExecutor(4) as pool:
            rings = [each.result() for each in [pool.submit(load) for _ in range(4)]]

        assert rings[0] is not None
        assert all(ring == rings[0] for ring in rings)


def test_without_a_ring_there_are_no_passwords_and_the_rest_works(tmp_path: Path) -> None:
    settings = load_settings(home=tmp_path)

    assert load_key_ring(settings, may_make=False) is None
    assert load_key_ring(load_settings(home=tmp_path, credential_keys=" "), may_make=False) is None
    with pytest.raises(SettingsError, match="ROBOT_JOBS_CREDENTIAL_KEYS: is required here"):
        require_key_ring(settings, may_make=False)
    assert list(tmp_path.iterdir()) == []


def test_a_broken_file_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text("1:hunter2")

    with pytest.raises(SettingsError, match=r"ROBOT_JOBS_HOME: .*credential-keys holds no key ring") as refused:
        load_key_ring(load_settings(home=tmp_path), may_make=True)

    assert "hunter2" not in str(refused.value)
    assert (tmp_path / FILE).read_text() == "1:hunter2"


def test_a_wrong_ring_stops_the_start_with_one_line_that_quotes_nothing() -> None:
    said = refusal("serve", ROBOT_JOBS_CREDENTIAL_KEYS="1:hunter2", ROBOT_JOBS_PORT="0")

    assert said == "ROBOT_JOBS_CREDENTIAL_KEYS: the key of version 1 is not 32 bytes in base64"


def test_a_new_key_is_printed_before_the_old_ones(tmp_path: Path) -> None:
    url = "postgresql://robot_jobs@127.0.0.1:1/robot_jobs"
    first = run_command("credentials", "new-key", DATABASE_URL=url, ROBOT_JOBS_HOME=str(tmp_path))
    second = run_command(
        "credentials", "new-key", DATABASE_URL=url, ROBOT_JOBS_CREDENTIAL_KEYS=first.stdout, ROBOT_JOBS_HOME="/nowhere"
    )

    assert (first.returncode, first.stderr, second.returncode, second.stderr) == (0, "", 0, "")
    old, new = KeyRing.parse(first.stdout), KeyRing.parse(second.stdout)
    assert (old.newest, new.newest) == (1, 2)
    assert new.keys[1] == old.keys[1]
    assert second.stdout.startswith("2:")


async def rotate(urls: DatabaseUrls, key_ring: KeyRing) -> tuple[int, str, str]:
    settings = settings_for(urls) | {"ROBOT_JOBS_CREDENTIAL_KEYS": key_ring.as_text()}
    ended = await asyncio.to_thread(run_command, "credentials", "rotate", **settings)
    return ended.returncode, ended.stdout, ended.stderr


async def test_rotate_tells_what_it_did_and_may_be_repeated(
    database: Database, tenant: Tenant, other_tenant: Tenant
) -> None:
    await upsert(tenant, username="ana", password="one")
    await upsert(other_tenant, username="eve", password="two")

    assert await rotate(database.urls, NEW_RING) == (0, "Key version 2: 2 rewrapped, 0 cannot be unwrapped.\n", "")
    assert await rotate(database.urls, NEW_RING) == (0, "Key version 2: 0 rewrapped, 0 cannot be unwrapped.\n", "")

    only_new = KeyRing({2: NEW_RING.keys[2]})
    assert await read_password(tenant, key_ring=only_new) == "one"
    assert await read_password(other_tenant, key_ring=only_new) == "two"


async def test_rotate_names_what_was_lost_and_fails(database: Database, tenant: Tenant) -> None:
    await upsert(tenant, key_ring=KeyRing({7: b"l" * 32}), username="ana", password="one")

    code, said, complaint = await rotate(database.urls, NEW_RING)

    assert (code, said) == (1, "Key version 2: 0 rewrapped, 1 cannot be unwrapped.\n")
    assert complaint == f"workspace {tenant.workspace_id}, coordinadora: key version 7 is not in the key ring\n"
    (secret,) = await as_superuser(database, carrier_secrets, tenant)
    assert secret["key_version"] == 7


def test_rotate_needs_keys() -> None:
    said = refusal("credentials", "rotate", DATABASE_URL="postgresql://robot_jobs@127.0.0.1:1/robot_jobs")

    assert said.startswith("ROBOT_JOBS_CREDENTIAL_KEYS: is required here")


async def test_a_server_without_keys_refuses_passwords_alone(server: Server, shop: Tenant) -> None:
    given = {"carrier": "COORDINADORA", "username": "ana"}
    headers = credentials(shop, Role.ADMIN)

    refused = await server.ask(UPSERT_CONFIG, {"input": given | {"password": "one"}}, headers=headers)
    kept = await server.ask(UPSERT_CONFIG, {"input": given}, headers=headers)

    assert refused["data"]["upsertCarrierConfig"]["code"] == "CREDENTIAL_KEYS_MISSING"
    assert kept["data"]["upsertCarrierConfig"]["__typename"] == "UpsertCarrierConfigSuccess"


async def test_a_server_with_the_new_ring_serves_while_keys_are_rotated(database: Database, tenant: Tenant) -> None:
    await upsert(tenant, username="ana", password="one")
    settings = settings_for(database.urls) | {"ROBOT_JOBS_CREDENTIAL_KEYS": NEW_RING.as_text()}

    async with running_server(**settings) as server:
        await rotate(database.urls, NEW_RING)
        answer = await server.ask(
            UPSERT_CONFIG,
            {"input": {"carrier": "COORDINADORA", "password": "two"}},
            headers=credentials(tenant, Role.ADMIN),
        )

    assert answer["data"]["upsertCarrierConfig"]["__typename"] == "UpsertCarrierConfigSuccess"
    assert await read_password(tenant, key_ring=NEW_RING) == "two"
