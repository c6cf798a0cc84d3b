"""A number of the portal belongs to one try for ever: by it a parcel of which nobody knows is looked up."""

import asyncio

import pytest

from domain.errors import InvalidInput
from domain.robot_jobs import ErrorType, NumberAlreadyReserved, RobotJobItem
from tests.tenants import Tenant


async def claimed(tenant: Tenant, count: int = 2) -> list[RobotJobItem]:
    await tenant.configure(max_concurrent_leases=count)
    await tenant.job(items=count)
    return (await tenant.claim(count)).items


async def test_the_number_is_kept_with_the_item_and_with_its_try(tenant: Tenant) -> None:
    [item] = await claimed(tenant, 1)

    assert (await tenant.mark(item, number=" 101 ")).reserved_number == "101"

    await tenant.fail(item)
    [attempt] = await tenant.attempts(item)
    assert attempt.reserved_number == "101"
    await tenant.retry(item.job_id)
    assert (await tenant.item(item)).reserved_number is None


async def test_no_other_try_of_the_account_gets_it_whatever_became_of_the_first(tenant: Tenant) -> None:
    first, second = await claimed(tenant)
    await tenant.mark(first, number="101")
    await tenant.fail(first, error_type=ErrorType.PORTAL)

    with pytest.raises(NumberAlreadyReserved):
        await tenant.mark(second, number="101")

    assert (await tenant.item(second)).submitted_at is None
    assert (await tenant.mark(second, number="102")).reserved_number == "102"


async def test_of_two_at_the_same_moment_one_gets_it(tenant: Tenant) -> None:
    items = await claimed(tenant, 8)

    answers = await asyncio.gather(*(tenant.mark(item, number="101") for item in items), return_exceptions=True)

    assert [type(answer) for answer in answers if isinstance(answer, Exception)] == [NumberAlreadyReserved] * 7


async def test_the_same_mark_again_is_answered_alike_and_with_another_number_refused(tenant: Tenant) -> None:
    [item] = await claimed(tenant, 1)
    marked = await tenant.mark(item, number="101")

    assert await tenant.mark(item, number="101") == marked

    with pytest.raises(InvalidInput, match="another one than the item was marked with: 101"):
        await tenant.mark(item, number="102")


async def test_another_workspace_has_numbers_of_its_own(tenant: Tenant, other_tenant: Tenant) -> None:
    for each in (tenant, other_tenant):
        [item] = await claimed(each, 1)
        assert (await each.mark(item, number="101")).reserved_number == "101"


@pytest.mark.parametrize("number", ["1\x00", "1" * 101])
async def test_a_number_that_is_none_marks_nothing(tenant: Tenant, number: str) -> None:
    [item] = await claimed(tenant, 1)

    with pytest.raises(InvalidInput, match="reserved_number"):
        await tenant.mark(item, number=number)

    assert (await tenant.item(item)).submitted_at is None
