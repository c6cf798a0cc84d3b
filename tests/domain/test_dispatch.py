"""What would become of these orders if they were sent now: every problem at once, and nothing is changed."""

import uuid
from decimal import Decimal

import pytest

from domain.base import new_id
from domain.carriers import Carrier
from domain.city_matching import CityOutcome
from domain.dispatch_problems import DispatchProblemCode
from domain.errors import InvalidInput
from domain.orders import Order
from domain.robot_jobs import CheckedOrder, DispatchPreview, OrderSelection, preview_dispatch
from tests.tenants import Tenant


async def _preview(tenant: Tenant, *order_ids: uuid.UUID) -> DispatchPreview:
    before = await tenant.contents()
    async with tenant.work() as connection:
        preview = await preview_dispatch(connection, Carrier.COORDINADORA, OrderSelection(order_ids))
    assert await tenant.contents() == before
    return preview


def _codes(previewed: CheckedOrder) -> list[DispatchProblemCode]:
    return [problem.code for problem in previewed.problems]


async def test_a_good_order_is_answered_with_its_carrier_city(tenant: Tenant) -> None:
    [order] = await tenant.orders(1)

    [previewed] = (await _preview(tenant, order.id)).orders

    assert (previewed.outcome, previewed.carrier_city, previewed.problems) == (
        CityOutcome.OK,
        "MEDELLIN (ANT)",
        (),
    )


async def test_a_corrected_city_is_a_warning(tenant: Tenant) -> None:
    [order] = await tenant.orders(1, city="Ntáaga", department="Huila")

    [previewed] = (await _preview(tenant, order.id)).orders

    assert (previewed.outcome, previewed.carrier_city) == (CityOutcome.WARNING, "NATAGA (HLA)")
    assert [(problem.code, problem.is_warning) for problem in previewed.problems] == [
        (DispatchProblemCode.MISSPELLED_CITY, True)
    ]


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"city": "Atlantis"}, DispatchProblemCode.CITY_NOT_COVERED),
        ({"city": " "}, DispatchProblemCode.CITY_MISSING),
        ({"department": ""}, DispatchProblemCode.DEPARTMENT_MISSING),
        ({"department": "Narnia"}, DispatchProblemCode.DEPARTMENT_UNKNOWN),
        ({"recipient_name": " "}, DispatchProblemCode.RECIPIENT_MISSING),
        ({"address": ""}, DispatchProblemCode.ADDRESS_MISSING),
        ({"recipient_phone": "309 123 456"}, DispatchProblemCode.PHONE_INVALID),
        ({"total_cop": Decimal("42090.3")}, DispatchProblemCode.AMOUNT_NOT_WHOLE_PESOS),
        ({"total_cop": Decimal(0)}, DispatchProblemCode.COD_AMOUNT_MISSING),
        ({"declared_value_cop": Decimal("55000.5")}, DispatchProblemCode.AMOUNT_NOT_WHOLE_PESOS),
        ({"tracking_number": "PED-1"}, DispatchProblemCode.ALREADY_SHIPPED),
    ],
)
async def test_an_order_that_cannot_go_out_is_rejected_with_the_reason(
    tenant: Tenant, changes: dict[str, object], code: DispatchProblemCode
) -> None:
    [order] = await tenant.orders(1)
    await tenant.change_order(order.id, **changes)

    [previewed] = (await _preview(tenant, order.id)).orders

    assert (previewed.outcome, _codes(previewed)) == (CityOutcome.REJECTED, [code])


async def test_all_problems_of_an_order_are_told_at_once(tenant: Tenant) -> None:
    [order] = await tenant.orders(1, city="Atlantis")
    await tenant.change_order(order.id, address="", recipient_phone="1", archived_at=order.created_at)

    [previewed] = (await _preview(tenant, order.id)).orders

    assert _codes(previewed) == [
        DispatchProblemCode.CITY_NOT_COVERED,
        DispatchProblemCode.ADDRESS_MISSING,
        DispatchProblemCode.PHONE_INVALID,
        DispatchProblemCode.ARCHIVED,
    ]


async def test_cents_do_not_matter_when_the_carrier_collects_nothing(tenant: Tenant) -> None:
    [order] = await tenant.orders(1)
    await tenant.change_order(order.id, total_cop=Decimal("42090.3"), is_cod=False)

    [previewed] = (await _preview(tenant, order.id)).orders

    assert previewed.outcome is CityOutcome.OK


async def test_an_order_in_an_open_job_or_with_an_unknown_outcome_is_rejected(tenant: Tenant) -> None:
    in_hand = await tenant.job(items=2, failed=1)
    lost, open_item = in_hand.items
    await tenant.lose_outcome(lost)

    preview = await _preview(tenant, open_item.order_id, lost.order_id)

    assert [_codes(previewed) for previewed in preview.orders] == [
        [DispatchProblemCode.IN_OPEN_JOB],
        [DispatchProblemCode.OUTCOME_UNKNOWN],
    ]


async def test_answers_stand_in_the_order_asked_and_missing_ids_are_named(tenant: Tenant, other_tenant: Tenant) -> None:
    first, second = await tenant.orders(2)
    [foreign] = await other_tenant.orders(1)
    unknown = new_id()

    preview = await _preview(tenant, second.id, foreign.id, first.id, unknown, second.id)

    assert [previewed.order.id for previewed in preview.orders] == [second.id, first.id]
    assert preview.missing_order_ids == [foreign.id, unknown]
    assert preview.count(CityOutcome.OK) == 2


@pytest.mark.parametrize("count", [0, 10_001])
async def test_no_orders_or_too_many_are_refused(tenant: Tenant, count: int) -> None:
    with pytest.raises(InvalidInput, match="1 to 10,000"):
        async with tenant.work() as connection:
            await preview_dispatch(connection, Carrier.COORDINADORA, OrderSelection([new_id() for _ in range(count)]))


async def test_a_preview_agrees_with_what_a_job_then_keeps(tenant: Tenant) -> None:
    orders: list[Order] = [
        *(await tenant.orders(1)),
        *(await tenant.orders(1, city="Ntáaga", department="Huila")),
    ]
    preview = await _preview(tenant, *(order.id for order in orders))

    in_hand = await tenant.job(orders=orders)

    assert [(item.validated_city, item.value_sent) for item in in_hand.items] == [
        (previewed.carrier_city, previewed.pedido_input) for previewed in preview.orders
    ]
