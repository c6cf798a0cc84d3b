"""Serves the sandbox portal: by itself, or beside a test in the same process."""

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from clients.robot.sandbox_portal.app import HANG_UP, create_app, create_portal
from clients.robot.sandbox_portal.portal import Portal
from clients.robot.sandbox_portal.settings import PortalSettings
from clients.robot.sandbox_portal.store import Store

STOPS_WITHIN_S = 5


@dataclass(frozen=True, slots=True)
class RunningPortal:
    url: str
    store: Store


@asynccontextmanager
async def running_portal(settings: PortalSettings) -> AsyncIterator[RunningPortal]:
    """A portal on a free port, in this process and event loop, until the block ends.  Several may run at once."""
    portal = create_portal(settings)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = _Server(portal, has_signals=False)
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            await server.listening.wait()
            yield RunningPortal(_url(listener), portal.store)
        finally:
            server.should_exit = True
            await serving
            portal.store.close()


def serve_portal(settings: PortalSettings, listener: socket.socket, tell: Callable[[str], None]) -> None:
    """Serve until Ctrl-C or SIGTERM; `tell` hears the address once it answers.  Raises StoreUnusable."""

    async def serve() -> None:
        portal = create_portal(settings)
        server = _Server(portal, has_signals=True)
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        await server.listening.wait()
        tell(_url(listener))
        try:
            await serving
        finally:
            portal.store.close()

    try:
        asyncio.run(serve())
    except KeyboardInterrupt:
        return


class _Connection(H11Protocol):
    """Requests of it can hang up on whoever sent them."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        # asyncio does so only for sockets that name TCP; without it an answer waits 40 ms for the acknowledgement.
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.app_state = {**self.app_state, HANG_UP: transport.close}


class _Server(uvicorn.Server):
    def __init__(self, portal: Portal, *, has_signals: bool) -> None:
        config = uvicorn.Config(
            create_app(portal),
            http=_Connection,
            ws="none",
            lifespan="off",
            log_config=None,
            log_level=logging.WARNING,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=STOPS_WITHIN_S,
        )
        super().__init__(config)
        self.listening = asyncio.Event()
        self._portal = portal
        self._has_signals = has_signals

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.listening.set()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._portal.stopping.set()  # who still waits for a dialog is cut off
        await super().shutdown(sockets)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        if not self._has_signals:  # a test's signals are its own
            yield
            return
        with super().capture_signals():
            yield


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
