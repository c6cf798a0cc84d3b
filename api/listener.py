"""Where the server listens, and what the kernel does by itself for the connections that come there."""

import math
import socket

from api.settings import HEARTBEATS_UNTIL_STALLED, Settings, SettingsError

_PROBES = 3


def listen(settings: Settings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    # Named TCP, for asyncio switches Nagle's delay of small answers off only where it sees that it is TCP.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        _expect_signs_of_life(listener, within_s=settings.stream_heartbeat_s * HEARTBEATS_UNTIL_STALLED)
        listener.bind((settings.host, settings.port))
        listener.listen(2048)
    except OSError as error:
        listener.close()
        where = f"{settings.host}:{settings.port}"
        wrong = "ROBOT_JOBS_HOST" if isinstance(error, socket.gaierror) else "ROBOT_JOBS_PORT"
        raise SettingsError(f"{wrong}: cannot listen on {where}: {error.strerror or error}") from error
    return listener


def _expect_signs_of_life(listener: socket.socket, *, within_s: float) -> None:
    """The kernel cuts off who acknowledges nothing for that long, on every connection that comes to the listener.

    Otherwise who is gone without a word is not noticed while nothing is sent, and for a quarter of an hour while
    something is.  Who is told nothing is asked after that long.
    """
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if hasattr(socket, "TCP_KEEPIDLE"):  # some systems have none of these, and go by their own times
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, math.ceil(within_s))
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, math.ceil(within_s / _PROBES))
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, _PROBES)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, math.ceil(within_s * 1_000))
