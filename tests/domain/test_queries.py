"""Jobs and items as people read them."""

import uuid
from typing import Any

import pytest

from domain.base import new_id
from domain.carriers import Carrier
from domain.events import EventType
from domain.pages import PageRequest
from domain.robot_jobs import (
    ErrorType,
    FailureAction,
    ItemFilter,
    ItemStatus,
    JobFilter,
    JobStatus,
    Pace,
    RobotJobNotFound,
    find_robot_job_items,
    find_robot_jobs,
    get_active_job,
    get_job_with_items,
    list_attempts,
    list_events,
    list_failures,
    list_items_of_jobs,
    list_robot_jobs,
    measure_pace,
    read_completions,
)
from tests.tenants import Tenant


async def test_a_job_is_read_with_a_page_of_its_items(tenant: Tenant) -> None:
    in_hand = await tenant.job(items=3)

    async with tenant.work() as connection:
        read = await get_job_with_items(connection, in_hand.job.id, page=PageRequest(2))

    assert (read.job, read.items.rows, read.items.has_next) == (in_hand.job, in_hand.items[:2], True)


async def test_an_unknown_job_and_another_tenants_are_not_found_alike(tenant: Tenant, other_tenant: Tenant) -> None:
    foreign = (await other_tenant.job(items=1)).job.id
    unknown = new_id()

    messages = set()
    for job_id in (foreign, unknown):
        with pytest.raises(RobotJobNotFound) as refusal:
            await tenant.read(job_id)
        messages.add(refusal.value.message.replace(str(job_id), "…"))
        with pytest.raises(RobotJobNotFound) as refusal:
            async with tenant.work() as connection:
                await read_completions(connection, job_id, after_seq=0)
        messages.add(refusal.value.message.replace(str(job_id), "…"))

    assert len(messages) == 1


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (ItemFilter(statuses=(ItemStatus.ERROR,)), [1, 2]),
        (ItemFilter(statuses=(ItemStatus.SUCCESS, ItemStatus.PENDING)), [0, 3]),
        (ItemFilter(error_types=(ErrorType.VALIDATION,)), [2]),
        (ItemFilter(statuses=(ItemStatus.PENDING,), error_types=(ErrorType.PORTAL,)), []),
        (ItemFilter(statuses=()), []),
        (ItemFilter(), [0, 1, 2, 3]),
    ],
    ids=repr,
)
async def test_items_are_filtered_by_status_and_error_type(
    tenant: Tenant, wanted: ItemFilter, expected: list[int]
) -> None:
    in_hand = await tenant.job(items=4, succeeded=1, failed=1)
    await tenant.fail(in_hand.items[2], error_type=ErrorType.VALIDATION)

    async with tenant.work() as connection:
        read = await get_job_with_items(connection, in_hand.job.id, page=PageRequest(9), item_filter=wanted)

    assert [item.id for item in read.items.rows] == [in_hand.items[number].id for number in expected]


async def test_the_same_page_is_read_of_many_jobs_and_not_of_other_tenants(
    tenant: Tenant, other_tenant: Tenant
) -> None:
    first, second = await tenant.job(items=3), await tenant.job(items=1)
    foreign = await other_tenant.job(items=1)
    job_ids = [second.job.id, foreign.job.id, first.job.id]

    async with tenant.work() as connection:
        forward = await list_items_of_jobs(connection, job_ids, page=PageRequest(2))
        backward = await list_items_of_jobs(connection, job_ids, page=PageRequest(2, is_backward=True))

    assert [page.rows for page in forward.values()] == [second.items, [], first.items[:2]]
    assert [page.rows for page in backward.values()] == [second.items, [], first.items[1:]]
    assert [page.has_next for page in forward.values()] == [False, False, True]


async def _listed(tenant: Tenant, wanted: JobFilter | None = None) -> list[uuid.UUID]:
    async with tenant.work() as connection:
        page = await list_robot_jobs(connection, page=PageRequest(9), job_filter=wanted)
    return [job.id for job in page.rows]


async def test_jobs_are_listed_newest_first_and_by_status(tenant: Tenant, other_tenant: Tenant) -> None:
    done, waiting = await tenant.job(items=1, succeeded=1), await tenant.job(items=1)
    await other_tenant.job(items=1)

    assert await _listed(tenant) == [waiting.job.id, done.job.id]
    assert await _listed(tenant, JobFilter(statuses=(JobStatus.COMPLETED,))) == [done.job.id]
    assert await _listed(tenant, JobFilter(statuses=(JobStatus.FAILED,))) == []
    assert await _listed(tenant, JobFilter(carrier=Carrier.COORDINADORA)) == [waiting.job.id, done.job.id]


async def test_the_active_job_is_the_newest_that_has_not_finished(tenant: Tenant, other_tenant: Tenant) -> None:
    async def active() -> uuid.UUID | None:
        async with tenant.work() as connection:
            job = await get_active_job(connection, Carrier.COORDINADORA)
        return job.id if job is not None else None

    await other_tenant.job(items=1)
    assert await active() is None

    older, newer = await tenant.job(items=1), await tenant.job(items=1)
    assert await active() == newer.job.id

    await tenant.succeed(newer.items[0])
    assert await active() == older.job.id


async def test_jobs_and_items_are_found_by_id_within_the_workspace_only(tenant: Tenant, other_tenant: Tenant) -> None:
    own, foreign = await tenant.job(items=1), await other_tenant.job(items=1)

    async with tenant.work() as connection:
        jobs = await find_robot_jobs(connection, [own.job.id, foreign.job.id, new_id()])
        items = await find_robot_job_items(connection, [own.items[0].id, foreign.items[0].id])

    assert jobs == {own.job.id: own.job}
    assert items == {own.items[0].id: own.items[0]}


async def test_failures_are_grouped_by_what_must_be_done_the_largest_first(tenant: Tenant) -> None:
    in_hand = await tenant.job(items=7)
    first, second, third, fourth, fifth, lost, flagged = in_hand.items
    await tenant.fail(first, error_type=ErrorType.VALIDATION, message="no address")
    for item in (second, third, fourth):
        await tenant.fail(item, error_type=ErrorType.PORTAL, message="busy" if item is second else "refused")
    await tenant.fail(fifth, error_type=ErrorType.UNKNOWN, message="?")
    await tenant.fail(lost)
    await tenant.lose_outcome(lost)
    await tenant.fail(flagged, error_type=ErrorType.UNKNOWN)
    await tenant.succeed(flagged)

    async with tenant.work() as connection:
        groups = (await list_failures(connection, [in_hand.job.id]))[in_hand.job.id]

    assert (groups[0].action, groups[0].count, groups[0].messages) == (FailureAction.RETRY, 3, ["refused", "busy"])
    assert {(group.action, group.error_type, group.count) for group in groups} == {
        (FailureAction.RETRY, ErrorType.PORTAL, 3),
        (FailureAction.FIX_ORDER, ErrorType.VALIDATION, 1),
        (FailureAction.INVESTIGATE, ErrorType.UNKNOWN, 1),
        (FailureAction.CHECK_PORTAL, ErrorType.TIMEOUT, 1),
        (FailureAction.CHECK_PORTAL, ErrorType.UNKNOWN, 1),
    }


async def test_another_tenants_failures_attempts_and_pace_are_empty(tenant: Tenant, other_tenant: Tenant) -> None:
    in_hand = await tenant.job(items=1, failed=1)
    job_id, item_id = in_hand.job.id, in_hand.items[0].id

    async with other_tenant.work() as connection:
        assert await list_failures(connection, [job_id]) == {job_id: []}
        assert await list_attempts(connection, [item_id]) == {item_id: []}
        assert await measure_pace(connection, [job_id]) == {job_id: Pace()}


async def test_the_pace_counts_what_was_closed_since_the_job_was_last_started(tenant: Tenant) -> None:
    in_hand = await tenant.job(items=3, succeeded=1, failed=2)

    async def pace() -> Pace:
        async with tenant.work() as connection:
            return (await measure_pace(connection, [in_hand.job.id]))[in_hand.job.id]

    assert await pace() == Pace(processing=0, closed_since_start=3)
    await tenant.retry(in_hand.job.id)
    assert await pace() == Pace(processing=0, closed_since_start=0)
    await tenant.succeed(in_hand.items[1])
    assert await pace() == Pace(processing=0, closed_since_start=1)


async def test_events_are_read_on_from_a_number(tenant: Tenant) -> None:
    in_hand = await tenant.job(items=2, succeeded=2)

    async with tenant.work() as connection:
        read = (await list_events(connection, [in_hand.job.id], after_seq=2, limit=2))[in_hand.job.id]

    assert [(event.seq, event.type) for event in read] == [
        (3, EventType.ITEM_COMPLETED),
        (4, EventType.ITEM_COMPLETED),
    ]


async def test_completions_are_read_on_from_a_cursor_and_end_with_the_job(tenant: Tenant) -> None:
    in_hand = await tenant.job(items=3, succeeded=2)

    async def read(after_seq: int, limit: int = 200) -> Any:
        async with tenant.work() as connection:
            return await read_completions(connection, in_hand.job.id, after_seq=after_seq, limit=limit)

    first = await read(0, limit=1)
    rest = await read(first.completions[-1].seq)
    assert (first.has_more, first.is_all_told) == (True, False)
    assert [told.item.id for told in [*first.completions, *rest.completions]] == [item.id for item in in_hand.items[:2]]
    assert (rest.has_more, rest.is_all_told) == (False, False)

    await tenant.fail(in_hand.items[2])
    last = await read(rest.completions[-1].seq)
    assert [told.item.status for told in last.completions] == [ItemStatus.ERROR]
    assert last.is_all_told
    assert (await read(last.completions[-1].seq)).completions == []


async def test_a_completion_shows_item_and_job_as_of_its_event(tenant: Tenant) -> None:
    in_hand = await tenant.job(items=2, failed=1)
    await tenant.retry(in_hand.job.id)
    await tenant.succeed(in_hand.items[0])

    async with tenant.work() as connection:
        first, second = (await read_completions(connection, in_hand.job.id, after_seq=0)).completions

    assert (first.item.status, first.item.attempt, first.item.retry_count) == (ItemStatus.ERROR, 1, 0)
    assert (first.job.error_count, first.job.success_count) == (1, 0)
    assert (second.item.status, second.item.attempt, second.item.retry_count) == (ItemStatus.SUCCESS, 2, 1)
    assert (second.job.error_count, second.job.success_count) == (0, 1)
    assert first.item.error_message == "The portal said no."
