"""What a killed keeper or server leaves behind: a server that nobody watches, lock files of a dead one."""

import contextlib
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import psutil  # type: ignore[import-untyped, unused-ignore]

_STOP_LIMIT_S = 30.0


def clear_the_way(data: Path, socket_dir: Path) -> None:
    """Stop what runs on the data without a keeper, and remove lock files that would hinder a new server.

    Call it only while holding the keeper's lock. A lock file alone proves nothing: its pid may be that of a
    zombie or of another process by now, and a crash may have left it half-written.
    """
    lock_files = (data / "postmaster.pid", socket_dir / ".s.PGSQL.5432.lock")
    if not any(lock_file.exists() for lock_file in lock_files):
        return
    server = _find_server(data)
    if server is not None:
        _stop(server)
    _kill_connections(data)
    for lock_file in lock_files:
        # Were a server alive all the same, PostgreSQL would notice by its shared memory, and refuse.
        lock_file.unlink(missing_ok=True)


def _find_server(data: Path) -> "psutil.Process | None":
    """The process that the lock file names, if it is a live server on this data."""
    import psutil  # noqa: PLC0415 - costs 30 ms, and is needed only after a crash

    try:
        server = psutil.Process(int((data / "postmaster.pid").read_bytes().split(b"\n")[0]))
    except (OSError, ValueError, psutil.Error):
        return None
    return server if _is_live(server) and _works_on(data, server) else None


def _stop(server: "psutil.Process") -> None:
    import psutil  # noqa: PLC0415

    try:
        server.send_signal(signal.SIGINT)
        deadline = time.monotonic() + _STOP_LIMIT_S
        while _is_live(server):
            if time.monotonic() > deadline:
                server.kill()
            time.sleep(0.01)
    except psutil.NoSuchProcess:
        pass


def _kill_connections(data: Path) -> None:
    """Kill what a dead server's connections still do: a busy one does not notice, and PostgreSQL waits for it."""
    import psutil  # noqa: PLC0415

    for process in psutil.process_iter():
        if _works_on(data, process):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()


def _works_on(data: Path, process: "psutil.Process") -> bool:
    """Whether it is one of PostgreSQL's processes on this data, which all work in that folder."""
    import psutil  # noqa: PLC0415

    try:
        return bool(process.name() == "postgres" and process.cwd() == str(data))
    except psutil.Error:
        return False


def _is_live(process: "psutil.Process") -> bool:
    """Whether it runs; a zombie does not, and nobody but its parent can make it go away."""
    import psutil  # noqa: PLC0415

    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
