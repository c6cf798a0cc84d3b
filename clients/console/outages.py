"""A cut connection: how long it has lasted, how long it is still waited for, and what the user is told."""

import asyncio
import time
from collections.abc import Callable

_FIRST_PAUSE_S = 0.25
_LONGEST_PAUSE_S = 2.0


class ServerUnreachable(Exception):
    """The server did not come back in time, or was never there.  One line for people."""


def pause_s(tries: int) -> float:
    """How long to wait after that many tries in a row have failed."""
    return min(_FIRST_PAUSE_S * 2.0 ** min(tries - 1, 10), _LONGEST_PAUSE_S)


class Outage:
    """One way to the server.  Callers that fail at the same time share one clock and one message.

    Nothing is said of an outage that the first new try ends.
    """

    def __init__(self, *, cut: str, back: str, patience_s: float, tell: Callable[[str], None]) -> None:
        self._cut, self._back, self._patience_s, self._tell = cut, back, patience_s, tell
        self._since: float | None = None
        self._is_told = False

    async def pause(self, tries: int) -> None:
        """Wait before the next try.  Raises ServerUnreachable once the outage has lasted `patience_s`."""
        now = time.monotonic()
        if self._since is None:
            self._since = now
        if tries > 1 and not self._is_told:
            self._is_told = True
            self._tell(f"{self._cut} Trying again for up to {self._patience_s:g} s …")
        left_s = self._since + self._patience_s - now
        if left_s <= 0:
            raise ServerUnreachable(
                f"No answer for {self._patience_s:g} s. Start the server, then run the demo again: it goes on."
            )
        await asyncio.sleep(min(pause_s(tries), left_s))

    def end(self) -> None:
        """The way is open again."""
        if self._since is not None and self._is_told:
            self._tell(f"{self._back} after {time.monotonic() - self._since:.1f} s.")
        self._since, self._is_told = None, False
