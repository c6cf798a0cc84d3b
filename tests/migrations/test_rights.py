"""Who may touch which table: row level security for every tenant's table, and no right that is not needed."""

import re

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

import domain.accounts
import domain.api_keys
import domain.carrier_configs
import domain.carriers
import domain.events
import domain.evidence
import domain.orders
import domain.robot_jobs
import domain.workspaces
from api.embedded_postgres import APP_ROLE
from domain.base import metadata
from migrations.grants import GRANTS
from tests.conftest import Database

DECLARING = (
    domain.accounts,
    domain.api_keys,
    domain.carrier_configs,
    domain.carriers,
    domain.events,
    domain.evidence,
    domain.orders,
    domain.robot_jobs,
    domain.workspaces,
)
OF_EVERYBODY = {"dane_municipalities", "department_abbreviations", "carrier_coverage", "reference_data_loads"}
OF_TENANTS = sorted(set(metadata.tables) - OF_EVERYBODY)
_OF_COLUMNS = r"(\w+) \(([^)]*)\)"
PRIVILEGES = ("SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE", "REFERENCES", "TRIGGER")


def as_superuser(database: Database) -> AsyncEngine:
    return create_async_engine(database.superuser_url, poolclass=NullPool)


async def test_every_tenants_table_has_forced_row_level_security_and_policies(database: Database) -> None:
    async with as_superuser(database).connect() as connection:
        found = await connection.execute(
            sa.text(
                "SELECT c.relname, c.relrowsecurity, c.relforcerowsecurity, "
                "       array_agg(p.cmd) FILTER (WHERE p.cmd IS NOT NULL) AS commands "
                "FROM pg_class c LEFT JOIN pg_policies p ON p.tablename = c.relname "
                "WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r' GROUP BY 1, 2, 3"
            )
        )
        security = {row.relname: row for row in found}

    assert set(security) == set(metadata.tables) | {"alembic_version"}
    for table in OF_TENANTS:
        row = security[table]
        assert (row.relrowsecurity, row.relforcerowsecurity) == (True, True), table
        assert row.commands, f"{table} has no policy"
        for right in ("INSERT", "UPDATE", "DELETE"):
            if right in GRANTS[table]:
                assert {right, "ALL"} & set(row.commands), f"{table}: {right} is granted, but no policy is for it"


async def test_every_policy_of_tenants_reads_the_membership(database: Database) -> None:
    """Directly, or through a parent whose policy does."""
    parents = (
        "app_workspace_id",
        "app_writable_workspace_id",
        "app_user_id",
        "app_is_system",
        "workspace_members",
        "app_robot_workspace_id",
        "app_managed_workspace_id",
        "api_keys",
    )
    async with as_superuser(database).connect() as connection:
        policies = await connection.execute(
            sa.text(
                "SELECT policyname, coalesce(qual, '') || coalesce(with_check, '') AS rule FROM pg_policies "
                "WHERE roles <> '{robot_jobs_system}'"
            )
        )
        for policy in policies:
            assert any(name in policy.rule for name in (*parents, "FROM robot_jobs", "FROM robot_job_items")), policy


def test_every_table_has_its_line_of_grants() -> None:
    assert set(GRANTS) == set(metadata.tables) | {"alembic_version"}


async def test_the_apis_role_has_the_rights_of_the_list_and_no_others(database: Database) -> None:
    async with as_superuser(database).connect() as connection:
        found = await connection.execute(
            sa.text(
                "SELECT t.name, p.held FROM unnest(CAST(:tables AS text[])) AS t(name), "
                "unnest(CAST(:rights AS text[])) AS p(held) WHERE has_table_privilege(:role, t.name, p.held)"
            ),
            {"tables": list(GRANTS), "rights": list(PRIVILEGES), "role": APP_ROLE},
        )
        held: dict[str, set[str]] = {}
        for table, right in found:
            held.setdefault(table, set()).add(right)

    whole = {
        table: set(re.sub(_OF_COLUMNS, "", rights).strip(", ").split(", ")) - {""} for table, rights in GRANTS.items()
    }
    assert held == {table: rights for table, rights in whole.items() if rights}


async def test_rights_to_some_columns_are_to_no_others(database: Database) -> None:
    granted = {
        (table, column, right)
        for table, rights in GRANTS.items()
        for right, columns in re.findall(_OF_COLUMNS, rights)
        for column in columns.split(", ")
    }
    async with as_superuser(database).connect() as connection:
        found = await connection.execute(
            sa.text(
                "SELECT c.relname::text, a.attname::text, p.held "
                "FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped, "
                "unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'REFERENCES']) AS p(held) "
                "WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r' "
                "AND has_column_privilege(:role, c.oid, a.attnum, p.held) "
                "AND NOT has_table_privilege(:role, c.oid, p.held)"
            ),
            {"role": APP_ROLE},
        )
        held = {tuple(row) for row in found}

    assert held == granted
    assert ("api_keys", "secret_sha256", "SELECT") not in held


async def test_the_apis_role_can_change_no_table(engine: AsyncEngine) -> None:
    for statement in (
        "CREATE TABLE mine (id int)",
        "ALTER TABLE orders DISABLE ROW LEVEL SECURITY",
        "ALTER TABLE orders NO FORCE ROW LEVEL SECURITY",
        "DROP POLICY orders_select ON orders",
    ):
        async with engine.connect() as connection:
            with pytest.raises(sa.exc.ProgrammingError, match=r"permission denied|must be owner"):
                await connection.execute(sa.text(statement))


@pytest.mark.parametrize("name", sorted(metadata.tables))
def test_every_table_says_what_it_is_for(name: str) -> None:
    assert metadata.tables[name].comment


async def test_the_database_says_what_each_table_is_for(database: Database) -> None:
    async with as_superuser(database).connect() as connection:
        for name, table in metadata.tables.items():
            said = await connection.scalar(sa.text("SELECT obj_description(to_regclass(:name))"), {"name": name})
            assert said == table.comment
