"""The ends of the streams' benchmark count what was sent, wherever the network cuts it."""

import pytest
from websockets.frames import Frame, Opcode

from tests.benchmarks.frames import PING, TEXT, client_frame, server_frame, split_frames

LENGTHS = (0, 1, 125, 126, 127, 128, 65_535, 65_536, 70_000)


def test_frames_are_found_wherever_the_bytes_are_cut() -> None:
    payloads = [b"x" * length for length in (0, 5, 125, 126, 300)]
    sent = b"".join(Frame(Opcode.TEXT, payload).serialize(mask=False) for payload in payloads)

    for cut in range(len(sent) + 1):
        first, rest = split_frames(sent[:cut])
        second, left = split_frames(rest + sent[cut:])

        assert first + second == [(TEXT, payload) for payload in payloads]
        assert left == b""


def test_frames_are_found_when_bytes_come_one_by_one() -> None:
    sent = Frame(Opcode.TEXT, b"a" * 200).serialize(mask=False) + Frame(Opcode.PING, b"b").serialize(mask=False)
    found, rest = [], b""

    for number in range(len(sent)):
        frames, rest = split_frames(rest + sent[number : number + 1])
        found += frames

    assert found == [(TEXT, b"a" * 200), (PING, b"b")]
    assert rest == b""


@pytest.mark.parametrize("length", LENGTHS)
def test_server_frames_are_those_of_the_protocol(length: int) -> None:
    payload = b"x" * length

    frame = server_frame(TEXT, payload)

    assert frame == Frame(Opcode.TEXT, payload).serialize(mask=False)
    assert split_frames(frame + b"\x81") == ([(TEXT, payload)], b"\x81")


@pytest.mark.parametrize("length", LENGTHS)
def test_client_frames_are_masked_ones_of_the_protocol(length: int) -> None:
    payload = b"x" * length

    frame = client_frame(TEXT, payload)

    head = Frame(Opcode.TEXT, payload).serialize(mask=False)[: -length or None]
    mask = bytes(4)
    assert frame == bytes([head[0], head[1] | 0x80]) + head[2:] + mask + payload
    assert split_frames(frame) == ([(TEXT, payload)], b"")
