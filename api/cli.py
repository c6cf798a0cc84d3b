"""The command line: `robot-jobs`."""

import asyncio
import datetime as dt
import gc
import importlib
import logging
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from api.credential_keys import load_key_ring, require_key_ring
from api.database import (
    DatabaseError,
    DatabaseUrls,
    app_engine,
    bring_up_to_date,
    find_database,
    owner_transaction,
    refuse_outdated,
    refuse_unsafe,
)
from api.embedded_postgres import EmbeddedPostgresError
from api.listener import listen
from api.settings import Settings, SettingsError, load_settings
from api.workspaces import DEMO_WORKSPACE_ID, UnknownWorkspace, developer_id, ensure_developer, seed_demo_workspace
from domain.carriers import Carrier
from domain.envelopes import KeyRing
from domain.errors import DomainError
from domain.workspaces import Role, enter_as_owner

if TYPE_CHECKING:
    from api.tokens import Tokens
    from domain.api_keys import ApiKey

# What is slow to import (the schema above all) is imported where it is used: `serve` starts PostgreSQL meanwhile.
STARTED_WITHIN_S = 60
CUT_OFF_WITHIN_S = 2  # what is given up at a stop still gets its answer: that it was

app = typer.Typer(
    help="Robot jobs: batches of orders that browser robots push through carriers' portals.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
credentials = typer.Typer(help="The keys that portal passwords are kept with.", no_args_is_help=True)
app.add_typer(credentials, name="credentials")
api_key = typer.Typer(help="Robots' API keys.", no_args_is_help=True)
app.add_typer(api_key, name="api-key")


def main() -> None:
    """Expected trouble is one clear line and exit code 2; anything else is a bug and keeps its traceback."""
    try:
        app()
    except (SettingsError, DatabaseError, EmbeddedPostgresError, UnknownWorkspace, DomainError) as error:
        typer.echo(f"robot-jobs: {error}", err=True)
        sys.exit(2)


@app.command()
def serve(
    dev: Annotated[
        bool, typer.Option(help="Migrate, seed the demo workspace if there is none, print a developer token.")
    ] = False,
) -> None:
    """Serve the API until Ctrl-C or SIGTERM."""
    settings = load_settings().in_mode(dev=dev)
    logging.basicConfig(level=settings.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    for name in ("uvicorn", "alembic"):  # they tell at length what is as it should be
        logging.getLogger(name).setLevel(logging.WARNING)
    listener = listen(settings)
    with ThreadPoolExecutor(1) as pool:
        finding = pool.submit(asyncio.run, find_database(settings))
        importlib.import_module("api.app")
        urls = finding.result()
    tokens = asyncio.run(_prepare(settings, urls, dev=dev))
    key_ring = load_key_ring(settings, may_make=dev or urls.is_embedded)
    _serve(settings, urls, tokens, listener, key_ring=key_ring, dev=dev)


async def _prepare(settings: Settings, urls: DatabaseUrls, *, dev: bool) -> "Tokens":
    from api.tokens import load_tokens

    tokens = load_tokens(settings, may_make_secret=dev or urls.is_embedded)
    engine = app_engine(settings, urls)
    try:
        await refuse_unsafe(engine)
        if dev:
            await bring_up_to_date(urls)
            await seed_demo_workspace(urls)
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
                typer.echo(_banner(f"http://{host}:{port}", tokens if dev else None))

        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
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


def _banner(url: str, tokens: "Tokens | None") -> str:
    if tokens is None:
        return f"Robot jobs listens on {url}/graphql"
    token = tokens.make(developer_id(Role.ADMIN), lifetime=dt.timedelta(days=30))
    return f"""
Robot jobs listens on {url}/graphql (HTTP and WebSocket)
  GraphiQL   {url}/graphql#token={token}&workspace={DEMO_WORKSPACE_ID}
  workspace  {DEMO_WORKSPACE_ID} (the demo shop with its sample orders)
  token      {token}
  a query    {{ orders(first: 3) {{ nodes {{ id reference city trackingNumber }} }} }}
  then       make demo, in another terminal; Ctrl-C here stops everything
"""


@app.command()
def migrate() -> None:
    """Bring the database to this version: tables, reference data, the API role's rights."""
    settings = load_settings()

    async def run() -> None:
        await bring_up_to_date(await find_database(settings))

    asyncio.run(run())
    typer.echo("The database is up to date.")


@app.command()
def seed() -> None:
    """Make the demo workspace with its members and the sample orders, unless it is there."""
    settings = load_settings()

    async def run() -> str:
        urls = await find_database(settings)
        await bring_up_to_date(urls)
        made = await seed_demo_workspace(urls)
        return f"{'Made' if made else 'There already:'} the demo workspace {DEMO_WORKSPACE_ID}"

    typer.echo(asyncio.run(run()))


@app.command()
def token(
    role: Annotated[Role, typer.Option(help="What the token may do.")] = Role.OPERATOR,
    workspace: Annotated[uuid.UUID, typer.Option(help="Where.")] = DEMO_WORKSPACE_ID,
    hours: Annotated[float, typer.Option(min=0.001, max=24 * 365, help="How long it is good.")] = 12,
) -> None:
    """Print a developer's token, alone on its line: for scripts."""
    typer.echo(_developer_token(load_settings(), workspace, role, lifetime=dt.timedelta(hours=hours)))


@api_key.command("create")
def create_key(
    name: Annotated[str, typer.Option(help="What it is for.")],
    workspace: Annotated[uuid.UUID | None, typer.Option(help="The workspace that it is good for.")] = None,
    all_workspaces: Annotated[bool, typer.Option("--all-workspaces", help="Good for every workspace.")] = False,
    carrier: Annotated[list[Carrier] | None, typer.Option(help="Only for its jobs; may be repeated.")] = None,
    days: Annotated[int | None, typer.Option(help="How long it is good; without, until it is revoked.")] = None,
) -> None:
    """Make an API key and print its secret, this once, alone on its line."""
    from api.api_keys import make_key

    if (workspace is None) != all_workspaces:
        raise SettingsError("name a --workspace, or say --all-workspaces")
    settings = load_settings()

    async def run() -> str:
        urls = await find_database(settings)
        created = await make_key(urls, name=name, workspace_id=workspace, carriers=carrier or None, days=days)
        return created.secret

    typer.echo(asyncio.run(run()))


@api_key.command("list")
def list_keys() -> None:
    """Every API key of every workspace, newest first."""
    from api.api_keys import all_keys

    settings = load_settings()

    async def run() -> "list[ApiKey]":
        return await all_keys(await find_database(settings))

    for key in asyncio.run(run()):
        ended = f"revoked {key.revoked_at:%Y-%m-%d}" if key.revoked_at else None
        expires = f"until {key.expires_at:%Y-%m-%d}" if key.expires_at else None
        facts = (
            f"{key.id}",
            f"{key.prefix}…",
            f"workspace {key.workspace_id}" if key.workspace_id else "all workspaces",
            "all carriers" if key.carriers is None else ", ".join(key.carriers),
            ended or expires or "until revoked",
            f"used {key.last_used_at:%Y-%m-%d %H:%M} UTC" if key.last_used_at else "never used",
            key.name,
        )
        typer.echo("  ".join(facts))


@api_key.command("revoke")
def revoke(key_id: Annotated[uuid.UUID, typer.Argument(metavar="ID", help="As list shows it.")]) -> None:
    """Revoke an API key for good; doing it again changes nothing."""
    from api.api_keys import revoke_key

    settings = load_settings()

    async def run() -> "ApiKey":
        return await revoke_key(await find_database(settings), key_id)

    revoked = asyncio.run(run())
    typer.echo(f"Revoked: {revoked.id}  {revoked.name}")


@app.command()
def schema() -> None:
    """Print the GraphQL schema (SDL)."""
    from schema import schema as contract

    typer.echo(contract.as_str())


@credentials.command()
def new_key() -> None:
    """Print the keys of the settings with a fresh one in front, as ROBOT_JOBS_CREDENTIAL_KEYS takes them.

    Nothing is changed: docs/operations.md says how to bring a new key into use.
    """
    settings = load_settings()
    is_embedded = settings.database_url is None
    typer.echo(KeyRing.with_new_key(load_key_ring(settings, may_make=is_embedded)).as_text())


@credentials.command()
def rotate() -> None:
    """Put all portal passwords under the newest key.  Safe to repeat, and beside running servers."""
    settings = load_settings()
    key_ring = require_key_ring(settings, may_make=settings.database_url is None)

    async def run() -> int:
        from domain.credentials import rewrap_carrier_secrets

        urls = await find_database(settings)
        after, rewrapped, unreadable = None, 0, 0
        while True:
            async with owner_transaction(urls) as connection:
                await enter_as_owner(connection)
                batch = await rewrap_carrier_secrets(connection, key_ring, after=after)
            after = batch.last
            rewrapped += batch.rewrapped
            unreadable += len(batch.unreadable)
            for each in batch.unreadable:
                typer.echo(f"workspace {each.workspace_id}, {each.carrier}: {each.reason}", err=True)
            if after is None:
                break
        typer.echo(f"Key version {key_ring.newest}: {rewrapped} rewrapped, {unreadable} cannot be unwrapped.")
        return unreadable

    if asyncio.run(run()):
        raise typer.Exit(1)


@app.command()
def demo(
    csv: Annotated[Path | None, typer.Argument(help="Orders to ship; the sample orders by default.")] = None,
    url: Annotated[str | None, typer.Option(help="The API; by default the one here, started if need be.")] = None,
    token: Annotated[str | None, typer.Option(envvar="ROBOT_JOBS_TOKEN", help="By default one is made.")] = None,
    workspace: Annotated[uuid.UUID, typer.Option(help="Where.")] = DEMO_WORKSPACE_ID,
    delay_ms: Annotated[int, typer.Option(min=0, max=60_000, help="The demo robot's time per order.")] = 100,
    seed: Annotated[int, typer.Option(help="Of the demo robot's luck.")] = 1,
    again: Annotated[bool, typer.Option(help="Ship the same file once more, as new orders.")] = False,
    record: Annotated[Path | None, typer.Option(hidden=True)] = None,
) -> None:
    """Ship a file of orders with a demo robot, live, through the public API."""
    from clients.console.demo import SAMPLE_ORDERS, DemoOptions, run_demo

    gc.enable()
    settings = load_settings()
    with _server_for_demo(settings, url) as address:
        options = DemoOptions(
            url=address,
            token=token or _developer_token(settings, workspace, Role.OPERATOR, lifetime=dt.timedelta(hours=12)),
            workspace_id=str(workspace),
            delay_ms=delay_ms,
            seed=seed,
            again=again,
            record=record,
            csv_path=csv or SAMPLE_ORDERS,
        )
        raise typer.Exit(asyncio.run(run_demo(options)))


@app.command()
def robot(
    carrier: Annotated[str, typer.Option(help="sandbox or coordinadora; or package.module:Class.")],
    portal_url: Annotated[str, typer.Option(help="The carrier's web site.")],
    url: Annotated[str, typer.Option(help="The API.")] = "http://127.0.0.1:8000/graphql",
    key: Annotated[
        str, typer.Option(envvar="ROBOT_JOBS_KEY", help="Better in the environment: `ps` shows options to everybody.")
    ] = "",
    name: Annotated[str, typer.Option(help="Told with results, and the name of its folder.")] = "robot",
    workspace: Annotated[uuid.UUID | None, typer.Option(help="Work for this one only.")] = None,
    state_dir: Annotated[Path | None, typer.Option(help="By default .robot-jobs/robots/<name>.")] = None,
    limit: Annotated[int, typer.Option(help="Items of one account in hand at once.")] = 1,
    lease_s: Annotated[int, typer.Option(help="How long items are its own unless it renews.")] = 120,
    stop_timeout: Annotated[float, typer.Option(min=0, help="Seconds for the item in hand at a stop.")] = 120,
    until_idle: Annotated[bool, typer.Option("--until-idle", help="End when nothing is left to do.")] = False,
    answer_timeout: Annotated[float, typer.Option(min=0.1, help="Seconds until a page must have come.")] = 30,
    result_timeout: Annotated[float, typer.Option(min=0.1, help="Seconds from the button to the dialog.")] = 60,
    pace: Annotated[float, typer.Option(min=0, help="Seconds between a result and the next form.")] = 0,
    absent_after: Annotated[
        float, typer.Option(min=0, help="Seconds after the button when a number not in the list is absent.")
    ] = 120,
    option: Annotated[list[str] | None, typer.Option(help="The carrier's own, name=value; may be repeated.")] = None,
    log: Annotated[str, typer.Option(help="json or text, on standard error.")] = "json",
    log_level: Annotated[str, typer.Option(help="debug, info, warning or error.")] = "info",
    progress: Annotated[bool, typer.Option(help="A line of counts, on a terminal.")] = True,
    metrics_port: Annotated[int | None, typer.Option(min=0, max=65_535, help="Serve Prometheus's metrics.")] = None,
    metrics_host: Annotated[str, typer.Option(help="Where.")] = "127.0.0.1",
) -> None:
    """Ship what the API hands out, through a carrier's portal, until Ctrl-C or SIGTERM."""
    from clients.robot.carrier import CarrierSettings
    from clients.robot.carriers import UnknownCarrier
    from clients.robot.main import RobotUnable, run_robot
    from clients.robot.options import OptionsWrong, RobotOptions, read_carrier_options, read_log_format

    gc.enable()
    try:
        options = RobotOptions(
            carrier=carrier,
            url=url,
            key=key,
            name=name,
            workspace_id=str(workspace) if workspace is not None else None,
            carrier_settings=CarrierSettings(
                url=portal_url,
                answer_timeout_s=answer_timeout,
                result_timeout_s=result_timeout,
                pace_s=pace,
                absent_after_s=absent_after,
                options=read_carrier_options(option or []),
            ),
            state_dir=state_dir,
            limit=limit,
            lease_s=lease_s,
            stop_timeout_s=stop_timeout,
            until_idle=until_idle,
            log_format=read_log_format(log),
            log_level=log_level,
            metrics_port=metrics_port,
            metrics_host=metrics_host,
            shows_progress=progress,
        )
        raise typer.Exit(run_robot(options))
    except (OptionsWrong, UnknownCarrier, RobotUnable) as error:
        raise SettingsError(str(error)) from error


@app.command()
def portal(
    host: Annotated[str, typer.Option(help="Where it listens.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65_535, help="0 takes a free one.")] = 8090,
    file: Annotated[Path | None, typer.Option(help="Where parcels are kept; in memory by default.")] = None,
    accounts: Annotated[Path | None, typer.Option(help="JSON: passwords by account; null: none is right.")] = None,
    delay_ms: Annotated[str, typer.Option(help="Until the dialog; 7000-17000 is like a real one.")] = "300-900",
    guide_after_ms: Annotated[int, typer.Option(min=0, help="Until a parcel gets its guía.")] = 30_000,
) -> None:
    """Serve the sandbox portal, a carrier's web site that ships nothing, until Ctrl-C or SIGTERM."""
    from clients.robot.sandbox_portal.server import serve_portal
    from clients.robot.sandbox_portal.settings import PortalSettings, read_passwords, read_range_s
    from clients.robot.sandbox_portal.store import StoreUnusable

    gc.enable()
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        settings = PortalSettings(
            file=file,
            passwords=read_passwords(accounts) if accounts else {},
            dialog_delay_s=read_range_s(delay_ms),
            guide_after_s=guide_after_ms / 1_000,
        )
        with _listener(host, port) as listener:
            serve_portal(settings, listener, lambda url: typer.echo(f"The sandbox portal listens on {url}/login"))
    except (ValueError, StoreUnusable) as error:
        raise SettingsError(str(error)) from error


def _listener(host: str, port: int) -> socket.socket:
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        reason = (
            os.strerror(error.errno) if error.errno and error.errno > 0 else error
        )  # a name that is none has no number
        raise SettingsError(f"cannot listen on {host}:{port}: {reason}") from error


def _developer_token(settings: Settings, workspace: uuid.UUID, role: Role, *, lifetime: dt.timedelta) -> str:
    from api.tokens import load_tokens

    async def run() -> str:
        urls = await find_database(settings)
        # A server on one's own database that has an issuer's keys knows of no secret that is made here.
        tokens = load_tokens(settings, may_make_secret=urls.is_embedded or settings.jwks_url is None)
        made = tokens.make(developer_id(role), lifetime=lifetime)
        await ensure_developer(urls, workspace, role)
        return made

    return asyncio.run(run())


@contextmanager
def _server_for_demo(settings: Settings, url: str | None) -> Iterator[str]:
    """The API's address: the one given, the one that runs here, or one of our own until the demo ends."""
    here = f"http://{settings.host}:{settings.port}"
    if url is not None or _is_ready(here):
        yield url or f"{here}/graphql"
        return
    with socket.create_server((settings.host, 0)) as free:
        port = free.getsockname()[1]
    typer.echo("No server is running here; starting one for the demo.")
    process = subprocess.Popen(
        [sys.executable, "-m", "api", "serve", "--dev"],
        env={**os.environ, "ROBOT_JOBS_PORT": str(port)},
        stdout=subprocess.DEVNULL,
    )
    try:
        started = time.monotonic()
        while not _is_ready(f"http://{settings.host}:{port}"):
            if process.poll() is not None or time.monotonic() - started > STARTED_WITHIN_S:
                raise DatabaseError("the server for the demo did not start; try: make run")
            time.sleep(0.05)
        yield f"http://{settings.host}:{port}/graphql"
    finally:
        process.terminate()
        process.wait(timeout=30)


def _is_ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/health/ready", timeout=2) as answer:  # noqa: S310 -- http, from the settings
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False
