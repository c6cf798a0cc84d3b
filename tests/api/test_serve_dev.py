"""`robot-jobs serve --dev` on an embedded PostgreSQL: what a new user sees, and that nothing stays behind."""

import re
import signal
import stat
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped, unused-ignore]

from api.embedded_postgres import EmbeddedPostgres
from api.workspaces import DEMO_WORKSPACE_ID
from tests.servers import Server, running_server, until

# Of the processor's time, which does not depend on what else a machine has to do.  On a quiet one nearly all of a start
# is the processor's, and the aim is 2 s on the clock.
READY_AFTER_CPU_S = 4.0

SET_PASSWORD = """mutation { upsertCarrierConfig(input: { carrier: COORDINADORA, password: "one" }) {
    ... on UpsertCarrierConfigSuccess { config { username hasPassword } } } }"""


def settings_of(home: Path) -> dict[str, str]:
    return {"ROBOT_JOBS_HOME": str(home), "ROBOT_JOBS_PORT": "0"}


def shown(server: Server) -> dict[str, str]:
    """What the banner names, by its names."""
    return dict(re.findall(r"^  (GraphiQL|workspace|token|a query|then) +(.+)$", server.output.read_text(), re.M))


def postgres_of(home: Path) -> list[psutil.Process]:
    """Every process that has to do with the folder."""
    found = []
    for process in psutil.process_iter():
        try:
            if str(home) in " ".join(process.cmdline()) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


def from_nothing(home: Path) -> AbstractAsyncContextManager[Server]:
    """As people start it: a Python that has imported nothing yet."""
    return running_server("--dev", module=("api",), **settings_of(home))


async def orders(server: Server, token: str, query: str) -> Any:
    answer = await server.ask(query, headers={"Authorization": f"Bearer {token}"})
    assert "errors" not in answer, answer
    return answer["data"]["orders"]["nodes"]


async def test_first_start_shows_all_that_is_needed_and_data_outlives_kills(reachable_folder: Path) -> None:
    home = reachable_folder / "home"

    async with from_nothing(home) as server:
        banner = shown(server)
        token, query = banner["token"], banner["a query"]
        assert f"Robot jobs listens on {server.url}/graphql (HTTP and WebSocket)\n" in server.output.read_text()
        assert banner["workspace"].startswith(str(DEMO_WORKSPACE_ID))
        assert banner["GraphiQL"] == f"{server.url}/graphql#token={token}&workspace={DEMO_WORKSPACE_ID}"
        assert "make demo" in banner["then"]
        (first, *_) = told = await orders(server, token, query)
        assert len(told) == 3

        # Two at once share one PostgreSQL, the data and the secret.
        async with running_server("--dev", **settings_of(home)) as second:
            assert second.port != server.port
            assert await orders(second, token, query) == told
            (keeper,) = [process for process in postgres_of(home) if "keeper.py" in " ".join(process.cmdline())]
            changed = await server.ask(
                f'mutation {{ updateOrder(input: {{ orderId: "{first["id"]}", city: "Tunja" }}) {{ __typename }} }}',
                headers={"Authorization": f"Bearer {token}"},
            )
            assert changed == {"data": {"updateOrder": {"__typename": "UpdateOrderSuccess"}}}
            keys = home / "credential-keys"
            assert stat.S_IMODE(keys.stat().st_mode) == 0o600
            kept = await server.ask(SET_PASSWORD, headers={"Authorization": f"Bearer {token}"})
            assert kept == {"data": {"upsertCarrierConfig": {"config": {"username": "demo", "hasPassword": True}}}}

            assert await server.end(signal.SIGKILL) == -signal.SIGKILL
            assert (await orders(second, token, query))[0]["city"] == "Tunja"
            assert keeper.is_running()
            assert await second.end(signal.SIGKILL) == -signal.SIGKILL
    await until(lambda: not postgres_of(home))

    async with from_nothing(home) as server:
        spent = psutil.Process(server.process.pid).cpu_times()
        assert (await orders(server, token, query))[0]["city"] == "Tunja"
        assert await server.end(signal.SIGINT) == 0
        assert "Traceback" not in server.output.read_text() + server.log.read_text()
    await until(lambda: not postgres_of(home))
    assert spent.user + spent.system < READY_AFTER_CPU_S


def test_processes_of_a_folder_are_found_at_all(postgres: EmbeddedPostgres) -> None:
    """Or the other test would see none, whatever stays behind."""
    names = {process.name() for process in postgres_of(postgres.home)}

    assert any(name.startswith("postgres") for name in names)
    assert len(names) > 1
