"""The pedido input: what is typed into the portal for one order (docs/api.md, `valueSent`)."""

from dataclasses import dataclass
from decimal import Decimal


@dataclass(frozen=True, slots=True)
class UnitsStep:
    """From that total (Colombian pesos) on, an order goes as that many units."""

    from_total_cop: Decimal
    units: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ShippingDefaults:
    """What a workspace types into a carrier's form where an order does not say it; sizes are of one parcel."""

    declared_value_cop: int = 55_000
    weight_kg: Decimal = Decimal("0.08")
    height_cm: int = 5
    length_cm: int = 5
    width_cm: int = 10
    reference: str | None = None
    """The form's reference text; None types the order's own reference."""
    units_by_total: tuple[UnitsStep, ...] = ()
    """By ascending total; empty types the order's own number of units."""
