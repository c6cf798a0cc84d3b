"""WebSocket frames (RFC 6455) for ends that must be cheap: cut by their lengths, and looked at no closer."""

TEXT = 0x81  # the first byte of a frame: its opcode, and that it is a whole message
CLOSE = 0x88
PING = 0x89
PONG = 0x8A
_IS_MASKED = 0x80
_NO_MASK = bytes(4)


def split_frames(data: bytes) -> tuple[list[tuple[int, bytes]], bytes]:
    """The whole frames, each with its first byte and its payload, and what is left: the beginning of the next one.

    Clients' frames are masked: their payload is taken as it is, without the mask, so it is right for `client_frame`.
    """
    frames = []
    at, end = 0, len(data)
    while end - at >= 2:
        start, length = at + 2, data[at + 1] & 0x7F
        if length == 126:
            start, length = at + 4, int.from_bytes(data[at + 2 : at + 4], "big")
        elif length == 127:
            start, length = at + 10, int.from_bytes(data[at + 2 : at + 10], "big")
        if data[at + 1] & _IS_MASKED:
            start += len(_NO_MASK)
        if end < start + length:
            break
        frames.append((data[at], data[start : start + length]))
        at = start + length
    return frames, data[at:]


def server_frame(first_byte: int, payload: bytes) -> bytes:
    return _head(first_byte, len(payload), 0) + payload


def client_frame(first_byte: int, payload: bytes) -> bytes:
    """Masked, as a client must, with a mask of zeros, which changes nothing."""
    return _head(first_byte, len(payload), _IS_MASKED) + _NO_MASK + payload


def _head(first_byte: int, length: int, flag: int) -> bytes:
    if length < 126:
        return bytes([first_byte, flag | length])
    if length < 2**16:
        return bytes([first_byte, flag | 126]) + length.to_bytes(2, "big")
    return bytes([first_byte, flag | 127]) + length.to_bytes(8, "big")
