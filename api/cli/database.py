"""What is done once to a database, and what a first look needs: migrate, seed, token; the schema."""

import asyncio
import datetime as dt
import uuid
from typing import Annotated

import typer

from api.credential_keys import load_key_ring
from api.database import bring_up_to_date, find_database
from api.settings import Settings, load_settings
from api.workspaces import DEMO_WORKSPACE_ID, developer_id, ensure_developer, seed_demo_workspace
from domain.workspaces import Role


def migrate() -> None:
    """Bring the database to this version: tables, reference data, the API role's rights."""
    settings = load_settings()

    async def run() -> None:
        await bring_up_to_date(await find_database(settings))

    asyncio.run(run())
    typer.echo("The database is up to date.")


def seed() -> None:
    """Make the demo workspace with its members and the sample orders, unless it is there."""
    settings = load_settings()

    async def run() -> str:
        urls = await find_database(settings)
        await bring_up_to_date(urls)
        made = await seed_demo_workspace(urls, load_key_ring(settings, may_make=urls.is_embedded))
        return f"{'Made' if made else 'There already:'} the demo workspace {DEMO_WORKSPACE_ID}"

    typer.echo(asyncio.run(run()))


def token(
    role: Annotated[Role, typer.Option(help="What the token may do.")] = Role.OPERATOR,
    workspace: Annotated[uuid.UUID, typer.Option(help="Where.")] = DEMO_WORKSPACE_ID,
    hours: Annotated[float, typer.Option(min=0.001, max=24 * 365, help="How long it is good.")] = 12,
) -> None:
    """Print a developer's token, alone on its line: for scripts."""
    typer.echo(developer_token(load_settings(), workspace, role, lifetime=dt.timedelta(hours=hours)))


def schema() -> None:
    """Print the GraphQL schema (SDL)."""
    from schema import schema as contract

    typer.echo(contract.as_str())


def developer_token(settings: Settings, workspace: uuid.UUID, role: Role, *, lifetime: dt.timedelta) -> str:
    from api.tokens import load_tokens

    async def run() -> str:
        urls = await find_database(settings)
        # A server on one's own database that has an issuer's keys knows of no secret that is made here.
        tokens = load_tokens(settings, may_make_secret=urls.is_embedded or settings.jwks_url is None)
        made = tokens.make(developer_id(role), lifetime=lifetime)
        await ensure_developer(urls, workspace, role)
        return made

    return asyncio.run(run())
