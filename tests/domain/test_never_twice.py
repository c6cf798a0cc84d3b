"""A parcel must never go out twice: what keeps an order out of a job while something about it is unsettled."""

import pytest

from domain.dispatch_problems import DispatchProblemCode
from domain.robot_jobs import (
    ItemResult,
    JobStatus,
    OrdersRefused,
    RecordedResult,
    ResultStatus,
    find_blocked_orders,
)
from tests.tenants import Tenant


async def test_an_order_whose_item_is_flagged_for_review_goes_into_no_other_job(tenant: Tenant) -> None:
    [order] = await tenant.orders(1)
    first = await tenant.job(orders=[order], failed=1)
    await tenant.succeed(first.items[0])  # after an error for the same try: nobody knows which is true

    with pytest.raises(OrdersRefused) as refusal:
        await tenant.job(orders=[order])

    [refused] = refusal.value.refused
    assert [(problem.code, problem.job_id) for problem in refused.problems] == [
        (DispatchProblemCode.OUTCOME_UNKNOWN, first.job.id)
    ]


async def test_a_flagged_item_may_be_retried_by_name(tenant: Tenant) -> None:
    in_hand = await tenant.job(items=1, failed=1)
    await tenant.succeed(in_hand.items[0])

    retried = await tenant.retry(in_hand.job.id, in_hand.items[0])

    assert [item.review_reason for item in retried.items] == [None]


async def test_an_order_that_was_shipped_without_a_number_goes_into_no_other_job(tenant: Tenant) -> None:
    [order] = await tenant.orders(1)
    first = await tenant.job(orders=[order])
    await tenant.report(ItemResult(item_id=first.items[0].id, status=ResultStatus.SUCCESS))

    async with tenant.work() as connection:
        blocked = await find_blocked_orders(connection, [order])

    assert blocked[order.id].code is DispatchProblemCode.ALREADY_SHIPPED


async def test_a_number_that_comes_later_completes_the_success(tenant: Tenant) -> None:
    in_hand = await tenant.job(items=1)
    await tenant.report(ItemResult(item_id=in_hand.items[0].id, status=ResultStatus.SUCCESS))

    recorded = await tenant.succeed(in_hand.items[0], tracking_number="PED-1")

    assert isinstance(recorded, RecordedResult)
    assert (recorded.item.tracking_number, recorded.job.success_count) == ("PED-1", 1)
    assert (await tenant.order(in_hand.items[0].order_id)).tracking_number == "PED-1"


async def test_a_retry_takes_the_city_that_was_corrected_meanwhile(tenant: Tenant) -> None:
    in_hand = await tenant.job(items=1, failed=1)
    await tenant.change_order(in_hand.items[0].order_id, city="Envigado")

    [item] = (await tenant.retry(in_hand.job.id)).items

    assert item.validated_city == "ENVIGADO (ANT)"
    assert item.value_sent is not None
    assert item.value_sent["ciudad"] == "ENVIGADO (ANT)"


async def test_a_late_proof_names_the_other_job_that_is_about_to_ship_the_order(tenant: Tenant) -> None:
    [order] = await tenant.orders(1)
    first = await tenant.job(orders=[order])
    await tenant.set_status(first.job.id, JobStatus.FAILED)
    second = await tenant.job(orders=[order])

    recorded = await tenant.succeed(first.items[0])

    assert isinstance(recorded, RecordedResult)
    assert str(second.job.id) in (recorded.item.review_reason or "")
