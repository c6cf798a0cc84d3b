"""WebSocket frames (RFC 6455) for a client that must be cheap: cut by their lengths, and looked at no closer."""

TEXT = 0x81  # the first byte of a frame: its opcode, and that it is a whole message
CLOSE = 0x88
PING = 0x89
PONG = 0x8A


def split_frames(data: bytes) -> tuple[list[tuple[int, bytes]], bytes]:
    """The whole frames, each with its first byte and its payload, and what is left: the beginning of the next one."""
    frames = []
    at, end = 0, len(data)
    while end - at >= 2:
        start, length = at + 2, data[at + 1]
        if length == 126:
            start, length = at + 4, int.from_bytes(data[at + 2 : at + 4], "big")
        elif length == 127:
            start, length = at + 10, int.from_bytes(data[at + 2 : at + 10], "big")
        if end < start + length:
            break
        frames.append((data[at], data[start : start + length]))
        at = start + length
    return frames, data[at:]


def client_frame(first_byte: int, payload: bytes) -> bytes:
    """Masked, as a client must, with a mask of zeros, which changes nothing."""
    length = len(payload)
    if length < 126:
        head = bytes([first_byte, 0x80 | length])
    elif length < 2**16:
        head = bytes([first_byte, 0x80 | 126]) + length.to_bytes(2, "big")
    else:
        head = bytes([first_byte, 0x80 | 127]) + length.to_bytes(8, "big")
    return head + bytes(4) + payload
