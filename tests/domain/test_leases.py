"""Claims, marks, renewals and leases that run out: who may work on an item, and until when."""

import datetime as dt
import time
import uuid
from dataclasses import replace

import pytest
import sqlalchemy as sa

from domain.errors import InvalidInput
from domain.events import EventType
from domain.robot_jobs import (
    ClosedBy,
    ErrorType,
    HeldBack,
    ItemResult,
    ItemsNotRetryable,
    ItemStatus,
    JobStatus,
    LeaseLost,
    LeaseState,
    OrderShippedMeanwhile,
    RecordedResult,
    ResultConflict,
    ResultStatus,
    StaleAttempt,
)
from domain.robot_jobs.expiry import EXPIRIES_AT_MOST
from tests.domain.ledger import assert_adds_up
from tests.tenants import Tenant


async def test_a_claimed_item_is_leased_and_its_job_begins(tenant: Tenant) -> None:
    in_hand = await tenant.job(items=2)

    claimed = await tenant.claim(lease_s=3_000)

    [item] = claimed.items
    assert (item.id, item.status, item.attempt) == (in_hand.items[0].id, ItemStatus.PROCESSING, 1)
    assert (item.leased_by, item.submitted_at, item.value_sent) == ("robot", None, in_hand.items[0].value_sent)
    assert item.lease_token is not None
    assert item.lease_expires_at is not None
    assert item.started_at is not None
    assert dt.timedelta(seconds=2_999) < item.lease_expires_at - item.started_at < dt.timedelta(seconds=3_001)
    [job] = claimed.jobs
    assert (job.status, job.started_at) == (JobStatus.PROCESSING, item.started_at)
    assert [event.type for event in await tenant.events(job.id)] == [EventType.JOB_SUBMITTED, EventType.JOB_STARTED]
    await assert_adds_up(tenant, job.id)


async def test_only_the_first_claim_begins_the_job(tenant: Tenant) -> None:
    await tenant.configure(max_concurrent_leases=2)
    in_hand = await tenant.job(items=2)
    await tenant.claim()

    second = await tenant.claim()

    assert ([item.id for item in second.items], second.jobs) == ([in_hand.items[1].id], [])


async def test_the_oldest_jobs_come_first(tenant: Tenant) -> None:
    await tenant.configure(max_concurrent_leases=10)
    first, second = await tenant.job(items=2), await tenant.job(items=2)

    claimed = await tenant.claim(3)

    assert [item.id for item in claimed.items] == [item.id for item in (*first.items, second.items[0])]
    assert {job.id for job in claimed.jobs} == {first.job.id, second.job.id}
    assert claimed.held_back is None
    for job in claimed.jobs:
        await assert_adds_up(tenant, job.id)


async def test_one_login_has_no_more_leases_at_once_than_its_config_allows(tenant: Tenant) -> None:
    in_hand = await tenant.job(items=4)
    [first] = (await tenant.claim(10)).items  # without a config: one
    assert (await tenant.claim(10)).held_back is HeldBack.ACCOUNT_BUSY

    await tenant.configure(max_concurrent_leases=3)
    more = await tenant.claim(10)
    assert ([item.id for item in more.items], more.held_back) == (
        [item.id for item in in_hand.items[1:3]],
        HeldBack.ACCOUNT_BUSY,
    )

    await tenant.succeed(first)
    assert [item.id for item in (await tenant.claim(10)).items] == [in_hand.items[3].id]


async def test_another_workspaces_leases_do_not_count(tenant: Tenant, other_tenant: Tenant) -> None:
    await tenant.job(items=1)
    there = await other_tenant.job(items=1)
    await tenant.claim()

    assert [item.id for item in (await other_tenant.claim()).items] == [there.items[0].id]


async def test_nothing_is_claimed_while_the_config_is_switched_off(tenant: Tenant) -> None:
    await tenant.job(items=1)
    await tenant.configure(is_enabled=False)

    claimed = await tenant.claim()

    assert (claimed.items, claimed.held_back) == ([], HeldBack.CARRIER_DISABLED)


async def test_an_order_that_was_shipped_meanwhile_is_not_claimed(tenant: Tenant) -> None:
    in_hand = await tenant.job(items=2)
    await _ship(tenant, in_hand.items[0].order_id)

    assert [item.id for item in (await tenant.claim()).items] == [in_hand.items[1].id]


async def test_an_order_that_is_shipped_again_on_purpose_is_claimed(tenant: Tenant) -> None:
    in_hand = await tenant.job(items=1, succeeded=1)
    again = await tenant.create([in_hand.items[0].order_id], ship_again_reason="The parcel was lost.")

    [item] = (await tenant.claim()).items

    assert item.job_id == again.job.id
    await tenant.mark(item)


@pytest.mark.parametrize(("limit", "lease_s"), [(0, 60), (101, 60), (1, 29), (1, 3_601)])
async def test_limits_of_a_claim(tenant: Tenant, limit: int, lease_s: int) -> None:
    with pytest.raises(InvalidInput):
        await tenant.claim(limit, lease_s=lease_s)


async def _ship(tenant: Tenant, order_id: uuid.UUID) -> None:
    async with tenant.work() as connection:
        await connection.execute(
            sa.text("UPDATE orders SET carrier = 'coordinadora', tracking_number = 'PED-9' WHERE id = :id"),
            {"id": order_id},
        )


# ---------------------------------------------------------------------------------------------- marks


async def test_the_mark_is_made_once(tenant: Tenant) -> None:
    await tenant.job(items=1)
    [item] = (await tenant.claim()).items

    first, again = await tenant.mark(item), await tenant.mark(item)

    assert first.submitted_at is not None
    assert again == first


async def test_a_mark_needs_a_lease_that_runs(tenant: Tenant) -> None:
    await tenant.job(items=1)
    [item] = (await tenant.claim()).items

    with pytest.raises(LeaseLost):
        await tenant.mark(replace(item, lease_token=uuid.uuid4()))
    await tenant.run_out(item)
    with pytest.raises(LeaseLost):
        await tenant.mark(item)
    [renewed] = await tenant.renew(item)
    assert renewed.state is LeaseState.GO_ON
    assert (await tenant.mark(item)).submitted_at is not None


async def test_nothing_is_submitted_for_an_order_that_was_shipped_meanwhile(tenant: Tenant) -> None:
    await tenant.job(items=1)
    [item] = (await tenant.claim()).items
    await _ship(tenant, item.order_id)

    with pytest.raises(OrderShippedMeanwhile):
        await tenant.mark(item)


async def test_nothing_of_a_cancelled_job_is_submitted(tenant: Tenant) -> None:
    in_hand = await tenant.job(items=1)
    [item] = (await tenant.claim()).items
    await tenant.set_status(in_hand.job.id, JobStatus.CANCELLED)

    with pytest.raises(LeaseLost):
        await tenant.mark(item)


# ---------------------------------------------------------------------------------------------- renewals


async def test_renewals_say_go_on_stop_or_lost(tenant: Tenant, other_tenant: Tenant) -> None:
    await tenant.configure(max_concurrent_leases=5)
    first, second, third = [await tenant.job(items=1) for _ in range(3)]
    going, stopped, lost = (await tenant.claim(3, lease_s=300)).items
    assert [going.job_id, stopped.job_id, lost.job_id] == [first.job.id, second.job.id, third.job.id]
    await tenant.set_status(second.job.id, JobStatus.FAILED)
    await tenant.run_out(lost)
    await tenant.sweep()
    await other_tenant.job(items=1)
    [foreign] = (await other_tenant.claim()).items

    answers = await tenant.renew(lost, going, stopped, foreign, replace(going, id=uuid.uuid4()), lease_s=3_600)

    assert [answer.state for answer in answers] == [
        LeaseState.LOST,
        LeaseState.GO_ON,
        LeaseState.STOP,
        LeaseState.LOST,
        LeaseState.LOST,
    ]
    assert [answer.item_id for answer in answers[:2]] == [lost.id, going.id]
    now = await tenant.item(going)
    assert now.lease_expires_at == answers[1].expires_at
    assert now.lease_expires_at is not None
    assert going.lease_expires_at is not None
    assert now.lease_expires_at - going.lease_expires_at > dt.timedelta(seconds=3_200)


async def test_a_lease_that_ran_out_is_renewed_if_nobody_took_it(tenant: Tenant) -> None:
    await tenant.job(items=1)
    [item] = (await tenant.claim()).items
    await tenant.run_out(item)

    [renewed] = await tenant.renew(item)

    assert renewed.state is LeaseState.GO_ON
    assert (await tenant.sweep()).count == 0


async def test_the_clock_of_a_process_changes_nothing(tenant: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    await tenant.job(items=1)
    wrong = time.time() + 7_200
    monkeypatch.setattr(time, "time", lambda: wrong)

    [item] = (await tenant.claim(lease_s=3_000)).items
    [renewed] = await tenant.renew(item, lease_s=3_000)

    async with tenant.work() as connection:
        now = await connection.scalar(sa.select(sa.func.clock_timestamp()))
    assert renewed.expires_at is not None
    assert now is not None
    assert dt.timedelta(0) < renewed.expires_at - now < dt.timedelta(seconds=3_001)
    assert (await tenant.sweep()).count == 0


# ---------------------------------------------------------------------------------------------- results


async def test_a_result_ends_the_lease(tenant: Tenant) -> None:
    await tenant.job(items=1)
    [item] = (await tenant.claim()).items
    await tenant.mark(item)

    recorded = await tenant.succeed(item, attempt=1)

    assert isinstance(recorded, RecordedResult)
    assert (recorded.item.lease_token, recorded.item.leased_by, recorded.item.lease_expires_at) == (None, None, None)
    assert recorded.item.submitted_at is not None
    [attempt] = await tenant.attempts(item)
    assert attempt.submitted_at == recorded.item.submitted_at


async def test_a_lease_token_goes_with_its_attempt(tenant: Tenant) -> None:
    await tenant.job(items=1)
    [item] = (await tenant.claim()).items
    result = ItemResult(
        item_id=item.id, status=ResultStatus.SUCCESS, tracking_number="PED-1", lease_token=item.lease_token
    )

    with pytest.raises(InvalidInput):
        await tenant.report(result)
    with pytest.raises(LeaseLost):
        await tenant.report(replace(result, attempt=1, lease_token=uuid.uuid4(), tracking_number=None))
    first = await tenant.report(replace(result, attempt=1))
    again = await tenant.report(replace(result, attempt=1))

    assert isinstance(first, RecordedResult)
    assert isinstance(again, RecordedResult)
    assert (first.replayed, again.replayed) == (False, True)


@pytest.mark.parametrize(
    ("error_type", "is_unknown"),
    [
        (ErrorType.TIMEOUT, True),
        (ErrorType.UNKNOWN, True),
        (ErrorType.PORTAL, False),
        (ErrorType.VALIDATION, False),
    ],
)
async def test_after_the_button_only_the_portals_refusal_says_that_there_is_no_parcel(
    tenant: Tenant, error_type: ErrorType, is_unknown: bool
) -> None:
    in_hand = await tenant.job(items=1)
    [item] = (await tenant.claim()).items
    await tenant.mark(item)

    failed = await tenant.fail(item, attempt=1, error_type=error_type)
    again = await tenant.fail(item, attempt=1, error_type=error_type)

    assert isinstance(failed, RecordedResult)
    assert isinstance(again, RecordedResult)
    assert (failed.item.outcome_unknown, again.replayed) == (is_unknown, True)
    await assert_adds_up(tenant, in_hand.job.id)
    if is_unknown:
        with pytest.raises(ItemsNotRetryable):
            await tenant.retry(in_hand.job.id)
        proven = await tenant.succeed(item, attempt=1)
        assert isinstance(proven, RecordedResult)
        assert (proven.item.status, proven.item.outcome_unknown) == (ItemStatus.SUCCESS, False)
        await assert_adds_up(tenant, in_hand.job.id)
    else:
        assert (await tenant.retry(in_hand.job.id)).items[0].submitted_at is None


async def test_before_the_button_a_timeout_is_an_error_as_any(tenant: Tenant) -> None:
    await tenant.job(items=1)
    [item] = (await tenant.claim()).items

    failed = await tenant.fail(item, attempt=1, error_type=ErrorType.TIMEOUT)

    assert isinstance(failed, RecordedResult)
    assert not failed.item.outcome_unknown


# ---------------------------------------------------------------------------------------------- leases that run out


async def test_what_was_not_submitted_is_done_again_with_a_new_attempt(tenant: Tenant) -> None:
    in_hand = await tenant.job(items=1)
    [item] = (await tenant.claim()).items
    await tenant.run_out(item)

    swept = await tenant.sweep()

    assert (swept.requeued, swept.given_up, swept.unknown) == (1, 0, 0)
    now = await tenant.item(item)
    assert (now.status, now.attempt, now.lease_token, now.started_at) == (ItemStatus.PENDING, 2, None, None)
    [attempt] = await tenant.attempts(item)
    assert (attempt.attempt, attempt.status, attempt.error_type) == (1, ItemStatus.ERROR, ErrorType.TIMEOUT)
    assert (attempt.started_at, attempt.value_sent) == (item.started_at, item.value_sent)
    stream = await tenant.events(in_hand.job.id)
    assert stream[-1].type is EventType.ITEMS_RETRIED
    assert stream[-1].payload["items"] == [{"itemId": str(item.id), "attempt": 2}]
    await assert_adds_up(tenant, in_hand.job.id)
    assert [again.attempt for again in (await tenant.claim()).items] == [2]


async def test_a_robot_that_comes_back_after_its_lease_was_given_away_changes_nothing(tenant: Tenant) -> None:
    await tenant.job(items=1)
    [lost] = (await tenant.claim()).items
    await tenant.run_out(lost)
    await tenant.sweep()
    [item] = (await tenant.claim(robot="another")).items

    with pytest.raises(LeaseLost):
        await tenant.mark(lost)
    answer = await tenant.report(
        ItemResult(
            item_id=lost.id,
            status=ResultStatus.SUCCESS,
            attempt=1,
            tracking_number="PED-1",
            lease_token=lost.lease_token,
        )
    )

    assert isinstance(answer, StaleAttempt)
    now = await tenant.item(item)
    assert (now.status, now.leased_by, now.lease_token) == (ItemStatus.PROCESSING, "another", item.lease_token)
    assert now.review_reason is not None
    assert "PED-1" in now.review_reason
    await assert_adds_up(tenant, item.job_id)


async def test_an_item_that_robots_die_of_is_left_to_a_person(tenant: Tenant) -> None:
    in_hand = await tenant.job(items=1)
    for _ in range(EXPIRIES_AT_MOST):
        [item] = (await tenant.claim()).items
        await tenant.run_out(item)
        swept = await tenant.sweep()

    assert (swept.requeued, swept.given_up) == (0, 1)
    after = await tenant.read(in_hand.job.id)
    assert (after.job.status, after.job.error_count) == (JobStatus.COMPLETED, 1)
    assert (after.items[0].error_type, after.items[0].outcome_unknown) == (ErrorType.TIMEOUT, False)
    await assert_adds_up(tenant, in_hand.job.id)

    await tenant.retry(in_hand.job.id)  # a person said to try it: it is counted anew
    [item] = (await tenant.claim()).items
    await tenant.run_out(item)
    assert (await tenant.sweep()).requeued == 1


async def test_what_was_submitted_has_an_unknown_outcome(tenant: Tenant) -> None:
    in_hand = await tenant.job(items=1)
    [item] = (await tenant.claim()).items
    await tenant.mark(item)
    await tenant.run_out(item)

    swept = await tenant.sweep()

    assert (swept.requeued, swept.given_up, swept.unknown) == (0, 0, 1)
    after = await tenant.read(in_hand.job.id)
    [now] = after.items
    assert (now.status, now.error_type, now.outcome_unknown) == (ItemStatus.ERROR, ErrorType.TIMEOUT, True)
    assert (now.closed_by, now.attempt, now.lease_token) == (ClosedBy.SYSTEM, 1, None)
    assert (after.job.status, after.job.error_count) == (JobStatus.COMPLETED, 1)
    assert [event.type for event in await tenant.events(in_hand.job.id)][-2:] == [
        EventType.ITEM_COMPLETED,
        EventType.JOB_COMPLETED,
    ]
    await assert_adds_up(tenant, in_hand.job.id)
    with pytest.raises(ItemsNotRetryable):
        await tenant.retry(in_hand.job.id)
    assert (await tenant.claim()).items == []


async def test_a_proof_beats_the_unknown_outcome_and_an_error_does_not(tenant: Tenant) -> None:
    in_hand = await tenant.job(items=1)
    [item] = (await tenant.claim()).items
    await tenant.mark(item)
    await tenant.run_out(item)
    await tenant.sweep()

    assert isinstance(await tenant.fail(item, attempt=1), ResultConflict)
    assert (await tenant.item(item)).outcome_unknown
    proven = await tenant.succeed(item, attempt=1)

    assert isinstance(proven, RecordedResult)
    assert (proven.item.status, proven.item.outcome_unknown) == (ItemStatus.SUCCESS, False)
    assert (proven.job.success_count, proven.job.error_count) == (1, 0)
    assert (await tenant.order(item.order_id)).tracking_number == proven.item.tracking_number
    await assert_adds_up(tenant, in_hand.job.id)


async def test_a_lease_that_runs_is_left_alone(tenant: Tenant) -> None:
    await tenant.job(items=1)
    await tenant.claim()

    assert (await tenant.sweep()).count == 0


async def test_one_sweep_serves_all_workspaces(tenant: Tenant, other_tenant: Tenant) -> None:
    for each in (tenant, other_tenant):
        await each.configure(max_concurrent_leases=9)
        await each.job(items=3)
        items = (await each.claim(3)).items
        await each.mark(items[0])
        await each.run_out(*items[:2])

    swept = await tenant.sweep()

    assert (swept.requeued, swept.unknown, len(swept.jobs)) == (2, 2, 2)
    for job in swept.jobs:
        owner = tenant if job.workspace_id == tenant.workspace_id else other_tenant
        await assert_adds_up(owner, job.id)
    assert {job.workspace_id for job in swept.jobs} == {tenant.workspace_id, other_tenant.workspace_id}
