"""Keyset pages: whatever the page size and direction, each row is seen once and in order."""

from typing import Any

import pytest

from domain.base import new_id
from domain.errors import InvalidInput
from domain.orders import NEWEST_ORDERS, list_orders
from domain.pages import PageRequest
from tests.tenants import Tenant


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
