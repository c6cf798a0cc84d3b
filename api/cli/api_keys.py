"""Robots' API keys: made, listed, revoked."""

import asyncio
import uuid
from typing import TYPE_CHECKING, Annotated

import typer

from api.database import find_database
from api.settings import SettingsError, load_settings
from domain.carriers import Carrier

if TYPE_CHECKING:
    from domain.api_keys import ApiKey

api_key = typer.Typer(help="Robots' API keys.", no_args_is_help=True)


@api_key.command("create")
def create_key(
    name: Annotated[str, typer.Option(help="What it is for.")],
    workspace: Annotated[uuid.UUID | None, typer.Option(help="The workspace that it is good for.")] = None,
    all_workspaces: Annotated[bool, typer.Option("--all-workspaces", help="Good for every workspace.")] = False,
    carrier: Annotated[list[Carrier] | None, typer.Option(help="Only for its jobs; may be repeated.")] = None,
    days: Annotated[int | None, typer.Option(help="How long it is good; without, until it is revoked.")] = None,
) -> None:
    """Make an API key and print its secret, this once, alone on its line."""
    from api.api_keys import make_key

    if (workspace is None) != all_workspaces:
        raise SettingsError("name a --workspace, or say --all-workspaces")
    settings = load_settings()

    async def run() -> str:
        urls = await find_database(settings)
        created = await make_key(urls, name=name, workspace_id=workspace, carriers=carrier or None, days=days)
        return created.secret

    typer.echo(asyncio.run(run()))


@api_key.command("list")
def list_keys() -> None:
    """Every API key of every workspace, newest first."""
    from api.api_keys import all_keys

    settings = load_settings()

    async def run() -> "list[ApiKey]":
        return await all_keys(await find_database(settings))

    for key in asyncio.run(run()):
        ended = f"revoked {key.revoked_at:%Y-%m-%d}" if key.revoked_at else None
        expires = f"until {key.expires_at:%Y-%m-%d}" if key.expires_at else None
        facts = (
            f"{key.id}",
            f"{key.prefix}…",
            f"workspace {key.workspace_id}" if key.workspace_id else "all workspaces",
            "all carriers" if key.carriers is None else ", ".join(key.carriers),
            ended or expires or "until revoked",
            f"used {key.last_used_at:%Y-%m-%d %H:%M} UTC" if key.last_used_at else "never used",
            key.name,
        )
        typer.echo("  ".join(facts))


@api_key.command("revoke")
def revoke(key_id: Annotated[uuid.UUID, typer.Argument(metavar="ID", help="As list shows it.")]) -> None:
    """Revoke an API key for good; doing it again changes nothing."""
    from api.api_keys import revoke_key

    settings = load_settings()

    async def run() -> "ApiKey":
        return await revoke_key(await find_database(settings), key_id)

    revoked = asyncio.run(run())
    typer.echo(f"Revoked: {revoked.id}  {revoked.name}")
