"""The network between a server and its PostgreSQL, for tests of what happens when it fails."""

import asyncio
from contextlib import suppress
from pathlib import Path

from api.database import DatabaseUrls
from api.embedded_postgres import APP_ROLE


class Network:
    """It can be cut, it can fall silent, and it can forget the connections that it had."""

    def __init__(self, socket_path: Path) -> None:
        self.port = 0
        self._socket_path = socket_path
        self._listener: asyncio.Server | None = None
        self._is_loud = True
        self._lines: list[asyncio.Event] = []
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    def url(self, urls: DatabaseUrls) -> str:
        """The served database, through this network."""
        database = urls.app.partition("@/")[2].partition("?")[0]
        return f"postgresql://{APP_ROLE}@127.0.0.1:{self.port}/{database}?sslmode=disable"

    async def mend(self) -> None:
        """All is well, at the same port as before."""
        self._is_loud = True
        for line in self._lines:
            line.set()
        if self._listener is None:
            self._listener = await asyncio.start_server(self._connect, "127.0.0.1", self.port)
            self.port = self._listener.sockets[0].getsockname()[1]

    async def cut(self) -> None:
        """All connections break, and new ones are refused."""
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    async def silence(self) -> None:
        """Nothing arrives any more, and nobody is told so."""
        self._is_loud = False
        for line in self._lines:
            line.clear()

    async def forget(self) -> None:
        """As a router does that was restarted: what was open stays silent for ever, new connections are well."""
        await self.silence()
        self._lines.clear()
        await self.mend()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_unix_connection(str(self._socket_path))
        self._writers |= {writer, back}
        line = asyncio.Event()
        self._lines.append(line)
        if self._is_loud:
            line.set()
        for source, target in ((reader, back), (there, writer)):
            task = asyncio.create_task(self._carry(source, target, line))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _carry(self, source: asyncio.StreamReader, target: asyncio.StreamWriter, line: asyncio.Event) -> None:
        with suppress(OSError):
            while data := await source.read(65_536):
                await line.wait()
                target.write(data)
                await target.drain()
            await line.wait()  # the end of it does not arrive either
        target.close()

    async def close(self) -> None:
        await self.cut()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
