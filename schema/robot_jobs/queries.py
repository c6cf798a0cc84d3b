"""Reading jobs and items."""

import uuid
from typing import Annotated

import strawberry

import domain.robot_jobs
from domain.carriers import Carrier
from domain.pages import PageRequest
from domain.robot_jobs import JobType
from schema.access import query, reading
from schema.context import Info
from schema.ids import parse_id
from schema.loaders import ItemsOfJob
from schema.nodes import Id
from schema.pages import After, Before, Connection, First, Last, wants_total
from schema.robot_jobs.filters import RobotJobFilter, RobotJobOrder, items_of_job
from schema.robot_jobs.types import KnownOfJob, RobotJob, RobotJobItem
from schema.selections import find_selected


@strawberry.type
class RobotJobQueries:
    @query("A job, or null when there is none with that id in this workspace.")
    async def robot_job(self, info: Info, id: Id) -> RobotJob | None:  # noqa: A002 -- the contract's name
        job_id = parse_id("id", id)
        asked = _asked_items(info, job_id)
        if not asked:
            found = await info.context.loaders.jobs.load(job_id)
            return RobotJob.from_domain(found) if found is not None else None
        first, *others = dict.fromkeys(asked)
        try:
            async with reading(info) as work:
                read = await domain.robot_jobs.get_job_with_items(
                    work.connection, job_id, page=first.page, item_filter=first.item_filter
                )
                known = {first: read.items}
                for other in others:
                    pages = await domain.robot_jobs.list_items_of_jobs(
                        work.connection, [job_id], page=other.page, item_filter=other.item_filter
                    )
                    known[other] = pages[job_id]
        except domain.robot_jobs.RobotJobNotFound:
            return None
        return RobotJob.from_domain(read.job, known=KnownOfJob(items=known))

    @query("The workspace's jobs, newest first unless ordered otherwise; at most 100 a page.")
    async def robot_jobs(
        self,
        info: Info,
        filter: Annotated[  # noqa: A002 -- the contract's name
            RobotJobFilter | None, strawberry.argument(description="Which jobs.")
        ] = None,
        order_by: Annotated[RobotJobOrder | None, strawberry.argument(description="How they are sorted.")] = None,
        first: First = None,
        after: After = None,
        last: Last = None,
        before: Before = None,
    ) -> Connection[RobotJob]:
        page = PageRequest.of(
            order_by.to_domain() if order_by is not None else domain.robot_jobs.NEWEST_JOBS,
            first=first,
            after=after,
            last=last,
            before=before,
            with_total=wants_total(info),
        )
        job_filter = filter.to_domain() if filter is not None else None
        async with reading(info) as work:
            found = await domain.robot_jobs.list_robot_jobs(work.connection, page=page, job_filter=job_filter)
        return Connection[RobotJob].of(found, node=RobotJob.from_domain)

    @query("The newest job of that kind that is pending or processing, or null.")
    async def active_robot_job(
        self,
        info: Info,
        carrier: Annotated[Carrier, strawberry.argument(description="Of this carrier.")],
        job_type: Annotated[JobType, strawberry.argument(description="Of this kind.")] = JobType.CREATE_SHIPMENT,
    ) -> RobotJob | None:
        async with reading(info) as work:
            found = await domain.robot_jobs.get_active_job(work.connection, carrier, job_type)
        return RobotJob.from_domain(found) if found is not None else None

    @query("An item, or null when there is none with that id in this workspace.")
    async def robot_job_item(
        self,
        info: Info,
        id: Id,  # noqa: A002 -- the contract's name
    ) -> RobotJobItem | None:
        found = await info.context.loaders.items.load(parse_id("id", id))
        return RobotJobItem.from_domain(found) if found is not None else None


def _asked_items(info: Info, job_id: uuid.UUID) -> list[ItemsOfJob]:
    """The pages of items that the query asks for, so that they and the job are one snapshot."""
    return [
        items_of_job(job_id, "totalCount" in selected.names, **selected.arguments)
        for selected in find_selected(info, "items")
    ]
