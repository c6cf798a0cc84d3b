"""Keyset pages: whatever the order, the size and the direction, each row is seen once and in its place."""

import base64
import datetime as dt
import uuid
from collections.abc import Awaitable, Callable
from contextlib import suppress
from decimal import Decimal
from typing import Any, NamedTuple

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.ext.asyncio import AsyncEngine

from domain.base import new_id
from domain.coverage import CITIES_BY_NAME, MUNICIPALITIES_BY_NAME
from domain.errors import InvalidInput
from domain.orders import NEWEST_ORDERS, ORDER_ORDERINGS, OrderSort, list_orders, orders
from domain.pages import Direction, Ordering, Page, PageRequest
from domain.robot_jobs import (
    ITEM_ORDERINGS,
    JOB_ORDERINGS,
    NEWEST_ITEMS,
    NEWEST_JOBS,
    OLDEST_ITEMS,
    ItemSort,
    JobSort,
    list_items_of_jobs,
    list_robot_jobs,
    robot_job_items,
    robot_jobs,
)
from tests.conftest import Database
from tests.tenants import Tenant, make_tenant

ORDERINGS = [
    *(NEWEST_ORDERS, NEWEST_JOBS, OLDEST_ITEMS, NEWEST_ITEMS, CITIES_BY_NAME, MUNICIPALITIES_BY_NAME),
    *(*ORDER_ORDERINGS.values(), *JOB_ORDERINGS.values(), *ITEM_ORDERINGS.values()),
]
MONDAY = dt.datetime(2026, 1, 5, 8, tzinfo=dt.UTC)
SOME_TIMES = [MONDAY, MONDAY + dt.timedelta(microseconds=1), MONDAY + dt.timedelta(days=1)]

a_time = st.datetimes(timezones=st.just(dt.UTC))
an_amount = st.decimals(0, Decimal("999999999999.99"), places=2)
some_orderings = st.sampled_from(ORDERINGS)


class Row(NamedTuple):
    """Whatever any list is sorted by."""

    id: uuid.UUID
    created_at: dt.datetime
    updated_at: dt.datetime
    completed_at: dt.datetime | None
    reference: str
    total_cop: Decimal
    is_inner_match: bool
    search_text: str
    carrier_city: str
    dane_code: str


any_text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=100)
any_row = st.builds(
    Row,
    st.uuids(),
    a_time,
    a_time,
    st.none() | a_time,
    any_text,
    an_amount,
    st.booleans(),
    any_text,
    any_text,
    any_text,
)


@given(some_orderings, any_row)
def test_a_cursor_leads_back_to_its_row(ordering: Ordering, row: Row) -> None:
    assert ordering.place("after", ordering.cursor(row)) == tuple(getattr(row, key.name) for key in ordering.keys)


@given(some_orderings, some_orderings, any_row)
def test_a_cursor_fits_its_own_ordering_alone(ordering: Ordering, other: Ordering, row: Row) -> None:
    if ordering is not other:
        with pytest.raises(InvalidInput):
            other.place("after", ordering.cursor(row))


def test_orderings_are_told_apart() -> None:
    assert len({ordering.tag for ordering in ORDERINGS}) == len(ORDERINGS)


def test_the_cursors_of_a_lists_own_order_are_short() -> None:
    row = Row(new_id(), MONDAY, MONDAY, None, "", Decimal(0), False, "", "", "")

    assert len(NEWEST_ORDERS.cursor(row)) == 24


@given(some_orderings, st.binary(max_size=60))
def test_garbage_under_a_good_tag_is_refused_or_can_be_asked_for(ordering: Ordering, garbage: bytes) -> None:
    cursor = base64.urlsafe_b64encode(ordering.tag + garbage).rstrip(b"=").decode()
    place: tuple[Any, ...] | None = None
    with suppress(InvalidInput):
        place = ordering.place("before", cursor)

    assert place is None or len(place) == len(ordering.keys)


@given(some_orderings, any_row, st.data())
def test_a_cursor_that_was_changed_is_refused_or_is_another_place(
    ordering: Ordering, row: Row, data: st.DataObject
) -> None:
    cursor = ordering.cursor(row)
    at = data.draw(st.integers(0, len(cursor) - 1))
    changed = cursor[:at] + data.draw(st.text(max_size=2)) + cursor[at + 1 :]
    try:
        place = ordering.place("after", changed)
    except InvalidInput:
        return
    assert (place == ordering.place("after", cursor)) == (changed == cursor)


def test_ids_made_later_sort_later() -> None:
    ids = [new_id() for _ in range(1_000)]

    assert ids == sorted(ids)


@pytest.mark.parametrize(
    "cursor",
    ["", "x", "ñ", "\x00", "AAAA", "=" * 22, "a" * 23, "a" * 10_000_000, "\ud800"],
    ids=lambda cursor: ascii(cursor[:9]),
)
def test_what_is_no_cursor_is_refused_under_its_name(cursor: str) -> None:
    with pytest.raises(InvalidInput) as refusal:
        PageRequest.of(NEWEST_ORDERS, first=1, after=cursor)

    assert [problem.path for problem in refusal.value.problems] == ["after"]


@pytest.mark.parametrize(
    ("arguments", "path"),
    [
        ({"first": -1}, "first"),
        ({"first": 101}, "first"),
        ({"last": -1}, "last"),
        ({"last": 2**70}, "last"),
        ({"first": 1, "last": 1}, "last"),
    ],
    ids=str,
)
def test_a_page_that_cannot_be_is_refused(arguments: dict[str, Any], path: str) -> None:
    with pytest.raises(InvalidInput) as refusal:
        PageRequest.of(**arguments)

    assert [problem.path for problem in refusal.value.problems] == [path]


def test_without_a_size_a_page_has_twenty_rows_or_as_many_as_allowed() -> None:
    assert PageRequest.of().limit == 20
    assert PageRequest.of(at_most=5).limit == 5


async def test_a_page_of_nothing_still_tells_whether_there_is_more(tenant: Tenant) -> None:
    await tenant.orders(1)

    async with tenant.work() as connection:
        page = await list_orders(connection, page=PageRequest.of(first=0))

    assert (page.rows, page.has_next) == ([], True)


async def walk(
    ordering: Ordering,
    size: int,
    read: Callable[[PageRequest], Awaitable[Page[Any]]],
    *,
    is_backward: bool,
    meanwhile: Callable[[], Awaitable[None]] | None = None,
) -> list[Any]:
    """All rows, page by page from either end, in the order of the list."""
    seen: list[Any] = []
    has_more = True
    while has_more:
        edge = ordering.cursor(seen[0 if is_backward else -1]) if seen else None
        page = await read(
            PageRequest.of(ordering, last=size, before=edge)
            if is_backward
            else PageRequest.of(ordering, first=size, after=edge)
        )
        assert len(page.rows) <= size
        assert (page.has_next if is_backward else page.has_previous) == (edge is not None)
        seen = [*page.rows, *seen] if is_backward else [*seen, *page.rows]
        has_more = page.has_previous if is_backward else page.has_next
        if meanwhile is not None:
            await meanwhile()
    return seen


def in_order(ordering: Ordering, rows: list[Any]) -> list[Any]:
    """As the list must be: what is null after everything else, and before it when descending."""
    far = dt.datetime.max.replace(tzinfo=dt.UTC)

    def key(row: Any) -> list[Any]:
        return [far if value is None else value for value in (getattr(row, each.name) for each in ordering.keys)]

    return sorted(rows, key=key, reverse=ordering.direction is Direction.DESC)


an_order = st.fixed_dictionaries(
    {
        "created_at": st.sampled_from(SOME_TIMES),
        "updated_at": st.sampled_from(SOME_TIMES),
        "reference": st.text("aAbñ-1 ", min_size=1, max_size=3),
        "total_cop": st.sampled_from([Decimal("0.00"), Decimal("9.99"), Decimal("10.00")]),
    }
)
LAW = settings(
    max_examples=40, deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


async def _insert_order(tenant: Tenant, values: dict[str, Any]) -> None:
    plain = dict.fromkeys(
        ("recipient_name", "recipient_phone", "recipient_email", "address", "city", "department", "products", "tags"),
        "",
    )
    known = {"id": new_id(), "workspace_id": tenant.workspace_id, "units": 1, "is_cod": False, "declared_value_cop": 0}
    async with tenant.work() as connection:
        # One more character, for references are unique within the workspace.
        reference = values["reference"] + uuid.uuid4().hex[:8]
        await connection.execute(sa.insert(orders).values(plain | known | values | {"reference": reference}))


@LAW
@given(
    st.sampled_from([NEWEST_ORDERS, *ORDER_ORDERINGS.values()]),
    st.integers(1, 4),
    st.booleans(),
    st.lists(an_order, max_size=7),
    st.lists(an_order, max_size=4),
)
async def test_pages_of_any_size_from_either_end_are_the_sorted_list_whatever_is_inserted_meanwhile(
    database: Database,
    engine: AsyncEngine,
    ordering: Ordering,
    size: int,
    is_backward: bool,
    there: list[dict[str, Any]],
    later: list[dict[str, Any]],
) -> None:
    tenant = await make_tenant(database.urls, engine)
    for values in there:
        await _insert_order(tenant, values)
    coming = iter(later)

    async def read(page: PageRequest) -> Page[Any]:
        async with tenant.work() as connection:
            return await list_orders(connection, page=page)

    async def meanwhile() -> None:
        if (values := next(coming, None)) is not None:
            await _insert_order(tenant, values)

    before = (await read(PageRequest(100))).rows

    seen = await walk(ordering, size, read, is_backward=is_backward, meanwhile=meanwhile)

    assert len({order.id for order in seen}) == len(seen)
    assert seen == in_order(ordering, seen)
    kept = {order.id for order in before}
    assert [order for order in seen if order.id in kept] == in_order(ordering, before)
    assert await walk(ordering, size, read, is_backward=is_backward) == in_order(
        ordering, (await read(PageRequest(100))).rows
    )


@pytest.fixture(scope="module")
async def eight_jobs(database: Database, engine: AsyncEngine) -> Tenant:
    """Their workspace: six are finished, at two times; all of them were made at one of three."""
    tenant = await make_tenant(database.urls, engine)
    for number in range(8):
        in_hand = await tenant.job(items=1)
        async with tenant.work() as connection:
            finished = {"status": "cancelled", "completed_at": SOME_TIMES[number % 2]} if number % 4 else {}
            await connection.execute(
                sa.update(robot_jobs)
                .where(robot_jobs.c.id == in_hand.job.id)
                .values({"created_at": SOME_TIMES[number % 3]} | finished)
            )
    return tenant


@pytest.mark.parametrize("is_backward", [False, True])
@pytest.mark.parametrize("ordering", [NEWEST_JOBS, *JOB_ORDERINGS.values()], ids=lambda ordering: str(ordering.name))
async def test_pages_of_jobs_are_the_sorted_list_also_where_values_are_null_or_equal(
    eight_jobs: Tenant, ordering: Ordering, is_backward: bool
) -> None:
    async def read(page: PageRequest) -> Page[Any]:
        async with eight_jobs.work() as connection:
            return await list_robot_jobs(connection, page=page)

    everything = in_order(ordering, (await read(PageRequest(100))).rows)

    for size in (1, 3, 8):
        assert await walk(ordering, size, read, is_backward=is_backward) == everything
    if ordering is JOB_ORDERINGS[JobSort.COMPLETED_AT, Direction.ASC]:
        assert [job.completed_at is None for job in everything] == [False] * 6 + [True] * 2


@pytest.fixture(scope="module")
async def items_of_two_jobs(database: Database, engine: AsyncEngine) -> tuple[Tenant, list[uuid.UUID]]:
    """Five each, some closed at two times, all changed at one of three."""
    tenant = await make_tenant(database.urls, engine)
    jobs = [await tenant.job(items=5), await tenant.job(items=5)]
    async with tenant.work() as connection:
        for number, item in enumerate([*jobs[0].items, *jobs[1].items]):
            closed = {"status": "cancelled", "closed_by": "system", "completed_at": SOME_TIMES[number % 2]}
            await connection.execute(
                sa.update(robot_job_items)
                .where(robot_job_items.c.id == item.id)
                .values({"updated_at": SOME_TIMES[number % 3]} | (closed if number % 3 else {}))
            )
    return tenant, [each.job.id for each in jobs]


@pytest.mark.parametrize("is_backward", [False, True])
@pytest.mark.parametrize("ordering", [OLDEST_ITEMS, *ITEM_ORDERINGS.values()], ids=lambda ordering: str(ordering.name))
async def test_pages_of_the_items_of_two_jobs_are_each_jobs_sorted_list(
    items_of_two_jobs: tuple[Tenant, list[uuid.UUID]], ordering: Ordering, is_backward: bool
) -> None:
    tenant, job_ids = items_of_two_jobs

    for job_id in job_ids:
        everything = in_order(ordering, (await tenant.read(job_id)).items)

        async def read(page: PageRequest, job_id: uuid.UUID = job_id) -> Page[Any]:
            async with tenant.work() as connection:
                return (await list_items_of_jobs(connection, job_ids, page=page))[job_id]

        for size in (1, 2, 5):
            assert await walk(ordering, size, read, is_backward=is_backward) == everything


@LAW
@given(
    st.sampled_from([NEWEST_ORDERS, *ORDER_ORDERINGS.values()]),
    st.sampled_from(["after", "before"]),
    st.one_of(
        st.binary(max_size=40), st.binary(min_size=8, max_size=8).map(lambda value: b"\0\x08" + value + b"x" * 16)
    ),
)
async def test_what_a_cursor_may_hold_the_database_can_compare(
    tenant: Tenant, ordering: Ordering, edge: str, garbage: bytes
) -> None:
    cursor = base64.urlsafe_b64encode(ordering.tag + garbage).rstrip(b"=").decode()
    try:
        page = PageRequest.of(ordering, first=1, **{edge: cursor})  # type: ignore[arg-type]  # edge is a cursor's
    except InvalidInput:
        return

    async with tenant.work() as connection:
        assert (await list_orders(connection, page=page)).rows == []


async def test_a_total_is_counted_on_all_pages_and_only_when_asked(tenant: Tenant, other_tenant: Tenant) -> None:
    await tenant.orders(3)
    await other_tenant.orders(1)

    async with tenant.work() as connection:
        asked = await list_orders(connection, page=PageRequest(1, with_total=True))
        unasked = await list_orders(connection, page=PageRequest(1))

    assert (len(asked.rows), asked.total, unasked.total) == (1, 3, None)


def test_every_sort_has_both_directions() -> None:
    assert set(ORDER_ORDERINGS) == {(field, direction) for field in OrderSort for direction in Direction}
    assert set(ITEM_ORDERINGS) == {(field, direction) for field in ItemSort for direction in Direction}
