"""The sandbox portal over real HTTP: the form's rules, each fault, and its count of parcels."""

import asyncio
import csv
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from importlib.resources import files
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from clients.robot.sandbox_portal.faults import Fault, FaultKind, marked_faults
from clients.robot.sandbox_portal.server import RunningPortal, running_portal
from clients.robot.sandbox_portal.settings import read_passwords, read_range_s
from clients.robot.sandbox_portal.store import NumberTaken, Store
from tests.clients.robot.portal_visitors import ACCOUNT, FORM, JSON, PEDIDO, Visitor, fast, visited_portal, visitor
from tests.servers import ROOT, environment, run_command, until

CITY_WITHOUT_COD = "ABEJORRAL (ANT)"


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def portal() -> AsyncIterator[RunningPortal]:
    async with running_portal(fast()) as portal:
        yield portal


@pytest.fixture
async def shop(portal: RunningPortal) -> AsyncIterator[Visitor]:
    """Somebody who is logged in at a portal that knows nothing else."""
    portal.store.reset()
    async with visitor(portal) as shop:
        assert (await shop.log_in()).status_code == 303
        yield shop


# ---------------------------------------------------------------------------------------------- accounts


async def test_the_login_page_has_the_known_fields() -> None:
    async with running_portal(fast()) as portal, visitor(portal) as stranger:
        page = await stranger.http.get("/panel", follow_redirects=True)

    assert "/panel" not in str(page.url)
    assert 'name="usuario"' in page.text
    assert 'name="clave"' in page.text
    assert ">Ingresar</button>" in page.text


async def test_a_login_opens_a_session_that_lasts(shop: Visitor) -> None:
    page = await shop.http.get("/login", follow_redirects=True)

    assert page.url.path == "/panel"
    assert ACCOUNT in page.text


async def test_an_account_has_one_session_the_newest(shop: Visitor) -> None:
    async with visitor(shop.portal) as second:
        await second.log_in()

        assert await second.is_logged_in()
        assert not await shop.is_logged_in()


async def test_logging_out_ends_the_session(shop: Visitor) -> None:
    await shop.http.post("/logout")

    assert not await shop.is_logged_in()


async def test_wrong_logins_in_a_row_lock_the_account_for_the_right_password_too() -> None:
    async with running_portal(fast(lock_after=3)) as portal, visitor(portal) as shop:
        texts = [(await shop.log_in(password="wrong")).text for _ in range(3)]
        right = await shop.log_in()
        (account,) = (await shop.http.get("/sandbox/accounts")).json()["accounts"]

    assert ["incorrectos" in text for text in texts] == [True, True, False]
    assert "bloqueada" in texts[2]
    assert (right.status_code, "bloqueada" in right.text) == (403, True)
    assert (account["is_locked"], account["logins"], account["refused_logins"]) == (True, 0, 4)


async def test_a_right_login_forgives_the_wrong_ones_before_it(shop: Visitor) -> None:
    for _ in range(2):
        for _ in range(2):
            await shop.log_in(password="wrong")
        assert (await shop.log_in()).status_code == 303


async def test_accounts_stand_side_by_side_with_passwords_of_their_own() -> None:
    settings = fast(passwords={"uno": "secreto", "dos": None})
    async with running_portal(settings) as portal, visitor(portal) as one, visitor(portal) as three:
        assert (await one.log_in("uno", "sandbox")).status_code == 403
        assert (await one.log_in("dos", "sandbox")).status_code == 403
        assert (await one.log_in("uno", "secreto")).status_code == 303
        assert (await three.log_in("tres")).status_code == 303

        await one.dialog("ORD-1")
        await three.dialog("ORD-1")

        assert [await one.parcels("ORD-1", account) for account in ("uno", "dos", "tres")] == [1, 0, 1]


async def test_an_account_can_be_locked_unlocked_and_given_another_password(shop: Visitor) -> None:
    async def set_account(**changes: Any) -> None:
        await shop.http.post("/sandbox/accounts", json={"name": ACCOUNT} | changes)

    await set_account(is_locked=True)
    assert not await shop.is_logged_in()
    assert (await shop.log_in()).status_code == 403

    await set_account(is_locked=False, password="nueva")
    assert (await shop.log_in()).status_code == 403
    assert (await shop.log_in(password="nueva")).status_code == 303


@pytest.mark.parametrize("path", ["/panel", "/panel/pedidos", FORM])
async def test_pages_send_who_is_not_logged_in_to_the_login(path: str) -> None:
    async with running_portal(fast()) as portal, visitor(portal) as stranger:
        page = await stranger.http.get(path)
        data = await stranger.http.get(path, headers=JSON)

    assert (page.status_code, page.headers["location"]) == (303, "/login")
    assert (data.status_code, data.json()) == (401, {"ingreso": "/login"})


async def test_parcels_typed_in_by_hand_are_in_the_list_and_are_no_submissions(shop: Visitor) -> None:
    sent = [{"account": ACCOUNT}, {"account": ACCOUNT, "number": 7, "reference": "ORD-7"}]
    assert (await shop.http.post("/sandbox/parcels", json=sent)).status_code == 201

    listed = (await shop.http.get("/panel/pedidos", headers=JSON)).json()["pedidos"]
    assert [(row["pedido"], row["referencia"]) for row in listed] == [("7", "ORD-7"), ("1", "(a mano)")]
    assert (await shop.order("ORD-7")) == {
        "account": ACCOUNT,
        "reference": "ORD-7",
        "parcels": 1,
        "numbers": [7],
        "submissions": {},
    }
    for wrong in ([], [{"number": 9}], [{"account": ACCOUNT, "number": 7}], [{"account": ACCOUNT, "number": -1}]):
        assert (await shop.http.post("/sandbox/parcels", json=wrong)).status_code == 400
    assert len(shop.portal.store.find_parcels()) == 2


# ---------------------------------------------------------------------------------------------- the city


async def suggestions(shop: Visitor, typed: str) -> list[str]:
    answer = await shop.http.get("/panel/ciudades", params={"texto": typed})
    return [each["ciudad"] for each in answer.json()["ciudades"]]


def coverage() -> list[dict[str, str]]:
    with (ROOT / "domain/data/coordinadora_coverage.csv").open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))


def test_the_portal_serves_the_cities_of_the_product() -> None:
    text = (files("clients.robot.sandbox_portal") / "carrier_cities.csv").read_text(encoding="utf-8")
    rows = list(csv.DictReader(text.splitlines()))

    assert rows == [{name: row[name] for name in ("carrier_city", "supports_cod")} for row in coverage()]


async def test_every_city_is_suggested_when_it_is_typed_and_never_first() -> None:
    async with visited_portal() as shop:
        for row in coverage()[::25]:
            found = await suggestions(shop, row["carrier_city"])

            assert row["carrier_city"] in found[1:], row
            assert len(found) == len(set(found)) <= 10


async def test_a_name_alone_brings_its_namesakes_of_other_departments(shop: Visitor) -> None:
    found = await suggestions(shop, "la unión")

    assert set(found) >= {"LA UNION (ANT)", "LA UNION (NAR)", "LA UNION (SUCRE)", "LA UNION (VALLE)"}


async def test_suggestions_say_where_cash_is_collected(shop: Visitor) -> None:
    answer = await shop.http.get("/panel/ciudades", params={"texto": CITY_WITHOUT_COD})

    assert {"ciudad": CITY_WITHOUT_COD, "recaudo": False} in answer.json()["ciudades"]


async def test_nothing_typed_suggests_nothing(shop: Visitor) -> None:
    assert await suggestions(shop, "  ") == []
    assert await suggestions(shop, "(ANT)") == []


async def test_blanks_within_a_city_are_kept(shop: Visitor) -> None:
    assert "CARLOSAMA  CUASPUD (NAR)" in await suggestions(shop, "carlosama")


# ---------------------------------------------------------------------------------------------- the form


async def test_the_form_has_the_known_fields(shop: Visitor) -> None:
    page = (await shop.http.get(FORM)).text
    told = (await shop.http.get(FORM, headers=JSON)).json()

    assert all(page.count(f' name="{name}"') == 1 for name in PEDIDO if not name.endswith("_entrega"))
    assert all(
        page.count(f'name="{name}" value="{value}"') == 1 for name in PEDIDO if "_entrega" in name for value in "SN"
    )
    assert 'role="combobox"' in page
    assert told == {"campos": list(PEDIDO), "dialogo": None} | {"campos": told["campos"]}
    assert set(told["campos"]) == set(PEDIDO)


async def test_an_order_is_stored_and_its_dialog_tells_the_number(shop: Visitor) -> None:
    dialog = await shop.dialog("ORD-1", numero_pedido="7")

    assert dialog == {
        "icon": "success",
        "title": "¡Pedido creado!",
        "text": "El pedido 7 fue creado correctamente.",
    }
    order = await shop.order("ORD-1")
    assert order == {
        "account": ACCOUNT,
        "reference": "ORD-1",
        "parcels": 1,
        "numbers": [7],
        "submissions": {"stored": 1},
    }
    (parcel,) = (await shop.http.get("/sandbox/parcels")).json()["parcels"]
    assert parcel["form"] == PEDIDO | {"numero_pedido": "7"}


async def test_without_a_script_the_dialog_is_a_page(shop: Visitor) -> None:
    page = await shop.http.post(FORM, data=PEDIDO)

    assert "swal2-popup swal2-modal swal2-icon-success" in page.text
    assert "El pedido 1 fue creado" in page.text


async def test_the_dialog_takes_its_time() -> None:
    async with visited_portal(dialog_delay_s=(0.2, 0.2)) as shop:
        started = time.monotonic()
        await shop.dialog()

    assert time.monotonic() - started >= 0.2


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"identificacion_": "12a"}, "Identificación"),
        ({"nombres_": " "}, "Nombres"),
        ({"direccion_": ""}, "Dirección"),
        ({"telefono_celular_": "309354287"}, "Teléfono"),
        ({"email_destinatario": "nobody"}, "Correo"),
        ({"numero_pedido": "0"}, "Número de pedido"),
        ({"numero_pedido": "1.5"}, "Número de pedido"),
        ({"numero_pedido": "٣"}, "Número de pedido"),
        ({"unidades": "0"}, "Unidades"),
        ({"total_coniva": "150000.50"}, "Total con IVA"),
        ({"total_coniva": "150000,5"}, "Total con IVA"),
        ({"total_coniva": "0"}, "Total con IVA"),
        ({"valor_declarado": "0"}, "Valor declarado"),
        ({"peso": "0"}, "Peso"),
        ({"ancho": "diez"}, "Ancho"),
        ({"ciudad": ""}, "Ciudad"),
        ({"ciudad": "MEDELLIN"}, "Ciudad"),
        ({"ciudad": "medellin (ant)"}, "Ciudad"),
        ({"pago_contra_entrega": ""}, "Pago contra entrega"),
        ({"flete_contra_entrega": "X"}, "Flete contra entrega"),
        ({"flete_contra_entrega": ""}, "Flete contra entrega"),
        ({"ciudad": CITY_WITHOUT_COD}, "no hay recaudo"),
        ({"ciudad": CITY_WITHOUT_COD, "pago_contra_entrega": "N", "flete_contra_entrega": "S"}, "Flete"),
        ({"direccion_": "x" * 201}, "más de 200 caracteres"),
        ({"nombres_": "nul\x00"}, "caracteres no permitidos"),
        ({"apellidos_": "line\nbreak"}, "caracteres no permitidos"),
    ],
)
async def test_a_wrong_field_is_refused_and_nothing_is_stored(shop: Visitor, fields: dict[str, str], said: str) -> None:
    dialog = await shop.dialog("ORD-1", **fields)

    assert dialog["icon"] == "error"
    assert said in dialog["text"]
    assert await shop.order("ORD-1") | {"submissions": {"refused": 1}, "parcels": 0} == await shop.order("ORD-1")


async def test_everything_that_is_wrong_is_said_at_once(shop: Visitor) -> None:
    dialog = await shop.dialog(direccion_="", unidades="")

    assert "Dirección" in dialog["text"]
    assert "Unidades" in dialog["text"]


async def test_an_order_paid_in_advance_goes_where_nothing_is_collected(shop: Visitor) -> None:
    fields = {name: value for name, value in PEDIDO.items() if name != "flete_contra_entrega"}  # disabled: not sent
    paid = fields | {"ciudad": CITY_WITHOUT_COD, "pago_contra_entrega": "N", "total_coniva": "0", "apellidos_": ""}

    dialog = (await shop.http.post(FORM, data=paid, headers=JSON)).json()

    assert dialog["icon"] == "success"


async def test_a_number_is_used_once_and_never_goes_back(shop: Visitor) -> None:
    icons = [
        (await shop.dialog(f"ORD-{place}", numero_pedido=n))["icon"] for place, n in enumerate(["5", "5", "4", "9"])
    ]
    again = await shop.dialog("ORD-9", numero_pedido="9")

    assert icons == ["success", "error", "error", "success"]
    assert again["text"] == "El número de pedido 9 ya fue usado; el último es 9."
    assert [await shop.parcels(f"ORD-{place}") for place in range(4)] == [1, 0, 0, 1]


async def test_numbers_are_an_accounts_own(shop: Visitor) -> None:
    await shop.dialog(numero_pedido="5")

    await shop.log_in("otra")

    assert (await shop.dialog(numero_pedido="1"))["icon"] == "success"


async def test_an_order_shipped_twice_is_counted_twice(shop: Visitor) -> None:
    await shop.dialog("ORD-1", numero_pedido="1")
    await shop.dialog("ORD-1", numero_pedido="2")

    order = await shop.order("ORD-1")
    assert (order["parcels"], order["numbers"]) == (2, [1, 2])


async def test_orders_that_press_at_once_with_one_number_make_one_parcel() -> None:
    async with visited_portal(dialog_delay_s=(0.01, 0.01)) as shop:
        dialogs = await asyncio.gather(*(shop.dialog("ORD-1") for _ in range(20)))

        assert sorted(dialog["icon"] for dialog in dialogs) == ["error"] * 19 + ["success"]
        assert await shop.parcels() == 1


# ---------------------------------------------------------------------------------------------- the list


async def test_the_list_goes_page_by_page_newest_first() -> None:
    async with visited_portal(page_size=2) as shop:
        for number in range(1, 6):
            await shop.dialog(f"ORD-{number}", numero_pedido=str(number))
        pages = [
            (await shop.http.get("/panel/pedidos", params={"pagina": page}, headers=JSON)).json()
            for page in (1, 2, 3, 4)
        ]
        html = [(await shop.http.get("/panel/pedidos", params={"pagina": page})).text for page in (1, 3)]

    assert [[row["pedido"] for row in page["pedidos"]] for page in pages] == [["5", "4"], ["3", "2"], ["1"], []]
    assert [page["rango"] for page in pages] == ["1-2 de 5", "3-4 de 5", "5-5 de 5", "0-0 de 5"]
    assert [page["siguiente"] for page in pages] == [2, 3, None, None]
    assert "1-2 de 5" in html[0]
    assert 'value="2" aria-label="Página siguiente">' in html[0]
    assert 'aria-label="Página siguiente" disabled>' in html[1]


async def test_the_guide_is_empty_until_it_is_assigned() -> None:
    async with visited_portal(guide_after_s=3_600) as later, visited_portal(guide_after_s=0) as at_once:
        guides = []
        for shop in (later, at_once):
            await shop.dialog()
            guides += (await shop.http.get("/panel/pedidos", headers=JSON)).json()["pedidos"]

    assert guides[0]["guia"] == ""
    assert guides[1]["guia"].isdigit()


@pytest.mark.parametrize("page", ["0", "-1", "x", "٣", "9" * 5_000])
async def test_a_page_that_cannot_be_is_none(shop: Visitor, page: str) -> None:
    answer = await shop.http.get("/panel/pedidos", params={"pagina": page}, headers=JSON)

    assert answer.json()["pedidos"] == []


async def test_what_is_typed_is_shown_and_not_run(shop: Visitor) -> None:
    script = "<script>alert(1)</script>"
    await shop.dialog('"><b>', nombres_=script)

    page = (await shop.http.get("/panel/pedidos")).text
    login = await shop.log_in(account=f'"{script}', password="wrong")

    assert script not in page + login.text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "&quot;&gt;&lt;b&gt;" in page
    assert "default-src 'self'" in login.headers["content-security-policy"]


# ---------------------------------------------------------------------------------------------- what is no form


async def test_a_body_of_ten_megabytes_is_refused_clearly(shop: Visitor) -> None:
    answer = await shop.http.post(FORM, data=PEDIDO | {"direccion_": "x" * 10_000_000}, headers=JSON)

    assert answer.status_code == 413
    assert "demasiado grande" in answer.json()["text"]
    assert (await shop.http.get("/sandbox/orders")).json() == {"orders": []}


@pytest.mark.parametrize(
    ("content", "content_type", "status"),
    [
        (b"direccion_=%ff%fe", "application/x-www-form-urlencoded", 400),
        (b"direccion_=\xff", "application/x-www-form-urlencoded", 400),
        (b"direccion_=%ED%A0%80", "application/x-www-form-urlencoded", 400),
        (b"&".join(b"a=1" for _ in range(101)), "application/x-www-form-urlencoded", 400),
        (b"{}", "application/json", 415),
        (b"", "", 415),
    ],
)
async def test_what_is_no_form_is_refused(shop: Visitor, content: bytes, content_type: str, status: int) -> None:
    headers = JSON | ({"Content-Type": content_type} if content_type else {})

    answer = await shop.http.post(FORM, content=content, headers=headers)

    assert (answer.status_code, answer.json()["icon"]) == (status, "error")
    assert (await shop.http.get("/sandbox/orders")).json() == {"orders": []}


async def test_logins_and_searches_that_are_no_text_are_refused(shop: Visitor) -> None:
    for typed in ("x" * 201, "nul\x00"):
        assert (await shop.http.get("/panel/ciudades", params={"texto": typed})).status_code == 400
        assert (await shop.log_in(account=typed)).status_code == 403
        assert (await shop.log_in(password=typed)).status_code == 403


# ---------------------------------------------------------------------------------------------- faults of an order


async def test_a_fault_meets_the_ordered_reference_as_often_as_it_was_ordered(shop: Visitor) -> None:
    await shop.order_faults({"kind": "error", "reference": "ORD-1", "times": 2})

    other = await shop.dialog("ORD-2", numero_pedido="1")
    icons = [(await shop.dialog("ORD-1", numero_pedido="2"))["icon"] for _ in range(3)]

    assert other["icon"] == "success"
    assert icons == ["error", "error", "success"]
    assert (await shop.order("ORD-1"))["submissions"] == {"error": 2, "stored": 1}
    (fault,) = (await shop.http.get("/sandbox/faults")).json()["faults"]
    assert (fault["kind"], fault["met"]) == ("error", 2)


async def test_a_fault_of_an_account_leaves_the_others_alone(shop: Visitor) -> None:
    await shop.order_faults({"kind": "error", "account": "otra"})

    mine = await shop.dialog()
    await shop.log_in("otra")
    others = await shop.dialog()

    assert (mine["icon"], others["icon"]) == ("success", "error")


async def test_a_mark_in_the_reference_orders_its_fault_once(shop: Visitor) -> None:
    icons = [(await shop.dialog("ORD-1#refusal"))["icon"] for _ in range(2)]
    always = [(await shop.dialog("ORD-2#refusal*", numero_pedido="2"))["icon"] for _ in range(3)]
    twice = [(await shop.dialog("ORD-3#error*2", numero_pedido="2"))["icon"] for _ in range(3)]

    assert icons == ["error", "success"]
    assert always == ["error", "error", "error"]
    assert twice == ["error", "error", "success"]


def test_what_is_no_proper_mark_is_part_of_the_reference() -> None:
    for reference in (
        "ORD-1",
        "Calle 5 #39",
        "#down",
        "#slow2",
        "#nothing",
        "#drop_field",
        "#drop_field:x",
        "#error:peso",
    ):
        assert marked_faults(reference) == [], reference
    assert marked_faults("A#drop_field:peso*#slow") == [
        Fault(kind=FaultKind.DROP_FIELD, reference="A#drop_field:peso*#slow", field="peso"),
        Fault(kind=FaultKind.SLOW, reference="A#drop_field:peso*#slow", times=1),
    ]


async def test_a_refusal_stores_nothing(shop: Visitor) -> None:
    dialog = await shop.dialog("ORD-1#refusal")

    assert (dialog["icon"], "Dirección" in dialog["text"]) == ("error", True)
    assert (await shop.order("ORD-1#refusal"))["submissions"] == {"refused": 1}
    assert await shop.parcels("ORD-1#refusal") == 0


async def test_an_error_dialog_stores_nothing(shop: Visitor) -> None:
    dialog = await shop.dialog("ORD-1#error")

    assert (dialog["icon"], "inesperado" in dialog["text"]) == ("error", True)
    assert await shop.parcels("ORD-1#error") == 0


async def test_a_crash_before_storing_hangs_up_with_nothing_stored(shop: Visitor) -> None:
    with pytest.raises(httpx.RemoteProtocolError):
        await shop.submit("ORD-1#crash_before")

    order = await shop.order("ORD-1#crash_before")
    assert (order["parcels"], order["submissions"]) == (0, {"cut": 1})
    assert (await shop.dialog("ORD-1#crash_before"))["icon"] == "success"


async def test_a_crash_after_storing_hangs_up_with_the_parcel_stored(shop: Visitor) -> None:
    with pytest.raises(httpx.RemoteProtocolError):
        await shop.submit("ORD-1#crash_after", numero_pedido="3")

    order = await shop.order("ORD-1#crash_after")
    assert (order["parcels"], order["numbers"]) == (1, [3])
    listed = (await shop.http.get("/panel/pedidos", headers=JSON)).json()["pedidos"]
    assert [row["pedido"] for row in listed] == ["3"]


async def test_a_crash_after_storing_does_not_happen_where_nothing_is_stored(shop: Visitor) -> None:
    refused = await shop.dialog("ORD-1#crash_after", direccion_="")

    assert refused["icon"] == "error"
    assert await shop.parcels("ORD-1#crash_after") == 0


async def test_a_slow_dialog_comes_after_its_parcel(shop: Visitor) -> None:
    await shop.order_faults({"kind": "slow", "reference": "ORD-1", "seconds": 3_600})

    with pytest.raises(httpx.ReadTimeout):
        await shop.http.post(FORM, data=PEDIDO, headers=JSON, timeout=0.3)

    assert await shop.parcels() == 1


async def test_a_parcel_that_is_stored_late_is_not_there_before(shop: Visitor) -> None:
    await shop.order_faults({"kind": "stored_late", "reference": "ORD-1", "seconds": 0.5})

    pressed = asyncio.create_task(shop.dialog())
    await until(shop.has_met_a_fault)
    before = await shop.parcels()
    dialog = await pressed

    assert (before, dialog["icon"], await shop.parcels()) == (0, "success", 1)


async def test_a_parcel_is_stored_late_though_nobody_waits_for_it(shop: Visitor) -> None:
    await shop.order_faults({"kind": "stored_late", "reference": "ORD-1", "seconds": 0.4})

    with pytest.raises(httpx.ReadTimeout):
        await shop.http.post(FORM, data=PEDIDO, headers=JSON, timeout=0.1)

    assert await until(shop.parcels) == 1


async def test_a_session_is_lost_while_the_form_is_filled_in(shop: Visitor) -> None:
    lost = await shop.keep_draft("ORD-1#session_lost")

    assert (lost.status_code, await shop.is_logged_in()) == (401, False)
    assert (await shop.submit("ORD-1#session_lost")).status_code == 401
    assert await shop.parcels("ORD-1#session_lost") == 0

    await shop.log_in()
    assert (await shop.keep_draft("ORD-1#session_lost")).status_code == 200


async def test_a_session_is_lost_when_the_button_is_pressed(shop: Visitor) -> None:
    script = await shop.submit("ORD-1#session_lost_at_submit*")
    await shop.log_in()
    page = await shop.http.post(FORM, data=PEDIDO | {"referencia": "ORD-1#session_lost_at_submit*"})

    assert script.status_code == 401
    assert (page.status_code, page.headers["location"]) == (303, "/login")
    assert not await shop.is_logged_in()
    order = await shop.order("ORD-1#session_lost_at_submit*")
    assert (order["parcels"], order["submissions"]) == (0, {"session_lost": 2})


async def test_the_draft_tells_back_what_was_sent(shop: Visitor) -> None:
    sent = {name: value for name, value in PEDIDO.items() if name != "flete_contra_entrega"}

    kept = await shop.http.post(f"{FORM}/borrador", data=sent | {"strange": "1"})

    assert kept.json() == {"campos": sent}


async def test_a_field_drops_its_value_once_it_has_one(shop: Visitor) -> None:
    await shop.order_faults({"kind": "drop_field", "field": "direccion_", "reference": "ORD-1", "times": 1})

    empty = (await shop.keep_draft("ORD-1", direccion_="")).json()["campos"]
    dropped = (await shop.keep_draft("ORD-1")).json()["campos"]
    kept = (await shop.keep_draft("ORD-1")).json()["campos"]

    assert empty == PEDIDO | {"direccion_": ""}
    assert dropped == PEDIDO | {"direccion_": ""}
    assert kept == PEDIDO


async def test_several_fields_drop_their_values_at_once(shop: Visitor) -> None:
    reference = "ORD-1#drop_field:peso#drop_field:ciudad"

    kept = (await shop.keep_draft(reference)).json()["campos"]

    assert (kept["peso"], kept["ciudad"], kept["ancho"]) == ("", "", "10")


async def test_a_number_is_taken_by_somebody_else_meanwhile(shop: Visitor) -> None:
    refused = await shop.dialog("ORD-1#duplicate_number", numero_pedido="5")
    listed = (await shop.http.get("/panel/pedidos", headers=JSON)).json()["pedidos"]
    stored = await shop.dialog("ORD-1#duplicate_number", numero_pedido="6")

    assert (refused["icon"], "5 ya fue usado" in refused["text"]) == ("error", True)
    assert [(row["pedido"], row["referencia"]) for row in listed] == [("5", "(a mano)")]
    assert stored["icon"] == "success"
    assert (await shop.order("ORD-1#duplicate_number"))["numbers"] == [6]


# ---------------------------------------------------------------------------------------------- faults of the portal


async def test_a_connection_error_shows_until_the_form_is_loaded_again(shop: Visitor) -> None:
    await shop.order_faults({"kind": "connection_dialog", "account": ACCOUNT, "times": 1})

    first = (await shop.http.get(FORM)).text
    unready = await shop.dialog()
    second = (await shop.http.get(FORM)).text
    ready = await shop.dialog()

    assert "Error de conexión" in first
    assert "swal2-icon-error" in first
    assert (unready["icon"], unready["title"]) == ("error", "Error de conexión")
    assert "swal2" not in second
    assert ready["icon"] == "success"
    assert (await shop.order())["submissions"] == {"error": 1, "stored": 1}


async def test_the_connection_error_is_told_to_those_without_a_browser(shop: Visitor) -> None:
    await shop.order_faults({"kind": "connection_dialog", "times": 1})

    told = [(await shop.http.get(FORM, headers=JSON)).json()["dialogo"] for _ in range(2)]

    assert told[0]["title"] == "Error de conexión"
    assert told[1] is None


async def test_a_portal_that_is_down_answers_503_and_still_counts(shop: Visitor) -> None:
    await shop.order_faults({"kind": "down"})
    page = await shop.http.get("/login")
    pressed = await shop.submit()
    await shop.http.delete("/sandbox/faults", params={"kind": "down"})

    assert [page.status_code, pressed.status_code] == [503, 503]
    assert (page.headers["retry-after"], pressed.json()["icon"]) == ("30", "error")
    assert await shop.parcels() == 0
    assert await shop.is_logged_in()


async def test_a_portal_that_hangs_says_nothing_and_hangs_up(shop: Visitor) -> None:
    await shop.order_faults({"kind": "hang", "seconds": 0.1, "times": 1}, {"kind": "hang", "times": 1})

    with pytest.raises(httpx.RemoteProtocolError):
        await shop.http.get("/panel")
    with pytest.raises(httpx.ReadTimeout):
        await shop.http.get("/panel", timeout=0.2)

    assert await shop.is_logged_in()


async def test_a_portal_that_refuses_logins_locks_nobody(shop: Visitor) -> None:
    await shop.order_faults({"kind": "refuse_logins", "times": 5})

    refused = [(await shop.log_in()).status_code for _ in range(5)]

    assert refused == [403] * 5
    assert (await shop.log_in()).status_code == 303


async def test_a_portal_that_is_stopped_cuts_off_who_waits_for_a_dialog() -> None:
    async with running_portal(fast()) as portal:
        http = httpx.AsyncClient(base_url=portal.url, trust_env=False, timeout=30)
        shop = Visitor(portal, http)
        await shop.log_in()
        await shop.order_faults({"kind": "slow", "seconds": 3_600})
        pressed = asyncio.create_task(shop.submit())
        await until(shop.parcels)

    with pytest.raises(httpx.RemoteProtocolError):
        await pressed
    await http.aclose()


# ---------------------------------------------------------------------------------------------- ordering and counting


@pytest.mark.parametrize(
    "sent",
    [
        {},
        [],
        [1],
        [{}],
        [{"kind": "flood"}],
        [{"kind": "slow", "colour": 1}],
        [{"kind": "slow", "seconds": -1}],
        [{"kind": "slow", "seconds": True}],
        [{"kind": "slow", "seconds": "1"}],
        [{"kind": "slow", "times": 0}],
        [{"kind": "slow", "reference": "nul\x00"}],
        [{"kind": "slow", "reference": "x" * 201}],
        [{"kind": "slow", "field": "peso"}],
        [{"kind": "drop_field"}],
        [{"kind": "drop_field", "field": "colour"}],
        [{"kind": "down", "reference": "ORD-1"}],
        [{"kind": "down", "account": ACCOUNT}],
        [{"kind": "error"}, {"kind": "flood"}],
    ],
)
async def test_a_fault_that_cannot_be_is_refused_and_none_is_ordered(shop: Visitor, sent: object) -> None:
    answer = await shop.http.post("/sandbox/faults", json=sent)

    assert (answer.status_code, list(answer.json())) == (400, ["error"])
    assert (await shop.http.get("/sandbox/faults")).json() == {"faults": []}


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b"{", 400),
        (b"\xff", 400),
        (b"[" * 200_000, 400),
        (b'[{"kind":"slow","seconds":NaN}]', 400),
        (b" " * 4_000_001, 413),
    ],
)
async def test_what_is_no_json_is_refused(shop: Visitor, content: bytes, status: int) -> None:
    answer = await shop.http.post("/sandbox/faults", content=content, headers={"Content-Type": "application/json"})

    assert (answer.status_code, list(answer.json())) == (status, ["error"])


async def test_another_sites_page_can_order_nothing(shop: Visitor) -> None:
    form = await shop.http.post("/sandbox/faults", content=b'[{"kind":"down"}]', headers={"Content-Type": "text/plain"})

    assert form.status_code == 415
    assert (await shop.http.post("/sandbox/reset")).status_code == 415
    assert await shop.is_logged_in()


async def test_a_fault_is_lifted_by_its_id(shop: Visitor) -> None:
    ids = (await shop.http.post("/sandbox/faults", json=[{"kind": "error"}, {"kind": "slow"}])).json()["ids"]

    lifted = (await shop.http.delete("/sandbox/faults", params={"id": ids[0]})).json()

    assert lifted == {"lifted": 1}
    assert [each["id"] for each in (await shop.http.get("/sandbox/faults")).json()["faults"]] == ids[1:]


async def test_a_reset_forgets_everything(shop: Visitor) -> None:
    await shop.dialog()
    await shop.order_faults({"kind": "down"})

    await shop.http.post("/sandbox/reset", json={})

    assert (await shop.http.get("/sandbox/orders")).json() == {"orders": []}
    assert (await shop.http.get("/sandbox/accounts")).json() == {"accounts": []}
    assert (await shop.http.get("/sandbox/faults")).json() == {"faults": []}
    assert not await shop.is_logged_in()


async def test_logins_are_counted(shop: Visitor) -> None:
    await shop.log_in(password="wrong")
    await shop.dialog(numero_pedido="41")

    assert (await shop.http.get("/sandbox/accounts")).json() == {
        "accounts": [
            {
                "name": ACCOUNT,
                "logins": 1,
                "refused_logins": 1,
                "wrong_in_a_row": 1,
                "is_locked": False,
                "has_session": True,
                "parcels": 1,
                "last_number": 41,
            }
        ]
    }


# ---------------------------------------------------------------------------------------------- the process


async def test_two_portals_in_one_process_know_nothing_of_each_other() -> None:
    async with visited_portal() as one, visited_portal() as two:
        await one.dialog()

        assert [await one.parcels(), await two.parcels()] == [1, 0]


async def test_a_portal_on_a_file_forgets_nothing(tmp_path: Path) -> None:
    async with visited_portal(file=tmp_path / "portal.db") as shop:
        await shop.order_faults({"kind": "error", "reference": "ORD-2", "times": 2})
        await shop.dialog("ORD-1")
        await shop.dialog("ORD-2")
        cookies = shop.http.cookies

    async with running_portal(fast(file=tmp_path / "portal.db")) as portal, visitor(portal) as again:
        again.http.cookies = cookies

        icons = [(await again.dialog("ORD-2", numero_pedido="2"))["icon"] for _ in range(2)]

        assert icons == ["error", "success"]
        assert [await again.parcels("ORD-1"), await again.parcels("ORD-2")] == [1, 1]


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    (tmp_path / "portal.db").write_text("no database at all, but a long enough text to be taken for one" * 100)

    ended = run_command("portal", "--port", "0", "--file", str(tmp_path / "portal.db"))

    assert ended.returncode == 2
    assert "portal.db" in ended.stderr
    assert ended.stderr.count("\n") == 1


def test_what_the_command_cannot_use_is_one_clear_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        refused = [run_command("portal", "--port", port), run_command("portal", "--delay-ms", "soon")]

    assert [ended.returncode for ended in refused] == [2, 2]
    assert refused[0].stderr == f"robot-jobs: cannot listen on 127.0.0.1:{port}: Address already in use\n"
    assert refused[1].stderr == "robot-jobs: --delay-ms: 'soon' is no range of milliseconds such as 300-900.\n"


def test_threads_that_store_at_once_lose_nothing_and_share_no_number(tmp_path: Path) -> None:
    stores = [Store(tmp_path / "portal.db") for _ in range(2)]

    def store_one(place: int) -> bool:
        try:
            stores[place % 2].add_parcel(ACCOUNT, place // 4 + 1, f"ORD-{place}", PEDIDO)
        except NumberTaken:
            return False
        return True

    with ThreadPoolExecutor(8) as threads:
        stored = sum(threads.map(store_one, range(200)))

    numbers = [parcel.number for parcel in stores[0].find_parcels()]
    assert len(numbers) == len(set(numbers)) == stored > 0
    for store in stores:
        store.close()


async def test_a_portal_killed_at_once_after_its_dialog_has_the_parcel(tmp_path: Path) -> None:
    process, url = await asyncio.to_thread(started, "--file", str(tmp_path / "portal.db"), "--delay-ms", "0")
    try:
        async with httpx.AsyncClient(base_url=url, trust_env=False) as http:
            await http.post("/login", data={"usuario": ACCOUNT, "clave": "sandbox"})
            for number in range(1, 21):
                dialog = (await http.post(FORM, data=PEDIDO | {"numero_pedido": str(number)}, headers=JSON)).json()
                assert dialog["icon"] == "success"
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()

    with sqlite3.connect(tmp_path / "portal.db") as database:
        assert database.execute("SELECT count(*), max(number) FROM parcels").fetchone() == (20, 20)
    database.close()


async def test_the_command_serves_until_it_is_told_to_stop(tmp_path: Path) -> None:
    (tmp_path / "accounts.json").write_text('{"uno": "secreto"}')

    process, url = await asyncio.to_thread(started, "--accounts", str(tmp_path / "accounts.json"))
    try:
        async with httpx.AsyncClient(base_url=url, trust_env=False) as http:
            logins = [
                (await http.post("/login", data={"usuario": "uno", "clave": password})).status_code
                for password in ("sandbox", "secreto")
            ]
        process.send_signal(signal.SIGTERM)
        ended = await asyncio.to_thread(process.wait, 30)
    finally:
        process.kill()
        assert process.stdout is not None
        process.stdout.close()

    assert logins == [403, 303]
    assert ended in {0, -signal.SIGTERM}


def started(*options: str) -> "tuple[subprocess.Popen[str], str]":
    process = subprocess.Popen(
        [sys.executable, "-m", "api", "portal", "--port", "0", *options],
        cwd=ROOT,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    return process, line.split()[-1].removesuffix("/login")


@pytest.mark.parametrize("text", ["", "x", "9-1", "-1", "1-", "1.5", "٣"])
def test_a_range_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="--delay-ms"):
        read_range_s(text)


def test_ranges_are_milliseconds() -> None:
    assert (read_range_s("250"), read_range_s("7000-17000")) == ((0.25, 0.25), (7.0, 17.0))


@pytest.mark.parametrize("text", ["", "[]", '{"uno": 1}'])
def test_an_accounts_file_that_is_none_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "accounts.json").write_text(text)

    with pytest.raises(ValueError, match=r"accounts\.json"):
        read_passwords(tmp_path / "accounts.json")
