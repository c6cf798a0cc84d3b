"""Batches: what many fields of one answer ask for one by one is read with one statement.

Nothing is cached: the context of a WebSocket lives long, and the next operation must see what is true then.
"""

import uuid
from collections import defaultdict
from collections.abc import Awaitable, Callable, Hashable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, TypeVar

from sqlalchemy.ext.asyncio import AsyncConnection
from strawberry.dataloader import DataLoader

from domain import orders, robot_jobs
from domain.pages import Page, PageRequest
from schema.work import Work

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class ItemsOfJob:
    """Which page of which job's items."""

    job_id: uuid.UUID
    page: PageRequest
    item_filter: robot_jobs.ItemFilter


class Loaders:
    """One set per context.  Each batch is one read-only transaction of its own."""

    def __init__(self, reading: Callable[[], AbstractAsyncContextManager[Work]]) -> None:
        self._reading = reading
        self.orders = self._by_key(orders.find_orders)
        self.jobs = self._by_key(robot_jobs.find_robot_jobs)
        self.items = self._by_key(robot_jobs.find_robot_job_items)
        self.attempts = self._by_key(robot_jobs.list_attempts)
        self.failures = self._by_key(robot_jobs.list_failures)
        self.processing_counts = self._by_key(robot_jobs.count_processing)
        self.items_of_jobs: DataLoader[ItemsOfJob, Page[robot_jobs.RobotJobItem]] = DataLoader(
            self._load_items_of_jobs, cache=False
        )

    def _by_key(self, find: Callable[[AsyncConnection, Sequence[K]], Awaitable[dict[K, V]]]) -> DataLoader[K, V | None]:
        async def load(keys: list[K]) -> list[V | None]:
            async with self._reading() as work:
                found = await find(work.connection, list(dict.fromkeys(keys)))
            return [found.get(key) for key in keys]

        return DataLoader(load, cache=False)

    async def _load_items_of_jobs(self, keys: list[ItemsOfJob]) -> list[Page[robot_jobs.RobotJobItem]]:
        """One statement per set of arguments in the query, however many jobs the page holds."""
        jobs_by_arguments: dict[Any, list[uuid.UUID]] = defaultdict(list)
        for key in dict.fromkeys(keys):
            jobs_by_arguments[key.page, key.item_filter].append(key.job_id)
        found: dict[ItemsOfJob, Page[robot_jobs.RobotJobItem]] = {}
        async with self._reading() as work:
            for (page, item_filter), job_ids in jobs_by_arguments.items():
                pages = await robot_jobs.list_items_of_jobs(
                    work.connection, job_ids, page=page, item_filter=item_filter
                )
                found |= {ItemsOfJob(job_id, page, item_filter): items for job_id, items in pages.items()}
        return [found[key] for key in keys]
