"""Keyset pages: a cursor holds its row's own place, so a page stays where it is however many rows come and go."""

import base64
import binascii
import datetime as dt
import hashlib
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from enum import StrEnum
from functools import cached_property
from typing import Any, Generic, Self, TypeVar

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.errors import invalid

T = TypeVar("T")
Place = tuple[Any, ...]

FIRST_AT_MOST = 100
_CURSOR_AT_MOST = 1_000
_TEXT_AT_MOST = 500
_HUNDREDTHS_BELOW = 10**14  # what numeric(14, 2) holds
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MICROSECOND = dt.timedelta(microseconds=1)
_NOTHING = b"\xff\xff"


class Direction(StrEnum):
    ASC = "asc"
    DESC = "desc"


@dataclass(frozen=True, slots=True)
class Kind(Generic[T]):
    """How values of a type stand in a cursor; `unpack` raises ValueError or OverflowError for what `pack` never made.

    `greatest` is SQL for what sorts after every value: what is null sorts there.
    """

    sql_type: sa.types.TypeEngine[Any]
    pack: Callable[[T], bytes]
    unpack: Callable[[bytes], T]
    greatest: str | None = None


def _unpack_time(packed: bytes) -> dt.datetime:
    return _EPOCH + _unpack_number(packed) * _MICROSECOND


def _unpack_text(packed: bytes) -> str:
    text = packed.decode()
    if "\x00" in text or len(text) > _TEXT_AT_MOST:
        raise ValueError("not a text that a row can hold")
    return text


def _unpack_amount(packed: bytes) -> Decimal:
    hundredths = _unpack_number(packed)
    if abs(hundredths) >= _HUNDREDTHS_BELOW:
        raise ValueError("not an amount that a row can hold")
    return Decimal(hundredths).scaleb(-2)


def _pack_number(number: int) -> bytes:
    return number.to_bytes(8, "big", signed=True)


def _unpack_number(packed: bytes) -> int:
    if len(packed) != 8:
        raise ValueError("not a number of eight bytes")
    return int.from_bytes(packed, "big", signed=True)


ID: Kind[uuid.UUID] = Kind(sa.Uuid(), lambda value: value.bytes, lambda packed: uuid.UUID(bytes=packed))
TIME: Kind[dt.datetime] = Kind(
    sa.DateTime(timezone=True),
    lambda value: _pack_number((value - _EPOCH) // _MICROSECOND),
    _unpack_time,
    greatest="'infinity'::timestamptz",
)
TEXT: Kind[str] = Kind(sa.Text(), lambda value: value.encode(), _unpack_text)
AMOUNT: Kind[Decimal] = Kind(sa.Numeric(14, 2), lambda value: _pack_number(int(value * 100)), _unpack_amount)
FLAG: Kind[bool] = Kind(sa.Boolean(), lambda value: bytes([value]), lambda packed: bool(b"\x00\x01".index(packed)))


@dataclass(frozen=True, slots=True)
class SortKey:
    """A column by its name; with `nullable`, what is null sorts after every value, and first when descending."""

    name: str
    kind: Kind[Any]
    nullable: bool = False

    def column(self, columns: Any) -> sa.ColumnElement[Any]:
        column: sa.ColumnElement[Any] = columns[self.name]
        # least() passes nulls over.  Not coalesce(): PostgreSQL takes it for leaky, and behind row level security an
        # index on it then gives no range.
        return sa.func.least(column, self._greatest()) if self.nullable else column

    def bound(self, value: Any) -> sa.ColumnElement[Any]:
        return self._greatest() if value is None else sa.literal(value, self.kind.sql_type)

    def _greatest(self) -> sa.ColumnElement[Any]:
        return sa.literal_column(self.kind.greatest or "NULL", self.kind.sql_type)


BY_ID = SortKey("id", ID)


@dataclass(frozen=True)
class Ordering:
    """What a list is sorted by.  The last key is unique; all keys go in one direction.

    `name` tells the ordering from all others: its cursors fit no other list and no other direction.
    """

    name: str
    keys: tuple[SortKey, ...] = (BY_ID,)
    direction: Direction = Direction.ASC

    @classmethod
    def of(cls, listed: str, keys: tuple[SortKey, ...], direction: Direction) -> Self:
        """One of the orderings of a list that has several."""
        return cls(f"{listed} by {keys[0].name} {direction}", keys, direction)

    @cached_property
    def tag(self) -> bytes:
        return hashlib.sha256(self.name.encode()).digest()[:2]

    def cursor(self, row: Any) -> str:
        """The place of a row, which has the keys as its attributes."""
        *others, last = self.keys
        packed = [self.tag]
        for key in others:
            value = getattr(row, key.name)
            each = _NOTHING if value is None else key.kind.pack(value)
            packed += [each] if value is None else [len(each).to_bytes(2, "big"), each]
        packed.append(last.kind.pack(getattr(row, last.name)))
        return base64.urlsafe_b64encode(b"".join(packed)).rstrip(b"=").decode()

    def place(self, path: str, cursor: str | None) -> Place | None:
        """Raises InvalidInput for what is no cursor of this ordering."""
        if cursor is None:
            return None
        try:
            return self._unpack(_decode(cursor))
        except (ValueError, OverflowError, binascii.Error):
            raise invalid(
                path, "is not a cursor of this list in this order; use one from its pageInfo or edges."
            ) from None

    def _unpack(self, packed: bytes) -> Place:
        if packed[:2] != self.tag:
            raise ValueError("of another list or another order")
        *others, last = self.keys
        values: list[Any] = []
        at = 2
        for key in others:
            length, at = packed[at : at + 2], at + 2
            if length == _NOTHING and key.nullable:
                values.append(None)
                continue
            end = at + int.from_bytes(length, "big")
            if len(length) < 2 or end > len(packed):
                raise ValueError("cut short")
            values.append(key.kind.unpack(packed[at:end]))
            at = end
        return (*values, last.kind.unpack(packed[at:]))

    def beyond(self, columns: Any, place: Place, *, forwards: bool) -> sa.ColumnElement[bool]:
        """The rows that come after the place, or before it."""
        mine = [key.column(columns) for key in self.keys]
        given = [key.bound(value) for key, value in zip(self.keys, place, strict=True)]
        # A row comparison is one range of an index; the same with AND and OR is a filter on all that lies before.
        left, right = (mine[0], given[0]) if len(mine) == 1 else (sa.tuple_(*mine), sa.tuple_(*given))
        ascending = (self.direction is Direction.ASC) == forwards
        return left > right if ascending else left < right

    def order_by(self, columns: Any, *, backwards: bool) -> list[sa.ColumnElement[Any]]:
        ascending = (self.direction is Direction.ASC) != backwards
        return [key.column(columns).asc() if ascending else key.column(columns).desc() for key in self.keys]


def _decode(cursor: str) -> bytes:
    """Raises ValueError for what is not written exactly as `Ordering.cursor` writes."""
    if len(cursor) > _CURSOR_AT_MOST:
        raise ValueError("longer than any cursor")
    packed = base64.b64decode(cursor.encode("ascii") + b"=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
    if base64.urlsafe_b64encode(packed).rstrip(b"=") != cursor.encode("ascii"):
        raise ValueError("not written as we write it")
    return packed


@dataclass(frozen=True, slots=True)
class PageRequest:
    """Which rows: `limit` rows after or before a place, counted from the start, or from the end when `is_backward`.

    Without an ordering it is the list's own.  `with_total` asks how many rows there are on all pages.
    """

    limit: int
    after: Place | None = None
    before: Place | None = None
    is_backward: bool = False
    ordering: Ordering | None = None
    with_total: bool = False

    @classmethod
    def of(
        cls,
        ordering: Ordering | None = None,
        *,
        first: int | None = None,
        after: str | None = None,
        last: int | None = None,
        before: str | None = None,
        default: int = 20,
        at_most: int = FIRST_AT_MOST,
        with_total: bool = False,
    ) -> Self:
        """From the arguments of a Relay connection; cursors need their ordering.  Raises InvalidInput."""
        if first is not None and last is not None:
            raise invalid("last", "does not go with first; ask for one of them.")
        for name, value in (("first", first), ("last", last)):
            if value is not None and not 0 <= value <= at_most:
                raise invalid(name, f"must be 0 to {at_most:,}; it is {value}.")
        limit = first if first is not None else last if last is not None else min(default, at_most)
        return cls(
            limit,
            ordering.place("after", after) if ordering is not None else None,
            ordering.place("before", before) if ordering is not None else None,
            is_backward=last is not None,
            ordering=ordering,
            with_total=with_total,
        )

    def in_order(self, ordering: Ordering) -> "OrderedPage":
        """The page of a list whose own ordering that is."""
        return OrderedPage(self, self.ordering or ordering)


@dataclass(frozen=True, slots=True)
class OrderedPage:
    """A page request whose ordering is settled."""

    request: PageRequest
    ordering: Ordering

    def apply(self, statement: sa.Select[Any], columns: Any) -> sa.Select[Any]:
        """The statement cut to this page, with one row more to tell whether others follow."""
        request = self.request
        if request.after is not None:
            statement = statement.where(self.ordering.beyond(columns, request.after, forwards=True))
        if request.before is not None:
            statement = statement.where(self.ordering.beyond(columns, request.before, forwards=False))
        return statement.order_by(*self.order_by(columns)).limit(request.limit + 1)

    def order_by(self, columns: Any) -> list[sa.ColumnElement[Any]]:
        """How `apply` sorts: from the end when the page is a backward one."""
        return self.ordering.order_by(columns, backwards=self.request.is_backward)

    def page(self, rows: Sequence[T], total: int | None = None) -> "Page[T]":
        """Rows as `apply` read them, turned to the order of the list."""
        request = self.request
        shown = list(rows[: request.limit])
        if request.is_backward:
            shown.reverse()
        has_more = len(rows) > request.limit
        return Page(
            shown,
            has_next=request.before is not None if request.is_backward else has_more,
            has_previous=has_more if request.is_backward else request.after is not None,
            ordering=self.ordering,
            total=total,
        )


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """`total`: the rows on all pages, where that was asked."""

    rows: list[T]
    has_next: bool
    has_previous: bool
    ordering: Ordering
    total: int | None = None

    def cursor(self, row: T) -> str:
        return self.ordering.cursor(row)

    def counting(self, total: int) -> Self:
        return replace(self, total=total)


async def count_rows(
    connection: AsyncConnection, counted: sa.FromClause, conditions: Sequence[sa.ColumnElement[bool]]
) -> int:
    """How many rows a list has on all its pages."""
    statement = sa.select(sa.func.count()).select_from(counted).where(*conditions)
    return int(await connection.scalar(statement) or 0)
