"""Reading jobs and items."""

import uuid
from typing import Annotated, Any

import strawberry
from strawberry.types.nodes import InlineFragment, SelectedField, Selection

import domain.robot_jobs
from domain.carriers import Carrier
from domain.pages import PageRequest
from domain.robot_jobs import ErrorType, ItemFilter, ItemStatus, JobFilter, JobStatus, JobType
from schema.context import Info
from schema.ids import parse_id
from schema.loaders import ItemsOfJob
from schema.pages import After, Before, Connection, First, Last
from schema.robot_jobs.types import RobotJob, RobotJobItem, items_page


@strawberry.input(description="Which jobs; all that is given must hold.")
class RobotJobFilter:
    status: list[JobStatus] | None = strawberry.field(default=None, description="Any of these.")
    carrier: Carrier | None = strawberry.field(default=None, description="Of this carrier.")
    job_type: JobType | None = strawberry.field(default=None, description="Of this kind.")

    def to_domain(self) -> JobFilter:
        return JobFilter(
            statuses=tuple(self.status) if self.status is not None else None,
            carrier=self.carrier,
            job_type=self.job_type,
        )


@strawberry.type
class RobotJobQueries:
    @strawberry.field(description="A job, or null when there is none with that id in this workspace.")
    async def robot_job(self, info: Info, id: strawberry.ID) -> RobotJob | None:  # noqa: A002 -- the contract's name
        job_id = parse_id("id", id)
        asked = _asked_items(info, job_id)
        if asked is None:
            found = await info.context.loaders.jobs.load(job_id)
            return RobotJob.from_domain(found) if found is not None else None
        try:
            async with info.context.reading() as work:
                read = await domain.robot_jobs.get_job_with_items(
                    work.connection, job_id, page=asked.page, item_filter=asked.item_filter
                )
        except domain.robot_jobs.RobotJobNotFound:
            return None
        return RobotJob.from_domain(read.job, known_items={asked: read.items})

    @strawberry.field(description="The workspace's jobs, newest first; at most 100 a page.")
    async def robot_jobs(
        self,
        info: Info,
        filter: Annotated[  # noqa: A002 -- the contract's name
            RobotJobFilter | None, strawberry.argument(description="Which jobs.")
        ] = None,
        first: First = None,
        after: After = None,
        last: Last = None,
        before: Before = None,
    ) -> Connection[RobotJob]:
        page = PageRequest.of(first=first, after=after, last=last, before=before)
        async with info.context.reading() as work:
            found = await domain.robot_jobs.list_robot_jobs(
                work.connection, page=page, job_filter=filter.to_domain() if filter else None
            )
        return Connection[RobotJob].of(found, node=RobotJob.from_domain, row_id=lambda job: job.id)

    @strawberry.field(description="The newest job of that kind that is pending or processing, or null.")
    async def active_robot_job(
        self,
        info: Info,
        carrier: Annotated[Carrier, strawberry.argument(description="Of this carrier.")],
        job_type: Annotated[JobType, strawberry.argument(description="Of this kind.")] = JobType.CREATE_SHIPMENT,
    ) -> RobotJob | None:
        async with info.context.reading() as work:
            found = await domain.robot_jobs.get_active_job(work.connection, carrier, job_type)
        return RobotJob.from_domain(found) if found is not None else None

    @strawberry.field(description="An item, or null when there is none with that id in this workspace.")
    async def robot_job_item(
        self,
        info: Info,
        id: strawberry.ID,  # noqa: A002 -- the contract's name
    ) -> RobotJobItem | None:
        found = await info.context.loaders.items.load(parse_id("id", id))
        return RobotJobItem.from_domain(found) if found is not None else None


def _asked_items(info: Info, job_id: uuid.UUID) -> ItemsOfJob | None:
    """The page of items that the query asks for, if it asks for one: then job and items are one snapshot."""
    found = [field for field in _fields(info.selected_fields[0].selections) if field.name == "items"]
    if not found:
        return None
    arguments = dict(found[0].arguments)
    chosen: dict[str, Any] = arguments.pop("filter", None) or {}
    return ItemsOfJob(
        job_id,
        items_page(**arguments),
        ItemFilter(
            statuses=_enums(ItemStatus, chosen.get("status")),
            error_types=_enums(ErrorType, chosen.get("errorType")),
        ),
    )


def _fields(selections: list[Selection]) -> list[SelectedField]:
    """The fields chosen on an object, those in fragments too."""
    fields = []
    for selection in selections:
        if isinstance(selection, SelectedField):
            fields.append(selection)
        elif isinstance(selection, InlineFragment) or selection.selections:
            fields.extend(_fields(selection.selections))
    return fields


def _enums(enum: Any, names: list[str] | str | None) -> tuple[Any, ...] | None:
    """GraphQL takes one value where a list is meant."""
    if names is None:
        return None
    return tuple(enum[name] for name in ([names] if isinstance(names, str) else names))
