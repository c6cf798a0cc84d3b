"""What is typed into the portal for an order: every field by its rule."""

import dataclasses
import datetime as dt
from decimal import Decimal
from typing import Any

import pytest

from domain.base import new_id
from domain.orders import Order
from domain.pedido_input import ShippingDefaults, UnitsStep, pedido_input
from tests.tenants import Tenant

_NOW = dt.datetime(2026, 11, 22, tzinfo=dt.UTC)
_ORDER = Order(
    id=new_id(),
    workspace_id=new_id(),
    reference="ORD-1",
    recipient_name=" Ana  María Gómez ",
    recipient_phone="+57 309 123-4567",
    recipient_email=" ana@example.com ",
    address=" Calle 1  # 2-3 ",
    city="Medellin",
    department="Antioquia",
    products="1x Gorra",
    units=3,
    total_cop=Decimal("52900.00"),
    declared_value_cop=Decimal("32000.00"),
    tags="",
    is_cod=True,
    stage=None,
    carrier=None,
    tracking_number=None,
    carrier_guide_number=None,
    archived_at=None,
    last_event_seq=0,
    created_at=_NOW,
    updated_at=_NOW,
    recipient_document="",
)


def typed(defaults: ShippingDefaults | None = None, **changes: Any) -> dict[str, Any]:
    order = dataclasses.replace(_ORDER, **changes)
    return pedido_input(
        order, carrier_city="MEDELLIN (ANT)", department_abbrev="ANT", defaults=defaults or ShippingDefaults()
    )


def test_every_field_of_the_form_is_typed() -> None:
    assert typed() == {
        "identificacion": "3091234567",
        "nombres": "Ana",
        "apellidos": "María Gómez",
        "direccion": "Calle 1 # 2-3",
        "ciudad": "MEDELLIN (ANT)",
        "departamento": "ANT",
        "celular": "3091234567",
        "email": "ana@example.com",
        "referencia": "ORD-1",
        "unidades": 3,
        "totalConIva": 52900,
        "valorDeclarado": 32000,
        "esRecaudoContraentrega": True,
        "peso": 0.08,
        "alto": 5,
        "largo": 5,
        "ancho": 10,
    }


@pytest.mark.parametrize(
    ("changes", "field", "value"),
    [
        ({"recipient_document": " 1.020.304 "}, "identificacion", "1.020.304"),
        ({"recipient_name": "Ana"}, "apellidos", ""),
        ({"recipient_phone": "0057 (309) 123 4567"}, "celular", "3091234567"),
        ({"is_cod": False}, "totalConIva", 0),
        ({"is_cod": False}, "esRecaudoContraentrega", False),
        ({"declared_value_cop": Decimal(0)}, "valorDeclarado", 55_000),
    ],
)
def test_what_the_order_does_not_say_has_a_rule(changes: dict[str, Any], field: str, value: object) -> None:
    assert typed(**changes)[field] == value


def test_amounts_are_whole_numbers() -> None:
    assert [type(typed()[name]) for name in ("totalConIva", "valorDeclarado")] == [int, int]


def test_a_workspaces_defaults_are_typed() -> None:
    defaults = ShippingDefaults(
        declared_value_cop=80_000, weight_kg=Decimal("1.500"), height_cm=7, length_cm=8, width_cm=9, reference="Ropa"
    )

    form = typed(defaults, declared_value_cop=Decimal(0))

    names = ("valorDeclarado", "peso", "alto", "largo", "ancho", "referencia")
    assert [form[name] for name in names] == [80_000, 1.5, 7, 8, 9, "Ropa"]


@pytest.mark.parametrize(("total", "units"), [(99_999, 3), (100_000, 1), (299_999, 1), (300_000, 2), (900_000, 2)])
def test_units_go_by_the_total_where_the_workspace_says_so(total: int, units: int) -> None:
    steps = (UnitsStep(Decimal(100_000), 1), UnitsStep(Decimal(300_000), 2))

    assert typed(ShippingDefaults(units_by_total=steps), total_cop=Decimal(total))["unidades"] == units


async def test_a_job_types_by_its_workspaces_config(tenant: Tenant, other_tenant: Tenant) -> None:
    await tenant.configure(defaults=ShippingDefaults(reference="Ropa"))
    await other_tenant.configure(defaults=ShippingDefaults(reference="Zapatos"))

    [item] = (await tenant.job(items=1)).items

    assert item.value_sent is not None
    assert item.value_sent["referencia"] == "Ropa"
