"""The sandbox portal over plain HTTP: no browser, the same work."""

import asyncio
import datetime as dt
from collections.abc import AsyncGenerator, Mapping
from typing import Any
from urllib.parse import urlsplit

import httpx

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
    PortalUnavailable,
    SessionLost,
)
from clients.robot.carriers.pedidos import (
    CITY,
    COLLECT_FREIGHT,
    FORM_PATH,
    LIST_PATH,
    NO,
    NUMBER,
    PANEL_PATH,
    ListPage,
    check_form,
    find_parcel,
    highest_number,
    list_page,
    pedido_form,
    read_dialog,
    without_password,
)

LOGIN_PATH = "/login"
DRAFT_PATH = f"{FORM_PATH}/borrador"
CITIES_PATH = "/panel/ciudades"
EVIDENCE_BYTES_AT_MOST = 2_000_000
_KEPT_ALIVE_S = 2.0
"""Shorter than servers keep a connection: an order must not go out on one that is being closed."""


class SandboxCarrier(Carrier):
    name = "sandbox"

    def __init__(self, settings: CarrierSettings, account: Account) -> None:
        super().__init__(settings, account)
        # httpx sends nothing a second time by itself, and its own time limits are per piece of an answer.
        self._http = httpx.AsyncClient(
            base_url=settings.url,
            headers={"Accept": "application/json"},
            limits=httpx.Limits(keepalive_expiry=_KEPT_ALIVE_S),
            timeout=None,  # noqa: S113 -- each request has one of its own
            trust_env=False,
        )
        self._draft: dict[str, str] | None = None
        """The form as the portal has it, until its button is pressed."""
        self._number = ""
        self._shown: httpx.Response | None = None

    # ------------------------------------------------------------------------------------------ the session

    async def open_session(self, kept: Any = None) -> Any:
        self._draft = None
        cookies = self._cookies_of(kept)
        if cookies is not None:
            self._http.cookies = httpx.Cookies(cookies)
        if self._http.cookies and await self._is_logged_in():
            return self._session()
        self._http.cookies.clear()
        await self._log_in()
        return self._session()

    def _session(self) -> dict[str, Any]:
        cookies = {cookie.name: cookie.value for cookie in self._http.cookies.jar}
        return {"url": self.settings.url, "username": self.account.username, "cookies": cookies}

    def _cookies_of(self, kept: Any) -> dict[str, str] | None:
        """Those of a session that is this account's at this portal."""
        match kept:
            case {"url": self.settings.url, "username": self.account.username, "cookies": dict(cookies)}:
                return {name: value for name, value in cookies.items() if isinstance(value, str)}
        return None

    async def _is_logged_in(self) -> bool:
        try:
            await self._ask("GET", PANEL_PATH)
        except SessionLost:
            return False
        return True

    async def _log_in(self) -> None:
        fields = {"usuario": self.account.username, "clave": self.account.password}
        answer = await self._answer("POST", LOGIN_PATH, data=fields)
        if 400 <= answer.status_code < 500:
            problem = _json(answer).get("problema") or f"The portal answers the login with {answer.status_code}."
            raise LoginRefused(without_password(str(problem), self.account))
        if answer.status_code != 200:
            raise PortalUnavailable(f"The portal answers the login with {answer.status_code}.")

    # ------------------------------------------------------------------------------------------ the form

    def form(self, order: Mapping[str, Any], number: str) -> Form:
        return pedido_form(order, number)

    async def fill(self, form: Form) -> None:
        self._draft = None
        check_form(form)
        await self._load_form()
        draft = dict(form)
        if not await self._choose_city(form[CITY]):
            draft[COLLECT_FREIGHT] = NO  # disabled, where nothing is collected
        self._number = form[NUMBER]
        self._draft = await self._keep(draft)

    async def read_back(self) -> Form:
        if self._draft is None:
            raise PortalUnavailable("No form is filled in.")
        self._draft = await self._keep(self._draft)
        return self._draft

    async def _load_form(self) -> None:
        dialog = None
        for _ in range(2):
            dialog = (await self._ask("GET", FORM_PATH)).get("dialogo")
            if not dialog:
                return
        raise PortalUnavailable(f"{dialog}" if not isinstance(dialog, dict) else str(dialog.get("text")))

    async def _choose_city(self, city: str) -> bool:
        """Whether anything is collected there."""
        suggestions = (await self._ask("GET", CITIES_PATH, params={"texto": city})).get("ciudades", [])
        for suggestion in suggestions:
            if suggestion["ciudad"] == city:
                return bool(suggestion["recaudo"])
        names = ", ".join(suggestion["ciudad"] for suggestion in suggestions) or "nothing"
        raise FieldRefused(f"No suggestion for the city equals {city}; the portal suggests {names}.")

    async def _keep(self, draft: Mapping[str, str]) -> dict[str, str]:
        kept = (await self._ask("POST", DRAFT_PATH, data=draft)).get("campos", {})
        return {name: str(value) for name, value in kept.items()}

    # ------------------------------------------------------------------------------------------ the button

    async def submit(self) -> None:
        draft, self._draft = self._draft, None
        if draft is None:
            raise OutcomeUnknown("There is no form whose button has not been pressed yet.")
        self._shown = None
        try:
            async with asyncio.timeout(self.settings.result_timeout_s):
                answer = await self._http.post(FORM_PATH, data=draft)
        except TimeoutError:
            problem = f"The portal has not answered the button within {self.settings.result_timeout_s:g} s."
        except httpx.HTTPError as error:
            problem = f"The connection ended before the portal had answered the button: {_words(error)}."
        else:
            self._shown = answer
            if _leads_to_login(answer):
                raise SessionLost("The portal asked for a login instead of taking the order.")
            return
        raise OutcomeUnknown(problem)

    async def read_result(self) -> PortalAnswer:
        answer = self._shown
        if answer is None:
            raise OutcomeUnknown("The portal has not answered the button.")
        dialog = _json(answer)
        if answer.status_code >= 500 or "icon" not in dialog:
            raise OutcomeUnknown(f"The portal answered the button with {answer.status_code} and no dialog.")
        return read_dialog(dialog["icon"], dialog.get("title", ""), dialog.get("text", ""), number=self._number)

    # ------------------------------------------------------------------------------------------ the list

    async def last_number(self) -> int:
        return await highest_number(self._pages())

    async def look_up(self, number: str, *, since: dt.datetime | None = None) -> Parcel | None:  # noqa: ARG002 -- the list shows no times
        return await find_parcel(self._pages(), number)

    async def _pages(self) -> AsyncGenerator[ListPage]:
        place: int | None = 1
        while place is not None:
            shown = await self._ask("GET", LIST_PATH, params={"pagina": place})
            rows = [
                Parcel(row["pedido"], row["guia"] or None, row["referencia"] or None)
                for row in shown.get("pedidos", [])
            ]
            page = list_page(rows, shown.get("rango", ""))
            if page is None:
                raise PortalUnavailable("The portal's list does not say how long it is.")
            yield page
            place = shown.get("siguiente")

    # ------------------------------------------------------------------------------------------ the rest

    async def evidence(self) -> PageEvidence | None:
        if self._shown is None:
            return None
        request = self._shown.request
        head = f"{request.method} {request.url}\n{self._shown.status_code} {self._shown.reason_phrase}\n\n"
        text = without_password(head + self._shown.text, self.account)
        return PageEvidence("text/plain", text.encode()[:EVIDENCE_BYTES_AT_MOST])

    async def close(self) -> None:
        await self._http.aclose()

    async def _ask(self, method: str, path: str, **request: Any) -> dict[str, Any]:
        """What a path answers to who is logged in.  Raises SessionLost, PortalUnavailable and FieldRefused."""
        answer = await self._answer(method, path, **request)
        if _leads_to_login(answer):
            raise SessionLost("The portal asks for a login.")
        if answer.status_code in {400, 413}:
            raise FieldRefused(str(_json(answer).get("text") or f"The portal answers {answer.status_code}."))
        if answer.status_code != 200:
            raise PortalUnavailable(f"The portal answers {answer.status_code} {answer.reason_phrase}.")
        return _json(answer)

    async def _answer(self, method: str, path: str, **request: Any) -> httpx.Response:
        """Before the button.  Raises PortalUnavailable."""
        try:
            async with asyncio.timeout(self.settings.answer_timeout_s):
                self._shown = await self._http.request(method, path, **request)
        except TimeoutError:
            problem = f"The portal has not answered within {self.settings.answer_timeout_s:g} s."
        except httpx.HTTPError as error:
            problem = f"The portal cannot be reached: {_words(error)}."
        else:
            return self._shown
        raise PortalUnavailable(problem)


def _json(answer: httpx.Response) -> dict[str, Any]:
    """Empty where the answer is no JSON object, such as a page."""
    try:
        found = answer.json()
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _leads_to_login(answer: httpx.Response) -> bool:
    location = urlsplit(answer.headers.get("location", "")).path
    return answer.status_code == 401 or (answer.is_redirect and location == LOGIN_PATH)


def _words(error: httpx.HTTPError) -> str:
    return str(error) or type(error).__name__
