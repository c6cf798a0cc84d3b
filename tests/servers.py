"""Real server processes for tests, and those who call them: HTTP with httpx, graphql-transport-ws with websockets."""

import asyncio
import datetime as dt
import inspect
import json
import os
import re
import signal
import subprocess
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from api.database import DatabaseUrls
from api.tokens import Tokens
from domain.workspaces import Role
from tests.processes import Process, start, start_cold
from tests.tenants import Tenant

ROOT = Path(__file__).resolve().parent.parent
SECRET = "known to the tests, and to nobody else: 32 and more"
PROTOCOL = Subprotocol("graphql-transport-ws")
PATIENCE_S = 60.0  # for whatever should take a second: machines are busy
_SETTINGS = re.compile(r"ROBOT_JOBS_|DATABASE_URL$|MIGRATION_DATABASE_URL$|PG[A-Z]+$")
_LISTENS = re.compile(r"listens on (http://\S+)/graphql")

FOLLOW = """
subscription ($jobId: ID!, $after: String) {
  robotJobItemCompleted(jobId: $jobId, after: $after) {
    cursor item { id status trackingNumber } job { status totalItems successCount errorCount }
  }
}
"""
REPORT = """
mutation ($input: UpdateJobItemResultInput!) {
  updateJobItemResult(input: $input) {
    __typename
    ... on UpdateJobItemResultSuccess { replayed job { id status successCount errorCount } }
    ... on Error { code message }
  }
}
"""


# ---------------------------------------------------------------------------------------------- processes


def environment(**settings: str) -> dict[str, str]:
    """This process's environment with those settings, and with none of whoever runs the tests."""
    return {name: value for name, value in os.environ.items() if not _SETTINGS.match(name)} | settings


def settings_for(urls: DatabaseUrls) -> dict[str, str]:
    """What a server needs to know to serve that database."""
    return {
        "DATABASE_URL": urls.app,
        "MIGRATION_DATABASE_URL": urls.owner,
        "ROBOT_JOBS_JWT_SECRET": SECRET,
        "ROBOT_JOBS_HOME": str(Path(tempfile.gettempdir()) / "robot-jobs-tests-need-no-home"),
        "ROBOT_JOBS_PORT": "0",
        "ROBOT_JOBS_GRAPHIQL": "true",
        "ROBOT_JOBS_INTROSPECTION": "true",
        "ROBOT_JOBS_REQUESTS_PER_MINUTE": "100000",
        "ROBOT_JOBS_POOL_TIMEOUT_S": "30",  # on a machine that tests keep busy, two seconds are soon over
    }


def run_command(*arguments: str, **settings: str) -> "subprocess.CompletedProcess[str]":
    """`robot-jobs` with those arguments, to its end."""
    with tempfile.TemporaryDirectory(prefix="robot-jobs-command-") as folder:
        output, log = Path(folder) / "output", Path(folder) / "log"
        process = start(arguments, environment(**settings), output, log)
        try:
            code = process.wait(PATIENCE_S)
        finally:
            process.kill()
        return subprocess.CompletedProcess(list(arguments), code, output.read_text(), log.read_text())


@dataclass(frozen=True, slots=True)
class Server:
    """A running `robot-jobs serve`."""

    url: str
    http: httpx.AsyncClient
    process: Process
    output: Path
    """What it prints."""
    log: Path
    """Its standard error."""

    @property
    def port(self) -> int:
        return httpx.URL(self.url).port or 0

    async def ask(
        self, document: str, variables: Mapping[str, object] | None = None, *, headers: Mapping[str, str]
    ) -> Any:
        """The whole GraphQL answer."""
        answer = await self.http.post(
            "/graphql", json={"query": document, "variables": variables or {}}, headers=dict(headers)
        )
        return answer.json()

    async def report(self, item_id: uuid.UUID, *, headers: Mapping[str, str]) -> Any:
        """Report a success; the payload of the answer."""
        result = {"itemId": str(item_id), "status": "SUCCESS", "trackingNumber": f"TRK-{item_id.hex[-10:]}"}
        answer = await self.ask(REPORT, {"input": result}, headers=headers)
        assert "errors" not in answer, answer
        return answer["data"]["updateJobItemResult"]

    async def end(self, number: signal.Signals = signal.SIGKILL) -> int:
        """Send the signal and wait for the end; the exit code."""
        self.process.send_signal(number)
        return await asyncio.to_thread(self.process.wait, PATIENCE_S)


@asynccontextmanager
async def running_server(*options: str, module: Sequence[str] | None = None, **settings: str) -> AsyncIterator[Server]:
    """`robot-jobs serve` with those options and settings, ready; killed hard at the end.

    `module`: a fresh Python is to run that, with its arguments.
    """
    with tempfile.TemporaryDirectory(prefix="robot-jobs-server-") as folder:
        output, log = Path(folder) / "output", Path(folder) / "log"
        arguments = ["serve", *options]
        if module is None:
            process = start(arguments, environment(**settings), output, log)
        else:
            process = start_cold(module, arguments, environment(**settings), output, log)
        try:
            url = await _address(process, output, log)
            async with httpx.AsyncClient(base_url=url, timeout=PATIENCE_S, trust_env=False) as http:
                assert (await http.get("/health/ready")).status_code == 200
                yield Server(url, http, process, output, log)
        finally:
            process.kill()
            process.wait()


async def _address(process: Process, output: Path, log: Path) -> str:
    def printed() -> re.Match[str] | None:
        return _LISTENS.search(_text(output))

    await until(lambda: process.poll() is not None or printed())
    found = printed()
    assert found, f"the server did not start: {_text(output)}{_text(log)}"
    return found[1]


def _text(path: Path) -> str:
    return path.read_text()


async def until(is_so: Callable[[], object], *, within_s: float = PATIENCE_S) -> Any:
    """What it returns (or what that gives when awaited), as soon as it is true; AssertionError if not in time."""
    deadline = time.monotonic() + within_s
    while True:
        found = is_so()
        if inspect.isawaitable(found):
            found = await found
        if found:
            return found
        assert time.monotonic() < deadline, "it did not come to be so in time"
        await asyncio.sleep(0.01)


# ---------------------------------------------------------------------------------------------- callers


def token(user_id: str, *, lifetime_s: float = 3_600, secret: str = SECRET) -> str:
    return Tokens(secret).make(user_id, lifetime=dt.timedelta(seconds=lifetime_s))


def credentials(tenant: Tenant, role: Role = Role.OPERATOR, *, lifetime_s: float = 3_600) -> dict[str, str]:
    """HTTP's headers, and the payload of a socket's `connection_init` as well."""
    return {
        "Authorization": f"Bearer {token(tenant.user(role), lifetime_s=lifetime_s)}",
        "X-Workspace-Id": str(tenant.workspace_id),
    }


class Socket:
    """The client's end of a WebSocket that speaks graphql-transport-ws."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection

    async def send(self, message: object) -> None:
        await self.connection.send(json.dumps(message))

    async def receive(self, *, within_s: float = PATIENCE_S) -> Any:
        async with asyncio.timeout(within_s):
            return json.loads(await self.connection.recv())

    async def subscribe(self, document: str, variables: Mapping[str, object], *, operation_id: str = "1") -> None:
        payload = {"query": document, "variables": variables}
        await self.send({"type": "subscribe", "id": operation_id, "payload": payload})

    async def follow(self, job_id: uuid.UUID, after: str | None = None, *, operation_id: str = "1") -> None:
        await self.subscribe(FOLLOW, {"jobId": str(job_id), "after": after}, operation_id=operation_id)

    async def completion(self, *, within_s: float = PATIENCE_S) -> Any:
        """The next message of a followed job, which must be a completion without errors."""
        message = await self.receive(within_s=within_s)
        assert message["type"] == "next", message
        assert "errors" not in message["payload"], message
        return message["payload"]["data"]["robotJobItemCompleted"]

    async def completions(self) -> list[Any]:
        """What is told of a followed job until the server says that all has been told."""
        told = []
        while (message := await self.receive())["type"] == "next":
            assert "errors" not in message["payload"], message
            told.append(message["payload"]["data"]["robotJobItemCompleted"])
        assert message["type"] == "complete", message
        return told

    async def closing(self, *, within_s: float = PATIENCE_S) -> tuple[int | None, str | None]:
        """The code and reason with which the server closes, whatever it still says before."""
        async with asyncio.timeout(within_s):
            try:
                while True:
                    await self.connection.recv()
            except ConnectionClosed:
                return self.connection.close_code, self.connection.close_reason


@asynccontextmanager
async def raw_socket(server: Server, *, protocol: Subprotocol = PROTOCOL, **options: Any) -> AsyncIterator[Socket]:
    """A socket on which nothing has been said yet."""
    url = f"{server.url.replace('http', 'ws', 1)}/graphql"
    async with connect(url, subprotocols=[protocol], proxy=None, close_timeout=5, **options) as connection:
        yield Socket(connection)


@asynccontextmanager
async def open_socket(server: Server, payload: Mapping[str, str]) -> AsyncIterator[Socket]:
    """A socket whose `connection_init` was acknowledged."""
    async with raw_socket(server) as socket:
        await socket.send({"type": "connection_init", "payload": payload})
        assert await socket.receive() == {"type": "connection_ack"}
        yield socket


class Events:
    """The client's end of Server-Sent Events."""

    def __init__(self, answer: httpx.Response) -> None:
        self.answer = answer
        self._lines = answer.aiter_lines()

    async def receive(self, *, within_s: float = PATIENCE_S) -> tuple[str, Any] | None:
        """The next event and its data, or "" and what a comment says; None at the end of the answer."""
        event, data = "", ""
        async with asyncio.timeout(within_s):
            async for line in self._lines:
                field, _, value = line.partition(":")
                match field:
                    case "event":
                        event = value.strip()
                    case "data":
                        data += value.strip()
                    case "" if line:
                        data = value.strip()
                    case "":
                        return event, json.loads(data) if event and data else data
        return None

    async def told(self) -> tuple[str, Any] | None:
        """The same, without comments."""
        while (received := await self.receive()) is not None and not received[0]:
            pass
        return received

    async def completion(self) -> Any:
        """The next event of a followed job, which must be a completion without errors."""
        received = await self.told()
        assert received is not None
        event, body = received
        assert (event, "errors" in body) == ("next", False), received
        return body["data"]["robotJobItemCompleted"]

    async def completions(self) -> list[Any]:
        """What is told of a followed job until the server says that all has been told, and ends the answer."""
        told: list[Any] = []
        while (received := await self.told()) != ("complete", ""):
            assert received is not None, told
            assert "errors" not in received[1], received
            told.append(received[1]["data"]["robotJobItemCompleted"])
        assert await self.told() is None
        return told


@asynccontextmanager
async def open_events(
    server: Server,
    headers: Mapping[str, str],
    document: str,
    variables: Mapping[str, object] | None = None,
    *,
    method: str = "POST",
    accept: str = "text/event-stream",
) -> AsyncIterator[Events]:
    """A subscription over HTTP."""
    if method == "GET":
        request: dict[str, Any] = {"params": {"query": document, "variables": json.dumps(variables or {})}}
    else:
        request = {"json": {"query": document, "variables": variables or {}}}
    given = {**headers, "Accept": accept}
    async with server.http.stream(method, "/graphql", headers=given, **request) as answer:
        yield Events(answer)


def following(in_hand_id: uuid.UUID, after: str | None = "0") -> dict[str, object]:
    """The variables of FOLLOW."""
    return {"jobId": str(in_hand_id), "after": after}
