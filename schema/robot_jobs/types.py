"""RobotJob and RobotJobItem as the contract shows them."""

import datetime as dt
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Self

import strawberry
from strawberry.scalars import JSON

import domain.robot_jobs
from domain.carriers import Carrier
from domain.events import EventType
from domain.pages import Page, PageRequest
from domain.robot_jobs import ErrorType, FailureAction, ItemStatus, JobStatus, JobType, Resolution
from schema.accounts import AccountPause, pause_of
from schema.context import Info
from schema.loaders import EventsOfJob, ItemsOfJob
from schema.nodes import Node
from schema.orders import Order
from schema.pages import After, Before, Connection, First, Last, wants_total
from schema.robot_jobs.evidence import Evidence
from schema.robot_jobs.filters import RobotJobItemFilter, RobotJobItemOrder, items_of_job


@dataclass(frozen=True, slots=True)
class KnownOfJob:
    """What was read with a job in the same snapshot; what was not is read when it is asked for."""

    items: Mapping[ItemsOfJob, Page[domain.robot_jobs.RobotJobItem]] = field(default_factory=dict)
    pace: domain.robot_jobs.Pace | None = None
    failures: Sequence[domain.robot_jobs.FailureGroup] | None = None


@strawberry.type(description="How far a job has come.")
class RobotJobProgress:
    job: strawberry.Private[domain.robot_jobs.RobotJob]
    known_pace: strawberry.Private[domain.robot_jobs.Pace | None] = None

    @strawberry.field(description="Items that no robot has taken up yet.")
    async def pending(self, info: Info) -> int:
        return self.job.open_count - (await self._pace(info)).processing

    @strawberry.field(description="Items that a robot is working on.")
    async def processing(self, info: Info) -> int:
        return (await self._pace(info)).processing

    @strawberry.field(description="Items that are closed: success, error or cancelled.")
    def done(self) -> int:
        return self.job.total_items - self.job.open_count

    @strawberry.field(description="Closed items of all, 0 to 100.")
    def percent(self) -> float:
        return domain.robot_jobs.percent_done(self.job)

    @strawberry.field(description="Items closed per minute since the job last started; null before the first.")
    async def items_per_minute(self, info: Info) -> float | None:
        return domain.robot_jobs.items_per_minute(self.job, await self._pace(info), now=dt.datetime.now(dt.UTC))

    @strawberry.field(description="When the last item will be closed if it goes on like this; null when unknown.")
    async def estimated_completion_at(self, info: Info) -> dt.datetime | None:
        return domain.robot_jobs.estimate_completion(self.job, await self._pace(info), now=dt.datetime.now(dt.UTC))

    async def _pace(self, info: Info) -> domain.robot_jobs.Pace:
        return self.known_pace or await info.context.loaders.paces.load(self.job.id) or domain.robot_jobs.Pace()


@strawberry.type(description="Failed items for which the same must be done.")
class FailureGroup:
    action: FailureAction = strawberry.field(description="What to do.")
    error_type: ErrorType = strawberry.field(description="Whose fault it is.")
    count: int = strawberry.field(description="How many items.")
    messages: list[str] = strawberry.field(description="What the robots said, most frequent first; at most 5.")


@strawberry.type(description="Something that happened, as the log has it.")
class Event:
    id: strawberry.ID = strawberry.field(description="Stable across deliveries.")
    seq: int = strawberry.field(description="Its number in the job's log: 1, 2, 3 …, without gaps.")
    type: EventType = strawberry.field(description="What kind of thing.")
    payload: JSON = strawberry.field(description="The facts.")
    occurred_at: dt.datetime = strawberry.field(description="When.")


@strawberry.type(description="A batch of orders for one carrier.")
class RobotJob(Node):
    job: strawberry.Private[domain.robot_jobs.RobotJob]
    carrier: Carrier = strawberry.field(description="Who ships the orders.")
    job_type: JobType = strawberry.field(description="What is done with each order.")
    status: JobStatus = strawberry.field(description="Where the job stands.")
    total_items: int = strawberry.field(description="How many orders.")
    success_count: int = strawberry.field(description="Items that succeeded.")
    error_count: int = strawberry.field(description="Items that failed.")
    cancelled_count: int = strawberry.field(description="Items that were cancelled.")
    idempotency_key: str | None = strawberry.field(
        description="The caller's key; held while the job is active, and for good if it ships again."
    )
    error: str | None = strawberry.field(description="Why the job as a whole failed or was cancelled.")
    ship_again_reason: str | None = strawberry.field(
        description="Why orders that were shipped before go out once more; null in all other jobs."
    )
    cancel_requested_at: dt.datetime | None = strawberry.field(
        description="When it was cancelled; until it is CANCELLED, what robots had submitted is being finished."
    )
    created_by: str = strawberry.field(description="The user id of who created it.")
    started_at: dt.datetime | None = strawberry.field(description="When the first item was taken up or closed.")
    completed_at: dt.datetime | None = strawberry.field(description="When the last open item was closed.")
    created_at: dt.datetime = strawberry.field(description="When it was created.")
    updated_at: dt.datetime = strawberry.field(description="When anything in it last changed.")
    known: strawberry.Private["KnownOfJob"]

    @strawberry.field(description="How far it has come.")
    def progress(self) -> RobotJobProgress:
        return RobotJobProgress(job=self.job, known_pace=self.known.pace)

    @strawberry.field(
        description="Why robots leave its account alone for now; null when they do not, and for a finished job."
    )
    async def pause(self, info: Info) -> AccountPause | None:
        return await pause_of(info, self.carrier) if self.job.status.is_active else None

    @strawberry.field(description="Failed items grouped by what must be done, the largest group first.")
    async def failures(self, info: Info) -> list[FailureGroup]:
        groups = self.known.failures
        if groups is None:
            groups = await info.context.loaders.failures.load(self.job.id) or []
        return [
            FailureGroup(action=group.action, error_type=group.error_type, count=group.count, messages=group.messages)
            for group in groups
        ]

    @strawberry.field(description="Its items, oldest first unless ordered otherwise; at most 1,000 a page.")
    async def items(
        self,
        info: Info,
        filter: Annotated[  # noqa: A002 -- the contract's name
            RobotJobItemFilter | None, strawberry.argument(description="Which items.")
        ] = None,
        order_by: Annotated[RobotJobItemOrder | None, strawberry.argument(description="How they are sorted.")] = None,
        first: First = None,
        after: After = None,
        last: Last = None,
        before: Before = None,
    ) -> Connection["RobotJobItem"]:
        asks_total = wants_total(info)
        key = items_of_job(
            self.job.id,
            asks_total,
            filter=filter,
            order_by=order_by,
            first=first,
            after=after,
            last=last,
            before=before,
        )
        page = self.known.items.get(key) or await info.context.loaders.items_of_jobs.load(key)
        if asks_total and page.total is None:
            page = page.counting(self.job.total_items)
        return Connection[RobotJobItem].of(page, node=RobotJobItem.from_domain)

    @strawberry.field(
        description="What has happened to it, oldest first; at most 100 at once.  A finished job keeps them for a time."
    )
    async def events(
        self,
        info: Info,
        first: First = None,
        after_seq: Annotated[int, strawberry.argument(description="Only what came after that number.")] = 0,
    ) -> list[Event]:
        key = EventsOfJob(self.job.id, after_seq, PageRequest.of(first=first).limit)
        found = await info.context.loaders.events_of_jobs.load(key)
        return [
            Event(
                id=strawberry.ID(str(event.id)),
                seq=event.seq,
                type=event.type,
                payload=JSON(event.payload),
                occurred_at=event.occurred_at,
            )
            for event in found
        ]

    @classmethod
    def from_domain(
        cls,
        job: domain.robot_jobs.RobotJob,
        known: "KnownOfJob | None" = None,
    ) -> Self:
        return cls(
            id=strawberry.ID(str(job.id)),
            job=job,
            carrier=job.carrier,
            job_type=job.job_type,
            status=job.status,
            total_items=job.total_items,
            success_count=job.success_count,
            error_count=job.error_count,
            cancelled_count=job.cancelled_count,
            idempotency_key=job.idempotency_key,
            error=job.error,
            ship_again_reason=job.ship_again_reason,
            cancel_requested_at=job.cancel_requested_at,
            created_by=job.created_by,
            started_at=job.started_at,
            completed_at=job.completed_at,
            created_at=job.created_at,
            updated_at=job.updated_at,
            known=known or KnownOfJob(),
        )


@strawberry.type(description="Something that a robot did in a try, in its own words.")
class AttemptStep:
    name: str = strawberry.field(description="What it did.")
    started_at: dt.datetime = strawberry.field(description="When it began with that, by its own clock.")
    duration_ms: int = strawberry.field(description="How long it took, in milliseconds.")
    note: str | None = strawberry.field(description="What else there is to say.")


@strawberry.type(description="A closed try of an item.")
class Attempt:
    item_id: strawberry.Private[uuid.UUID]
    attempt: int = strawberry.field(description="Its number; the first is 1.")
    status: ItemStatus = strawberry.field(description="How it ended.")
    tracking_number: str | None = strawberry.field(description="The carrier's pedido number.")
    value_sent: JSON | None = strawberry.field(description="What was typed into the portal in this try.")
    error_type: ErrorType | None = strawberry.field(description="Whose fault a failure was.")
    error_message: str | None = strawberry.field(description="What the robot said.")
    late_results: list[JSON] = strawberry.field(
        description="Results that came after it was closed, oldest first; kept for review."
    )
    started_at: dt.datetime | None = strawberry.field(description="When it began.")
    completed_at: dt.datetime = strawberry.field(description="When it ended.")
    submitted_at: dt.datetime | None = strawberry.field(
        description="When the robot pressed the portal's button, or was about to."
    )
    reserved_number: str | None = strawberry.field(
        description="The portal's number that the robot reserved for this try."
    )
    resolution: Resolution | None = strawberry.field(
        description="What was found out when nobody knew whether there was a parcel."
    )
    resolved_by: str | None = strawberry.field(description="The user id of who found out.")
    resolution_reason: str | None = strawberry.field(description="How it is known.")
    resolved_at: dt.datetime | None = strawberry.field(description="When that was said.")
    robot: str | None = strawberry.field(description="The robot's name and version, as it says itself.")
    steps: list[AttemptStep] = strawberry.field(description="What the robot did, in the order that it says.")

    @strawberry.field(description="What the robot saw, the oldest first.")
    async def evidence(self, info: Info) -> list[Evidence]:
        of_item = await info.context.loaders.evidence.load(self.item_id) or []
        return [Evidence.from_domain(each) for each in of_item if each.attempt == self.attempt]


@strawberry.type(description="One order within a job.")
class RobotJobItem(Node):
    item: strawberry.Private[domain.robot_jobs.RobotJobItem]
    status: ItemStatus = strawberry.field(description="Where it stands.")
    attempt: int = strawberry.field(description="The current try; the first is 1.")
    retry_count: int = strawberry.field(description="How often it was retried: attempt less one.")
    tracking_number: str | None = strawberry.field(description="The carrier's pedido number, on success.")
    carrier_guide_number: str | None = strawberry.field(description="The carrier's guía number, when it is known.")
    validated_city: str | None = strawberry.field(
        description="The city as the portal writes it; null if none was found."
    )
    value_sent: JSON | None = strawberry.field(description="What is typed into the portal: the pedido input.")
    previous_tracking_number: str | None = strawberry.field(
        description="The number that the order had when it was said to ship it again."
    )
    error_type: ErrorType | None = strawberry.field(description="Whose fault a failure is.")
    error_message: str | None = strawberry.field(description="What the robot said.")
    outcome_unknown: bool = strawberry.field(
        description="Nobody knows whether the parcel exists; not retried before that is settled."
    )
    review_reason: str | None = strawberry.field(
        description="Why a person must look, such as that a parcel may exist twice."
    )
    leased_by: str | None = strawberry.field(description="The user id of the robot that works on it now.")
    lease_expires_at: dt.datetime | None = strawberry.field(
        description="Until when that robot has it, unless it renews its lease."
    )
    submitted_at: dt.datetime | None = strawberry.field(
        description="When the robot pressed the portal's button in this try, or was about to."
    )
    reserved_number: str | None = strawberry.field(
        description="The portal's number that the robot reserved for this try: by it the parcel can be looked up."
    )
    last_retry_at: dt.datetime | None = strawberry.field(description="When it was last retried.")
    started_at: dt.datetime | None = strawberry.field(description="When this try began.")
    completed_at: dt.datetime | None = strawberry.field(description="When this try ended.")
    created_at: dt.datetime = strawberry.field(description="When it was created.")
    updated_at: dt.datetime = strawberry.field(description="When anything in it last changed.")

    @strawberry.field(description="The job it belongs to.")
    async def job(self, info: Info) -> RobotJob:
        found = await info.context.loaders.jobs.load(self.item.job_id)
        if found is None:
            raise domain.robot_jobs.RobotJobNotFound(self.item.job_id)
        return RobotJob.from_domain(found)

    @strawberry.field(description="The order it ships.")
    async def order(self, info: Info) -> Order:
        found = await info.context.loaders.orders.load(self.item.order_id)
        if found is None:
            raise domain.orders.OrderNotFound(str(self.item.order_id))
        return Order.from_domain(found)

    @strawberry.field(description="Its closed tries, the first one first.")
    async def attempts(self, info: Info) -> list[Attempt]:
        found = await info.context.loaders.attempts.load(self.item.id) or []
        return [
            Attempt(
                item_id=each.item_id,
                attempt=each.attempt,
                status=each.status,
                tracking_number=each.tracking_number,
                value_sent=JSON(each.value_sent) if each.value_sent is not None else None,
                error_type=each.error_type,
                error_message=each.error_message,
                late_results=[JSON(late) for late in each.late_results],
                started_at=each.started_at,
                completed_at=each.completed_at,
                submitted_at=each.submitted_at,
                reserved_number=each.reserved_number,
                resolution=each.resolution,
                resolved_by=each.resolved_by,
                resolution_reason=each.resolution_reason,
                resolved_at=each.resolved_at,
                robot=each.robot,
                steps=[
                    AttemptStep(
                        name=step.name, started_at=step.started_at, duration_ms=step.duration_ms, note=step.note
                    )
                    for step in each.steps
                ],
            )
            for each in found
        ]

    @classmethod
    def from_domain(cls, item: domain.robot_jobs.RobotJobItem) -> Self:
        return cls(
            id=strawberry.ID(str(item.id)),
            item=item,
            status=item.status,
            attempt=item.attempt,
            retry_count=item.retry_count,
            tracking_number=item.tracking_number,
            carrier_guide_number=item.carrier_guide_number,
            validated_city=item.validated_city,
            value_sent=JSON(item.value_sent) if item.value_sent is not None else None,
            previous_tracking_number=item.previous_tracking_number,
            error_type=item.error_type,
            error_message=item.error_message,
            outcome_unknown=item.outcome_unknown,
            review_reason=item.review_reason,
            leased_by=item.leased_by,
            lease_expires_at=item.lease_expires_at,
            submitted_at=item.submitted_at,
            reserved_number=item.reserved_number,
            last_retry_at=item.last_retry_at,
            started_at=item.started_at,
            completed_at=item.completed_at,
            created_at=item.created_at,
            updated_at=item.updated_at,
        )
