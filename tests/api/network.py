"""The network in front of a server, or between a server and its PostgreSQL, for tests of what happens when it fails."""

import asyncio
import random
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from api.database import DatabaseUrls
from api.embedded_postgres import APP_ROLE

LISTEN = b"LISTEN "
SIGN_OF_LIFE = b"SELECT 1"
TERMINATE = b"X\x00\x00\x00\x04"


@dataclass(eq=False, slots=True)
class Line:
    """One connection through the network."""

    writers: tuple[asyncio.StreamWriter, asyncio.StreamWriter]
    is_open: asyncio.Event = field(default_factory=asyncio.Event)
    is_listening: bool = False
    """Whether the client has told PostgreSQL to LISTEN."""
    unheard: bytes = b""
    """What has been said and did not arrive."""

    def cut(self) -> None:
        for writer in self.writers:
            writer.transport.abort()


class Network:
    """It can be cut, it can fall silent, and it can forget the connections that it had.

    `target`: where it leads, a Unix socket or a port of this machine; it may be changed at any time.
    """

    def __init__(self, target: Path | int) -> None:
        self.port = 0
        self.target = target
        self._listener: asyncio.Server | None = None
        self._is_loud = True
        self._lines: dict[Line, None] = {}
        self._forgotten: list[Line] = []
        self._tasks: set[asyncio.Task[None]] = set()

    def url(self, urls: DatabaseUrls) -> str:
        """The served database, through this network."""
        database = urls.app.partition("@/")[2].partition("?")[0]
        return f"postgresql://{APP_ROLE}@127.0.0.1:{self.port}/{database}?sslmode=disable"

    async def mend(self) -> None:
        """All is well, at the same port as before."""
        self._is_loud = True
        for line in self._lines:
            line.is_open.set()
        if self._listener is None:
            self._listener = await asyncio.start_server(self._connect, "127.0.0.1", self.port)
            self.port = self._listener.sockets[0].getsockname()[1]

    async def cut(self) -> None:
        """All connections break, and new ones are refused."""
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        for line in (*self._lines, *self._forgotten):
            line.cut()

    def cut_one(self, choice: random.Random) -> None:
        """Break one of the connections, if there are any."""
        if self._lines:
            choice.choice(list(self._lines)).cut()

    async def silence(self) -> None:
        """Nothing arrives any more, and nobody is told so."""
        self._is_loud = False
        for line in self._lines:
            line.is_open.clear()

    async def forget(self) -> None:
        """As a router does that was restarted: what was open stays silent for ever, new connections are well."""
        self._forget(list(self._lines))
        await self.mend()

    def listening(self) -> list[Line]:
        """The connections that LISTEN, and are not forgotten."""
        return [line for line in self._lines if line.is_listening]

    def asked_in_vain(self) -> int:
        """On how many of the forgotten connections something was asked, but for a sign of life."""
        return sum(
            line.unheard not in (b"", TERMINATE) and SIGN_OF_LIFE not in line.unheard for line in self._forgotten
        )

    def forget_listening(self) -> None:
        """The same with those that LISTEN, and no others."""
        self._forget(self.listening())

    def _forget(self, lines: list[Line]) -> None:
        for line in lines:
            line.is_open.clear()
            del self._lines[line]
        self._forgotten += lines

    def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._carry_both(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _carry_both(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there, back = await self._reach()
        except OSError:
            writer.transport.abort()
            return
        line = Line((writer, back))
        self._lines[line] = None
        if self._is_loud:
            line.is_open.set()
        try:
            await asyncio.gather(self._carry(reader, back, line), self._carry(there, writer, line))
        except asyncio.CancelledError:
            line.cut()
            raise
        finally:
            self._lines.pop(line, None)

    async def _reach(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if isinstance(self.target, Path):
            return await asyncio.open_unix_connection(str(self.target))
        return await asyncio.open_connection("127.0.0.1", self.target)

    async def _carry(self, source: asyncio.StreamReader, target: asyncio.StreamWriter, line: Line) -> None:
        with suppress(OSError):
            while data := await source.read(65_536):
                line.is_listening = line.is_listening or LISTEN in data
                if not line.is_open.is_set():
                    line.unheard += data
                await line.is_open.wait()
                target.write(data)
                await target.drain()
            await line.is_open.wait()  # the end of it does not arrive either
        target.close()

    async def close(self) -> None:
        await self.cut()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
