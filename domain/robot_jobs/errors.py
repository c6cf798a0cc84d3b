"""What can be refused about jobs and items, each with the facts a caller needs to go on."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from domain.dispatch_problems import OrderProblems
from domain.errors import DomainError
from domain.robot_jobs.tables import ItemStatus, JobStatus, RobotJob, RobotJobItem


class RobotJobNotFound(DomainError):
    """The same for a job that does not exist and for another workspace's."""

    code = "ROBOT_JOB_NOT_FOUND"

    def __init__(self, job_id: object) -> None:
        super().__init__(f"There is no robot job {job_id} in this workspace.")


class RobotJobItemNotFound(DomainError):
    """The same for an item that does not exist and for another workspace's."""

    code = "ROBOT_JOB_ITEM_NOT_FOUND"

    def __init__(self, item_id: object) -> None:
        super().__init__(f"There is no item {item_id} in this workspace.")


class OrdersRefused(DomainError):
    """No job: some orders may not go out (or none may, where bad ones are left out), each with all that is wrong."""

    code = "ORDERS_REFUSED"

    def __init__(self, refused: Sequence[OrderProblems]) -> None:
        if refused:
            first = next(problem for problem in refused[0].problems if not problem.is_warning)
            named = f"Order {refused[0].reference}: " if refused[0].reference is not None else ""
            more = f" (and {len(refused) - 1:,} more orders)" if len(refused) > 1 else ""
            super().__init__(f"{named}{first.message}{more} No job was created.")
        else:
            super().__init__("No order is ready for the carrier. No job was created.")
        self.refused = tuple(refused)


class IdempotencyKeyInUse(DomainError):
    """An active job holds it; or a finished one that shipped again, for the same wish."""

    code = "IDEMPOTENCY_KEY_IN_USE"

    def __init__(self, job: RobotJob) -> None:
        what_next = (
            "Follow that job, or wait until it has finished."
            if job.status.is_active
            else "It has shipped again already; to ship once more, use another key."
        )
        super().__init__(
            f"Job {job.id} holds the idempotency key “{job.idempotency_key}” and is {job.status}. {what_next}"
        )
        self.job = job


class StaleAttempt(DomainError):
    code = "STALE_ATTEMPT"

    def __init__(self, item: RobotJobItem, attempt: int) -> None:
        super().__init__(
            f"Item {item.id} is at attempt {item.attempt}; "
            f"this result is for attempt {attempt} and was kept for review."
        )
        self.item = item
        self.attempt = attempt


class ResultConflict(DomainError):
    code = "RESULT_CONFLICT"

    def __init__(self, item: RobotJobItem) -> None:
        super().__init__(
            f"Attempt {item.attempt} of item {item.id} is closed as {item.status}; "
            "this different result changes nothing."
        )
        self.item = item


class InvalidTransition(DomainError):
    """Names the state the thing is in."""

    code = "INVALID_TRANSITION"

    def __init__(self, message: str, *, job: RobotJob) -> None:
        super().__init__(message)
        self.job = job

    @classmethod
    def of_job(cls, job: RobotJob, wanted: JobStatus) -> "InvalidTransition":
        return cls(f"Job {job.id} is {job.status}; it cannot become {wanted}.", job=job)


@dataclass(frozen=True, slots=True)
class ItemNotRetryable:
    item_id: uuid.UUID
    status: ItemStatus | None
    message: str


class ItemsNotRetryable(DomainError):
    code = "ITEMS_NOT_RETRYABLE"

    def __init__(self, items: Sequence[ItemNotRetryable], *, job: RobotJob) -> None:
        shown = items[0].message if items else f"Job {job.id} has no failed items that can be retried."
        more = f" (and {len(items) - 1} more)" if len(items) > 1 else ""
        super().__init__(f"{shown}{more} Nothing was changed.")
        self.items = tuple(items)
        self.job = job


class LeaseLost(DomainError):
    """The same for an item that does not exist and for another workspace's."""

    code = "LEASE_LOST"

    def __init__(self, item_id: uuid.UUID) -> None:
        super().__init__(
            f"That is no lease of item {item_id} now: it has run out, was taken away, or the item is closed. "
            "Do not submit it."
        )
        self.item_id = item_id


class OrderShippedMeanwhile(DomainError):
    code = "ORDER_SHIPPED_MEANWHILE"

    def __init__(self, item_id: uuid.UUID) -> None:
        super().__init__(
            f"The order of item {item_id} got a tracking number meanwhile, or an earlier try was reported as a "
            "success. Do not submit it; report it as an error."
        )
        self.item_id = item_id


class OutcomeNotOpen(DomainError):
    """Nothing about the item is in question; or nothing about that attempt, when it is at another."""

    code = "OUTCOME_NOT_OPEN"

    def __init__(self, item: RobotJobItem, attempt: int | None = None) -> None:
        what = "it has not ended yet" if item.status.is_open else "it is known how it ended"
        state = f"{item.status}, and {what}" if attempt is None else f"at attempt {item.attempt}, not {attempt}"
        super().__init__(f"Item {item.id} is {state}; nothing was changed.")
        self.item = item


class NumberAlreadyReserved(DomainError):
    code = "NUMBER_ALREADY_RESERVED"

    def __init__(self, item_id: uuid.UUID, number: str) -> None:
        super().__init__(
            f"The number {number} was reserved by another try with this account, whatever became of it. "
            "Take a higher one; nothing was changed."
        )
        self.item_id = item_id
        self.number = number
