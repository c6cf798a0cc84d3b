"""`robot-jobs demo`."""

import asyncio
import datetime as dt
import gc
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Annotated

import typer

from api.cli.database import developer_token
from api.database import DatabaseError
from api.settings import Settings, SettingsError, load_settings
from api.workspaces import DEMO_WORKSPACE_ID
from domain.workspaces import Role

STARTED_WITHIN_S = 60
ENDED_WITHIN_S = 30
ORDERS_IN_A_BROWSER = 12


def demo(
    csv: Annotated[Path | None, typer.Argument(help="Orders to ship; the sample orders by default.")] = None,
    url: Annotated[str | None, typer.Option(help="The API; by default the one here, started if need be.")] = None,
    token: Annotated[str | None, typer.Option(envvar="ROBOT_JOBS_TOKEN", help="By default one is made.")] = None,
    workspace: Annotated[uuid.UUID, typer.Option(help="Where.")] = DEMO_WORKSPACE_ID,
    portal_url: Annotated[
        str | None, typer.Option(help="The sandbox portal of the robot; by default the one beside the API here.")
    ] = None,
    faults: Annotated[bool, typer.Option(help="Make the portal go wrong for some orders.")] = True,
    browser: Annotated[bool, typer.Option("--browser", help="A few orders, with a robot in a real Chromium.")] = False,
    again: Annotated[bool, typer.Option(help="Ship the same file once more, as new orders.")] = False,
    record: Annotated[Path | None, typer.Option(hidden=True)] = None,
) -> None:
    """Ship a file of orders through the sandbox portal, live; nothing real is shipped."""
    from clients.console.demo import ORDERS_PER_JOB_AT_MOST, SAMPLE_ORDERS, DemoOptions, run_demo

    gc.enable()
    settings = load_settings()
    if browser:
        _require_chromium()
        if url is not None or workspace != DEMO_WORKSPACE_ID:
            raise SettingsError("--browser works with the server here, in the demo workspace: leave out the rest")
    with _server_for_demo(settings, url) as address:
        portal = portal_url or (_portal_here(settings, address) if url is None else None)
        options = DemoOptions(
            url=address,
            token=token or developer_token(settings, workspace, Role.OPERATOR, lifetime=dt.timedelta(hours=12)),
            workspace_id=str(workspace),
            carrier="COORDINADORA" if browser else "SANDBOX",
            portal_url=portal,
            with_faults=faults,
            orders_at_most=ORDERS_IN_A_BROWSER if browser else ORDERS_PER_JOB_AT_MOST,
            again=again,
            record=record,
            csv_path=csv or SAMPLE_ORDERS,
        )
        with _browser_robot(settings, address, portal) if browser and portal else nullcontext():
            raise typer.Exit(asyncio.run(run_demo(options)))


@contextmanager
def _server_for_demo(settings: Settings, url: str | None) -> Iterator[str]:
    """The API's address: the one given, the one that runs here, or one of our own until the demo ends."""
    here = f"http://{settings.host}:{settings.port}"
    if url is not None or _answers(f"{here}/health/ready"):
        yield url or f"{here}/graphql"
        return
    with socket.create_server((settings.host, 0)) as free:
        port = free.getsockname()[1]
    typer.echo("No server is running here; starting one for the demo.")
    told = {"ROBOT_JOBS_PORT": str(port), "ROBOT_JOBS_LOG_LEVEL": "error"}
    with _running(["serve", "--dev", "--with-robot"], {**os.environ, **told}) as process:
        own = f"http://{settings.host}:{port}"
        started = time.monotonic()
        while not _answers(f"{own}/health/ready"):
            if process.poll() is not None or time.monotonic() - started > STARTED_WITHIN_S:
                raise DatabaseError("the server for the demo did not start; try: make run")
            time.sleep(0.05)
        yield f"{own}/graphql"


def _portal_here(settings: Settings, address: str) -> str:
    """The portal beside the server of this home, as soon as it answers.  Raises SettingsError."""
    from api.companions import find_portal_url

    started = time.monotonic()
    while (url := find_portal_url(settings.home)) is not None and time.monotonic() - started < STARTED_WITHIN_S:
        if _answers(f"{url}/sandbox/faults"):
            return url
        time.sleep(0.05)
    raise SettingsError(
        f"the server at {address} has no portal and no robot beside it: start it with `make run`, "
        "or name the portal of your own robot with --portal-url"
    )


@contextmanager
def _browser_robot(settings: Settings, address: str, portal_url: str) -> Iterator[None]:
    """A robot in a real Chromium, on the screen where there is one, until the demo ends."""
    from api.companions import client_environment
    from api.credential_keys import require_key_ring
    from api.database import find_database
    from api.robot_key import robot_key
    from api.workspaces import lend_portal_login
    from domain.carriers import Carrier

    async def prepare() -> str:
        urls = await find_database(settings)
        await lend_portal_login(urls, require_key_ring(settings, may_make=True), Carrier.COORDINADORA)
        return await robot_key(urls, settings.home)

    key = asyncio.run(prepare())
    has_screen = sys.platform == "darwin" or any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))
    arguments = ["robot", "--carrier", "coordinadora", "--url", address, "--portal-url", portal_url]
    arguments += ["--name", "demo-browser", "--state-dir", f"{settings.home / 'robots' / 'demo-browser'}"]
    arguments += ["--stop-timeout", "3", "--absent-after", "5", "--option", f"headless={str(not has_screen).lower()}"]
    arguments += ["--log", "text", "--log-level", "error", "--no-progress"]
    typer.echo(f"A robot fills in the portal's form in a Chromium{'' if has_screen else ', without a screen'}.")
    with _running(arguments, client_environment({"ROBOT_JOBS_KEY": key})):
        yield


@contextmanager
def _running(arguments: Sequence[str], environment: Mapping[str, str]) -> Iterator["subprocess.Popen[bytes]"]:
    """`robot-jobs` with those arguments, until the block ends or this process does."""
    process = subprocess.Popen(  # noqa: S603 -- our own program, no shell
        [sys.executable, "-m", "api", *arguments, "--ends-with-stdin"],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C is for the demo, which ends it
    )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(timeout=ENDED_WITHIN_S)
        except subprocess.TimeoutExpired:
            process.kill()


def _require_chromium() -> None:
    """Raises SettingsError, with what to do."""
    from clients.robot.carrier import CarrierUnusable

    try:
        from playwright.sync_api import sync_playwright

        from clients.robot.carriers.chromium import find_chromium

        if find_chromium({}) is not None:
            return
        with sync_playwright() as playwright:
            if Path(playwright.chromium.executable_path).exists():
                return
    except ModuleNotFoundError as missing:
        raise SettingsError(f"a browser needs {missing.name}: make demo BROWSER=1 sets it up") from None
    except CarrierUnusable as error:
        raise SettingsError(str(error)) from None
    raise SettingsError(
        "no Chromium was found: install one (Debian: apt-get install chromium), or name it in ROBOT_JOBS_CHROMIUM"
    )


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:  # noqa: S310 -- http, from the settings
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False
