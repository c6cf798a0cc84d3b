"""What a dialog means, and what may be read out of a list: rules without a portal."""

from collections.abc import AsyncGenerator, Sequence
from typing import Any

import pytest

from clients.robot.carrier import (
    Account,
    DuplicateNumber,
    ErrorKind,
    FieldRefused,
    OutcomeUnknown,
    Parcel,
    PortalUnavailable,
    Refused,
    Stored,
)
from clients.robot.carriers.pedidos import (
    ListPage,
    check_form,
    find_parcel,
    highest_number,
    list_page,
    pedido_form,
    read_dialog,
    without_password,
)
from clients.robot.conformance.suite import ORDER, an_order, stored_form
from clients.robot.sandbox_portal.order_form import FIELDS, RADIOS

# ---------------------------------------------------------------------------------------------- the form


def test_the_form_has_every_field_of_the_portal() -> None:
    form = pedido_form(ORDER, "12")

    assert set(form) == {*FIELDS, *RADIOS}
    assert form == stored_form(ORDER, "12") | {"flete_contra_entrega": "N"}


@pytest.mark.parametrize(("value", "typed"), [(0.08, "0.08"), (1.0, "1"), (150000, "150000"), (1e-05, "0.00001")])
def test_numbers_are_typed_as_people_write_them(value: float, typed: str) -> None:
    assert pedido_form(an_order(peso=value), "1")["peso"] == typed


def test_the_freight_is_collected_if_the_order_says_so() -> None:
    assert pedido_form(an_order(esFleteContraentrega=True), "1")["flete_contra_entrega"] == "S"


def test_an_amount_that_is_not_whole_is_refused_and_not_rounded() -> None:
    with pytest.raises(FieldRefused, match=r"1500\.5"):
        check_form(pedido_form(an_order(totalConIva=1500.5), "1"))


# ---------------------------------------------------------------------------------------------- the dialog


def test_a_success_stores_the_number_that_was_typed() -> None:
    assert read_dialog("success", "¡Pedido creado!", "El pedido 7 fue creado.", number="7") == Stored("7")
    assert read_dialog("success", "Listo", "Creado el 22/11/2026.", number="7") == Stored("7")


def test_a_success_with_another_number_is_no_success() -> None:
    with pytest.raises(OutcomeUnknown, match="8"):
        read_dialog("success", "¡Pedido creado!", "El pedido 8 fue creado.", number="7")


@pytest.mark.parametrize(
    "text",
    [
        "El número de pedido 7 ya fue usado; el último es 9.",
        "Pedido ya existe",
        "PEDIDO DUPLICADO",
        "El pedido ya se encuentra registrado en el sistema",
    ],
)
def test_a_number_that_is_taken_is_a_duplicate(text: str) -> None:
    assert read_dialog("error", "No se pudo crear el pedido", text, number="7") == DuplicateNumber(text)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("Dirección: no es válida para la ciudad destino.", ErrorKind.VALIDATION),
        ("El TELÉFONO CELULAR debe tener 10 dígitos", ErrorKind.VALIDATION),
        ("Peso (kg): debe ser un número mayor que 0.", ErrorKind.VALIDATION),
        ("Pago contra entrega: no hay recaudo en ABEJORRAL (ANT).", ErrorKind.VALIDATION),
        ("Ocurrió un error inesperado. No se pudo crear el pedido.", ErrorKind.PORTAL),
        ("Hay un alto tráfico en este momento.", ErrorKind.PORTAL),
        ("", ErrorKind.PORTAL),
    ],
)
def test_a_refusal_that_names_a_field_is_about_the_order(text: str, kind: ErrorKind) -> None:
    answer = read_dialog("error", "Error", text, number="7")

    assert answer == Refused(kind, text or "Error")


@pytest.mark.parametrize(
    ("icon", "text"),
    [
        ("error", "Error de conexión"),
        ("error", "No hay conexión con el servidor."),
        ("error", "Se agotó el tiempo de espera"),
        ("error", "Gateway timeout"),
        ("warning", "¿Está seguro?"),
        ("", "El pedido 7 fue creado."),
    ],
)
def test_what_is_neither_yes_nor_no_is_unknown(icon: str, text: str) -> None:
    with pytest.raises(OutcomeUnknown):
        read_dialog(icon, "", text, number="7")


# ---------------------------------------------------------------------------------------------- the list


async def pages_of(numbers: Sequence[int | str], *, size: int, read: list[int] | None = None) -> AsyncGenerator[Any]:
    """A list in that order, in pages; `read` hears which were asked for."""
    for start in range(0, max(len(numbers), 1), size):
        rows = [Parcel(str(number)) for number in numbers[start : start + size]]
        if read is not None:
            read.append(start // size + 1)
        yield ListPage(rows, start + 1 if rows else 0, start + len(rows), len(numbers))


@pytest.mark.parametrize("order", [[50, 40, 30, 20, 10], [10, 20, 30, 40, 50], [30, 10, 50, 20, 40]])
async def test_a_number_is_found_and_missed_whatever_the_order_of_the_list(order: list[int]) -> None:
    for number in order:
        assert await find_parcel(pages_of(order, size=2), str(number)) == Parcel(str(number))
    for number in (5, 15, 45, 55):
        assert await find_parcel(pages_of(order, size=2), str(number)) is None
    assert await highest_number(pages_of(order, size=2)) == 50


async def test_of_a_list_with_the_newest_first_no_more_is_read_than_could_hold_the_number() -> None:
    numbers = list(range(1000, 0, -1))
    read: list[int] = []

    assert await find_parcel(pages_of(numbers, size=10, read=read), "995") is not None
    assert await find_parcel(pages_of(numbers[:5] + numbers[6:], size=10, read=read), "995") is None
    assert await highest_number(pages_of(numbers, size=10, read=read)) == 1000

    assert read == [1, 1, 1]


async def test_a_row_without_a_number_does_not_end_the_search() -> None:
    assert await find_parcel(pages_of([9, "anulado", 3, 7], size=2), "7") == Parcel("7")


@pytest.mark.parametrize(
    "pages",
    [
        [ListPage([Parcel("9"), Parcel("8")], 1, 2, 4)],  # it ends in the middle
        [ListPage([Parcel("9")], 1, 2, 2)],  # a row is missing
        [
            ListPage([Parcel("9"), Parcel("8")], 1, 2, 4),
            ListPage([Parcel("9"), Parcel("8")], 1, 2, 4),
        ],  # it repeats
        [],
    ],
)
async def test_half_a_list_is_not_one_that_lacks_the_number(pages: list[ListPage]) -> None:
    async def shown() -> AsyncGenerator[ListPage]:
        for page in pages:
            yield page

    with pytest.raises(PortalUnavailable):
        await find_parcel(shown(), "5")


def test_a_range_is_read_as_portals_write_it() -> None:
    assert list_page([], "1-10 de 13") == ListPage([], 1, 10, 13)
    assert list_page([], "Filas 1.001–1.010 de 12.345") == ListPage([], 1001, 1010, 12345)
    assert list_page([], "0-0 de 0") == ListPage([], 0, 0, 0)
    assert list_page([], "ninguno") is None


def test_a_password_is_not_repeated() -> None:
    assert without_password("la clave x9! no sirve", Account("a", "b", "x9!")) == "la clave ••• no sirve"
    assert without_password("sin clave", Account("a", "b", "")) == "sin clave"
