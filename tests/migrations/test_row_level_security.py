"""An audit of the catalogue: no way to a tenant's rows but through a policy that asks who is here.

It reads what the database says of itself, so it objects to tables that nobody told it of.
"""

import re
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from api.embedded_postgres import APP_ROLE, OWNER_ROLE
from domain.workspaces import SYSTEM_ROLE
from migrations.grants import SYSTEM_GRANTS
from tests.conftest import Database
from tests.migrations.conftest import OnServer

# The same for all tenants, and read-only to the API.
OF_EVERYBODY = {
    "alembic_version": "the revision of the tables",
    "carrier_coverage": "the cities a carrier serves",
    "dane_municipalities": "the official list of municipalities",
    "department_abbreviations": "how the portal abbreviates",
    "reference_data_loads": "which edition of these is loaded",
}

# Unique keys that do not begin with the workspace, and why none of them tells one tenant of another.
UNIQUE_WITHOUT_WORKSPACE = {
    ("workspaces", ("id",)): "the tenant itself; a random id",
    ("orders", ("id",)): "a random id",
    ("robot_jobs", ("id",)): "a random id",
    ("robot_job_items", ("id",)): "a random id",
    ("robot_job_items", ("job_id", "order_id")): "the job has the tenant: its policy asks for job and order",
    ("robot_job_items", ("order_id",)): "the order has the tenant: its policy asks for job and order",
    ("robot_job_attempts", ("item_id", "attempt")): "the item has the tenant",
    ("robot_job_lookups", ("item_id",)): "the item has the tenant",
    ("evidence", ("id",)): "a random id",
    ("evidence", ("item_id", "attempt", "sha256")): "the item has the tenant",
    ("api_keys", ("id",)): "a random id",
    ("carrier_configs", ("id",)): "a random id",
    ("credential_reads", ("id",)): "a random id",
    ("api_keys", ("secret_sha256",)): "the hash of 256 random bits: nobody meets another's",
}

# What policies may call to know who asks; each only as (SELECT f()), which is evaluated once per statement.
SCOPE_FUNCTION = re.compile(r"\bapp_\w+\(\)")
ONCE_PER_STATEMENT = re.compile(r"\( ?SELECT (app_\w+\(\))(?: AS \w+)?\)")


async def audit(connection: AsyncConnection) -> list[str]:
    """Everything that is wrong with who may reach what, a line each."""
    return [
        *await _tables_without_policies(connection),
        *await _policies_that_ask_nobody(connection),
        *await _wrong_of_the_system_role(connection),
        *await _items_without_parents(connection),
        *await _ways_around(connection),
        *await _rights_too_many(connection),
        *await _unique_keys_across_tenants(connection),
    ]


async def _rows(connection: AsyncConnection, sql: str, **parameters: object) -> Sequence[sa.Row[Any]]:
    return (await connection.execute(sa.text(sql), parameters)).all()


async def _tables_without_policies(connection: AsyncConnection) -> list[str]:
    wrong = []
    tables = await _rows(
        connection,
        """
        SELECT c.relname AS name, c.relrowsecurity AND c.relforcerowsecurity AS is_forced,
               ARRAY(
                   SELECT p.cmd FROM pg_policies p
                   WHERE p.tablename = c.relname AND p.schemaname = 'public' AND p.roles = '{public}'
               ) AS has,
               ARRAY(
                   SELECT held FROM unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) AS held
                   WHERE has_table_privilege(:app, c.oid, held)
                      OR held <> 'DELETE' AND has_any_column_privilege(:app, c.oid, held)
               ) AS granted
        FROM pg_class c
        WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p', 'f')
        """,
        app=APP_ROLE,
    )
    for table in tables:
        if table.name in OF_EVERYBODY:
            if set(table.granted) - {"SELECT"}:
                wrong.append(f"{table.name} is of everybody, and the API may write it")
            continue
        if not table.is_forced:
            wrong.append(f"{table.name}: row level security is not enabled and forced")
        commands = set(table.has)
        for right in set(table.granted) - (commands if "ALL" not in commands else set(table.granted)):
            wrong.append(f"{table.name}: {right} is granted, and no policy is for it")
        for command in commands - set(table.granted) - {"ALL"}:
            wrong.append(f"{table.name}: a policy is for {command}, which is not granted")
    wrong += [f"{name} is of everybody, and not there" for name in OF_EVERYBODY.keys() - {each.name for each in tables}]
    return wrong


async def _policies_that_ask_nobody(connection: AsyncConnection) -> list[str]:
    wrong = []
    policies = await _rows(
        connection,
        """
        SELECT tablename, policyname, permissive, roles::text[] AS roles, cmd, clause
        FROM pg_policies, unnest(ARRAY[qual, with_check]) AS clause
        WHERE schemaname = 'public' AND clause IS NOT NULL
        """,
    )
    for policy in policies:
        name = f"{policy.tablename}.{policy.policyname}"
        if policy.roles == [SYSTEM_ROLE]:  # it asks nobody; see _wrong_of_the_system_role
            continue
        rest = ONCE_PER_STATEMENT.sub("", policy.clause)
        asks_a_parent = re.search(r"\bFROM (robot_jobs|robot_job_items|orders|workspace_members|api_keys)\b", rest)
        if rest == policy.clause and not asks_a_parent:
            wrong.append(f"{name} asks nobody: {policy.clause}")
        if alone := SCOPE_FUNCTION.findall(rest):
            wrong.append(f"{name} calls {alone[0]} once per row; write (SELECT {alone[0]})")
        # An alternative that is always true lets everybody in, whatever stands beside it.
        if re.search(r"(^|\bOR )\(?true\b|\btrue\)? OR\b", policy.clause):
            wrong.append(f"{name} is true for everybody: {policy.clause}")
        if policy.roles != ["public"]:
            wrong.append(f"{name} is for some roles only: {policy.roles}")
    return wrong


async def _wrong_of_the_system_role(connection: AsyncConnection) -> list[str]:
    """It sees every workspace: so nobody has its rights unasked, and they are those of the list, with a policy each."""
    wrong = []
    held = await _rows(
        connection,
        """
        SELECT c.relname AS "table", a.privilege_type AS "right", NULL AS "column"
        FROM pg_class c CROSS JOIN LATERAL aclexplode(c.relacl) a WHERE a.grantee = to_regrole(:system)
        UNION SELECT c.relname, a.privilege_type, t.attname::text
        FROM pg_class c JOIN pg_attribute t ON t.attrelid = c.oid CROSS JOIN LATERAL aclexplode(t.attacl) a
        WHERE a.grantee = to_regrole(:system)
        """,
        system=SYSTEM_ROLE,
    )
    declared = {
        (table, right, column)
        for table, rights in SYSTEM_GRANTS.items()
        for right, columns in re.findall(r"(\w+)(?: \(([^)]*)\))?", rights)
        for column in (columns.split(", ") if columns else [None])
    }
    wrong += [f"the system role: {each} is held and not declared" for each in {tuple(row) for row in held} - declared]
    wrong += [f"the system role: {each} is declared and not held" for each in declared - {tuple(row) for row in held}]
    policies = await _rows(
        connection,
        "SELECT tablename, cmd FROM pg_policies WHERE schemaname = 'public' AND :system = ANY (roles)",
        system=SYSTEM_ROLE,
    )
    for table, command in {(table, right) for table, right, _ in declared} ^ {tuple(row) for row in policies}:
        wrong.append(f"the system role: {command} on {table} is granted without a policy, or the other way round")
    role = (
        await _rows(
            connection,
            "SELECT rolcanlogin, rolsuper, rolbypassrls, rolcreaterole, rolcreatedb, rolreplication, "
            "EXISTS (SELECT FROM pg_auth_members m WHERE m.member = r.oid) AS is_member_of_others, "
            "EXISTS (SELECT FROM pg_class c WHERE c.relowner = r.oid) AS owns_something, "
            "pg_has_role(:app, r.oid, 'USAGE') AS is_inherited, "
            "pg_has_role(:owner, r.oid, 'USAGE') AS is_inherited_by_owner FROM pg_roles r WHERE r.rolname = :system",
            system=SYSTEM_ROLE,
            app=APP_ROLE,
            owner=OWNER_ROLE,
        )
    )[0]
    return wrong + [f"the system role: {name}" for name, has in role._asdict().items() if has]


async def _items_without_parents(connection: AsyncConnection) -> list[str]:
    """Foreign keys ignore policies: what may be written must point at rows that are visible."""
    checks = await _rows(
        connection,
        "SELECT cmd, with_check FROM pg_policies "
        "WHERE tablename = 'robot_job_items' AND cmd IN ('INSERT', 'UPDATE') AND roles = '{public}'",
    )
    wrong = [
        f"robot_job_items: {check.cmd} does not ask for {parent}"
        for check in checks
        for parent in ("robot_jobs", "orders")
        if f"FROM {parent} " not in (check.with_check or "")
    ]
    if {check.cmd for check in checks} != {"INSERT", "UPDATE"}:
        wrong.append("robot_job_items: no check of what is written")
    return wrong


async def _ways_around(connection: AsyncConnection) -> list[str]:
    wrong = []
    for view in await _rows(
        connection,
        "SELECT relname, relkind::text AS kind, coalesce(reloptions, '{}') AS options FROM pg_class "
        "WHERE relnamespace = 'public'::regnamespace AND relkind IN ('v', 'm')",
    ):
        if view.kind == "m" or not {"security_invoker=true", "security_invoker=on"} & set(view.options):
            wrong.append(f"{view.relname} is a view that sees with its owner's eyes")
    for function in await _rows(
        connection,
        "SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace AND prosecdef",
    ):
        wrong.append(f"{function.proname}() is SECURITY DEFINER")
    for schema in await _rows(
        connection,
        "SELECT nspname FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname NOT IN ('public', 'information_schema') "
        "AND has_schema_privilege(:app, oid, 'USAGE')",
        app=APP_ROLE,
    ):
        wrong.append(f"the schema {schema.nspname} is open, and nobody audits it")
    return wrong


async def _rights_too_many(connection: AsyncConnection) -> list[str]:
    wrong = []
    role = (
        await _rows(
            connection,
            "SELECT rolsuper, rolbypassrls, rolcreaterole, rolcreatedb, rolreplication, "
            "pg_has_role(:app, :owner, 'MEMBER') AS is_owner FROM pg_roles WHERE rolname = :app",
            app=APP_ROLE,
            owner=OWNER_ROLE,
        )
    )[0]
    wrong += [f"the API's role: {name}" for name, has in role._asdict().items() if has]
    for owned in await _rows(
        connection,
        "SELECT relname FROM pg_class WHERE relowner = CAST(:app AS regrole) "
        "UNION SELECT proname FROM pg_proc WHERE proowner = CAST(:app AS regrole) "
        "UNION SELECT nspname FROM pg_namespace WHERE nspowner = CAST(:app AS regrole)",
        app=APP_ROLE,
    ):
        wrong.append(f"the API's role owns {owned.relname}")
    for table in await _rows(
        connection,
        "SELECT DISTINCT c.relname FROM pg_class c CROSS JOIN LATERAL aclexplode(c.relacl) a "
        "WHERE c.relnamespace = 'public'::regnamespace AND a.grantee = 0 "
        "UNION SELECT c.relname FROM pg_class c JOIN pg_attribute t ON t.attrelid = c.oid "
        "CROSS JOIN LATERAL aclexplode(t.attacl) a WHERE c.relnamespace = 'public'::regnamespace AND a.grantee = 0",
    ):
        wrong.append(f"{table.relname} is granted to PUBLIC")
    for table in await _rows(
        connection,
        "SELECT relname FROM pg_class, unnest(ARRAY['TRUNCATE', 'REFERENCES', 'TRIGGER']) AS held "
        "WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') "
        "AND has_table_privilege(:app, oid, held)",
        app=APP_ROLE,
    ):
        wrong.append(f"{table.relname}: TRUNCATE, REFERENCES or TRIGGER, which no policy binds, is granted")
    return wrong


async def _unique_keys_across_tenants(connection: AsyncConnection) -> list[str]:
    """A duplicate tells that there is another: so only within one's own workspace."""
    keys = await _rows(
        connection,
        """
        SELECT t.relname AS name, i.indexrelid::regclass::text AS index,
               ARRAY(
                   SELECT coalesce(a.attname::text, '(an expression)')
                   FROM unnest(i.indkey::int2[]) WITH ORDINALITY AS k(number, position)
                   LEFT JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = k.number AND k.number > 0
                   WHERE k.position <= i.indnkeyatts
                   ORDER BY k.position
               ) AS columns
        FROM pg_index i JOIN pg_class t ON t.oid = i.indrelid
        WHERE t.relnamespace = 'public'::regnamespace AND (i.indisunique OR i.indisexclusion)
        """,
    )
    found = {(key.name, tuple(key.columns)): key.index for key in keys if key.name not in OF_EVERYBODY}
    wrong = [
        f"{index}: a unique key of {table} {columns} does not begin with the workspace"
        for (table, columns), index in found.items()
        if columns[0] != "workspace_id" and (table, columns) not in UNIQUE_WITHOUT_WORKSPACE
    ]
    return wrong + [
        f"{gone}: an exception for a key that is not there" for gone in UNIQUE_WITHOUT_WORKSPACE.keys() - found
    ]


# ---------------------------------------------------------------------------------------------- the audit


@pytest.fixture(scope="module")
async def superuser_engine(database: Database) -> AsyncIterator[AsyncEngine]:
    engine = create_async_engine(database.superuser_url, pool_size=1)
    yield engine
    await engine.dispose()


@pytest.fixture
async def superuser_here(superuser_engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """A transaction in which anything may be done; it is rolled back."""
    async with superuser_engine.connect() as connection:
        yield connection
        await connection.rollback()


async def test_nothing_is_wrong_on_any_version_that_is_supported(migrated: OnServer) -> None:
    async with migrated.as_superuser().connect() as connection:
        assert await audit(connection) == []


_BARE = "CREATE TABLE notes (id uuid PRIMARY KEY, workspace_id uuid NOT NULL, text text)"
_NOTES = "CREATE TABLE notes (workspace_id uuid, id uuid, text text, PRIMARY KEY (workspace_id, id))"
_ENABLED = f"{_NOTES}; ALTER TABLE notes ENABLE ROW LEVEL SECURITY"
_FORCED = f"{_ENABLED}; ALTER TABLE notes FORCE ROW LEVEL SECURITY; GRANT SELECT ON notes TO {APP_ROLE}"
_HERE = "workspace_id = (SELECT app_workspace_id())"
_GUARDED = f"{_FORCED}; CREATE POLICY notes_select ON notes FOR SELECT USING ({_HERE})"

# What somebody might do some day -> what the audit says of it.
MISTAKES = {
    "a bare table": (_BARE, "notes: row level security is not enabled and forced"),
    "a bare table's key": (_BARE, "a unique key of notes ('id',) does not begin with the workspace"),
    "not forced": (_ENABLED, "notes: row level security is not enabled and forced"),
    "no policy": (_FORCED, "notes: SELECT is granted, and no policy is for it"),
    "a right without a policy": (f"{_GUARDED}; GRANT DELETE ON notes TO {APP_ROLE}", "notes: DELETE is granted"),
    "a right to a column without a policy": (
        f"{_GUARDED}; GRANT UPDATE (text) ON notes TO {APP_ROLE}",
        "notes: UPDATE is granted",
    ),
    "a policy for what is not granted": (
        f"{_GUARDED}; CREATE POLICY notes_delete ON notes FOR DELETE USING ({_HERE})",
        "a policy is for DELETE, which is not granted",
    ),
    "true": (f"{_FORCED}; CREATE POLICY all_of_it ON notes FOR SELECT USING (true)", "notes.all_of_it asks nobody"),
    "or true": (
        f"{_FORCED}; CREATE POLICY all_of_it ON notes FOR SELECT USING ({_HERE} OR true)",
        "notes.all_of_it is true for everybody",
    ),
    "asks nobody": (
        f"{_FORCED}; CREATE POLICY loose ON notes FOR SELECT USING (text IS NOT NULL)",
        "notes.loose asks nobody",
    ),
    "once per row": (
        f"{_FORCED}; CREATE POLICY slow ON notes FOR SELECT USING (workspace_id = app_workspace_id())",
        "notes.slow calls app_workspace_id() once per row",
    ),
    "for some roles": (
        f"{_GUARDED}; CREATE POLICY special ON notes FOR SELECT TO {OWNER_ROLE} USING ({_HERE})",
        "notes.special is for some roles only",
    ),
    "for the system and another": (
        f"{_GUARDED}; CREATE POLICY special ON notes FOR SELECT TO {SYSTEM_ROLE}, {APP_ROLE} USING ({_HERE})",
        "notes.special is for some roles only",
    ),
    "the system sees more": (
        f"{_GUARDED}; CREATE POLICY special ON notes FOR SELECT TO {SYSTEM_ROLE} USING (true)",
        "the system role: SELECT on notes is granted without a policy",
    ),
    "the system may more": (
        f"GRANT SELECT ON orders TO {SYSTEM_ROLE}",
        "the system role: ('orders', 'SELECT', None) is held and not declared",
    ),
    "the system may write a column": (
        f"GRANT UPDATE (value_sent) ON robot_job_items TO {SYSTEM_ROLE}",
        "('robot_job_items', 'UPDATE', 'value_sent') is held and not declared",
    ),
    "the system may less": (f"REVOKE ALL ON events FROM {SYSTEM_ROLE}", "('events', 'SELECT', None) is declared"),
    "the system has no policy": ("DROP POLICY events_system_select ON events", "SELECT on events is granted without"),
    "the system's rights for nothing": (f"GRANT {SYSTEM_ROLE} TO {APP_ROLE} WITH INHERIT TRUE", "is_inherited"),
    "the system logs in": (f"ALTER ROLE {SYSTEM_ROLE} LOGIN", "the system role: rolcanlogin"),
    "the system bypasses": (f"ALTER ROLE {SYSTEM_ROLE} BYPASSRLS", "the system role: rolbypassrls"),
    "the system is somebody else too": (f"GRANT {OWNER_ROLE} TO {SYSTEM_ROLE}", "is_member_of_others"),
    "a table is loosened": ("ALTER TABLE orders NO FORCE ROW LEVEL SECURITY", "orders: row level security is not"),
    "a view": ("CREATE VIEW all_orders AS SELECT * FROM orders", "all_orders is a view that sees"),
    "a materialized view": ("CREATE MATERIALIZED VIEW all_orders AS SELECT * FROM orders", "all_orders is a view"),
    "a definer": (
        "CREATE FUNCTION peek() RETURNS bigint LANGUAGE sql SECURITY DEFINER AS 'SELECT count(*) FROM orders'",
        "peek() is SECURITY DEFINER",
    ),
    "another schema": (
        f"CREATE SCHEMA hidden; GRANT USAGE ON SCHEMA hidden TO {APP_ROLE}",
        "the schema hidden is open",
    ),
    "for the public": ("GRANT SELECT ON orders TO PUBLIC", "orders is granted to PUBLIC"),
    "columns for the public": ("GRANT SELECT (id) ON orders TO PUBLIC", "orders is granted to PUBLIC"),
    "truncate": (f"GRANT TRUNCATE ON orders TO {APP_ROLE}", "orders: TRUNCATE, REFERENCES or TRIGGER"),
    "reference data can be written": (
        f"GRANT UPDATE ON carrier_coverage TO {APP_ROLE}",
        "carrier_coverage is of everybody, and the API may write it",
    ),
    "the API owns a table": (f"ALTER TABLE orders OWNER TO {APP_ROLE}", "the API's role owns orders"),
    "the API is the owner": (f"GRANT {OWNER_ROLE} TO {APP_ROLE}", "the API's role: is_owner"),
    "the API bypasses": (f"ALTER ROLE {APP_ROLE} BYPASSRLS", "the API's role: rolbypassrls"),
    "a key across tenants": (
        "CREATE UNIQUE INDEX one_name ON robot_jobs (idempotency_key)",
        "one_name: a unique key of robot_jobs ('idempotency_key',)",
    ),
    "a key by an expression": (
        "CREATE UNIQUE INDEX one_name ON orders (lower(reference))",
        "one_name: a unique key of orders ('(an expression)',)",
    ),
    "items of any order": (
        "ALTER POLICY robot_job_items_insert ON robot_job_items"
        " WITH CHECK (EXISTS (SELECT 1 FROM robot_jobs j WHERE j.id = job_id))",
        "robot_job_items: INSERT does not ask for orders",
    ),
    "items of any job": (
        "ALTER POLICY robot_job_items_update ON robot_job_items"
        " WITH CHECK (EXISTS (SELECT 1 FROM orders o WHERE o.id = order_id))",
        "robot_job_items: UPDATE does not ask for robot_jobs",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
async def test_a_mistake_is_found(superuser_here: AsyncConnection, mistake: str) -> None:
    statements, said = MISTAKES[mistake]
    for statement in statements.split("; "):
        await superuser_here.execute(sa.text(statement))

    wrong = await audit(superuser_here)

    assert [line for line in wrong if said in line], wrong


async def test_a_table_that_is_guarded_is_not_objected_to(superuser_here: AsyncConnection) -> None:
    for statement in _GUARDED.split("; "):
        await superuser_here.execute(sa.text(statement))

    assert await audit(superuser_here) == []
