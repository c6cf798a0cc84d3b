"""The ASGI application, put together."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

from fastapi import FastAPI
from sqlalchemy.exc import SQLAlchemyError
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from api.bodies import BodyLimit
from api.database import DatabaseUrls, app_engine, refuse_unsafe
from api.evidence import PREFIX, EvidenceEndpoints
from api.evidence_files import EvidenceFiles
from api.graphiql import graphiql_assets
from api.graphql import PATH, Router, fault_response, not_allowed, refusal_response
from api.health import health_routes
from api.requests import Refusal
from api.settings import Settings
from api.sweeps import Sweeps, sweeps_of
from api.tokens import Tokens
from api.wakeups import PostgresWakeUps
from domain.envelopes import KeyRing
from schema.database import Database
from schema.streams import Repeated

METHOD_NOT_ALLOWED = 405
DISPOSED_WITHIN_S = 1.0


class Api(FastAPI):
    """WebSockets pass by the middleware, which is for HTTP: of each layer a socket would keep some memory."""

    def __init__(self, talk: ASGIApp, **options: Any) -> None:
        super().__init__(**options)
        self._talk = talk

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket" and scope["path"] == PATH:
            await self._talk(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)


def create_app(settings: Settings, urls: DatabaseUrls, tokens: Tokens, *, key_ring: KeyRing | None = None) -> FastAPI:
    """The API on that database.  Its start raises DatabaseError on a role that row level security does not bind."""
    engine = app_engine(settings, urls)
    database = Database(engine, available_within_s=settings.pool_timeout_s)
    wakeups = PostgresWakeUps(urls.app)
    store = EvidenceFiles(settings.evidence_folder)
    sweeps = Sweeps(database, sweeps_of(settings, store), wakeups.announce)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await refuse_unsafe(engine)
        async with wakeups.running(), sweeps.running():
            yield
        await Repeated.finish_all(DISPOSED_WITHIN_S)
        await database.finish()
        # Not awaited beyond its time: to say goodbye on a silent network takes long.
        await asyncio.wait([asyncio.create_task(engine.dispose())], timeout=DISPOSED_WITHIN_S)

    router = Router(settings, tokens, database, wakeups, key_ring=key_ring)
    app = Api(
        router.talk,
        title="Robot jobs",
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=lifespan,
    )
    app.router.routes.append(router.http_route())
    app.state.stop = router.stop
    app.router.routes.extend(EvidenceEndpoints(settings, router, store).routes())
    app.router.routes.extend(health_routes(database))
    if settings.graphiql:
        app.mount("/graphiql", graphiql_assets)
    app.add_middleware(
        BodyLimit, max_bytes=settings.max_body_bytes, timeout_s=settings.body_timeout_s, puts_are_free_under=PREFIX
    )
    if settings.allowed_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.allowed_origins,
            allow_methods=["GET", "POST"],
            allow_headers=["Authorization", "Content-Type", "X-Workspace-Id"],
            expose_headers=["Retry-After", "WWW-Authenticate"],
        )
    app.add_exception_handler(HTTPException, _refuse)
    for unavailable in (OSError, SQLAlchemyError):
        app.add_exception_handler(unavailable, _fault)
    app.add_exception_handler(Exception, _fault)
    return app


async def _refuse(request: Request, error: Exception) -> Response:
    """What has no route is answered in GraphQL's shape too."""
    status = cast(HTTPException, error).status_code
    if status != METHOD_NOT_ALLOWED:
        return refusal_response(Refusal(status, "There is nothing here: the API is at /graphql."))
    allowed = "GET, POST" if request.url.path == PATH else "GET"
    return refusal_response(not_allowed(request.method, allowed))


async def _fault(_: Request, error: Exception) -> Response:
    return fault_response(error)
