"""How processes tell each other that a job has news: what streams need to know of it."""

import uuid
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol


class WakeUps(Protocol):
    """How processes tell each other that a job has news."""

    def announce(self, job_id: uuid.UUID) -> None:
        """Tell all processes, soon, that the job has news.  Call it after the commit."""

    def watch(self, job_id: uuid.UUID, wake: Callable[[], None]) -> AbstractContextManager[None]:
        """Call `wake` whenever the job may have news, until the end of the block.  A hint: the log is the truth."""
