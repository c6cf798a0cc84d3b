"""Robots look up what nobody knows: one at a time, again when it was too soon, and nobody else meanwhile."""

from domain.accounts import Breaker
from domain.robot_jobs import ClaimPurpose, ErrorType, HeldBack, ReleaseReason, ReleaseState, RobotJobItem
from tests.tenants import Tenant


async def unknown(tenant: Tenant, *, number: str | None = "101") -> RobotJobItem:
    """An item that a robot had submitted under that number when it went silent."""
    await tenant.job(items=1)
    [item] = (await tenant.claim()).items
    await tenant.mark(item, number=number)
    await tenant.fail(item, error_type=ErrorType.TIMEOUT)
    return await tenant.item(item)


async def look_up(tenant: Tenant) -> list[RobotJobItem]:
    return (await tenant.claim(purpose=ClaimPurpose.LOOK_UP)).items


async def test_an_item_with_an_unknown_outcome_is_looked_up_by_its_reserved_number(tenant: Tenant) -> None:
    item = await unknown(tenant)

    [claimed] = await look_up(tenant)

    assert (claimed.id, claimed.reserved_number, claimed.submitted_at) == (item.id, "101", item.submitted_at)
    assert claimed.lease_token is not None
    assert await tenant.item(item) == item, "it stays as it is"


async def test_nobody_else_looks_up_the_same_meanwhile(tenant: Tenant) -> None:
    await tenant.configure(max_concurrent_leases=5)
    await unknown(tenant)
    await look_up(tenant)

    assert await look_up(tenant) == []


async def test_a_look_up_is_a_session_of_the_account(tenant: Tenant) -> None:
    await unknown(tenant)
    await look_up(tenant)
    await tenant.job()

    claimed = await tenant.claim()

    assert (claimed.items, claimed.held_back) == ([], HeldBack.ACCOUNT_BUSY)


async def test_what_cannot_be_settled_yet_is_looked_up_again_later(tenant: Tenant) -> None:
    await unknown(tenant)
    [item] = await look_up(tenant)
    assert await tenant.release(item, reason=ReleaseReason.NOT_SETTLED, retry_after_s=3_600) == [ReleaseState.RELEASED]
    assert await look_up(tenant) == []

    [again] = (await tenant.look_up_now()).items

    assert again.id == item.id
    assert await tenant.release(again, reason=ReleaseReason.NOT_SETTLED, retry_after_s=0) == [ReleaseState.RELEASED]
    assert len(await look_up(tenant)) == 1


async def test_a_robot_that_died_over_a_look_up_keeps_it_until_its_lease_has_run_out(tenant: Tenant) -> None:
    await unknown(tenant)
    [item] = await look_up(tenant)
    await tenant.run_out_lookups()

    [again] = await look_up(tenant)

    assert again.id == item.id
    assert again.lease_token != item.lease_token


async def test_what_was_settled_is_not_looked_up_and_frees_the_account(tenant: Tenant) -> None:
    await unknown(tenant)
    [item] = await look_up(tenant)

    await tenant.resolve(item, found="101")

    assert await look_up(tenant) == []
    await tenant.job()
    assert len((await tenant.claim()).items) == 1


async def test_what_silenced_a_robot_comes_after_the_others(tenant: Tenant) -> None:
    first, second = await unknown(tenant), await unknown(tenant, number="102")
    assert [item.id for item in await look_up(tenant)] == [first.id]
    await tenant.run_out_lookups()

    [next_one] = await look_up(tenant)

    assert next_one.id == second.id


async def test_a_person_who_settles_it_says_nothing_about_the_portal(tenant: Tenant) -> None:
    once = Breaker(errors=1)
    await unknown(tenant)
    [item] = await look_up(tenant)
    await tenant.run_out_lookups()
    await tenant.job()
    [other] = (await tenant.claim()).items
    await tenant.release(other, reason=ReleaseReason.PORTAL_UNAVAILABLE, breaker=once)

    await tenant.resolve(item, found="101")

    again = await tenant.claim()
    assert (again.items, again.held_back) == ([], HeldBack.ACCOUNT_PAUSED)


async def test_a_robot_that_settles_it_shows_that_the_portal_works(tenant: Tenant) -> None:
    await tenant.configure(max_concurrent_leases=2)
    await unknown(tenant)
    [item] = await look_up(tenant)
    await tenant.job()
    [other] = (await tenant.claim()).items
    await tenant.release(other, reason=ReleaseReason.PORTAL_UNAVAILABLE, breaker=Breaker(errors=1))

    await tenant.resolve(item, found="101", by="robot")

    assert len((await tenant.claim()).items) == 1


async def test_a_look_up_that_has_run_out_ends_no_probe(tenant: Tenant) -> None:
    await unknown(tenant)
    [item] = await look_up(tenant)
    await tenant.run_out_lookups()
    await tenant.job()
    [refused] = (await tenant.claim()).items
    await tenant.release(refused, reason=ReleaseReason.LOGIN_REFUSED)
    await tenant.configure(username="another")
    [probe] = (await tenant.claim()).items

    assert await tenant.release(item) == [ReleaseState.RELEASED]

    await tenant.run_out(probe)
    await tenant.sweep()
    assert (await tenant.claim()).items == [], "one try of a login, whatever became of it"


async def test_a_robot_that_died_over_a_look_up_counts_however_late_it_says_so(tenant: Tenant) -> None:
    await unknown(tenant)
    [item] = await look_up(tenant)
    await tenant.run_out_lookups()

    await tenant.release(item, reason=ReleaseReason.PORTAL_UNAVAILABLE, breaker=Breaker(errors=1))

    await tenant.job()
    assert (await tenant.claim()).held_back is HeldBack.ACCOUNT_PAUSED


async def test_another_workspaces_are_not_looked_up(tenant: Tenant, other_tenant: Tenant) -> None:
    await unknown(tenant)

    assert await look_up(other_tenant) == []
