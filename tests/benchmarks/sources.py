"""Jobs to follow: of ours, closed in the database from outside the server; of other servers, told through a pipe."""

import datetime as dt
import json
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from queue import SimpleQueue
from threading import Thread
from typing import Any, Protocol

import sqlalchemy as sa

from api.database import DatabaseUrls, owner_engine
from api.wakeups import PostgresWakeUps
from domain.base import new_id
from domain.orders import orders
from domain.robot_jobs import (
    ErrorType,
    ItemResult,
    RecordedResult,
    ResultStatus,
    robot_job_items,
    update_job_item_result,
)
from domain.workspaces import Membership, Role, enter_as_owner, set_member
from tests.benchmarks.processes import Process
from tests.benchmarks.subscribers import Subscription
from tests.servers import token
from tests.tenants import Tenant

ERROR_EVERY = 5  # items
_JOB_FIELDS = "id status totalItems successCount errorCount cancelledCount"
_ITEM_FIELDS = "id status trackingNumber errorType errorMessage completedAt"


@dataclass(frozen=True, slots=True)
class Closed:
    """An item that was closed."""

    seq: int
    """Its event's number."""
    at_ns: int
    """When that was committed, by the monotonic clock, which all processes share."""
    told: dict[str, Any]
    """What subscribers are to be told, but for the cursor."""


class Source(Protocol):
    """A job whose items are closed, and how it is followed."""

    async def close_one(self) -> Closed:
        """Close the next item, in a transaction of its own."""

    def subscription(self, number: int) -> Subscription:
        """What the subscriber with that number asks."""

    def hears_all(self, number: int) -> bool:
        """Whether that one is told from the beginning, and not just from then on."""


@dataclass(frozen=True, slots=True)
class Workspace:
    """Where our jobs are made, and who may follow them."""

    tenant: Tenant
    wakeups: PostgresWakeUps
    users: Sequence[str]

    async def job(self, items: int, *, port: int, with_order: bool = False) -> "JobSource":
        """A new one of that many items, for the server at that port."""
        created = await self.tenant.create([order.id for order in await self.tenant.orders(items)])
        async with self.tenant.work() as connection:
            rows = await connection.execute(
                sa.select(robot_job_items.c.id, orders.c.id.label("order_id"), orders.c.reference)
                .join(orders, orders.c.id == robot_job_items.c.order_id)
                .where(robot_job_items.c.job_id == created.job.id)
                .order_by(robot_job_items.c.id)
            )
        return JobSource(self, created.job.id, iter(rows.all()), port, with_order=with_order)


async def add_viewers(urls: DatabaseUrls, tenant: Tenant, count: int) -> list[str]:
    users = [f"viewer-{number}@{tenant.workspace_id}" for number in range(count)]
    async with owner_engine(urls).begin() as connection:
        await enter_as_owner(connection)
        for user in users:
            await set_member(connection, Membership(tenant.workspace_id, user, Role.VIEWER))
    return users


class JobSource:
    """A job of ours.  Every second subscriber has a cursor, the others follow from now on."""

    def __init__(
        self, workspace: Workspace, job_id: uuid.UUID, items: Iterator[Any], port: int, *, with_order: bool
    ) -> None:
        self._workspace = workspace
        self._job_id = job_id
        self._items = items
        self._port = port
        self._document = document(with_order=with_order, with_cursor=True)
        self._inits = [
            {"Authorization": f"Bearer {token(user)}", "X-Workspace-Id": str(workspace.tenant.workspace_id)}
            for user in workspace.users
        ]
        self._closed = 0

    async def close_one(self) -> Closed:
        row = next(self._items)
        self._closed += 1
        if self._closed % ERROR_EVERY:
            result = ItemResult(item_id=row.id, status=ResultStatus.SUCCESS, tracking_number=f"TRK-{row.id.hex[-10:]}")
        else:
            result = ItemResult(
                item_id=row.id,
                status=ResultStatus.ERROR,
                error_type=ErrorType.PORTAL,
                error_message="The portal refused the city.",
            )
        async with self._workspace.tenant.work(Role.ROBOT) as connection:
            recorded = await update_job_item_result(connection, result, reported_by="bench")
        at_ns = time.monotonic_ns()
        self._workspace.wakeups.announce(self._job_id)
        if not isinstance(recorded, RecordedResult) or recorded.item.completed_at is None:
            raise RuntimeError(f"the item was not closed: {recorded}")
        item, job = recorded.item, recorded.job
        told = {
            "item": {
                "id": str(item.id),
                "status": item.status.name,
                "trackingNumber": item.tracking_number,
                "errorType": item.error_type.name if item.error_type else None,
                "errorMessage": item.error_message,
                "completedAt": recorded.item.completed_at.isoformat(),
                "order": {"id": str(row.order_id), "reference": row.reference},
            },
            "job": {
                "id": str(job.id),
                "status": job.status.name,
                "totalItems": job.total_items,
                "successCount": job.success_count,
                "errorCount": job.error_count,
                "cancelledCount": job.cancelled_count,
            },
        }
        return Closed(job.last_event_seq, at_ns, told)

    def subscription(self, number: int) -> Subscription:
        after = "0" if self.hears_all(number) else None
        init = self._inits[number % len(self._inits)]
        return Subscription(self._port, init, self._document, {"jobId": str(self._job_id), "after": after})

    def hears_all(self, number: int) -> bool:
        return number % 2 == 0


class PipedSource:
    """The one job of a server that is told by its standard input."""

    def __init__(self, server: Process, items: int) -> None:
        self._server = server
        self._items = items
        self._job_id = new_id()
        self._document = document(with_order=False, with_cursor=False)
        self._closed = self._failed = 0
        self._lines: SimpleQueue[bytes] = SimpleQueue()
        Thread(target=self._send, daemon=True).start()  # a server that is late in reading does not hold up the pace

    def _send(self) -> None:
        with suppress(OSError):  # it was killed
            while True:
                self._server.send(self._lines.get())

    async def close_one(self) -> Closed:
        self._closed += 1
        item_id = new_id()
        is_success = self._closed % ERROR_EVERY != 0
        self._failed += not is_success
        told = {
            "item": {
                "id": str(item_id),
                "status": "SUCCESS" if is_success else "ERROR",
                "trackingNumber": f"TRK-{item_id.hex[-10:]}" if is_success else None,
                "errorType": None if is_success else "PORTAL",
                "errorMessage": None if is_success else "The portal refused the city.",
                "completedAt": dt.datetime.now(dt.UTC).isoformat(),
                "order": {"id": str(new_id()), "reference": f"ORD-{self._closed}"},
            },
            "job": {
                "id": str(self._job_id),
                "status": "PROCESSING",
                "totalItems": self._items,
                "successCount": self._closed - self._failed,
                "errorCount": self._failed,
                "cancelledCount": 0,
            },
        }
        line = json.dumps(told | {"cursor": f"{self._closed}.{self._job_id.hex[-8:]}"})
        at_ns = time.monotonic_ns()
        self._lines.put(f"{line}\n".encode())
        return Closed(self._closed, at_ns, told)

    def subscription(self, number: int) -> Subscription:  # noqa: ARG002 -- all ask the same
        return Subscription(self._server.port, {}, self._document, {"jobId": str(self._job_id)})

    def hears_all(self, number: int) -> bool:  # noqa: ARG002 -- nobody does
        return False


def document(*, with_order: bool, with_cursor: bool) -> str:
    """One message has 13 fields, or two more with the order; `with_cursor`: the server knows how to go on from one."""
    parameter, argument = (", $after: String", ", after: $after") if with_cursor else ("", "")
    order = " order { id reference }" if with_order else ""
    return (
        f"subscription Follow($jobId: ID!{parameter}) {{ robotJobItemCompleted(jobId: $jobId{argument}) "
        f"{{ cursor item {{ {_ITEM_FIELDS}{order} }} job {{ {_JOB_FIELDS} }} }} }}"
    )
