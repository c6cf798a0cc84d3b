"""The keeper: a process of its own that starts PostgreSQL, and stops it after the last process that uses it.

It is PostgreSQL's parent, so that it can never mistake another process for it, and it is nobody's child: it
outlives the process that launched it, however that one ended. It is run as a script with the standard library
alone (`python -I -S keeper.py LAUNCH`), because a start should cost milliseconds. What it writes to standard
output is the answer to the one that launched it: READY, or why not. PostgreSQL's own words go to standard
error, which is the log.

Two lock files tell everybody what they need; the kernel drops a lock however its holder ends:

    users.lock   shared by each process that uses the server; held alone by a keeper while it stops the server
    keeper.lock  held by the keeper all its life; the launcher takes it and hands it over, open and locked
"""

import contextlib
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import NamedTuple

READY = "ready"
START_LIMIT_S = 120.0  # after a crash PostgreSQL first replays its log, which can take a while

_STOP_STEPS = (  # what to send, and how many seconds to wait before the next one
    (signal.SIGINT, 30.0),  # "fast": open transactions are rolled back, everything is written
    (signal.SIGQUIT, 10.0),  # "immediate": the next start recovers
    (signal.SIGKILL, 10.0),
)


class Launch(NamedTuple):
    """What a keeper must know; travels as JSON on its command line."""

    programs: str
    home: str
    socket_dir: str
    settings: dict[str, str]
    user: int | None
    """Who runs PostgreSQL; None: whoever runs the keeper."""
    group: int | None

    @property
    def data(self) -> Path:
        return Path(self.home, "data")

    def popen(self, program: str, *arguments: str) -> subprocess.Popen[bytes]:
        """Start one of PostgreSQL's programs as the server's user; its output goes to the log."""
        return subprocess.Popen(  # noqa: S603 - our own programs, no shell
            [str(Path(self.programs, program)), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=sys.stderr.fileno(),
            cwd="/",
            # PGPORT, PGDATA and their like are meant for somebody else's server.
            env={name: value for name, value in os.environ.items() if not name.startswith("PG")},
            user=self.user,
            group=self.group,
            extra_groups=None if self.user is None else [],
        )


class StartError(Exception):
    """PostgreSQL did not come up; the log knows more."""


def main(launch: Launch) -> None:
    """Start the server, answer the launcher, and stay until the server has ended."""
    if os.fork():
        os._exit(0)  # the keeper goes on as nobody's child
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # A handler that does nothing rather than SIG_IGN, which PostgreSQL would inherit.
        signal.signal(number, lambda *_: None)
    try:
        server = start(launch)
    except (StartError, OSError) as error:
        answer(str(error))
        return
    answer(READY)

    threading.Thread(target=stop_after_the_last_user, args=(launch, server), daemon=True).start()
    server.wait()
    if launch.socket_dir != launch.home:
        with contextlib.suppress(OSError):  # not empty after a crash; the next start uses it again
            Path(launch.socket_dir).rmdir()


def start(launch: Launch) -> subprocess.Popen[bytes]:
    """Start the server, on a new data directory if there is none yet; return when it accepts connections."""
    if not launch.data.exists():
        initialise(launch)
    options = [word for name, value in launch.settings.items() for word in ("-c", f"{name}={value}")]
    server = launch.popen("postgres", "-D", str(launch.data), *options)

    deadline = time.monotonic() + START_LIMIT_S
    while time.monotonic() < deadline:
        if is_ready(launch.data, server.pid):
            return server
        if server.poll() is not None:
            raise StartError(f"postgres {ending(server.returncode)}")
        time.sleep(0.005)
    server.send_signal(signal.SIGQUIT)
    server.wait()
    raise StartError(f"postgres was not ready after {START_LIMIT_S:.0f} s")


def initialise(launch: Launch) -> None:
    """Make the data directory: all of it or nothing, because it gets its name when it is complete."""
    for cut_short in Path(launch.home).glob("data.*"):
        shutil.rmtree(cut_short)
    unfinished = launch.data.with_suffix(f".{os.getpid()}")
    initdb = launch.popen(
        "initdb",
        f"--pgdata={unfinished}",
        "--username=postgres",
        "--auth-local=trust",  # the folder's mode guards the socket
        "--auth-host=reject",
        "--encoding=UTF8",
        "--locale=C",
        "--locale-provider=builtin",
        "--builtin-locale=C.UTF-8",
        "--no-instructions",
    )
    if initdb.wait():
        raise StartError(f"initdb {ending(initdb.returncode)}")
    unfinished.rename(launch.data)
    home = os.open(launch.home, os.O_RDONLY)
    os.fsync(home)  # the new name must be on the disk before the first commit is
    os.close(home)


def is_ready(data: Path, pid: int | None = None) -> bool:
    """Whether the data's lock file says that the server (with that pid, if given) accepts connections."""
    try:
        lines = (data / "postmaster.pid").read_bytes().splitlines()
    except OSError:
        return False
    return len(lines) > 7 and lines[7].strip() == b"ready" and (pid is None or lines[0] == b"%d" % pid)


def stop_after_the_last_user(launch: Launch, server: subprocess.Popen[bytes]) -> None:
    """Wait until no process uses the server any more, then stop it.

    The lock on users.lock is held until the keeper itself has ended: who comes meanwhile waits for that.
    """
    users = os.open(Path(launch.home, "users.lock"), os.O_RDWR)
    fcntl.flock(users, fcntl.LOCK_EX)
    for number, patience_s in _STOP_STEPS:
        server.send_signal(number)
        time.sleep(patience_s)  # cut short by the end of the process, as soon as the server has ended


def answer(text: str) -> None:
    """Tell the launcher, and close standard output so that it need not wait for more."""
    with contextlib.suppress(BrokenPipeError):  # it has ended meanwhile: the server will be stopped in a moment
        os.write(1, text.encode(errors="replace"))
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 1)


def ending(returncode: int) -> str:
    return f"was ended by signal {-returncode}" if returncode < 0 else f"ended with exit code {returncode}"


if __name__ == "__main__":
    main(Launch(**json.loads(sys.argv[1])))
