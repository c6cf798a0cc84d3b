"""The ASGI application, put together."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware

from api.database import DatabaseUrls, app_engine, refuse_unsafe
from api.graphiql import graphiql_assets
from api.graphql import BodyLimit, Router
from api.health import health_routes
from api.settings import Settings
from api.tokens import Tokens
from api.wakeups import PostgresWakeUps
from domain.envelopes import KeyRing
from schema.context import Database


def create_app(settings: Settings, urls: DatabaseUrls, tokens: Tokens, *, key_ring: KeyRing | None = None) -> FastAPI:
    """The API on that database.  Its start raises DatabaseError on a role that row level security does not bind."""
    engine = app_engine(settings, urls)
    database = Database(engine)
    wakeups = PostgresWakeUps(urls.app)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await refuse_unsafe(engine)
        async with wakeups.running():
            yield
        await database.finish()
        await engine.dispose()

    app = FastAPI(title="Robot jobs", openapi_url=None, docs_url=None, redoc_url=None, lifespan=lifespan)
    app.include_router(Router(settings, tokens, database, wakeups, key_ring=key_ring))
    app.router.routes.extend(health_routes(engine))
    if settings.graphiql:
        app.mount("/graphiql", graphiql_assets)
    app.add_middleware(BodyLimit, max_bytes=settings.max_body_bytes)
    if settings.allowed_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.allowed_origins,
            allow_methods=["GET", "POST"],
            allow_headers=["Authorization", "Content-Type", "X-Workspace-Id"],
        )
    return app
