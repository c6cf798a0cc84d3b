"""What can be refused about jobs and items, each with the facts a caller needs to go on."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

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


class OrdersNotFound(DomainError):
    code = "ORDERS_NOT_FOUND"

    def __init__(self, order_ids: Sequence[uuid.UUID]) -> None:
        shown = ", ".join(str(order_id) for order_id in order_ids[:3])
        more = f" and {len(order_ids) - 3} more" if len(order_ids) > 3 else ""
        super().__init__(f"These orders are not in this workspace: {shown}{more}. No job was created.")
        self.order_ids = tuple(order_ids)


class IdempotencyKeyInUse(DomainError):
    code = "IDEMPOTENCY_KEY_IN_USE"

    def __init__(self, job: RobotJob) -> None:
        super().__init__(
            f"Job {job.id} holds the idempotency key “{job.idempotency_key}” and is {job.status}. "
            "Follow that job, or wait until it has finished."
        )
        self.job = job


class DispatchBlock(StrEnum):
    """Why an order may not go into a job now."""

    ALREADY_SHIPPED = "already_shipped"
    IN_OPEN_JOB = "in_open_job"
    OUTCOME_UNKNOWN = "outcome_unknown"
    ARCHIVED = "archived"


@dataclass(frozen=True, slots=True)
class BlockedOrder:
    order_id: uuid.UUID
    reference: str
    block: DispatchBlock
    message: str
    job_id: uuid.UUID | None = None


class OrdersNotShippable(DomainError):
    code = "ORDERS_NOT_SHIPPABLE"

    def __init__(self, orders: Sequence[BlockedOrder]) -> None:
        more = f" (and {len(orders) - 1} more)" if len(orders) > 1 else ""
        super().__init__(f"{orders[0].message}{more} Nothing was changed.")
        self.orders = tuple(orders)


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
