"""A claim whose answer got lost is asked again under its id, and brings the same items."""

import uuid

from domain.base import new_id
from domain.robot_jobs import ClaimPurpose, ErrorType, HeldBack, ReleaseReason
from tests.tenants import Tenant


async def test_the_same_claim_again_brings_the_same_leases_for_longer(tenant: Tenant) -> None:
    await tenant.configure(max_concurrent_leases=5)
    await tenant.job(items=5)
    claim_id = new_id()
    first = (await tenant.claim(2, claim_id=claim_id, lease_s=60)).items

    again = (await tenant.claim(2, claim_id=claim_id, lease_s=3_600)).items

    assert [(item.id, item.lease_token) for item in again] == [(item.id, item.lease_token) for item in first]
    assert all(a.lease_expires_at > f.lease_expires_at for a, f in zip(again, first, strict=True))  # type: ignore[operator]  # leased
    assert len((await tenant.claim(5, claim_id=new_id())).items) == 3


async def test_what_was_submitted_or_has_ended_is_not_brought_again(tenant: Tenant) -> None:
    await tenant.configure(max_concurrent_leases=3)
    await tenant.job(items=4)
    claim_id = new_id()
    submitted, ended, given_back = (await tenant.claim(3, claim_id=claim_id)).items
    await tenant.mark(submitted)
    await tenant.succeed(ended)
    await tenant.release(given_back)

    again = await tenant.claim(1, claim_id=claim_id)

    assert again.items[0].lease_token not in {item.lease_token for item in (submitted, ended, given_back)}


async def test_another_robot_is_not_brought_what_it_did_not_claim(tenant: Tenant) -> None:
    await tenant.job(items=2)
    claim_id = new_id()
    await tenant.claim(claim_id=claim_id)

    assert (await tenant.claim(claim_id=claim_id, robot="another")).held_back is HeldBack.ACCOUNT_BUSY


async def test_a_lease_that_has_run_out_is_nobodys_by_an_old_claim(tenant: Tenant) -> None:
    await tenant.job(items=1)
    claim_id = new_id()
    [first] = (await tenant.claim(claim_id=claim_id)).items
    await tenant.run_out(first)
    await tenant.sweep()

    [again] = (await tenant.claim(claim_id=claim_id)).items

    assert (again.attempt, again.lease_token != first.lease_token) == (2, True)


async def test_a_probe_is_brought_again_as_a_probe(tenant: Tenant) -> None:
    await tenant.job()
    [item] = (await tenant.claim()).items
    await tenant.release(item, reason=ReleaseReason.LOGIN_REFUSED)
    await tenant.configure(username="another")
    claim_id = new_id()
    await tenant.claim(claim_id=claim_id)

    again = await tenant.claim(claim_id=claim_id)

    assert (len(again.items), again.held_back) == (1, HeldBack.ACCOUNT_PAUSED)


async def test_a_look_up_is_brought_again_too(tenant: Tenant) -> None:
    await tenant.job(items=1)
    [item] = (await tenant.claim()).items
    await tenant.mark(item)
    await tenant.fail(item, error_type=ErrorType.TIMEOUT)
    claim_id: uuid.UUID = new_id()
    [first] = (await tenant.claim(purpose=ClaimPurpose.LOOK_UP, claim_id=claim_id)).items

    [again] = (await tenant.claim(purpose=ClaimPurpose.LOOK_UP, claim_id=claim_id)).items

    assert (again.id, again.lease_token) == (item.id, first.lease_token)
    await tenant.resolve(item, found="101")
    assert (await tenant.claim(purpose=ClaimPurpose.LOOK_UP, claim_id=claim_id)).items == []


async def test_a_claim_asked_again_brings_nothing_when_another_robot_has_met_a_refused_login(tenant: Tenant) -> None:
    await tenant.configure(max_concurrent_leases=2)
    await tenant.job(items=2)
    claim_id = new_id()
    [unanswered] = (await tenant.claim(claim_id=claim_id)).items
    [refused] = (await tenant.claim(robot="another")).items
    await tenant.release(refused, reason=ReleaseReason.LOGIN_REFUSED)

    again = await tenant.claim(claim_id=claim_id)

    assert (again.items, again.held_back) == ([], HeldBack.ACCOUNT_PAUSED)
    assert await tenant.item(unanswered) == unanswered, "its lease is no longer than it was"
