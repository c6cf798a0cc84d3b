"""Cancelling and failing around what robots have submitted, and how an unknown outcome is settled."""

from typing import Any

import pytest
import sqlalchemy as sa

from domain.errors import DomainError, InvalidInput
from domain.events import EventType
from domain.robot_jobs import (
    ErrorType,
    InvalidTransition,
    ItemStatus,
    JobStatus,
    LeaseState,
    OrdersRefused,
    OutcomeNotOpen,
    RecordedResult,
    Resolution,
    ResolvedOutcome,
    RobotJobItem,
    StaleAttempt,
    resolve_unknown_outcome,
    robot_job_items,
)
from domain.workspaces import Role
from tests.domain.ledger import assert_adds_up
from tests.tenants import Tenant


async def _claimed(tenant: Tenant, items: int) -> list[RobotJobItem]:
    await tenant.configure(max_concurrent_leases=10)
    await tenant.job(items=items)
    return (await tenant.claim(items)).items


async def _unknown(tenant: Tenant, *, others: int = 0) -> RobotJobItem:
    """An item that was submitted before its lease ran out, in a job of its own with that many other open items."""
    [item, *_] = await _claimed(tenant, 1 + others)
    await tenant.mark(item)
    await tenant.run_out(item)
    await tenant.sweep()
    return await tenant.item(item)


# ---------------------------------------------------------------------------------------------- cancelling


async def test_cancelling_stops_what_was_not_submitted_and_lets_the_rest_finish(tenant: Tenant) -> None:
    await tenant.configure(max_concurrent_leases=2)
    in_hand = await tenant.job(items=3)
    submitted, leased = (await tenant.claim(2)).items
    await tenant.mark(submitted)

    job = await tenant.set_status(in_hand.job.id, JobStatus.CANCELLED, error="Wrong batch.")

    assert (job.status, job.cancelled_count, job.error) == (JobStatus.PROCESSING, 2, "Wrong batch.")
    assert job.cancel_requested_at is not None
    assert await tenant.set_status(in_hand.job.id, JobStatus.CANCELLED) == job  # idempotent
    states = [lease.state for lease in await tenant.renew(submitted, leased)]
    assert states == [LeaseState.GO_ON, LeaseState.STOP]
    assert (await tenant.claim()).items == []
    await assert_adds_up(tenant, job.id)

    recorded = await tenant.succeed(submitted, attempt=1)

    assert isinstance(recorded, RecordedResult)
    job = recorded.job
    assert (job.status, job.success_count, job.cancelled_count) == (JobStatus.CANCELLED, 1, 2)
    assert job.error == "Wrong batch."
    stream = await tenant.events(job.id)
    assert [event.type for event in stream if event.type is EventType.JOB_CANCELLED] == [stream[-1].type]
    await assert_adds_up(tenant, job.id)


async def test_nothing_is_retried_while_a_cancelled_job_finishes(tenant: Tenant) -> None:
    submitted, leased = await _claimed(tenant, 2)
    await tenant.fail(leased, attempt=1)
    await tenant.mark(submitted)
    await tenant.set_status(submitted.job_id, JobStatus.CANCELLED)

    with pytest.raises(InvalidTransition):
        await tenant.retry(submitted.job_id)


async def test_what_is_submitted_when_its_job_is_cancelled_may_end_unknown(tenant: Tenant) -> None:
    [item] = await _claimed(tenant, 1)
    await tenant.mark(item)
    await tenant.set_status(item.job_id, JobStatus.CANCELLED)
    await tenant.run_out(item)

    await tenant.sweep()

    after = await tenant.read(item.job_id)
    assert (after.job.status, after.items[0].outcome_unknown) == (JobStatus.CANCELLED, True)
    await assert_adds_up(tenant, item.job_id)


async def test_cancelling_without_anything_submitted_ends_the_job_at_once(tenant: Tenant) -> None:
    [item] = await _claimed(tenant, 1)

    job = await tenant.set_status(item.job_id, JobStatus.CANCELLED)

    assert (job.status, job.cancelled_count) == (JobStatus.CANCELLED, 1)
    assert (await tenant.item(item)).lease_token is None
    await assert_adds_up(tenant, job.id)


async def test_failing_leaves_the_outcome_of_what_was_submitted_unknown(tenant: Tenant) -> None:
    submitted, leased = await _claimed(tenant, 2)
    await tenant.mark(submitted)

    job = await tenant.set_status(submitted.job_id, JobStatus.FAILED, error="No session.", error_type=ErrorType.PORTAL)

    assert (job.status, job.error_count) == (JobStatus.FAILED, 2)
    items = (await tenant.read(job.id)).items
    assert [(item.error_type, item.outcome_unknown, item.error_message) for item in items] == [
        (ErrorType.TIMEOUT, True, "No session."),
        (ErrorType.PORTAL, False, "No session."),
    ]
    with pytest.raises(OrdersRefused):
        await tenant.create([submitted.order_id])
    retried = await tenant.retry(job.id)
    assert ([item.id for item in retried.items], [item.item_id for item in retried.skipped]) == (
        [leased.id],
        [submitted.id],
    )
    await assert_adds_up(tenant, job.id)


# ---------------------------------------------------------------------------------------------- settling


async def test_a_parcel_that_was_found_is_a_success(tenant: Tenant) -> None:
    item = await _unknown(tenant)

    resolved = await tenant.resolve(item, found="PED-7")

    assert (resolved.item.status, resolved.item.tracking_number) == (ItemStatus.SUCCESS, "PED-7")
    assert (resolved.item.outcome_unknown, resolved.replayed) == (False, False)
    assert (resolved.job.success_count, resolved.job.error_count) == (1, 0)
    assert (await tenant.order(item.order_id)).tracking_number == "PED-7"
    [attempt] = await tenant.attempts(item)
    assert (attempt.status, attempt.resolution, attempt.resolved_by, attempt.resolution_reason) == (
        ItemStatus.ERROR,
        Resolution.FOUND,
        tenant.user(Role.OPERATOR),
        "Looked it up in the portal.",
    )
    assert attempt.resolved_at is not None
    types = [event.type for event in await tenant.events(item.job_id)]
    assert types[-2:] == [EventType.ITEM_RESOLVED, EventType.ITEM_COMPLETED]
    await assert_adds_up(tenant, item.job_id)


async def test_a_parcel_that_is_confirmed_absent_leaves_an_error_that_is_retried(tenant: Tenant) -> None:
    item = await _unknown(tenant)

    resolved = await tenant.resolve(item)

    assert (resolved.item.status, resolved.item.outcome_unknown) == (ItemStatus.ERROR, False)
    assert resolved.item.error_type is ErrorType.TIMEOUT
    assert (await tenant.events(item.job_id))[-1].type is EventType.ITEM_RESOLVED
    [attempt] = await tenant.attempts(item)
    assert attempt.resolution is Resolution.CONFIRMED_ABSENT
    await assert_adds_up(tenant, item.job_id)
    assert [again.attempt for again in (await tenant.retry(item.job_id)).items] == [2]
    await assert_adds_up(tenant, item.job_id)


@pytest.mark.parametrize("found", ["PED-7", None])
async def test_the_same_again_changes_nothing_and_another_word_is_refused(tenant: Tenant, found: str | None) -> None:
    item = await _unknown(tenant)
    await tenant.resolve(item, found=found)
    before = await tenant.contents()

    assert (await tenant.resolve(item, found=found)).replayed
    with pytest.raises(OutcomeNotOpen):
        await tenant.resolve(item, found="PED-8")

    assert await tenant.contents() == before


async def test_only_what_is_in_question_is_settled(tenant: Tenant) -> None:
    in_hand = await tenant.job(items=3, succeeded=1, failed=1)

    for item in in_hand.items:
        with pytest.raises(OutcomeNotOpen):
            await tenant.resolve(item, found="PED-7")


async def test_a_failed_job_whose_last_unproven_item_is_found_is_completed(tenant: Tenant) -> None:
    first, second = await _claimed(tenant, 2)
    for item in (first, second):
        await tenant.mark(item)
    await tenant.set_status(first.job_id, JobStatus.FAILED)

    assert (await tenant.resolve(first, found="PED-1")).job.status is JobStatus.FAILED
    assert (await tenant.resolve(second, found="PED-2")).job.status is JobStatus.COMPLETED
    await assert_adds_up(tenant, first.job_id)


async def test_what_a_robot_left_unknown_does_not_complete_a_failed_job(tenant: Tenant) -> None:
    first, second = await _claimed(tenant, 2)
    await tenant.mark(first)
    await tenant.fail(first, attempt=1, error_type=ErrorType.TIMEOUT)
    await tenant.set_status(first.job_id, JobStatus.FAILED)

    assert (await tenant.resolve(first, found="PED-1")).job.status is JobStatus.FAILED
    await assert_adds_up(tenant, second.job_id)


async def test_a_flag_in_a_cancelled_job_is_settled_too(tenant: Tenant) -> None:
    in_hand = await tenant.job(items=2)
    await tenant.set_status(in_hand.job.id, JobStatus.CANCELLED)
    found, absent = in_hand.items
    async with tenant.work() as connection:
        await connection.execute(
            sa.update(robot_job_items)
            .where(robot_job_items.c.job_id == in_hand.job.id)
            .values(review_reason="A parcel may exist.")
        )

    settled = await tenant.resolve(found, found="PED-1")
    cleared = await tenant.resolve(absent)

    assert (settled.item.status, settled.item.review_reason) == (ItemStatus.SUCCESS, None)
    assert (cleared.item.status, cleared.item.review_reason) == (ItemStatus.CANCELLED, None)
    await assert_adds_up(tenant, in_hand.job.id)


async def test_what_is_said_of_an_older_attempt_opens_no_way_for_the_next(tenant: Tenant) -> None:
    item = await _unknown(tenant)
    await tenant.resolve(item)
    await tenant.retry(item.job_id)
    [again] = (await tenant.claim()).items
    await tenant.mark(again)
    await tenant.fail(again, error_type=ErrorType.TIMEOUT)

    with pytest.raises(OutcomeNotOpen, match="at attempt 2, not 1"):
        await _settle(tenant, item, attempt=1, confirmed_absent=True)

    assert (await tenant.item(item)).outcome_unknown
    settled = await _settle(tenant, item, attempt=2, confirmed_absent=True)
    assert isinstance(settled, ResolvedOutcome)
    assert not settled.item.outcome_unknown


async def test_a_parcel_that_is_found_of_an_older_attempt_is_kept_for_review(tenant: Tenant) -> None:
    item = await _unknown(tenant)
    await tenant.resolve(item)
    await tenant.retry(item.job_id)

    settled = await _settle(tenant, item, attempt=1, tracking_number="PED-1")

    assert isinstance(settled, StaleAttempt)
    assert "PED-1" in (settled.item.review_reason or "")
    assert (await tenant.claim()).items == []


async def _settle(tenant: Tenant, item: RobotJobItem, **what: Any) -> ResolvedOutcome | StaleAttempt:
    async with tenant.work(Role.ROBOT) as connection:
        return await resolve_unknown_outcome(connection, item.id, reason="Looked.", resolved_by="robot", **what)


@pytest.mark.parametrize(
    ("number", "absent", "reason"),
    [(None, False, "Looked."), ("PED-1", True, "Looked."), (" ", False, "Looked."), (None, True, " x ")],
)
async def test_a_settlement_says_one_thing_and_why(
    tenant: Tenant, number: str | None, absent: bool, reason: str
) -> None:
    item = await _unknown(tenant)

    with pytest.raises(InvalidInput):
        async with tenant.work() as connection:
            await resolve_unknown_outcome(
                connection,
                item.id,
                reason=reason,
                resolved_by="a test",
                tracking_number=number,
                confirmed_absent=absent,
            )


async def test_another_workspaces_item_is_not_found(tenant: Tenant, other_tenant: Tenant) -> None:
    item = await _unknown(tenant)

    with pytest.raises(DomainError, match="There is no item"):
        await other_tenant.resolve(item)
