"""Many at once, over real connections: what was counted once stays counted once, and nobody waits in a circle."""

import asyncio
import os
import random
from collections import Counter
from collections.abc import Awaitable

import pytest

from domain.dispatch_problems import DispatchProblemCode
from domain.errors import DomainError
from domain.events import EventType
from domain.order_import import import_orders
from domain.pages import PageRequest
from domain.robot_jobs import (
    CreatedRobotJob,
    IdempotencyKeyInUse,
    ItemResult,
    ItemStatus,
    JobFilter,
    JobStatus,
    OrdersRefused,
    RecordedResult,
    ResultConflict,
    ResultStatus,
    RobotJobItem,
    list_robot_jobs,
)
from tests.domain.ledger import assert_adds_up, at_once, until_blocked
from tests.tenants import Tenant, csv_of

_ACTIVE = JobFilter(statuses=(JobStatus.PENDING, JobStatus.PROCESSING))

# A thousand where every change is tried; fewer where somebody waits.
RESULTS = int(os.environ.get("ROBOT_JOBS_TESTS_RESULTS", "240"))
ERRORS = (RESULTS + 2) // 3


async def test_fifty_identical_creations_at_once_make_one_job(tenant: Tenant) -> None:
    order_ids = [order.id for order in await tenant.orders(3)]

    answers = await at_once(*(tenant.create(order_ids, idempotency_key="today") for _ in range(50)))

    [created] = [answer for answer in answers if isinstance(answer, CreatedRobotJob)]
    refusals = [answer for answer in answers if isinstance(answer, IdempotencyKeyInUse)]
    assert [refusal.job.id for refusal in refusals] == [created.job.id] * 49
    contents = await tenant.contents()
    assert (len(contents["robot_jobs"]), len(contents["robot_job_items"]), len(contents["events"])) == (1, 3, 1)


async def test_two_creations_at_once_for_overlapping_orders_make_one_job(tenant: Tenant) -> None:
    for _ in range(5):
        order_ids = [order.id for order in await tenant.orders(40)]

        answers = await at_once(tenant.create(order_ids[:30]), tenant.create(order_ids[:9:-1]))

        [created] = [answer for answer in answers if isinstance(answer, CreatedRobotJob)]
        [refusal] = [answer for answer in answers if isinstance(answer, OrdersRefused)]
        assert {(problem.code, problem.job_id) for order in refusal.refused for problem in order.problems} == {
            (DispatchProblemCode.IN_OPEN_JOB, created.job.id)
        }
        assert len(refusal.refused) == 20


@pytest.mark.long
async def test_results_sent_three_times_each_by_32_robots_are_counted_once(tenant: Tenant) -> None:
    in_hand = await tenant.job(items=RESULTS)
    results = [_result_of(item, number) for number, item in enumerate(in_hand.items)] * 3
    random.shuffle(results)
    answers: list[object] = []

    async def robot() -> None:
        while results:
            answers.append(await tenant.report(results.pop()))

    await at_once(*(robot() for _ in range(32)))

    assert Counter(answer.replayed for answer in answers if isinstance(answer, RecordedResult)) == {
        False: RESULTS,
        True: 2 * RESULTS,
    }
    await assert_adds_up(tenant, in_hand.job.id)
    stream = await tenant.events(in_hand.job.id)
    closed = Counter(event.payload["itemId"] for event in stream if event.type is EventType.ITEM_COMPLETED)
    assert closed == {str(item.id): 1 for item in in_hand.items}
    assert [event.type for event in stream].count(EventType.JOB_COMPLETED) == 1
    assert stream[-1].type is EventType.JOB_COMPLETED
    job = (await tenant.read(in_hand.job.id)).job
    assert (job.status, job.success_count, job.error_count) == (JobStatus.COMPLETED, RESULTS - ERRORS, ERRORS)


def _result_of(item: RobotJobItem, number: int) -> ItemResult:
    if number % 3 == 0:
        return ItemResult(item_id=item.id, status=ResultStatus.ERROR, error_message="The portal said no.")
    return ItemResult(item_id=item.id, status=ResultStatus.SUCCESS, tracking_number=f"PED-{number}")


async def test_of_two_different_results_at_once_one_counts_and_the_other_is_a_conflict(tenant: Tenant) -> None:
    in_hand = await tenant.job(items=10)

    for item in in_hand.items:
        answers = await at_once(
            tenant.succeed(item, tracking_number=f"A-{item.id}"), tenant.succeed(item, tracking_number=f"B-{item.id}")
        )

        [counted] = [answer for answer in answers if isinstance(answer, RecordedResult)]
        assert len([answer for answer in answers if isinstance(answer, ResultConflict)]) == 1
        assert (await tenant.order(item.order_id)).tracking_number == counted.item.tracking_number
    await assert_adds_up(tenant, in_hand.job.id)
    assert (await tenant.read(in_hand.job.id)).job.success_count == 10


async def test_the_last_two_results_at_once_complete_the_job_once(tenant: Tenant) -> None:
    for _ in range(5):
        in_hand = await tenant.job(items=2)

        await at_once(*(tenant.succeed(item) for item in in_hand.items))

        types = [event.type for event in await tenant.events(in_hand.job.id)]
        assert types.count(EventType.JOB_COMPLETED) == 1
        await assert_adds_up(tenant, in_hand.job.id)


async def test_result_retry_and_failure_at_once_always_add_up(tenant: Tenant) -> None:
    for _ in range(8):
        in_hand = await tenant.job(items=4, failed=2)

        await at_once(
            *(tenant.succeed(item) for item in in_hand.items),
            tenant.retry(in_hand.job.id),
            tenant.set_status(in_hand.job.id, JobStatus.FAILED),
            *(tenant.fail(item, message="another robot") for item in in_hand.items[::-1]),
            tenant.retry(in_hand.job.id, in_hand.items[0]),
        )

        await assert_adds_up(tenant, in_hand.job.id)


async def test_an_order_is_never_open_twice_when_it_is_retried_and_sent_anew_at_once(tenant: Tenant) -> None:
    for _ in range(8):
        in_hand = await tenant.job(items=3, failed=3)
        order_ids = [item.order_id for item in in_hand.items]

        answers = await at_once(_is_done(tenant.retry(in_hand.job.id)), _is_done(tenant.create(order_ids[::-1])))

        assert set(answers) == {False, True}
        contents = await tenant.read(in_hand.job.id)
        assert {item.status for item in contents.items} <= {ItemStatus.PENDING, ItemStatus.ERROR}
        await assert_adds_up(tenant, in_hand.job.id)


async def _is_done(work: Awaitable[object]) -> bool:
    """A refusal is an answer."""
    try:
        await work
    except DomainError:
        return False
    return True


async def test_a_creation_and_results_for_the_same_orders_do_not_block_each_other_for_ever(tenant: Tenant) -> None:
    for _ in range(6):
        in_hand = await tenant.job(items=6)
        order_ids = [item.order_id for item in in_hand.items]

        answers = await at_once(
            *(_is_done(tenant.succeed(item)) for item in in_hand.items[::-1]),
            *(_is_done(tenant.create(order_ids)) for _ in range(3)),
        )

        assert answers == [True] * 6 + [False] * 3
        await assert_adds_up(tenant, in_hand.job.id)


async def test_a_retry_and_a_creation_with_its_key_and_order_at_once_leave_one_active_job(tenant: Tenant) -> None:
    for _ in range(8):
        in_hand = await tenant.job(items=1, failed=1, idempotency_key="today")

        answers = await at_once(
            _is_done(tenant.retry(in_hand.job.id)),
            _is_done(tenant.create([in_hand.items[0].order_id], idempotency_key="today")),
        )

        assert set(answers) == {False, True}
        async with tenant.work() as connection:
            active = await list_robot_jobs(connection, page=PageRequest(9), job_filter=_ACTIVE)
        [job] = active.rows
        await tenant.set_status(job.id, JobStatus.CANCELLED)


async def test_changes_of_one_order_at_once_are_numbered_without_a_gap(tenant: Tenant) -> None:
    [order] = await tenant.orders(1)

    await at_once(*(tenant.change_order(order.id, stage=f"stage {number}") for number in range(20)))

    stream = await tenant.events(order.id)
    assert [event.seq for event in stream] == list(range(1, 21))
    befores = [event.payload["before"] for event in stream]
    assert befores == [None, *(event.payload["after"] for event in stream[:-1])]


async def test_imports_of_the_same_file_at_once_create_each_order_once(tenant: Tenant) -> None:
    await at_once(*(tenant.orders_named("A", "B", "C", "D", "E") for _ in range(8)))

    assert len((await tenant.contents())["orders"]) == 5


async def test_imports_of_overlapping_files_at_once_do_not_wait_in_a_circle(tenant: Tenant) -> None:
    for number in range(10):
        references = [f"ORD-{number}-{letter}" for letter in "ABCDEF"]

        await at_once(*(tenant.orders_named(*random.sample(references, 3)) for _ in range(20)))

    assert len((await tenant.contents())["orders"]) <= 60


async def test_imports_that_take_turns_do_not_wait_in_a_circle(tenant: Tenant) -> None:
    async with tenant.work() as last:
        await import_orders(last, workspace_id=tenant.workspace_id, csv_text=csv_of("C"))
        async with tenant.work() as first:
            await import_orders(first, workspace_id=tenant.workspace_id, csv_text=csv_of("A"))
            slow = asyncio.create_task(tenant.orders_named("A", "B", "C"))
            await until_blocked(tenant, 1, by=first)
        await until_blocked(tenant, 1, by=last)  # A is there, slow has made B and waits for C
        quick = asyncio.create_task(tenant.orders_named("A", "B"))
        await until_blocked(tenant, 2, by=last)  # quick waits for slow
    async with asyncio.timeout(20):
        await asyncio.gather(slow, quick)

    assert len((await tenant.contents())["orders"]) == 3
