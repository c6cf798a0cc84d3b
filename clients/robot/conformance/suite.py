"""The suite: what every carrier does right, whatever its portal does wrong."""

import asyncio
import json
import traceback
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
import pytest_asyncio

from clients.robot.carrier import (
    Account,
    Carrier,
    CarrierSettings,
    DuplicateNumber,
    ErrorKind,
    FieldRefused,
    LoginRefused,
    OutcomeUnknown,
    PageEvidence,
    PortalAnswer,
    PortalError,
    PortalUnavailable,
    Refused,
    SessionLost,
    Stored,
)
from clients.robot.conformance.portal import PortalUnderTest, portal_under_test

ACCOUNT = "tienda"
PASSWORD = "sandbox"
WRONG_PASSWORD = "no-es-esta-7Q"
EVIDENCE_BYTES_AT_MOST = 2_000_000
EVIDENCE_TYPES = {"image/png", "image/jpeg", "image/webp", "text/plain", "text/html", "application/json"}
PATIENCE_S = 30.0
"""For what has to end long before; a portal that hangs does so for longer."""
HANGS_S = 60.0

ORDER: Mapping[str, Any] = {
    "identificacion": "3093542877",
    "nombres": "Yesenia",
    "apellidos": "Cifuentes Ortiz",
    "direccion": "Calle 107 #39C - 42",
    "ciudad": "MEDELLIN (ANT)",
    "departamento": "ANT",
    "celular": "3093542877",
    "email": "yesenia@example.org",
    "referencia": "ORD-1",
    "unidades": 2,
    "totalConIva": 150000,
    "valorDeclarado": 55000,
    "esRecaudoContraentrega": True,
    "peso": 0.08,
    "alto": 5,
    "largo": 5,
    "ancho": 10,
}
"""What the API sends as `valueSent`."""
CITY_WITHOUT_COD = "ABEJORRAL (ANT)"
PREPAID = {"totalConIva": 0, "esRecaudoContraentrega": False}

TYPED: Mapping[str, Mapping[str, Any]] = {
    "cash on delivery": {},
    "prepaid": PREPAID,
    "prepaid where nothing is collected": PREPAID | {"ciudad": CITY_WITHOUT_COD},
    "no surname": {"nombres": "Madonna", "apellidos": ""},
    "no email": {"email": ""},
    "accents": {"nombres": "Íñigo", "apellidos": "Muñoz Agüero", "direccion": "Carrera 7ª n.º 12-30, «El Peñón»"},
    "signs": {"direccion": """Calle 5 <b>& "2" 'B'</b> 100% + ?a=1#x \\n""", "referencia": "ORD 1/2 & más; <i>"},
    "a city with a namesake": {"ciudad": "LA UNION (NAR)"},
    "a city with Ñ": {"ciudad": "EL PEÑOL (NAR)"},
    "a city with two blanks": PREPAID | {"ciudad": "CARLOSAMA  CUASPUD (NAR)"},
    "sizes": {"peso": 12.5, "alto": 30, "largo": 40.5, "ancho": 1.0, "unidades": 12, "valorDeclarado": 1234567},
}

REFUSED: Sequence[Mapping[str, Any]] = [
    {"email": "no-es-un-correo"},
    {"celular": "12345"},
    {"ciudad": CITY_WITHOUT_COD},
    {"direccion": ""},
]


def stored_form(order: Mapping[str, Any], number: str) -> dict[str, str]:
    """How the portal keeps an order, apart from who pays the freight."""
    return {
        "identificacion_": order["identificacion"],
        "nombres_": order["nombres"],
        "apellidos_": order["apellidos"],
        "direccion_": order["direccion"],
        "telefono_celular_": order["celular"],
        "email_destinatario": order["email"],
        "numero_pedido": number,
        "referencia": order["referencia"],
        "unidades": f"{order['unidades']}",
        "total_iva": "0",
        "total_coniva": f"{order['totalConIva']}",
        "valor_declarado": f"{order['valorDeclarado']}",
        "peso": f"{order['peso']:g}",
        "alto": f"{order['alto']:g}",
        "largo": f"{order['largo']:g}",
        "ancho": f"{order['ancho']:g}",
        "ciudad": order["ciudad"],
        "pago_contra_entrega": "S" if order["esRecaudoContraentrega"] else "N",
    }


def an_order(**changes: Any) -> dict[str, Any]:
    return {**ORDER, **changes}


@dataclass(slots=True)
class Desk:
    """Makes carriers for a portal, and closes them in the end."""

    carrier_class: type[Carrier]
    options: Mapping[str, str]
    portal: PortalUnderTest
    made: list[Carrier] = field(default_factory=list)

    def carrier(
        self,
        account: str = ACCOUNT,
        password: str = PASSWORD,
        *,
        answer_timeout_s: float = 15.0,
        result_timeout_s: float = 15.0,
    ) -> Carrier:
        """Not logged in yet."""
        settings = CarrierSettings(
            url=self.portal.url,
            answer_timeout_s=answer_timeout_s,
            result_timeout_s=result_timeout_s,
            options=self.options,
        )
        carrier = self.carrier_class(settings, Account(account, account, password))
        self.made.append(carrier)
        return carrier

    async def logged_in(self, account: str = ACCOUNT, **times: float) -> Carrier:
        carrier = self.carrier(account, PASSWORD, **times)
        await carrier.open_session()
        return carrier


async def fill(carrier: Carrier, order: Mapping[str, Any], number: str = "1") -> None:
    """As the runtime does before the button."""
    form = carrier.form(order, number)
    await carrier.fill(form)
    assert await carrier.read_back() == form


async def press(carrier: Carrier) -> PortalAnswer:
    await carrier.submit()
    return await carrier.read_result()


async def ship(carrier: Carrier, order: Mapping[str, Any], number: str = "1") -> PortalAnswer:
    await fill(carrier, order, number)
    return await press(carrier)


@pytest.mark.asyncio
class CarrierConformance:
    """Subclass it as TestMyCarrier with a fixture `carrier_class`, or name the carrier with --carrier."""

    @pytest.fixture
    def carrier_class(self) -> type[Carrier]:
        raise NotImplementedError

    @pytest.fixture
    def carrier_options(self) -> Mapping[str, str]:
        return {}

    @pytest.fixture
    def portal_url(self) -> str | None:
        """A portal that runs already; None: the suite starts one for each test."""
        return None

    @pytest_asyncio.fixture
    async def portal(self, portal_url: str | None) -> AsyncIterator[PortalUnderTest]:
        async with portal_under_test(portal_url) as portal:
            yield portal

    @pytest_asyncio.fixture
    async def desk(
        self, carrier_class: type[Carrier], carrier_options: Mapping[str, str], portal: PortalUnderTest
    ) -> AsyncIterator[Desk]:
        desk = Desk(carrier_class, carrier_options, portal)
        yield desk
        for carrier in desk.made:
            await carrier.close()

    # -------------------------------------------------------------------------------------- the session

    async def test_a_session_is_kept_and_needs_no_second_login(self, desk: Desk, portal: PortalUnderTest) -> None:
        first = desk.carrier()
        kept = json.loads(json.dumps(await first.open_session()))
        await first.close()

        second = desk.carrier()
        again = await second.open_session(kept)

        assert isinstance(await ship(second, an_order()), Stored)
        assert (await portal.account(ACCOUNT))["logins"] == 1
        assert again is not None

    async def test_a_kept_session_that_has_ended_is_followed_by_one_login(
        self, desk: Desk, portal: PortalUnderTest
    ) -> None:
        kept = await desk.carrier().open_session()
        await portal.end_session(ACCOUNT)

        carrier = desk.carrier()
        await carrier.open_session(kept)

        assert isinstance(await ship(carrier, an_order()), Stored)
        assert (await portal.account(ACCOUNT))["logins"] == 2

    async def test_what_is_no_session_is_followed_by_one_login(self, desk: Desk, portal: PortalUnderTest) -> None:
        carrier = desk.carrier()

        await carrier.open_session({"cookies": "no", "state": 1, "of": ["another", "version"]})

        assert isinstance(await ship(carrier, an_order()), Stored)
        assert (await portal.account(ACCOUNT))["logins"] == 1

    async def test_opening_again_needs_no_second_login(self, desk: Desk, portal: PortalUnderTest) -> None:
        carrier = desk.carrier()

        await carrier.open_session(await carrier.open_session())

        assert (await portal.account(ACCOUNT))["logins"] == 1

    async def test_the_session_of_another_account_is_not_used(self, desk: Desk, portal: PortalUnderTest) -> None:
        kept = await desk.carrier("uno").open_session()

        carrier = desk.carrier("dos")
        await carrier.open_session(kept)

        assert isinstance(await ship(carrier, an_order()), Stored)
        assert [parcel["account"] for parcel in await portal.parcels("ORD-1")] == ["dos"]

    async def test_two_accounts_work_side_by_side(self, desk: Desk, portal: PortalUnderTest) -> None:
        one, two = await desk.logged_in("uno"), await desk.logged_in("dos")

        await asyncio.gather(ship(one, an_order(referencia="A")), ship(two, an_order(referencia="B")))

        assert [parcel["account"] for parcel in await portal.parcels("A")] == ["uno"]
        assert [parcel["account"] for parcel in await portal.parcels("B")] == ["dos"]
        assert [(await portal.account(name))["logins"] for name in ("uno", "dos")] == [1, 1]

    async def test_a_wrong_password_is_tried_once_and_told_to_nobody(self, desk: Desk, portal: PortalUnderTest) -> None:
        carrier = desk.carrier(password=WRONG_PASSWORD)

        with pytest.raises(LoginRefused) as refused:
            await carrier.open_session()

        assert (await portal.account(ACCOUNT))["refused_logins"] == 1
        assert str(refused.value)
        told = "".join(traceback.format_exception(refused.value)) + repr(carrier) + repr(carrier.account)
        assert WRONG_PASSWORD not in told
        evidence = await carrier.evidence()
        assert evidence is None or WRONG_PASSWORD.encode() not in evidence.content

    async def test_a_password_that_was_changed_is_tried_once_after_the_kept_session(
        self, desk: Desk, portal: PortalUnderTest
    ) -> None:
        kept = await desk.carrier().open_session()
        await portal.end_session(ACCOUNT)
        await portal.set_account(ACCOUNT, password="otra")

        with pytest.raises(LoginRefused):
            await desk.carrier().open_session(kept)

        assert (await portal.account(ACCOUNT))["refused_logins"] == 1

    async def test_a_locked_account_is_a_refused_login(self, desk: Desk, portal: PortalUnderTest) -> None:
        await portal.set_account(ACCOUNT, is_locked=True)

        with pytest.raises(LoginRefused, match="bloqueada"):
            await desk.carrier().open_session()

        assert (await portal.account(ACCOUNT))["refused_logins"] == 1

    async def test_a_login_that_is_not_allowed_is_a_refused_login(self, desk: Desk, portal: PortalUnderTest) -> None:
        await portal.order_faults({"kind": "refuse_logins"})

        with pytest.raises(LoginRefused, match="no está permitido"):
            await desk.carrier().open_session()

        assert (await portal.account(ACCOUNT))["refused_logins"] == 1

    async def test_a_portal_that_is_down_refuses_no_login(self, desk: Desk, portal: PortalUnderTest) -> None:
        carrier = desk.carrier()
        await portal.order_faults({"kind": "down"})
        with pytest.raises(PortalUnavailable):
            await carrier.open_session()

        await portal.lift_faults()
        await carrier.open_session()

        assert isinstance(await ship(carrier, an_order()), Stored)

    async def test_a_portal_that_hangs_is_not_waited_for_at_the_login(
        self, desk: Desk, portal: PortalUnderTest
    ) -> None:
        carrier = desk.carrier(password=WRONG_PASSWORD, answer_timeout_s=1)
        await portal.order_faults({"kind": "hang", "seconds": HANGS_S})

        async with asyncio.timeout(PATIENCE_S):
            with pytest.raises(PortalUnavailable) as unavailable:
                await carrier.open_session()

        assert WRONG_PASSWORD not in "".join(traceback.format_exception(unavailable.value))

    async def test_an_address_where_nobody_answers_is_unavailable(self, desk: Desk, portal: PortalUnderTest) -> None:
        nobody = PortalUnderTest("http://127.0.0.1:9", portal.http)  # "discard": browsers refuse it by themselves too
        with pytest.raises(PortalUnavailable):
            await Desk(desk.carrier_class, desk.options, nobody, desk.made).carrier().open_session()

    # -------------------------------------------------------------------------------------- the form

    async def test_orders_are_stored_as_they_were_typed(self, desk: Desk, portal: PortalUnderTest) -> None:
        carrier = await desk.logged_in()

        for number, (case, changes) in enumerate(TYPED.items(), start=7):
            order = an_order(**{"referencia": f"ORD-{number}"} | dict(changes))
            answer = await ship(carrier, order, f"{number}")

            assert isinstance(answer, Stored), case
            assert answer.number == f"{number}", case
            (parcel,) = await portal.parcels(order["referencia"])
            freight = parcel["form"].pop("flete_contra_entrega")
            assert parcel["form"] == stored_form(order, f"{number}"), case
            assert freight in {"N", ""}, case

        assert await portal.submissions() == {"stored": len(TYPED)}

    async def test_one_order_leaves_nothing_in_the_form_of_the_next(self, desk: Desk, portal: PortalUnderTest) -> None:
        carrier = await desk.logged_in()
        await fill(carrier, an_order(), "1")  # and never sent

        await ship(carrier, an_order(referencia="ORD-2", email="", apellidos="", **PREPAID), "1")
        await ship(carrier, an_order(referencia="ORD-3"), "2")

        (second,), (third,) = await portal.parcels("ORD-2"), await portal.parcels("ORD-3")
        assert (second["form"]["email_destinatario"], second["form"]["pago_contra_entrega"]) == ("", "N")
        assert (third["form"]["apellidos_"], third["form"]["pago_contra_entrega"]) == ("Cifuentes Ortiz", "S")
        assert await portal.submissions() == {"stored": 2}

    async def test_a_field_that_lost_its_value_is_read_back_so(self, desk: Desk, portal: PortalUnderTest) -> None:
        carrier = await desk.logged_in()
        form = carrier.form(an_order(), "1")

        for name in ("direccion_", "ciudad", "total_coniva", "telefono_celular_", "referencia"):
            await portal.order_faults({"kind": "drop_field", "field": name})
            await carrier.fill(form)
            kept = await carrier.read_back()
            await portal.lift_faults()

            assert {each for each in form if kept[each] != form[each]} == {name}

        assert await portal.submissions() == {}

    async def test_a_city_that_no_suggestion_equals_is_not_replaced(self, desk: Desk, portal: PortalUnderTest) -> None:
        carrier = await desk.logged_in()

        for city in ("LA UNION (XYZ)", "Medellin (ant)"):
            with pytest.raises(FieldRefused):
                await carrier.fill(carrier.form(an_order(ciudad=city), "1"))

        assert isinstance(await ship(carrier, an_order()), Stored)
        assert await portal.submissions() == {"stored": 1}

    async def test_a_connection_error_is_gone_when_the_form_is_loaded_again(
        self, desk: Desk, portal: PortalUnderTest
    ) -> None:
        carrier = await desk.logged_in()
        await portal.order_faults({"kind": "connection_dialog", "times": 1})

        assert isinstance(await ship(carrier, an_order()), Stored)

        assert await portal.submissions() == {"stored": 1}

    async def test_a_connection_error_that_stays_is_an_outage(self, desk: Desk, portal: PortalUnderTest) -> None:
        carrier = await desk.logged_in()
        await portal.order_faults({"kind": "connection_dialog"})

        with pytest.raises(PortalUnavailable):
            await carrier.fill(carrier.form(an_order(), "1"))

        await portal.lift_faults()
        assert isinstance(await ship(carrier, an_order()), Stored)
        assert await portal.submissions() == {"stored": 1}

    async def test_a_session_that_is_lost_over_the_form_is_opened_again(
        self, desk: Desk, portal: PortalUnderTest
    ) -> None:
        carrier = await desk.logged_in()
        with pytest.raises(SessionLost):
            await fill(carrier, an_order(referencia="ORD-1#session_lost"))

        await carrier.open_session()

        assert isinstance(await ship(carrier, an_order(referencia="ORD-1#session_lost")), Stored)
        assert await portal.submissions() == {"stored": 1}
        assert (await portal.account(ACCOUNT))["logins"] == 2

    async def test_a_session_that_ended_meanwhile_is_lost_whatever_is_asked(
        self, desk: Desk, portal: PortalUnderTest
    ) -> None:
        carrier = await desk.logged_in()
        await portal.end_session(ACCOUNT)

        with pytest.raises(SessionLost):
            await carrier.fill(carrier.form(an_order(), "1"))
        await carrier.open_session()
        await portal.end_session(ACCOUNT)
        with pytest.raises(SessionLost):
            await carrier.last_number()
        await carrier.open_session()
        await portal.end_session(ACCOUNT)
        with pytest.raises(SessionLost):
            await carrier.look_up("1")

    async def test_a_portal_that_is_down_is_unavailable_before_the_button(
        self, desk: Desk, portal: PortalUnderTest
    ) -> None:
        carrier = await desk.logged_in()
        await portal.order_faults({"kind": "down"})

        with pytest.raises(PortalUnavailable):
            await carrier.fill(carrier.form(an_order(), "1"))
        with pytest.raises(PortalUnavailable):
            await carrier.last_number()
        with pytest.raises(PortalUnavailable):
            await carrier.look_up("1")

        await portal.lift_faults()
        assert isinstance(await ship(carrier, an_order()), Stored)
        assert (await portal.account(ACCOUNT))["logins"] == 1

    async def test_a_portal_that_hangs_is_unavailable_before_the_button(
        self, desk: Desk, portal: PortalUnderTest
    ) -> None:
        carrier = await desk.logged_in(answer_timeout_s=3)
        await portal.order_faults({"kind": "hang", "seconds": HANGS_S})

        async with asyncio.timeout(PATIENCE_S):
            with pytest.raises(PortalUnavailable):
                await carrier.fill(carrier.form(an_order(), "1"))

        await portal.lift_faults()
        assert isinstance(await ship(carrier, an_order()), Stored)

    # -------------------------------------------------------------------------------------- the button

    async def test_the_button_is_pressed_once_whoever_asks(self, desk: Desk, portal: PortalUnderTest) -> None:
        carrier = await desk.logged_in()
        await ship(carrier, an_order())

        with pytest.raises(OutcomeUnknown):
            await press(carrier)

        assert await portal.submissions() == {"stored": 1}

    @pytest.mark.parametrize("fault", ["refusal", "error", "crash_before", "session_lost_at_submit"])
    async def test_the_button_is_not_pressed_again_after_a_failure(
        self, desk: Desk, portal: PortalUnderTest, fault: str
    ) -> None:
        carrier = await desk.logged_in(result_timeout_s=5)
        await fill(carrier, an_order(referencia=f"ORD-1#{fault}"))
        answer: object = None
        try:
            answer = await press(carrier)
        except PortalError as error:
            answer = error

        with pytest.raises((OutcomeUnknown, SessionLost)):
            await press(carrier)

        assert not isinstance(answer, Stored)
        assert sum((await portal.submissions()).values()) == 1

    async def test_without_a_form_there_is_no_button(self, desk: Desk, portal: PortalUnderTest) -> None:
        carrier = await desk.logged_in()

        with pytest.raises(OutcomeUnknown):
            await press(carrier)

        assert await portal.submissions() == {}

    async def test_a_form_that_was_not_filled_in_is_not_sent(self, desk: Desk, portal: PortalUnderTest) -> None:
        carrier = await desk.logged_in()
        await fill(carrier, an_order())
        with pytest.raises(FieldRefused):
            await carrier.fill(carrier.form(an_order(referencia="ORD-2", ciudad="UNION"), "2"))

        with pytest.raises(OutcomeUnknown):
            await press(carrier)

        assert await portal.submissions() == {}

    async def test_a_session_that_is_lost_at_the_button_has_stored_nothing(
        self, desk: Desk, portal: PortalUnderTest
    ) -> None:
        order = an_order(referencia="ORD-1#session_lost_at_submit")
        carrier = await desk.logged_in()
        await fill(carrier, order)
        with pytest.raises(SessionLost):
            await press(carrier)
        assert await portal.parcels(order["referencia"]) == []

        await carrier.open_session()

        assert isinstance(await ship(carrier, order), Stored)
        assert await portal.submissions() == {"session_lost": 1, "stored": 1}

    async def test_a_refusal_that_names_a_field_is_about_the_order(self, desk: Desk, portal: PortalUnderTest) -> None:
        carrier = await desk.logged_in()

        answer = await ship(carrier, an_order(referencia="ORD-1#refusal"))

        assert isinstance(answer, Refused)
        assert answer.kind is ErrorKind.VALIDATION
        assert "Dirección" in answer.message
        assert await portal.submissions() == {"refused": 1}
        assert isinstance(await ship(carrier, an_order()), Stored)

    async def test_data_that_the_portal_does_not_take_is_about_the_order(
        self, desk: Desk, portal: PortalUnderTest
    ) -> None:
        carrier = await desk.logged_in()

        for changes in REFUSED:
            answer = await ship(carrier, an_order(**changes))

            assert isinstance(answer, Refused), changes
            assert answer.kind is ErrorKind.VALIDATION, changes

        assert await portal.submissions() == {"refused": len(REFUSED)}

    async def test_an_error_without_a_reason_is_the_portals(self, desk: Desk, portal: PortalUnderTest) -> None:
        carrier = await desk.logged_in()

        answer = await ship(carrier, an_order(referencia="ORD-1#error"))

        assert isinstance(answer, Refused)
        assert answer.kind is ErrorKind.PORTAL
        assert answer.message
        assert await portal.submissions() == {"error": 1}

    async def test_a_number_that_somebody_took_is_a_duplicate(self, desk: Desk, portal: PortalUnderTest) -> None:
        reference = "ORD-1#duplicate_number"
        carrier = await desk.logged_in()

        answer = await ship(carrier, an_order(referencia=reference), "5")

        assert isinstance(answer, DuplicateNumber)
        assert await portal.parcels(reference) == []
        found = await carrier.look_up("5")
        assert found is not None
        assert found.reference in {None, "(a mano)"}

    async def test_a_number_that_is_used_up_is_a_duplicate(self, desk: Desk, portal: PortalUnderTest) -> None:
        await portal.add_parcels(ACCOUNT, 3)
        carrier = await desk.logged_in()

        answer = await ship(carrier, an_order(), "2")

        assert isinstance(answer, DuplicateNumber)
        assert await portal.parcels("ORD-1") == []

    async def test_a_slow_dialog_is_waited_for(self, desk: Desk, portal: PortalUnderTest) -> None:
        carrier = await desk.logged_in()
        await portal.order_faults({"kind": "slow", "seconds": 1})

        assert isinstance(await ship(carrier, an_order()), Stored)

        assert await portal.submissions() == {"stored": 1}

    @pytest.mark.parametrize(("fault", "stored"), [("crash_before", 0), ("crash_after", 1), ("slow", 1)])
    async def test_without_a_dialog_the_outcome_is_unknown_until_it_is_looked_up(
        self, desk: Desk, portal: PortalUnderTest, fault: str, stored: int
    ) -> None:
        reference = f"ORD-1#{fault}"
        carrier = await desk.logged_in(result_timeout_s=2)
        await fill(carrier, an_order(referencia=reference), "3")

        async with asyncio.timeout(PATIENCE_S):
            with pytest.raises(OutcomeUnknown):
                await press(carrier)

        found = await carrier.look_up("3")
        assert (found is not None) == bool(stored)
        assert len(await portal.parcels(reference)) == stored
        assert sum((await portal.submissions()).values()) == 1

    async def test_a_parcel_that_is_stored_late_is_found_late(self, desk: Desk, portal: PortalUnderTest) -> None:
        carrier = await desk.logged_in(result_timeout_s=1)
        await portal.order_faults({"kind": "stored_late", "seconds": 2.5})
        await fill(carrier, an_order(), "3")

        with pytest.raises(OutcomeUnknown):
            await press(carrier)

        assert await carrier.look_up("3") is None
        async with asyncio.timeout(PATIENCE_S):
            while (found := await carrier.look_up("3")) is None:  # noqa: ASYNC110 -- a portal tells nobody
                await asyncio.sleep(0.1)
        assert found.number == "3"
        assert await portal.submissions() == {"stored": 1}

    @pytest.mark.parametrize("fault", ["down", "hang"])
    async def test_a_portal_that_fails_at_the_button_leaves_the_outcome_unknown(
        self, desk: Desk, portal: PortalUnderTest, fault: str
    ) -> None:
        carrier = await desk.logged_in(answer_timeout_s=3, result_timeout_s=2)
        await fill(carrier, an_order())
        await portal.order_faults({"kind": fault, "seconds": HANGS_S})

        async with asyncio.timeout(PATIENCE_S):
            with pytest.raises(OutcomeUnknown):
                await press(carrier)

        await portal.lift_faults()
        assert isinstance(await ship(carrier, an_order()), Stored)
        assert await portal.submissions() == {"stored": 1}

    # -------------------------------------------------------------------------------------- the list

    async def test_an_empty_list_has_no_number(self, desk: Desk) -> None:
        carrier = await desk.logged_in()

        assert await carrier.last_number() == 0
        assert await carrier.look_up("1") is None

    async def test_the_last_number_is_the_highest(self, desk: Desk, portal: PortalUnderTest) -> None:
        await portal.add_parcels(ACCOUNT, 23, step=10)
        await portal.add_parcels("otra", 40, step=10)

        assert await (await desk.logged_in()).last_number() == 230

    async def test_a_number_is_found_on_whatever_page_it_stands(self, desk: Desk, portal: PortalUnderTest) -> None:
        await portal.add_parcels(ACCOUNT, 23, step=10)
        await portal.add_parcels("otra", 40, step=5)
        carrier = await desk.logged_in()

        found = {number: await carrier.look_up(number) for number in ("230", "140", "130", "10")}
        absent = [await carrier.look_up(number) for number in ("240", "135", "5", "23", "1")]

        assert {number: parcel and parcel.number for number, parcel in found.items()} == {n: n for n in found}
        assert absent == [None] * 5

    async def test_what_is_found_says_its_guide_and_reference(self, desk: Desk, portal: PortalUnderTest) -> None:
        carrier = await desk.logged_in()
        await ship(carrier, an_order(), "4")

        found = await carrier.look_up("4")

        (parcel,) = await portal.parcels("ORD-1")
        assert found is not None
        assert found.guide_number == (None if parcel["guide"] is None else str(parcel["guide"]))
        assert found.reference in {None, "ORD-1"}

    # -------------------------------------------------------------------------------------- the rest

    async def test_evidence_can_be_asked_for_at_any_time(self, desk: Desk, portal: PortalUnderTest) -> None:
        carrier = desk.carrier(answer_timeout_s=5)
        shown = [await carrier.evidence()]
        await carrier.open_session()
        shown.append(await carrier.evidence())
        await ship(carrier, an_order(referencia="ORD-1#error"))
        shown.append(await carrier.evidence())
        await portal.order_faults({"kind": "down"})
        with pytest.raises(PortalUnavailable):
            await carrier.last_number()
        shown.append(await carrier.evidence())
        await carrier.close()
        shown.append(await carrier.evidence())

        for evidence in shown:
            if evidence is not None:
                assert isinstance(evidence, PageEvidence)
                assert evidence.content_type in EVIDENCE_TYPES
                assert 0 < len(evidence.content) <= EVIDENCE_BYTES_AT_MOST

    async def test_closing_ends_no_session_and_may_be_repeated(self, desk: Desk, portal: PortalUnderTest) -> None:
        unused = desk.carrier("otra")
        await unused.close()
        carrier = await desk.logged_in()

        await carrier.close()
        await carrier.close()

        assert (await portal.account(ACCOUNT))["has_session"]
