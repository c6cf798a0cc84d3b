"""The robot's side of the contract: claimed with the login, renewed, marked, reported; and what people do about it."""

import uuid
from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa

from domain.carrier_configs import CarrierConfigChanges, credential_reads, upsert_carrier_config
from domain.carriers import Carrier
from domain.robot_jobs import JobStatus
from domain.workspaces import Role
from tests.domain.secrets import KEY_RING
from tests.schema import documents as d
from tests.schema.caller import Api, Caller
from tests.tenants import Tenant

COORDINADORA = "COORDINADORA"


@pytest.fixture
async def robot(api: Api, tenant: Tenant) -> Caller:
    return api.robot((await tenant.key()).secret)


async def _with_password(tenant: Tenant, password: str = "hunter2") -> None:  # noqa: S107 -- of a test
    async with tenant.work(Role.ADMIN) as connection:
        await upsert_carrier_config(
            connection,
            Carrier.COORDINADORA,
            CarrierConfigChanges(username="shop", password=password),
            workspace_id=tenant.workspace_id,
            updated_by="a test",
            key_ring=KEY_RING,
        )


async def _reads(tenant: Tenant) -> list[tuple[str, str, uuid.UUID]]:
    async with tenant.work(Role.ADMIN) as connection:
        rows = await connection.execute(
            sa.select(credential_reads.c.read_by, credential_reads.c.purpose, credential_reads.c.item_id)
        )
        return [(row.read_by, row.purpose, row.item_id) for row in rows]


def _lease(claimed: dict[str, Any]) -> dict[str, str]:
    return {"itemId": claimed["item"]["id"], "leaseToken": claimed["leaseToken"]}


async def test_a_robot_claims_marks_and_reports(robot: Caller, tenant: Tenant) -> None:
    await _with_password(tenant)
    in_hand = await tenant.job(items=1)

    claim = await robot.do(d.CLAIM, carrier=COORDINADORA, leaseSeconds=60)

    [claimed] = claim["items"]
    assert claim["credentials"] == {"username": "shop", "password": "hunter2"}
    assert (claim["heldBack"], claim["leaseSeconds"]) == (None, 60)
    item = claimed["item"]
    assert (item["id"], item["status"], item["attempt"]) == (str(in_hand.items[0].id), "PROCESSING", 1)
    assert item["valueSent"] == in_hand.items[0].value_sent
    assert item["leaseExpiresAt"] == claimed["expiresAt"]
    assert [(who == item["leasedBy"], what, of) for who, what, of in await _reads(tenant)] == [
        (True, "a claim", in_hand.items[0].id)
    ]
    [renewed] = (await robot.do(d.RENEW, leases=[_lease(claimed)], leaseSeconds=600))["leases"]
    assert (renewed["state"], renewed["expiresAt"] > claimed["expiresAt"]) == ("GO_ON", True)

    marked = await robot.do(d.MARK, **_lease(claimed))
    assert marked["item"]["submittedAt"] is not None
    reported = await robot.do(
        d.REPORT,
        itemId=item["id"],
        status="SUCCESS",
        attempt=1,
        trackingNumber="PED-1",
        leaseToken=claimed["leaseToken"],
    )
    assert (reported["item"]["status"], reported["job"]["status"]) == ("SUCCESS", "COMPLETED")


async def test_what_brings_no_item_brings_no_password_and_leaves_no_record(robot: Caller, tenant: Tenant) -> None:
    await _with_password(tenant)

    claim = await robot.do(d.CLAIM, carrier=COORDINADORA)

    assert (claim["items"], claim["credentials"], claim["heldBack"]) == ([], None, None)
    assert await _reads(tenant) == []


async def test_without_a_password_items_are_claimed_all_the_same(robot: Caller, tenant: Tenant) -> None:
    await tenant.job(items=1)

    claim = await robot.do(d.CLAIM, carrier=COORDINADORA)

    assert (len(claim["items"]), claim["credentials"]) == (1, None)


async def test_a_password_that_cannot_be_read_claims_nothing(api: Api, tenant: Tenant) -> None:
    await _with_password(tenant)
    in_hand = await tenant.job(items=1)
    keyless = replace(api.robot((await tenant.key()).secret), key_ring=None)

    refused = await keyless.do(d.CLAIM, carrier=COORDINADORA)

    assert refused["code"] == "CREDENTIAL_KEYS_MISSING"
    assert await tenant.read(in_hand.job.id) == in_hand


async def test_limits_are_told_by_their_names_in_the_contract(robot: Caller) -> None:
    refused = await robot.do(d.CLAIM, carrier=COORDINADORA, limit=0, leaseSeconds=1)

    assert [problem["path"] for problem in refused["problems"]] == ["leaseSeconds", "limit"]
    many = [{"itemId": str(uuid.uuid4()), "leaseToken": str(uuid.uuid4())}] * 101
    assert (await robot.do(d.RENEW, leases=many))["problems"][0]["path"] == "leases"
    odd = await robot.do(d.RENEW, leases=[{"itemId": "x", "leaseToken": "y"}])
    assert odd["problems"][0]["path"] == "leases.0.itemId"


async def test_a_cancelled_job_says_stop_and_finishes_what_was_submitted(
    api: Api, robot: Caller, tenant: Tenant
) -> None:
    await tenant.configure(max_concurrent_leases=2)
    in_hand = await tenant.job(items=3)
    first, second = (await robot.do(d.CLAIM, carrier=COORDINADORA, limit=5))["items"]
    await robot.do(d.MARK, **_lease(first))
    operator = api.member(tenant)

    cancelled = await operator.do(d.CANCEL, jobId=str(in_hand.job.id), reason="Wrong batch.")
    again = await operator.do(d.CANCEL, jobId=str(in_hand.job.id))

    assert (cancelled["job"]["status"], cancelled["job"]["cancelledCount"]) == ("PROCESSING", 2)
    assert cancelled["job"]["cancelRequestedAt"] is not None
    assert again["job"] == cancelled["job"]
    states = [lease["state"] for lease in (await robot.do(d.RENEW, leases=[_lease(first), _lease(second)]))["leases"]]
    assert states == ["GO_ON", "STOP"]
    assert (await robot.do(d.MARK, **_lease(second)))["code"] == "LEASE_LOST"
    reported = await robot.do(d.REPORT, itemId=first["item"]["id"], status="SUCCESS", attempt=1, trackingNumber="PED-1")
    assert reported["job"]["status"] == "CANCELLED"


@pytest.mark.parametrize("found", [{"trackingNumber": "PED-1"}, None])
async def test_an_unknown_outcome_is_settled(api: Api, tenant: Tenant, found: dict[str, str] | None) -> None:
    in_hand = await tenant.job(items=1)
    [item] = (await tenant.claim()).items
    await tenant.mark(item)
    await tenant.set_status(in_hand.job.id, JobStatus.FAILED)
    operator = api.member(tenant)
    given = {"itemId": str(item.id), "reason": "Looked it up.", "found": found, "confirmedAbsent": found is None}

    resolved = await operator.do(d.RESOLVE, **given)
    again = await operator.do(d.RESOLVE, **given)
    other = await operator.do(d.RESOLVE, itemId=str(item.id), reason="Looked.", found={"trackingNumber": "PED-2"})

    assert resolved["item"]["outcomeUnknown"] is False
    assert resolved["item"]["status"] == ("SUCCESS" if found else "ERROR")
    assert resolved["job"]["status"] == ("COMPLETED" if found else "FAILED")
    [attempt] = resolved["item"]["attempts"]
    assert attempt["resolution"] == ("FOUND" if found else "CONFIRMED_ABSENT")
    assert (attempt["resolvedBy"], attempt["resolutionReason"]) == (tenant.user(Role.OPERATOR), "Looked it up.")
    assert (again["replayed"], other["code"]) == (True, "OUTCOME_NOT_OPEN")
