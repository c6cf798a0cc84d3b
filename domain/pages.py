"""Keyset pages by id: ids sort by age, so a page stays where it is however many rows are added before or after it."""

import base64
import binascii
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Self, TypeVar

import sqlalchemy as sa

from domain.errors import invalid

T = TypeVar("T")
FIRST_AT_MOST = 100


@dataclass(frozen=True, slots=True)
class PageRequest:
    """Which rows: `limit` rows after or before a row, counted from the start, or from the end when `is_backward`."""

    limit: int
    after: uuid.UUID | None = None
    before: uuid.UUID | None = None
    is_backward: bool = False

    @classmethod
    def of(
        cls,
        *,
        first: int | None = None,
        after: str | None = None,
        last: int | None = None,
        before: str | None = None,
        default: int = 20,
        at_most: int = FIRST_AT_MOST,
    ) -> Self:
        """From the arguments of a Relay connection.  Raises InvalidInput."""
        if first is not None and last is not None:
            raise invalid("last", "does not go with first; ask for one of them.")
        for name, value in (("first", first), ("last", last)):
            if value is not None and not 0 <= value <= at_most:
                raise invalid(name, f"must be 0 to {at_most:,}; it is {value}.")
        limit = first if first is not None else last if last is not None else min(default, at_most)
        return cls(
            limit,
            decode_cursor("after", after),
            decode_cursor("before", before),
            is_backward=last is not None,
        )

    def apply(self, statement: sa.Select[Any], column: sa.ColumnElement[uuid.UUID], *, newest_first: bool) -> Any:
        """The statement cut to this page, with one row more to tell whether others follow."""
        if self.after is not None:
            statement = statement.where(column < self.after if newest_first else column > self.after)
        if self.before is not None:
            statement = statement.where(column > self.before if newest_first else column < self.before)
        is_descending = newest_first != self.is_backward
        return statement.order_by(column.desc() if is_descending else column.asc()).limit(self.limit + 1)

    def page(self, rows: Sequence[T]) -> "Page[T]":
        """Rows as `apply` read them, turned to the order of the list."""
        shown = list(rows[: self.limit])
        if self.is_backward:
            shown.reverse()
        has_more = len(rows) > self.limit
        return Page(
            shown,
            has_next=self.before is not None if self.is_backward else has_more,
            has_previous=has_more if self.is_backward else self.after is not None,
        )


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    rows: list[T]
    has_next: bool
    has_previous: bool

    def map(self, change: Callable[[T], Any]) -> "Page[Any]":
        return Page([change(row) for row in self.rows], self.has_next, self.has_previous)


def encode_cursor(row_id: uuid.UUID) -> str:
    return base64.urlsafe_b64encode(row_id.bytes).rstrip(b"=").decode()


def decode_cursor(path: str, cursor: str | None) -> uuid.UUID | None:
    """Raises InvalidInput for what is no cursor of ours."""
    if cursor is None:
        return None
    try:
        return uuid.UUID(bytes=base64.urlsafe_b64decode(cursor.encode("ascii") + b"=="))
    except (ValueError, binascii.Error):
        raise invalid(path, "is not a cursor of this list; use one from its pageInfo or edges.") from None
