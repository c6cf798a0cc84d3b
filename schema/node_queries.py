"""`node` and `nodes`: read anything again by its id, as Relay does."""

import asyncio
from typing import Annotated

import strawberry

from domain.errors import invalid
from domain.pages import FIRST_AT_MOST
from schema.access import query
from schema.context import Info
from schema.ids import find_id
from schema.nodes import Id, Node
from schema.orders import Order
from schema.robot_jobs import RobotJob, RobotJobItem


@strawberry.type
class NodeQueries:
    @query("What has that id in this workspace, or null.")
    async def node(self, info: Info, id: Id) -> Node | None:  # noqa: A002 -- the contract's name
        return await _find(info, id)

    @query("What has those ids, in their order, with null for what there is not; at most 100.")
    async def nodes(
        self, info: Info, ids: Annotated[list[strawberry.ID], strawberry.argument(description="The ids.")]
    ) -> list[Node | None]:
        if len(ids) > FIRST_AT_MOST:
            raise invalid("ids", f"must name at most {FIRST_AT_MOST}; it names {len(ids):,}.")
        return list(await asyncio.gather(*(_find(info, each) for each in ids)))


async def _find(info: Info, text: str) -> Node | None:
    """The loaders make three statements of any number of ids: the id alone does not say what it is of."""
    found_id = find_id(text)
    if found_id is None:
        return None
    loaders = info.context.loaders
    job, item, order = await asyncio.gather(
        loaders.jobs.load(found_id), loaders.items.load(found_id), loaders.orders.load(found_id)
    )
    if job is not None:
        return RobotJob.from_domain(job)
    if item is not None:
        return RobotJobItem.from_domain(item)
    return Order.from_domain(order) if order is not None else None
