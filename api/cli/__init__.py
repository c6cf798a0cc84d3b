"""The command line: `robot-jobs`."""

import sys

import typer

from api.cli.api_keys import api_key
from api.cli.credentials import credentials
from api.cli.database import migrate, schema, seed, token
from api.cli.demo import demo
from api.cli.robots import portal, robot
from api.cli.serving import serve
from api.database import DatabaseError
from api.embedded_postgres import EmbeddedPostgresError
from api.settings import SettingsError
from api.workspaces import UnknownWorkspace
from domain.errors import DomainError

# What is slow to import (the schema above all) is imported where it is used: `serve` starts PostgreSQL meanwhile.

app = typer.Typer(
    help="Robot jobs: batches of orders that browser robots push through carriers' portals.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for command in (serve, migrate, seed, token, schema, demo, robot, portal):
    app.command()(command)
app.add_typer(credentials, name="credentials")
app.add_typer(api_key, name="api-key")


def main() -> None:
    """Expected trouble is one clear line and exit code 2; anything else is a bug and keeps its traceback."""
    try:
        app()
    except (SettingsError, DatabaseError, EmbeddedPostgresError, UnknownWorkspace, DomainError) as error:
        typer.echo(f"robot-jobs: {error}", err=True)
        sys.exit(2)
