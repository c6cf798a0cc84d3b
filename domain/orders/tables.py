"""The table of orders, and the values that functions return for it."""

import datetime as dt
import uuid
from dataclasses import dataclass, fields
from decimal import Decimal
from typing import Any, Self

import sqlalchemy as sa

from domain.base import id_column, metadata, timestamp
from domain.carriers import Carrier
from domain.filters import folded

ORDERS_AT_MOST = 10_000  # in one call, whatever is done with them
REFERENCE_AT_MOST = 100
UNITS_AT_MOST = 10_000

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
        """From ORDER_COLUMNS."""
        named = dict(zip(_ORDER_FIELDS, values, strict=True))
        named["carrier"] = Carrier(named["carrier"]) if named["carrier"] else None
        return cls(**named)


_ORDER_FIELDS = tuple(field.name for field in fields(Order))
if tuple(orders.c.keys()) != (*_ORDER_FIELDS, "search_text"):
    raise TypeError("Order must name the columns of orders in their order")
ORDER_COLUMNS = tuple(orders.c[name] for name in _ORDER_FIELDS)
"""What an order is read by: all but the text for searches."""
