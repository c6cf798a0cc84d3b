"""Orders change: field by field, each real change with its event."""

import datetime as dt
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from typing import Any, Self

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql.dml import ReturningUpdate

from domain.base import array_parameter, violated_constraint
from domain.errors import DomainError, InputProblem, InvalidInput, invalid
from domain.events import INSERT_EVENTS, EventType, NewEvent, event_parameters
from domain.orders.fields import TRIMMED, join_tags, order_field_problem, split_tags
from domain.orders.tables import ORDER_COLUMNS, Order, orders
from domain.text import camel_case


class OrderNotFound(DomainError):
    """The same for an order that does not exist and for another workspace's."""

    code = "ORDER_NOT_FOUND"

    def __init__(self, order_id: str) -> None:
        super().__init__(f"There is no order {order_id} in this workspace.")


class OrderReferenceTaken(DomainError):
    code = "ORDER_REFERENCE_TAKEN"

    def __init__(self, reference: str) -> None:
        super().__init__(f"Another order of this workspace has the reference {reference}.")


@dataclass(frozen=True, slots=True)
class UpdatedOrder:
    order: Order
    changed_fields: tuple[str, ...]


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


async def update_order(connection: AsyncConnection, order_id: uuid.UUID, changes: Mapping[str, Any]) -> UpdatedOrder:
    """Write those fields and record one `order/field.changed` per field that really changes.

    Tags are their text, or a list of them.  Locks the order's row.  Fields that already hold the value are left alone
    and recorded nowhere.  Raises OrderNotFound, OrderReferenceTaken, InvalidInput.
    """
    changes = {
        name: value.strip() if name in TRIMMED and isinstance(value, str) else value for name, value in changes.items()
    }
    if isinstance(tags := changes.get("tags"), list):
        changes["tags"] = join_tags(tags)
    _check_changes(changes)
    row = (
        await connection.execute(
            sa.select(*ORDER_COLUMNS).where(orders.c.id == order_id).with_for_update(key_share=True)
        )
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
        .returning(*ORDER_COLUMNS)
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
