"""Messages that are written past the library are the library's own, byte for byte."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from websockets.frames import Frame, Opcode

from api.websocket_protocol import WebSocketProtocol

write_at_once: Any = WebSocketProtocol.write_at_once  # of whatever has what it needs


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65_535, 65_536, 100_000])
def test_a_message_written_at_once_is_framed_as_the_library_frames_it(size: int) -> None:
    written: list[bytes] = []
    text = b"x" * size
    writable = asyncio.Event()
    writable.set()
    transport = SimpleNamespace(write=written.append, is_closing=lambda: False)

    assert write_at_once(SimpleNamespace(writable=writable, close_sent=False, transport=transport), text)

    assert b"".join(written) == Frame(Opcode.TEXT, text).serialize(mask=False)


@pytest.mark.parametrize("hindrance", ["backlog", "close sent", "closing"])
def test_nothing_is_written_at_once_to_who_cannot_take_it(hindrance: str) -> None:
    written: list[bytes] = []
    writable = asyncio.Event()
    if hindrance != "backlog":
        writable.set()
    transport = SimpleNamespace(write=written.append, is_closing=lambda: hindrance == "closing")

    sent = write_at_once(
        SimpleNamespace(writable=writable, close_sent=hindrance == "close sent", transport=transport), b"x"
    )

    assert (sent, written) == (False, [])
