"""The keys that portal passwords are kept with: made, and changed."""

import asyncio

import typer

from api.credential_keys import load_key_ring, require_key_ring
from api.database import find_database, owner_transaction
from api.settings import load_settings
from domain.envelopes import KeyRing
from domain.workspaces import enter_as_owner

credentials = typer.Typer(help="The keys that portal passwords are kept with.", no_args_is_help=True)


@credentials.command()
def new_key() -> None:
    """Print the keys of the settings with a fresh one in front, as ROBOT_JOBS_CREDENTIAL_KEYS takes them.

    Nothing is changed: docs/operations.md says how to bring a new key into use.
    """
    settings = load_settings()
    is_embedded = settings.database_url is None
    typer.echo(KeyRing.with_new_key(load_key_ring(settings, may_make=is_embedded)).as_text())


@credentials.command()
def rotate() -> None:
    """Put all portal passwords under the newest key.  Safe to repeat, and beside running servers."""
    settings = load_settings()
    key_ring = require_key_ring(settings, may_make=settings.database_url is None)

    async def run() -> int:
        from domain.credentials import rewrap_carrier_secrets

        urls = await find_database(settings)
        after, rewrapped, unreadable = None, 0, 0
        while True:
            async with owner_transaction(urls) as connection:
                await enter_as_owner(connection)
                batch = await rewrap_carrier_secrets(connection, key_ring, after=after)
            after = batch.last
            rewrapped += batch.rewrapped
            unreadable += len(batch.unreadable)
            for each in batch.unreadable:
                typer.echo(f"workspace {each.workspace_id}, {each.carrier}: {each.reason}", err=True)
            if after is None:
                break
        typer.echo(f"Key version {key_ring.newest}: {rewrapped} rewrapped, {unreadable} cannot be unwrapped.")
        return unreadable

    if asyncio.run(run()):
        raise typer.Exit(1)
