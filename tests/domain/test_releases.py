"""What a robot gives back: the item is as it was, and nothing that the robot still says of it counts."""

import pytest

from domain.base import new_id
from domain.errors import InvalidInput
from domain.robot_jobs import (
    ErrorType,
    HeldLease,
    ItemResult,
    ItemStatus,
    LeaseLost,
    RecordedResult,
    ReleaseReason,
    ReleaseState,
    ResultStatus,
)
from domain.robot_jobs import release_job_items as release
from domain.workspaces import Role
from tests.tenants import Tenant, held


async def test_an_item_that_is_given_back_waits_again_at_the_same_attempt(tenant: Tenant) -> None:
    await tenant.job()
    [item] = (await tenant.claim()).items

    assert await tenant.release(item) == [ReleaseState.RELEASED]

    after = await tenant.item(item)
    assert (after.status, after.attempt, after.lease_token, after.started_at) == (ItemStatus.PENDING, 1, None, None)
    [again] = (await tenant.claim()).items
    assert (again.id, again.attempt) == (item.id, 1)
    assert again.lease_token != item.lease_token


async def test_what_is_submitted_cannot_be_given_back(tenant: Tenant) -> None:
    await tenant.job()
    [item] = (await tenant.claim()).items
    await tenant.mark(item)

    assert await tenant.release(item) == [ReleaseState.SUBMITTED]

    assert (await tenant.item(item)).lease_token == item.lease_token


async def test_a_lease_is_given_back_once(tenant: Tenant) -> None:
    await tenant.job()
    [item] = (await tenant.claim()).items
    await tenant.release(item)
    [again] = (await tenant.claim(robot="another")).items

    assert await tenant.release(item) == [ReleaseState.LOST]

    assert (await tenant.item(item)).leased_by == "another"
    assert again.id == item.id


async def test_who_gave_it_back_can_neither_mark_nor_fail_it(tenant: Tenant) -> None:
    await tenant.job()
    [item] = (await tenant.claim()).items
    await tenant.release(item)
    [again] = (await tenant.claim(robot="another")).items

    with pytest.raises(LeaseLost):
        await tenant.mark(item)
    with pytest.raises(LeaseLost):
        await tenant.report(
            ItemResult(
                item_id=item.id,
                attempt=1,
                lease_token=item.lease_token,
                status=ResultStatus.ERROR,
                error_type=ErrorType.PORTAL,
            )
        )

    assert (await tenant.item(item)).lease_token == again.lease_token


async def test_a_proof_counts_also_from_who_gave_it_back(tenant: Tenant) -> None:
    await tenant.job(items=1)
    [item] = (await tenant.claim()).items
    await tenant.release(item)
    [again] = (await tenant.claim(robot="another")).items

    recorded = await tenant.report(
        ItemResult(
            item_id=item.id,
            attempt=1,
            lease_token=item.lease_token,
            status=ResultStatus.SUCCESS,
            tracking_number="PED-1",
        )
    )

    assert isinstance(recorded, RecordedResult)
    assert recorded.item.tracking_number == "PED-1"
    with pytest.raises(LeaseLost):
        await tenant.mark(again)


async def test_a_lease_counts_with_its_own_item_alone(tenant: Tenant) -> None:
    await tenant.configure(max_concurrent_leases=2)
    await tenant.job()
    first, second = (await tenant.claim(2)).items
    crossed = [HeldLease(first.id, held(second).token), HeldLease(second.id, held(first).token)]

    async with tenant.work(Role.ROBOT) as connection:
        answers = await release(connection, crossed, reason=ReleaseReason.STOPPING)

    assert [each.state for each in answers] == [ReleaseState.LOST] * 2
    assert [await tenant.item(first), await tenant.item(second)] == [first, second]


async def test_each_lease_is_answered_for_itself_in_the_order_given(tenant: Tenant) -> None:
    await tenant.configure(max_concurrent_leases=3)
    await tenant.job()
    first, second, third = (await tenant.claim(3)).items
    await tenant.mark(second)
    await tenant.release(third)

    states = await tenant.release(third, second, first)

    assert states == [ReleaseState.LOST, ReleaseState.SUBMITTED, ReleaseState.RELEASED]


async def test_another_workspaces_lease_is_as_one_that_does_not_exist(tenant: Tenant, other_tenant: Tenant) -> None:
    await tenant.job()
    [item] = (await tenant.claim()).items

    assert await other_tenant.release(item) == [ReleaseState.LOST]

    assert (await tenant.item(item)).lease_token == item.lease_token


@pytest.mark.parametrize("count", [0, 101])
async def test_1_to_100_leases_are_given_back_at_once(tenant: Tenant, count: int) -> None:
    async with tenant.work(Role.ROBOT) as connection:
        with pytest.raises(InvalidInput, match="1 to 100"):
            await release(connection, [HeldLease(new_id(), new_id())] * count, reason=ReleaseReason.STOPPING)


async def test_the_lease_as_it_was_claimed_is_what_counts(tenant: Tenant) -> None:
    await tenant.job()
    [item] = (await tenant.claim()).items
    stranger = HeldLease(held(item).item_id, new_id())

    async with tenant.work(Role.ROBOT) as connection:
        [answer] = await release(connection, [stranger], reason=ReleaseReason.STOPPING)

    assert answer.state is ReleaseState.LOST
    assert (await tenant.item(item)).status is ItemStatus.PROCESSING
