"""API keys that were good a while ago: whoever sends one is no stranger, though each transaction asks again."""

import time
from collections import OrderedDict
from collections.abc import Callable

from domain.api_keys import PresentedKey

GOOD_FOR_S = 600.0
REMEMBERED = 10_000


class GoodKeys:
    """Bounded: of too many keys, the one not added for longest is forgotten, and costs a query more."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic, remembered: int = REMEMBERED) -> None:
        self._clock = clock
        self._remembered = remembered
        self._added_at: OrderedDict[PresentedKey, float] = OrderedDict()

    def add(self, key: PresentedKey) -> None:
        self._added_at[key] = self._clock()
        self._added_at.move_to_end(key)
        if len(self._added_at) > self._remembered:
            self._added_at.popitem(last=False)

    def has(self, key: PresentedKey) -> bool:
        added_at = self._added_at.get(key)
        return added_at is not None and self._clock() - added_at < GOOD_FOR_S
