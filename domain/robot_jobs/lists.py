"""Lists of jobs and items: what they may be sorted and filtered by, and their pages."""

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.base import array_of
from domain.carriers import Carrier
from domain.filters import EVER, Period, SearchText, folded
from domain.orders import orders
from domain.pages import BY_ID, TIME, Direction, OrderedPage, Ordering, Page, PageRequest, SortKey, count_rows
from domain.robot_jobs.tables import (
    ErrorType,
    ItemStatus,
    JobStatus,
    JobType,
    RobotJob,
    RobotJobItem,
    robot_job_items,
    robot_jobs,
)

ITEMS_PAGE_AT_MOST = 1_000


class JobSort(StrEnum):
    """What jobs may be sorted by; each has an index."""

    CREATED_AT = "created_at"
    COMPLETED_AT = "completed_at"


class ItemSort(StrEnum):
    """What the items of a job may be sorted by; without an index, for a job has 10,000 at most."""

    CREATED_AT = "created_at"
    UPDATED_AT = "updated_at"
    COMPLETED_AT = "completed_at"


NEWEST_JOBS = Ordering("jobs", direction=Direction.DESC)
JOB_ORDERINGS = {
    (field, direction): Ordering.of(
        "jobs", (SortKey(field, TIME, nullable=field is JobSort.COMPLETED_AT), BY_ID), direction
    )
    for field in JobSort
    for direction in Direction
}
OLDEST_ITEMS = Ordering("items of a job")
NEWEST_ITEMS = Ordering("items of an order", direction=Direction.DESC)
ITEM_ORDERINGS = {
    (field, direction): Ordering.of(
        "items of a job", (SortKey(field, TIME, nullable=field is ItemSort.COMPLETED_AT), BY_ID), direction
    )
    for field in ItemSort
    for direction in Direction
}


@dataclass(frozen=True, slots=True)
class ItemFilter:
    """All that is given must hold; what is None does not matter.

    `search` looks through the item's tracking number and its order's reference, recipient and numbers.
    """

    statuses: tuple[ItemStatus, ...] | None = None
    error_types: tuple[ErrorType, ...] | None = None
    search: SearchText | None = None

    def conditions(self) -> list[sa.ColumnElement[bool]]:
        item = robot_job_items.c
        conditions: list[sa.ColumnElement[bool]] = []
        if self.statuses is not None:
            conditions.append(_is_one_of(item.status, self.statuses))
        if self.error_types is not None:
            conditions.append(_is_one_of(item.error_type, self.error_types))
        if self.search is not None:
            of_order = sa.exists().where(orders.c.id == item.order_id, self.search.is_in(orders.c.search_text))
            conditions.append(sa.or_(of_order, self.search.is_in(_TRACKING_TEXT)))
        return conditions


def _is_one_of(column: sa.ColumnElement[Any], names: Iterable[StrEnum]) -> sa.ColumnElement[bool]:
    """However often each is named: a statement has room for 32,767 values."""
    return column.in_(sorted({name.value for name in names}))


_TRACKING_TEXT = sa.literal_column(folded("robot_job_items.tracking_number"), sa.Text())


@dataclass(frozen=True, slots=True)
class JobFilter:
    """All that is given must hold; what is None does not matter.

    `error_types` and `search` ask for jobs with at least one failed item of those types, and one that is found.
    """

    statuses: tuple[JobStatus, ...] | None = None
    carrier: Carrier | None = None
    job_type: JobType | None = None
    created: Period = EVER
    error_types: tuple[ErrorType, ...] | None = None
    search: SearchText | None = None

    def conditions(self, *, of_few: bool = False) -> list[sa.ColumnElement[bool]]:
        """`of_few`: asked of jobs that are named, so a search goes from them to their items, not through all orders."""
        job = robot_jobs.c
        conditions = self.created.conditions(job.created_at)
        if self.statuses is not None:
            conditions.append(_is_one_of(job.status, self.statuses))
        if self.carrier is not None:
            conditions.append(job.carrier == self.carrier.value)
        if self.job_type is not None:
            conditions.append(job.job_type == self.job_type.value)
        if self.error_types is not None:
            failed = ItemFilter(error_types=self.error_types).conditions()
            conditions += [job.error_count > 0, sa.exists().where(robot_job_items.c.job_id == job.id, *failed)]
        if self.search is not None and of_few:
            found = ItemFilter(search=self.search).conditions()
            conditions.append(sa.exists().where(robot_job_items.c.job_id == job.id, *found))
        elif self.search is not None:
            conditions.append(job.id.in_(_jobs_found(self.search)))
        return conditions


def _jobs_found(search: SearchText) -> sa.CompoundSelect[Any]:
    """Jobs of the orders that are found, and jobs of the items whose own number is."""
    item, other = robot_job_items.c, robot_jobs.alias("searched")
    by_order = sa.select(item.job_id).join(orders, orders.c.id == item.order_id)
    # From the workspace's jobs to their items: an item's own row does not say whose it is.
    by_item = sa.select(item.job_id).join(other, other.c.id == item.job_id)
    return sa.union(
        by_order.where(search.is_in(orders.c.search_text)),
        by_item.where(search.is_in(_TRACKING_TEXT)),
    )


async def list_robot_jobs(
    connection: AsyncConnection, *, page: PageRequest, job_filter: JobFilter | None = None
) -> Page[RobotJob]:
    """The workspace's jobs, newest first unless the page says otherwise."""
    conditions = (job_filter or JobFilter()).conditions()
    ordered = page.in_order(NEWEST_JOBS)
    rows = await connection.execute(ordered.apply(sa.select(robot_jobs).where(*conditions), robot_jobs.c))
    found = [RobotJob.from_row(row) for row in rows]
    total = await count_rows(connection, robot_jobs, conditions) if page.with_total else None
    return ordered.page(found, total)


async def list_items_of_jobs(
    connection: AsyncConnection,
    job_ids: Sequence[uuid.UUID],
    *,
    page: PageRequest,
    item_filter: ItemFilter | None = None,
) -> dict[uuid.UUID, Page[RobotJobItem]]:
    """The same page of each job's items, oldest first unless the page says otherwise; one statement for all jobs."""
    return await _list_items(connection, robot_job_items.c.job_id, job_ids, page.in_order(OLDEST_ITEMS), item_filter)


async def list_items_of_orders(
    connection: AsyncConnection, order_ids: Sequence[uuid.UUID], *, page: PageRequest
) -> dict[uuid.UUID, Page[RobotJobItem]]:
    """The same page of each order's items in all jobs, newest first; one statement for all orders."""
    return await _list_items(connection, robot_job_items.c.order_id, order_ids, page.in_order(NEWEST_ITEMS))


async def _list_items(
    connection: AsyncConnection,
    parent: sa.Column[uuid.UUID],
    parent_ids: Sequence[uuid.UUID],
    page: OrderedPage,
    item_filter: ItemFilter | None = None,
) -> dict[uuid.UUID, Page[RobotJobItem]]:
    """Two statements when the totals are asked as well."""
    asked = sa.func.unnest(array_of(list(parent_ids), sa.Uuid())).table_valued("id").render_derived("asked")
    conditions = (item_filter or ItemFilter()).conditions()
    of_parent = page.apply(
        sa.select(robot_job_items).where(parent == asked.c.id, *conditions), robot_job_items.c
    ).lateral("of_parent")
    rows = await connection.execute(
        sa.select(of_parent).select_from(asked.join(of_parent, sa.true())).order_by(*page.order_by(of_parent.c))
    )
    found: dict[uuid.UUID, list[RobotJobItem]] = {parent_id: [] for parent_id in parent_ids}
    for row in rows:
        item = RobotJobItem.from_row(row)
        found[getattr(item, parent.name)].append(item)
    pages = {parent_id: page.page(items) for parent_id, items in found.items()}
    if not page.request.with_total:
        return pages
    totals: dict[uuid.UUID, int] = dict.fromkeys(parent_ids, 0)
    counted = await connection.execute(
        sa.select(parent, sa.func.count())
        .where(parent == sa.func.any(array_of(list(parent_ids), sa.Uuid())), *conditions)
        .group_by(parent)
    )
    totals |= {row[0]: row[1] for row in counted}
    return {parent_id: each.counting(totals[parent_id]) for parent_id, each in pages.items()}
