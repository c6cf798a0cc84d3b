"""The portal over HTTP: pages for browsers, and the same as JSON for whoever accepts only that."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from importlib.resources import files
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Receive, Scope, Send

from clients.robot.sandbox_portal.bodies import BodyRefused, read_form
from clients.robot.sandbox_portal.cities import carrier_cities
from clients.robot.sandbox_portal.faults import OF_THE_PORTAL, FaultKind
from clients.robot.sandbox_portal.inspection import inspection_routes
from clients.robot.sandbox_portal.order_form import CITY, FIELDS, RADIOS, text_problem
from clients.robot.sandbox_portal.pages import (
    CITIES_PATH,
    DRAFT_PATH,
    FORM_PATH,
    LOGIN_PATH,
    LOGOUT_PATH,
    ORDERS_PATH,
    PANEL_PATH,
    STATIC_PATH,
    Dialog,
    dialog_page,
    form_page,
    login_page,
    message_page,
    orders_page,
    panel_page,
)
from clients.robot.sandbox_portal.portal import CutOff, Portal, SessionLost
from clients.robot.sandbox_portal.settings import PortalSettings
from clients.robot.sandbox_portal.store import Store

SESSION_COOKIE = "sesion"
INSPECTION_PATH = "/sandbox"
HANG_UP = "hang_up"
"""What ends a request's connection, in its scope's state."""
PAGE_AT_MOST = 10_000_000
_HEADERS = (
    (b"content-security-policy", b"default-src 'self'; img-src 'self' data:; frame-ancestors 'none'"),
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
)

Endpoint = Callable[[Request], Awaitable[Response]]
AccountEndpoint = Callable[[Request, str], Awaitable[Response]]


def create_portal(settings: PortalSettings) -> Portal:
    """Raises StoreUnusable."""
    return Portal(settings, Store(settings.file), carrier_cities(), asyncio.Event())


def create_app(portal: Portal) -> ASGIApp:
    """The portal's own paths, and /sandbox to look at it and to order its faults."""
    pages = _Pages(portal)
    static = Path(str(files(__package__) / "static"))
    routes: list[BaseRoute] = [
        Route("/", _to(PANEL_PATH)),
        Route(LOGIN_PATH, pages.login, methods=["GET"]),
        Route(LOGIN_PATH, pages.log_in, methods=["POST"]),
        Route(LOGOUT_PATH, pages.for_account(pages.log_out), methods=["POST"]),
        Route(PANEL_PATH, pages.for_account(pages.panel)),
        Route(ORDERS_PATH, pages.for_account(pages.orders)),
        Route(CITIES_PATH, pages.for_account(pages.suggestions)),
        Route(FORM_PATH, pages.for_account(pages.form), methods=["GET"]),
        Route(FORM_PATH, pages.for_account(pages.submit), methods=["POST"]),
        Route(DRAFT_PATH, pages.for_account(pages.draft), methods=["POST"]),
        Mount(STATIC_PATH, StaticFiles(directory=static)),
        Mount(INSPECTION_PATH, routes=inspection_routes(portal)),
    ]
    handlers: dict[Any, Any] = {BodyRefused: _refused_body, SessionLost: _lost_session, CutOff: _cut_off}
    app = Starlette(routes=routes, exception_handlers=handlers)
    return _Weather(app, portal)


class _Weather:
    """Everything that can happen to any request, whatever it asks for."""

    def __init__(self, app: ASGIApp, portal: Portal) -> None:
        self._app = app
        self._portal = portal

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *_HEADERS]
            await send(message)

        app = self._app
        if not scope["path"].startswith(f"{INSPECTION_PATH}/"):
            app = await self._answer_of_the_day(Request(scope)) or app
        try:
            await app(scope, receive, send_with_headers)
        except ClientDisconnect:
            return  # nobody is left to be answered

    async def _answer_of_the_day(self, request: Request) -> Response | None:
        """What every request is answered while the portal is down."""
        fault = self._portal.store.meet_fault(OF_THE_PORTAL)
        if fault is None:
            return None
        if fault.kind is FaultKind.DOWN:
            return _unavailable(request)
        await self._portal.hang(fault)
        return _CutOffAnswer()


class _Pages:
    def __init__(self, portal: Portal) -> None:
        self._portal = portal

    def for_account(self, endpoint: AccountEndpoint) -> Endpoint:
        """For those who are logged in; others are sent to do so."""

        async def checked(request: Request) -> Response:
            account = self._find_account(request)
            if account is None:
                raise SessionLost
            return await endpoint(request, account)

        return checked

    def _find_account(self, request: Request) -> str | None:
        token = request.cookies.get(SESSION_COOKIE)
        return self._portal.store.find_account(token) if token else None

    async def login(self, request: Request) -> Response:
        return RedirectResponse(PANEL_PATH, 303) if self._find_account(request) else HTMLResponse(login_page())

    async def log_in(self, request: Request) -> Response:
        sent = await read_form(request)
        account = sent.get("usuario", "").strip()
        token, problem = self._portal.log_in(account, sent.get("clave", ""))
        if problem:
            shown = "" if text_problem(account) else account
            if _wants_json(request):
                return JSONResponse({"problema": problem}, 403)
            return HTMLResponse(login_page(problem, account=shown), 403)
        answer = JSONResponse({"panel": PANEL_PATH}) if _wants_json(request) else RedirectResponse(PANEL_PATH, 303)
        answer.set_cookie(SESSION_COOKIE, token, httponly=True, samesite="lax")
        return answer

    async def log_out(self, _: Request, account: str) -> Response:
        self._portal.store.end_session(account)
        return RedirectResponse(LOGIN_PATH, 303)

    async def panel(self, _: Request, account: str) -> Response:
        return HTMLResponse(panel_page(account))

    async def form(self, request: Request, account: str) -> Response:
        dialog = self._portal.load_form(account)
        if not _wants_json(request):
            return HTMLResponse(form_page(account, dialog))
        shown = asdict(dialog) if dialog else None
        return JSONResponse({"campos": [*FIELDS, *RADIOS], "dialogo": shown})

    async def suggestions(self, request: Request, _: str) -> Response:
        typed = request.query_params.get("texto", "")
        if problem := text_problem(typed):
            raise BodyRefused(400, f"El texto {problem}")
        await self._portal.pause(self._portal.settings.suggestions_delay_s)
        cities = self._portal.cities
        found = [{"ciudad": city, "recaudo": cities.collects(city)} for city in cities.suggest(typed)]
        return JSONResponse({"ciudades": found})

    async def draft(self, request: Request, account: str) -> Response:
        return JSONResponse({"campos": self._portal.keep_draft(account, await read_form(request))})

    async def submit(self, request: Request, account: str) -> Response:
        dialog = await self._portal.submit(account, await read_form(request))
        return _dialog_answer(request, account, dialog)

    async def orders(self, request: Request, account: str) -> Response:
        asked = request.query_params.get("pagina", "1")
        page = int(asked) if asked.isascii() and asked.isdigit() and len(asked) <= len(str(PAGE_AT_MOST)) else 1
        page = min(max(page, 1), PAGE_AT_MOST)
        settings = self._portal.settings
        parcels, total = self._portal.store.list_parcels(account, page=page, page_size=settings.page_size)
        first = (page - 1) * settings.page_size + 1
        guide_after_s = settings.guide_after_s
        if not _wants_json(request):
            shown = orders_page(account, parcels, page=page, first=first, total=total, guide_after_s=guide_after_s)
            return HTMLResponse(shown)
        last = first + len(parcels) - 1
        return JSONResponse(
            {
                "pedidos": [
                    {
                        "pedido": str(parcel.number),
                        "guia": parcel.guide(after_s=guide_after_s),
                        "referencia": parcel.reference,
                        "ciudad": parcel.form.get(CITY, ""),
                    }
                    for parcel in parcels
                ],
                "rango": f"{first if parcels else 0}-{last if parcels else 0} de {total}",
                "siguiente": page + 1 if parcels and last < total else None,
            }
        )


def _to(path: str) -> Endpoint:
    async def redirect(_: Request) -> Response:
        return RedirectResponse(path, 303)

    return redirect


def _wants_json(request: Request) -> bool:
    accepted = request.headers.get("accept", "")
    return "application/json" in accepted and "text/html" not in accepted


def _dialog_answer(request: Request, account: str, dialog: Dialog) -> Response:
    if _wants_json(request):
        return JSONResponse(asdict(dialog))
    return HTMLResponse(dialog_page(account, dialog))


def _is_for_a_script(request: Request) -> bool:
    return _wants_json(request) or request.url.path in {DRAFT_PATH, CITIES_PATH}


def _lost_session(request: Request, _: Exception) -> Response:
    if _is_for_a_script(request):
        return JSONResponse({"ingreso": LOGIN_PATH}, 401)
    return RedirectResponse(LOGIN_PATH, 303)


def _refused_body(request: Request, refused: Exception) -> Response:
    assert isinstance(refused, BodyRefused)  # noqa: S101 -- what it is registered for
    if request.url.path.startswith(f"{INSPECTION_PATH}/"):
        return JSONResponse({"error": refused.message}, refused.status)
    dialog = Dialog("error", "Solicitud no válida", refused.message)
    if _is_for_a_script(request):
        return JSONResponse(asdict(dialog), refused.status)
    return HTMLResponse(message_page(dialog.title, dialog.text), refused.status)


def _unavailable(request: Request) -> Response:
    title, text = "Servicio no disponible", "El portal no está disponible. Intente más tarde."
    headers = {"Retry-After": "30"}
    if _is_for_a_script(request):
        return JSONResponse({"icon": "error", "title": title, "text": text}, 503, headers)
    return HTMLResponse(message_page(title, text), 503, headers)


async def _cut_off(_: Request, __: Exception) -> Response:
    return _CutOffAnswer()


class _CutOffAnswer(Response):
    """The beginning of an answer, then the connection ends.

    Begun, because a browser sends a request again by itself, a POST too, when a connection that it had used before
    ends without a word.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        hang_up = scope.get("state", {}).get(HANG_UP)
        if hang_up is None:
            raise RuntimeError("only the portal's own server can hang up: use clients.robot.sandbox_portal.server")
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"1000")]})
        await send({"type": "http.response.body", "body": b"", "more_body": True})
        hang_up()
        while (await receive())["type"] != "http.disconnect":
            pass
