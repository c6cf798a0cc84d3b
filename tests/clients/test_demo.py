"""The demo with real processes, from a file to parcels: the API, the portal and the robot beside it, and a browser."""

import asyncio
import io
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil  # type: ignore[import-untyped, unused-ignore]
import pytest
import sqlalchemy as sa
from rich.console import Console

from api.companions import find_portal_url
from api.database import DatabaseUrls, owner_engine
from api.workspaces import DEMO_WORKSPACE_ID, developer_id
from clients.console.demo import CANNOT_RUN, SAMPLE_ORDERS, SETTLED, DemoOptions, run_demo
from domain.orders import orders
from domain.workspaces import Role, enter_workspace
from tests.browser import require_chromium
from tests.conftest import Database
from tests.servers import ROOT, Server, environment, run_command, running_server, settings_for, token, until

FIRST_ORDERS, READY = 24, 19  # of the sample; the others are not sent
REFUSED = "ORD-00007"  # by the portal: its e-mail address is none
ALL_RIGHT = "one for each success, under its number, and no other."


def first_orders(folder: Path, count: int = FIRST_ORDERS) -> Path:
    """A file of the first sample orders."""
    file = folder / f"first-{count}.csv"
    file.write_text("".join(SAMPLE_ORDERS.read_text(encoding="utf-8").splitlines(keepends=True)[: count + 1]))
    return file


def settings_of(urls: DatabaseUrls, home: Path) -> dict[str, str]:
    return settings_for(urls) | {"ROBOT_JOBS_HOME": str(home)}


@asynccontextmanager
async def running(urls: DatabaseUrls, home: Path) -> AsyncIterator[Server]:
    """A server with its portal and robot, once the portal answers."""

    async def portal_answers() -> bool:
        try:
            async with httpx.AsyncClient(trust_env=False) as http:
                return (await http.get(f"{find_portal_url(home)}/sandbox/faults")).is_success
        except httpx.HTTPError:
            return False

    async with running_server("--dev", "--with-robot", **settings_of(urls, home)) as server:
        await until(portal_answers)
        yield server


def options(server: Server, home: Path, **more: Any) -> DemoOptions:
    given: dict[str, Any] = {
        "url": f"{server.url}/graphql",
        "token": token(developer_id(Role.OPERATOR)),
        "workspace_id": str(DEMO_WORKSPACE_ID),
        "portal_url": find_portal_url(home),
        "csv_path": first_orders(home),
        "console": Console(file=io.StringIO(), width=100),
    }
    return DemoOptions(**given | more)


def printed(options: DemoOptions) -> str:
    assert isinstance(options.console.file, io.StringIO)
    return options.console.file.getvalue()


async def count_shipped(urls: DatabaseUrls) -> int:
    async with owner_engine(urls).begin() as connection:
        await enter_workspace(connection, developer_id(Role.VIEWER), DEMO_WORKSPACE_ID)
        shipped = sa.select(sa.func.count()).where(orders.c.tracking_number.is_not(None))
        return int(await connection.scalar(shipped) or 0)


@pytest.mark.long
async def test_the_demo_ships_what_the_portal_takes_and_ships_none_again(database: Database, tmp_path: Path) -> None:
    async with running(database.urls, tmp_path) as server:
        first, second = options(server, tmp_path), options(server, tmp_path)

        assert await run_demo(first) == SETTLED, printed(first)
        assert await run_demo(second) == SETTLED, printed(second)

    assert await count_shipped(database.urls) == READY - 1, printed(first) + printed(second)
    assert "The portal is told to go wrong for 6 orders" in printed(first)
    assert "Retry: " in printed(first)
    for shown in (printed(first), printed(second)):
        assert REFUSED in shown
        assert "Correo del destinatario" in shown
        assert ALL_RIGHT in shown
    assert "1 order ready" in printed(second)


@pytest.mark.long
async def test_the_demo_started_again_after_a_killed_server_finishes_its_job(
    database: Database, tmp_path: Path
) -> None:
    async def some_are_shipped() -> bool:
        return await count_shipped(database.urls) >= READY // 3

    async with running(database.urls, tmp_path) as server:
        cut = options(server, tmp_path, patience_s=0.5)
        demo = asyncio.create_task(run_demo(cut))
        await until(some_are_shipped)
        await server.end()
        assert await demo == CANNOT_RUN, printed(cut)

    async with running(database.urls, tmp_path) as server:
        again = options(server, tmp_path)
        assert await run_demo(again) == SETTLED, printed(again)

    assert " goes on, " in printed(again)
    assert ALL_RIGHT in printed(again)
    assert await count_shipped(database.urls) == READY - 1


async def test_a_demo_that_is_killed_leaves_nothing_behind(database: Database, tmp_path: Path) -> None:
    demo = subprocess.Popen(  # noqa: ASYNC220 -- it is killed, and that must not be awaited
        [sys.executable, "-m", "api", "demo", str(first_orders(tmp_path, 5))],
        cwd=ROOT,
        env=environment(**settings_of(database.urls, tmp_path)),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        await until(lambda: len(psutil.Process(demo.pid).children(recursive=True)) >= 3)
        children = psutil.Process(demo.pid).children(recursive=True)
    finally:
        demo.kill()
        demo.wait()

    await until(lambda: not any(each.is_running() for each in children), within_s=20)


@pytest.mark.long
async def test_the_command_starts_what_it_needs_and_a_browser_fills_in_the_form(
    database: Database, tmp_path: Path
) -> None:
    require_chromium()
    settings = settings_of(database.urls, tmp_path)

    ended = await asyncio.to_thread(
        run_command, "demo", "--browser", "--no-faults", str(first_orders(tmp_path, 3)), **settings
    )

    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "No server is running here; starting one for the demo." in ended.stdout
    assert "Coordinadora's form, in a browser" in ended.stdout
    assert ALL_RIGHT in ended.stdout
    assert ended.stderr == ""


async def test_a_server_without_a_robot_is_one_clear_line(database: Database, tmp_path: Path) -> None:
    settings = settings_of(database.urls, tmp_path)
    (tmp_path / "portal-url").write_text("http://127.0.0.1:9\n")  # of a server that was killed
    (tmp_path / "companions.lock").touch()
    async with running_server("--dev", **settings) as server:
        ended = await asyncio.to_thread(run_command, "demo", **settings | {"ROBOT_JOBS_PORT": str(server.port)})

    assert (ended.returncode, ended.stdout) == (2, "")
    (line,) = ended.stderr.splitlines()
    assert line.startswith(f"robot-jobs: the server at {server.url}/graphql has no portal and no robot beside it")


@pytest.mark.parametrize("named", ["/nowhere/chromium", "nobodys-browser"])
def test_a_browser_that_is_not_there_is_one_clear_line(named: str) -> None:
    ended = run_command("demo", "--browser", ROBOT_JOBS_CHROMIUM=named)

    assert (ended.returncode, ended.stdout, ended.stderr) == (2, "", f"robot-jobs: There is no browser at {named}.\n")
