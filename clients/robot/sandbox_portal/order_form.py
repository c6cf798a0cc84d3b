"""The form for a new order: its fields by their names, and what the portal accepts in them."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from clients.robot.sandbox_portal.cities import Cities

FIELD_CHARACTERS_AT_MOST = 200
_DIGITS = re.compile(r"[0-9]+")
_WHOLE = re.compile(r"[0-9]{1,10}")
_DECIMAL = re.compile(r"[0-9]{1,6}(\.[0-9]{1,3})?")
_EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")


@dataclass(frozen=True, slots=True)
class Field:
    """A text field.  `problem` says, in the portal's words, what is wrong with a value, or None."""

    label: str
    problem: Callable[[str], str | None]


def _text(value: str) -> str | None:
    return None if value.strip() else "es obligatorio."


def _anything(_: str) -> str | None:
    return None


def _document(value: str) -> str | None:
    return None if _DIGITS.fullmatch(value) and 5 <= len(value) <= 15 else "debe tener de 5 a 15 dígitos."


def _mobile(value: str) -> str | None:
    return None if _DIGITS.fullmatch(value) and len(value) == 10 else "debe tener 10 dígitos."


def _email(value: str) -> str | None:
    return None if not value or _EMAIL.fullmatch(value) else "no es un correo válido."


def _number(value: str) -> str | None:
    return None if _WHOLE.fullmatch(value) and int(value) else "debe ser un número entero."


def _units(value: str) -> str | None:
    return None if _WHOLE.fullmatch(value) and 1 <= int(value) <= 999 else "debe ser de 1 a 999."


def _pesos(value: str) -> str | None:
    return None if _WHOLE.fullmatch(value) else "debe ser un valor en pesos enteros, sin puntos ni decimales."


def _value(value: str) -> str | None:
    return _pesos(value) or (None if int(value) else "debe ser mayor que 0.")


def _measure(value: str) -> str | None:
    return None if _DECIMAL.fullmatch(value) and float(value) > 0 else "debe ser un número mayor que 0."


FIELDS: Mapping[str, Field] = {
    "identificacion_": Field("Identificación", _document),
    "nombres_": Field("Nombres", _text),
    "apellidos_": Field("Apellidos", _anything),
    "direccion_": Field("Dirección", _text),
    "telefono_celular_": Field("Teléfono celular", _mobile),
    "email_destinatario": Field("Correo del destinatario", _email),
    "numero_pedido": Field("Número de pedido", _number),
    "referencia": Field("Referencia", _anything),
    "unidades": Field("Unidades", _units),
    "total_iva": Field("Total IVA", _pesos),
    "total_coniva": Field("Total con IVA", _pesos),
    "valor_declarado": Field("Valor declarado", _value),
    "peso": Field("Peso (kg)", _measure),
    "alto": Field("Alto (cm)", _measure),
    "largo": Field("Largo (cm)", _measure),
    "ancho": Field("Ancho (cm)", _measure),
    "ciudad": Field("Ciudad destino", _anything),
}
"""`ciudad` is what was chosen from the suggestions; the field that is typed in has no name."""

CITY = "ciudad"
COLLECT = "pago_contra_entrega"
COLLECT_FREIGHT = "flete_contra_entrega"
RADIOS: Mapping[str, str] = {COLLECT: "Pago contra entrega", COLLECT_FREIGHT: "Flete contra entrega"}
YES, NO = "S", "N"


def form_values(sent: Mapping[str, str]) -> dict[str, str]:
    """The form's own fields of what was sent; one that was not sent is empty."""
    return {name: sent.get(name, "") for name in (*FIELDS, *RADIOS)}


def text_problem(value: str) -> str | None:
    """Why no field takes such a text, or None."""
    if len(value) > FIELD_CHARACTERS_AT_MOST:
        return f"tiene más de {FIELD_CHARACTERS_AT_MOST} caracteres."
    if any(ord(character) < 32 or character == "\x7f" or "\ud800" <= character <= "\udfff" for character in value):
        return "tiene caracteres no permitidos."
    return None


def form_problems(values: Mapping[str, str], cities: Cities) -> list[str]:
    """Everything that keeps the portal from taking the order, each a sentence; nothing when it is right."""
    problems = []
    for name, label in {**{name: field.label for name, field in FIELDS.items()}, **RADIOS}.items():
        problem = text_problem(values[name]) or (FIELDS[name].problem(values[name]) if name in FIELDS else None)
        if problem:
            problems.append(f"{label}: {problem}")
    return problems or _rules_between_fields(values, cities)


def _rules_between_fields(values: Mapping[str, str], cities: Cities) -> list[str]:
    problems = []
    city, collect, freight = values[CITY], values[COLLECT], values[COLLECT_FREIGHT]
    if city not in cities:
        problems.append("Ciudad destino: seleccione una ciudad de la lista.")
    if collect not in {YES, NO}:
        problems.append("Pago contra entrega: seleccione S o N.")
    # A disabled radio is not sent.
    if freight not in ({YES, NO} if cities.collects(city) else {NO, ""}):
        problems.append("Flete contra entrega: no está disponible o no se ha seleccionado.")
    if collect == YES and city in cities and not cities.collects(city):
        problems.append(f"Pago contra entrega: no hay recaudo en {city}.")
    if collect == YES and not int(values["total_coniva"]):
        problems.append("Total con IVA: debe ser mayor que 0 para el pago contra entrega.")
    return problems
