"""What lists are filtered by: a search finds what people mean, a period has one open end."""

import datetime as dt
import uuid
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.ext.asyncio import AsyncEngine

from domain.carriers import Carrier
from domain.errors import InvalidInput
from domain.filters import Period, SearchText, fold, folded
from domain.orders import Order, OrderFilter, list_orders
from domain.pages import PageRequest
from domain.robot_jobs import (
    ErrorType,
    ItemFilter,
    ItemStatus,
    JobFilter,
    list_items_of_jobs,
    list_robot_jobs,
)
from tests.conftest import Database
from tests.tenants import Tenant


def searching(text: str) -> SearchText:
    found = SearchText.of("search", text)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("MEDELLÍN", "medellin"),
        ("Ñuñoa Über Çà", "nunoa uber ca"),
        ("Jose\u0301", "jose"),
        ("a \t\n b", "a b"),
        ("Łódź 東京 ß 5%_", "Łodź 東京 ß 5%_"),
    ],
)
def test_capitals_accents_and_blanks_make_no_difference(text: str, expected: str) -> None:
    assert fold(text) == expected


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00")))
def test_what_is_folded_stays_as_it_is(text: str) -> None:
    once = fold(text.replace(" ", ""))

    assert fold(once) == once


async def test_postgresql_folds_every_character_as_python_does(engine: AsyncEngine) -> None:
    every = [chr(code) for code in range(1, 0x3000) if not 0xD800 <= code < 0xE000]
    text = "x".join(every) + " a  b   c    d     e"

    async with engine.connect() as connection:
        there = await connection.scalar(sa.text(f"SELECT {folded(':text')}"), {"text": text})

    assert there == fold(text)


async def order_of(tenant: Tenant, **changes: Any) -> Order:
    (order,) = await tenant.orders(1)
    return (await tenant.change_order(order.id, **changes)).order if changes else order


async def found(tenant: Tenant, **wanted: Any) -> list[uuid.UUID]:
    async with tenant.work() as connection:
        page = await list_orders(connection, page=PageRequest(100), order_filter=OrderFilter(**wanted))
    return [order.id for order in page.rows]


async def test_a_search_of_orders_looks_through_reference_recipient_and_numbers(
    tenant: Tenant, other_tenant: Tenant
) -> None:
    order = await order_of(
        tenant,
        reference="Año-77",
        recipient_name="José  Peñalosa Ruíz",
        tracking_number="PED-100% _x",
        carrier_guide_number="GUÍA-9",
        address="Calle Secreta",
    )
    await order_of(other_tenant, reference="Año-77")
    await tenant.orders(1)

    for text in ("ano-77", "AÑO", "jose penalosa", "Peñalosa   ruiz", "ped-100", "100% _", "guia-9", " jose "):
        assert await found(tenant, search=searching(text)) == [order.id], text
    for text in ("100_", "1%0", "__", "%%", "secreta", "77 jose", "77\x1fjose", "\\\\", "/%"):
        assert await found(tenant, search=searching(text)) == [], text


async def test_orders_are_filtered_by_carrier_stage_and_time(tenant: Tenant) -> None:
    plain = await order_of(tenant)
    packed = await order_of(tenant, stage="packed", carrier=Carrier.COORDINADORA)

    assert await found(tenant, carrier=Carrier.COORDINADORA) == [packed.id]
    assert await found(tenant, stages=("packed", "paid")) == [packed.id]
    assert await found(tenant, stages=()) == []
    assert await found(tenant, created=Period(after=packed.created_at)) == [packed.id]
    assert await found(tenant, created=Period(before=packed.created_at)) == [plain.id]
    assert await found(tenant, created=Period(plain.created_at, packed.created_at)) == [plain.id]


async def test_items_and_jobs_are_searched_by_order_and_by_their_own_number(
    tenant: Tenant, other_tenant: Tenant
) -> None:
    first, second = await tenant.job(items=3), await tenant.job(items=1)
    foreign = await other_tenant.job(items=1)
    await tenant.change_order(first.items[0].order_id, recipient_name="Íñigo Núñez")
    await tenant.succeed(first.items[1], tracking_number="Ped-Ñ-55")
    await tenant.change_order(first.items[1].order_id, tracking_number="another")
    await other_tenant.change_order(foreign.items[0].order_id, recipient_name="Íñigo Núñez")
    job_ids = [first.job.id, second.job.id, foreign.job.id]

    async def items(**wanted: Any) -> list[list[uuid.UUID]]:
        async with tenant.work() as connection:
            page = PageRequest(9, with_total=True)
            pages = await list_items_of_jobs(connection, job_ids, page=page, item_filter=ItemFilter(**wanted))
        assert all(each.total == len(each.rows) for each in pages.values())
        return [[item.id for item in each.rows] for each in pages.values()]

    async def jobs(text: str) -> list[uuid.UUID]:
        async with tenant.work() as connection:
            page = await list_robot_jobs(
                connection, page=PageRequest(9, with_total=True), job_filter=JobFilter(search=searching(text))
            )
        assert page.total == len(page.rows)
        return [job.id for job in page.rows]

    assert await items(search=searching("inigo nunez")) == [[first.items[0].id], [], []]
    assert await items(search=searching("ped-n-5")) == [[first.items[1].id], [], []]
    assert await items(search=searching("another")) == [[first.items[1].id], [], []]
    assert await items(search=searching("ped-n-5"), statuses=(ItemStatus.PENDING,)) == [[], [], []]
    for text in ("inigo", "ped-n-55", "ANOTHER"):
        assert await jobs(text) == [first.job.id], text
    assert await jobs("no such") == []


async def test_jobs_are_filtered_by_the_errors_of_their_items_and_by_time(tenant: Tenant) -> None:
    broken, mixed = await tenant.job(items=2), await tenant.job(items=2)
    await tenant.fail(broken.items[0], error_type=ErrorType.PORTAL)
    await tenant.fail(mixed.items[0], error_type=ErrorType.VALIDATION)
    await tenant.fail(mixed.items[1], error_type=ErrorType.PORTAL)

    async def jobs(**wanted: Any) -> list[uuid.UUID]:
        async with tenant.work() as connection:
            page = await list_robot_jobs(connection, page=PageRequest(9), job_filter=JobFilter(**wanted))
        return [job.id for job in page.rows]

    assert await jobs(error_types=(ErrorType.VALIDATION,)) == [mixed.job.id]
    assert await jobs(error_types=(ErrorType.PORTAL, ErrorType.TIMEOUT)) == [mixed.job.id, broken.job.id]
    assert await jobs(error_types=(ErrorType.UNKNOWN,)) == []
    assert await jobs(error_types=()) == []
    assert await jobs(created=Period(before=mixed.job.created_at)) == [broken.job.id]
    assert await jobs(created=Period(after=mixed.job.created_at)) == [mixed.job.id]
    await tenant.retry(mixed.job.id)
    assert await jobs(error_types=(ErrorType.VALIDATION,)) == [], "it has not failed any more"


@pytest.mark.parametrize("text", ["", "x", "  x ", "\u0301\u0301", "a\x00b", "a\ud800b", "x" * 101, "x" * 10_000_000])
def test_a_search_that_cannot_be_is_refused_under_its_name(text: str) -> None:
    with pytest.raises(InvalidInput) as refusal:
        SearchText.of("filter.search", text)

    assert [problem.path for problem in refusal.value.problems] == ["filter.search"]


@pytest.mark.parametrize(
    "moment",
    [
        dt.datetime(2026, 1, 31),  # noqa: DTZ001 -- that is what is refused
        dt.datetime(1, 1, 1, tzinfo=dt.timezone(dt.timedelta(hours=14))),
        dt.datetime(9999, 12, 31, 23, tzinfo=dt.timezone(-dt.timedelta(hours=14))),
    ],
    ids=str,
)
def test_a_moment_that_cannot_be_is_refused_under_its_name(moment: dt.datetime) -> None:
    with pytest.raises(InvalidInput) as refusal:
        Period.of(("after", None), ("before", moment))

    assert [problem.path for problem in refusal.value.problems] == ["before"]


@pytest.mark.parametrize("year", [1, 9999])
async def test_the_ends_of_the_calendar_can_be_asked_for(tenant: Tenant, year: int) -> None:
    edge = Period.of(("after", dt.datetime(year, 1, 1, tzinfo=dt.UTC)), ("before", None))
    await tenant.orders(1)

    assert len(await found(tenant, created=edge)) == (year == 1)


async def test_a_database_made_before_the_searches_is_searched_as_well(database: Database, tenant: Tenant) -> None:
    """The text is the database's own: nobody can write it, so it cannot be wrong."""
    (order,) = await tenant.orders(1)

    with pytest.raises(sa.exc.ProgrammingError, match="search_text"):
        async with tenant.work() as connection:
            await connection.execute(sa.text("UPDATE orders SET search_text = 'x'"))

    assert await found(tenant, search=searching(order.reference)) == [order.id]
