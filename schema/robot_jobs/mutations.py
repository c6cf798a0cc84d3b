"""What happens to jobs: each mutation is one transaction around the domain function of the same name."""

import datetime as dt
from collections.abc import Iterable
from typing import Annotated, Self, assert_never

import strawberry

import domain.errors
import domain.robot_jobs
from domain.carriers import Carrier
from domain.orders import ORDERS_AT_MOST
from domain.robot_jobs import (
    AttemptStep,
    ErrorType,
    ItemResult,
    JobStatus,
    JobStatusUpdate,
    JobType,
    OnInvalid,
    ResultStatus,
)
from schema.access import OPERATORS, REPORTERS, mutation, transaction
from schema.carrier_configs import CarrierConfigDisabled, CarrierConfigNotFound
from schema.context import Info
from schema.dispatch import OrderProblems, order_selection
from schema.errors import InvalidInput
from schema.ids import parse_id, parse_ids
from schema.robot_jobs.errors import (
    IdempotencyKeyInUse,
    InvalidTransition,
    ItemNotRetryable,
    ItemsNotRetryable,
    LeaseLost,
    OrdersRefused,
    ResultConflict,
    RobotJobItemNotFound,
    RobotJobNotFound,
    StaleAttempt,
)
from schema.robot_jobs.types import RobotJob, RobotJobItem


@strawberry.input(description="Orders go out once more, although they were shipped.")
class ShipAgainInput:
    reason: str = strawberry.field(description="Why, in 3 to 500 characters; it is kept with the job.")


@strawberry.input(description="A job to create, of either `orderIds` or `allReady`.")
class CreateRobotJobInput:
    carrier: Carrier = strawberry.field(description="Who ships the orders.")
    order_ids: list[strawberry.ID] | None = strawberry.field(
        default=None, description="1 to 10,000 orders; twice counts once."
    )
    all_ready: bool = strawberry.field(
        default=False,
        description="All orders that are ready for the carrier, the oldest 10,000: in the stage of its config, not "
        "archived, without a tracking number, and in no open or unsettled item.",
    )
    on_invalid: OnInvalid = strawberry.field(
        default=OnInvalid.REJECT_ALL, description="What becomes of the others when some orders may not go out."
    )
    ship_again: ShipAgainInput | None = strawberry.field(
        default=None,
        description="Takes orders that have a tracking number or an unsettled ending all the same; never one that is "
        "in an open item, or of which nobody knows whether it has a parcel.  With `orderIds` only.",
    )
    job_type: JobType = strawberry.field(default=JobType.CREATE_SHIPMENT, description="What is done with each.")
    idempotency_key: str | None = strawberry.field(
        default=None,
        description="A name of yours for this request, up to 200 characters: while a job that holds it is active, the "
        "same request is refused with that job.  With `shipAgain` it is good once, for a repeated request must make no "
        "third parcel.",
    )


@strawberry.type(description="The job was created and waits for a robot.")
class CreateRobotJobSuccess:
    job: RobotJob = strawberry.field(description="The job.")
    duplicate_order_ids: list[strawberry.ID] = strawberry.field(description="Orders that were named more than once.")
    refused: list[OrderProblems] = strawberry.field(
        description="Orders that were left out, in the order asked; with SKIP_INVALID only."
    )
    warned: list[OrderProblems] = strawberry.field(description="Orders that went in with something corrected.")
    more_are_ready: bool = strawberry.field(
        description="With `allReady`: more orders were ready than one job takes; create another one."
    )

    @classmethod
    def from_domain(cls, created: domain.robot_jobs.CreatedRobotJob) -> Self:
        return cls(
            job=RobotJob.from_domain(created.job),
            duplicate_order_ids=[strawberry.ID(str(order_id)) for order_id in created.duplicate_order_ids],
            refused=[OrderProblems.from_domain(order) for order in created.refused],
            warned=[OrderProblems.from_domain(order) for order in created.warned],
            more_are_ready=created.has_more,
        )


@strawberry.input(description="Something that a robot did in a try.")
class AttemptStepInput:
    name: str = strawberry.field(description="What it did, in up to 50 characters.")
    started_at: dt.datetime = strawberry.field(description="When it began with that.")
    duration_ms: int = strawberry.field(description="How long it took, in milliseconds.")
    note: str | None = strawberry.field(default=None, description="What else there is to say, up to 200 characters.")

    def to_domain(self) -> AttemptStep:
        return AttemptStep(name=self.name, started_at=self.started_at, duration_ms=self.duration_ms, note=self.note)


@strawberry.input(description="How one try of one item ended.")
class UpdateJobItemResultInput:
    item_id: strawberry.ID = strawberry.field(description="The item.")
    status: ResultStatus = strawberry.field(description="How it ended.")
    attempt: int | None = strawberry.field(default=None, description="Which try; left out, the current one.")
    lease_token: strawberry.ID | None = strawberry.field(
        default=None, description="The lease that it was done under, if any; `attempt` must go with it."
    )
    tracking_number: str | None = strawberry.field(default=None, description="The pedido number, on success.")
    carrier_guide_number: str | None = strawberry.field(default=None, description="The guía number, if known.")
    error_type: ErrorType | None = strawberry.field(default=None, description="On error; left out, UNKNOWN.")
    error_message: str | None = strawberry.field(default=None, description="On error; up to 2,000 characters.")
    robot: str | None = strawberry.field(
        default=None, description="The robot's name and version, in up to 100 characters; kept with the attempt."
    )
    steps: list[AttemptStepInput] | None = strawberry.field(
        default=None, description="What it did, in up to 50 steps; kept with the attempt."
    )

    def to_domain(self) -> ItemResult:
        return ItemResult(
            item_id=parse_id("itemId", self.item_id),
            status=self.status,
            attempt=self.attempt,
            lease_token=parse_id("leaseToken", self.lease_token) if self.lease_token is not None else None,
            tracking_number=self.tracking_number,
            carrier_guide_number=self.carrier_guide_number,
            error_type=self.error_type,
            error_message=self.error_message,
            robot=self.robot,
            steps=[step.to_domain() for step in self.steps or ()],
        )


@strawberry.type(description="The result is recorded.")
class UpdateJobItemResultSuccess:
    item: RobotJobItem = strawberry.field(description="The item after it.")
    job: RobotJob = strawberry.field(description="The job after it.")
    replayed: bool = strawberry.field(description="The same result was recorded before; nothing changed now.")


@strawberry.input(description="How several tries ended.")
class UpdateJobItemResultsInput:
    results: list[UpdateJobItemResultInput] = strawberry.field(
        description="1 to 500 results, of any jobs; several for one item count in this order, five at most."
    )


@strawberry.input(description="A status for a whole job.")
class UpdateJobStatusInput:
    job_id: strawberry.ID = strawberry.field(description="The job.")
    status: JobStatusUpdate = strawberry.field(description="Its new status.")
    error: str | None = strawberry.field(default=None, description="Why; open items carry it as their message.")
    error_type: ErrorType | None = strawberry.field(
        default=None, description="Of the items that FAILED closes; left out, UNKNOWN."
    )


@strawberry.type(description="The job has the status.")
class UpdateJobStatusSuccess:
    job: RobotJob = strawberry.field(description="The job.")


@strawberry.input(description="Failed items to try again.")
class RetryFailedItemsInput:
    job_id: strawberry.ID = strawberry.field(description="The job.")
    item_ids: list[strawberry.ID] | None = strawberry.field(
        default=None, description="These; left out, all that failed and may be retried."
    )


@strawberry.type(description="The items are pending again, each with a new attempt.")
class RetryFailedItemsSuccess:
    job: RobotJob = strawberry.field(description="The job, pending again if it had finished.")
    items: list[RobotJobItem] = strawberry.field(description="The items that will be tried again.")
    skipped: list[ItemNotRetryable] = strawberry.field(description="Failed items that must not be, and why.")


CreateRobotJobResult = Annotated[
    CreateRobotJobSuccess
    | OrdersRefused
    | IdempotencyKeyInUse
    | CarrierConfigDisabled
    | CarrierConfigNotFound
    | InvalidInput,
    strawberry.union("CreateRobotJobResult", description="Of createRobotJob."),
]
UpdateJobItemResultResult = Annotated[
    UpdateJobItemResultSuccess | StaleAttempt | ResultConflict | LeaseLost | RobotJobItemNotFound | InvalidInput,
    strawberry.union("UpdateJobItemResultResult", description="Of updateJobItemResult."),
]


@strawberry.type(
    description="Each result is answered for itself: what is refused of them keeps no other from counting."
)
class UpdateJobItemResultsSuccess:
    results: list[UpdateJobItemResultResult] = strawberry.field(
        description="The answers, in the order of the results.  Jobs are shown as they stand after all of them."
    )


UpdateJobItemResultsResult = Annotated[
    UpdateJobItemResultsSuccess | InvalidInput,
    strawberry.union("UpdateJobItemResultsResult", description="Of updateJobItemResults."),
]
UpdateJobStatusResult = Annotated[
    UpdateJobStatusSuccess | RobotJobNotFound | InvalidTransition | InvalidInput,
    strawberry.union("UpdateJobStatusResult", description="Of updateJobStatus."),
]
RetryFailedItemsResult = Annotated[
    RetryFailedItemsSuccess
    | RobotJobNotFound
    | ItemsNotRetryable
    | IdempotencyKeyInUse
    | InvalidTransition
    | CarrierConfigDisabled
    | InvalidInput,
    strawberry.union("RetryFailedItemsResult", description="Of retryFailedItems."),
]


@strawberry.type
class RobotJobMutations:
    @mutation(
        "Make a pending job of orders, one item each, with what is typed for it.  An order that is missing, shipped, "
        "in an open job or wrong refuses the whole, or is left out, as `onInvalid` says.",
        roles=OPERATORS,
    )
    async def create_robot_job(
        self,
        info: Info,
        input: Annotated[CreateRobotJobInput, strawberry.argument(description="The job.")],  # noqa: A002
    ) -> CreateRobotJobResult:
        async with transaction(info) as work:
            created = await domain.robot_jobs.create_robot_job(
                work.connection,
                workspace_id=work.membership.workspace_id,
                created_by=work.membership.user_id,
                carrier=input.carrier,
                selection=order_selection(input.order_ids, all_ready=input.all_ready),
                job_type=input.job_type,
                on_invalid=input.on_invalid,
                ship_again_reason=input.ship_again.reason if input.ship_again is not None else None,
                idempotency_key=input.idempotency_key,
            )
            work.announce(created.job)
        return CreateRobotJobSuccess.from_domain(created)

    @mutation(
        "Record how a try of an item ended.  Counts once: the same result again is answered as the first time.",
        roles=REPORTERS,
    )
    async def update_job_item_result(
        self,
        info: Info,
        input: Annotated[UpdateJobItemResultInput, strawberry.argument(description="The result.")],  # noqa: A002
    ) -> UpdateJobItemResultResult:
        async with transaction(info) as work:
            recorded = await domain.robot_jobs.update_job_item_result(
                work.connection, input.to_domain(), reported_by=work.membership.user_id, breaker=info.context.breaker
            )
            for job in _changed_jobs([recorded]):
                work.announce(job)
        return _answer_to_result(recorded)

    @mutation(
        "Record how up to 500 tries ended, each as updateJobItemResult does and answered for itself: one that is "
        "refused has no effect, and keeps no other from counting.",
        roles=REPORTERS,
    )
    async def update_job_item_results(
        self,
        info: Info,
        input: Annotated[UpdateJobItemResultsInput, strawberry.argument(description="The results.")],  # noqa: A002
    ) -> UpdateJobItemResultsResult:
        async with transaction(info) as work:
            answers = await domain.robot_jobs.update_job_item_results(
                work.connection,
                [_read_result(result) for result in input.results],
                reported_by=work.membership.user_id,
                breaker=info.context.breaker,
            )
            for job in _changed_jobs(answers):
                work.announce(job)
        return UpdateJobItemResultsSuccess(results=[_answer_to_result(answer) for answer in answers])

    @mutation(
        "Take a job up, fail it or cancel it; the same status again changes nothing.  Failing closes every open item "
        "as an error, with an unknown outcome if a robot had submitted it; cancelling is cancelRobotJob.",
        roles=REPORTERS,
    )
    async def update_job_status(
        self,
        info: Info,
        input: Annotated[UpdateJobStatusInput, strawberry.argument(description="The job and its status.")],  # noqa: A002
    ) -> UpdateJobStatusResult:
        async with transaction(info) as work:
            job = await domain.robot_jobs.update_job_status(
                work.connection,
                parse_id("jobId", input.job_id),
                JobStatus(input.status.value),
                updated_by=work.membership.user_id,
                error=input.error,
                error_type=input.error_type,
            )
            work.announce(job)
        return UpdateJobStatusSuccess(job=RobotJob.from_domain(job))

    @mutation(
        "Give failed items a new attempt: all of the job's that may be retried, or exactly those named.  A finished "
        "job becomes pending again.",
        roles=OPERATORS,
    )
    async def retry_failed_items(
        self,
        info: Info,
        input: Annotated[RetryFailedItemsInput, strawberry.argument(description="The job and its items.")],  # noqa: A002
    ) -> RetryFailedItemsResult:
        async with transaction(info) as work:
            retried = await domain.robot_jobs.retry_failed_items(
                work.connection,
                parse_id("jobId", input.job_id),
                item_ids=None
                if input.item_ids is None
                else parse_ids("itemIds", input.item_ids, at_most=ORDERS_AT_MOST),
            )
            work.announce(retried.job)
        return RetryFailedItemsSuccess(
            job=RobotJob.from_domain(retried.job),
            items=[RobotJobItem.from_domain(item) for item in retried.items],
            skipped=[ItemNotRetryable.from_domain(skipped) for skipped in retried.skipped],
        )


def _read_result(result: UpdateJobItemResultInput) -> ItemResult | domain.errors.InvalidInput:
    try:
        return result.to_domain()
    except domain.errors.InvalidInput as problem:
        return problem


def _changed_jobs(answers: Iterable[domain.robot_jobs.ResultAnswer]) -> Iterable[domain.robot_jobs.RobotJob]:
    """Each once."""
    return {
        answer.job.id: answer.job
        for answer in answers
        if isinstance(answer, domain.robot_jobs.RecordedResult) and not answer.replayed
    }.values()


def _answer_to_result(answer: domain.robot_jobs.ResultAnswer) -> UpdateJobItemResultResult:
    match answer:
        case domain.robot_jobs.RecordedResult():
            return UpdateJobItemResultSuccess(
                item=RobotJobItem.from_domain(answer.item),
                job=RobotJob.from_domain(answer.job),
                replayed=answer.replayed,
            )
        case domain.robot_jobs.StaleAttempt():
            return StaleAttempt.from_domain(answer)
        case domain.robot_jobs.ResultConflict():
            return ResultConflict.from_domain(answer)
        case domain.robot_jobs.LeaseLost():
            return LeaseLost.from_domain(answer)
        case domain.robot_jobs.RobotJobItemNotFound():
            return RobotJobItemNotFound.from_domain(answer)
        case domain.errors.InvalidInput():
            return InvalidInput.from_domain(answer)
        case _:
            assert_never(answer)
