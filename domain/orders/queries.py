"""Orders as people and other functions read them: by their ids, and in lists that are sorted and filtered."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.base import array_of
from domain.carriers import Carrier
from domain.errors import invalid
from domain.filters import EVER, Period, SearchText
from domain.orders.fields import TEXT_AT_MOST
from domain.orders.tables import ORDER_COLUMNS, REFERENCE_AT_MOST, Order, orders
from domain.pages import (
    AMOUNT,
    BY_ID,
    TEXT,
    TIME,
    Direction,
    Ordering,
    Page,
    PageRequest,
    SortKey,
    count_rows,
)
from domain.text import text_problem


async def find_orders(connection: AsyncConnection, order_ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, Order]:
    """Those of the orders that are this workspace's, by id; one statement."""
    rows = await connection.execute(
        sa.select(*ORDER_COLUMNS).where(orders.c.id == sa.func.any(array_of(list(order_ids), sa.Uuid())))
    )
    return {row.id: Order.from_row(row) for row in rows}


async def lock_orders(connection: AsyncConnection, order_ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, Order]:
    """As find_orders, locked in the order of their ids.

    An item is opened only under its order's lock, so what a caller sees of open items then stays true.
    """
    rows = await connection.execute(
        sa.select(*ORDER_COLUMNS)
        .where(orders.c.id == sa.func.any(array_of(list(order_ids), sa.Uuid())))
        .order_by(orders.c.id)
        .with_for_update(key_share=True)
    )
    return {row.id: Order.from_row(row) for row in rows}


class OrderSort(StrEnum):
    """What orders may be sorted by; each has an index."""

    CREATED_AT = "created_at"
    UPDATED_AT = "updated_at"
    REFERENCE = "reference"
    TOTAL = "total_cop"


_SORT_KEYS = {
    OrderSort.CREATED_AT: (SortKey("created_at", TIME), BY_ID),
    OrderSort.UPDATED_AT: (SortKey("updated_at", TIME), BY_ID),
    OrderSort.REFERENCE: (SortKey("reference", TEXT),),  # unique in the workspace
    OrderSort.TOTAL: (SortKey("total_cop", AMOUNT), BY_ID),
}
NEWEST_ORDERS = Ordering("orders", direction=Direction.DESC)
ORDER_ORDERINGS = {
    (field, direction): Ordering.of("orders", keys, direction)
    for field, keys in _SORT_KEYS.items()
    for direction in Direction
}

VALUES_AT_MOST = 1_000  # in one filter


@dataclass(frozen=True, slots=True)
class OrderFilter:
    """All that is given must hold; what is None does not matter.

    `search` looks through reference, recipient, tracking number and guide number.
    """

    references: tuple[str, ...] | None = None
    is_shipped: bool | None = None
    is_archived: bool | None = None
    carrier: Carrier | None = None
    stages: tuple[str, ...] | None = None
    created: Period = EVER
    search: SearchText | None = None

    def conditions(self) -> list[sa.ColumnElement[bool]]:
        """Raises InvalidInput."""
        conditions = self.created.conditions(orders.c.created_at)
        if self.references is not None:
            conditions.append(_is_one_of(orders.c.reference, "references", self.references, at_most=REFERENCE_AT_MOST))
        if self.stages is not None:
            conditions.append(_is_one_of(orders.c.stage, "stage", self.stages, at_most=TEXT_AT_MOST))
        if self.is_shipped is not None:
            conditions.append(orders.c.tracking_number.is_not(None) == self.is_shipped)
        if self.is_archived is not None:
            conditions.append(orders.c.archived_at.is_not(None) == self.is_archived)
        if self.carrier is not None:
            conditions.append(orders.c.carrier == self.carrier.value)
        if self.search is not None:
            conditions.append(self.search.is_in(orders.c.search_text))
        return conditions


def _is_one_of(
    column: sa.ColumnElement[str], name: str, values: Sequence[str], *, at_most: int
) -> sa.ColumnElement[bool]:
    if len(values) > VALUES_AT_MOST:
        raise invalid(f"filter.{name}", f"must name at most {VALUES_AT_MOST:,}; it names {len(values):,}.")
    for number, value in enumerate(values):
        if problem := text_problem(value, at_most=at_most):
            raise invalid(f"filter.{name}.{number}", problem)
    return column == sa.func.any(array_of(list(values), sa.Text()))


async def list_orders(
    connection: AsyncConnection, *, page: PageRequest, order_filter: OrderFilter | None = None
) -> Page[Order]:
    """The workspace's orders, newest first unless the page says otherwise.  Raises InvalidInput."""
    conditions = (order_filter or OrderFilter()).conditions()
    ordered = page.in_order(NEWEST_ORDERS)
    rows = await connection.execute(ordered.apply(sa.select(*ORDER_COLUMNS).where(*conditions), orders.c))
    found = [Order.from_row(row) for row in rows]
    total = await count_rows(connection, orders, conditions) if page.with_total else None
    return ordered.page(found, total)
