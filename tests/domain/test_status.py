"""A job's status as someone sets it; whoever closes a job closes all its open items."""

from dataclasses import replace

import pytest

from domain.base import new_id
from domain.errors import InvalidInput
from domain.events import EventType
from domain.robot_jobs import ClosedBy, ErrorType, InvalidTransition, ItemStatus, JobStatus, RobotJobNotFound
from domain.robot_jobs.changes import next_job_status
from tests.domain.ledger import assert_adds_up
from tests.tenants import Tenant


async def test_a_job_that_is_taken_up_is_processing(tenant: Tenant) -> None:
    in_hand = await tenant.job(items=1)

    job = await tenant.set_status(in_hand.job.id, JobStatus.PROCESSING)

    assert (job.status, job.started_at is not None) == (JobStatus.PROCESSING, True)
    assert [event.type for event in await tenant.events(job.id)] == [EventType.JOB_SUBMITTED, EventType.JOB_STARTED]
    await assert_adds_up(tenant, job.id)


async def test_failing_a_job_closes_its_open_items_and_leaves_the_others(tenant: Tenant) -> None:
    in_hand = await tenant.job(items=4, succeeded=1, failed=1)

    job = await tenant.set_status(
        in_hand.job.id, JobStatus.FAILED, error="The robot stopped.", error_type=ErrorType.TIMEOUT
    )

    items = (await tenant.read(job.id)).items
    assert items[:2] == in_hand.items[:2]
    for item in items[2:]:
        assert (item.status, item.error_type, item.error_message, item.closed_by) == (
            ItemStatus.ERROR,
            ErrorType.TIMEOUT,
            "The robot stopped.",
            ClosedBy.SYSTEM,
        )
    assert (job.status, job.error, job.success_count, job.error_count) == (
        JobStatus.FAILED,
        "The robot stopped.",
        1,
        3,
    )
    await assert_adds_up(tenant, job.id)


async def test_failing_a_job_without_a_reason_says_so_and_is_of_type_unknown(tenant: Tenant) -> None:
    in_hand = await tenant.job(items=1)

    job = await tenant.set_status(in_hand.job.id, JobStatus.FAILED)

    [item] = (await tenant.read(job.id)).items
    assert (item.error_type, item.error_message) == (ErrorType.UNKNOWN, job.error)
    assert "no reason" in (job.error or "")


async def test_cancelling_a_job_cancels_its_open_items(tenant: Tenant) -> None:
    in_hand = await tenant.job(items=3, succeeded=1)

    job = await tenant.set_status(in_hand.job.id, JobStatus.CANCELLED, error="The wrong file.")

    assert (job.status, job.error, job.success_count, job.cancelled_count) == (
        JobStatus.CANCELLED,
        "The wrong file.",
        1,
        2,
    )
    assert [item.status for item in (await tenant.read(job.id)).items[1:]] == [ItemStatus.CANCELLED] * 2
    await assert_adds_up(tenant, job.id)


@pytest.mark.parametrize(
    ("ending", "told"), [(JobStatus.FAILED, EventType.JOB_FAILED), (JobStatus.CANCELLED, EventType.JOB_CANCELLED)]
)
async def test_closing_a_job_tells_of_each_item_and_once_of_the_job(
    tenant: Tenant, ending: JobStatus, told: EventType
) -> None:
    in_hand = await tenant.job(items=2)

    await tenant.set_status(in_hand.job.id, ending)

    types = [event.type for event in await tenant.events(in_hand.job.id)]
    assert types == [EventType.JOB_SUBMITTED, EventType.ITEM_COMPLETED, EventType.ITEM_COMPLETED, told]


@pytest.mark.parametrize("status", [JobStatus.PENDING, JobStatus.FAILED, JobStatus.CANCELLED, JobStatus.COMPLETED])
async def test_setting_the_status_that_a_job_has_changes_nothing(tenant: Tenant, status: JobStatus) -> None:
    in_hand = await tenant.job(items=1, succeeded=status is JobStatus.COMPLETED)
    await tenant.set_status(in_hand.job.id, status)
    before = await tenant.contents()

    job = await tenant.set_status(in_hand.job.id, status, error="again")

    assert job.status is status
    assert await tenant.contents() == before


@pytest.mark.parametrize(
    ("now", "wanted"),
    [
        (JobStatus.PENDING, JobStatus.COMPLETED),
        (JobStatus.PROCESSING, JobStatus.COMPLETED),
        (JobStatus.PROCESSING, JobStatus.PENDING),
        *((ended, wanted) for ended in JobStatus for wanted in JobStatus if not ended.is_active and ended != wanted),
    ],
)
async def test_any_other_transition_is_refused_and_names_the_state(
    tenant: Tenant, now: JobStatus, wanted: JobStatus
) -> None:
    in_hand = await tenant.job(items=1, succeeded=now is JobStatus.COMPLETED)
    await tenant.set_status(in_hand.job.id, now)
    before = await tenant.contents()

    with pytest.raises(InvalidTransition) as refusal:
        await tenant.set_status(in_hand.job.id, wanted)

    assert refusal.value.job.status is now
    assert await tenant.contents() == before


@pytest.mark.parametrize("error", ["a\x00b", "x" * 2_001], ids=["NUL", "long"])
async def test_a_reason_that_cannot_be_stored_is_refused(tenant: Tenant, error: str) -> None:
    in_hand = await tenant.job(items=1)

    with pytest.raises(InvalidInput):
        await tenant.set_status(in_hand.job.id, JobStatus.FAILED, error=error)

    assert await tenant.read(in_hand.job.id) == in_hand


async def test_an_unknown_job_and_another_tenants_are_not_found_alike(tenant: Tenant, other_tenant: Tenant) -> None:
    foreign = await other_tenant.job(items=1)
    unknown = new_id()

    messages = []
    for job_id in (foreign.job.id, unknown):
        with pytest.raises(RobotJobNotFound) as refusal:
            await tenant.set_status(job_id, JobStatus.CANCELLED)
        messages.append(refusal.value.message.replace(str(job_id), "…"))

    assert messages[0] == messages[1]
    assert await other_tenant.read(foreign.job.id) == foreign


@pytest.mark.parametrize(
    ("status", "open_items", "finish_as", "has_unproven_items", "expected"),
    [
        (JobStatus.PENDING, 1, JobStatus.COMPLETED, False, JobStatus.PENDING),
        (JobStatus.PROCESSING, 0, JobStatus.COMPLETED, False, JobStatus.COMPLETED),
        (JobStatus.PROCESSING, 1, JobStatus.FAILED, True, JobStatus.PROCESSING),
        (JobStatus.PROCESSING, 0, JobStatus.FAILED, True, JobStatus.FAILED),
        (JobStatus.PENDING, 0, JobStatus.CANCELLED, True, JobStatus.CANCELLED),
        (JobStatus.COMPLETED, 0, JobStatus.COMPLETED, True, JobStatus.COMPLETED),
        (JobStatus.FAILED, 0, JobStatus.COMPLETED, True, JobStatus.FAILED),
        (JobStatus.FAILED, 0, JobStatus.COMPLETED, False, JobStatus.COMPLETED),
        (JobStatus.CANCELLED, 0, JobStatus.COMPLETED, False, JobStatus.COMPLETED),
    ],
)
async def test_the_counters_decide_the_next_status(
    tenant: Tenant,
    status: JobStatus,
    open_items: int,
    finish_as: JobStatus,
    has_unproven_items: bool,
    expected: JobStatus,
) -> None:
    job = replace((await tenant.job(items=1)).job, status=status, total_items=3, success_count=3 - open_items)

    assert next_job_status(job, finish_as=finish_as, has_unproven_items=has_unproven_items) is expected
