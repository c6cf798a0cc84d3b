"""What `serve --dev --with-robot` runs beside the API: the sandbox portal, and a robot that works there.

Both are processes of their own, started again when they end, and gone with the server, however that one ends.  One
server of a home folder has them; the others wait for its lock, and take over.
"""

import asyncio
import fcntl
import logging
import os
import socket
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from api.database import DatabaseError, DatabaseUrls
from api.robot_key import robot_key
from api.settings import PREFIX, Settings, SettingsError
from domain.errors import DomainError

PORTAL_PORT = 8090
ROBOT_STOPS_WITHIN_S = 4.0
PORTAL_STOPS_WITHIN_S = 2.0
_ITEM_IN_HAND_S = 3
_DIALOG_MS, _SUGGESTIONS_MS = "20-80", 20  # to be watched, and not waited for
_ABSENT_AFTER_S = 5  # the sandbox portal stores a parcel at once, or while the robot still waits for its dialog
_LOOKS_FOR_LOCK_EVERY_S = 1.0
_PAUSE_FIRST_S, _PAUSE_LONGEST_S = 0.5, 30.0
_LIVED_WELL_S = 10.0
_LOCK_FILE, _ADDRESS_FILE = "companions.lock", "portal-url"
_ROBOT_SETTINGS = ("ROBOT_JOBS_CHROMIUM",)
_DATABASE_SETTINGS = ("DATABASE_URL", "MIGRATION_DATABASE_URL")

logger = logging.getLogger("robot_jobs.companions")


def find_portal_url(home: Path) -> str | None:
    """Of the portal beside the server of that home, which may not answer yet; None where no server has one."""
    try:
        with (home / _LOCK_FILE).open() as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        with suppress(OSError):
            return (home / _ADDRESS_FILE).read_text().strip() or None
    except OSError:
        pass
    return None


def client_environment(secrets: Mapping[str, str]) -> dict[str, str]:
    """For a process of clients/, which may have no more than it needs: the API's settings hold its secrets."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name in _ROBOT_SETTINGS or not (name.startswith(PREFIX) or name in _DATABASE_SETTINGS)
    }
    return kept | dict(secrets)


class Companions:
    def __init__(self, settings: Settings, urls: DatabaseUrls) -> None:
        self._settings, self._urls = settings, urls
        self._home = settings.home
        self._lock: IO[str] | None = None
        self._starting: asyncio.Task[None] | None = None
        self._listener: socket.socket | None = None
        """The portal's, held here: its port is nobody else's from the first moment, and stays so while it restarts."""
        self._portal, self._robot = _Child("The sandbox portal"), _Child("The robot")
        self.portal_url = find_portal_url(self._home) if not self._take_lock() else self._settle_address()

    def start(self, api_url: str) -> None:
        """In the background; nothing is awaited."""
        self._starting = asyncio.create_task(self._start(api_url))

    async def stop(self, is_hurried: Callable[[], bool]) -> None:
        """The robot first, which may finish the item in hand, then the portal."""
        if self._starting is not None:
            self._starting.cancel()
            await asyncio.gather(self._starting, return_exceptions=True)
            await self._robot.stop(ROBOT_STOPS_WITHIN_S, is_hurried)
            await self._portal.stop(PORTAL_STOPS_WITHIN_S, is_hurried)
        if self._listener is not None:
            self._listener.close()
        if self._lock is not None:
            (self._home / _ADDRESS_FILE).unlink(missing_ok=True)
            self._lock.close()

    async def _start(self, api_url: str) -> None:
        while self._lock is None:
            await asyncio.sleep(_LOOKS_FOR_LOCK_EVERY_S)
            if self._take_lock():
                self.portal_url = self._settle_address()
        self._portal.keep_running(self._portal_command)
        await self._portal.is_ready.wait()

        async def robot_command() -> _Command:
            return await self._robot_command(api_url)

        self._robot.keep_running(robot_command)

    def _take_lock(self) -> bool:
        self._home.mkdir(parents=True, exist_ok=True)
        lock = (self._home / _LOCK_FILE).open("a")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.close()
            return False
        self._lock = lock
        return True

    def _settle_address(self) -> str:
        """The usual port, or a free one if that is taken; told to whoever looks for the portal."""
        self._listener = _listen(PORTAL_PORT)
        url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        (self._home / _ADDRESS_FILE).write_text(f"{url}\n")
        return url

    async def _portal_command(self) -> "_Command":
        assert self._listener is not None  # noqa: S101 -- its address was settled before
        listener = self._listener.fileno()
        arguments = ["--listener-fd", f"{listener}", "--file", f"{self._home / 'portal.db'}"]
        arguments += ["--delay-ms", _DIALOG_MS, "--suggestions-ms", f"{_SUGGESTIONS_MS}"]
        return _Command(["portal", *arguments], passes=(listener,), tells_when_ready=True)

    async def _robot_command(self, api_url: str) -> "_Command":
        key = await robot_key(self._urls, self._home)
        arguments = ["--carrier", "sandbox", "--url", f"{api_url}/graphql", "--portal-url", f"{self.portal_url}"]
        arguments += ["--state-dir", f"{self._home / 'robots' / 'dev'}", "--name", "dev"]
        arguments += ["--stop-timeout", f"{_ITEM_IN_HAND_S}", "--absent-after", f"{_ABSENT_AFTER_S}"]
        level = self._settings.log_level if self._settings.log_level == "error" else "warning"
        arguments += ["--log", "text", "--log-level", level, "--no-progress"]
        return _Command(["robot", *arguments], {"ROBOT_JOBS_KEY": key})


@dataclass(frozen=True, slots=True)
class _Command:
    """Arguments of `robot-jobs`, and what else its environment has."""

    arguments: Sequence[str]
    secrets: Mapping[str, str] | None = None
    passes: Sequence[int] = ()
    """File descriptors that it inherits."""
    tells_when_ready: bool = False
    """By its first line."""


class _Child:
    """One of them, kept running until it is to stop."""

    def __init__(self, name: str) -> None:
        self.is_ready = asyncio.Event()
        self._name = name
        self._process: asyncio.subprocess.Process | None = None
        self._keeping: asyncio.Task[None] | None = None
        self._is_stopping = False

    def keep_running(self, command: Callable[[], Awaitable[_Command]]) -> None:
        self._keeping = asyncio.create_task(self._keep_running(command))

    async def stop(self, within_s: float, is_hurried: Callable[[], bool]) -> None:
        if self._keeping is None:
            return
        self._is_stopping = True
        process, until = self._process, time.monotonic() + within_s
        if process is not None:
            with suppress(ProcessLookupError):
                process.terminate()
            while process.returncode is None and time.monotonic() < until and not is_hurried():
                await asyncio.wait([self._keeping], timeout=0.1)
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()
        self._keeping.cancel()
        await asyncio.gather(self._keeping, return_exceptions=True)

    async def _keep_running(self, command: Callable[[], Awaitable[_Command]]) -> None:
        ended_soon = 0
        while True:
            started = time.monotonic()
            try:
                how = await self._run(await command())
            except (OSError, DatabaseError, SettingsError, DomainError) as error:
                how = f"cannot be started: {error}"
            if self._is_stopping:
                return
            ended_soon = 0 if time.monotonic() - started > _LIVED_WELL_S else ended_soon + 1
            pause_s = min(_PAUSE_FIRST_S * 2 ** min(max(ended_soon - 1, 0), 10), _PAUSE_LONGEST_S)
            logger.warning("%s %s; it is started again in %g s.", self._name, how, pause_s)
            await asyncio.sleep(pause_s)

    async def _run(self, command: _Command) -> str:
        """To its end; how that was."""
        self._process = process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "api", *command.arguments, "--ends-with-stdin"),
            env=client_environment(command.secrets or {}),
            pass_fds=command.passes,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE if command.tells_when_ready else asyncio.subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for the server, which stops them in their order
        )
        if process.stdout is None or await process.stdout.readline():
            self.is_ready.set()
        code = await process.wait()
        self._process = None
        return f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"


def _listen(wanted: int) -> socket.socket:
    for port in (wanted, 0):
        with suppress(OSError):
            return socket.create_server(("127.0.0.1", port))
    raise SettingsError("no port is free for the sandbox portal")
