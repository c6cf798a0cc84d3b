"""Carrier configs through the contract: made, changed, removed; a password goes in and never comes out."""

from dataclasses import replace
from typing import Any

import pytest

from domain.workspaces import Role
from schema import schema
from schema.carrier_configs import UpsertCarrierConfigInput
from tests.domain.secrets import read_password
from tests.schema.caller import Api, Caller
from tests.schema.documents import CONFIG, CONFIGS, DELETE_CONFIG, UPSERT_CONFIG
from tests.tenants import Tenant

COORDINADORA = "COORDINADORA"
DEFAULTS = {
    "declaredValueCop": 55_000,
    "weightKg": "0.08",
    "heightCm": 5,
    "lengthCm": 5,
    "widthCm": 10,
    "reference": None,
    "unitsByTotal": [],
}


@pytest.fixture
def admin(api: Api, tenant: Tenant) -> Caller:
    return api.member(tenant, Role.ADMIN)


async def upserted(caller: Caller, **given: object) -> Any:
    answer = await caller.do(UPSERT_CONFIG, carrier=COORDINADORA, **given)
    assert answer["__typename"] == "UpsertCarrierConfigSuccess", answer
    return answer["config"]


async def test_a_config_is_made_shown_changed_and_removed(admin: Caller, tenant: Tenant) -> None:
    assert await admin.ask(CONFIG, carrier=COORDINADORA) == {"carrierConfig": None}

    made = await upserted(admin, username="ana", password="hunter2")

    assert made["shippingDefaults"] == DEFAULTS
    assert (made["username"], made["isEnabled"], made["dispatchStage"]) == ("ana", True, None)
    assert made["hasPassword"] is True
    assert made["passwordUpdatedAt"] is not None
    assert made["updatedBy"] == tenant.user(Role.ADMIN)
    assert await admin.ask(CONFIG, carrier=COORDINADORA) == {"carrierConfig": made}
    steps = [{"fromTotalCop": "0", "units": 1}, {"fromTotalCop": "100000.5", "units": 2}]
    changed = await upserted(
        admin, dispatchStage="ready", shippingDefaults={"weightKg": 1.25, "unitsByTotal": steps, "reference": "Shop"}
    )
    assert changed["shippingDefaults"] == DEFAULTS | {"weightKg": "1.25", "unitsByTotal": steps, "reference": "Shop"}
    assert (changed["id"], changed["dispatchStage"]) == (made["id"], "ready")
    assert changed["passwordUpdatedAt"] == made["passwordUpdatedAt"]
    assert await read_password(tenant) == "hunter2"
    cleared = await upserted(admin, password=None, dispatchStage=None, isEnabled=False)
    assert (cleared["hasPassword"], cleared["passwordUpdatedAt"], cleared["dispatchStage"]) == (False, None, None)
    removed = await admin.do(DELETE_CONFIG, carrier=COORDINADORA)
    assert removed["config"] == {"carrier": COORDINADORA, "username": "ana"}
    assert await admin.ask(CONFIGS) == {"carrierConfigs": []}


async def test_a_config_that_is_not_there_cannot_be_removed(admin: Caller) -> None:
    answer = await admin.do(DELETE_CONFIG, carrier=COORDINADORA)

    assert (answer["__typename"], answer["code"]) == ("CarrierConfigNotFound", "CARRIER_CONFIG_NOT_FOUND")


async def test_each_workspace_has_its_own(api: Api, admin: Caller, other_tenant: Tenant) -> None:
    await upserted(admin, username="ana", password="hunter2")
    stranger = api.member(other_tenant, Role.ADMIN)

    assert await stranger.ask(CONFIGS) == {"carrierConfigs": []}
    assert (await stranger.do(DELETE_CONFIG, carrier=COORDINADORA))["code"] == "CARRIER_CONFIG_NOT_FOUND"
    await upserted(stranger, username="eve")
    assert (await admin.ask(CONFIG, carrier=COORDINADORA))["carrierConfig"]["username"] == "ana"


async def test_problems_are_named_as_the_caller_wrote_them(admin: Caller) -> None:
    answer = await admin.do(
        UPSERT_CONFIG,
        carrier=COORDINADORA,
        username="ana",
        password="x" * 501,
        shippingDefaults={"weightKg": "0", "unitsByTotal": [{"fromTotalCop": 1, "units": 0}]},
    )

    assert answer["__typename"] == "InvalidInput"
    assert {problem["path"] for problem in answer["problems"]} == {
        "password",
        "shippingDefaults.weightKg",
        "shippingDefaults.unitsByTotal.0.units",
    }
    nulls = await admin.do(UPSERT_CONFIG, carrier=COORDINADORA, username="ana", shippingDefaults=None)
    assert [problem["path"] for problem in nulls["problems"]] == ["shippingDefaults"]


async def test_without_keys_a_password_is_refused_as_data(admin: Caller) -> None:
    keyless = replace(admin, key_ring=None)

    refused = await keyless.do(UPSERT_CONFIG, carrier=COORDINADORA, username="ana", password="hunter2")

    assert (refused["__typename"], refused["code"]) == ("CredentialKeysMissing", "CREDENTIAL_KEYS_MISSING")
    assert await admin.ask(CONFIGS) == {"carrierConfigs": []}
    assert (await upserted(keyless, username="ana"))["hasPassword"] is False


def test_no_output_type_has_a_password() -> None:
    shown = schema.as_str().partition("type CarrierConfig {")[2].partition("}")[0]

    assert "hasPassword" in shown
    assert "password:" not in shown


def test_the_input_does_not_show_its_password() -> None:
    given = UpsertCarrierConfigInput(carrier=COORDINADORA, password="hunter2")  # type: ignore[arg-type]  # no matter

    assert "hunter2" not in f"{given!r} {given.to_domain()!r}"
