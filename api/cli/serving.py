"""`robot-jobs serve`."""

import asyncio
import datetime as dt
import gc
import importlib
import logging
import socket
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Annotated

import typer

from api.companions import Companions
from api.credential_keys import load_key_ring
from api.database import DatabaseUrls, app_engine, bring_up_to_date, find_database, refuse_outdated, refuse_unsafe
from api.end_with_parent import end_with_parent
from api.listener import listen
from api.settings import Settings, SettingsError, load_settings
from api.workspaces import DEMO_LOGIN, DEMO_WORKSPACE_ID, SANDBOX_PASSWORD, developer_id, seed_demo_workspace
from domain.envelopes import KeyRing
from domain.workspaces import Role

if TYPE_CHECKING:
    from api.tokens import Tokens

CREATE_JOB = (
    "mutation { createRobotJob(input: { carrier: SANDBOX, allReady: true, onInvalid: SKIP_INVALID }) "
    "{ ... on CreateRobotJobSuccess { job { id totalItems } } ... on Error { message } } }"
)
CUT_OFF_WITHIN_S = 2  # what is given up at a stop still gets its answer: that it was


def serve(
    dev: Annotated[
        bool, typer.Option(help="Migrate, seed the demo workspace if there is none, print a developer token.")
    ] = False,
    with_robot: Annotated[
        bool, typer.Option("--with-robot", help="With --dev: run the sandbox portal and a robot that works there, too.")
    ] = False,
    ends_with_stdin: Annotated[bool, typer.Option("--ends-with-stdin", hidden=True)] = False,
) -> None:
    """Serve the API until Ctrl-C or SIGTERM."""
    if ends_with_stdin:
        end_with_parent()
    if with_robot and not dev:
        raise SettingsError("--with-robot is for --dev: elsewhere start `robot-jobs robot` where it is to work")
    settings = load_settings().in_mode(dev=dev)
    logging.basicConfig(level=settings.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    for name in ("uvicorn", "alembic"):  # they tell at length what is as it should be
        logging.getLogger(name).setLevel(logging.WARNING)
    listener = listen(settings)
    with ThreadPoolExecutor(1) as pool:
        finding = pool.submit(asyncio.run, find_database(settings))
        importlib.import_module("api.app")
        urls = finding.result()
    key_ring = load_key_ring(settings, may_make=dev or urls.is_embedded)
    tokens = asyncio.run(_prepare(settings, urls, key_ring, dev=dev))
    companions = Companions(settings, urls) if with_robot else None
    _serve(settings, urls, tokens, listener, key_ring=key_ring, dev=dev, companions=companions)


async def _prepare(settings: Settings, urls: DatabaseUrls, key_ring: KeyRing | None, *, dev: bool) -> "Tokens":
    from api.tokens import load_tokens

    tokens = load_tokens(settings, may_make_secret=dev or urls.is_embedded)
    engine = app_engine(settings, urls)
    try:
        await refuse_unsafe(engine)
        if dev:
            await bring_up_to_date(urls)
            await seed_demo_workspace(urls, key_ring)
        else:
            await refuse_outdated(engine)
    finally:
        await engine.dispose()
    return tokens


def _serve(
    settings: Settings,
    urls: DatabaseUrls,
    tokens: "Tokens",
    listener: socket.socket,
    *,
    key_ring: KeyRing | None,
    dev: bool,
    companions: Companions | None = None,
) -> None:
    import uvicorn

    from api.app import create_app
    from api.connections import Connection
    from api.websocket_protocol import WebSocketProtocol

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            if self.started:
                host, port = listener.getsockname()[:2]
                portal_url = companions.portal_url if companions else None
                typer.echo(_banner(f"http://{host}:{port}", tokens if dev else None, portal_url))
                if companions:
                    companions.start(f"http://{_reachable(host)}:{port}")

        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            if companions:  # while the API still answers the robot
                await companions.stop(lambda: self.force_exit)
            for server in self.servers:
                server.close()
            await api.state.stop()  # before uvicorn closes sockets with a code of its own
            await super().shutdown(sockets)

    api = create_app(settings, urls, tokens, key_ring=key_ring)
    config = uvicorn.Config(
        api,
        http=Connection,
        ws=WebSocketProtocol,
        ws_per_message_deflate=False,
        ws_max_size=settings.max_body_bytes,
        ws_ping_interval=settings.socket_ping_s,
        ws_ping_timeout=settings.socket_ping_s,
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=settings.shutdown_timeout_s + CUT_OFF_WITHIN_S,
    )
    server = Server(config)
    gc.freeze()  # what is loaded by now stays: the collector need not look at it again
    gc.enable()
    try:
        server.run(sockets=[listener])
    except KeyboardInterrupt:
        return
    if not server.started:
        raise typer.Exit(1)


def _reachable(host: str) -> str:
    """From this machine, as a part of a URL."""
    here = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 -- compared, not listened on
    return f"[{here}]" if ":" in here else here


def _banner(url: str, tokens: "Tokens | None", portal_url: str | None) -> str:
    if tokens is None:
        return f"Robot jobs listens on {url}/graphql"
    token = tokens.make(developer_id(Role.ADMIN), lifetime=dt.timedelta(days=30))
    lines = [
        f"GraphiQL   {url}/graphql#token={token}&workspace={DEMO_WORKSPACE_ID}",
        f"workspace  {DEMO_WORKSPACE_ID} (the demo shop with its sample orders)",
        f"token      {token}",
        "a query    { orders(first: 3) { nodes { id reference city trackingNumber } } }",
    ]
    if portal_url is not None:
        lines += [
            f"portal     {portal_url}/login (user {DEMO_LOGIN}, password {SANDBOX_PASSWORD}; it ships nothing)",
            f"a job      {CREATE_JOB}",
        ]
    lines.append("then       make demo, in another terminal; Ctrl-C here stops everything")
    return "\n".join(
        ["", f"Robot jobs listens on {url}/graphql (HTTP and WebSocket)", *(f"  {line}" for line in lines), ""]
    )
