"""Places in a job's log, and what is answered to one that cannot be gone on from."""

import uuid

from domain.errors import DomainError
from domain.robot_jobs import RobotJob


def encode_event_cursor(job_id: uuid.UUID, seq: int) -> str:
    """A place in a job's log; it carries a part of the job's id, so that another job's cursor is noticed."""
    return f"{seq}.{job_id.hex[-8:]}"


class InvalidCursor(DomainError):
    code = "INVALID_CURSOR"

    def __init__(self, why: str) -> None:
        super().__init__(f'The cursor {why}  Read the job again, then follow it from its newest cursor or from "0".')


class CursorExpired(DomainError):
    """What came after the cursor is no longer kept.  A fact beside the code: the oldest cursor that is good."""

    code = "CURSOR_EXPIRED"

    def __init__(self, job: RobotJob) -> None:
        oldest = encode_event_cursor(job.id, job.removed_event_seq)
        super().__init__(
            f"The events of job {job.id} up to number {job.removed_event_seq} are no longer kept.  Read the job again, "
            f'which tells what came of it; then follow it with `after: "{oldest}"`.'
        )
        self.facts = {"oldestCursor": oldest}
