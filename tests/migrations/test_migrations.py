"""Migrations: up, down and up again, everywhere that is supported, and equal to what the code believes."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

import domain.accounts
import domain.api_keys
import domain.carrier_configs
import domain.carriers
import domain.events
import domain.evidence
import domain.orders
import domain.robot_jobs
import domain.workspaces
import migrations
from api.database import bring_up_to_date, owner_engine, refuse_unsafe
from domain.accounts import Breaker
from domain.base import metadata
from domain.carrier_configs import CarrierConfigNotFound
from domain.carriers import Carrier
from domain.robot_jobs import ClaimPurpose, ErrorType, JobStatus, ReleaseReason
from migrations.run import _upgrade, downgrade, head, is_current
from tests.conftest import Database, pool_of
from tests.domain.secrets import read_password, upsert
from tests.migrations.conftest import OnServer
from tests.tenants import Tenant, make_tenant, tenants_made_quickly

# Modules that declare tables: importing them fills the metadata.
DECLARING = (
    domain.accounts,
    domain.api_keys,
    domain.carrier_configs,
    domain.carriers,
    domain.events,
    domain.orders,
    domain.robot_jobs,
    domain.workspaces,
)

_EVERYTHING = {
    "columns": """
        SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attidentity,
               pg_get_expr(d.adbin, d.adrelid), col_description(c.oid, a.attnum)
        FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
        LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
        WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r' AND c.relname <> 'alembic_version'
    """,
    "order of columns": """
        SELECT c.relname, string_agg(a.attname, ' ' ORDER BY a.attnum)
        FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
        WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r' AND c.relname <> 'alembic_version'
        GROUP BY c.relname
    """,
    "tables": """
        SELECT relname, obj_description(oid) FROM pg_class
        WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND relname <> 'alembic_version'
    """,
    "constraints": """
        SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint
        WHERE connamespace = 'public'::regnamespace AND conrelid IS DISTINCT FROM to_regclass('alembic_version')
    """,
    "indexes": """
        SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public' AND tablename <> 'alembic_version'
    """,
}


async def everything(engine: AsyncEngine) -> dict[str, set[Any]]:
    """Tables, columns, constraints and indexes with their comments, as the server describes them."""
    async with engine.connect() as connection:
        return {
            what: {tuple(row) for row in await connection.execute(sa.text(sql))} for what, sql in _EVERYTHING.items()
        }


async def objects(engine: AsyncEngine) -> set[str]:
    """The names of all relations and functions of the application."""
    async with engine.connect() as connection:
        return set(
            await connection.scalars(
                sa.text(
                    "SELECT relname::text FROM pg_class WHERE relnamespace = 'public'::regnamespace "
                    "UNION SELECT proname::text FROM pg_proc WHERE pronamespace = 'public'::regnamespace"
                )
            )
        )


async def works(empty: OnServer) -> None:
    """A tenant's job can be made, worked off and read, and a password kept; another tenant sees none of it."""
    async with pool_of(empty.urls, 1) as engine, tenants_made_quickly(empty.urls):
        tenant, other = await make_tenant(empty.urls, engine), await make_tenant(empty.urls, engine)
        in_hand = await tenant.job(items=2, succeeded=1, failed=1)
        assert in_hand.job.status is JobStatus.COMPLETED
        assert await visible_jobs(tenant) == 1
        assert await visible_jobs(other) == 0
        await work_as_robots_do(tenant)
        await upsert(tenant, username="ana", password="one")
        await upsert(tenant, password="two")
        assert await read_password(tenant) == "two"
        with pytest.raises(CarrierConfigNotFound):
            await read_password(other)


async def work_as_robots_do(tenant: Tenant) -> None:
    """Of four orders one is in hand, one is looked up, and the portal is down; another carrier has some too."""
    await tenant.job(items=4)
    [item] = (await tenant.claim()).items
    await tenant.mark(item, number="101")
    await tenant.fail(item, error_type=ErrorType.UNKNOWN)
    [looked_up] = (await tenant.claim(purpose=ClaimPurpose.LOOK_UP)).items
    await tenant.release(looked_up, reason=ReleaseReason.NOT_SETTLED)
    [item] = (await tenant.claim()).items
    await tenant.release(item, reason=ReleaseReason.PORTAL_UNAVAILABLE, breaker=Breaker(errors=1))
    await tenant.job(items=2, carrier=Carrier.SANDBOX)
    [item] = (await tenant.claim(carrier=Carrier.SANDBOX)).items
    await tenant.mark(item, number="101")


async def visible_jobs(tenant: Tenant) -> int:
    async with tenant.work() as connection:
        return await count(connection, "robot_jobs")


async def count(connection: AsyncConnection, table: str) -> int:
    return int(await connection.scalar(sa.select(sa.func.count()).select_from(metadata.tables[table])) or 0)


async def test_up_down_to_nothing_and_up_again_on_filled_data(empty: OnServer) -> None:
    await bring_up_to_date(empty.urls)
    await works(empty)

    async with owner_engine(empty.urls).begin() as connection:
        await downgrade(connection, "base")
        assert not await is_current(connection)

    assert await objects(empty.as_superuser()) == {"alembic_version", "alembic_version_pkc"}
    await bring_up_to_date(empty.urls)
    await works(empty)


async def test_each_step_down_leaves_the_policies_and_functions_of_the_step_up(empty: OnServer) -> None:
    """What a revision replaces is put back as it was."""
    revisions = sorted(script.revision for script in ScriptDirectory.from_config(_scripts()).walk_revisions())

    async def rules() -> set[Any]:
        async with empty.as_superuser().connect() as connection:
            found = await connection.execute(
                sa.text(
                    "SELECT tablename || policyname, cmd, qual, with_check FROM pg_policies "
                    "UNION ALL SELECT oid::regprocedure::text, pg_get_functiondef(oid), NULL, NULL FROM pg_proc "
                    "WHERE pronamespace = 'public'::regnamespace"
                )
            )
            return {tuple(row) for row in found}

    on_the_way_up = {}
    async with owner_engine(empty.urls).connect() as connection:
        for revision in revisions:
            await connection.run_sync(_upgrade, revision)
            await connection.commit()
            on_the_way_up[revision] = await rules()
        for revision in reversed(revisions):
            await downgrade(connection, revision)
            await connection.commit()
            assert await rules() ^ on_the_way_up[revision] == set(), revision


def _scripts() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    return config


async def test_the_migrated_schema_is_the_codes(migrated: OnServer) -> None:
    def differences(connection: sa.Connection) -> list[Any]:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        return list(compare_metadata(context, metadata))

    async with owner_engine(migrated.urls).connect() as connection:
        assert await connection.run_sync(differences) == []


async def test_a_migrated_database_is_described_as_one_made_from_the_code(migrated: OnServer, empty: OnServer) -> None:
    async with owner_engine(empty.urls).begin() as connection:
        await connection.run_sync(metadata.create_all)

    described, made = await everything(migrated.as_superuser()), await everything(empty.as_superuser())

    assert made["tables"]
    for what in _EVERYTHING:
        assert described[what] ^ made[what] == set(), what


def test_the_newest_revision_is_alembics_only_head() -> None:
    assert ScriptDirectory.from_config(_scripts()).get_heads() == [head()]


async def test_alembics_own_command_migrates_the_database_of_the_environment(
    empty: OnServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", empty.urls.owner)
    config = Config(toml_file=str(Path(migrations.__file__).parents[1] / "pyproject.toml"))

    await asyncio.to_thread(command.upgrade, config, "head")

    assert set(metadata.tables) <= await objects(empty.as_superuser())


async def test_one_plain_role_can_own_everything_and_still_obeys_the_policies(one_role: OnServer) -> None:
    await bring_up_to_date(one_role.urls)
    await refuse_unsafe(one_role.as_app())

    await works(one_role)

    async with one_role.as_superuser().connect() as connection:
        assert await count(connection, "robot_jobs") == 3
    async with one_role.as_app().connect() as connection:
        for table in ("orders", "robot_jobs", "robot_job_items", "robot_job_attempts", "events", "workspaces"):
            assert await count(connection, table) == 0, f"{table}: nobody has entered a workspace"


async def test_three_that_migrate_at_once_make_one_schema(empty: OnServer) -> None:
    await asyncio.gather(*(bring_up_to_date(empty.urls) for _ in range(3)))

    async with empty.as_superuser().connect() as connection:
        revisions = await connection.scalars(sa.text("SELECT version_num FROM alembic_version"))
        assert revisions.all() == [head()]
        assert await count(connection, "reference_data_loads") == 3
    await works(empty)


async def test_a_migration_that_fails_leaves_nothing(empty: OnServer, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(_connection: AsyncConnection) -> None:
        raise OSError("the file is gone")

    monkeypatch.setattr("migrations.run.load_reference_data", fail)
    with pytest.raises(OSError, match="the file is gone"):
        await bring_up_to_date(empty.urls)

    assert await objects(empty.as_superuser()) == set()


async def test_a_database_that_is_up_to_date_is_left_alone(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(*_: object, **__: object) -> None:
        raise AssertionError("migrated again")

    monkeypatch.setattr("api.database.migrate", refuse)

    await bring_up_to_date(database.urls)
