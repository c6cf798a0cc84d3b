"""Batches: what many fields of one answer ask for one by one is read with one statement.

Nothing is cached: the context of a WebSocket lives long, and the next operation must see what is true then.
"""

import uuid
from collections import defaultdict
from collections.abc import Awaitable, Callable, Hashable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, TypeVar

from sqlalchemy.ext.asyncio import AsyncConnection
from strawberry.dataloader import DataLoader

from domain import evidence, orders, robot_jobs
from domain.accounts import find_account_pauses
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


@dataclass(frozen=True, slots=True)
class ItemsOfOrder:
    """Which page of which order's items."""

    order_id: uuid.UUID
    page: PageRequest


@dataclass(frozen=True, slots=True)
class EventsOfJob:
    """Which stretch of which job's log."""

    job_id: uuid.UUID
    after_seq: int
    limit: int


class Loaders:
    """One set per context.  Each batch is one read-only transaction of its own."""

    def __init__(self, reading: Callable[[], AbstractAsyncContextManager[Work]]) -> None:
        self._reading = reading
        self.orders = self._by_key(orders.find_orders)
        self.jobs = self._by_key(robot_jobs.find_robot_jobs)
        self.items = self._by_key(robot_jobs.find_robot_job_items)
        self.attempts = self._by_key(robot_jobs.list_attempts)
        self.evidence = self._by_key(evidence.list_evidence)
        self.failures = self._by_key(robot_jobs.list_failures)
        self.pauses = self._by_key(find_account_pauses)
        self.paces = self._by_key(robot_jobs.measure_pace)
        self.items_of_jobs: DataLoader[ItemsOfJob, Page[robot_jobs.RobotJobItem]] = DataLoader(
            self._load_items_of_jobs, cache=False
        )
        self.items_of_orders: DataLoader[ItemsOfOrder, Page[robot_jobs.RobotJobItem]] = DataLoader(
            self._load_items_of_orders, cache=False
        )
        self.events_of_jobs: DataLoader[EventsOfJob, list[robot_jobs.Event]] = DataLoader(
            self._load_events_of_jobs, cache=False
        )

    def _by_key(self, find: Callable[[AsyncConnection, Sequence[K]], Awaitable[dict[K, V]]]) -> DataLoader[K, V | None]:
        async def load(keys: list[K]) -> list[V | None]:
            async with self._reading() as work:
                found = await find(work.connection, list(dict.fromkeys(keys)))
            return [found.get(key) for key in keys]

        return DataLoader(load, cache=False)

    async def _load_items_of_jobs(self, keys: list[ItemsOfJob]) -> list[Page[robot_jobs.RobotJobItem]]:
        """One statement per set of arguments in the query, however many jobs the page holds; two with totals."""
        found: dict[ItemsOfJob, Page[robot_jobs.RobotJobItem]] = {}
        async with self._reading() as work:
            for (page, item_filter), job_ids in _ids_by_arguments(
                keys, lambda key: (key.page, key.item_filter), lambda key: key.job_id
            ):
                pages = await robot_jobs.list_items_of_jobs(
                    work.connection, job_ids, page=page, item_filter=item_filter
                )
                found |= {ItemsOfJob(job_id, page, item_filter): items for job_id, items in pages.items()}
        return [found[key] for key in keys]

    async def _load_items_of_orders(self, keys: list[ItemsOfOrder]) -> list[Page[robot_jobs.RobotJobItem]]:
        """As _load_items_of_jobs."""
        found: dict[ItemsOfOrder, Page[robot_jobs.RobotJobItem]] = {}
        async with self._reading() as work:
            for page, order_ids in _ids_by_arguments(keys, lambda key: key.page, lambda key: key.order_id):
                pages = await robot_jobs.list_items_of_orders(work.connection, order_ids, page=page)
                found |= {ItemsOfOrder(order_id, page): items for order_id, items in pages.items()}
        return [found[key] for key in keys]

    async def _load_events_of_jobs(self, keys: list[EventsOfJob]) -> list[list[robot_jobs.Event]]:
        """As _load_items_of_jobs."""
        found: dict[EventsOfJob, list[robot_jobs.Event]] = {}
        async with self._reading() as work:
            for (after_seq, limit), job_ids in _ids_by_arguments(
                keys, lambda key: (key.after_seq, key.limit), lambda key: key.job_id
            ):
                events = await robot_jobs.list_events(work.connection, job_ids, after_seq=after_seq, limit=limit)
                found |= {EventsOfJob(job_id, after_seq, limit): of_job for job_id, of_job in events.items()}
        return [found[key] for key in keys]


def _ids_by_arguments(
    keys: list[K], arguments: Callable[[K], Hashable], of: Callable[[K], uuid.UUID]
) -> Iterable[tuple[Any, list[uuid.UUID]]]:
    ids: dict[Hashable, list[uuid.UUID]] = defaultdict(list)
    for key in dict.fromkeys(keys):
        ids[arguments(key)].append(of(key))
    return ids.items()
