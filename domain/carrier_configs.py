"""Carrier configs: a workspace's login and settings for one carrier.

The password is beside them, encrypted, in `carrier_secrets`, which people cannot read: see docs/decisions/0008 for
why, and `domain.credentials` for who can.
"""

import datetime as dt
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields
from decimal import Decimal
from enum import Enum
from typing import Any, Final, Literal, Self

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.base import id_column, metadata, new_id, one_of, timestamp
from domain.carriers import Carrier
from domain.envelopes import KeyRing, seal
from domain.errors import DomainError, InputProblem, InvalidInput
from domain.pedido_input import ShippingDefaults, UnitsStep
from domain.text import text_problem

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


class CarrierConfigNotFound(DomainError):
    code = "CARRIER_CONFIG_NOT_FOUND"

    def __init__(self, carrier: Carrier) -> None:
        super().__init__(f"This workspace has no config for {carrier}; upsertCarrierConfig makes one.")
        self.carrier = carrier


class CarrierConfigDisabled(DomainError):
    code = "CARRIER_CONFIG_DISABLED"

    def __init__(self, carrier: Carrier) -> None:
        super().__init__(f"The config for {carrier} is switched off; an admin can switch it on.")
        self.carrier = carrier


class CredentialKeysMissing(DomainError):
    """The installation has no key ring, so it cannot keep a password."""

    code = "CREDENTIAL_KEYS_MISSING"

    def __init__(self) -> None:
        super().__init__(
            "This installation has no keys to keep passwords with, so nothing was changed. "
            "Whoever runs it sets ROBOT_JOBS_CREDENTIAL_KEYS; without a password the config can be saved now."
        )


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
    sa.UniqueConstraint("workspace_id", "carrier"),
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


class Unset(Enum):
    """What a partial update leaves as it is."""

    UNSET = "unset"


UNSET: Final[Literal[Unset.UNSET]] = Unset.UNSET


@dataclass(frozen=True, slots=True, kw_only=True)
class ShippingDefaultsChanges:
    """Those that are given; see ShippingDefaults."""

    declared_value_cop: int | Unset | None = UNSET
    weight_kg: Decimal | Unset | None = UNSET
    height_cm: int | Unset | None = UNSET
    length_cm: int | Unset | None = UNSET
    width_cm: int | Unset | None = UNSET
    reference: str | Unset | None = UNSET
    units_by_total: Sequence[UnitsStep] | Unset | None = UNSET


@dataclass(frozen=True, slots=True, kw_only=True)
class CarrierConfigChanges:
    """Those that are given; None clears what may be empty.  It does not show its password."""

    username: str | Unset | None = UNSET
    is_enabled: bool | Unset | None = UNSET
    dispatch_stage: str | Unset | None = UNSET
    shipping_defaults: ShippingDefaultsChanges = ShippingDefaultsChanges()
    password: str | Unset | None = field(default=UNSET, repr=False)


async def upsert_carrier_config(
    connection: AsyncConnection,
    carrier: Carrier,
    changes: CarrierConfigChanges,
    *,
    workspace_id: uuid.UUID,
    updated_by: str,
    key_ring: KeyRing | None,
) -> CarrierConfig:
    """Make the workspace's config for that carrier, or change what is given of it.

    What is left out keeps its value, or gets its default in a new config, which needs a username.  The password None
    removes the one that is kept.  Locks the config's row.  Raises InvalidInput, CredentialKeysMissing.
    """
    values = _checked(changes)
    if isinstance(changes.password, str) and key_ring is None:
        raise CredentialKeysMissing
    values |= {"updated_at": sa.func.clock_timestamp(), "updated_by": updated_by}
    if changes.password is not UNSET:
        values["password_updated_at"] = sa.func.clock_timestamp() if changes.password is not None else sa.null()
    while (config := await _update(connection, carrier, values)) is None:
        if "username" not in values:
            raise InvalidInput(InputProblem("username", "is needed to make a config for this carrier."))
        if (config := await _insert(connection, workspace_id, carrier, values)) is not None:
            break  # else somebody else made it just now, and it is there to be changed
    if changes.password is not UNSET:
        await _remove_secret(connection, carrier)
    if isinstance(changes.password, str) and key_ring is not None:
        await _insert_secret(connection, key_ring, config, changes.password)
    return config


async def delete_carrier_config(connection: AsyncConnection, carrier: Carrier) -> CarrierConfig:
    """Remove the config with its password; the record of who read that stays.  Raises CarrierConfigNotFound."""
    row = (
        await connection.execute(
            sa.delete(carrier_configs).where(carrier_configs.c.carrier == carrier).returning(carrier_configs)
        )
    ).one_or_none()
    if row is None:
        raise CarrierConfigNotFound(carrier)
    return CarrierConfig.from_row(row)


def secret_bound_to(workspace_id: uuid.UUID, carrier: Carrier) -> tuple[str, ...]:
    """What a password is sealed for: no other table, workspace or carrier."""
    return ("carrier_secrets", str(workspace_id), carrier.value)


async def _update(connection: AsyncConnection, carrier: Carrier, values: dict[str, Any]) -> CarrierConfig | None:
    row = (
        await connection.execute(
            sa.update(carrier_configs)
            .where(carrier_configs.c.carrier == carrier)
            .values(values)
            .returning(carrier_configs)
        )
    ).one_or_none()
    return CarrierConfig.from_row(row) if row is not None else None


async def _insert(
    connection: AsyncConnection, workspace_id: uuid.UUID, carrier: Carrier, values: dict[str, Any]
) -> CarrierConfig | None:
    """None when there is one already."""
    defaults = ShippingDefaults()
    new = {
        each.name: getattr(defaults, each.name) for each in fields(defaults) if each.name != "units_by_total"
    } | values
    row = (
        await connection.execute(
            pg.insert(carrier_configs)
            .values(id=new_id(), workspace_id=workspace_id, carrier=carrier.value, **new)
            .on_conflict_do_nothing(index_elements=["workspace_id", "carrier"])
            .returning(carrier_configs)
        )
    ).one_or_none()
    return CarrierConfig.from_row(row) if row is not None else None


async def _remove_secret(connection: AsyncConnection, carrier: Carrier) -> None:
    """Without a WHERE, for which one must be able to read: the policy takes the carrier from the setting."""
    await connection.execute(sa.select(sa.func.set_config("robot_jobs.carrier", carrier.value, True)))
    await connection.execute(sa.delete(carrier_secrets))


async def _insert_secret(connection: AsyncConnection, key_ring: KeyRing, config: CarrierConfig, password: str) -> None:
    envelope = seal(key_ring, password, bound_to=secret_bound_to(config.workspace_id, config.carrier))
    await connection.execute(
        sa.insert(carrier_secrets).values(
            workspace_id=config.workspace_id,
            carrier=config.carrier.value,
            key_version=envelope.key_version,
            wrapped_key=envelope.wrapped_key,
            wrapped_key_nonce=envelope.wrapped_key_nonce,
            ciphertext=envelope.ciphertext,
            nonce=envelope.nonce,
        )
    )


def _checked(changes: CarrierConfigChanges) -> dict[str, Any]:
    """The columns to write, but for the password.  Raises one InvalidInput that names everything wrong."""
    problems = [InputProblem(path, problem) for path, problem in _problems(changes)]
    if problems:
        raise InvalidInput(*problems)
    shipping = changes.shipping_defaults
    given = {
        name: value
        for name, value in (
            ("username", changes.username),
            ("is_enabled", changes.is_enabled),
            ("dispatch_stage", changes.dispatch_stage),
            *((each.name, getattr(shipping, each.name)) for each in fields(shipping)),
        )
        if value is not UNSET
    }
    for name in ("username", "dispatch_stage", "reference"):
        if isinstance(text := given.get(name), str):
            given[name] = text.strip() or None
    if "units_by_total" in given:
        given["units_by_total"] = [
            {"fromTotalCop": format(step.from_total_cop, "f"), "units": step.units} for step in given["units_by_total"]
        ]
    return given


def _problems(changes: CarrierConfigChanges) -> Iterator[tuple[str, str]]:
    """Everything wrong, by its path."""
    yield from _text_problems("username", changes.username, at_most=USERNAME_AT_MOST, may_be_empty=False)
    if changes.is_enabled is None:
        yield "is_enabled", _NOT_NULL
    yield from _text_problems("dispatch_stage", changes.dispatch_stage, at_most=STAGE_AT_MOST)
    if isinstance(changes.password, str):
        # Never stripped: blanks may be part of it.
        problem = text_problem(changes.password, at_most=PASSWORD_AT_MOST) if changes.password else _EMPTY_PASSWORD
        if problem is not None:
            yield "password", problem
    shipping = changes.shipping_defaults
    whole = (
        ("declared_value_cop", shipping.declared_value_cop, 0, AMOUNT_COP_AT_MOST, "pesos"),
        ("height_cm", shipping.height_cm, 1, CM_AT_MOST, "cm"),
        ("length_cm", shipping.length_cm, 1, CM_AT_MOST, "cm"),
        ("width_cm", shipping.width_cm, 1, CM_AT_MOST, "cm"),
    )
    for name, number, least, most, unit in whole:
        if number is None:
            yield f"shipping_defaults.{name}", _NOT_NULL
        elif isinstance(number, int) and not least <= number <= most:
            yield f"shipping_defaults.{name}", f"must be from {least:,} to {most:,} {unit}."
    if shipping.weight_kg is None:
        yield "shipping_defaults.weight_kg", _NOT_NULL
    elif isinstance(shipping.weight_kg, Decimal) and not _is_decimal(
        shipping.weight_kg, KG_AT_LEAST, KG_AT_MOST, places=3
    ):
        yield (
            "shipping_defaults.weight_kg",
            f"must be from {KG_AT_LEAST} to {KG_AT_MOST:,} kg, with at most three decimals.",
        )
    yield from _text_problems("shipping_defaults.reference", shipping.reference, at_most=REFERENCE_AT_MOST)
    if shipping.units_by_total is None:
        yield "shipping_defaults.units_by_total", _NOT_NULL
    elif not isinstance(shipping.units_by_total, Unset):
        yield from _units_problems(shipping.units_by_total)


_NOT_NULL = "must not be null; leave it out to keep what is there."
_EMPTY_PASSWORD = "must not be empty; null removes the password."  # noqa: S105 -- a message


def _text_problems(
    path: str, text: str | Unset | None, *, at_most: int, may_be_empty: bool = True
) -> Iterator[tuple[str, str]]:
    """Blanks at the ends are not kept, but they count: nobody sends that many."""
    if not may_be_empty and (text is None or (isinstance(text, str) and not text[: 4 * at_most].strip())):
        yield path, "must not be empty."
    elif isinstance(text, str) and (problem := text_problem(text, at_most=at_most)):
        yield path, problem


def _units_problems(steps: Sequence[UnitsStep]) -> Iterator[tuple[str, str]]:
    path = "shipping_defaults.units_by_total"
    if len(steps) > UNITS_STEPS_AT_MOST:
        yield path, f"must hold at most {UNITS_STEPS_AT_MOST} steps; it holds {len(steps):,}."
        return
    before: Decimal | None = None
    for number, step in enumerate(steps):
        if not _is_decimal(step.from_total_cop, Decimal(0), Decimal(AMOUNT_COP_AT_MOST), places=2):
            most = f"{AMOUNT_COP_AT_MOST:,}"
            yield f"{path}.{number}.from_total_cop", f"must be from 0 to {most} pesos, with at most two decimals."
        elif before is not None and step.from_total_cop <= before:
            yield f"{path}.{number}.from_total_cop", "must be more than that of the step before."
        else:
            before = step.from_total_cop
        if not 1 <= step.units <= UNITS_AT_MOST:
            yield f"{path}.{number}.units", f"must be from 1 to {UNITS_AT_MOST:,}."


def _is_decimal(number: Decimal, least: Decimal, most: Decimal, *, places: int) -> bool:
    return number.is_finite() and least <= number <= most and number == round(number, places)
