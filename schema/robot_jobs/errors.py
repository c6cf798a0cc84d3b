"""What can be refused about jobs and items, with the facts needed to go on."""

from typing import Self

import strawberry

import domain.robot_jobs as jobs
from domain.robot_jobs import DispatchBlock, ItemStatus
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


@strawberry.type(description="Some of the orders are not in this workspace; no job was created.")
class OrdersNotFound(Error):
    order_ids: list[strawberry.ID] = strawberry.field(description="Those that are missing.")

    @classmethod
    def from_domain(cls, error: jobs.OrdersNotFound) -> Self:
        return cls(
            code=ErrorCode.ORDERS_NOT_FOUND,
            message=error.message,
            order_ids=[strawberry.ID(str(order_id)) for order_id in error.order_ids],
        )


@strawberry.type(description="An active job of this workspace holds the idempotency key.")
class IdempotencyKeyInUse(Error):
    job: RobotJob = strawberry.field(description="The job that holds it.")

    @classmethod
    def from_domain(cls, error: jobs.IdempotencyKeyInUse) -> Self:
        return cls(code=ErrorCode.IDEMPOTENCY_KEY_IN_USE, message=error.message, job=RobotJob.from_domain(error.job))


@strawberry.type(description="An order that may not be shipped now.")
class BlockedOrder:
    order_id: strawberry.ID = strawberry.field(description="The order.")
    reference: str = strawberry.field(description="The shop's own order number.")
    block: DispatchBlock = strawberry.field(description="Why not.")
    message: str = strawberry.field(description="The same for people.")
    job_id: strawberry.ID | None = strawberry.field(description="The job that has it, if one does.")


@strawberry.type(description="Some orders are shipped, archived or in an open job; nothing was changed.")
class OrdersNotShippable(Error):
    orders: list[BlockedOrder] = strawberry.field(description="Those orders.")

    @classmethod
    def from_domain(cls, error: jobs.OrdersNotShippable) -> Self:
        return cls(
            code=ErrorCode.ORDERS_NOT_SHIPPABLE,
            message=error.message,
            orders=[
                BlockedOrder(
                    order_id=strawberry.ID(str(order.order_id)),
                    reference=order.reference,
                    block=order.block,
                    message=order.message,
                    job_id=strawberry.ID(str(order.job_id)) if order.job_id is not None else None,
                )
                for order in error.orders
            ],
        )


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
