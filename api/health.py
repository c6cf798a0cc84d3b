"""Is the process alive, and can it serve?  For whoever runs it."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from schema.database import Database

READY_WITHIN_S = 2.0

logger = logging.getLogger("robot_jobs.health")


def health_routes(database: Database) -> list[Route]:
    """`/health/live`: the process answers.  `/health/ready`: the database answers too, else 503."""
    return [Route("/health/live", _live), Route("/health/ready", _ready(database))]


async def _live(_: Request) -> Response:
    return JSONResponse({"status": "ok"})


def _ready(database: Database) -> Callable[[Request], Awaitable[Response]]:
    async def ready(_: Request) -> Response:
        # Not awaited beyond its time: to give up a connection on a silent network takes seconds of its own.
        asking = asyncio.create_task(_ask(database))
        await asyncio.wait([asking], timeout=READY_WITHIN_S)
        if asking.done():
            problem = asking.result()
        else:
            asking.cancel()
            problem = f"no answer within {READY_WITHIN_S:.0f} s"
        if problem is None:
            return JSONResponse({"status": "ok"})
        logger.warning("not ready: %s", problem)
        return JSONResponse({"status": "unavailable", "reason": "The database does not answer."}, status_code=503)

    return ready


async def _ask(database: Database) -> str | None:
    """What is wrong with the database, or None."""
    try:
        async with database.begin(database.writing, _say_something):
            pass
    except (OSError, sa.exc.SQLAlchemyError) as error:
        return f"{error!r}"
    return None


async def _say_something(connection: AsyncConnection) -> None:
    await connection.execute(sa.text("SELECT 1"))
