"""How many operations a caller may ask for in a minute: a bucket of tokens each, in this process."""

import time
from collections import OrderedDict
from collections.abc import Callable

REMEMBERED = 10_000


class RateLimiter:
    """Constant time and bounded memory: of too many callers, the one not heard of for longest is forgotten."""

    def __init__(
        self, per_minute: int, *, clock: Callable[[], float] = time.monotonic, remembered: int = REMEMBERED
    ) -> None:
        self.per_minute = per_minute
        self._per_second = per_minute / 60
        self._clock = clock
        self._remembered = remembered
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()  # tokens left, and when that was

    def take(self, caller: str, count: int = 1) -> float:
        """0 if the caller may have that many now, all of them; else after how many seconds, and none is taken."""
        now = self._clock()
        left, at = self._left.get(caller, (float(self.per_minute), now))
        left = min(self.per_minute, left + (now - at) * self._per_second)
        is_granted = left >= count
        self._left[caller] = (left - count if is_granted else left, now)
        self._left.move_to_end(caller)
        if len(self._left) > self._remembered:
            self._left.popitem(last=False)
        return 0.0 if is_granted else (count - left) / self._per_second
