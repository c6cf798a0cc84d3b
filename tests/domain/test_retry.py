"""Failed items are tried again, each with a new attempt; what may have a parcel already is not."""

import pytest

from domain.base import new_id
from domain.carrier_configs import CarrierConfigDisabled
from domain.errors import InvalidInput
from domain.events import EventType
from domain.robot_jobs import (
    IdempotencyKeyInUse,
    InvalidTransition,
    ItemsNotRetryable,
    ItemStatus,
    JobStatus,
    RobotJobNotFound,
    retry_failed_items,
)
from tests.domain.ledger import assert_adds_up
from tests.tenants import JobInHand, Tenant


async def _assert_refused(tenant: Tenant, in_hand: JobInHand, *numbers: int) -> str:
    """The words of the refusal; nothing has changed."""
    before = await tenant.contents()
    with pytest.raises(ItemsNotRetryable) as refusal:
        await tenant.retry(in_hand.job.id, *(in_hand.items[number] for number in numbers))
    assert await tenant.contents() == before
    return refusal.value.message


async def test_all_failed_items_are_pending_again_with_a_new_attempt(tenant: Tenant) -> None:
    in_hand = await tenant.job(items=3, succeeded=1, failed=2)

    retried = await tenant.retry(in_hand.job.id)

    assert [item.id for item in retried.items] == [item.id for item in in_hand.items[1:]]
    for item in (await tenant.read(in_hand.job.id)).items[1:]:
        assert (item.status, item.attempt, item.retry_count) == (ItemStatus.PENDING, 2, 1)
        assert (item.error_type, item.error_message, item.completed_at) == (None, None, None)
        assert item.last_retry_at is not None


async def test_a_finished_job_is_pending_again_and_its_error_count_falls(tenant: Tenant) -> None:
    in_hand = await tenant.job(items=3, succeeded=1, failed=2)

    retried = await tenant.retry(in_hand.job.id)

    assert retried.job.status is JobStatus.PENDING
    assert (retried.job.success_count, retried.job.error_count) == (1, 0)
    assert (retried.job.started_at, retried.job.completed_at) == (None, None)
    await assert_adds_up(tenant, in_hand.job.id)


async def test_only_the_named_items_are_retried(tenant: Tenant) -> None:
    in_hand = await tenant.job(items=3, failed=3)

    await tenant.retry(in_hand.job.id, in_hand.items[2], in_hand.items[2])

    after = await tenant.read(in_hand.job.id)
    assert [item.status for item in after.items] == [ItemStatus.ERROR, ItemStatus.ERROR, ItemStatus.PENDING]
    assert after.job.error_count == 2
    await assert_adds_up(tenant, in_hand.job.id)


async def test_a_job_that_is_still_running_stays_so(tenant: Tenant) -> None:
    in_hand = await tenant.job(items=2, failed=1)

    retried = await tenant.retry(in_hand.job.id)

    assert (retried.job.status, retried.job.started_at) == (JobStatus.PROCESSING, in_hand.job.started_at)
    await assert_adds_up(tenant, in_hand.job.id)


async def test_a_retried_job_completes_again_with_an_event_of_its_own(tenant: Tenant) -> None:
    in_hand = await tenant.job(items=2, succeeded=1, failed=1)
    await tenant.retry(in_hand.job.id)

    await tenant.succeed(in_hand.items[1])

    types = [event.type for event in await tenant.events(in_hand.job.id)]
    assert types.count(EventType.JOB_COMPLETED) == 2
    assert types[-4:] == [
        EventType.ITEMS_RETRIED,
        EventType.JOB_STARTED,
        EventType.ITEM_COMPLETED,
        EventType.JOB_COMPLETED,
    ]
    await assert_adds_up(tenant, in_hand.job.id)


async def test_the_event_of_a_retry_names_the_items_and_their_attempts(tenant: Tenant) -> None:
    in_hand = await tenant.job(items=2, failed=2)

    await tenant.retry(in_hand.job.id, in_hand.items[1])

    event = (await tenant.events(in_hand.job.id))[-1]
    assert event.type is EventType.ITEMS_RETRIED
    assert event.payload["items"] == [{"itemId": str(in_hand.items[1].id), "attempt": 2}]
    assert event.payload["job"]["errorCount"] == 1


async def test_a_retried_item_has_its_orders_city_as_it_is_now(tenant: Tenant) -> None:
    in_hand = await tenant.job(items=1, failed=1)
    await tenant.change_order(in_hand.items[0].order_id, city="Cali", department="Valle")

    retried = await tenant.retry(in_hand.job.id)

    cities = [item.validated_city for item in [*in_hand.items, *retried.items]]
    assert cities == ["MEDELLIN (ANT)", "CALI (VALLE)"]


async def test_an_item_whose_order_the_carrier_would_refuse_now_is_passed_over(tenant: Tenant) -> None:
    in_hand = await tenant.job(items=2, failed=2)
    spoilt = in_hand.items[0]
    await tenant.change_order(spoilt.order_id, recipient_phone="12")

    retried = await tenant.retry(in_hand.job.id)

    assert [item.id for item in retried.items] == [in_hand.items[1].id]
    [skipped] = retried.skipped
    assert (skipped.item_id, "2 digits" in skipped.message) == (spoilt.id, True)


async def test_what_was_typed_in_each_try_is_kept(tenant: Tenant) -> None:
    in_hand = await tenant.job(items=1, failed=1)
    await tenant.change_order(in_hand.items[0].order_id, address="Carrera 9 # 1-1")
    [retried] = (await tenant.retry(in_hand.job.id)).items
    await tenant.succeed(retried)

    typed = [attempt.value_sent for attempt in await tenant.attempts(retried)]

    assert [each and each["direccion"] for each in typed] == ["Calle 1 # 2-3", "Carrera 9 # 1-1"]


async def test_the_earlier_attempts_are_kept(tenant: Tenant) -> None:
    in_hand = await tenant.job(items=1, failed=1)

    for number in (2, 3):
        await tenant.retry(in_hand.job.id)
        await tenant.fail(in_hand.items[0], message=f"try {number}")

    kept = await tenant.attempts(in_hand.items[0])
    assert [(attempt.attempt, attempt.error_message) for attempt in kept] == [
        (1, "The portal said no."),
        (2, "try 2"),
        (3, "try 3"),
    ]


async def test_a_failed_job_is_retried_and_its_error_is_cleared(tenant: Tenant) -> None:
    in_hand = await tenant.job(items=2)
    await tenant.set_status(in_hand.job.id, JobStatus.FAILED, error="The robot stopped.")

    retried = await tenant.retry(in_hand.job.id)

    assert (retried.job.status, retried.job.error, retried.job.error_count) == (JobStatus.PENDING, None, 0)
    await assert_adds_up(tenant, in_hand.job.id)


@pytest.mark.parametrize("succeeded", [0, 2])
async def test_a_job_without_failed_items_has_nothing_to_retry(tenant: Tenant, succeeded: int) -> None:
    in_hand = await tenant.job(items=2, succeeded=succeeded)

    message = await _assert_refused(tenant, in_hand)

    assert "no failed items" in message


@pytest.mark.parametrize(("succeeded", "state"), [(0, "pending"), (1, "success")])
async def test_a_named_item_that_has_not_failed_refuses_the_whole(tenant: Tenant, succeeded: int, state: str) -> None:
    in_hand = await tenant.job(items=2, succeeded=succeeded, failed=1)
    is_first = succeeded == 1

    message = await _assert_refused(tenant, in_hand, 0, 1)

    assert str(in_hand.items[0 if is_first else 1].id) in message
    assert f"is {state}" in message


async def test_an_item_of_another_job_or_tenant_or_none_refuses_the_whole(tenant: Tenant, other_tenant: Tenant) -> None:
    in_hand = await tenant.job(items=1, failed=1)
    elsewhere = (await tenant.job(items=1, failed=1)).items[0].id
    foreign = (await other_tenant.job(items=1, failed=1)).items[0].id
    before = await tenant.contents()

    for item_id in (elsewhere, foreign, new_id()):
        with pytest.raises(ItemsNotRetryable, match=f"{item_id} is not in job"):
            async with tenant.work() as connection:
                await retry_failed_items(connection, in_hand.job.id, item_ids=[in_hand.items[0].id, item_id])

    assert await tenant.contents() == before


async def test_an_item_whose_outcome_is_unknown_is_skipped_and_reported(tenant: Tenant) -> None:
    in_hand = await tenant.job(items=2, failed=2)
    await tenant.lose_outcome(in_hand.items[0])

    retried = await tenant.retry(in_hand.job.id)

    assert [item.id for item in retried.items] == [in_hand.items[1].id]
    assert [skipped.item_id for skipped in retried.skipped] == [in_hand.items[0].id]
    await assert_adds_up(tenant, in_hand.job.id)


async def test_an_item_whose_outcome_is_unknown_is_refused_by_name(tenant: Tenant) -> None:
    in_hand = await tenant.job(items=2, failed=2)
    await tenant.lose_outcome(in_hand.items[0])

    message = await _assert_refused(tenant, in_hand, 0, 1)

    assert "settle its outcome" in message


async def test_an_order_that_was_shipped_meanwhile_is_not_tried_again(tenant: Tenant) -> None:
    in_hand = await tenant.job(items=1, failed=1)
    await tenant.change_order(in_hand.items[0].order_id, tracking_number="PED-1")

    message = await _assert_refused(tenant, in_hand)

    assert "PED-1" in message


async def test_an_order_that_is_open_in_another_job_is_not_tried_again(tenant: Tenant) -> None:
    in_hand = await tenant.job(items=1, failed=1)
    other = await tenant.create([in_hand.items[0].order_id])

    message = await _assert_refused(tenant, in_hand, 0)

    assert str(other.job.id) in message


async def test_an_order_that_was_put_away_is_not_tried_again(tenant: Tenant) -> None:
    in_hand = await tenant.job(items=1, failed=1)
    await tenant.change_order(in_hand.items[0].order_id, archived_at=in_hand.job.created_at)

    assert "is archived" in await _assert_refused(tenant, in_hand, 0)


async def test_an_item_flagged_for_review_is_retried_by_name_only(tenant: Tenant) -> None:
    in_hand = await tenant.job(items=1, failed=1)
    await tenant.succeed(in_hand.items[0])  # a conflict: it flags the item

    assert "flagged for review" in await _assert_refused(tenant, in_hand)
    retried = await tenant.retry(in_hand.job.id, in_hand.items[0])

    assert [(item.status, item.review_reason) for item in retried.items] == [(ItemStatus.PENDING, None)]


async def test_a_job_whose_key_another_active_job_holds_is_refused_with_that_job(tenant: Tenant) -> None:
    finished = await tenant.job(items=1, failed=1, idempotency_key="today")
    holder = await tenant.job(items=1, idempotency_key="today")
    before = await tenant.contents()

    with pytest.raises(IdempotencyKeyInUse) as refusal:
        await tenant.retry(finished.job.id)

    assert refusal.value.job == holder.job
    assert await tenant.contents() == before


async def test_a_job_takes_its_key_back_when_the_other_has_finished(tenant: Tenant) -> None:
    finished = await tenant.job(items=1, failed=1, idempotency_key="today")
    holder = await tenant.job(items=1, idempotency_key="today")
    await tenant.succeed(holder.items[0])

    retried = await tenant.retry(finished.job.id)

    assert (retried.job.status, retried.job.idempotency_key) == (JobStatus.PENDING, "today")


async def test_a_cancelled_job_is_not_retried(tenant: Tenant) -> None:
    in_hand = await tenant.job(items=2, failed=1)
    await tenant.set_status(in_hand.job.id, JobStatus.CANCELLED)
    before = await tenant.contents()

    with pytest.raises(InvalidTransition, match="was cancelled"):
        await tenant.retry(in_hand.job.id)

    assert await tenant.contents() == before


@pytest.mark.parametrize("count", [0, 10_001])
async def test_naming_no_items_or_too_many_is_refused(tenant: Tenant, count: int) -> None:
    in_hand = await tenant.job(items=1, failed=1)

    with pytest.raises(InvalidInput):
        async with tenant.work() as connection:
            await retry_failed_items(connection, in_hand.job.id, item_ids=[new_id() for _ in range(count)])

    assert await tenant.read(in_hand.job.id) == in_hand


async def test_another_tenants_job_is_not_found(tenant: Tenant, other_tenant: Tenant) -> None:
    in_hand = await tenant.job(items=1, failed=1)

    with pytest.raises(RobotJobNotFound):
        await other_tenant.retry(in_hand.job.id)

    assert await tenant.read(in_hand.job.id) == in_hand


async def test_nothing_is_retried_with_a_carrier_that_is_switched_off(tenant: Tenant) -> None:
    in_hand = await tenant.job(items=1, failed=1)
    await tenant.configure(is_enabled=False)
    before = await tenant.contents()

    with pytest.raises(CarrierConfigDisabled):
        await tenant.retry(in_hand.job.id)

    assert await tenant.contents() == before
