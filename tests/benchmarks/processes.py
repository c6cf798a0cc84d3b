"""Servers in processes of their own, and what they use: time of the processor, memory."""

import asyncio
import resource
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil  # type: ignore[import-untyped, unused-ignore]  # typed only where its stubs are installed

from tests.servers import ROOT

READY_WITHIN_S = 60.0


@dataclass(frozen=True, slots=True)
class Work:
    """Seconds of the processor's time, in the program itself and in the system on its behalf."""

    user_s: float
    system_s: float

    @property
    def total_s(self) -> float:
        return self.user_s + self.system_s

    def __sub__(self, earlier: "Work") -> "Work":
        return Work(self.user_s - earlier.user_s, self.system_s - earlier.system_s)


def work_of(pid: int) -> Work:
    times = psutil.Process(pid).cpu_times()
    return Work(times.user, times.system)


class Process:
    """A running server."""

    def __init__(
        self, process: "subprocess.Popen[bytes]", port: int, *, processors: Sequence[int], is_sampled: bool
    ) -> None:
        self.port = port
        self._processors = processors
        self._is_sampled = is_sampled
        self._process = process
        self._seen = psutil.Process(process.pid)

    def work(self) -> Work:
        return work_of(self._process.pid)

    def processor_work_s(self) -> float:
        """Of all who use the server's processors, itself included; 0 where it has none of its own."""
        times = psutil.cpu_times(percpu=True)
        used = [times[number] for number in self._processors]
        return float(sum(each.user + each.nice + each.system for each in used))

    def memory_bytes(self) -> int:
        """Resident: what the kernel holds for its sockets is not in it."""
        resident: int = self._seen.memory_info().rss
        return resident

    def send(self, data: bytes) -> None:
        """To its standard input; waits while that is full."""
        assert self._process.stdin is not None
        self._process.stdin.write(data)
        self._process.stdin.flush()

    def start_sampling(self) -> None:
        """Note where the work is done, where it was started to tell that: see sampling.py."""
        if self._is_sampled:
            self._process.send_signal(signal.SIGUSR1)

    def stop_sampling(self) -> None:
        if self._is_sampled:
            self._process.send_signal(signal.SIGUSR2)


@asynccontextmanager
async def server(
    arguments: Sequence[str],
    environment: Mapping[str, str],
    *,
    port: int,
    ready_at: str,
    processors: Sequence[int],
    log: Path,
    is_sampled: bool = False,
) -> AsyncIterator[Process]:
    """`python -m` with those arguments, on those processors alone, ready to answer; killed at the end.

    `log`: the file for its standard error.
    """
    process = _start(arguments, environment, log)
    try:
        if processors:
            psutil.Process(process.pid).cpu_affinity(list(processors))
        await _until_ready(process, f"http://127.0.0.1:{port}{ready_at}", log)
        yield Process(process, port, processors=processors, is_sampled=is_sampled)
    finally:
        process.kill()
        process.wait()


def _start(arguments: Sequence[str], environment: Mapping[str, str], log: Path) -> "subprocess.Popen[bytes]":
    with log.open("wb") as stderr:
        return subprocess.Popen(
            [sys.executable, "-m", *arguments],
            cwd=ROOT,
            env=dict(environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=stderr,
        )


async def _until_ready(process: "subprocess.Popen[bytes]", url: str, log: Path) -> None:
    async with asyncio.timeout(READY_WITHIN_S), httpx.AsyncClient(trust_env=False) as client:
        while process.poll() is None:
            try:
                if (await client.get(url)).status_code == httpx.codes.OK:
                    return
            except httpx.TransportError:
                pass
            await asyncio.sleep(0.1)
    raise RuntimeError(f"the server ended with {process.returncode} before it was ready: {_text(log)}")


def _text(log: Path) -> str:
    return log.read_text(encoding="utf-8", errors="replace")


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


@contextmanager
def processors_apart() -> Iterator[list[int]]:
    """A processor for servers alone: this process and those it starts leave it to them.

    None where there is but one, or where the system does not let a process choose.
    """
    this = psutil.Process()
    before: list[int] = sorted(this.cpu_affinity()) if hasattr(this, "cpu_affinity") else []
    if len(before) < 2:
        yield []
        return
    this.cpu_affinity(before[1:])
    try:
        yield before[:1]
    finally:
        this.cpu_affinity(before)


def allow_open_files(count: int) -> None:
    """For this process and those it starts, as far as the system lets it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count if hard == resource.RLIM_INFINITY else min(count, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
