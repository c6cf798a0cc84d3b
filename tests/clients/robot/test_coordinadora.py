"""The carrier in a browser, where the conformance suite says nothing: its own browser, and portals that are odd."""

import asyncio
import signal
import subprocess
import sys
import traceback
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]  # it has no types of its own
import pytest
from starlette.responses import RedirectResponse, Response

from clients.robot.carrier import (
    Account,
    CarrierSettings,
    CarrierUnusable,
    FieldRefused,
    LoginRefused,
    OutcomeUnknown,
    Parcel,
    PortalUnavailable,
    SessionLost,
    Stored,
)
from clients.robot.carriers.chromium import Chromium, find_chromium
from clients.robot.carriers.coordinadora import CoordinadoraCarrier
from clients.robot.carriers.pedidos import TEXTS
from clients.robot.conformance.suite import CITY_WITHOUT_COD, PREPAID, an_order, fill, press, ship
from clients.robot.sandbox_portal.server import RunningPortal, running_portal
from tests.browser import NO_SANDBOX
from tests.clients.robot.odd_portals import LOGIN, OddPortal, odd_portal
from tests.clients.robot.portal_visitors import fast
from tests.clients.robot.test_coordinadora_conformance import InSharedBrowser
from tests.servers import ROOT, environment, until

PASSWORD = "clave-Z81-secreta"
ACCOUNT = Account("tienda", "tienda", PASSWORD)


def settings(url: str, **times: Any) -> CarrierSettings:
    return CarrierSettings(
        url=url, options=NO_SANDBOX, **({"answer_timeout_s": 15.0, "result_timeout_s": 15.0} | times)
    )


@pytest.fixture
async def portal() -> AsyncIterator[RunningPortal]:
    async with running_portal(fast(passwords={"tienda": PASSWORD})) as portal:
        yield portal


@pytest.fixture
async def odd() -> AsyncIterator[OddPortal]:
    async with odd_portal() as portal:
        yield portal


class Shop:
    """Makes carriers in the shared browser, and closes them."""

    def __init__(self) -> None:
        self.made: list[InSharedBrowser] = []

    async def logged_in(self, url: str, **times: Any) -> InSharedBrowser:
        carrier = self.carrier(url, **times)
        await carrier.open_session()
        return carrier

    def carrier(self, url: str, **times: Any) -> InSharedBrowser:
        self.made.append(InSharedBrowser(settings(url, **times), ACCOUNT))
        return self.made[-1]


@pytest.fixture
async def shop(chromium: Chromium) -> AsyncIterator[Shop]:
    InSharedBrowser.running = chromium
    shop = Shop()
    yield shop
    for carrier in shop.made:
        await carrier.close()


# ---------------------------------------------------------------------------------------------- its own browser


def browsers() -> list[psutil.Process]:
    """Ours and our drivers, as long as they live."""
    found = []
    for process in psutil.Process().children(recursive=True):
        try:
            if process.status() != psutil.STATUS_ZOMBIE and process.name().startswith(("chromium", "node")):
                found.append(process)
        except psutil.NoSuchProcess:
            continue
    return found


def main_process(carrier: CoordinadoraCarrier, others: list[psutil.Process]) -> psutil.Process:
    assert carrier._chromium is not None
    return next(each for each in carrier._chromium._processes if each not in others and each.name() == "chromium")


async def test_a_browser_that_is_killed_is_started_again_and_none_is_left(portal: RunningPortal) -> None:
    others = browsers()
    carrier = CoordinadoraCarrier(settings(portal.url), ACCOUNT)
    try:
        kept = await carrier.open_session()
        await fill(carrier, an_order(), "1")
        main_process(carrier, others).kill()
        with pytest.raises(PortalUnavailable):
            await carrier.fill(carrier.form(an_order(), "1"))

        await carrier.open_session(kept)
        await fill(carrier, an_order(), "1")
        main_process(carrier, others).kill()
        with pytest.raises(OutcomeUnknown):
            await press(carrier)

        await carrier.open_session(kept)
        assert await carrier.look_up("1") is None
        assert isinstance(await ship(carrier, an_order(), "1"), Stored)
        assert portal.store.list_accounts()[0]["logins"] == 1
    finally:
        await carrier.close()
    assert [process for process in browsers() if process not in others] == []


async def test_a_browser_that_does_not_answer_is_ended_all_the_same(
    portal: RunningPortal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clients.robot.carriers.chromium.ENDS_WITHIN_S", 0.5)
    others = browsers()
    carrier = CoordinadoraCarrier(settings(portal.url), ACCOUNT)
    await carrier.open_session()
    assert carrier._chromium is not None
    for process in carrier._chromium._processes:  # its driver too
        process.suspend()

    await carrier.close()

    await until(lambda: not [process for process in browsers() if process not in others])


async def test_a_robot_that_is_killed_leaves_no_browser(portal: RunningPortal) -> None:
    program = f"""
import asyncio
from clients.robot.carrier import Account, CarrierSettings
from clients.robot.carriers.coordinadora import CoordinadoraCarrier

async def main():
    carrier = CoordinadoraCarrier(
        CarrierSettings(url={portal.url!r}, options={NO_SANDBOX!r}), Account("tienda", "tienda", {PASSWORD!r})
    )
    await carrier.open_session()
    print(*(process.pid for process in carrier._chromium._processes), flush=True)
    await asyncio.sleep(600)

asyncio.run(main())
"""
    robot = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, cwd=ROOT, env=environment(), stdout=asyncio.subprocess.PIPE
    )
    assert robot.stdout is not None
    pids = [int(pid) for pid in (await robot.stdout.readline()).split()]
    assert len(pids) >= 2
    assert all(map(is_alive, pids))

    robot.send_signal(signal.SIGKILL)
    await robot.wait()

    await until(lambda: not any(map(is_alive, pids)))


def is_alive(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


async def test_a_page_that_crashes_is_replaced(portal: RunningPortal, shop: Shop) -> None:
    carrier = await shop.logged_in(portal.url)
    await fill(carrier, an_order(), "1")
    assert carrier._tab is not None
    with pytest.raises(Exception, match=r"crash|ERR_"):
        await carrier._tab.page.goto("chrome://crash")
    await carrier._tab.ended.wait()

    with pytest.raises(PortalUnavailable):
        await carrier.fill(carrier.form(an_order(), "1"))
    await carrier.open_session()

    assert isinstance(await ship(carrier, an_order(), "1"), Stored)
    assert portal.store.list_accounts()[0]["logins"] == 1


def test_a_browser_that_is_named_and_missing_is_told_before_anything_is_claimed(tmp_path: Path) -> None:
    named = CarrierSettings(url="http://portal", options={"executable": str(tmp_path / "chromium")})

    with pytest.raises(CarrierUnusable, match="There is no browser at"):
        CoordinadoraCarrier.check(named)


def test_a_browser_is_named_by_option_or_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    for each in (first, second):
        each.write_text("#!/bin/sh\n")
        each.chmod(0o755)
    monkeypatch.setenv("ROBOT_JOBS_CHROMIUM", str(second))

    assert find_chromium({"executable": str(first)}) == str(first)
    assert find_chromium({}) == str(second)


async def test_what_is_no_browser_does_not_start(tmp_path: Path) -> None:
    program = tmp_path / "chromium"
    program.write_text("#!/bin/sh\nexit 3\n")
    program.chmod(0o755)
    carrier = CoordinadoraCarrier(
        CarrierSettings(url="http://127.0.0.1:9", options={"executable": str(program)}), ACCOUNT
    )

    with pytest.raises(CarrierUnusable, match="Chromium does not start") as unusable:
        await carrier.open_session()

    assert len(str(unusable.value).splitlines()) == 1


def test_without_playwright_one_line_says_what_to_install() -> None:
    program = (
        "import sys; sys.modules['playwright'] = None; sys.modules['playwright.async_api'] = None\n"
        "from clients.robot.carriers import load_carrier\n"
        "load_carrier('sandbox')\n"
        "try: load_carrier('coordinadora')\n"
        "except Exception as error: print(type(error).__name__, error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env=environment(), capture_output=True, text=True, check=True
    )

    assert done.stdout.startswith("CarrierUnusable")
    assert "pip install 'robot-jobs[browser]'" in done.stdout


# ---------------------------------------------------------------------------------------------- secrets


async def test_a_password_is_in_no_error_and_in_no_picture(odd: OddPortal, shop: Shop) -> None:
    odd.login_page = LOGIN.replace("name=clave", "name=clave disabled")
    carrier = shop.carrier(odd.url, answer_timeout_s=1)

    with pytest.raises(PortalUnavailable) as unavailable:
        await carrier.open_session()

    assert PASSWORD not in "".join(traceback.format_exception(unavailable.value))
    assert unavailable.value.__context__ is None


async def test_a_page_that_repeats_the_password_is_not_quoted(odd: OddPortal, shop: Shop) -> None:
    odd.opens = False
    odd.login_page = f"{LOGIN}<p role=alert>La clave {PASSWORD} no sirve</p>"

    with pytest.raises(LoginRefused, match="La clave ••• no sirve"):
        await shop.carrier(odd.url).open_session()


async def test_what_is_typed_into_a_password_field_is_not_in_the_picture(odd: OddPortal, shop: Shop) -> None:
    carrier = await shop.logged_in(odd.url)
    assert carrier._tab is not None
    pictures = []
    for value in ("", "WWWWWWWW"):
        await carrier._tab.page.set_content(f"<input name=clave value={value}><input type=password value={value}>")
        evidence = await carrier.evidence()
        assert evidence is not None
        pictures.append(evidence.content)

    assert pictures[0] == pictures[1]


async def test_a_picture_that_is_too_large_becomes_a_smaller_one(
    odd: OddPortal, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    carrier = await shop.logged_in(odd.url)
    png = await carrier.evidence()
    assert png is not None
    assert (png.content_type, png.content[:4]) == ("image/png", b"\x89PNG")

    assert carrier._tab is not None
    await carrier._tab.page.evaluate(
        """() => { const canvas = document.body.appendChild(document.createElement("canvas"));
          canvas.width = 1200; canvas.height = 800;
          const context = canvas.getContext("2d"), image = context.createImageData(1200, 800);
          for (let i = 0; i < image.data.length; i++) image.data[i] = i % 4 == 3 ? 255 : Math.random() * 255;
          context.putImageData(image, 0, 0); }"""
    )
    jpeg = await carrier.evidence()

    assert jpeg is not None
    assert (jpeg.content_type, jpeg.content[:3]) == ("image/jpeg", b"\xff\xd8\xff")
    assert len(jpeg.content) <= 2_000_000


# ---------------------------------------------------------------------------------------------- odd logins


async def test_a_login_page_that_knows_where_it_leads_is_still_a_login_page(odd: OddPortal, shop: Shop) -> None:
    carrier = await shop.logged_in(odd.url)

    assert odd.logins == 1
    assert isinstance(await carrier.open_session(), dict)
    assert odd.logins == 1


async def test_a_login_page_that_comes_again_without_a_word_is_a_refusal(odd: OddPortal, shop: Shop) -> None:
    odd.opens = False

    with pytest.raises(LoginRefused):
        await shop.carrier(odd.url).open_session()

    assert odd.logins == 1


# ---------------------------------------------------------------------------------------------- odd orders


async def test_a_page_without_scripts_can_be_filled_in(odd: OddPortal, shop: Shop) -> None:
    carrier = await shop.logged_in(odd.url, result_timeout_s=2)

    await fill(carrier, an_order())
    with pytest.raises(OutcomeUnknown):
        await press(carrier)

    assert odd.orders == 1


HEARS_EVERYTHING = """<script>
const said = {}, heard = {};
for (const kind of ["focus", "beforeinput", "input", "change", "blur"])
  document.addEventListener(kind, (event) => {
    if (!event.isTrusted && kind != "beforeinput") return;
    (heard[event.target.name] ||= []).push(kind);
    if (kind == "input") said[event.target.name] = event.target.value;
    if (kind == "blur" && event.target.name in said) event.target.value = said[event.target.name];
  }, true);
</script>"""


async def test_the_page_hears_all_that_it_hears_of_a_keyboard(odd: OddPortal, shop: Shop) -> None:
    odd.form_page = HEARS_EVERYTHING + odd.form_page.replace("name=nombres_", "name=nombres_ value=Otra")
    carrier = await shop.logged_in(odd.url)

    await fill(carrier, an_order(apellidos=""))

    assert carrier._tab is not None
    heard = await carrier._tab.page.evaluate("heard")
    for name in TEXTS:
        changes = [] if name == "apellidos_" else ["beforeinput", "input", "change"]  # it was empty before
        assert heard[name] == ["focus", *changes, "blur"], name


async def test_what_a_field_does_not_take_is_not_in_it(odd: OddPortal, shop: Shop) -> None:
    odd.form_page = odd.form_page.replace("name=direccion_", "name=direccion_ onbeforeinput='return false'").replace(
        "name=apellidos_", "name=apellidos_ maxlength=4"
    )
    carrier = await shop.logged_in(odd.url)
    form = carrier.form(an_order(), "1")

    await carrier.fill(form)

    assert await carrier.read_back() == {**form, "direccion_": "", "apellidos_": "Cifu"}


async def test_a_field_that_cannot_be_typed_in_yet_is_waited_for(odd: OddPortal, shop: Shop) -> None:
    opened = "onchange='setTimeout(() => { email_destinatario.disabled = false; peso.hidden = false; }, 200)'"
    odd.form_page = (
        odd.form_page.replace("name=nombres_", f"name=nombres_ {opened}")
        .replace("name=email_destinatario", "name=email_destinatario id=email_destinatario disabled")
        .replace("name=peso", "name=peso id=peso hidden")
    )
    carrier = await shop.logged_in(odd.url)

    await fill(carrier, an_order())


async def test_a_field_that_can_never_be_typed_in_is_an_outage(odd: OddPortal, shop: Shop) -> None:
    odd.form_page = odd.form_page.replace("name=direccion_", "name=direccion_ readonly")
    carrier = await shop.logged_in(odd.url, answer_timeout_s=1)

    with pytest.raises(PortalUnavailable):
        await carrier.fill(carrier.form(an_order(), "1"))


async def test_an_order_that_is_taken_before_the_session_ends_is_not_a_lost_session(odd: OddPortal, shop: Shop) -> None:
    odd.after_order, odd.ends_session_with_order = RedirectResponse("/panel/pedidos", 303), True
    carrier = await shop.logged_in(odd.url)
    await fill(carrier, an_order())

    with pytest.raises(OutcomeUnknown):
        await press(carrier)

    assert odd.orders == 1


async def test_an_order_that_is_answered_with_the_login_is_a_lost_session(odd: OddPortal, shop: Shop) -> None:
    odd.after_order, odd.ends_session_with_order = RedirectResponse("/login", 303), True
    carrier = await shop.logged_in(odd.url)
    await fill(carrier, an_order())

    with pytest.raises(SessionLost):
        await press(carrier)


async def test_a_button_that_could_be_pressed_again_is_not(odd: OddPortal, shop: Shop) -> None:
    odd.after_order = Response(status_code=204)  # the page stays as it is
    carrier = await shop.logged_in(odd.url, result_timeout_s=1)
    await fill(carrier, an_order())

    for _ in range(2):
        with pytest.raises(OutcomeUnknown):
            await press(carrier)

    assert odd.orders == 1


async def test_a_page_that_hangs_is_left_for_another(odd: OddPortal, shop: Shop) -> None:
    carrier = await shop.logged_in(odd.url, answer_timeout_s=3, result_timeout_s=1)
    page, odd.form_page = odd.form_page, odd.form_page.replace("<input", "<input oninput='for (;;);'", 1)
    with pytest.raises(PortalUnavailable):
        await carrier.fill(carrier.form(an_order(), "1"))
    assert await carrier.evidence() is None

    odd.form_page = page
    await fill(carrier, an_order())


async def test_a_page_that_does_not_close_holds_nobody_up_and_is_gone_with_its_browser(
    odd: OddPortal, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    carrier = await shop.logged_in(odd.url)
    assert carrier._tab is not None
    page = carrier._tab.page
    monkeypatch.setattr(page, "close", asyncio.Event().wait)

    async with asyncio.timeout(30):
        await carrier.open_session()

    assert page.is_closed()
    await fill(carrier, an_order())


async def test_a_dialog_that_asks_something_is_no_answer(odd: OddPortal, shop: Shop) -> None:
    odd.form_page = odd.form_page.replace(
        "<form",
        """<form onsubmit="document.body.insertAdjacentHTML('beforeend',
        `<div class='swal2-popup swal2-icon-warning'>¿Seguro?</div>`); return false" """,
    )
    carrier = await shop.logged_in(odd.url, result_timeout_s=1)
    await fill(carrier, an_order())

    with pytest.raises(OutcomeUnknown):
        await press(carrier)


async def test_a_city_that_is_shown_and_not_sent_is_not_read_back_as_it_should_be(odd: OddPortal, shop: Shop) -> None:
    odd.form_page = odd.form_page.replace("document.querySelector('[name=ciudad]').value =", "")
    carrier = await shop.logged_in(odd.url)
    form = carrier.form(an_order(), "1")

    await carrier.fill(form)

    assert (await carrier.read_back())["ciudad"] == 'MEDELLIN (ANT) shown, "" sent'


async def test_an_amount_with_decimals_is_not_typed(odd: OddPortal, shop: Shop) -> None:
    carrier = await shop.logged_in(odd.url)

    with pytest.raises(FieldRefused):
        await carrier.fill(carrier.form(an_order(totalConIva=1500.5), "1"))


async def test_a_choice_that_is_disabled_is_read_back_as_it_is(portal: RunningPortal, shop: Shop) -> None:
    carrier = await shop.logged_in(portal.url)
    form = carrier.form(an_order(**PREPAID, ciudad=CITY_WITHOUT_COD, esFleteContraentrega=True), "1")

    await carrier.fill(form)

    assert await carrier.read_back() == {**form, "flete_contra_entrega": "N"}


# ---------------------------------------------------------------------------------------------- odd lists

ROWS_COME_LATER = """<table><thead><tr><th>Pedido</th><th>Guía</th></tr></thead><tbody id=rows></tbody>
<tfoot><tr><td>Filas</td><td><p id=range>0–0 de 1</p></td></tr></tfoot></table>
<script>setTimeout(() => { range.textContent = "1–2 de 2";
  setTimeout(() => { rows.innerHTML = "<tr><td>8<td>70001</tr><tr><td>7<td></tr>"; }, 200); }, 200);</script>"""


async def test_a_list_is_read_when_it_shows_what_it_says(odd: OddPortal, shop: Shop) -> None:
    odd.list_page = ROWS_COME_LATER
    carrier = await shop.logged_in(odd.url)

    assert await carrier.look_up("7") == Parcel("7", None, None)
    assert await carrier.look_up("8") == Parcel("8", "70001", None)
    assert await carrier.look_up("9") is None
    assert await carrier.last_number() == 8


@pytest.mark.parametrize("page", ["<h1>Pedidos</h1>", ROWS_COME_LATER.replace("<tr><td>7<td></tr>", "")])
async def test_a_list_that_does_not_show_what_it_says_lacks_no_number(odd: OddPortal, shop: Shop, page: str) -> None:
    odd.list_page = page
    carrier = await shop.logged_in(odd.url, answer_timeout_s=2)

    with pytest.raises(PortalUnavailable):
        await carrier.look_up("7")
