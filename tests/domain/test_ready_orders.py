"""All orders that are ready for a carrier: none that is shipped, put away, under way or doubtful, none forgotten."""

import uuid

import pytest

import domain.robot_jobs.dispatch
from domain.carrier_configs import CarrierConfigDisabled, CarrierConfigNotFound
from domain.errors import InvalidInput
from domain.orders import Order
from domain.robot_jobs import (
    CreatedRobotJob,
    IdempotencyKeyInUse,
    ItemResult,
    OnInvalid,
    OrdersRefused,
    ResultStatus,
)
from tests.domain.ledger import at_once
from tests.tenants import Tenant


async def _taken(tenant: Tenant) -> list[uuid.UUID]:
    created = await tenant.create(None)
    return [item.order_id for item in (await tenant.read(created.job.id)).items]


def _ids(orders: list[Order]) -> list[uuid.UUID]:
    return [order.id for order in orders]


async def test_everything_that_is_ready_is_taken_oldest_first(tenant: Tenant, other_tenant: Tenant) -> None:
    await tenant.configure()
    await other_tenant.orders(2)
    orders = await tenant.orders(3)

    assert await _taken(tenant) == _ids(orders)


async def test_what_is_shipped_put_away_under_way_or_doubtful_is_not_ready(tenant: Tenant) -> None:
    await tenant.configure()
    in_hand = await tenant.job(items=6, succeeded=1, failed=3)
    _shipped, lost, flagged, failed, numberless, _open = in_hand.items
    await tenant.lose_outcome(lost)
    await tenant.succeed(flagged)
    await tenant.report(ItemResult(item_id=numberless.id, status=ResultStatus.SUCCESS))
    [put_away, ready] = await tenant.orders(2)
    await tenant.change_order(put_away.id, archived_at=put_away.created_at)

    assert await _taken(tenant) == [failed.order_id, ready.id]


async def test_only_the_configs_stage_is_ready(tenant: Tenant) -> None:
    await tenant.configure(dispatch_stage="packed")
    packed, fresh = await tenant.orders(2)
    await tenant.change_order(packed.id, stage="packed")
    await tenant.change_order(fresh.id, stage="new")

    assert await _taken(tenant) == [packed.id]


async def test_when_none_is_ready_there_is_no_job(tenant: Tenant) -> None:
    await tenant.configure()

    with pytest.raises(OrdersRefused) as refusal:
        await tenant.create(None)

    assert refusal.value.refused == ()
    assert (await tenant.contents())["robot_jobs"] == []


async def test_without_a_config_nobody_knows_what_is_ready(tenant: Tenant) -> None:
    await tenant.orders(1)

    with pytest.raises(CarrierConfigNotFound):
        await tenant.create(None)


async def test_a_carrier_that_is_switched_off_takes_no_job(tenant: Tenant) -> None:
    await tenant.configure(is_enabled=False)
    [order] = await tenant.orders(1)

    for order_ids in ([order.id], None):
        with pytest.raises(CarrierConfigDisabled):
            await tenant.create(order_ids)
    assert (await tenant.contents())["robot_jobs"] == []


async def test_a_bad_order_that_is_ready_can_be_left_out(tenant: Tenant) -> None:
    await tenant.configure()
    [bad] = await tenant.orders(1, city="Atlantis")
    [good] = await tenant.orders(1)

    with pytest.raises(OrdersRefused):
        await tenant.create(None)
    created = await tenant.create(None, on_invalid=OnInvalid.SKIP_INVALID)

    assert [each.order_id for each in created.refused] == [bad.id]
    assert [item.order_id for item in (await tenant.read(created.job.id)).items] == [good.id]


async def test_the_same_request_at_once_ships_nothing_twice(tenant: Tenant) -> None:
    await tenant.configure()
    await tenant.orders(20)

    answers = await at_once(*(tenant.create(None) for _ in range(4)))

    assert sum(isinstance(answer, CreatedRobotJob) for answer in answers) == 1
    assert sum(isinstance(answer, OrdersRefused) for answer in answers) == 3


async def test_the_same_request_again_is_answered_with_the_job_that_it_made(tenant: Tenant) -> None:
    await tenant.configure()
    await tenant.orders(2)
    created = await tenant.create(None, idempotency_key="today")

    with pytest.raises(IdempotencyKeyInUse) as refusal:
        await tenant.create(None, idempotency_key="today")

    assert refusal.value.job.id == created.job.id


async def test_more_than_a_job_takes_is_told(tenant: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(domain.robot_jobs.dispatch, "ORDERS_AT_MOST", 2)
    await tenant.configure()
    oldest = (await tenant.orders(3))[:2]

    created = await tenant.create(None)

    assert created.has_more
    assert [item.order_id for item in (await tenant.read(created.job.id)).items] == _ids(oldest)


async def test_either_ids_or_all_that_are_ready(tenant: Tenant) -> None:
    async with tenant.work() as connection:
        for selection in (
            domain.robot_jobs.OrderSelection(),
            domain.robot_jobs.OrderSelection([uuid.uuid4()], all_ready=True),
        ):
            with pytest.raises(InvalidInput) as refusal:
                await domain.robot_jobs.preview_dispatch(connection, domain.carriers.Carrier.COORDINADORA, selection)
            assert refusal.value.problems[0].path == "orderIds"
