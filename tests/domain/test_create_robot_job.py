"""A job begins whole or not at all, and no order is in two of them."""

import uuid

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from domain.base import new_id
from domain.dispatch_problems import DispatchProblemCode, OrderProblems
from domain.errors import InvalidInput
from domain.events import EventType
from domain.robot_jobs import (
    IdempotencyKeyInUse,
    ItemResult,
    ItemStatus,
    JobStatus,
    OnInvalid,
    OrdersRefused,
    ResultStatus,
    robot_job_items,
)
from tests.tenants import Tenant


def codes(order: OrderProblems) -> list[DispatchProblemCode]:
    return [problem.code for problem in order.problems]


async def refused(
    tenant: Tenant, *order_ids: uuid.UUID, on_invalid: OnInvalid = OnInvalid.REJECT_ALL
) -> list[tuple[uuid.UUID, list[DispatchProblemCode]]]:
    """Of a job that is refused and leaves no trace."""
    before = await tenant.contents()
    with pytest.raises(OrdersRefused) as refusal:
        await tenant.create(order_ids, on_invalid=on_invalid)
    assert await tenant.contents() == before
    return [(order.order_id, codes(order)) for order in refusal.value.refused]


async def test_a_new_job_is_pending_with_one_item_per_order_in_the_order_given(tenant: Tenant) -> None:
    order_ids = [order.id for order in await tenant.orders(4)][::-1]

    created = await tenant.create(order_ids)

    in_hand = await tenant.read(created.job.id)
    assert (in_hand.job.status, in_hand.job.total_items) == (JobStatus.PENDING, 4)
    assert [item.order_id for item in in_hand.items] == order_ids
    assert {(item.status, item.attempt, item.retry_count) for item in in_hand.items} == {(ItemStatus.PENDING, 1, 0)}


async def test_the_first_event_of_a_job_tells_that_it_was_submitted(tenant: Tenant) -> None:
    in_hand = await tenant.job(items=2)

    [event] = await tenant.events(in_hand.job.id)
    assert (event.seq, event.type) == (1, EventType.JOB_SUBMITTED)
    assert (event.payload["jobId"], event.payload["totalItems"]) == (str(in_hand.job.id), 2)


async def test_an_order_given_twice_counts_once_and_is_reported(tenant: Tenant) -> None:
    first, second = [order.id for order in await tenant.orders(2)]

    created = await tenant.create([first, second, first, first])

    assert created.job.total_items == 2
    assert created.duplicate_order_ids == (first,)


async def test_the_carriers_city_and_what_is_typed_are_kept_with_the_item(tenant: Tenant) -> None:
    [order] = await tenant.orders(1, city="Ntáaga", department="Huila")

    [item] = (await tenant.job(orders=[order])).items

    assert item.validated_city == "NATAGA (HLA)"
    assert item.value_sent is not None
    assert (item.value_sent["ciudad"], item.value_sent["departamento"]) == ("NATAGA (HLA)", "HLA")


async def test_a_job_that_is_made_tells_what_was_corrected(tenant: Tenant) -> None:
    [good] = await tenant.orders(1)
    [corrected] = await tenant.orders(1, city="Ntáaga", department="Huila")

    created = await tenant.create([good.id, corrected.id])

    assert [(each.order_id, codes(each)) for each in created.warned] == [
        (corrected.id, [DispatchProblemCode.MISSPELLED_CITY])
    ]


async def test_one_bad_order_refuses_the_whole(tenant: Tenant) -> None:
    [good] = await tenant.orders(1)
    [bad] = await tenant.orders(1, city="Atlantis")

    assert await refused(tenant, good.id, bad.id) == [(bad.id, [DispatchProblemCode.CITY_NOT_COVERED])]


async def test_bad_orders_are_left_out_and_told_in_the_same_shape(tenant: Tenant, other_tenant: Tenant) -> None:
    [good] = await tenant.orders(1)
    [bad] = await tenant.orders(1, city="Atlantis")
    [foreign] = await other_tenant.orders(1)
    with pytest.raises(OrdersRefused) as refusal:
        await tenant.create([bad.id, good.id, foreign.id])

    created = await tenant.create([bad.id, good.id, foreign.id], on_invalid=OnInvalid.SKIP_INVALID)

    assert created.refused == refusal.value.refused
    in_hand = await tenant.read(created.job.id)
    assert (in_hand.job.total_items, [item.order_id for item in in_hand.items]) == (1, [good.id])
    [event] = await tenant.events(created.job.id)
    assert event.payload["totalItems"] == 1


async def test_without_a_single_good_order_there_is_no_job(tenant: Tenant) -> None:
    [bad] = await tenant.orders(1, city="Atlantis")

    assert await refused(tenant, bad.id, on_invalid=OnInvalid.SKIP_INVALID) == [
        (bad.id, [DispatchProblemCode.CITY_NOT_COVERED])
    ]


async def test_orders_that_are_missing_or_of_another_tenant_are_named_alike(
    tenant: Tenant, other_tenant: Tenant
) -> None:
    [own] = await tenant.orders(1)
    [foreign] = await other_tenant.orders(1)
    unknown = new_id()

    assert await refused(tenant, own.id, foreign.id, unknown) == [
        (foreign.id, [DispatchProblemCode.ORDER_NOT_FOUND]),
        (unknown, [DispatchProblemCode.ORDER_NOT_FOUND]),
    ]


@pytest.mark.parametrize("count", [0, 10_001])
async def test_a_job_of_no_orders_or_too_many_is_refused(tenant: Tenant, count: int) -> None:
    with pytest.raises(InvalidInput) as refusal:
        await tenant.create([new_id() for _ in range(count)])

    assert refusal.value.problems[0].path == "orderIds"
    assert (await tenant.contents())["robot_jobs"] == []


@pytest.mark.parametrize(
    "key", ["k" * 201, "a\x00b", "\ud800", "x" * 10_000_000], ids=["long", "NUL", "surrogate", "10 MB"]
)
async def test_an_idempotency_key_that_cannot_be_stored_is_refused(tenant: Tenant, key: str) -> None:
    [order] = await tenant.orders(1)

    with pytest.raises(InvalidInput) as refusal:
        await tenant.create([order.id], idempotency_key=key)

    assert refusal.value.problems[0].path == "idempotencyKey"
    assert (await tenant.contents())["robot_jobs"] == []


async def test_a_blank_key_is_no_key(tenant: Tenant) -> None:
    first = await tenant.job(items=1, idempotency_key="  ")
    second = await tenant.job(items=1, idempotency_key="  ")

    assert first.job.idempotency_key is second.job.idempotency_key is None


async def test_a_key_in_use_is_refused_with_the_job_that_holds_it(tenant: Tenant) -> None:
    holder = await tenant.job(items=1, idempotency_key="today")
    [order] = await tenant.orders(1)
    before = await tenant.contents()

    with pytest.raises(IdempotencyKeyInUse) as refusal:
        await tenant.create([order.id], idempotency_key="today")

    assert refusal.value.job == holder.job
    assert await tenant.contents() == before


@pytest.mark.parametrize("ending", [JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.CANCELLED])
async def test_a_finished_job_frees_its_key(tenant: Tenant, ending: JobStatus) -> None:
    first = await tenant.job(items=1, idempotency_key="today")
    if ending is JobStatus.COMPLETED:
        await tenant.succeed(first.items[0])
    else:
        await tenant.set_status(first.job.id, ending)

    second = await tenant.job(items=1, idempotency_key="today")

    assert (await tenant.read(first.job.id)).job.status is ending
    assert second.job.status is JobStatus.PENDING


async def test_each_tenant_has_keys_of_its_own(tenant: Tenant, other_tenant: Tenant) -> None:
    ours = await tenant.job(items=1, idempotency_key="today")

    theirs = await other_tenant.job(items=1, idempotency_key="today")

    assert ours.job.idempotency_key == theirs.job.idempotency_key == "today"


async def test_an_order_with_a_tracking_number_is_not_shipped_again(tenant: Tenant) -> None:
    in_hand = await tenant.job(items=1, succeeded=1)
    [fresh] = await tenant.orders(1)

    assert await refused(tenant, fresh.id, in_hand.items[0].order_id) == [
        (in_hand.items[0].order_id, [DispatchProblemCode.ALREADY_SHIPPED])
    ]


async def test_an_order_in_an_open_job_is_refused_with_that_job(tenant: Tenant) -> None:
    in_hand = await tenant.job(items=1)

    with pytest.raises(OrdersRefused) as refusal:
        await tenant.create([in_hand.items[0].order_id])

    [order] = refusal.value.refused
    [problem] = order.problems
    assert (problem.code, problem.job_id) == (DispatchProblemCode.IN_OPEN_JOB, in_hand.job.id)
    assert str(in_hand.job.id) in refusal.value.message


async def test_an_order_whose_outcome_is_unknown_is_refused(tenant: Tenant) -> None:
    in_hand = await tenant.job(items=1, failed=1)
    await tenant.lose_outcome(in_hand.items[0])
    order_id = in_hand.items[0].order_id

    assert await refused(tenant, order_id) == [(order_id, [DispatchProblemCode.OUTCOME_UNKNOWN])]


async def test_an_order_whose_failed_item_is_flagged_for_review_is_refused(tenant: Tenant) -> None:
    in_hand = await tenant.job(items=1, failed=1)
    await tenant.succeed(in_hand.items[0])  # a conflict: it flags the item
    order_id = in_hand.items[0].order_id

    assert await refused(tenant, order_id) == [(order_id, [DispatchProblemCode.OUTCOME_UNKNOWN])]


async def test_an_order_that_was_shipped_without_a_number_is_refused(tenant: Tenant) -> None:
    in_hand = await tenant.job(items=1)
    await tenant.report(ItemResult(item_id=in_hand.items[0].id, status=ResultStatus.SUCCESS))
    order_id = in_hand.items[0].order_id

    assert await refused(tenant, order_id) == [(order_id, [DispatchProblemCode.ALREADY_SHIPPED])]


async def test_an_order_that_was_put_away_is_refused(tenant: Tenant) -> None:
    [order] = await tenant.orders(1)
    await tenant.change_order(order.id, archived_at=order.created_at)

    assert await refused(tenant, order.id) == [(order.id, [DispatchProblemCode.ARCHIVED])]


async def test_an_order_that_failed_may_go_into_another_job(tenant: Tenant) -> None:
    failed = await tenant.job(items=1, failed=1)

    created = await tenant.create([failed.items[0].order_id])

    assert created.job.status is JobStatus.PENDING


async def test_the_database_itself_refuses_a_second_open_item_of_an_order(tenant: Tenant) -> None:
    in_hand = await tenant.job(items=1)
    finished = await tenant.job(items=1, failed=1)

    with pytest.raises(IntegrityError, match="uq_robot_job_items_open_order"):
        async with tenant.work() as connection:
            await connection.execute(
                sa.insert(robot_job_items).values(
                    id=new_id(), job_id=finished.job.id, order_id=in_hand.items[0].order_id
                )
            )

    assert len((await tenant.read(finished.job.id)).items) == 1
