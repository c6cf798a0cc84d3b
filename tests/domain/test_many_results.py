"""Many results in one call: each counts, or is refused, as if it had come alone."""

import asyncio
import random
from typing import Any

import pytest
import sqlalchemy as sa

from domain.base import new_id
from domain.errors import InputProblem, InvalidInput, invalid
from domain.events import EventType
from domain.orders import Order, orders
from domain.robot_jobs import (
    ErrorType,
    ItemResult,
    ItemStatus,
    JobStatus,
    RecordedResult,
    ResultAnswer,
    ResultConflict,
    ResultStatus,
    RobotJobItem,
    RobotJobItemNotFound,
    StaleAttempt,
    robot_job_items,
    update_job_item_results,
)
from domain.workspaces import Role
from tests.domain.ledger import assert_adds_up, at_once, counted_statements, until_blocked
from tests.tenants import Tenant, held


async def report(tenant: Tenant, *results: ItemResult | InvalidInput) -> list[ResultAnswer]:
    async with tenant.work(Role.ROBOT) as connection:
        return await update_job_item_results(connection, results, reported_by=tenant.user(Role.ROBOT))


def success(item: RobotJobItem, number: str | None = None, **given: Any) -> ItemResult:
    number = number or f"PED-{item.id.hex[-10:]}"
    return ItemResult(item_id=item.id, status=ResultStatus.SUCCESS, tracking_number=number, **given)


def error(item: RobotJobItem, message: str = "The portal said no.", **given: Any) -> ItemResult:
    return ItemResult(
        item_id=item.id, status=ResultStatus.ERROR, error_type=ErrorType.PORTAL, error_message=message, **given
    )


def kinds(answers: list[ResultAnswer]) -> list[str]:
    return [type(answer).__name__ for answer in answers]


async def test_results_of_several_jobs_are_recorded_and_answered_in_their_order(tenant: Tenant) -> None:
    first, second = await tenant.job(items=3), await tenant.job(items=2)
    reported = [*first.items, *second.items]
    random.shuffle(reported)

    answers = await report(tenant, *(success(item) for item in reported))

    assert [answer.item.id for answer in answers if isinstance(answer, RecordedResult)] == [
        item.id for item in reported
    ]
    for answer in answers:
        assert isinstance(answer, RecordedResult)
        assert (answer.item.status, answer.job.id, answer.replayed) == (ItemStatus.SUCCESS, answer.item.job_id, False)
        assert answer.job.status is JobStatus.COMPLETED  # as it stands after all of them
        assert (await tenant.order(answer.item.order_id)).tracking_number == answer.item.tracking_number
    for in_hand in (first, second):
        await assert_adds_up(tenant, in_hand.job.id)
        stream = await tenant.events(in_hand.job.id)
        completions = [event for event in stream if event.type is EventType.ITEM_COMPLETED]
        assert [event.payload["job"]["successCount"] for event in completions] == [*range(1, len(in_hand.items) + 1)], (
            "each carries the counters as of that event"
        )
        assert [event.type for event in stream][1] is EventType.JOB_STARTED
        assert stream[-1].type is EventType.JOB_COMPLETED


async def test_a_job_begins_with_the_first_and_ends_with_the_last_of_results_that_come_together(
    tenant: Tenant,
) -> None:
    in_hand = await tenant.job(items=20)

    await report(tenant, *(success(item) for item in reversed(in_hand.items)))

    after = await tenant.read(in_hand.job.id)
    assert after.job.started_at == min(item.started_at for item in after.items if item.started_at)
    assert after.job.completed_at == max(item.completed_at for item in after.items if item.completed_at)
    told = [event for event in await tenant.events(in_hand.job.id) if event.type is EventType.ITEM_COMPLETED]
    times = [event.payload["completedAt"] for event in told]
    assert times == sorted(times)


async def test_what_is_refused_has_no_effect_and_spoils_no_other(tenant: Tenant, other_tenant: Tenant) -> None:
    await tenant.configure(max_concurrent_leases=5)
    in_hand = await tenant.job(items=4)
    good, leased, bad, last = in_hand.items
    await tenant.claim(4)
    [foreign] = (await other_tenant.job(items=1)).items
    foreign_before = await other_tenant.contents()
    unreadable = invalid("item_id", "is not an id: 'x'.")

    answers = await report(
        tenant,
        success(good),
        error(leased, attempt=1, lease_token=new_id()),
        ItemResult(item_id=bad.id, status=ResultStatus.SUCCESS, error_message="both?"),
        success(foreign),
        ItemResult(item_id=new_id(), status=ResultStatus.ERROR),
        unreadable,
        error(bad, attempt=2),
        error(last),
    )

    assert kinds(answers) == [
        "RecordedResult",
        "LeaseLost",
        "InvalidInput",
        "RobotJobItemNotFound",
        "RobotJobItemNotFound",
        "InvalidInput",
        "InvalidInput",
        "RecordedResult",
    ]
    paths = [answer.problems[0].path for answer in answers if isinstance(answer, InvalidInput)]
    assert paths == ["results.2.error_message", "results.5.item_id", "results.6.attempt"]
    after = await tenant.read(in_hand.job.id)
    assert [item.status for item in after.items] == [
        ItemStatus.SUCCESS,
        ItemStatus.PROCESSING,
        ItemStatus.PROCESSING,
        ItemStatus.ERROR,
    ]
    assert after.items[1].lease_token is not None
    assert (after.job.success_count, after.job.error_count) == (1, 1)
    assert await other_tenant.contents() == foreign_before
    await assert_adds_up(tenant, in_hand.job.id)


async def test_a_foreign_item_is_answered_as_one_that_does_not_exist(tenant: Tenant, other_tenant: Tenant) -> None:
    [foreign] = (await other_tenant.job(items=1)).items
    nobodys = new_id()

    [of_foreign, of_nobody] = await report(
        tenant, error(foreign), ItemResult(item_id=nobodys, status=ResultStatus.ERROR)
    )

    assert isinstance(of_foreign, RobotJobItemNotFound)
    assert isinstance(of_nobody, RobotJobItemNotFound)
    assert of_foreign.message == of_nobody.message.replace(str(nobodys), str(foreign.id))


async def test_conflicts_stale_results_and_replays_stand_beside_what_counts(tenant: Tenant) -> None:
    in_hand = await tenant.job(items=4, succeeded=1, failed=2)
    done, failed, retried, fresh = in_hand.items
    await tenant.retry(in_hand.job.id, retried)

    answers = await report(
        tenant,
        success(done, f"TRK-{done.id.hex[-10:]}"),
        success(failed, "PED-LATE"),
        success(retried, "PED-STALE", attempt=1),
        success(fresh),
    )

    assert kinds(answers) == ["RecordedResult", "ResultConflict", "StaleAttempt", "RecordedResult"]
    assert [answer.replayed for answer in answers if isinstance(answer, RecordedResult)] == [True, False]
    assert isinstance(answers[1], ResultConflict)
    assert "PED-LATE" in (answers[1].item.review_reason or "")
    assert isinstance(answers[2], StaleAttempt)
    assert "PED-STALE" in (answers[2].item.review_reason or "")
    for item, number in ((failed, "PED-LATE"), (retried, "PED-STALE")):
        assert [late["trackingNumber"] for late in (await tenant.attempts(item))[0].late_results] == [number]
    await assert_adds_up(tenant, in_hand.job.id)


async def test_all_results_again_are_replays_that_change_nothing(tenant: Tenant) -> None:
    in_hand = await tenant.job(items=3)
    results = [success(in_hand.items[0]), error(in_hand.items[1]), success(in_hand.items[2])]
    await report(tenant, *results)
    before = await tenant.contents()

    again = await report(tenant, *results)

    assert [answer.replayed for answer in again if isinstance(answer, RecordedResult)] == [True, True, True]
    assert await tenant.contents() == before


@pytest.mark.parametrize("ending", [JobStatus.FAILED, JobStatus.CANCELLED])
async def test_late_successes_that_come_together_complete_the_job_as_one_by_one(
    tenant: Tenant, ending: JobStatus
) -> None:
    in_hand = await tenant.job(items=4, failed=1)
    _, *late = in_hand.items
    await tenant.set_status(in_hand.job.id, ending)

    some = await report(tenant, *(success(item) for item in late[:2]))
    rest = await report(tenant, success(late[2]), error(in_hand.items[0]))

    assert [answer.job.status for answer in some if isinstance(answer, RecordedResult)] == [ending, ending]
    assert [answer.job.status for answer in rest if isinstance(answer, RecordedResult)] == [JobStatus.COMPLETED] * 2
    types = [event.type for event in await tenant.events(in_hand.job.id)]
    assert types.count(EventType.JOB_COMPLETED) == 1
    await assert_adds_up(tenant, in_hand.job.id)


async def test_all_late_successes_in_one_call_complete_the_job(tenant: Tenant) -> None:
    in_hand = await tenant.job(items=3)
    await tenant.set_status(in_hand.job.id, JobStatus.FAILED)

    answers = await report(tenant, *(success(item) for item in in_hand.items))

    assert [answer.job.status for answer in answers if isinstance(answer, RecordedResult)] == [JobStatus.COMPLETED] * 3
    await assert_adds_up(tenant, in_hand.job.id)


async def test_an_item_in_hand_that_keeps_the_systems_ending_leaves_the_job_failed(tenant: Tenant) -> None:
    in_hand = await tenant.job(items=2)
    await tenant.set_status(in_hand.job.id, JobStatus.FAILED)

    proven, refused = await report(tenant, success(in_hand.items[0]), error(in_hand.items[1]))

    assert isinstance(refused, ResultConflict)
    assert isinstance(proven, RecordedResult)
    assert proven.job.status is JobStatus.FAILED
    await assert_adds_up(tenant, in_hand.job.id)


async def test_results_of_one_item_count_in_the_order_given(tenant: Tenant) -> None:
    in_hand = await tenant.job(items=2)
    item, other = in_hand.items

    answers = await report(
        tenant,
        ItemResult(item_id=item.id, status=ResultStatus.SUCCESS),
        success(other),
        success(item, "PED-1"),
        success(item, "PED-1"),
        success(item, "PED-2"),
    )

    assert kinds(answers) == ["RecordedResult"] * 4 + ["ResultConflict"]
    assert [answer.replayed for answer in answers if isinstance(answer, RecordedResult)] == [False, False, False, True]
    after = (await tenant.read(in_hand.job.id)).items[0]
    assert (after.tracking_number, "PED-2" in (after.review_reason or "")) == ("PED-1", True)
    assert (await tenant.order(item.order_id)).tracking_number == "PED-1"
    await assert_adds_up(tenant, in_hand.job.id)


async def test_one_item_may_come_five_times_in_a_call(tenant: Tenant) -> None:
    in_hand = await tenant.job(items=2)

    answers = await report(tenant, *[success(in_hand.items[0])] * 7, success(in_hand.items[1]))

    assert kinds(answers) == ["RecordedResult"] * 5 + ["InvalidInput"] * 2 + ["RecordedResult"]
    assert isinstance(answers[5], InvalidInput)
    assert [problem.path for problem in answers[5].problems] == ["results.5.item_id"]
    await assert_adds_up(tenant, in_hand.job.id)


async def _item_of_each_of_two_jobs(tenant: Tenant, order: Order) -> tuple[RobotJobItem, RobotJobItem]:
    """Two jobs that tried the same order; the system closed the item of the first, the other one is open."""
    first = await tenant.job(orders=[order])
    await tenant.set_status(first.job.id, JobStatus.CANCELLED)
    second = await tenant.job(orders=[order])
    return first.items[0], second.items[0]


async def test_results_of_one_order_see_each_others_numbers(tenant: Tenant) -> None:
    [order] = await tenant.orders(1)
    old, new = await _item_of_each_of_two_jobs(tenant, order)

    answers = await report(tenant, success(old, "PED-OLD"), success(new, "PED-NEW"))

    assert kinds(answers) == ["RecordedResult"] * 2
    assert "PED-OLD" in ((await tenant.item(new)).review_reason or ""), "a parcel that nobody knew of"
    assert (await tenant.order(order.id)).tracking_number == "PED-NEW"
    told = [event.payload["after"] for event in await tenant.events(order.id)]
    assert ("PED-OLD" in told, "PED-NEW" in told) == (True, True)
    for item in (old, new):
        await assert_adds_up(tenant, item.job_id)


async def test_a_call_has_one_to_five_hundred_results(tenant: Tenant) -> None:
    in_hand = await tenant.job(items=1)
    before = await tenant.contents()

    for results in ([], [success(in_hand.items[0])] * 501):
        with pytest.raises(InvalidInput) as refused:
            await report(tenant, *results)
        assert [problem.path for problem in refused.value.problems] == ["results"]

    assert await tenant.contents() == before


async def test_when_all_are_refused_nothing_is_written(tenant: Tenant) -> None:
    problem = InvalidInput(InputProblem("lease_token", "is not an id."))
    before = await tenant.contents()

    answers = await report(tenant, problem, ItemResult(item_id=new_id(), status=ResultStatus.ERROR))

    assert kinds(answers) == ["InvalidInput", "RobotJobItemNotFound"]
    assert await tenant.contents() == before


async def test_a_lease_ends_with_its_result(tenant: Tenant) -> None:
    await tenant.configure(max_concurrent_leases=5)
    await tenant.job(items=3)
    items = (await tenant.claim(3)).items

    answers = await report(tenant, *(success(item, attempt=1, lease_token=held(item).token) for item in items))

    assert [answer.item.lease_token for answer in answers if isinstance(answer, RecordedResult)] == [None] * 3


async def test_five_hundred_results_cost_the_statements_of_two(tenant: Tenant) -> None:
    async def cost(items: int, jobs: int) -> list[int]:
        in_hands = [await tenant.job(items=items // jobs) for _ in range(jobs)]
        all_items = [item for in_hand in in_hands for item in in_hand.items]
        half = len(all_items) // 2
        counts = []
        for results in (
            [success(item) for item in all_items[:half]] + [error(item) for item in all_items[half:]],
            [success(item) for item in all_items],  # half are replays, half conflict
        ):
            with counted_statements(tenant.engine) as sent:
                answers = await report(tenant, *results)
            counts.append(len(sent))
            assert len(answers) == items
        return counts

    few, many = await cost(2, 2), await cost(500, 5)

    assert many == few
    assert max(few) <= 8


async def test_calls_for_the_same_items_in_opposite_order_do_not_wait_in_a_circle(tenant: Tenant) -> None:
    for _ in range(5):
        jobs = [await tenant.job(items=8) for _ in range(4)]
        items = [item for in_hand in jobs for item in in_hand.items]
        forwards = [success(item) for item in items]

        answers = await at_once(
            report(tenant, *forwards),
            report(tenant, *reversed(forwards)),
            *(report(tenant, *random.sample(forwards, len(forwards))) for _ in range(4)),
        )

        counted = [answer for one in answers if isinstance(one, list) for answer in one]
        assert sum(isinstance(answer, RecordedResult) and not answer.replayed for answer in counted) == len(items)
        assert len(counted) == 6 * len(items)
        for in_hand in jobs:
            await assert_adds_up(tenant, in_hand.job.id)


async def test_calls_for_the_same_orders_in_different_jobs_do_not_wait_in_a_circle(tenant: Tenant) -> None:
    """The items and jobs are not the same, only their orders: those are locked by id, whichever items they are of."""
    for _ in range(5):
        shipped = await tenant.orders(20)
        old = await tenant.job(orders=shipped)
        await tenant.set_status(old.job.id, JobStatus.CANCELLED)
        new = await tenant.job(orders=shipped[::-1])

        await at_once(
            report(tenant, *(success(item, f"OLD-{item.id}") for item in old.items)),
            report(tenant, *(success(item, f"NEW-{item.id}") for item in new.items)),
        )

        for in_hand in (old, new):
            await assert_adds_up(tenant, in_hand.job.id)


async def test_all_items_are_locked_before_the_first_order_and_orders_by_id(tenant: Tenant) -> None:
    """Whichever items they are of: two calls may name one order in items of different jobs."""
    in_hand = await tenant.job(orders=sorted(await tenant.orders(4), key=lambda order: order.id, reverse=True))
    least, *others = sorted(item.order_id for item in in_hand.items)
    async with tenant.work() as busy:
        await busy.execute(sa.select(orders.c.id).where(orders.c.id == least).with_for_update())
        waiting = asyncio.create_task(report(tenant, *(success(item) for item in in_hand.items)))
        await until_blocked(tenant, 1, by=busy)

        async with tenant.work() as look:
            item_ids = [item.id for item in in_hand.items]
            items = sa.select(robot_job_items.c.id).where(robot_job_items.c.id.in_(item_ids))
            assert (await look.scalars(items.with_for_update(skip_locked=True))).all() == []
            free = sa.select(orders.c.id).where(orders.c.id.in_(others)).order_by(orders.c.id)
            assert (await look.scalars(free.with_for_update(skip_locked=True))).all() == others
    async with asyncio.timeout(20):
        assert kinds(await waiting) == ["RecordedResult"] * 4
