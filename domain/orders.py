"""Orders: the little of a shop's order that shipping needs, and what comes back."""

import datetime as dt
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from decimal import Decimal
from enum import StrEnum
from functools import cache
from typing import Any, Self

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql.dml import ReturningUpdate

from domain.base import array_of, array_parameter, id_column, metadata, timestamp, violated_constraint
from domain.carriers import Carrier
from domain.errors import DomainError, InputProblem, InvalidInput, invalid
from domain.events import INSERT_EVENTS, EventType, NewEvent, event_parameters
from domain.filters import EVER, Period, SearchText, folded
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
from domain.text import camel_case, text_problem

ORDERS_AT_MOST = 10_000  # in one call, whatever is done with them
TEXT_AT_MOST = 500
REFERENCE_AT_MOST = 100
AMOUNT_COP_AT_MOST = Decimal("999999999999.99")
UNITS_AT_MOST = 10_000
_PROBLEMS_AT_MOST = 100


class OrderNotFound(DomainError):
    """The same for an order that does not exist and for another workspace's."""

    code = "ORDER_NOT_FOUND"

    def __init__(self, order_id: str) -> None:
        super().__init__(f"There is no order {order_id} in this workspace.")


class OrderReferenceTaken(DomainError):
    code = "ORDER_REFERENCE_TAKEN"

    def __init__(self, reference: str) -> None:
        super().__init__(f"Another order of this workspace has the reference {reference}.")


orders = sa.Table(
    "orders",
    metadata,
    id_column(primary_key=True),
    id_column("workspace_id", sa.ForeignKey("workspaces.id", ondelete="CASCADE")),
    sa.Column("reference", sa.Text, nullable=False, comment="The shop's own order number."),
    sa.Column("recipient_name", sa.Text, nullable=False),
    sa.Column("recipient_phone", sa.Text, nullable=False, comment="As typed."),
    sa.Column("recipient_email", sa.Text, nullable=False),
    sa.Column("address", sa.Text, nullable=False),
    sa.Column("city", sa.Text, nullable=False, comment="As typed; see validated_city of an item."),
    sa.Column("department", sa.Text, nullable=False, comment="As typed."),
    sa.Column("products", sa.Text, nullable=False),
    sa.Column("units", sa.Integer, nullable=False),
    sa.Column("total_cop", sa.Numeric(14, 2), nullable=False, comment="Colombian pesos."),
    sa.Column("declared_value_cop", sa.Numeric(14, 2), nullable=False, comment="Colombian pesos."),
    sa.Column("tags", sa.Text, nullable=False, comment="As typed, separated by semicolons; P/A is paid in advance."),
    sa.Column("is_cod", sa.Boolean, nullable=False, comment="Cash on delivery: the carrier collects total_cop."),
    sa.Column("stage", sa.Text, comment="Where the shop's own process has it."),
    sa.Column("carrier", sa.Text, comment="Who shipped it."),
    sa.Column("tracking_number", sa.Text, comment="The carrier's pedido number."),
    sa.Column("carrier_guide_number", sa.Text, comment="The carrier's later guía number."),
    timestamp("archived_at", nullable=True),
    sa.Column("last_event_seq", sa.BigInteger, nullable=False, server_default="0"),
    timestamp("created_at"),
    timestamp("updated_at"),
    sa.Column(
        "recipient_document",
        sa.Text,
        nullable=False,
        server_default="",
        comment="Of identity, as typed; empty where the shop does not ask for it.",
    ),
    sa.Column(
        "search_text",
        sa.Text,
        sa.Computed(
            folded(
                "reference || chr(31) || recipient_name || chr(31) || coalesce(tracking_number, '') || chr(31) "
                "|| coalesce(carrier_guide_number, '')"
            ),
            persisted=True,
        ),
        comment="What a search looks through, without capitals and accents.",
    ),
    sa.UniqueConstraint("workspace_id", "reference"),
    sa.CheckConstraint(f"length(reference) BETWEEN 1 AND {REFERENCE_AT_MOST}", name="reference_length"),
    sa.CheckConstraint(f"units BETWEEN 1 AND {UNITS_AT_MOST}", name="units_range"),
    sa.CheckConstraint("total_cop >= 0 AND declared_value_cop >= 0", name="amounts_positive"),
    sa.Index("ix_orders_workspace_id_id", "workspace_id", "id"),
    sa.Index(
        "ix_orders_not_shipped",
        "workspace_id",
        "id",
        postgresql_where=sa.text("tracking_number IS NULL AND archived_at IS NULL"),
    ),
    sa.Index("ix_orders_workspace_id_created_at_id", "workspace_id", "created_at", "id"),
    sa.Index("ix_orders_workspace_id_updated_at_id", "workspace_id", "updated_at", "id"),
    sa.Index("ix_orders_workspace_id_total_cop_id", "workspace_id", "total_cop", "id"),
    comment="A shop's orders: what shipping needs, and what comes back from the carrier.",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """An order as it was read.  Amounts are Colombian pesos; city and department are as typed."""

    id: uuid.UUID
    workspace_id: uuid.UUID
    reference: str
    recipient_name: str
    recipient_phone: str
    recipient_email: str
    address: str
    city: str
    department: str
    products: str
    units: int
    total_cop: Decimal
    declared_value_cop: Decimal
    tags: str
    is_cod: bool
    stage: str | None
    carrier: Carrier | None
    tracking_number: str | None
    carrier_guide_number: str | None
    archived_at: dt.datetime | None
    last_event_seq: int
    created_at: dt.datetime
    updated_at: dt.datetime
    recipient_document: str

    @classmethod
    def from_row(cls, row: sa.Row[Any]) -> Self:
        return cls.from_values(*row)

    @classmethod
    def from_values(cls, *values: Any) -> Self:
        """From the columns of the table in their order."""
        named = dict(zip(_ORDER_FIELDS, values, strict=False))  # the text for searches is the table's last column
        named["carrier"] = Carrier(named["carrier"]) if named["carrier"] else None
        return cls(**named)


_ORDER_FIELDS = tuple(field.name for field in fields(Order))
if tuple(orders.c.keys()) != (*_ORDER_FIELDS, "search_text"):
    raise TypeError("Order must name the columns of orders in their order")
_ORDER_COLUMNS = tuple(orders.c[name] for name in _ORDER_FIELDS)


@dataclass(frozen=True, slots=True)
class UpdatedOrder:
    order: Order
    changed_fields: tuple[str, ...]


_TRIMMED = frozenset({"reference", "tracking_number", "carrier_guide_number"})

# What a caller may change.  Names are the columns; `order/field.changed` events write them as the contract does.
CHANGEABLE_FIELDS = frozenset(
    {
        "reference",
        "recipient_name",
        "recipient_phone",
        "recipient_email",
        "recipient_document",
        "address",
        "city",
        "department",
        "products",
        "units",
        "total_cop",
        "declared_value_cop",
        "tags",
        "is_cod",
        "stage",
        "carrier",
        "tracking_number",
        "carrier_guide_number",
        "archived_at",
    }
)


async def find_orders(connection: AsyncConnection, order_ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, Order]:
    """Those of the orders that are this workspace's, by id; one statement."""
    rows = await connection.execute(
        sa.select(*_ORDER_COLUMNS).where(orders.c.id == sa.func.any(array_of(list(order_ids), sa.Uuid())))
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
    rows = await connection.execute(ordered.apply(sa.select(*_ORDER_COLUMNS).where(*conditions), orders.c))
    found = [Order.from_row(row) for row in rows]
    total = await count_rows(connection, orders, conditions) if page.with_total else None
    return ordered.page(found, total)


async def lock_orders(connection: AsyncConnection, order_ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, Order]:
    """As find_orders, locked in the order of their ids.

    An item is opened only under its order's lock, so what a caller sees of open items then stays true.
    """
    rows = await connection.execute(
        sa.select(orders)
        .where(orders.c.id == sa.func.any(array_of(list(order_ids), sa.Uuid())))
        .order_by(orders.c.id)
        .with_for_update(key_share=True)
    )
    return {row.id: Order.from_row(row) for row in rows}


async def update_order(connection: AsyncConnection, order_id: uuid.UUID, changes: Mapping[str, Any]) -> UpdatedOrder:
    """Write those fields and record one `order/field.changed` per field that really changes.

    Tags are their text, or a list of them.  Locks the order's row.  Fields that already hold the value are left alone
    and recorded nowhere.  Raises OrderNotFound, OrderReferenceTaken, InvalidInput.
    """
    changes = {
        name: value.strip() if name in _TRIMMED and isinstance(value, str) else value for name, value in changes.items()
    }
    if isinstance(tags := changes.get("tags"), list):
        changes["tags"] = join_tags(tags)
    _check_changes(changes)
    row = (
        await connection.execute(sa.select(orders).where(orders.c.id == order_id).with_for_update(key_share=True))
    ).one_or_none()
    if row is None:
        raise OrderNotFound(str(order_id))
    before = Order.from_row(row)
    if before.archived_at is not None and changes.get("archived_at") is not None:
        changes = {name: value for name, value in changes.items() if name != "archived_at"}  # it is put away already
    if isinstance(tags, list) and tags == split_tags(before.tags):  # however they were typed
        changes = {name: value for name, value in changes.items() if name != "tags"}
    try:
        return (await write_order_changes(connection, [(before, changes)]))[0]
    except IntegrityError as error:
        if violated_constraint(error) == "uq_orders_workspace_id_reference":
            raise OrderReferenceTaken(str(changes["reference"])) from None
        raise


async def write_order_changes(
    connection: AsyncConnection, changes: Sequence[tuple[Order, Mapping[str, Any]]]
) -> list[UpdatedOrder]:
    """The writing half of update_order, for orders of one workspace whose rows the caller has read under their lock.

    One statement however many orders there are; none when nothing changes.
    """
    planned = [_PlannedChange.plan(order, wanted) for order, wanted in changes]
    effective = [plan for plan in planned if plan.changed]
    if effective:
        names = tuple(sorted({name for plan in effective for name in plan.changed}))
        rows = await connection.execute(_update_orders(names), _update_parameters(effective, names))
        written = {row.id: Order.from_row(row) for row in rows}
    else:
        written = {}
    return [UpdatedOrder(written.get(plan.before.id, plan.before), tuple(plan.changed)) for plan in planned]


@dataclass(frozen=True, slots=True)
class _PlannedChange:
    before: Order
    changed: dict[str, tuple[Any, Any]]

    @classmethod
    def plan(cls, order: Order, wanted: Mapping[str, Any]) -> Self:
        return cls(
            order,
            {name: (getattr(order, name), value) for name, value in wanted.items() if getattr(order, name) != value},
        )

    def events(self) -> list[NewEvent]:
        first = self.before.last_event_seq + 1
        return [
            NewEvent(
                stream_id=self.before.id,
                seq=first + offset,
                type=EventType.ORDER_FIELD_CHANGED,
                payload={
                    "orderId": str(self.before.id),
                    "field": camel_case(name),
                    "before": _as_json(before),
                    "after": _as_json(after),
                },
            )
            for offset, (name, (before, after)) in enumerate(self.changed.items())
        ]


@cache
def _update_orders(names: tuple[str, ...]) -> ReturningUpdate[Any]:
    """One UPDATE of those fields in any number of orders, together with its events; built once per set of fields."""
    columns: dict[str, sa.types.TypeEngine[Any]] = {"id": sa.Uuid(), "last_event_seq": sa.BigInteger()}
    columns |= {name: orders.c[name].type for name in names}
    new_values = (
        sa.func.unnest(*(array_parameter(f"new_{name}", type_) for name, type_ in columns.items()))
        .table_valued(*(sa.column(name, type_) for name, type_ in columns.items()))
        .render_derived("changes")
    )
    return (
        sa.update(orders)
        .where(orders.c.id == new_values.c.id)
        .values(
            **{name: new_values.c[name] for name in ("last_event_seq", *names)},
            updated_at=sa.func.clock_timestamp(),
        )
        .returning(orders)
        .add_cte(INSERT_EVENTS.cte("recorded"))
    )


def _update_parameters(plans: Sequence[_PlannedChange], names: Sequence[str]) -> dict[str, Any]:
    """A field that an order does not change is written as it was: the caller holds the row's lock."""
    parameters = {
        f"new_{name}": [plan.changed.get(name, (None, getattr(plan.before, name)))[1] for plan in plans]
        for name in names
    }
    parameters["new_id"] = [plan.before.id for plan in plans]
    parameters["new_last_event_seq"] = [plan.before.last_event_seq + len(plan.changed) for plan in plans]
    new_events = [event for plan in plans for event in plan.events()]
    return parameters | event_parameters(plans[0].before.workspace_id, new_events)


def _as_json(value: Any) -> Any:
    match value:
        case Decimal():
            return str(value)
        case dt.datetime():
            return value.isoformat()
        case _:
            return value


def split_tags(text: str) -> list[str]:
    """The tags in a text as the shop's system writes them, `P/A; fragile`."""
    return [tag.strip() for tag in text.split(";") if tag.strip()]


def join_tags(tags: Sequence[str]) -> str:
    """Their text; what `split_tags` gives back.  Raises InvalidInput."""
    problems = [
        InputProblem(f"tags.{number}", "must be a text without blanks at its ends and without a semicolon.")
        for number, tag in enumerate(tags)
        if split_tags(tag) != [tag]
    ]
    if problems:
        raise InvalidInput(*problems[:_PROBLEMS_AT_MOST])
    return "; ".join(tags)


def _check_changes(changes: Mapping[str, Any]) -> None:
    if not changes:
        raise invalid("input", "names no field to change.")
    unknown = sorted(set(changes) - CHANGEABLE_FIELDS)
    if unknown:
        raise InvalidInput(*(InputProblem(name, "is not a field that can be changed.") for name in unknown))
    problems = [
        InputProblem(name, problem) for name, value in changes.items() if (problem := order_field_problem(name, value))
    ]
    if problems:
        raise InvalidInput(*problems)


def order_field_problem(name: str, value: Any) -> str | None:  # noqa: PLR0911 -- one answer a kind of field
    """Why that value cannot stand in that column of an order, or None."""
    match value:
        case None:
            return None if orders.c[name].nullable else "must not be empty."
        case bool() | dt.datetime():
            return None
        case int():
            return None if 1 <= value <= UNITS_AT_MOST else f"must be 1 to {UNITS_AT_MOST:,}; it is {value}."
        case Decimal():
            return amount_problem(value)
        case str():
            at_most = REFERENCE_AT_MOST if name in _TRIMMED else TEXT_AT_MOST
            if not value.strip() and (name == "reference" or orders.c[name].nullable):
                return "must not be empty." if name == "reference" else "must not be empty; null clears it."
            return text_problem(value, at_most=at_most)
        case _:
            return "has a type that cannot be stored."


def amount_problem(value: Decimal) -> str | None:
    """Why an amount of pesos cannot be stored, or None."""
    if not value.is_finite() or not 0 <= value <= AMOUNT_COP_AT_MOST:
        return "must be an amount of pesos, 0 or more."
    if abs(int(value.as_tuple().exponent)) > 30:  # 0e999999999 is zero, and no number that PostgreSQL takes
        return "must be written as a plain number."
    if int(value.normalize().as_tuple().exponent) < -2:
        return "must have at most two decimals."
    return None
