"""The steps of an order, from the login to the result."""

import asyncio
import datetime as dt
import re
from collections.abc import AsyncGenerator, Coroutine, Mapping, Sequence
from contextlib import suppress
from typing import Any, TypeVar

from playwright.async_api import BrowserContext, Locator, Page, ViewportSize
from playwright.async_api import Error as PlaywrightError

from clients.robot.carrier import (
    Account,
    Carrier,
    CarrierSettings,
    FieldRefused,
    Form,
    LoginRefused,
    OutcomeUnknown,
    PageEvidence,
    Parcel,
    PortalAnswer,
    PortalError,
    PortalUnavailable,
    SessionLost,
)
from clients.robot.carriers.chromium import Chromium, find_chromium
from clients.robot.carriers.coordinadora.scripts import READ_DIALOG, READ_FORM, READ_LIST, TYPE
from clients.robot.carriers.coordinadora.tab import Tab, is_in_panel
from clients.robot.carriers.pedidos import (
    CITY,
    FORM_PATH,
    LIST_PATH,
    NUMBER,
    PANEL_PATH,
    RADIOS,
    TEXTS,
    ListPage,
    check_form,
    find_parcel,
    highest_number,
    list_page,
    pedido_form,
    read_dialog,
    without_password,
)

T = TypeVar("T")

EVIDENCE_BYTES_AT_MOST = 2_000_000
_VIEWPORT: ViewportSize = {"width": 1280, "height": 900}
_LOOKS_EVERY_S = 0.05
_SETTLED_AFTER_S = 2.0
"""Without a change for so long, what a field suggests is all that it suggests."""
_HEARS_WITHIN_S = 1.0
"""After every request of the button has failed: for a page that sends again, or says something by itself."""
_WORKS_AT_MOST = 10
"""Answers that a step may wait for, one after another, before the browser itself is taken to hang."""
_ALERT = "[role=alert], .alert, .alerta, .swal2-popup, .MuiAlert-message"
_DIALOG = ".swal2-popup"
_BUTTON = "button[type=submit], input[type=submit]"


class _PageLeft(PortalUnavailable):
    """There is no browser any more."""


class CoordinadoraCarrier(Carrier):
    name = "coordinadora"

    def __init__(self, settings: CarrierSettings, account: Account) -> None:
        super().__init__(settings, account)
        self._chromium: Chromium | None = None
        self._context: BrowserContext | None = None
        self._tab: Tab | None = None
        self._number: str | None = None
        """The one in the form, until its button is pressed."""
        self._pressed_number = ""
        self._pressed_at = 0.0

    @classmethod
    def check(cls, settings: CarrierSettings) -> None:
        find_chromium(settings.options)

    # ------------------------------------------------------------------------------------------ the session

    async def open_session(self, kept: Any = None) -> Any:
        self._number = None
        try:
            context, tab = await self._open(self._state_of(kept))
        except _PageLeft:
            context, tab = await self._open(self._state_of(kept))
        await self._work(tab, self._be_logged_in(tab))
        state = await self._work(tab, context.storage_state())
        tab.needs_panel = True
        return {"url": self.settings.url, "username": self.account.username, "state": state}

    def _state_of(self, kept: Any) -> Any:
        """That of a session that is this account's at this portal."""
        match kept:
            case {"url": self.settings.url, "username": self.account.username, "state": dict(state)}:
                return state
        return None

    async def _open(self, state: Any) -> tuple[BrowserContext, Tab]:
        context = await self._open_context(state)
        return context, await self._open_tab()

    async def _open_context(self, state: Any) -> BrowserContext:
        """With that state if there is one, else with what this object knows already."""
        if self._chromium is None or not self._chromium.is_alive:
            await self.close()
            self._chromium = await self._start_browser()
        if self._context is not None and state is None:
            return self._context
        if self._context is not None:
            old, self._context, self._tab = self._context, None, None
            await self._discard(old)
        try:
            self._context = await self._bounded(self._new_context(state))
        except PortalUnavailable:
            if state is None:
                raise
            self._context = await self._bounded(self._new_context(None))  # what was kept is no state of a browser
        return self._context

    async def _start_browser(self) -> Chromium:
        return await Chromium.start(self.settings.options)

    async def _new_context(self, state: Any) -> BrowserContext:
        assert self._chromium is not None  # noqa: S101 -- started above
        context = await self._chromium.browser.new_context(
            storage_state=state, viewport=_VIEWPORT, locale="es-CO", service_workers="block"
        )
        context.set_default_timeout(self.settings.answer_timeout_s * 1_000)
        return context

    async def _open_tab(self) -> Tab:
        """A page of its own, in place of the one before, which may hang."""
        old, self._tab = self._tab, None
        if old is not None:
            await self._discard(old.page)
        assert self._context is not None  # noqa: S101 -- opened before
        self._tab = Tab(await self._bounded(self._context.new_page()))
        return self._tab

    async def _discard(self, part: Page | BrowserContext) -> None:
        """What does not go might yet send what it was to send: the browser is ended with it.  Raises _PageLeft then."""
        try:
            async with asyncio.timeout(_SETTLED_AFTER_S):
                await self._bounded(part.close())
        except TimeoutError:
            await self.close()
            raise _PageLeft("A page of the browser did not close; the browser was ended.") from None
        except PortalUnavailable:
            return  # it has gone by itself

    async def _be_logged_in(self, tab: Tab) -> None:
        await tab.visit(self.settings.url + PANEL_PATH)
        if not is_in_panel(tab.page.url):
            await self._log_in(tab)

    async def _log_in(self, tab: Tab) -> None:
        """One login.  What is neither taken nor an outage counts as a refusal: to try again could lock the account."""
        page = tab.page
        await page.fill("[name=usuario]", self.account.username)
        await page.fill("[name=clave]", self.account.password)
        tab.listen()
        await page.get_by_role("button", name="Ingresar").click(no_wait_after=True)
        answered_at: float | None = None
        deadline = _now() + self.settings.answer_timeout_s
        while _now() < deadline:
            tab.check()
            if is_in_panel(page.url):
                if tab.status >= 400:
                    raise PortalUnavailable(f"The portal answers {tab.status} to {PANEL_PATH}.")
                return
            statuses = [answer.status for answer in tab.answers.values()]
            if any(status >= 500 for status in statuses):
                raise PortalUnavailable(f"The portal answers {max(statuses)} to the login.")
            if statuses and answered_at is None:
                answered_at = _now()
            if any(400 <= status < 500 for status in statuses) or (
                answered_at and _now() - answered_at > _SETTLED_AFTER_S
            ):
                raise LoginRefused(await self._reason(page))
            if tab.has_only_failed:
                break
            await asyncio.sleep(_LOOKS_EVERY_S)
        raise PortalUnavailable("The portal does not answer the login.")

    async def _reason(self, page: Page) -> str:
        """What the page says about the login."""
        said = ""
        with suppress(PlaywrightError):
            await page.wait_for_load_state("domcontentloaded")
            alert = page.locator(_ALERT).first
            await alert.wait_for(timeout=_SETTLED_AFTER_S * 1_000)
            said = (await alert.inner_text()).strip()
        return without_password(said, self.account) or "The portal shows its login again."

    # ------------------------------------------------------------------------------------------ the form

    def form(self, order: Mapping[str, Any], number: str) -> Form:
        return pedido_form(order, number)

    async def fill(self, form: Form) -> None:
        self._number = None
        check_form(form)
        tab = await self._logged_in()
        await self._work(tab, self._fill(tab, form))
        self._number = form[NUMBER]

    async def _fill(self, tab: Tab, form: Form) -> None:
        page = tab.page
        await self._load_form(tab)
        await self._type(page, [(name, form[name]) for name in TEXTS])
        await self._choose_city(page, form[CITY])
        for name in RADIOS:
            radio = page.locator(f"[name={name}][value={form[name]}]")
            if not await radio.is_checked() and await radio.is_enabled():
                await radio.check()
        await self._leave_field(tab)
        await self._button(page).wait_for()

    async def _type(self, page: Page, fields: Sequence[tuple[str, str]]) -> None:
        """All in one go, by the browser's own editing: the page hears what it hears of a keyboard.

        Playwright's own `fill`, much dearer, is for a field that cannot be typed in yet: it waits for that.
        """
        rest = list(fields)
        while rest:
            typed = 0
            with suppress(PlaywrightError):  # the page has gone elsewhere: `fill` says how that ends
                async with asyncio.timeout(self.settings.answer_timeout_s):
                    typed = await page.evaluate(TYPE, rest)
            if typed < len(rest):
                name, value = rest[typed]
                await page.fill(f"[name={name}]", value)
            del rest[: typed + 1]

    async def _load_form(self, tab: Tab) -> None:
        """A connection error is dismissed and the form loaded again, once."""
        page = tab.page
        said = ""
        await tab.visit(self.settings.url + FORM_PATH)
        for is_second in (False, True):
            await page.locator(f"[name={NUMBER}], {_DIALOG}").first.wait_for()
            dialog = page.locator(_DIALOG)
            if not await dialog.count():
                return
            said = await dialog.inner_text()
            await dialog.locator(".swal2-confirm").click(no_wait_after=True)
            if not is_second:
                await tab.visit()
        raise PortalUnavailable(" ".join(said.split()))

    async def _choose_city(self, page: Page, city: str) -> None:
        """The suggestion whose text equals the city: the first one is often another town."""
        field = page.get_by_role("combobox")
        await field.fill(city)
        options = page.get_by_role("option")
        seen: list[str] = []
        changed_at = _now()
        deadline = _now() + self.settings.answer_timeout_s
        while _now() < deadline:
            texts = [text.strip() for text in await options.all_text_contents()]
            if city in texts and await _chosen(options.nth(texts.index(city)), city):
                return
            if texts != seen:
                seen, changed_at = texts, _now()
            if seen and _now() - changed_at > _SETTLED_AFTER_S:
                raise FieldRefused(f"No suggestion for the city equals {city}; the portal suggests {', '.join(seen)}.")
            await asyncio.sleep(_LOOKS_EVERY_S)
        raise FieldRefused(f"The portal suggests nothing for the city {city}.")

    async def _leave_field(self, tab: Tab) -> None:
        """And hear what the page asks the portal when a field is left; a page that never rests is read all the same."""
        await tab.page.evaluate("() => document.activeElement?.blur?.()")
        deadline = _now() + _SETTLED_AFTER_S
        is_at_rest = False
        while not is_at_rest and _now() < deadline:
            await asyncio.sleep(_LOOKS_EVERY_S)
            is_at_rest = not tab.under_way

    def _button(self, page: Page) -> Locator:
        return page.locator("form").filter(has=page.locator(f"[name={NUMBER}]")).locator(_BUTTON)

    async def read_back(self) -> Form:
        if self._number is None or self._tab is None:
            raise PortalUnavailable("No form is filled in.")
        return await self._work(self._tab, self._read_back(self._tab))

    async def _read_back(self, tab: Tab) -> Form:
        await self._leave_field(tab)
        if await tab.page.locator(_DIALOG).count():
            said = await tab.page.locator(_DIALOG).first.inner_text()
            raise PortalUnavailable(" ".join(said.split()))
        form: dict[str, str] = await tab.page.evaluate(READ_FORM, [TEXTS, RADIOS, CITY])
        return form

    # ------------------------------------------------------------------------------------------ the button

    async def submit(self) -> None:
        number, self._number = self._number, None
        tab = self._tab
        if number is None or tab is None:
            raise OutcomeUnknown("There is no form whose button has not been pressed yet.")
        self._pressed_number, self._pressed_at = number, _now()
        tab.listen()
        button = self._button(tab.page)
        try:
            # Playwright's click waits until it can be made, and is made once.
            await self._work(tab, button.click(no_wait_after=True))
        except PortalError as error:
            problem = f"The button was to be pressed, but: {error}"
        else:
            return
        raise self._lost_at_button(tab) or OutcomeUnknown(problem)

    async def read_result(self) -> PortalAnswer:
        tab = self._tab
        if tab is None:
            raise OutcomeUnknown("The browser has ended.")
        dialog = await self._wait_for_dialog(tab)
        if any(answer.status >= 500 for answer in tab.answers.values()):
            raise OutcomeUnknown(f"The portal failed while it took the order, and says: {dialog['text']}")
        return read_dialog(dialog["icon"], dialog["title"], dialog["text"], number=self._pressed_number)

    async def _wait_for_dialog(self, tab: Tab) -> dict[str, str]:
        deadline = self._pressed_at + self.settings.result_timeout_s
        failed_at: float | None = None
        while _now() < deadline:
            if tab.trouble is not None:
                raise self._lost_at_button(tab) or OutcomeUnknown(f"After the button: {tab.trouble}")
            try:
                async with asyncio.timeout(deadline - _now()):
                    dialog: dict[str, str] | None = await tab.page.evaluate(READ_DIALOG)
            except (PlaywrightError, TimeoutError):
                dialog = None  # between two pages, or a page that hangs
            if dialog is not None:
                return dialog
            failed_at = (failed_at or _now()) if tab.has_only_failed else None
            if failed_at is not None and _now() - failed_at > _HEARS_WITHIN_S:
                raise OutcomeUnknown("The connection ended before the portal had answered the button.")
            await asyncio.sleep(_LOOKS_EVERY_S)
        raise OutcomeUnknown(f"No dialog has come within {self.settings.result_timeout_s:g} s of the button.")

    def _lost_at_button(self, tab: Tab) -> SessionLost | None:
        """If whatever the button sent was answered by asking for a login.  The login page alone proves nothing."""
        if isinstance(tab.trouble, SessionLost) and tab.sent and all(map(tab.was_sent_to_login, tab.sent)):
            return SessionLost("The portal asked for a login instead of taking the order.")
        return None

    # ------------------------------------------------------------------------------------------ the list

    async def last_number(self) -> int:
        return await highest_number(self._pages())

    async def look_up(self, number: str, *, since: dt.datetime | None = None) -> Parcel | None:  # noqa: ARG002 -- the list shows no times
        return await find_parcel(self._pages(), number)

    async def _pages(self) -> AsyncGenerator[ListPage]:
        self._number = None  # whatever was filled in is gone
        tab = await self._logged_in()
        await self._work(tab, tab.visit(self.settings.url + LIST_PATH))
        page = await self._work(tab, self._read_list(tab, after=0))
        yield page
        while page.last < page.total:
            forward = tab.page.get_by_role("button", name=re.compile("siguiente|next", re.IGNORECASE))
            await self._work(tab, forward.click(no_wait_after=True))
            page = await self._work(tab, self._read_list(tab, after=page.last))
            yield page

    async def _read_list(self, tab: Tab, *, after: int) -> ListPage:
        """As soon as the list shows all the rows that it says it shows, behind those of the page before."""
        said = "no list"
        deadline = _now() + self.settings.answer_timeout_s
        while _now() < deadline:
            tab.check()
            with suppress(PlaywrightError):  # between two pages
                shown = await tab.page.evaluate(READ_LIST)
                if shown:
                    said = f"{len(shown['rows'])} rows, {shown['range']}"
                    page = list_page(_parcels(shown["heads"], shown["rows"]), shown["range"])
                    if page and page.is_whole and (page.first > after or not page.total):
                        return page
            if tab.status >= 400:
                break
            await asyncio.sleep(_LOOKS_EVERY_S)
        raise PortalUnavailable(f"The portal's list is not shown as it should be: {said}.")

    # ------------------------------------------------------------------------------------------ the rest

    async def evidence(self) -> PageEvidence | None:
        if self._tab is None:
            return None
        with suppress(Exception):  # whatever went wrong, its evidence must not go wrong too
            async with asyncio.timeout(self.settings.answer_timeout_s):
                return await self._screenshot(self._tab.page)
        return None

    async def _screenshot(self, page: Page) -> PageEvidence | None:
        secrets = [page.locator("input[type=password], [name=clave]")]
        png = await page.screenshot(full_page=True, mask=secrets, animations="disabled")
        if len(png) <= EVIDENCE_BYTES_AT_MOST:
            return PageEvidence("image/png", png)
        for is_full in (True, False):
            jpeg = await page.screenshot(full_page=is_full, mask=secrets, type="jpeg", quality=60)
            if len(jpeg) <= EVIDENCE_BYTES_AT_MOST:
                return PageEvidence("image/jpeg", jpeg)
        return None

    async def close(self) -> None:
        chromium, self._chromium, self._context, self._tab = self._chromium, None, None, None
        self._number = None
        if chromium is not None:
            await chromium.end()

    async def _logged_in(self) -> Tab:
        """The page to work in.  Raises PortalUnavailable and SessionLost."""
        if self._tab is None:
            raise PortalUnavailable("There is no browser.")
        self._tab.check()
        if self._tab.is_doubtful:
            tab = await self._open_tab()
            tab.needs_panel = True
            return tab
        return self._tab

    async def _work(self, tab: Tab, step: Coroutine[Any, Any, T]) -> T:
        """A step in a page, ended at once by what happens to the page meanwhile.  Raises what the step does."""
        working = asyncio.ensure_future(self._bounded(step))
        ending = asyncio.ensure_future(tab.ended.wait())
        try:
            await asyncio.wait({working, ending}, return_when=asyncio.FIRST_COMPLETED)
            tab.check()
            return await working
        except PortalUnavailable:
            tab.is_doubtful = True
            raise
        finally:
            for task in (working, ending):
                task.cancel()
            await asyncio.gather(working, ending, return_exceptions=True)

    async def _bounded(self, step: Coroutine[Any, Any, T]) -> T:
        """Raises PortalUnavailable for whatever Playwright raises.

        Of its messages the first line alone: the others tell what was typed, a password too.  For the same reason the
        error is not chained.
        """
        try:
            async with asyncio.timeout(self.settings.answer_timeout_s * _WORKS_AT_MOST):
                return await step
        except TimeoutError:
            problem = "The browser does not answer."
        except PlaywrightError as error:
            problem = without_password(error.message.splitlines()[0], self.account)
        raise PortalUnavailable(problem)


async def _chosen(option: Locator, city: str) -> bool:
    """False if the page has replaced it meanwhile."""
    try:
        handle = await option.element_handle(timeout=_SETTLED_AFTER_S * 1_000)
        if (await handle.text_content() or "").strip() != city:
            return False
        await handle.click(timeout=_SETTLED_AFTER_S * 1_000, no_wait_after=True)
    except PlaywrightError:
        return False
    return True


def _parcels(heads: list[str], rows: list[list[str]]) -> list[Parcel]:
    """Column 0 is the pedido, column 1 the guía; the reference is where the head says so."""
    place = next((place for place, head in enumerate(heads) if "referencia" in head.lower()), None)
    return [
        Parcel(row[0], row[1] or None, row[place] or None if place is not None and place < len(row) else None)
        for row in rows
    ]


def _now() -> float:
    return asyncio.get_running_loop().time()
