"""Brings a database to this version of the program: tables, reference data, rights of the API's role."""

from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.carriers import reference_data_loads
from domain.reference_data import edition, load_reference_data
from migrations.grants import ensure_system_role, grant_to

_LOCATION = Path(__file__).parent
_ONE_AT_A_TIME = 7_305_119_201_417  # an advisory lock's key; any number that nothing else uses


def head() -> str:
    """The newest revision; file names begin with their revision's number."""
    return max(path.name.partition("_")[0] for path in (_LOCATION / "versions").glob("[0-9]*.py"))


async def is_current(connection: AsyncConnection) -> bool:
    """Whether tables and reference data are this version's; cheap enough for every start."""
    try:
        async with connection.begin_nested():
            revision = await connection.scalar(sa.text("SELECT version_num FROM alembic_version"))
            loads = await connection.execute(sa.select(reference_data_loads.c.name, reference_data_loads.c.sha256))
    except ProgrammingError:  # no such table: nothing has been migrated yet
        return False
    return revision == head() and {row.name: row.sha256 for row in loads} == edition()


async def migrate(connection: AsyncConnection, *, app_role: str) -> None:
    """Upgrade to the newest revision, load the reference data, grant the API's role its rights.

    All in the caller's transaction, and one process at a time: others wait and then find the work done.  Raises
    SystemRoleMissing.
    """
    await connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_ONE_AT_A_TIME)))
    await ensure_system_role(connection, app_role)
    await connection.run_sync(_upgrade, "head")
    await load_reference_data(connection)
    await grant_to(connection, app_role)


async def downgrade(connection: AsyncConnection, revision: str) -> None:
    """Down to that revision (`base` for nothing at all).  Loses the data of what it drops."""
    await connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_ONE_AT_A_TIME)))
    await connection.run_sync(_downgrade, revision)


def _upgrade(connection: sa.Connection, revision: str) -> None:
    from alembic import command  # noqa: PLC0415 -- slow to import, and most starts have nothing to migrate

    command.upgrade(_config(connection), revision)


def _downgrade(connection: sa.Connection, revision: str) -> None:
    from alembic import command  # noqa: PLC0415 -- as above

    command.downgrade(_config(connection), revision)


def _config(connection: sa.Connection):  # type: ignore[no-untyped-def]  # Alembic is imported only when needed
    from alembic.config import Config  # noqa: PLC0415 -- as above

    config = Config()
    config.set_main_option("script_location", str(_LOCATION).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config
