"""All orders that are ready for a carrier: none that is shipped, put away, under way or doubtful, none forgotten."""

import asyncio
import uuid
from asyncio import Task
from collections.abc import Coroutine
from typing import Any

import pytest
import sqlalchemy as sa

import domain.robot_jobs.dispatch
from domain.carrier_configs import CarrierConfigDisabled, CarrierConfigNotFound
from domain.carriers import Carrier
from domain.errors import InvalidInput
from domain.orders import Order, update_order
from domain.robot_jobs import (
    CreatedRobotJob,
    IdempotencyKeyInUse,
    ItemResult,
    OnInvalid,
    OrderSelection,
    OrdersRefused,
    ResultStatus,
    create_robot_job,
    preview_dispatch,
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


async def _until_it_locks(tenant: Tenant, creation: Coroutine[Any, Any, CreatedRobotJob]) -> Task[CreatedRobotJob]:
    """The creation, begun: it has chosen its orders and is about to lock them."""
    has_chosen = asyncio.Event()

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if "FOR NO KEY UPDATE" in statement:
            has_chosen.set()

    sa.event.listen(tenant.engine.sync_engine, "before_cursor_execute", note)
    try:
        running = asyncio.create_task(creation)
        await asyncio.wait_for(has_chosen.wait(), 10)
    finally:
        sa.event.remove(tenant.engine.sync_engine, "before_cursor_execute", note)
    return running


async def test_an_order_that_is_held_back_in_the_last_moment_stays_here(tenant: Tenant) -> None:
    await tenant.configure(dispatch_stage="packed")
    held, other = await tenant.orders(2)
    for order in (held, other):
        await tenant.change_order(order.id, stage="packed")

    async with tenant.work() as connection:
        await update_order(connection, held.id, {"stage": "on hold"})
        running = await _until_it_locks(tenant, tenant.create(None))
    created = await running

    assert [item.order_id for item in (await tenant.read(created.job.id)).items] == [other.id]
    assert (created.job.total_items, created.refused) == (1, ())


async def test_an_order_that_another_job_takes_in_the_last_moment_is_left_to_that(tenant: Tenant) -> None:
    await tenant.configure()
    taken, other = await tenant.orders(2)

    async with tenant.work() as connection:
        await create_robot_job(
            connection,
            workspace_id=tenant.workspace_id,
            created_by="somebody",
            carrier=Carrier.COORDINADORA,
            selection=OrderSelection([taken.id]),
        )
        running = await _until_it_locks(tenant, tenant.create(None))
    created = await running

    assert [item.order_id for item in (await tenant.read(created.job.id)).items] == [other.id]


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
        for selection in (OrderSelection(), OrderSelection([uuid.uuid4()], all_ready=True)):
            with pytest.raises(InvalidInput) as refusal:
                await preview_dispatch(connection, Carrier.COORDINADORA, selection)
            assert refusal.value.problems[0].path == "orderIds"


async def test_what_is_ready_is_not_shipped_again_in_a_look_beforehand_either(tenant: Tenant) -> None:
    async with tenant.work() as connection:
        with pytest.raises(InvalidInput) as refusal:
            await preview_dispatch(connection, Carrier.COORDINADORA, OrderSelection(all_ready=True), ship_again=True)

    assert refusal.value.problems[0].path == "shipAgain"
