"""A person may say, with a reason, that a shipped order goes out once more; nothing else may."""

import uuid

import pytest

from domain.dispatch_problems import DispatchProblemCode
from domain.errors import InvalidInput
from domain.robot_jobs import (
    IdempotencyKeyInUse,
    ItemResult,
    ItemsNotRetryable,
    JobStatus,
    OrdersRefused,
    RecordedResult,
    ResultStatus,
)
from tests.tenants import JobInHand, Tenant

REASON = "The first parcel was lost."


async def _shipped_order(tenant: Tenant) -> uuid.UUID:
    in_hand = await tenant.job(items=1)
    await tenant.succeed(in_hand.items[0], tracking_number="PED-1")
    return in_hand.items[0].order_id


async def _again(tenant: Tenant, *order_ids: uuid.UUID, idempotency_key: str | None = None) -> JobInHand:
    created = await tenant.create(order_ids, ship_again_reason=REASON, idempotency_key=idempotency_key)
    return await tenant.read(created.job.id)


async def test_a_shipped_order_goes_out_again_and_the_reason_is_kept(tenant: Tenant) -> None:
    shipped = await _shipped_order(tenant)
    [fresh] = await tenant.orders(1)

    in_hand = await _again(tenant, shipped, fresh.id)

    assert in_hand.job.ship_again_reason == REASON
    assert [item.previous_tracking_number for item in in_hand.items] == ["PED-1", None]
    [event] = await tenant.events(in_hand.job.id)
    assert event.payload["shipAgain"] == {
        "reason": REASON,
        "orders": [{"orderId": str(shipped), "previousTrackingNumber": "PED-1"}],
    }


async def test_its_second_parcel_is_no_surprise(tenant: Tenant) -> None:
    in_hand = await _again(tenant, await _shipped_order(tenant))

    recorded = await tenant.succeed(in_hand.items[0], tracking_number="PED-2")

    assert isinstance(recorded, RecordedResult)
    assert recorded.item.review_reason is None
    assert (await tenant.order(in_hand.items[0].order_id)).tracking_number == "PED-2"


async def test_the_first_parcels_number_is_no_proof_of_a_second_parcel(tenant: Tenant) -> None:
    in_hand = await _again(tenant, await _shipped_order(tenant))

    recorded = await tenant.succeed(in_hand.items[0], tracking_number="PED-1")

    assert isinstance(recorded, RecordedResult)
    assert "PED-1" in (recorded.item.review_reason or "")


async def test_the_second_parcel_does_not_inherit_the_first_ones_guide_number(tenant: Tenant) -> None:
    shipped = await _shipped_order(tenant)
    await tenant.change_order(shipped, carrier_guide_number="GUIA-1")
    in_hand = await _again(tenant, shipped)

    await tenant.succeed(in_hand.items[0], tracking_number="PED-2")

    order = await tenant.order(shipped)
    assert (order.tracking_number, order.carrier_guide_number) == ("PED-2", None)


async def test_what_is_learned_late_of_the_first_parcel_leaves_the_order_with_the_second(tenant: Tenant) -> None:
    first = await tenant.job(items=1)
    await tenant.succeed(first.items[0], tracking_number="PED-1")
    again = await _again(tenant, first.items[0].order_id)
    await tenant.succeed(again.items[0], tracking_number="PED-2")
    before = await tenant.order(first.items[0].order_id)

    recorded = await tenant.report(
        ItemResult(
            item_id=first.items[0].id,
            status=ResultStatus.SUCCESS,
            tracking_number="PED-1",
            carrier_guide_number="GUIA-1",
        )
    )

    assert isinstance(recorded, RecordedResult)
    assert (recorded.item.carrier_guide_number, recorded.item.review_reason) == ("GUIA-1", None)
    assert await tenant.order(first.items[0].order_id) == before


async def test_the_first_parcels_number_that_comes_after_the_seconds_is_flagged(tenant: Tenant) -> None:
    first = await tenant.job(items=1)
    await tenant.report(ItemResult(item_id=first.items[0].id, status=ResultStatus.SUCCESS))
    again = await _again(tenant, first.items[0].order_id)
    await tenant.succeed(again.items[0], tracking_number="PED-2")

    recorded = await tenant.succeed(first.items[0], tracking_number="PED-1")

    assert isinstance(recorded, RecordedResult)
    assert "PED-2" in (recorded.item.review_reason or "")
    assert (await tenant.order(first.items[0].order_id)).tracking_number == "PED-2"


async def test_an_order_that_was_shipped_without_a_number_goes_out_again(tenant: Tenant) -> None:
    first = await tenant.job(items=1)
    await tenant.report(ItemResult(item_id=first.items[0].id, status=ResultStatus.SUCCESS))

    in_hand = await _again(tenant, first.items[0].order_id)

    assert in_hand.job.status is JobStatus.PENDING


async def test_an_order_whose_failed_item_is_flagged_goes_out_again(tenant: Tenant) -> None:
    first = await tenant.job(items=1, failed=1)
    await tenant.succeed(first.items[0])

    in_hand = await _again(tenant, first.items[0].order_id)

    assert in_hand.job.status is JobStatus.PENDING


async def test_no_reason_opens_an_open_item_or_an_unknown_outcome(tenant: Tenant) -> None:
    first = await tenant.job(items=2, failed=1)
    lost, is_open = first.items
    await tenant.lose_outcome(lost)

    with pytest.raises(OrdersRefused) as refusal:
        await _again(tenant, lost.order_id, is_open.order_id)

    assert [problem.code for order in refusal.value.refused for problem in order.problems] == [
        DispatchProblemCode.OUTCOME_UNKNOWN,
        DispatchProblemCode.IN_OPEN_JOB,
    ]


async def test_no_reason_brings_an_order_back_that_was_put_away(tenant: Tenant) -> None:
    [order] = await tenant.orders(1)
    await tenant.change_order(order.id, archived_at=order.created_at)

    with pytest.raises(OrdersRefused):
        await _again(tenant, order.id)


@pytest.mark.parametrize("reason", ["", "  ", "ab", "x" * 501, "a\x00bc"])
async def test_a_reason_says_something(tenant: Tenant, reason: str) -> None:
    shipped = await _shipped_order(tenant)

    with pytest.raises(InvalidInput) as refusal:
        await tenant.create([shipped], ship_again_reason=reason)

    assert refusal.value.problems[0].path == "shipAgain.reason"


async def test_the_same_request_when_the_second_parcel_is_out_makes_no_third(tenant: Tenant) -> None:
    shipped = await _shipped_order(tenant)
    created = await tenant.create([shipped], ship_again_reason=REASON, idempotency_key="again")
    in_hand = await tenant.read(created.job.id)
    await tenant.succeed(in_hand.items[0], tracking_number="PED-2")
    before = await tenant.contents()

    with pytest.raises(IdempotencyKeyInUse, match="use another key") as refusal:
        await tenant.create([shipped], ship_again_reason=REASON, idempotency_key="again")

    assert refusal.value.job.id == created.job.id
    assert await tenant.contents() == before


async def test_a_key_that_shipped_again_is_free_for_other_work(tenant: Tenant, other_tenant: Tenant) -> None:
    for each in (tenant, other_tenant):
        in_hand = await _again(each, await _shipped_order(each), idempotency_key="again")
        await each.succeed(in_hand.items[0], tracking_number="PED-2")
    [order] = await tenant.orders(1)

    ordinary = await tenant.create([order.id], idempotency_key="again")

    with pytest.raises(IdempotencyKeyInUse, match="Follow that job") as refusal:
        await _again(tenant, in_hand.items[0].order_id, idempotency_key="again")
    assert refusal.value.job.id == ordinary.job.id


async def test_it_needs_the_orders_by_their_ids(tenant: Tenant) -> None:
    await tenant.configure()

    with pytest.raises(InvalidInput) as refusal:
        await tenant.create(None, ship_again_reason=REASON)

    assert refusal.value.problems[0].path == "shipAgain"


async def test_its_failed_item_may_be_retried_although_the_order_has_its_first_number(tenant: Tenant) -> None:
    in_hand = await _again(tenant, await _shipped_order(tenant))
    await tenant.fail(in_hand.items[0])

    retried = await tenant.retry(in_hand.job.id)

    assert [item.attempt for item in retried.items] == [2]


async def test_a_retry_ships_no_third_parcel(tenant: Tenant) -> None:
    in_hand = await _again(tenant, await _shipped_order(tenant))
    await tenant.fail(in_hand.items[0])
    other = await _again(tenant, in_hand.items[0].order_id)
    await tenant.succeed(other.items[0], tracking_number="PED-2")

    with pytest.raises(ItemsNotRetryable, match="PED-2"):
        await tenant.retry(in_hand.job.id, in_hand.items[0])


async def test_what_became_unsettled_later_is_not_overridden_by_a_retry(tenant: Tenant) -> None:
    in_hand = await _again(tenant, await _shipped_order(tenant))
    await tenant.fail(in_hand.items[0])
    other = await _again(tenant, in_hand.items[0].order_id)
    await tenant.report(ItemResult(item_id=other.items[0].id, status=ResultStatus.SUCCESS))

    with pytest.raises(ItemsNotRetryable, match="did not learn its tracking number"):
        await tenant.retry(in_hand.job.id, in_hand.items[0])
