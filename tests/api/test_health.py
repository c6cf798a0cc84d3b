"""Health: what is said while the database is there, gone, silent, and back."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest

from api.database import DatabaseUrls
from api.embedded_postgres import APP_ROLE, EmbeddedPostgres
from tests.servers import credentials, running_server, settings_for, until
from tests.tenants import Tenant

ANSWERED_WITHIN_S = 3.5  # two, and what a busy machine adds


class Network:
    """Between a server and its PostgreSQL: it can be cut, and it can fall silent."""

    def __init__(self, socket_path: Path) -> None:
        self.port = 0
        self._socket_path = socket_path
        self._listener: asyncio.Server | None = None
        self._is_loud = asyncio.Event()
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def mend(self) -> None:
        """All is well, at the same port as before."""
        self._is_loud.set()
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
        self._is_loud.clear()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_unix_connection(str(self._socket_path))
        self._writers |= {writer, back}
        for source, target in ((reader, back), (there, writer)):
            task = asyncio.create_task(self._carry(source, target))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _carry(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await source.read(65_536):
                await self._is_loud.wait()
                target.write(data)
                await target.drain()
        target.close()

    async def close(self) -> None:
        await self.cut()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@pytest.fixture
async def network(postgres: EmbeddedPostgres) -> AsyncIterator[Network]:
    network = Network(postgres.socket_dir / ".s.PGSQL.5432")
    await network.mend()
    yield network
    await network.close()


async def test_readiness_follows_the_database_and_the_process_stays_alive(
    network: Network, served_urls: DatabaseUrls, shop: Tenant
) -> None:
    database = served_urls.app.partition("@/")[2].partition("?")[0]
    url = f"postgresql://{APP_ROLE}@127.0.0.1:{network.port}/{database}?sslmode=disable"

    settings = settings_for(served_urls) | {"DATABASE_URL": url, "ROBOT_JOBS_POOL_TIMEOUT_S": "2"}

    async with running_server(**settings) as server:

        async def is_ready() -> bool:
            return (await server.http.get("/health/ready")).status_code == 200

        for trouble in (network.silence, network.cut):
            await trouble()
            started = time.monotonic()
            ready = await server.http.get("/health/ready")
            took_s = time.monotonic() - started
            answer = await server.ask("{ orders { nodes { id } } }", headers=credentials(shop))

            assert ready.status_code == 503
            assert ready.json() == {"status": "unavailable", "reason": "The database does not answer."}
            assert took_s < ANSWERED_WITHIN_S
            assert (await server.http.get("/health/live")).status_code == 200
            assert answer["data"] is None
            assert answer["errors"][0]["extensions"]["code"] == "SERVICE_UNAVAILABLE"

            await network.mend()
            await until(is_ready)
            assert "errors" not in await server.ask("{ orders { nodes { id } } }", headers=credentials(shop))
        assert "Traceback" not in server.log.read_text()
