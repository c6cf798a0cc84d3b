"""What no robot may take any more does not wait for one: it is closed for a person to look at, and its job ends."""

import pytest

from domain.robot_jobs import ClosedBy, ErrorType, ItemStatus, JobStatus, OrderShippedMeanwhile
from tests.domain.ledger import assert_adds_up
from tests.tenants import Tenant


async def test_an_order_that_was_shipped_otherwise_is_closed_and_its_job_ends(tenant: Tenant) -> None:
    in_hand = await tenant.job(items=2)
    shipped, other = in_hand.items
    await tenant.change_order(shipped.order_id, tracking_number="PED-9")
    assert [item.id for item in (await tenant.claim(5)).items] == [other.id]

    closed = await tenant.close_unclaimable()

    assert in_hand.job.id in [job.id for job in closed.jobs]
    item = await tenant.item(shipped)
    assert (item.status, item.error_type, item.closed_by) == (ItemStatus.ERROR, ErrorType.VALIDATION, ClosedBy.SYSTEM)
    assert not item.outcome_unknown
    assert "PED-9" in (item.error_message or "")
    await tenant.succeed(other)
    assert (await tenant.read(in_hand.job.id)).job.status is JobStatus.COMPLETED
    await assert_adds_up(tenant, in_hand.job.id)
    assert [attempt.status for attempt in await tenant.attempts(shipped)] == [ItemStatus.ERROR]
    assert (await tenant.close_unclaimable()).count == 0


async def test_a_job_of_nothing_else_ends_with_it(tenant: Tenant) -> None:
    in_hand = await tenant.job(items=1)
    await tenant.change_order(in_hand.items[0].order_id, tracking_number="PED-9")

    await tenant.close_unclaimable()

    assert (await tenant.read(in_hand.job.id)).job.status is JobStatus.COMPLETED
    await assert_adds_up(tenant, in_hand.job.id)


async def test_what_an_earlier_try_may_have_shipped_is_not_shipped_again_before_a_person_has_looked(
    tenant: Tenant,
) -> None:
    in_hand = await tenant.job(items=1, failed=1)
    [item] = in_hand.items
    await tenant.retry(in_hand.job.id)
    await tenant.succeed(item, attempt=1, tracking_number="PED-LATE")
    assert (await tenant.claim()).items == []

    await tenant.close_unclaimable()

    closed = await tenant.item(item)
    assert (closed.status, closed.attempt) == (ItemStatus.ERROR, 2)
    assert "PED-LATE" in (closed.review_reason or "")
    settled = await tenant.resolve(closed, found="PED-LATE")
    assert (settled.item.status, settled.job.status) == (ItemStatus.SUCCESS, JobStatus.COMPLETED)
    await assert_adds_up(tenant, in_hand.job.id)


async def test_a_robot_that_has_it_in_hand_may_not_submit_it_either(tenant: Tenant) -> None:
    in_hand = await tenant.job(items=1, failed=1)
    await tenant.retry(in_hand.job.id)
    [item] = (await tenant.claim()).items
    await tenant.succeed(item, attempt=1, tracking_number="PED-LATE")

    with pytest.raises(OrderShippedMeanwhile):
        await tenant.mark(item)

    assert (await tenant.item(item)).submitted_at is None


async def test_what_robots_may_take_or_have_in_hand_is_left_alone(tenant: Tenant) -> None:
    in_hand = await tenant.job(items=3, succeeded=1)
    await tenant.create([in_hand.items[0].order_id], ship_again_reason="It was lost.")
    [claimed] = (await tenant.claim()).items
    await tenant.change_order(claimed.order_id, tracking_number="PED-9")
    before = await tenant.contents()

    await tenant.close_unclaimable()

    assert await tenant.contents() == before
