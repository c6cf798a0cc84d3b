"""The tables of carrier configs and their passwords, a config as it is read, and the limits of what it holds."""

import datetime as dt
import uuid
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Self

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.base import id_column, metadata, one_of, timestamp
from domain.carriers import Carrier
from domain.pedido_input import ShippingDefaults, UnitsStep

USERNAME_AT_MOST = 200
PASSWORD_AT_MOST = 500
STAGE_AT_MOST = 100
REFERENCE_AT_MOST = 100
UNITS_STEPS_AT_MOST = 20
UNITS_AT_MOST = 10_000
AMOUNT_COP_AT_MOST = 999_999_999
CM_AT_MOST = 500
KG_AT_LEAST = Decimal("0.01")
KG_AT_MOST = Decimal(1_000)
LEASES_AT_MOST = 100


carrier_configs = sa.Table(
    "carrier_configs",
    metadata,
    id_column(primary_key=True),
    id_column("workspace_id", sa.ForeignKey("workspaces.id", ondelete="CASCADE")),
    sa.Column("carrier", sa.Text, nullable=False),
    sa.Column("username", sa.Text, nullable=False, comment="Of the carrier's portal."),
    sa.Column("is_enabled", sa.Boolean, nullable=False, server_default=sa.true()),
    sa.Column("dispatch_stage", sa.Text, comment="Orders of that stage are ready for this carrier; null is any."),
    sa.Column("declared_value_cop", sa.Integer, nullable=False, comment="Whole Colombian pesos, of one parcel."),
    sa.Column("weight_kg", sa.Numeric(7, 3), nullable=False),
    sa.Column("height_cm", sa.Integer, nullable=False),
    sa.Column("length_cm", sa.Integer, nullable=False),
    sa.Column("width_cm", sa.Integer, nullable=False),
    sa.Column("reference", sa.Text, comment="The form's reference text; null is the order's own reference."),
    sa.Column(
        "units_by_total",
        pg.JSONB,
        nullable=False,
        server_default=sa.text("'[]'"),
        comment="[{fromTotalCop, units}] by ascending total; empty is the order's own number of units.",
    ),
    timestamp("password_updated_at", nullable=True, comment="When the password was last set; null when there is none."),
    timestamp("created_at"),
    timestamp("updated_at"),
    sa.Column("updated_by", sa.Text, nullable=False, comment="The user id of who changed it last."),
    sa.Column(
        "max_concurrent_leases",
        sa.Integer,
        nullable=False,
        server_default="1",
        comment="How many items robots may work on at once with this login; many portals allow one session.",
    ),
    sa.UniqueConstraint("workspace_id", "carrier"),
    sa.CheckConstraint(f"max_concurrent_leases BETWEEN 1 AND {LEASES_AT_MOST}", name="max_concurrent_leases_range"),
    one_of("carrier", Carrier),
    sa.CheckConstraint(f"length(username) BETWEEN 1 AND {USERNAME_AT_MOST}", name="username_length"),
    sa.CheckConstraint(f"length(dispatch_stage) BETWEEN 1 AND {STAGE_AT_MOST}", name="dispatch_stage_length"),
    sa.CheckConstraint(f"declared_value_cop BETWEEN 0 AND {AMOUNT_COP_AT_MOST}", name="declared_value_cop_range"),
    sa.CheckConstraint(f"weight_kg BETWEEN {KG_AT_LEAST} AND {KG_AT_MOST}", name="weight_kg_range"),
    sa.CheckConstraint(
        " AND ".join(f"{side} BETWEEN 1 AND {CM_AT_MOST}" for side in ("height_cm", "length_cm", "width_cm")),
        name="size_range",
    ),
    sa.CheckConstraint(f"length(reference) BETWEEN 1 AND {REFERENCE_AT_MOST}", name="reference_length"),
    sa.CheckConstraint(
        "CASE jsonb_typeof(units_by_total) "
        f"WHEN 'array' THEN jsonb_array_length(units_by_total) <= {UNITS_STEPS_AT_MOST} ELSE false END",
        name="units_by_total_steps",
    ),
    comment="A workspace's login and settings for one carrier; the password is in carrier_secrets.",
)

carrier_secrets = sa.Table(
    "carrier_secrets",
    metadata,
    id_column("workspace_id", primary_key=True),
    sa.Column("carrier", sa.Text, primary_key=True),
    sa.Column("key_version", sa.Integer, nullable=False, comment="Which key of the key ring wraps the data key."),
    sa.Column("wrapped_key", sa.LargeBinary, nullable=False, comment="The row's own data key, AES-256-GCM."),
    sa.Column("wrapped_key_nonce", sa.LargeBinary, nullable=False),
    sa.Column("ciphertext", sa.LargeBinary, nullable=False, comment="The password under the data key, AES-256-GCM."),
    sa.Column("nonce", sa.LargeBinary, nullable=False),
    timestamp("created_at"),
    # A foreign key ignores policies, so the tenant is part of it.
    sa.ForeignKeyConstraint(
        ["workspace_id", "carrier"], ["carrier_configs.workspace_id", "carrier_configs.carrier"], ondelete="CASCADE"
    ),
    sa.CheckConstraint("key_version >= 1", name="key_version_positive"),
    sa.CheckConstraint("octet_length(wrapped_key) = 48", name="wrapped_key_length"),
    sa.CheckConstraint("octet_length(wrapped_key_nonce) = 12 AND octet_length(nonce) = 12", name="nonce_lengths"),
    sa.CheckConstraint("octet_length(ciphertext) BETWEEN 17 AND 4096", name="ciphertext_length"),
    comment="The portal passwords, encrypted.  People write them; only robots and the system can read the rows.",
)

credential_reads = sa.Table(
    "credential_reads",
    metadata,
    id_column(primary_key=True),
    id_column("workspace_id", sa.ForeignKey("workspaces.id", ondelete="CASCADE")),
    id_column("carrier_config_id", comment="No foreign key: the record outlives the config."),
    sa.Column("carrier", sa.Text, nullable=False),
    sa.Column("read_by", sa.Text, nullable=False, comment="The user id of the robot, or the name of the process."),
    sa.Column("purpose", sa.Text, nullable=False),
    id_column("item_id", nullable=True, comment="For which item; no foreign key, as above."),
    timestamp("read_at"),
    sa.CheckConstraint("length(read_by) BETWEEN 1 AND 255", name="read_by_length"),
    sa.CheckConstraint("length(purpose) BETWEEN 1 AND 100", name="purpose_length"),
    sa.Index("ix_credential_reads_workspace_id_id", "workspace_id", "id"),
    comment="Each time a portal password was decrypted: by whom, what for.  Rows are never changed.",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class CarrierConfig:
    """A config as it was read.  It holds no password, only when that was last set."""

    id: uuid.UUID
    workspace_id: uuid.UUID
    carrier: Carrier
    username: str
    is_enabled: bool
    dispatch_stage: str | None
    """Orders of that stage are ready for this carrier; None means any."""
    shipping_defaults: ShippingDefaults
    password_updated_at: dt.datetime | None
    created_at: dt.datetime
    updated_at: dt.datetime
    updated_by: str
    max_concurrent_leases: int
    """How many items robots may work on at once with this login."""

    @property
    def has_password(self) -> bool:
        return self.password_updated_at is not None

    @classmethod
    def from_row(cls, row: sa.Row[Any]) -> Self:
        return cls(
            id=row.id,
            workspace_id=row.workspace_id,
            carrier=Carrier(row.carrier),
            username=row.username,
            is_enabled=row.is_enabled,
            dispatch_stage=row.dispatch_stage,
            shipping_defaults=ShippingDefaults(
                declared_value_cop=row.declared_value_cop,
                weight_kg=row.weight_kg,
                height_cm=row.height_cm,
                length_cm=row.length_cm,
                width_cm=row.width_cm,
                reference=row.reference,
                units_by_total=tuple(
                    UnitsStep(Decimal(step["fromTotalCop"]), step["units"]) for step in row.units_by_total
                ),
            ),
            password_updated_at=row.password_updated_at,
            created_at=row.created_at,
            updated_at=row.updated_at,
            updated_by=row.updated_by,
            max_concurrent_leases=row.max_concurrent_leases,
        )


async def find_carrier_config(connection: AsyncConnection, carrier: Carrier) -> CarrierConfig | None:
    """The workspace's config for that carrier."""
    row = (
        await connection.execute(sa.select(carrier_configs).where(carrier_configs.c.carrier == carrier))
    ).one_or_none()
    return CarrierConfig.from_row(row) if row is not None else None


async def find_carrier_configs(connection: AsyncConnection) -> list[CarrierConfig]:
    """All of the workspace's, by carrier."""
    rows = await connection.execute(sa.select(carrier_configs).order_by(carrier_configs.c.carrier))
    return [CarrierConfig.from_row(row) for row in rows]
