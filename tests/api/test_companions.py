"""`serve --dev --with-robot`: a portal and a robot beside the API, kept running, and gone with the server."""

import asyncio
import re
import signal
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil  # type: ignore[import-untyped, unused-ignore]

from api.companions import Companions
from api.database import DatabaseUrls
from api.robot_key import NAME, robot_key
from api.settings import load_settings
from tests.conftest import Database
from tests.servers import Server, run_command, running_server, settings_for, until

LAST_JOB = "{ robotJobs(first: 1) { nodes { status successCount totalItems } } }"
FIRST_ORDER = "{ orders(first: 1) { nodes { id } } }"
CREATE = """mutation ($orderId: ID!) { createRobotJob(input: { carrier: SANDBOX, orderIds: [$orderId] }) {
    ... on CreateRobotJobSuccess { job { id } } } }"""


@asynccontextmanager
async def running(urls: DatabaseUrls, home: Path) -> AsyncIterator[Server]:
    settings = settings_for(urls) | {"ROBOT_JOBS_HOME": str(home)}
    async with running_server("--dev", "--with-robot", **settings) as server:
        yield server


def shown(server: Server, name: str) -> str:
    """What the banner says of that."""
    (found,) = re.findall(rf"^  {name} +(.+)$", server.output.read_text(), re.MULTILINE)
    return str(found)


async def ask(server: Server, document: str, **variables: str) -> Any:
    headers = {"Authorization": f"Bearer {shown(server, 'token')}"}
    answer = await server.ask(document, variables, headers=headers)
    assert "errors" not in answer, answer
    return answer["data"]


def companion(home: Path, name: str) -> psutil.Process | None:
    """The portal or the robot of that home."""
    for process in psutil.process_iter():
        try:
            command = process.cmdline()
            if name in command and str(home) in " ".join(command) and process.status() != psutil.STATUS_ZOMBIE:
                return process
        except psutil.Error:
            continue
    return None


async def both(home: Path) -> tuple[psutil.Process, psutil.Process]:
    """The portal and the robot, as soon as they run."""
    return await until(lambda: companion(home, "portal")), await until(lambda: companion(home, "robot"))


async def killed_and_back(process: psutil.Process, home: Path, name: str) -> None:
    def is_back() -> bool:
        another = companion(home, name)
        return another is not None and another != process

    process.kill()
    await until(is_back)


async def ship_one(server: Server) -> None:
    (order,) = (await ask(server, FIRST_ORDER))["orders"]["nodes"]
    await ask(server, CREATE, orderId=order["id"])
    await until_shipped(server)


async def until_shipped(server: Server) -> None:
    async def is_shipped() -> bool:
        (job,) = (await ask(server, LAST_JOB))["robotJobs"]["nodes"]
        return bool(job["status"] == "COMPLETED" and job["successCount"])

    await until(is_shipped)


async def test_a_job_is_done_at_the_portal_and_what_is_killed_comes_back(database: Database, tmp_path: Path) -> None:
    async with running(database.urls, tmp_path) as server:
        portal, robot = await both(tmp_path)
        portal_url = shown(server, "portal").partition("/login")[0]

        for process in (robot, portal):
            await killed_and_back(process, tmp_path, "robot" if process is robot else "portal")
        await ship_one(server)

        async with httpx.AsyncClient(base_url=portal_url, trust_env=False) as http:
            (order,) = (await http.get("/sandbox/orders")).json()["orders"]
        said = server.log.read_text()
    assert (order["account"], order["parcels"]) == ("demo", 1)
    assert said.count("The robot was ended by signal 9; it is started again in 0.5 s.") == 1
    assert said.count("The sandbox portal was ended by signal 9; it is started again in 0.5 s.") == 1


async def test_the_mutation_of_the_banner_makes_a_job(database: Database, tmp_path: Path) -> None:
    async with running(database.urls, tmp_path) as server:
        created = await ask(server, shown(server, "a job"))

    assert created["createRobotJob"]["job"]["totalItems"] == 164


async def test_a_killed_server_leaves_neither_portal_nor_robot(database: Database, tmp_path: Path) -> None:
    async with running(database.urls, tmp_path) as server:
        await both(tmp_path)
        await ask(server, shown(server, "a job"))

        await server.end(signal.SIGKILL)

        await until(lambda: companion(tmp_path, "portal") is None and companion(tmp_path, "robot") is None, within_s=10)


async def test_at_a_stop_the_robot_finishes_the_item_in_hand_and_all_end_in_time(
    database: Database, tmp_path: Path
) -> None:
    async with running(database.urls, tmp_path) as server:
        await both(tmp_path)
        await ask(server, shown(server, "a job"))
        await until_some_are_shipped(server)

        async with asyncio.timeout(10):
            assert await server.end(signal.SIGINT) == 0

        assert companion(tmp_path, "portal") is None
        assert companion(tmp_path, "robot") is None
        assert "Traceback" not in server.log.read_text()
    async with running(database.urls, tmp_path) as server:
        job = (await ask(server, "{ robotJobs(first: 1) { nodes { items { nodes { attempt outcomeUnknown } } } } }"))[
            "robotJobs"
        ]["nodes"][0]
    assert {(item["attempt"], item["outcomeUnknown"]) for item in job["items"]["nodes"]} == {(1, False)}


async def until_some_are_shipped(server: Server) -> None:
    async def are_some() -> bool:
        return bool((await ask(server, LAST_JOB))["robotJobs"]["nodes"][0]["successCount"] > 2)

    await until(are_some)


async def test_two_servers_that_start_at_once_never_choose_the_same_address(tmp_path: Path) -> None:
    urls, settings = DatabaseUrls("", "", is_embedded=False), load_settings()
    two = [Companions(settings.model_copy(update={"home": tmp_path / name}), urls) for name in ("one", "two")]
    try:
        assert len({companions.portal_url for companions in two}) == 2
    finally:
        for companions in two:
            await companions.stop(lambda: False)


async def test_a_second_server_takes_the_companions_over(database: Database, tmp_path: Path) -> None:
    async with running(database.urls, tmp_path) as first:
        portal, _ = await both(tmp_path)
        async with running(database.urls, tmp_path) as second:
            assert shown(second, "portal") == shown(first, "portal")
            assert companion(tmp_path, "portal") == portal
            await first.end(signal.SIGKILL)

            await ship_one(second)


async def test_the_robots_key_is_made_once_and_anew_when_it_is_no_longer_good(
    database: Database, tmp_path: Path
) -> None:
    settings = settings_for(database.urls) | {"ROBOT_JOBS_HOME": str(tmp_path)}
    for command in ("migrate", "seed"):
        assert (await asyncio.to_thread(run_command, command, **settings)).returncode == 0

    first = await robot_key(database.urls, tmp_path)
    again = await robot_key(database.urls, tmp_path)
    listed = (await asyncio.to_thread(run_command, "api-key", "list", **settings)).stdout.splitlines()
    assert len(listed) == 1
    await asyncio.to_thread(run_command, "api-key", "revoke", listed[0].split()[0], **settings)
    anew = await robot_key(database.urls, tmp_path)

    assert first == again != anew
    assert (tmp_path / "robot-key").read_text() == anew
    assert stat.S_IMODE((tmp_path / "robot-key").stat().st_mode) == 0o600
    assert NAME in listed[0]


def test_a_robot_beside_a_server_that_is_not_for_developers_is_one_clear_line() -> None:
    ended = run_command("serve", "--with-robot")

    assert ended.returncode == 2
    (line,) = ended.stderr.splitlines()
    assert line.startswith("robot-jobs: --with-robot is for --dev")
