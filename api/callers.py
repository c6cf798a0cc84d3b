"""What each caller has of a thing at once, in this process."""

from collections import Counter
from collections.abc import Hashable


class Places:
    """Each caller may take so many; whoever holds one gives it back."""

    def __init__(self, per_caller: int) -> None:
        self.per_caller = per_caller
        self._callers: dict[Hashable, str] = {}
        self._taken: Counter[str] = Counter()

    def take(self, caller: str, holder: Hashable) -> bool:
        """Whether there was one left."""
        if self._taken[caller] >= self.per_caller:
            return False
        self._taken[caller] += 1
        self._callers[holder] = caller
        return True

    def give_back(self, holder: Hashable) -> None:
        """Nothing, for who holds none."""
        caller = self._callers.pop(holder, None)
        if caller is None:
            return
        self._taken[caller] -= 1
        if not self._taken[caller]:
            del self._taken[caller]
