"""The programs of this folder in processes of their own: they tell what they saw, one line of JSON for each thing."""

import asyncio
import json
import os
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import IO, Any

from tests.real_clients.node import FOLDER, Node
from tests.servers import PATIENCE_S, Server, credentials
from tests.tenants import JobInHand, Tenant

_LONGEST_LINE = 1_000_000


class Program:
    """A running program."""

    def __init__(self, process: asyncio.subprocess.Process, errors: IO[bytes]) -> None:
        self._process = process
        self._errors = errors

    async def tells(self) -> Any:
        """The next thing it saw; None when it has ended well."""
        assert self._process.stdout is not None
        async with asyncio.timeout(PATIENCE_S):
            line = await self._process.stdout.readline()
            if line:
                return json.loads(line)
            code = await self._process.wait()
        self._errors.seek(0)
        assert code == 0, f"it ended with {code}: {self._errors.read().decode(errors='replace')}"
        return None

    async def tells_of(self, what: str) -> Any:
        """The next thing it saw, which must be that."""
        told = await self.tells()
        assert told is not None, f"it ended, and has told of no {what}"
        assert told["what"] == what, told
        return told

    async def tells_to_the_end(self) -> list[Any]:
        """All that it still sees until it ends."""
        told = []
        while (line := await self.tells()) is not None:
            told.append(line)
        return told

    async def say(self, word: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{word}\n".encode())
        await self._process.stdin.drain()


@asynccontextmanager
async def running(
    node: Node, name: str, server: Server, tenant: Tenant, in_hand: JobInHand | None = None, **variables: str
) -> AsyncIterator[Program]:
    """`programs/{name}.mjs` as an operator of that workspace; ended hard if it has not ended itself."""
    headers = credentials(tenant)
    given = {
        "URL": f"{server.url}/graphql",
        "TOKEN": headers["Authorization"].removeprefix("Bearer "),
        "WORKSPACE_ID": headers["X-Workspace-Id"],
    }
    if in_hand is not None:
        given["JOB_ID"] = str(in_hand.job.id)
        given["ITEM_IDS"] = ",".join(str(item.id) for item in in_hand.items)
        given["ORDER_ID"] = str(in_hand.items[0].order_id)
    programs = FOLDER / "programs"
    with tempfile.TemporaryFile() as errors:
        process = await asyncio.create_subprocess_exec(
            node.command,
            "--import",
            (programs / "websocket.mjs").as_uri(),
            str(programs / f"{name}.mjs"),
            env=os.environ | given | variables,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=errors,
            limit=_LONGEST_LINE,
        )
        try:
            yield Program(process, errors)
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()


async def run_tool(node: Node, name: str, *arguments: str, folder: Path) -> str:
    """A program of an installed package, to its good end; what it printed."""
    process = await asyncio.create_subprocess_exec(
        *node.tool(name, *arguments),
        cwd=folder,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(PATIENCE_S):
            printed = (await process.communicate())[0].decode(errors="replace")
    finally:
        if process.returncode is None:
            process.kill()
    assert process.returncode == 0, printed
    return printed


def items_of(told: Sequence[Any]) -> list[str]:
    """The items whose completions are among it, as they came."""
    return [line["completion"]["item"]["id"] for line in told if line["what"] == "completion"]


class Line:
    """A way to a server that can be cut."""

    def __init__(self, server: Server) -> None:
        self.url = ""
        self._port = server.port
        self._writers: set[asyncio.StreamWriter] = set()

    async def connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", self._port)
        self._writers |= {writer, back}
        await asyncio.gather(_pass_on(reader, back), _pass_on(there, writer))
        self._writers -= {writer, back}

    def cut(self) -> None:
        """End all that is connected, without a word."""
        for writer in self._writers:
            writer.transport.abort()


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while some := await reader.read(65_536):
            writer.write(some)
            await writer.drain()
    writer.close()


@asynccontextmanager
async def cuttable(server: Server) -> AsyncIterator[Line]:
    """A way to that server through an address of its own."""
    line = Line(server)
    async with await asyncio.start_server(line.connect, "127.0.0.1", 0) as listener:
        line.url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
        yield line
        line.cut()
