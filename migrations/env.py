"""Alembic's entry: runs the migrations on the connection it is given, or on the URL in the environment."""

import asyncio
import os

import sqlalchemy as sa
from alembic import context
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

import domain.api_keys
import domain.carrier_configs
import domain.carriers
import domain.events
import domain.evidence
import domain.orders
import domain.robot_jobs
import domain.workspaces  # noqa: F401 -- importing them fills the metadata
from domain.base import metadata

LOCK_TIMEOUT_MS = 5_000


def run(connection: sa.Connection) -> None:
    # A migration that waits for a lock makes everyone wait behind it: give up instead, and be run again.
    connection.execute(sa.text(f"SET LOCAL lock_timeout = {LOCK_TIMEOUT_MS}"))
    context.configure(connection=connection, target_metadata=metadata)
    with context.begin_transaction():
        context.run_migrations()


async def run_by_itself(url: str) -> None:
    engine = create_async_engine(url, poolclass=NullPool)
    async with engine.begin() as connection:
        await connection.run_sync(run)
    await engine.dispose()


given = context.config.attributes.get("connection")
if given is not None:
    run(given)
else:
    asyncio.run(run_by_itself(os.environ["DATABASE_URL"]))
