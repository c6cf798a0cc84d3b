"""How processes tell each other that a job, or a workspace, has news: what streams need to know of it."""

import uuid
from contextlib import AbstractContextManager
from typing import Protocol


class Watch(Protocol):
    """A wait for news of one job, or of all jobs of a workspace."""

    async def wait(self, timeout_s: float) -> None:
        """Until there may be news since the last call, or the time is over.  A hint: the log is the truth."""


class WakeUps(Protocol):
    """How processes tell each other what has news: a job by its id, and all jobs of a workspace by the workspace's."""

    def announce(self, changed_id: uuid.UUID, /) -> None:
        """Tell all processes, soon, that it has news.  Call it after the commit."""

    def watch(self, watched_id: uuid.UUID, /) -> AbstractContextManager[Watch]:
        """Hear of it from now on."""
