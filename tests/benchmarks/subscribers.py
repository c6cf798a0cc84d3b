"""A crowd of WebSocket subscribers in a process of its own, which must cost little: it shares a processor with others.

It speaks graphql-transport-ws over plain sockets.  Of each message it reads the cursor and notes the time; samples are
kept whole, so that somebody else can look at them.
"""

import asyncio
import base64
import gc
import json
import multiprocessing
import os
import selectors
import socket
import time
import uuid
from array import array
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any, assert_never

from tests.benchmarks.frames import CLOSE, PING, PONG, TEXT, client_frame, split_frames

CONNECTED_WITHIN_S = 30.0
SAMPLE_EVERY = 1_000  # messages
_CURSOR = b'"cursor":'
_READ_AT_ONCE = 16_384  # bytes; more would have the allocator fetch new pages for each message


@dataclass(frozen=True, slots=True)
class Subscription:
    """What one subscriber asks, and of whom."""

    port: int
    init: Mapping[str, str]
    """The payload of connection_init."""
    document: str
    variables: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Sample:
    """A message as it came."""

    operation_id: str
    seq: int
    message: bytes


@dataclass(frozen=True, slots=True)
class Heard:
    """What one subscriber was told: event numbers in the order they came, and when, by the monotonic clock."""

    seqs: "array[int]"
    times_ns: "array[int]"


@dataclass(frozen=True, slots=True)
class Count:
    received: int
    """Messages, by all together."""
    least: int
    """By the one who got the fewest; those who are stalled are not asked."""
    problems: list[str]


@dataclass(frozen=True, slots=True)
class Report:
    """All that was heard, by subscriber in the order they came."""

    heard: list[Heard]
    samples: list[Sample]
    problems: list[str]


@dataclass(frozen=True, slots=True)
class Connect:
    subscriptions: Sequence[Subscription]
    is_stalled: bool


@dataclass(frozen=True, slots=True)
class ReadOn:
    """Let the stalled ones read."""


@dataclass(frozen=True, slots=True)
class TellCount:
    pass


@dataclass(frozen=True, slots=True)
class HandIn:
    """Close all sockets, tell what was heard, and forget it."""


Order = Connect | ReadOn | TellCount | HandIn


class Crowd:
    """The subscribers' process, seen from outside."""

    def __init__(self, pipe: "Connection[Order, Any]", pid: int) -> None:
        self.pid = pid
        self._pipe = pipe

    async def connect(self, subscriptions: Sequence[Subscription], *, is_stalled: bool = False) -> None:
        """Once all are acknowledged and have asked; `is_stalled`: they never read what they asked for."""
        await self._do(Connect(subscriptions, is_stalled))

    async def read_on(self) -> None:
        await self._do(ReadOn())

    async def count(self) -> Count:
        counted: Count = await self._do(TellCount())
        return counted

    async def hand_in(self) -> Report:
        report: Report = await self._do(HandIn())
        return report

    async def _do(self, order: Order) -> Any:
        self._pipe.send(order)
        answer = await asyncio.to_thread(self._pipe.recv)
        if isinstance(answer, Exception):
            raise answer
        return answer


@asynccontextmanager
async def crowd() -> AsyncIterator[Crowd]:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs,), daemon=True)
    process.start()
    theirs.close()
    try:
        assert process.pid is not None
        yield Crowd(ours, process.pid)
    finally:
        process.kill()
        process.join()


# ------------------------------------------------------------------------------------ within the process


class _Reader:
    """One subscriber's socket, and what came through it."""

    __slots__ = ("is_ended", "is_stalled", "operation_id", "rest", "seqs", "socket", "times_ns")

    def __init__(self, subscription: Subscription, *, is_stalled: bool) -> None:
        self.is_stalled = is_stalled
        self.is_ended = False
        self.operation_id = str(uuid.uuid4())
        self.seqs = array("Q")
        self.times_ns = array("Q")
        self.socket = _connect(subscription.port, is_stalled=is_stalled)
        self.rest = _upgrade(self.socket)
        self.send({"type": "connection_init", "payload": dict(subscription.init)})
        if (answer := self._receive()) != {"type": "connection_ack"}:
            raise RuntimeError(f"connection_init was answered with {answer}")
        payload = {"query": subscription.document, "variables": dict(subscription.variables)}
        self.send({"id": self.operation_id, "type": "subscribe", "payload": payload})
        self.socket.setblocking(False)

    def send(self, message: object) -> None:
        self.socket.sendall(client_frame(TEXT, json.dumps(message).encode()))

    def _receive(self) -> object:
        frames, self.rest = split_frames(self.rest)
        while not frames:
            frames, self.rest = split_frames(self.rest + self.socket.recv(_READ_AT_ONCE))
        [(_, payload)] = frames
        return json.loads(payload)


class _Crowd:
    def __init__(self, pipe: "Connection[Any, Order]") -> None:
        self._pipe = pipe
        self._selector = selectors.DefaultSelector()
        self._selector.register(pipe, selectors.EVENT_READ)
        self._forget()

    def _forget(self) -> None:
        self._readers: list[_Reader] = []
        self._received = 0
        self._samples: list[Sample] = []
        self._problems: list[str] = []

    def run(self) -> None:
        while True:
            for key, _ in self._selector.select():
                if key.data is None:
                    self._answer()
                elif not key.data.is_ended:  # since it was selected
                    self._read(key.data)

    def _answer(self) -> None:
        try:
            answer: object = self._obey(self._pipe.recv())
        except (OSError, RuntimeError) as error:
            answer = RuntimeError(f"the subscribers gave up: {error!r}")
        self._pipe.send(answer)

    def _obey(self, order: Order) -> object:
        match order:
            case Connect(subscriptions, is_stalled):
                for subscription in subscriptions:
                    reader = _Reader(subscription, is_stalled=is_stalled)
                    self._readers.append(reader)
                    if not is_stalled:
                        self._listen(reader)
                return None
            case ReadOn():
                for reader in self._readers:
                    if reader.is_stalled:
                        self._listen(reader)
                return None
            case TellCount():
                least = min((len(reader.seqs) for reader in self._readers if not reader.is_stalled), default=0)
                return Count(self._received, least, self._problems)
            case HandIn():
                for reader in self._readers:
                    self._end(reader)
                heard = [Heard(reader.seqs, reader.times_ns) for reader in self._readers]
                report = Report(heard, self._samples, self._problems)
                self._forget()
                return report
            case _:
                assert_never(order)

    def _listen(self, reader: _Reader) -> None:
        self._selector.register(reader.socket, selectors.EVENT_READ, reader)

    def _end(self, reader: _Reader) -> None:
        with suppress(KeyError, ValueError):  # stalled, or ended before
            self._selector.unregister(reader.socket)
        reader.socket.close()
        reader.is_ended = True

    def _read(self, reader: _Reader) -> None:
        try:
            data = reader.socket.recv(_READ_AT_ONCE)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        now = time.monotonic_ns()
        if not data:
            self._lose(reader, "the connection was cut")
            return
        frames, reader.rest = split_frames(reader.rest + data if reader.rest else data)
        for first_byte, payload in frames:
            at = payload.find(_CURSOR)
            if at < 0 or first_byte != TEXT:
                self._read_other(reader, first_byte, payload)
                continue
            start = payload.index(b'"', at + len(_CURSOR)) + 1
            seq = int(payload[start : payload.index(b".", start)])
            if not reader.seqs or self._received % SAMPLE_EVERY == 0:
                self._samples.append(Sample(reader.operation_id, seq, payload))
            reader.seqs.append(seq)
            reader.times_ns.append(now)
            self._received += 1

    def _read_other(self, reader: _Reader, first_byte: int, payload: bytes) -> None:
        """Whatever is no completion."""
        if first_byte == PING:
            with suppress(OSError):
                reader.socket.sendall(client_frame(PONG, payload))
        elif first_byte == CLOSE:
            self._lose(reader, f"closed with {int.from_bytes(payload[:2], 'big')} {payload[2:].decode()}")
        elif first_byte == TEXT and json.loads(payload)["type"] == "ping":
            reader.send({"type": "pong"})
        else:
            self._problems.append(f"unexpected: {payload[:300].decode(errors='replace')}")

    def _lose(self, reader: _Reader, why: str) -> None:
        self._problems.append(why)
        self._end(reader)


def _serve(pipe: "Connection[Any, Order]") -> None:
    gc.disable()  # nothing here goes in circles
    with suppress(EOFError, KeyboardInterrupt):
        _Crowd(pipe).run()


def _connect(port: int, *, is_stalled: bool) -> socket.socket:
    connection = socket.socket()
    if is_stalled:  # little room on the way, so that the server soon feels that nobody reads
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 536)
    connection.settimeout(CONNECTED_WITHIN_S)
    connection.connect(("127.0.0.1", port))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def _upgrade(connection: socket.socket) -> bytes:
    """What came after the handshake's answer."""
    key = base64.b64encode(os.urandom(16)).decode()
    connection.sendall(
        "\r\n".join(
            (
                "GET /graphql HTTP/1.1",
                "Host: 127.0.0.1",
                "Connection: Upgrade",
                "Upgrade: websocket",
                "Sec-WebSocket-Version: 13",
                "Sec-WebSocket-Protocol: graphql-transport-ws",
                f"Sec-WebSocket-Key: {key}",
                "\r\n",
            )
        ).encode()
    )
    answer = b""
    while b"\r\n\r\n" not in answer:
        received = connection.recv(_READ_AT_ONCE)
        if not received:
            break
        answer += received
    head, _, rest = answer.partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 101"):
        raise RuntimeError(f"no WebSocket: {head.decode(errors='replace')}")
    return rest
