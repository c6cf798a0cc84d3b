"""`python -m tests.benchmarks.plain PORT`: the same subscription as Strawberry's documentation writes it.

FastAPI, GraphQLRouter, one asyncio.Queue per subscriber, uvicorn with its defaults (but the newer WebSocket
implementation, which is faster).  It has no database, no tokens and no cursors to go on from: what happened is a line
of JSON on its standard input.
"""

import asyncio
import json
import sys
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from enum import Enum
from typing import Any

import strawberry
import uvicorn
from fastapi import FastAPI
from strawberry.fastapi import GraphQLRouter


@strawberry.enum
class ItemStatus(Enum):
    SUCCESS = "SUCCESS"
    ERROR = "ERROR"


@strawberry.enum
class ErrorType(Enum):
    PORTAL = "PORTAL"


@strawberry.enum
class JobStatus(Enum):
    PROCESSING = "PROCESSING"


@strawberry.type
class Order:
    id: strawberry.ID
    reference: str


@strawberry.type
class Item:
    id: strawberry.ID
    status: ItemStatus
    tracking_number: str | None
    error_type: ErrorType | None
    error_message: str | None
    completed_at: datetime
    order: Order


@strawberry.type
class Job:
    id: strawberry.ID
    status: JobStatus
    total_items: int
    success_count: int
    error_count: int
    cancelled_count: int


@strawberry.type
class RobotJobItemCompleted:
    cursor: str
    item: Item
    job: Job


followers: set[asyncio.Queue[RobotJobItemCompleted]] = set()


@strawberry.type
class Query:
    @strawberry.field
    def is_alive(self) -> bool:
        return True


@strawberry.type
class Subscription:
    @strawberry.subscription
    async def robot_job_item_completed(
        self,
        job_id: strawberry.ID,  # noqa: ARG002 -- there is but one job
    ) -> AsyncGenerator[RobotJobItemCompleted, None]:
        queue: asyncio.Queue[RobotJobItemCompleted] = asyncio.Queue()
        followers.add(queue)
        try:
            while True:
                yield await queue.get()
        finally:
            followers.discard(queue)


def completed(told: dict[str, Any]) -> RobotJobItemCompleted:
    item, job = told["item"], told["job"]
    return RobotJobItemCompleted(
        cursor=told["cursor"],
        item=Item(
            id=item["id"],
            status=ItemStatus(item["status"]),
            tracking_number=item["trackingNumber"],
            error_type=ErrorType(item["errorType"]) if item["errorType"] else None,
            error_message=item["errorMessage"],
            completed_at=datetime.fromisoformat(item["completedAt"]),
            order=Order(id=item["order"]["id"], reference=item["order"]["reference"]),
        ),
        job=Job(
            id=job["id"],
            status=JobStatus(job["status"]),
            total_items=job["totalItems"],
            success_count=job["successCount"],
            error_count=job["errorCount"],
            cancelled_count=job["cancelledCount"],
        ),
    )


async def publish() -> None:
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    async for line in lines:
        news = completed(json.loads(line))
        for queue in followers:
            queue.put_nowait(news)


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    publishing = asyncio.create_task(publish())
    yield
    publishing.cancel()


app = FastAPI(lifespan=lifespan)
app.include_router(GraphQLRouter(strawberry.Schema(query=Query, subscription=Subscription)), prefix="/graphql")

if __name__ == "__main__":
    uvicorn.run(app, port=int(sys.argv[1]), ws="websockets-sansio", log_level="warning")
