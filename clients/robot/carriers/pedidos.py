"""What the portals of pedidos have in common: the form's fields, what their dialog means, and their paged list."""

import re
import unicodedata
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from clients.robot.carrier import (
    Account,
    DuplicateNumber,
    ErrorKind,
    FieldRefused,
    Form,
    OutcomeUnknown,
    Parcel,
    PortalAnswer,
    PortalUnavailable,
    Refused,
    Stored,
)

PANEL_PATH = "/panel"
FORM_PATH = "/panel/agregar_pedidos/coordinadora"
LIST_PATH = "/panel/pedidos"

NUMBER = "numero_pedido"
CITY = "ciudad"
COLLECT = "pago_contra_entrega"
COLLECT_FREIGHT = "flete_contra_entrega"
AMOUNT = "total_coniva"
TEXTS = (
    "identificacion_",
    "nombres_",
    "apellidos_",
    "direccion_",
    "telefono_celular_",
    "email_destinatario",
    NUMBER,
    "referencia",
    "unidades",
    "total_iva",
    AMOUNT,
    "valor_declarado",
    "peso",
    "alto",
    "largo",
    "ancho",
)
"""Fields to type in, in the order of the page."""
RADIOS = (COLLECT, COLLECT_FREIGHT)
YES, NO = "S", "N"

_RANGE = re.compile(r"(\d[\d.,]*)\s*[-–—]\s*(\d[\d.,]*)\s+(?:de|of)\s+(\d[\d.,]*)")
_NAMED_NUMBER = re.compile(r"\bpedido\s+(?:n\S*\s+)?(\d+)")
_TAKEN_NUMBER = re.compile(r"\bpedido\b.*\b(ya\b.*\b(usad|utilizad|exist|registrad|cread)|duplicad|repetid)")
_NO_ANSWER = re.compile(r"\bconexion\b|\btiempo de espera\b|\btime ?out\b")
_FIELD = re.compile(
    r"\b(identificacion|documento|nombres?|apellidos?|destinatario|direccion|telefono|celular|correo|email|referencia"
    r"|unidades|total (con )?iva|valor declarado|ciudad|municipio|recaudo|contra ?entrega)\b"
    r"|\b(peso|alto|largo|ancho)\b *(\(\w+\))? *(:|debe\b|no\b|es\b)"
)

_ORDER_SHOWS_AFTER = 10
"""Rows."""


# ---------------------------------------------------------------------------------------------- the form


def pedido_form(order: Mapping[str, Any], number: str) -> dict[str, str]:
    """Every field with what is typed into it.  The freight is prepaid unless the order says otherwise."""
    return {
        "identificacion_": str(order["identificacion"]),
        "nombres_": str(order["nombres"]),
        "apellidos_": str(order["apellidos"]),
        "direccion_": str(order["direccion"]),
        "telefono_celular_": str(order["celular"]),
        "email_destinatario": str(order["email"]),
        NUMBER: number,
        "referencia": str(order["referencia"]),
        "unidades": _digits(order["unidades"]),
        "total_iva": "0",
        AMOUNT: _digits(order["totalConIva"]),
        "valor_declarado": _digits(order["valorDeclarado"]),
        "peso": _digits(order["peso"]),
        "alto": _digits(order["alto"]),
        "largo": _digits(order["largo"]),
        "ancho": _digits(order["ancho"]),
        CITY: str(order["ciudad"]),
        COLLECT: YES if order["esRecaudoContraentrega"] else NO,
        COLLECT_FREIGHT: YES if order.get("esFleteContraentrega") else NO,
    }


def _digits(value: float) -> str:
    """As a person types it: 0.08, 150000."""
    return f"{Decimal(str(value)).normalize():f}"


def check_form(form: Form) -> None:
    """What need not be typed to know that it is not taken.  Raises FieldRefused."""
    if not form[AMOUNT].isdecimal():
        raise FieldRefused(f"The portal collects whole pesos only; the total is {form[AMOUNT]}.")


# ---------------------------------------------------------------------------------------------- the dialog


def read_dialog(icon: str, title: str, text: str, *, number: str) -> PortalAnswer:
    """What the portal has said to the order of that number.  Raises OutcomeUnknown where that is neither yes nor no.

    A refusal that names a field of the form is about the order's data.  One that speaks of the connection may well
    have reached the carrier before it broke.
    """
    said = text.strip() or title.strip()
    plain = _plain(f"{title}. {text}")
    if icon == "success":
        named = _NAMED_NUMBER.search(plain)
        if named and int(named[1]) != int(number):
            raise OutcomeUnknown(f"Number {number} was typed, but the portal says: {said}")
        return Stored(number)
    if icon != "error" or _NO_ANSWER.search(plain):
        raise OutcomeUnknown(f"The portal says neither yes nor no: {said}")
    if _TAKEN_NUMBER.search(plain):
        return DuplicateNumber(said)
    return Refused(ErrorKind.VALIDATION if _FIELD.search(plain) else ErrorKind.PORTAL, said)


def _plain(text: str) -> str:
    """Small letters without accents."""
    letters = unicodedata.normalize("NFKD", text.lower())
    return "".join(letter for letter in letters if not unicodedata.combining(letter))


# ---------------------------------------------------------------------------------------------- the list


@dataclass(frozen=True, slots=True)
class ListPage:
    """Rows `first` to `last`, counted from 1, of `total`; all three 0 in an empty list."""

    rows: Sequence[Parcel]
    first: int
    last: int
    total: int

    @property
    def is_whole(self) -> bool:
        """It shows as many rows as it says."""
        return len(self.rows) == (self.last - self.first + 1 if self.total else 0)


def list_page(rows: Sequence[Parcel], range_text: str) -> ListPage | None:
    """None if the text is no range such as `1-10 de 13`."""
    found = _RANGE.search(range_text)
    if found is None:
        return None
    first, last, total = (int(re.sub(r"[.,]", "", number)) for number in found.groups())
    return ListPage(rows, first, last, total)


async def find_parcel(pages: AsyncGenerator[ListPage], number: str) -> Parcel | None:
    """The row of that number; None only after all of a list, or all of it that could hold the number, was read.

    Numbers only grow, so a list that shows the newest first need not be read to its end; one in another order is.
    Raises PortalUnavailable when the list contradicts itself.
    """
    order = _Order()
    async with aclosing(pages):
        async for page in _checked(pages):
            for row in page.rows:
                if row.number == number:
                    return row
                order.read(row)
            if order.is_newest_first and order.lowest < int(number):
                return None
    return None


async def highest_number(pages: AsyncGenerator[ListPage]) -> int:
    """0 in an empty list.  Raises PortalUnavailable when the list contradicts itself."""
    order = _Order()
    async with aclosing(pages):
        async for page in _checked(pages):
            for row in page.rows:
                order.read(row)
            if order.is_newest_first:
                break
    return order.highest


class _Order:
    """What the rows so far say about those that are still to come."""

    def __init__(self) -> None:
        self.highest = 0
        self.lowest = 0
        self._rows = 0
        self._only_falls = True

    @property
    def is_newest_first(self) -> bool:
        """A few rows may stand so by chance."""
        return self._only_falls and self._rows >= _ORDER_SHOWS_AFTER

    def read(self, row: Parcel) -> None:
        if not row.number.isdecimal():
            return
        here = int(row.number)
        self._only_falls = self._only_falls and (not self._rows or here <= self.lowest)
        self.highest, self.lowest = max(self.highest, here), here
        self._rows += 1


async def _checked(pages: AsyncGenerator[ListPage]) -> AsyncGenerator[ListPage]:
    """The pages one after another up to the last.  Half a list must not pass for one that lacks a number."""
    read = 0
    page: ListPage | None = None
    async for page in pages:
        if not page.is_whole or (page.total and page.first != read + 1):
            raise PortalUnavailable(f"The portal's list is not shown in order: {page.first}-{page.last} after {read}.")
        yield page
        read = page.last
    if page is None or page.last != page.total:
        raise PortalUnavailable(f"The portal's list ends after {read} rows before its end.")


# ---------------------------------------------------------------------------------------------- secrets


def without_password(text: str, account: Account) -> str:
    """A portal may repeat what was typed."""
    return text.replace(account.password, "•••") if account.password else text
