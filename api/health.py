"""Is the process alive, and can it serve?  For whoever runs it."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

READY_WITHIN_S = 2.0

logger = logging.getLogger("robot_jobs.health")


def health_routes(engine: AsyncEngine) -> list[Route]:
    """`/health/live`: the process answers.  `/health/ready`: the database answers too, else 503."""
    return [Route("/health/live", _live), Route("/health/ready", _ready(engine))]


async def _live(_: Request) -> Response:
    return JSONResponse({"status": "ok"})


def _ready(engine: AsyncEngine) -> Callable[[Request], Awaitable[Response]]:
    async def ready(_: Request) -> Response:
        try:
            async with asyncio.timeout(READY_WITHIN_S), engine.connect() as connection:
                await connection.execute(sa.text("SELECT 1"))
        except (OSError, TimeoutError, sa.exc.SQLAlchemyError) as error:
            logger.warning("not ready: %s", error)
            return JSONResponse({"status": "unavailable", "reason": "The database does not answer."}, status_code=503)
        return JSONResponse({"status": "ok"})

    return ready
