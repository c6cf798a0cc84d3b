"""Keyset pages: whatever the page size and direction, each row is seen once and in order."""

import uuid
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.base import new_id
from domain.errors import InvalidInput
from domain.orders import list_orders
from domain.pages import PageRequest, decode_cursor, encode_cursor
from tests.tenants import Tenant


@given(st.uuids())
def test_a_cursor_leads_back_to_its_row(row_id: uuid.UUID) -> None:
    assert decode_cursor("after", encode_cursor(row_id)) == row_id


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
        PageRequest.of(first=1, after=cursor)

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


@pytest.mark.parametrize("size", [1, 2, 3, 7, 8])
@pytest.mark.parametrize("is_backward", [False, True])
async def test_pages_in_either_direction_show_each_row_once(tenant: Tenant, size: int, is_backward: bool) -> None:
    expected = sorted((order.id for order in await tenant.orders(7)), reverse=True)

    seen: list[uuid.UUID] = []
    has_more = True
    while has_more:
        edge = (encode_cursor(seen[0 if is_backward else -1])) if seen else None
        request = PageRequest.of(last=size, before=edge) if is_backward else PageRequest.of(first=size, after=edge)
        async with tenant.work() as connection:
            page = await list_orders(connection, page=request)
        ids = [order.id for order in page.rows]
        seen = [*ids, *seen] if is_backward else [*seen, *ids]
        has_more = page.has_previous if is_backward else page.has_next
        assert len(ids) <= size
        assert (page.has_next if is_backward else page.has_previous) == (edge is not None)

    assert seen == expected


async def test_a_page_of_nothing_still_tells_whether_there_is_more(tenant: Tenant) -> None:
    await tenant.orders(1)

    async with tenant.work() as connection:
        page = await list_orders(connection, page=PageRequest.of(first=0))

    assert (page.rows, page.has_next) == ([], True)
