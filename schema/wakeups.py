"""How processes tell each other that a job has news: what streams need to know of it."""

import uuid
from contextlib import AbstractContextManager
from typing import Protocol


class Watch(Protocol):
    """A wait for news of one job."""

    async def wait(self, timeout_s: float) -> None:
        """Until there may be news since the last call, or the time is over.  A hint: the log is the truth."""


class WakeUps(Protocol):
    """How processes tell each other that a job has news."""

    def announce(self, job_id: uuid.UUID) -> None:
        """Tell all processes, soon, that the job has news.  Call it after the commit."""

    def watch(self, job_id: uuid.UUID) -> AbstractContextManager[Watch]:
        """Hear of the job from now on."""
