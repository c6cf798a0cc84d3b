"""What can be refused about jobs and items, with the facts needed to go on."""

from typing import Self

import strawberry

import domain.robot_jobs as jobs
from domain.robot_jobs import ItemStatus
from schema.dispatch import OrderProblems
from schema.errors import Error, ErrorCode
from schema.robot_jobs.types import RobotJob, RobotJobItem


@strawberry.type(description="There is no such job in this workspace.")
class RobotJobNotFound(Error):
    @classmethod
    def from_domain(cls, error: jobs.RobotJobNotFound) -> Self:
        return cls(code=ErrorCode.ROBOT_JOB_NOT_FOUND, message=error.message)


@strawberry.type(description="There is no such item in this workspace.")
class RobotJobItemNotFound(Error):
    @classmethod
    def from_domain(cls, error: jobs.RobotJobItemNotFound) -> Self:
        return cls(code=ErrorCode.ROBOT_JOB_ITEM_NOT_FOUND, message=error.message)


@strawberry.type(
    description="No job was made: some of the orders may not go out or are not in this workspace, or none is ready."
)
class OrdersRefused(Error):
    refused: list[OrderProblems] = strawberry.field(
        description="Those orders, in the order asked; empty when none is ready."
    )

    @classmethod
    def from_domain(cls, error: jobs.OrdersRefused) -> Self:
        return cls(
            code=ErrorCode.ORDERS_REFUSED,
            message=error.message,
            refused=[OrderProblems.from_domain(order) for order in error.refused],
        )


@strawberry.type(
    description="An active job of this workspace holds the idempotency key; or, with `shipAgain`, a job that shipped "
    "again with it, however it ended."
)
class IdempotencyKeyInUse(Error):
    job: RobotJob = strawberry.field(description="The job that holds it.")

    @classmethod
    def from_domain(cls, error: jobs.IdempotencyKeyInUse) -> Self:
        return cls(code=ErrorCode.IDEMPOTENCY_KEY_IN_USE, message=error.message, job=RobotJob.from_domain(error.job))


@strawberry.type(
    description="The result is for an older attempt: it was kept with that attempt and changed nothing else.  A "
    "success flags the item for review."
)
class StaleAttempt(Error):
    item: RobotJobItem = strawberry.field(description="The item as it stands.")

    @classmethod
    def from_domain(cls, error: jobs.StaleAttempt) -> Self:
        return cls(code=ErrorCode.STALE_ATTEMPT, message=error.message, item=RobotJobItem.from_domain(error.item))


@strawberry.type(
    description="The attempt is closed with another result: this one was kept with it and changed nothing else.  A "
    "success flags the item for review."
)
class ResultConflict(Error):
    item: RobotJobItem = strawberry.field(description="The item as it stands.")

    @classmethod
    def from_domain(cls, error: jobs.ResultConflict) -> Self:
        return cls(code=ErrorCode.RESULT_CONFLICT, message=error.message, item=RobotJobItem.from_domain(error.item))


@strawberry.type(description="The job cannot go from the state it is in to that one.")
class InvalidTransition(Error):
    job: RobotJob = strawberry.field(description="The job as it stands.")

    @classmethod
    def from_domain(cls, error: jobs.InvalidTransition) -> Self:
        return cls(code=ErrorCode.INVALID_TRANSITION, message=error.message, job=RobotJob.from_domain(error.job))


@strawberry.type(description="An item that cannot be tried again now.")
class ItemNotRetryable:
    item_id: strawberry.ID = strawberry.field(description="The item.")
    status: ItemStatus | None = strawberry.field(description="Where it stands; null if it is not in the job.")
    message: str = strawberry.field(description="Why not.")

    @classmethod
    def from_domain(cls, refused: jobs.ItemNotRetryable) -> Self:
        return cls(item_id=strawberry.ID(str(refused.item_id)), status=refused.status, message=refused.message)


@strawberry.type(description="Nothing can be retried, or something that was named cannot; nothing was changed.")
class ItemsNotRetryable(Error):
    refused: list[ItemNotRetryable] = strawberry.field(description="Those items; empty when there were no failures.")
    job: RobotJob = strawberry.field(description="The job as it stands.")

    @classmethod
    def from_domain(cls, error: jobs.ItemsNotRetryable) -> Self:
        return cls(
            code=ErrorCode.ITEMS_NOT_RETRYABLE,
            message=error.message,
            refused=[ItemNotRetryable.from_domain(item) for item in error.items],
            job=RobotJob.from_domain(error.job),
        )


@strawberry.type(
    description="That is no lease of the item now: it has run out, was taken away, or the item is closed.  The same "
    "for an item that is not in this workspace.  Do not submit it."
)
class LeaseLost(Error):
    @classmethod
    def from_domain(cls, error: jobs.LeaseLost) -> Self:
        return cls(code=ErrorCode.LEASE_LOST, message=error.message)


@strawberry.type(
    description="The item's order got a tracking number meanwhile, or an earlier try was reported as a success.  Do "
    "not submit it."
)
class OrderShippedMeanwhile(Error):
    @classmethod
    def from_domain(cls, error: jobs.OrderShippedMeanwhile) -> Self:
        return cls(code=ErrorCode.ORDER_SHIPPED_MEANWHILE, message=error.message)


@strawberry.type(description="Another try with the account has reserved that number, whatever became of it.")
class NumberAlreadyReserved(Error):
    number: str = strawberry.field(description="The number; take a higher one.")

    @classmethod
    def from_domain(cls, error: jobs.NumberAlreadyReserved) -> Self:
        return cls(code=ErrorCode.NUMBER_ALREADY_RESERVED, message=error.message, number=error.number)


@strawberry.type(description="It is known how the item ended, or it has not ended yet.")
class OutcomeNotOpen(Error):
    item: RobotJobItem = strawberry.field(description="The item as it stands.")

    @classmethod
    def from_domain(cls, error: jobs.OutcomeNotOpen) -> Self:
        return cls(code=ErrorCode.OUTCOME_NOT_OPEN, message=error.message, item=RobotJobItem.from_domain(error.item))
