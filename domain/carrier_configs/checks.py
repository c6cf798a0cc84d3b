"""What a caller may change of a config, and why it cannot be."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields
from decimal import Decimal
from enum import Enum
from typing import Any, Final, Literal

from domain.carrier_configs.tables import (
    AMOUNT_COP_AT_MOST,
    CM_AT_MOST,
    KG_AT_LEAST,
    KG_AT_MOST,
    LEASES_AT_MOST,
    PASSWORD_AT_MOST,
    REFERENCE_AT_MOST,
    STAGE_AT_MOST,
    UNITS_AT_MOST,
    UNITS_STEPS_AT_MOST,
    USERNAME_AT_MOST,
)
from domain.errors import InputProblem, InvalidInput
from domain.pedido_input import UnitsStep
from domain.text import text_problem


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
    max_concurrent_leases: int | Unset | None = UNSET


def checked_values(changes: CarrierConfigChanges) -> dict[str, Any]:
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
            ("max_concurrent_leases", changes.max_concurrent_leases),
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
    leases = changes.max_concurrent_leases
    if leases is None:
        yield "max_concurrent_leases", _NOT_NULL
    elif isinstance(leases, int) and not 1 <= leases <= LEASES_AT_MOST:
        yield "max_concurrent_leases", f"must be from 1 to {LEASES_AT_MOST}."
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
