"""The pedido input: what is typed into the portal for one order, and why an order cannot be typed at all."""

import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from domain.dispatch_problems import DispatchProblem, DispatchProblemCode
from domain.orders import Order

PHONE_DIGITS = 10


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
    """By ascending total; below the first step, and without steps, the order's own number of units is typed."""


def own_problems(order: Order) -> list[DispatchProblem]:
    """What the portal's form would refuse whatever the city: it needs a name, an address, ten digits, whole pesos."""
    problems = []
    if not order.recipient_name.strip():
        problems.append(DispatchProblem(DispatchProblemCode.RECIPIENT_MISSING, "The recipient has no name."))
    if not order.address.strip():
        problems.append(DispatchProblem(DispatchProblemCode.ADDRESS_MISSING, "There is no address."))
    digits = len(_digits(order.recipient_phone))
    if digits < PHONE_DIGITS:
        message = f"The phone number has {digits} digits; the carrier needs {PHONE_DIGITS}."
        problems.append(DispatchProblem(DispatchProblemCode.PHONE_INVALID, message))
    if order.is_cod and not _is_whole(order.total_cop):
        message = f"The carrier collects whole pesos only; the total is {order.total_cop.normalize():f}."
        problems.append(DispatchProblem(DispatchProblemCode.AMOUNT_NOT_WHOLE_PESOS, message))
    if order.is_cod and not order.total_cop:
        message = "The order is cash on delivery, but its total is 0: there is nothing to collect."
        problems.append(DispatchProblem(DispatchProblemCode.COD_AMOUNT_MISSING, message))
    if not _is_whole(order.declared_value_cop):
        message = f"A value is declared in whole pesos; it is {order.declared_value_cop.normalize():f}."
        problems.append(DispatchProblem(DispatchProblemCode.AMOUNT_NOT_WHOLE_PESOS, message))
    return problems


def pedido_input(
    order: Order, *, carrier_city: str, department_abbrev: str, defaults: ShippingDefaults
) -> dict[str, Any]:
    """The form's fields by their names, for an order without problems.

    Amounts are whole pesos, the weight is in kg, sizes in cm; the recipient's document is the phone number's last ten
    digits where the shop knows none, and nothing is collected for an order that is paid in advance.
    """
    given_name, _, family_name = " ".join(order.recipient_name.split()).partition(" ")
    phone = _digits(order.recipient_phone)[-PHONE_DIGITS:]
    return {
        "identificacion": order.recipient_document.strip() or phone,
        "nombres": given_name,
        "apellidos": family_name,
        "direccion": " ".join(order.address.split()),
        "ciudad": carrier_city,
        "departamento": department_abbrev,
        "celular": phone,
        "email": order.recipient_email.strip(),
        "referencia": defaults.reference or order.reference,
        "unidades": _units(order, defaults),
        "totalConIva": int(order.total_cop) if order.is_cod else 0,
        "valorDeclarado": int(order.declared_value_cop) or defaults.declared_value_cop,
        "esRecaudoContraentrega": order.is_cod,
        "peso": float(defaults.weight_kg),
        "alto": defaults.height_cm,
        "largo": defaults.length_cm,
        "ancho": defaults.width_cm,
    }


def _units(order: Order, defaults: ShippingDefaults) -> int:
    steps = [step.units for step in defaults.units_by_total if step.from_total_cop <= order.total_cop]
    return steps[-1] if steps else order.units


def _digits(text: str) -> str:
    return re.sub(r"[^0-9]", "", text)


def _is_whole(amount: Decimal) -> bool:
    return amount == amount.to_integral_value()
