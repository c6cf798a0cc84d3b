"""Start PostgreSQL for this process, or join the one that runs already on the same folder."""

import errno
import fcntl
import json
import os
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from api.embedded_postgres import accounts, keeper
from api.embedded_postgres.errors import EmbeddedPostgresError
from api.embedded_postgres.leftovers import clear_the_way
from api.embedded_postgres.programs import find_programs, programs_readable_by

SUPERUSER = "postgres"
PORT = 5432  # names the socket file; there is no TCP

_DEFAULTS = {
    "max_connections": "200",
    "shared_buffers": "64MB",
    "io_method": "sync",
    "dynamic_shared_memory_type": "mmap",  # containers have little /dev/shm
    "timezone": "UTC",
    "log_timezone": "UTC",
}
_FIXED = {
    "listen_addresses": "",
    "port": str(PORT),
    "unix_socket_permissions": "0700",
    "unix_socket_group": "",
}
_REFUSED = {
    *_FIXED,
    "unix_socket_directories",
    "data_directory",
    "hba_file",
    "config_file",
    "external_pid_file",
}

_SOCKET_DIR_LIMIT = 85  # bytes: a socket's path may have 103 on macOS, 107 on Linux
_LOG_LIMIT = 10_000_000  # bytes; checked when the server starts
_QUOTED_LIMIT = 10_000  # bytes of the log, of which the last lines are quoted
_CRASH_PATIENCE_S = 10.0

_users: dict[Path, int] = {}  # by home: the open users.lock; the kernel drops the lock however this process ends


@dataclass(frozen=True, slots=True)
class EmbeddedPostgres:
    """A running server, reached by its socket only, in a folder that only its user and root may enter."""

    home: Path
    """The folder really used: started as root it may be another one than was asked for."""
    socket_dir: Path

    def url(self, role: str, database: str) -> str:
        """For SQLAlchemy with asyncpg. The port is named lest PGPORT, meant for another server, decide it."""
        role, database = quote(role, safe=""), quote(database, safe="")
        socket_dir = quote(str(self.socket_dir), safe="/")
        return f"postgresql+asyncpg://{role}@/{database}?host={socket_dir}&port={PORT}"


def start_embedded_postgres(home: Path, *, settings: Mapping[str, str] = {}) -> EmbeddedPostgres:
    """Return when the server on this folder accepts connections, for as long as this process lives.

    The folder must be new, empty, or made by this function. Any number of processes may call it, at once and
    again: the first starts the server, the others join it, and it is stopped after the last has ended.
    `settings` are PostgreSQL's, on top of the defaults, and hold if it is this call that starts the server.
    Waits for a server that is just being stopped, and for one that recovers after a crash.
    """
    if refused := sorted(_REFUSED & {name.lower().replace("-", "_") for name in settings}):
        raise EmbeddedPostgresError(
            f"The setting {refused[0]} of the embedded PostgreSQL cannot be changed: leave it out,"
            " or run a PostgreSQL server of your own and set its URL."
        )
    account = None
    try:
        home = home.resolve()
        if os.geteuid() == 0:
            account, home = accounts.choose_account_and_home(home)
        _prepare_home(home, account)
        server = EmbeddedPostgres(home, _choose_socket_dir(home))
        _start_or_join(server, settings, account)
    except OSError as error:
        raise EmbeddedPostgresError(
            f"PostgreSQL cannot use the folder {home}: {error.strerror or error} ({error.filename or home})."
            " Make it writable, make room, or choose another folder."
        ) from error
    return server


def _prepare_home(home: Path, account: accounts.Account | None) -> None:
    """Make the folder, and close it to others: its mode is the only thing that guards the socket."""
    accounts.make_folders(home)
    names = [entry.name for entry in home.iterdir()]
    if names and "users.lock" not in names:
        raise EmbeddedPostgresError(
            f"{home} holds other things than PostgreSQL's ({min(names)}): choose a new or an empty folder."
        )
    _close_to_others(home, account)


def _close_to_others(folder: Path, account: accounts.Account | None) -> None:
    found = folder.stat()
    if account is not None and found.st_uid != account.uid:
        os.chown(folder, account.uid, account.gid)
    if stat.S_IMODE(found.st_mode) != 0o700:
        folder.chmod(0o700)


def _choose_socket_dir(home: Path) -> Path:
    """The home itself, unless its path is too long for a socket, or has a sign that parts a list of hosts."""
    if len(os.fsencode(home)) <= _SOCKET_DIR_LIMIT and not set(str(home)) & set(",:"):
        return home
    # Not the temporary folder of the environment: all who share the server must come to the same place.
    return Path("/tmp", f"robot-jobs-{accounts.short_name(home)}")  # noqa: S108 - made and checked by its user


def _start_or_join(server: EmbeddedPostgres, settings: Mapping[str, str], account: accounts.Account | None) -> None:
    if server.home in _users:
        _wait_until_kept(server, settings, account)
        return
    users = _open(server.home / "users.lock", account)
    try:
        fcntl.flock(users, fcntl.LOCK_SH)  # waits while a keeper stops the server
        _wait_until_kept(server, settings, account)
    except BaseException:
        os.close(users)
        raise
    _users[server.home] = users


def _wait_until_kept(server: EmbeddedPostgres, settings: Mapping[str, str], account: accounts.Account | None) -> None:
    """Launch the server, or wait until the one that somebody else launched is ready."""
    deadline = time.monotonic() + 2 * keeper.START_LIMIT_S
    while not _launch_unless_kept(server, settings, account):
        if keeper.is_ready(server.home / "data") and _accepts_connections(server.socket_dir):
            return
        if time.monotonic() > deadline:
            raise EmbeddedPostgresError(
                f"The PostgreSQL that another process starts in {server.home} does not become ready:"
                f" see {server.home / 'log'}, end that process, and start again."
            )
        time.sleep(0.01)


def _launch_unless_kept(
    server: EmbeddedPostgres, settings: Mapping[str, str], account: accounts.Account | None
) -> bool:
    """Start the server if it has no keeper. Of several processes, one comes here at a time."""
    keeper_lock = _open(server.home / "keeper.lock", account)
    try:
        try:
            fcntl.flock(keeper_lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        _launch(server, settings, account, keeper_lock)
    finally:
        os.close(keeper_lock)  # the keeper, if any, has it too
    return True


def _launch(
    server: EmbeddedPostgres, settings: Mapping[str, str], account: accounts.Account | None, keeper_lock: int
) -> None:
    data = server.home / "data"
    programs = find_programs()
    if account is not None:
        programs = programs_readable_by(account, programs, server.home)
    if data.exists() and (made_by := (data / "PG_VERSION").read_text().strip()) != programs.major:
        raise EmbeddedPostgresError(
            f"The data in {data} was made by PostgreSQL {made_by}; the installed programs are PostgreSQL"
            f" {programs.major}, which cannot read it: dump it with the former, or choose a new folder."
        )
    clear_the_way(data, server.socket_dir)
    if server.socket_dir != server.home:
        _make_socket_dir(server.socket_dir, account)
    quoted_dir = str(server.socket_dir).replace('"', '""')
    launch = keeper.Launch(
        programs=str(programs.bin),
        home=str(server.home),
        socket_dir=str(server.socket_dir),
        settings={**_DEFAULTS, **settings, **_FIXED, "unix_socket_directories": f'"{quoted_dir}"'},
        user=None if account is None else account.uid,
        group=None if account is None else account.gid,
    )
    log = _open(server.home / "log", account, os.O_APPEND)
    try:
        _run_keeper(launch, keeper_lock, log)
    finally:
        os.close(log)


def _run_keeper(launch: keeper.Launch, keeper_lock: int, log: int) -> None:
    """Hand the lock and the log to a keeper and wait for its answer."""
    if os.fstat(log).st_size > _LOG_LIMIT:
        os.ftruncate(log, 0)
    command = [sys.executable, "-I", "-S", keeper.__file__, json.dumps(launch._asdict())]
    deadline = time.monotonic() + _CRASH_PATIENCE_S
    while True:
        start_of_log = os.fstat(log).st_size
        answer = subprocess.run(  # noqa: S603 - our own script, no shell
            command,
            check=False,
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            encoding="utf-8",
            errors="replace",
            pass_fds=[keeper_lock],
            start_new_session=True,  # Ctrl-C in our terminal is not for it
        ).stdout
        if answer == keeper.READY:
            return
        start_of_words = max(start_of_log, os.fstat(log).st_size - _QUOTED_LIMIT)
        words = os.pread(log, _QUOTED_LIMIT, start_of_words).decode(errors="replace")
        # After a crash the last processes of the former server may need a moment to end.
        if "pre-existing shared memory block" not in words or time.monotonic() > deadline:
            break
        time.sleep(0.05)
    last_lines = " | ".join(line.strip() for line in words.splitlines()[-5:]) or "nothing"
    raise EmbeddedPostgresError(
        f"PostgreSQL did not start in {launch.home}: {answer or 'its keeper failed'}."
        f" The last lines of its log, {launch.home}/log: {last_lines}"
    )


def _make_socket_dir(socket_dir: Path, account: accounts.Account | None) -> None:
    """Make the folder in a place where anybody may make folders: one that somebody else made is refused."""
    owner = os.geteuid() if account is None else account.uid
    try:
        socket_dir.mkdir(mode=0o700)
    except FileExistsError:
        found = socket_dir.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid not in {owner, os.geteuid()}:
            raise EmbeddedPostgresError(
                f"{socket_dir}, meant for PostgreSQL's socket, belongs to somebody else: remove it,"
                " or choose a home with a shorter path."
            ) from None
    _close_to_others(socket_dir, account)


def _accepts_connections(socket_dir: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(5)
        return probe.connect_ex(str(socket_dir / f".s.PGSQL.{PORT}")) in {0, errno.EAGAIN}


def _open(path: Path, account: accounts.Account | None, flags: int = 0) -> int:
    """Open a file of the home; its owner must be able to open it too, and no link may lead elsewhere."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | flags, 0o600)
    if account is not None:
        os.fchown(descriptor, account.uid, account.gid)
    return descriptor
