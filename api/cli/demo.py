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
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from api.cli.database import developer_token
from api.database import DatabaseError
from api.settings import Settings, load_settings
from api.workspaces import DEMO_WORKSPACE_ID
from domain.workspaces import Role

STARTED_WITHIN_S = 60


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
            token=token or developer_token(settings, workspace, Role.OPERATOR, lifetime=dt.timedelta(hours=12)),
            workspace_id=str(workspace),
            delay_ms=delay_ms,
            seed=seed,
            again=again,
            record=record,
            csv_path=csv or SAMPLE_ORDERS,
        )
        raise typer.Exit(asyncio.run(run_demo(options)))


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
