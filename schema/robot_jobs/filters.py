"""What lists of jobs and items may be filtered and sorted by."""

import datetime as dt
import uuid

import strawberry

import domain.robot_jobs
from domain.carriers import Carrier
from domain.filters import Period, SearchText
from domain.pages import Direction, Ordering, PageRequest
from domain.robot_jobs import ErrorType, ItemFilter, ItemSort, ItemStatus, JobFilter, JobSort, JobStatus, JobType
from schema.loaders import ItemsOfJob


@strawberry.input(description="Which jobs; all that is given must hold.")
class RobotJobFilter:
    status: list[JobStatus] | None = strawberry.field(default=None, description="Any of these.")
    carrier: Carrier | None = strawberry.field(default=None, description="Of this carrier.")
    job_type: JobType | None = strawberry.field(default=None, description="Of this kind.")
    created_after: dt.datetime | None = strawberry.field(default=None, description="Created then or later.")
    created_before: dt.datetime | None = strawberry.field(default=None, description="Created before then.")
    error_type: list[ErrorType] | None = strawberry.field(
        default=None, description="With at least one failed item of any of these types."
    )
    search: str | None = strawberry.field(
        default=None, description="With at least one item that is found, as `RobotJobItemFilter.search` finds it."
    )

    def to_domain(self) -> JobFilter:
        return JobFilter(
            statuses=tuple(self.status) if self.status is not None else None,
            carrier=self.carrier,
            job_type=self.job_type,
            created=Period.of(
                ("filter.createdAfter", self.created_after), ("filter.createdBefore", self.created_before)
            ),
            error_types=tuple(self.error_type) if self.error_type is not None else None,
            search=SearchText.of("filter.search", self.search),
        )


@strawberry.input(description="How jobs are sorted; among equals by their ids.")
class RobotJobOrder:
    field: JobSort = strawberry.field(description="By what.")
    direction: Direction = strawberry.field(default=Direction.ASC, description="Which way.")

    def to_domain(self) -> Ordering:
        return domain.robot_jobs.JOB_ORDERINGS[self.field, self.direction]


@strawberry.input(description="Which items; all that is given must hold.")
class RobotJobItemFilter:
    status: list[ItemStatus] | None = strawberry.field(default=None, description="Any of these.")
    error_type: list[ErrorType] | None = strawberry.field(default=None, description="Any of these.")
    search: str | None = strawberry.field(
        default=None,
        description="2 to 100 characters that stand in the item's tracking number or in its order's reference, "
        "recipient's name, tracking number or guide number.  Capitals and accents make no difference.",
    )

    def to_domain(self) -> ItemFilter:
        return ItemFilter(
            statuses=tuple(self.status) if self.status is not None else None,
            error_types=tuple(self.error_type) if self.error_type is not None else None,
            search=SearchText.of("filter.search", self.search),
        )


@strawberry.input(description="How items are sorted; among equals by their ids.")
class RobotJobItemOrder:
    field: ItemSort = strawberry.field(description="By what.")
    direction: Direction = strawberry.field(default=Direction.ASC, description="Which way.")

    def to_domain(self) -> Ordering:
        return domain.robot_jobs.ITEM_ORDERINGS[self.field, self.direction]


def items_of_job(
    job_id: uuid.UUID,
    asks_total: bool,
    *,
    filter: RobotJobItemFilter | None = None,  # noqa: A002 -- the contract's name
    order_by: RobotJobItemOrder | None = None,
    first: int | None = None,
    after: str | None = None,
    last: int | None = None,
    before: str | None = None,
) -> ItemsOfJob:
    """What the arguments of a job's `items` ask for.  Without a filter the job's own row tells the total.

    Raises InvalidInput.
    """
    item_filter = filter.to_domain() if filter is not None else ItemFilter()
    page = PageRequest.of(
        order_by.to_domain() if order_by is not None else domain.robot_jobs.OLDEST_ITEMS,
        first=first,
        after=after,
        last=last,
        before=before,
        default=100,
        at_most=domain.robot_jobs.ITEMS_PAGE_AT_MOST,
        with_total=asks_total and item_filter != ItemFilter(),
    )
    return ItemsOfJob(job_id, page, item_filter)
