"""How processes tell each other that a job, or a workspace, has news: what streams need to know of it."""

import uuid
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol


class WakeUps(Protocol):
    """How processes tell each other what has news: a job by its id, and all jobs of a workspace by the workspace's."""

    def announce(self, changed_id: uuid.UUID, /) -> None:
        """Tell all processes, soon, that it has news.  Call it after the commit."""

    def watch(self, watched_id: uuid.UUID, wake: Callable[[], None], /) -> AbstractContextManager[None]:
        """Call `wake` whenever there may be news of it, until the end of the block.  A hint: the log is the truth."""
