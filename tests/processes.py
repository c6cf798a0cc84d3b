"""Processes of `robot-jobs`, forked from one that has imported it: an import takes longer than most of what they do.

They are processes as any other, to be killed and waited for.  Those of `cold` are started as people start them.
"""

import importlib
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any, Protocol

_ROOT = Path(__file__).resolve().parent.parent
_IMPORTED = (
    "api.cli",
    "api.app",
    "clients.console.demo",
    "clients.robot.main",
    "clients.robot.sandbox_portal.server",
    "tests.api.postgres_user",
)
forking = multiprocessing.get_context("forkserver")
"""There is one for the whole process: what it has imported is said here alone."""
forking.set_forkserver_preload([__name__, *_IMPORTED])
start_lock = threading.Lock()
"""A child's end is read once; whoever starts another looks at all of them."""


class Process(Protocol):
    """What `subprocess.Popen` has of it, with its meaning."""

    pid: int

    @property
    def returncode(self) -> int | None: ...
    def poll(self) -> int | None: ...
    def wait(self, timeout: float | None = None) -> int: ...
    def send_signal(self, sig: int) -> None: ...
    def terminate(self) -> None: ...
    def kill(self) -> None: ...


def start(arguments: Sequence[str], environment: Mapping[str, str], output: Path, log: Path) -> Process:
    """`robot-jobs` with those arguments; what it prints and its standard error are appended to those files."""
    return _Forked(arguments, environment, output, log)


def start_cold(
    module: Sequence[str], arguments: Sequence[str], environment: Mapping[str, str], output: Path, log: Path
) -> Process:
    """`python -m` that module and its arguments, in a session of its own as the others are."""
    with output.open("ab") as stdout, log.open("ab") as stderr:
        return subprocess.Popen(
            [sys.executable, "-m", *module, *arguments],
            cwd=_ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            start_new_session=True,  # Ctrl-C in the tests' terminal is not for it
        )


class _Forked:
    def __init__(self, arguments: Sequence[str], environment: Mapping[str, str], output: Path, log: Path) -> None:
        for file in (output, log):
            file.touch()
        given = (list(arguments), dict(environment), output, log)
        self._process: Any = forking.Process(target=_run, args=given, daemon=True)  # gone with the tests
        with start_lock:
            self._process.start()
        self.pid = self._process.pid or 0

    @property
    def returncode(self) -> int | None:
        return self.poll()

    def poll(self) -> int | None:
        with start_lock:
            code: int | None = self._process.exitcode
            return code

    def wait(self, timeout: float | None = None) -> int:
        until = None if timeout is None else time.monotonic() + timeout
        while (code := self.poll()) is None:
            if until is not None and time.monotonic() > until:
                raise subprocess.TimeoutExpired(["robot-jobs"], timeout or 0)
            wait([self._process.sentinel], None if until is None else max(until - time.monotonic(), 0))
        return code

    def send_signal(self, sig: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, sig)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def _run(arguments: list[str], environment: dict[str, str], output: Path, log: Path) -> None:
    os.setsid()
    os.chdir(_ROOT)
    for number, file in ((1, output), (2, log)):
        opened = os.open(file, os.O_WRONLY | os.O_APPEND)
        os.dup2(opened, number)
        os.close(opened)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["robot-jobs", *arguments]
    importlib.import_module("api.cli").main()  # here alone, where it has been imported already
