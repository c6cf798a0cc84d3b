"""Portals that behave as the sandbox portal does not, over real HTTP."""

import asyncio
import socket
from collections.abc import AsyncIterator, Generator
from contextlib import asynccontextmanager, contextmanager

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from clients.robot.carriers.pedidos import TEXTS

FORM_PATH = "/panel/agregar_pedidos/coordinadora"
LOGIN = """<form method=post action=/login><input name=usuario><input name=clave type=password>
<button>Ingresar</button></form>"""
FORM = (
    f"<form method=post action={FORM_PATH}>"
    + "".join(f"<input name={name}>" for name in TEXTS)
    + """<input role=combobox oninput="lista.hidden = false"><input type=hidden name=ciudad>
<ul role=listbox id=lista hidden><li role=option>MEDELLIN</li>
<li role=option onclick="document.querySelector('[name=ciudad]').value =
  document.querySelector('[role=combobox]').value = this.textContent">MEDELLIN (ANT)</li></ul>"""
    + "".join(
        f"<input type=radio name={name} value=S><input type=radio name={name} value=N checked>"
        for name in ("pago_contra_entrega", "flete_contra_entrega")
    )
    + "<button type=submit>Guardar</button></form>"
)


class OddPortal:
    """A portal without scripts: each page is one of the attributes, to be replaced by a test."""

    def __init__(self) -> None:
        self.url = ""
        self.logins = 0
        self.orders = 0
        self.is_open = False
        self.login_page = LOGIN
        self.after_login: Response = RedirectResponse("/panel", 303)
        self.opens = True
        """Whether a login opens a session."""
        self.form_page = FORM
        self.list_page = ""
        self.after_order: Response = HTMLResponse("<p>Gracias</p>")
        self.ends_session_with_order = False

    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/login", self._login),
                Route("/login", self._log_in, methods=["POST"]),
                Route("/panel", self._page),
                Route("/panel/pedidos", self._page),
                Route(FORM_PATH, self._page),
                Route(FORM_PATH, self._take, methods=["POST"]),
            ]
        )

    async def _login(self, _: Request) -> Response:
        return HTMLResponse(self.login_page)

    async def _log_in(self, _: Request) -> Response:
        self.logins += 1
        self.is_open = self.opens
        return self.after_login

    async def _page(self, request: Request) -> Response:
        if not self.is_open:
            return RedirectResponse(f"/login?next={request.url.path}", 303)
        pages = {FORM_PATH: self.form_page, "/panel/pedidos": self.list_page}
        return HTMLResponse(pages.get(request.url.path, "<h1>Panel</h1>"))

    async def _take(self, _: Request) -> Response:
        self.orders += 1
        self.is_open = not self.ends_session_with_order
        return self.after_order


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield  # a test's signals are its own


@asynccontextmanager
async def odd_portal() -> AsyncIterator[OddPortal]:
    portal = OddPortal()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        portal.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        server = _Server(uvicorn.Config(portal.app(), log_config=None, lifespan="off", timeout_graceful_shutdown=1))
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            yield portal
        finally:
            server.should_exit = True
            await serving
