"""Results: each counts once, whatever comes how often and in which order."""

from typing import Any

import pytest

from domain.base import new_id
from domain.carriers import Carrier
from domain.errors import InvalidInput
from domain.events import EventType
from domain.robot_jobs import (
    ErrorType,
    ItemResult,
    ItemStatus,
    JobStatus,
    RecordedResult,
    ResultConflict,
    ResultStatus,
    RobotJobItemNotFound,
    StaleAttempt,
    retry_failed_items,
)
from tests.domain.ledger import assert_adds_up
from tests.tenants import JobInHand, Tenant


async def test_the_last_result_completes_the_job(tenant: Tenant) -> None:
    in_hand = await tenant.job(items=2, succeeded=1)

    recorded = await tenant.fail(in_hand.items[1])

    assert isinstance(recorded, RecordedResult)
    assert recorded.job.status is JobStatus.COMPLETED
    assert (recorded.job.success_count, recorded.job.error_count) == (1, 1)


async def test_the_events_of_a_job_tell_its_whole_way(tenant: Tenant) -> None:
    in_hand = await tenant.job(items=2, succeeded=1, failed=1)

    assert [event.type for event in await tenant.events(in_hand.job.id)] == [
        EventType.JOB_SUBMITTED,
        EventType.JOB_STARTED,
        EventType.ITEM_COMPLETED,
        EventType.ITEM_COMPLETED,
        EventType.JOB_COMPLETED,
    ]
    await assert_adds_up(tenant, in_hand.job.id)


async def test_each_completion_carries_the_counters_as_of_that_event(tenant: Tenant) -> None:
    in_hand = await tenant.job(items=3, succeeded=3)

    completions = [event for event in await tenant.events(in_hand.job.id) if event.type is EventType.ITEM_COMPLETED]
    assert [event.payload["job"]["successCount"] for event in completions] == [1, 2, 3]
    assert [event.payload["itemId"] for event in completions] == [str(item.id) for item in in_hand.items]


async def test_a_success_gives_the_order_its_tracking_number_through_update_order(tenant: Tenant) -> None:
    in_hand = await tenant.job(items=1)

    await tenant.report(
        ItemResult(
            item_id=in_hand.items[0].id,
            status=ResultStatus.SUCCESS,
            tracking_number=" PED-1 ",
            carrier_guide_number="GUIA-1",
        )
    )

    order = await tenant.order(in_hand.items[0].order_id)
    assert (order.carrier, order.tracking_number, order.carrier_guide_number) == (
        Carrier.COORDINADORA,
        "PED-1",
        "GUIA-1",
    )
    told = {event.payload["field"]: event.payload["after"] for event in await tenant.events(order.id)}
    assert told == {"carrier": "coordinadora", "trackingNumber": "PED-1", "carrierGuideNumber": "GUIA-1"}


async def test_an_error_leaves_the_order_as_it_is(tenant: Tenant) -> None:
    in_hand = await tenant.job(items=1)
    before = await tenant.order(in_hand.items[0].order_id)

    await tenant.fail(in_hand.items[0])

    assert await tenant.order(before.id) == before
    assert await tenant.events(before.id) == []


async def test_an_error_without_a_type_is_of_type_unknown(tenant: Tenant) -> None:
    in_hand = await tenant.job(items=1)

    await tenant.report(ItemResult(item_id=in_hand.items[0].id, status=ResultStatus.ERROR))

    assert (await tenant.read(in_hand.job.id)).items[0].error_type is ErrorType.UNKNOWN


async def test_the_same_result_again_is_answered_as_the_first_time_and_changes_nothing(tenant: Tenant) -> None:
    in_hand = await tenant.job(items=2)
    first = await tenant.succeed(in_hand.items[0])
    before = await tenant.contents()

    again = await tenant.succeed(in_hand.items[0], attempt=1)

    assert isinstance(first, RecordedResult)
    assert isinstance(again, RecordedResult)
    assert (first.replayed, again.replayed) == (False, True)
    assert (again.item, again.job) == (first.item, first.job)
    assert await tenant.contents() == before


async def test_the_same_error_again_is_not_counted_again(tenant: Tenant) -> None:
    in_hand = await tenant.job(items=2, failed=1)
    before = await tenant.contents()

    again = await tenant.fail(in_hand.items[0])

    assert isinstance(again, RecordedResult)
    assert again.replayed
    assert await tenant.contents() == before


async def test_another_success_for_a_closed_attempt_is_a_conflict_and_flags_the_item(tenant: Tenant) -> None:
    in_hand = await tenant.job(items=1)
    await tenant.succeed(in_hand.items[0], tracking_number="PED-1")
    before, events_before = await tenant.read(in_hand.job.id), await tenant.events(in_hand.job.id)

    answer = await tenant.succeed(in_hand.items[0], tracking_number="PED-2")

    after = await tenant.read(in_hand.job.id)
    assert isinstance(answer, ResultConflict)
    assert after.job == before.job
    assert (after.items[0].tracking_number, after.items[0].status) == ("PED-1", ItemStatus.SUCCESS)
    assert "PED-2" in (after.items[0].review_reason or "")
    assert (await tenant.order(in_hand.items[0].order_id)).tracking_number == "PED-1"
    assert await tenant.events(in_hand.job.id) == events_before
    [attempt] = await tenant.attempts(in_hand.items[0])
    assert attempt.tracking_number == "PED-1"
    assert [late["trackingNumber"] for late in attempt.late_results] == ["PED-2"]


async def test_an_error_after_a_success_is_a_conflict_that_is_kept_and_flags_nothing(tenant: Tenant) -> None:
    in_hand = await tenant.job(items=1, succeeded=1)

    answer = await tenant.fail(in_hand.items[0], message="too late")

    assert isinstance(answer, ResultConflict)
    assert await tenant.read(in_hand.job.id) == in_hand
    [attempt] = await tenant.attempts(in_hand.items[0])
    assert attempt.status is ItemStatus.SUCCESS
    assert [late["errorMessage"] for late in attempt.late_results] == ["too late"]


async def test_a_success_after_a_reported_error_is_a_conflict_that_flags_the_item(tenant: Tenant) -> None:
    in_hand = await tenant.job(items=1, failed=1)

    answer = await tenant.succeed(in_hand.items[0])

    after = await tenant.read(in_hand.job.id)
    assert isinstance(answer, ResultConflict)
    assert after.job == in_hand.job
    assert after.items[0].status is ItemStatus.ERROR
    assert after.items[0].review_reason is not None
    assert (await tenant.order(in_hand.items[0].order_id)).tracking_number is None


async def test_all_that_contradicts_is_kept_once_and_at_most_twenty_of_it(tenant: Tenant) -> None:
    in_hand = await tenant.job(items=1, failed=1)

    for number in range(25):
        for _ in range(2):
            await tenant.succeed(in_hand.items[0], tracking_number=f"PED-{number}")

    [attempt] = await tenant.attempts(in_hand.items[0])
    assert [late["trackingNumber"] for late in attempt.late_results] == [f"PED-{number}" for number in range(20)]


async def _report_success(
    tenant: Tenant, in_hand: JobInHand, *, tracking_number: str | None = None, carrier_guide_number: str | None = None
) -> object:
    return await tenant.report(
        ItemResult(
            item_id=in_hand.items[0].id,
            status=ResultStatus.SUCCESS,
            tracking_number=tracking_number,
            carrier_guide_number=carrier_guide_number,
        )
    )


async def test_numbers_that_a_success_lacked_may_follow_and_are_not_counted_again(tenant: Tenant) -> None:
    in_hand = await tenant.job(items=2)
    await _report_success(tenant, in_hand)

    await _report_success(tenant, in_hand, tracking_number="PED-1")
    recorded = await _report_success(tenant, in_hand, tracking_number="PED-1", carrier_guide_number="GUIA-1")

    assert isinstance(recorded, RecordedResult)
    assert (recorded.item.tracking_number, recorded.item.carrier_guide_number) == ("PED-1", "GUIA-1")
    assert (recorded.job.status, recorded.job.success_count) == (JobStatus.PROCESSING, 1)
    order = await tenant.order(in_hand.items[0].order_id)
    assert (order.tracking_number, order.carrier_guide_number) == ("PED-1", "GUIA-1")
    await assert_adds_up(tenant, in_hand.job.id)


async def test_a_number_that_follows_leaves_a_failed_job_failed(tenant: Tenant) -> None:
    in_hand = await tenant.job(items=2)
    await _report_success(tenant, in_hand)
    await tenant.set_status(in_hand.job.id, JobStatus.FAILED)

    recorded = await _report_success(tenant, in_hand, tracking_number="PED-1")

    assert isinstance(recorded, RecordedResult)
    assert (recorded.item.tracking_number, recorded.job.status) == ("PED-1", JobStatus.FAILED)
    await assert_adds_up(tenant, in_hand.job.id)


async def test_a_result_for_an_older_attempt_changes_nothing_but_flags_the_item(tenant: Tenant) -> None:
    in_hand = await tenant.job(items=1, failed=1)
    async with tenant.work() as connection:
        await retry_failed_items(connection, in_hand.job.id)

    answer = await tenant.succeed(in_hand.items[0], attempt=1)

    assert isinstance(answer, StaleAttempt)
    after = await tenant.read(in_hand.job.id)
    assert after.items[0].status is ItemStatus.PENDING
    assert after.items[0].review_reason is not None
    assert after.job.success_count == 0


async def test_a_success_for_an_older_attempt_is_kept_on_that_attempt(tenant: Tenant) -> None:
    in_hand = await tenant.job(items=1, failed=1)
    await tenant.retry(in_hand.job.id)
    await tenant.fail(in_hand.items[0])

    await tenant.succeed(in_hand.items[0], attempt=1, tracking_number="PED-1")

    first, second = await tenant.attempts(in_hand.items[0])
    assert (first.status, second.late_results) == (ItemStatus.ERROR, [])
    assert [late["trackingNumber"] for late in first.late_results] == ["PED-1"]


async def test_an_error_for_an_older_attempt_is_kept_and_flags_nothing(tenant: Tenant) -> None:
    in_hand = await tenant.job(items=1, failed=1)
    await tenant.retry(in_hand.job.id)
    before = await tenant.read(in_hand.job.id)

    answer = await tenant.fail(in_hand.items[0], attempt=1, message="again")

    assert isinstance(answer, StaleAttempt)
    assert await tenant.read(in_hand.job.id) == before
    [attempt] = await tenant.attempts(in_hand.items[0])
    assert [late["errorMessage"] for late in attempt.late_results] == ["again"]


async def test_a_result_that_names_no_attempt_means_the_current_one(tenant: Tenant) -> None:
    in_hand = await tenant.job(items=1, failed=1)
    await tenant.retry(in_hand.job.id)

    recorded = await tenant.succeed(in_hand.items[0])

    assert isinstance(recorded, RecordedResult)
    assert (recorded.item.status, recorded.item.attempt) == (ItemStatus.SUCCESS, 2)
    assert [attempt.status for attempt in await tenant.attempts(in_hand.items[0])] == [
        ItemStatus.ERROR,
        ItemStatus.SUCCESS,
    ]


async def test_a_result_for_an_attempt_that_has_not_begun_is_refused(tenant: Tenant) -> None:
    in_hand = await tenant.job(items=1)
    before = await tenant.contents()

    with pytest.raises(InvalidInput, match="has not begun"):
        await tenant.succeed(in_hand.items[0], attempt=2)

    assert await tenant.contents() == before


@pytest.mark.parametrize("ending", [JobStatus.FAILED, JobStatus.CANCELLED])
async def test_a_late_success_beats_what_the_system_wrote(tenant: Tenant, ending: JobStatus) -> None:
    in_hand = await tenant.job(items=2)
    await tenant.set_status(in_hand.job.id, ending)

    recorded = await tenant.succeed(in_hand.items[0], tracking_number="PED-1")

    assert isinstance(recorded, RecordedResult)
    assert (recorded.item.status, recorded.item.error_type) == (ItemStatus.SUCCESS, None)
    assert recorded.job.status is ending  # the other item still has nothing but the system's word
    assert recorded.job.success_count == 1
    assert (await tenant.order(in_hand.items[0].order_id)).tracking_number == "PED-1"
    await assert_adds_up(tenant, in_hand.job.id)


@pytest.mark.parametrize("ending", [JobStatus.FAILED, JobStatus.CANCELLED])
async def test_the_last_late_success_completes_the_job_with_an_event_of_its_own(
    tenant: Tenant, ending: JobStatus
) -> None:
    in_hand = await tenant.job(items=3, failed=1)
    await tenant.set_status(in_hand.job.id, ending)

    await tenant.succeed(in_hand.items[1])
    recorded = await tenant.succeed(in_hand.items[2])

    assert isinstance(recorded, RecordedResult)
    assert recorded.job.status is JobStatus.COMPLETED
    types = [event.type for event in await tenant.events(in_hand.job.id)]
    assert types.count(EventType.JOB_COMPLETED) == 1
    await assert_adds_up(tenant, in_hand.job.id)


async def test_a_late_success_stands_beside_the_ending_that_the_system_wrote(tenant: Tenant) -> None:
    in_hand = await tenant.job(items=1)
    await tenant.set_status(in_hand.job.id, JobStatus.FAILED)

    await tenant.succeed(in_hand.items[0], tracking_number="PED-1")

    [attempt] = await tenant.attempts(in_hand.items[0])
    assert attempt.status is ItemStatus.ERROR
    assert [(late["status"], late["trackingNumber"]) for late in attempt.late_results] == [("success", "PED-1")]


async def test_a_late_success_again_is_a_replay(tenant: Tenant) -> None:
    in_hand = await tenant.job(items=1)
    await tenant.set_status(in_hand.job.id, JobStatus.CANCELLED)
    await tenant.succeed(in_hand.items[0])
    before = await tenant.contents()

    again = await tenant.succeed(in_hand.items[0])

    assert isinstance(again, RecordedResult)
    assert again.replayed
    assert await tenant.contents() == before


@pytest.mark.parametrize("ending", [JobStatus.FAILED, JobStatus.CANCELLED])
async def test_a_late_error_does_not_beat_what_the_system_wrote(tenant: Tenant, ending: JobStatus) -> None:
    in_hand = await tenant.job(items=1)
    await tenant.set_status(in_hand.job.id, ending, error="The robot stopped.")
    before = await tenant.read(in_hand.job.id)

    answer = await tenant.fail(in_hand.items[0])

    assert isinstance(answer, ResultConflict)
    assert await tenant.read(in_hand.job.id) == before


async def test_a_late_success_without_proof_flags_the_item_and_changes_nothing_else(tenant: Tenant) -> None:
    in_hand = await tenant.job(items=1)
    await tenant.set_status(in_hand.job.id, JobStatus.FAILED)
    before = await tenant.read(in_hand.job.id)

    answer = await tenant.report(ItemResult(item_id=in_hand.items[0].id, status=ResultStatus.SUCCESS))

    after = await tenant.read(in_hand.job.id)
    assert isinstance(answer, ResultConflict)
    assert after.job == before.job
    assert (after.items[0].status, after.items[0].review_reason is not None) == (ItemStatus.ERROR, True)


async def test_a_late_success_within_a_retried_job_leaves_the_others_open(tenant: Tenant) -> None:
    in_hand = await tenant.job(items=2)
    await tenant.set_status(in_hand.job.id, JobStatus.FAILED)
    await tenant.retry(in_hand.job.id, in_hand.items[0])

    recorded = await tenant.succeed(in_hand.items[1])

    assert isinstance(recorded, RecordedResult)
    assert recorded.job.status is JobStatus.PENDING  # nobody has taken the retried item up yet
    await assert_adds_up(tenant, in_hand.job.id)


async def test_a_second_parcel_for_one_order_is_recorded_and_flagged(tenant: Tenant) -> None:
    in_hand = await tenant.job(items=1)
    await tenant.change_order(in_hand.items[0].order_id, tracking_number="PED-0")

    recorded = await tenant.succeed(in_hand.items[0], tracking_number="PED-1")

    assert isinstance(recorded, RecordedResult)
    assert recorded.item.status is ItemStatus.SUCCESS
    assert "PED-0" in (recorded.item.review_reason or "")


async def test_an_unknown_item_and_another_tenants_are_not_found_alike(tenant: Tenant, other_tenant: Tenant) -> None:
    foreign = (await other_tenant.job(items=1)).items[0].id
    unknown = new_id()
    before = await other_tenant.contents()

    messages = []
    for item_id in (foreign, unknown):
        with pytest.raises(RobotJobItemNotFound) as refusal:
            await tenant.report(ItemResult(item_id=item_id, status=ResultStatus.SUCCESS, tracking_number="PED-1"))
        messages.append(refusal.value.message.replace(str(item_id), "…"))

    assert messages[0] == messages[1]
    assert await other_tenant.contents() == before


@pytest.mark.parametrize(
    ("status", "facts"),
    [
        (ResultStatus.SUCCESS, {"attempt": 0}),
        (ResultStatus.SUCCESS, {"attempt": -1}),
        (ResultStatus.SUCCESS, {"attempt": 2**31}),
        (ResultStatus.SUCCESS, {"error_type": ErrorType.PORTAL}),
        (ResultStatus.SUCCESS, {"error_message": "no"}),
        (ResultStatus.SUCCESS, {"tracking_number": "a\x00b"}),
        (ResultStatus.SUCCESS, {"tracking_number": "9" * 101}),
        (ResultStatus.SUCCESS, {"carrier_guide_number": "\ud800"}),
        (ResultStatus.ERROR, {"tracking_number": "PED-1"}),
        (ResultStatus.ERROR, {"carrier_guide_number": "GUIA-1"}),
        (ResultStatus.ERROR, {"error_message": "x" * 10_000_000}),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, dict) else None,
)
async def test_a_result_that_cannot_be_right_is_refused(
    tenant: Tenant, status: ResultStatus, facts: dict[str, Any]
) -> None:
    in_hand = await tenant.job(items=1)
    before = await tenant.contents()

    with pytest.raises(InvalidInput) as refusal:
        await tenant.report(ItemResult(item_id=in_hand.items[0].id, status=status, **facts))

    assert [problem.path for problem in refusal.value.problems] == list(facts)
    assert await tenant.contents() == before


async def test_a_job_that_late_proofs_completed_is_no_longer_in_error(tenant: Tenant) -> None:
    in_hand = await tenant.job(items=1)
    await tenant.set_status(in_hand.job.id, JobStatus.FAILED)

    recorded = await tenant.succeed(in_hand.items[0])

    assert isinstance(recorded, RecordedResult)
    assert (recorded.job.status, recorded.job.error) == (JobStatus.COMPLETED, None)


async def test_every_different_late_result_is_kept_once(tenant: Tenant) -> None:
    in_hand = await tenant.job(items=1, failed=1)
    for number in ("PED-1", "PED-2", "PED-1"):
        await tenant.succeed(in_hand.items[0], tracking_number=number)

    [attempt] = await tenant.attempts(in_hand.items[0])

    assert [late["trackingNumber"] for late in attempt.late_results] == ["PED-1", "PED-2"]
