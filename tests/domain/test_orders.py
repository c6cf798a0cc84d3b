"""Orders: one event for each field that really changes, and none that does not."""

import datetime as dt
from decimal import Decimal
from typing import Any

import pytest

from domain.base import new_id
from domain.errors import InvalidInput
from domain.events import EventType
from domain.orders import (
    OrderFilter,
    OrderNotFound,
    OrderReferenceTaken,
    find_orders,
    list_orders,
    update_order,
)
from domain.pages import PageRequest
from domain.workspaces import Role
from tests.tenants import Tenant


async def test_each_changed_field_has_its_event_with_the_value_before_and_after(tenant: Tenant) -> None:
    [order] = await tenant.orders(1)

    updated = await tenant.change_order(order.id, city="Cali", total_cop=Decimal("99.50"), stage="packed")

    assert set(updated.changed_fields) == {"city", "total_cop", "stage"}
    told = {
        event.payload["field"]: (event.payload["before"], event.payload["after"])
        for event in await tenant.events(order.id)
    }
    assert told == {"city": ("Medellín", "Cali"), "totalCop": ("52900.00", "99.50"), "stage": (None, "packed")}


async def test_events_of_an_order_are_numbered_without_a_gap_over_many_changes(tenant: Tenant) -> None:
    [order] = await tenant.orders(1)

    await tenant.change_order(order.id, city="Cali", department="Valle")
    await tenant.change_order(order.id, units=2)
    updated = await tenant.change_order(order.id, city="Pasto", department="Nariño", units=3)

    stream = await tenant.events(order.id)
    assert [event.seq for event in stream] == [1, 2, 3, 4, 5, 6]
    assert {event.type for event in stream} == {EventType.ORDER_FIELD_CHANGED}
    assert updated.order.last_event_seq == 6


async def test_a_field_that_holds_the_value_already_is_recorded_nowhere(tenant: Tenant) -> None:
    [order] = await tenant.orders(1)
    before = await tenant.contents()

    updated = await tenant.change_order(order.id, city=order.city, total_cop=Decimal("52900"), units=1)

    assert (updated.changed_fields, updated.order) == ((), order)
    assert await tenant.contents() == before


async def test_only_what_changes_among_the_given_fields_is_told(tenant: Tenant) -> None:
    [order] = await tenant.orders(1)

    updated = await tenant.change_order(order.id, city=order.city, units=2)

    assert updated.changed_fields == ("units",)
    assert len(await tenant.events(order.id)) == 1


async def test_a_field_that_may_be_empty_is_cleared_by_null(tenant: Tenant) -> None:
    [order] = await tenant.orders(1)
    await tenant.change_order(order.id, tracking_number="PED-1", archived_at=dt.datetime.now(dt.UTC))

    updated = await tenant.change_order(order.id, tracking_number=None, archived_at=None)

    assert (updated.order.tracking_number, updated.order.archived_at) == (None, None)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"id": "x"},
        {"workspace_id": "x"},
        {"last_event_seq": 9},
        {"city": None},
        {"city": "a\x00b"},
        {"city": "x" * 10_000_000},
        {"reference": " "},
        {"reference": "9" * 101},
        {"tracking_number": ""},
        {"tracking_number": " "},
        {"tracking_number": "9" * 101},
        {"units": 0},
        {"units": 10_001},
        {"units": 2**70},
        {"total_cop": Decimal(-1)},
        {"total_cop": Decimal("NaN")},
        {"total_cop": Decimal("1e400")},
        {"total_cop": Decimal("0.001")},
        {"total_cop": Decimal("0e999999999")},
        {"total_cop": Decimal("0e-999999999")},
        {"declared_value_cop": Decimal("Infinity")},
    ],
    ids=lambda changes: ascii(changes)[:40],
)
async def test_a_change_that_cannot_stand_is_refused_with_its_field(tenant: Tenant, changes: dict[str, Any]) -> None:
    [order] = await tenant.orders(1)
    before = await tenant.contents()

    with pytest.raises(InvalidInput) as refusal:
        await tenant.change_order(order.id, **({"stage": "packed"} | changes if changes else {}))

    assert [problem.path for problem in refusal.value.problems] == (list(changes) or ["input"])
    assert await tenant.contents() == before


async def test_putting_away_what_is_put_away_changes_nothing(tenant: Tenant) -> None:
    [order] = await tenant.orders(1)
    await tenant.change_order(order.id, archived_at=order.created_at)
    before = await tenant.contents()

    await tenant.change_order(order.id, archived_at=dt.datetime.now(dt.UTC))

    assert await tenant.contents() == before


async def test_a_reference_of_another_order_is_refused(tenant: Tenant) -> None:
    first, second = await tenant.orders(2)
    before = await tenant.contents()

    with pytest.raises(OrderReferenceTaken, match=first.reference):
        await tenant.change_order(second.id, reference=first.reference, stage="packed")

    assert await tenant.contents() == before


async def test_a_reference_of_another_tenants_order_is_free(tenant: Tenant, other_tenant: Tenant) -> None:
    [foreign] = await other_tenant.orders(1)
    [order] = await tenant.orders(1)

    updated = await tenant.change_order(order.id, reference=foreign.reference)

    assert updated.order.reference == foreign.reference


async def test_an_unknown_order_and_another_tenants_are_not_found_alike(tenant: Tenant, other_tenant: Tenant) -> None:
    [foreign] = await other_tenant.orders(1)
    unknown = new_id()

    messages = set()
    for order_id in (foreign.id, unknown):
        with pytest.raises(OrderNotFound) as refusal:
            await tenant.change_order(order_id, stage="packed")
        messages.add(refusal.value.message.replace(str(order_id), "…"))

    assert len(messages) == 1
    assert await other_tenant.order(foreign.id) == foreign


async def test_orders_are_found_by_id_within_the_workspace_only(tenant: Tenant, other_tenant: Tenant) -> None:
    [own] = await tenant.orders(1)
    [foreign] = await other_tenant.orders(1)

    async with tenant.work() as connection:
        found = await find_orders(connection, [own.id, foreign.id, new_id()])

    assert found == {own.id: own}


async def test_orders_are_listed_newest_first_and_page_by_page(tenant: Tenant, other_tenant: Tenant) -> None:
    imported = await tenant.orders(5)
    await other_tenant.orders(1)

    async with tenant.work() as connection:
        first = await list_orders(connection, page=PageRequest(3))
        rest = await list_orders(connection, page=PageRequest(3, after=(first.rows[-1].id,)))

    newest_first = sorted((order.id for order in imported), reverse=True)
    assert [order.id for order in [*first.rows, *rest.rows]] == newest_first
    assert (first.has_next, rest.has_next, rest.has_previous) == (True, False, True)


async def test_orders_are_filtered_by_reference_shipment_and_archive(tenant: Tenant) -> None:
    shipped, put_away, plain = await tenant.orders(3)
    await tenant.change_order(shipped.id, tracking_number="PED-1")
    await tenant.change_order(put_away.id, archived_at=plain.created_at)

    async def ids(**wanted: Any) -> list[object]:
        async with tenant.work() as connection:
            page = await list_orders(connection, page=PageRequest(9), order_filter=OrderFilter(**wanted))
        return [order.id for order in page.rows]

    assert await ids(is_shipped=True) == [shipped.id]
    assert await ids(is_archived=True) == [put_away.id]
    assert await ids(is_shipped=False, is_archived=False) == [plain.id]
    assert await ids(references=(plain.reference, "unknown")) == [plain.id]
    assert await ids(references=()) == []


async def test_a_reference_that_cannot_be_stored_is_refused_as_a_filter(tenant: Tenant) -> None:
    with pytest.raises(InvalidInput) as refusal:
        async with tenant.work() as connection:
            await list_orders(connection, page=PageRequest(9), order_filter=OrderFilter(references=("a", "b\x00")))

    assert [problem.path for problem in refusal.value.problems] == ["filter.references.1"]


async def test_a_filter_names_a_thousand_values_at_most(tenant: Tenant) -> None:
    async with tenant.work() as connection:
        with pytest.raises(InvalidInput, match="at most 1,000") as refusal:
            await list_orders(connection, page=PageRequest(9), order_filter=OrderFilter(stages=("packed",) * 1_001))

    assert refusal.value.problems[0].path == "filter.stage"


async def test_a_viewer_reads_an_order_and_cannot_change_it(tenant: Tenant) -> None:
    [order] = await tenant.orders(1)

    async with tenant.work(Role.VIEWER) as connection:
        assert await find_orders(connection, [order.id]) == {order.id: order}
    with pytest.raises(OrderNotFound):
        async with tenant.work(Role.VIEWER) as connection:
            await update_order(connection, order.id, {"stage": "packed"})

    assert await tenant.order(order.id) == order
