"""The sandbox portal's pages in a real Chromium: what a browser robot meets there."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, Locator, Page, expect

from clients.robot.carriers.pedidos import TEXTS
from clients.robot.sandbox_portal.app import SESSION_COOKIE
from clients.robot.sandbox_portal.faults import Fault, FaultKind
from clients.robot.sandbox_portal.server import RunningPortal, running_portal
from tests.clients.robot.portal_visitors import ACCOUNT, FORM, PASSWORD, PEDIDO, fast
from tests.servers import until

BROWSER_TIMEOUT_MS = 15_000
CITY = "LA UNION (NAR)"


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def portal() -> AsyncIterator[RunningPortal]:
    async with running_portal(fast(suggestions_delay_s=0.05, dialog_delay_s=(0.05, 0.05))) as portal:
        yield portal


@dataclass(slots=True)
class Visit:
    """A browser with a session at the portal."""

    portal: RunningPortal
    page: Page

    async def log_in(self) -> None:
        await self.page.goto(f"{self.portal.url}/login")
        await self.page.fill("[name=usuario]", ACCOUNT)
        await self.page.fill("[name=clave]", PASSWORD)
        await self.page.get_by_role("button", name="Ingresar").click()
        await self.page.wait_for_url("**/panel")

    async def open_form(self) -> None:
        await self.page.goto(self.portal.url + FORM)

    async def fill_in(self, *, city: str = CITY, **fields: str) -> None:
        """The texts in one go, by the browser's own editing, as the page hears it of a keyboard."""
        typed = {name: text for name, text in (PEDIDO | fields).items() if name in TEXTS}
        await self.page.evaluate(
            """(typed) => { for (const [name, text] of Object.entries(typed)) {
              document.getElementsByName(name)[0].select();
              document.execCommand(text ? "insertText" : "delete", false, text);
            } }""",
            typed,
        )
        await self.choose_city(city)
        await self.page.check("[name=pago_contra_entrega][value=S]")

    async def choose_city(self, city: str) -> None:
        await self.city.fill(city)
        await self.page.get_by_role("option", name=city, exact=True).click()

    async def press(self) -> None:
        await self.page.get_by_role("button", name="Enviar").click()

    @property
    def city(self) -> Locator:
        return self.page.get_by_role("combobox")

    @property
    def dialog(self) -> Locator:
        return self.page.locator(".swal2-popup")

    def parcels(self, reference: str = "ORD-1") -> int:
        return len(self.portal.store.find_parcels(reference=reference))


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def window(browser: Browser) -> AsyncIterator[BrowserContext]:
    """One for all, with a page for each."""
    window = await browser.new_context()
    window.set_default_timeout(BROWSER_TIMEOUT_MS)
    expect.set_options(timeout=BROWSER_TIMEOUT_MS)
    yield window
    await window.close()


@pytest.fixture
async def visit(window: BrowserContext, portal: RunningPortal) -> AsyncIterator[Visit]:
    """Somebody who is logged in, and has the form before them."""
    portal.store.reset()
    _, token = portal.store.log_in(ACCOUNT, is_right=True, lock_after=1)
    await window.clear_cookies()
    await window.add_cookies([{"name": SESSION_COOKIE, "value": token, "url": portal.url}])
    visit = Visit(portal, await window.new_page())
    troubles: list[str] = []  # what the page's scripts did not catch
    visit.page.on("pageerror", lambda error: troubles.append(str(error)))
    await visit.open_form()
    yield visit
    await visit.page.close()
    assert troubles == []


async def test_a_login_leads_to_the_panel(visit: Visit) -> None:
    await visit.page.context.clear_cookies()

    await visit.log_in()

    await expect(visit.page.get_by_role("heading", name="Panel")).to_be_visible()


async def test_an_order_is_filled_in_and_stored_as_it_was_typed(visit: Visit) -> None:
    await visit.fill_in(referencia="<img src=x onerror=alert(1)>")
    await visit.press()

    await expect(visit.dialog).to_contain_text("El pedido 1 fue creado")
    await expect(visit.page.locator(".swal2-popup.swal2-icon-success")).to_be_visible()
    (parcel,) = visit.portal.store.find_parcels()
    assert parcel.form == PEDIDO | {"ciudad": CITY, "referencia": "<img src=x onerror=alert(1)>"}

    await visit.page.click(".swal2-confirm")
    await expect(visit.dialog).to_have_count(0)
    await expect(visit.page.locator("[name=nombres_]")).to_have_value("")


async def test_the_first_suggestion_is_another_town(visit: Visit) -> None:
    await visit.city.fill(CITY)
    options = visit.page.get_by_role("option")
    await expect(options.first).not_to_have_text(CITY)

    await visit.city.press("ArrowDown")
    await visit.city.press("Enter")

    assert await visit.city.input_value() != CITY


async def test_a_city_that_is_typed_and_not_chosen_is_gone(visit: Visit) -> None:
    await visit.fill_in()
    await visit.city.fill(CITY)
    await visit.city.blur()
    await expect(visit.city).to_have_value("")

    await visit.press()

    await expect(visit.dialog).to_contain_text("seleccione una ciudad de la lista")
    assert visit.parcels() == 0


async def test_what_is_shown_of_a_city_keeps_its_blanks(visit: Visit) -> None:
    await visit.city.fill("carlosama")

    option = visit.page.locator("[role=option]", has_text="CUASPUD")
    await option.wait_for()
    assert await option.inner_text() == "CARLOSAMA  CUASPUD (NAR)"


async def test_the_freight_cannot_be_collected_where_nothing_is(visit: Visit) -> None:
    freight = visit.page.locator("[name=flete_contra_entrega][value=S]")
    await freight.check()

    await visit.choose_city("ABEJORRAL (ANT)")
    await expect(freight).to_be_disabled()
    assert not await freight.is_checked()

    await visit.choose_city(CITY)
    await expect(freight).to_be_enabled()


async def test_the_amount_takes_no_decimals(visit: Visit) -> None:
    amount = visit.page.locator("[name=total_coniva]")

    await amount.fill("1500.5")
    assert await amount.input_value() == ""

    await amount.press_sequentially("1500.5")
    assert await amount.input_value() == "15005"


async def test_a_dropped_field_is_empty_when_it_is_read_back(visit: Visit) -> None:
    await visit.fill_in(referencia="ORD-1#drop_field:direccion_")

    assert await visit.page.input_value("[name=direccion_]") == ""
    assert await visit.page.input_value("[name=nombres_]") == PEDIDO["nombres_"]


async def test_a_dropped_city_is_gone_from_the_field_too(visit: Visit) -> None:
    await visit.fill_in(referencia="ORD-1#drop_field:ciudad")

    await expect(visit.city).to_have_value("")


async def test_a_reference_typed_letter_by_letter_meets_its_own_faults_only(visit: Visit) -> None:
    await visit.page.fill("[name=direccion_]", "Calle 1")
    await visit.page.locator("[name=referencia]").press_sequentially("A#drop_field:direccion_b")

    await visit.page.locator("[name=referencia]").blur()

    assert await visit.page.input_value("[name=direccion_]") == "Calle 1"


async def test_a_session_that_is_lost_in_the_middle_leads_to_the_login(visit: Visit) -> None:
    await visit.page.fill("[name=referencia]", "ORD-1#session_lost")

    await visit.page.wait_for_url("**/login")


async def test_a_session_that_is_lost_at_the_button_leads_to_the_login(visit: Visit) -> None:
    await visit.fill_in(referencia="ORD-1#session_lost_at_submit")
    await visit.press()

    await visit.page.wait_for_url("**/login")
    assert visit.parcels("ORD-1#session_lost_at_submit") == 0


async def test_a_refusal_shows_its_reason_and_keeps_the_form(visit: Visit) -> None:
    await visit.fill_in(direccion_="")
    await visit.press()

    await expect(visit.page.locator(".swal2-popup.swal2-icon-error")).to_contain_text("Dirección: es obligatorio.")
    await visit.page.click(".swal2-confirm")
    assert await visit.page.input_value("[name=nombres_]") == PEDIDO["nombres_"]


@pytest.mark.parametrize(("fault", "parcels"), [("crash_before", 0), ("crash_after", 1)])
async def test_a_crash_shows_no_dialog_and_is_not_sent_again(visit: Visit, fault: str, parcels: int) -> None:
    reference = f"ORD-1#{fault}"
    await visit.fill_in(referencia=reference)
    async with visit.page.expect_event("requestfailed"):
        await visit.press()

    await expect(visit.page.get_by_role("button", name="Enviando…")).to_be_disabled()
    await expect(visit.dialog).to_have_count(0)
    (order,) = visit.portal.store.list_orders(reference=reference)
    assert (order["parcels"], sum(order["submissions"].values())) == (parcels, 1)


async def test_a_connection_error_is_dismissed_and_gone_when_loaded_again(visit: Visit) -> None:
    visit.portal.store.order_faults([Fault(kind=FaultKind.CONNECTION_DIALOG, times=1)])
    await visit.open_form()
    await expect(visit.dialog).to_contain_text("Error de conexión")

    await visit.page.click(".swal2-confirm")
    await expect(visit.dialog).to_have_count(0)
    await visit.page.reload()

    await expect(visit.dialog).to_have_count(0)
    await visit.fill_in()
    await visit.press()
    await expect(visit.dialog).to_contain_text("fue creado")


async def test_the_list_is_paged_with_a_button(visit: Visit) -> None:
    for number in range(1, 13):
        visit.portal.store.add_parcel(ACCOUNT, number, f"ORD-{number}", PEDIDO)

    await visit.page.goto(f"{visit.portal.url}/panel/pedidos")
    first = await visit.page.locator("tbody tr td:first-child").all_inner_texts()
    await visit.page.get_by_role("button", name="Página siguiente").click()
    await expect(visit.page.get_by_text("11-12 de 12")).to_be_visible()

    assert first == [str(number) for number in range(12, 2, -1)]
    assert await visit.page.locator("tbody tr td:nth-child(2)").all_inner_texts() == [
        parcel.guide(after_s=0) for parcel in reversed(visit.portal.store.find_parcels()[:2])
    ]
    await expect(visit.page.get_by_role("button", name="Página siguiente")).to_be_disabled()


async def test_a_slow_portal_shows_its_dialog_late_and_its_parcel_at_once(visit: Visit) -> None:
    await visit.fill_in(referencia="ORD-1#slow")
    await visit.press()

    await until(lambda: visit.parcels("ORD-1#slow"))
    await expect(visit.page.get_by_role("button", name="Enviando…")).to_be_disabled()
    assert await visit.dialog.count() == 0
