"""Robots' API keys, and the policies that let a key in.

A transaction says by which key it comes (`enter_workspace_by_key`): the SHA-256 of its secret goes into a setting of the
transaction, and every policy finds the key's row by it.  A key that is revoked or expired is not found, so it has lost
access with the next transaction.  A key limited to some carriers sees the jobs of no others: `app_carriers()`.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

SCOPE = (
    """
    CREATE FUNCTION app_api_key_id() RETURNS uuid LANGUAGE sql STABLE AS $$
        SELECT nullif(current_setting('robot_jobs.api_key_id', true), '')::uuid
    $$
    """,
    """
    CREATE FUNCTION app_api_key_sha256() RETURNS bytea LANGUAGE sql STABLE AS $$
        SELECT decode(nullif(current_setting('robot_jobs.api_key_sha256', true), ''), 'hex')
    $$
    """,
    # NULL: not limited.
    """
    CREATE FUNCTION app_carriers() RETURNS text[] LANGUAGE sql STABLE AS $$
        SELECT nullif(current_setting('robot_jobs.carriers', true), '')::text[]
    $$
    """,
    """
    CREATE FUNCTION app_managed_workspace_id() RETURNS uuid LANGUAGE plpgsql STABLE AS $$
    BEGIN
        RETURN (
            SELECT m.workspace_id
            FROM workspace_members m
            WHERE m.user_id = app_user_id()
              AND m.workspace_id = nullif(current_setting('robot_jobs.workspace_id', true), '')::uuid
              AND m.role = 'admin'
        );
    END $$
    """,
    # PL/pgSQL keeps the plans of its queries for the session; an SQL function is planned anew by each statement.
    """
    CREATE OR REPLACE FUNCTION app_workspace_id() RETURNS uuid LANGUAGE plpgsql STABLE AS $$
    DECLARE
        v_named uuid := nullif(current_setting('robot_jobs.workspace_id', true), '')::uuid;
        v_key uuid := nullif(current_setting('robot_jobs.api_key_id', true), '')::uuid;
    BEGIN
        IF v_key IS NULL THEN
            RETURN (
                SELECT m.workspace_id
                FROM workspace_members m
                WHERE m.user_id = app_user_id() AND m.workspace_id = v_named
            );
        END IF;
        RETURN (
            SELECT v_named
            FROM api_keys k
            WHERE k.id = v_key AND (k.workspace_id IS NULL OR k.workspace_id = v_named)
        );
    END $$
    """,
    """
    CREATE OR REPLACE FUNCTION app_writable_workspace_id() RETURNS uuid LANGUAGE plpgsql STABLE AS $$
    DECLARE
        v_named uuid := nullif(current_setting('robot_jobs.workspace_id', true), '')::uuid;
        v_key uuid := nullif(current_setting('robot_jobs.api_key_id', true), '')::uuid;
    BEGIN
        IF v_key IS NULL THEN
            RETURN (
                SELECT m.workspace_id
                FROM workspace_members m
                WHERE m.user_id = app_user_id()
                  AND m.workspace_id = v_named
                  AND m.role IN ('operator', 'admin', 'robot')
            );
        END IF;
        RETURN (
            SELECT v_named
            FROM api_keys k
            WHERE k.id = v_key AND (k.workspace_id IS NULL OR k.workspace_id = v_named)
        );
    END $$
    """,
    # As in 0001, and leaves what a key may have entered before.
    """
    CREATE OR REPLACE FUNCTION enter_workspace(p_user_id text, p_workspace_id uuid)
    RETURNS TABLE (workspace_id uuid, role text, memberships bigint) LANGUAGE plpgsql VOLATILE AS $$
    #variable_conflict use_variable
    BEGIN
        PERFORM
            set_config('robot_jobs.user_id', p_user_id, true),
            set_config('robot_jobs.workspace_id', '', true),
            set_config('robot_jobs.api_key_id', '', true),
            set_config('robot_jobs.api_key_sha256', '', true),
            set_config('robot_jobs.carriers', '', true);
        SELECT count(*), (array_agg(m.workspace_id))[1], (array_agg(m.role))[1]
        INTO memberships, workspace_id, role
        FROM workspace_members m
        WHERE m.user_id = p_user_id AND (p_workspace_id IS NULL OR m.workspace_id = p_workspace_id);
        IF memberships = 1 THEN
            PERFORM set_config('robot_jobs.workspace_id', workspace_id::text, true);
        ELSE
            workspace_id := NULL;
            role := NULL;
        END IF;
        RETURN NEXT;
    END $$
    """,
    # Finds a key's row under the policy: there is none for a secret that is unknown, revoked or expired.  The prefix is
    # only the way to the row; which key it is, the policy decides by the hash.
    """
    CREATE FUNCTION present_api_key(p_prefix text, p_secret_sha256 text) RETURNS uuid LANGUAGE plpgsql VOLATILE AS $$
    DECLARE
        v_id uuid;
        v_carriers text[];
    BEGIN
        PERFORM
            set_config('robot_jobs.user_id', '', true),
            set_config('robot_jobs.system', '', true),
            set_config('robot_jobs.api_key_sha256', p_secret_sha256, true);
        SELECT k.id, k.carriers INTO v_id, v_carriers FROM api_keys k WHERE k.prefix = p_prefix;
        PERFORM
            set_config('robot_jobs.api_key_id', coalesce(v_id::text, ''), true),
            set_config('robot_jobs.carriers', coalesce(v_carriers::text, ''), true);
        RETURN v_id;
    END $$
    """,
    # One round trip.  A key of the installation has every workspace: it names one, unless there is only one.
    """
    CREATE FUNCTION enter_workspace_by_key(p_prefix text, p_secret_sha256 text, p_workspace_id uuid)
    RETURNS TABLE (api_key_id uuid, workspace_id uuid, carriers text[], is_use_due boolean, workspaces bigint)
    LANGUAGE plpgsql VOLATILE AS $$
    #variable_conflict use_variable
    BEGIN
        PERFORM set_config('robot_jobs.workspace_id', '', true);
        api_key_id := present_api_key(p_prefix, p_secret_sha256);
        SELECT k.workspace_id, k.carriers, coalesce(k.last_used_at < now() - interval '1 minute', true)
        INTO workspace_id, carriers, is_use_due
        FROM api_keys k
        WHERE k.id = api_key_id;
        IF workspace_id IS NULL AND p_workspace_id IS NULL THEN
            SELECT count(*), (array_agg(w.id))[1] INTO workspaces, workspace_id
            FROM (SELECT each.id FROM workspaces each LIMIT 2) w;
        ELSIF workspace_id IS NULL THEN
            SELECT count(*), (array_agg(w.id))[1] INTO workspaces, workspace_id
            FROM workspaces w
            WHERE w.id = p_workspace_id;
        ELSE
            workspaces := (p_workspace_id IS NULL OR p_workspace_id = workspace_id)::integer;
        END IF;
        IF workspaces <> 1 THEN
            workspace_id := NULL;
        END IF;
        PERFORM set_config('robot_jobs.workspace_id', coalesce(workspace_id::text, ''), true);
        RETURN NEXT;
    END $$
    """,
    # Where somebody may work, without entering a workspace, and without leaving one.
    """
    CREATE FUNCTION list_workspaces_of_user(p_user_id text)
    RETURNS TABLE (id uuid, name text, role text) LANGUAGE plpgsql VOLATILE AS $$
    #variable_conflict use_column
    BEGIN
        PERFORM set_config('robot_jobs.user_id', p_user_id, true);
        RETURN QUERY
            SELECT w.id, w.name, m.role
            FROM workspace_members m JOIN workspaces w ON w.id = m.workspace_id
            WHERE m.user_id = p_user_id
            ORDER BY w.name, w.id
            LIMIT 1000;
    END $$
    """,
    """
    CREATE FUNCTION list_workspaces_of_key(p_prefix text, p_secret_sha256 text)
    RETURNS TABLE (
        api_key_id uuid, key_workspace_id uuid, key_name text, prefix text, carriers text[], created_by text,
        created_at timestamptz, expires_at timestamptz, last_used_at timestamptz, is_use_due boolean,
        id uuid, name text
    ) LANGUAGE plpgsql VOLATILE AS $$
    #variable_conflict use_column
    DECLARE
        v_id uuid := present_api_key(p_prefix, p_secret_sha256);
    BEGIN
        RETURN QUERY
            SELECT k.id, k.workspace_id, k.name, k.prefix, k.carriers, k.created_by,
                   k.created_at, k.expires_at, k.last_used_at,
                   coalesce(k.last_used_at < now() - interval '1 minute', true),
                   w.id, w.name
            FROM api_keys k LEFT JOIN workspaces w ON k.workspace_id IS NULL OR w.id = k.workspace_id
            WHERE k.id = v_id
            ORDER BY w.name, w.id
            LIMIT 1000;
    END $$
    """,
    # Waits for nobody: whoever holds the row is recording the same.
    """
    CREATE FUNCTION record_api_key_use(p_prefix text, p_secret_sha256 text) RETURNS void LANGUAGE plpgsql VOLATILE AS $$
    DECLARE
        v_id uuid := present_api_key(p_prefix, p_secret_sha256);
    BEGIN
        UPDATE api_keys
        SET last_used_at = now()
        WHERE id = (
            SELECT k.id
            FROM api_keys k
            WHERE k.id = v_id AND coalesce(k.last_used_at < now() - interval '1 minute', true)
            FOR UPDATE SKIP LOCKED
        );
    END $$
    """,
)

FUNCTIONS = (
    "record_api_key_use(text, text)",
    "list_workspaces_of_key(text, text)",
    "list_workspaces_of_user(text)",
    "enter_workspace_by_key(text, text, uuid)",
    "present_api_key(text, text)",
    "app_managed_workspace_id()",
    "app_carriers()",
    "app_api_key_sha256()",
    "app_api_key_id()",
)

# The functions of 0001 that are replaced above, as they were.
SCOPE_BEFORE = (
    """
    CREATE OR REPLACE FUNCTION app_workspace_id() RETURNS uuid LANGUAGE sql STABLE AS $$
        SELECT m.workspace_id
        FROM workspace_members m
        WHERE m.user_id = app_user_id()
          AND m.workspace_id = nullif(current_setting('robot_jobs.workspace_id', true), '')::uuid
    $$
    """,
    """
    CREATE OR REPLACE FUNCTION app_writable_workspace_id() RETURNS uuid LANGUAGE sql STABLE AS $$
        SELECT m.workspace_id
        FROM workspace_members m
        WHERE m.user_id = app_user_id()
          AND m.workspace_id = nullif(current_setting('robot_jobs.workspace_id', true), '')::uuid
          AND m.role IN ('operator', 'admin', 'robot')
    $$
    """,
    """
    CREATE OR REPLACE FUNCTION enter_workspace(p_user_id text, p_workspace_id uuid)
    RETURNS TABLE (workspace_id uuid, role text, memberships bigint) LANGUAGE plpgsql VOLATILE AS $$
    #variable_conflict use_variable
    BEGIN
        PERFORM set_config('robot_jobs.user_id', p_user_id, true), set_config('robot_jobs.workspace_id', '', true);
        SELECT count(*), (array_agg(m.workspace_id))[1], (array_agg(m.role))[1]
        INTO memberships, workspace_id, role
        FROM workspace_members m
        WHERE m.user_id = p_user_id AND (p_workspace_id IS NULL OR m.workspace_id = p_workspace_id);
        IF memberships = 1 THEN
            PERFORM set_config('robot_jobs.workspace_id', workspace_id::text, true);
        ELSE
            workspace_id := NULL;
            role := NULL;
        END IF;
        RETURN NEXT;
    END $$
    """,
)

HERE = "workspace_id = (SELECT app_workspace_id())"
WRITABLE = "workspace_id = (SELECT app_writable_workspace_id())"
# Items and attempts follow: their policies ask for the job.
OF_CARRIER = "coalesce(carrier = ANY ((SELECT app_carriers())::text[]), true)"
OF_CARRIERS_JOB = (
    "((SELECT app_carriers()) IS NULL OR job_id IS NULL OR EXISTS (SELECT 1 FROM robot_jobs j WHERE j.id = job_id))"
)

# (table, command, USING, WITH CHECK) as changed here, and as in 0001.
CHANGED = (
    ("robot_jobs", "select", f"{HERE} AND {OF_CARRIER}", None),
    ("robot_jobs", "insert", None, f"{WRITABLE} AND {OF_CARRIER}"),
    ("robot_jobs", "update", f"{WRITABLE} AND {OF_CARRIER}", f"{WRITABLE} AND {OF_CARRIER}"),
    ("events", "select", f"{HERE} AND {OF_CARRIERS_JOB}", None),
    ("events", "insert", None, f"{WRITABLE} AND {OF_CARRIERS_JOB}"),
)
BEFORE = (
    ("robot_jobs", "select", HERE, None),
    ("robot_jobs", "insert", None, WRITABLE),
    ("robot_jobs", "update", WRITABLE, WRITABLE),
    ("events", "select", HERE, None),
    ("events", "insert", None, WRITABLE),
)

_OWN = "secret_sha256 = (SELECT app_api_key_sha256())"
_VALID = "revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())"
_MANAGED = "workspace_id = (SELECT app_managed_workspace_id()) OR (SELECT app_is_system())"

POLICIES = {
    # No right to read the hash is needed for a policy to compare it: the API's role has none.
    "api_keys_select": f"ON api_keys FOR SELECT USING (({_OWN} AND {_VALID}) OR {_MANAGED})",
    "api_keys_insert": f"ON api_keys FOR INSERT WITH CHECK ({_MANAGED})",
    # What is revoked stays as it is.
    "api_keys_update": f"ON api_keys FOR UPDATE USING (revoked_at IS NULL AND ({_OWN} OR {_MANAGED}))"
    f" WITH CHECK ({_OWN} OR {_MANAGED})",
    "workspaces_select_by_key": "ON workspaces FOR SELECT USING (EXISTS (SELECT 1 FROM api_keys k"
    " WHERE k.id = (SELECT app_api_key_id()) AND (k.workspace_id IS NULL OR k.workspace_id = workspaces.id)))",
}


def alter_policies(policies: tuple[tuple[str, str, str | None, str | None], ...]) -> None:
    for table, command, using, check in policies:
        clauses = "".join(
            f" {word} ({condition})" for word, condition in (("USING", using), ("WITH CHECK", check)) if condition
        )
        op.execute(f"ALTER POLICY {table}_{command} ON {table}{clauses}")


def upgrade() -> None:
    op.create_table(
        "api_keys",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column(
            "workspace_id",
            sa.Uuid(),
            nullable=True,
            comment="Null: a key of the installation, good for every workspace; only the command line makes those.",
        ),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("prefix", sa.Text(), nullable=False, comment="How the secret begins, to recognise it by."),
        sa.Column("secret_sha256", sa.LargeBinary(), nullable=False, comment="The secret itself is kept nowhere."),
        sa.Column(
            "carriers",
            postgresql.ARRAY(sa.Text()),
            nullable=True,
            comment="Sees only these carriers' jobs; null for all.",
        ),
        sa.Column("created_by", sa.Text(), nullable=False, comment="The user id of who created it."),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True, comment="Final."),
        sa.Column(
            "last_used_at", sa.DateTime(timezone=True), nullable=True, comment="To about a minute; null when never."
        ),
        sa.CheckConstraint("length(name) BETWEEN 1 AND 100", name=op.f("ck_api_keys_name_length")),
        sa.CheckConstraint("length(prefix) = 12", name=op.f("ck_api_keys_prefix_length")),
        sa.CheckConstraint("octet_length(secret_sha256) = 32", name=op.f("ck_api_keys_secret_sha256_length")),
        sa.CheckConstraint(
            "cardinality(carriers) > 0 AND carriers <@ ARRAY['coordinadora']", name=op.f("ck_api_keys_carriers_known")
        ),
        sa.ForeignKeyConstraint(
            ["workspace_id"], ["workspaces.id"], name=op.f("fk_api_keys_workspace_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_keys")),
        sa.UniqueConstraint("secret_sha256", name=op.f("uq_api_keys_secret_sha256")),
        comment="Robots' keys.  Row level security reads a robot's access from here.",
    )
    op.create_index("ix_api_keys_prefix", "api_keys", ["prefix"], unique=False)
    op.create_index("ix_api_keys_workspace_id_id", "api_keys", ["workspace_id", "id"], unique=False)
    for function in SCOPE:
        op.execute(function)
    op.execute("ALTER TABLE api_keys ENABLE ROW LEVEL SECURITY")
    op.execute("ALTER TABLE api_keys FORCE ROW LEVEL SECURITY")
    for name, rule in POLICIES.items():
        op.execute(f"CREATE POLICY {name} {rule}")
    alter_policies(CHANGED)


def downgrade() -> None:
    alter_policies(BEFORE)
    op.execute("DROP POLICY workspaces_select_by_key ON workspaces")
    for function in SCOPE_BEFORE:
        op.execute(function)
    op.drop_table("api_keys")
    for function in FUNCTIONS:
        op.execute(f"DROP FUNCTION {function}")
