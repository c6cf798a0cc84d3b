"""Who still has access, asked for many at once.

Streams live long, and each process asks again every few seconds for all who follow there.  `list_access` tells its
transaction of whom it asks; the policies of `workspace_members` and `api_keys` show the rows of those, as they show the
one row to somebody who enters a workspace; and when it answers, nobody is told any more.
"""

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

SCOPE = (
    """
    CREATE FUNCTION app_user_ids() RETURNS text[] LANGUAGE sql STABLE AS $$
        SELECT coalesce(nullif(current_setting('robot_jobs.user_ids', true), '')::text[], ARRAY[app_user_id()])
    $$
    """,
    """
    CREATE FUNCTION app_api_key_sha256s() RETURNS bytea[] LANGUAGE sql STABLE AS $$
        SELECT coalesce(
            nullif(current_setting('robot_jobs.api_key_sha256s', true), '')::bytea[], ARRAY[app_api_key_sha256()]
        )
    $$
    """,
    # The members and the keys that have access now: of a member the role, of a key that it is good.  A key is asked for
    # by its id, for two may begin alike; which rows are shown, the policies decide by the hashes.
    """
    CREATE FUNCTION list_access(
        p_user_ids text[], p_workspace_ids uuid[], p_api_key_ids uuid[], p_secret_sha256s bytea[]
    )
    RETURNS TABLE (user_id text, workspace_id uuid, role text, api_key_id uuid, is_use_due boolean)
    LANGUAGE plpgsql VOLATILE AS $$
    #variable_conflict use_column
    BEGIN
        PERFORM
            set_config('robot_jobs.user_ids', p_user_ids::text, true),
            set_config('robot_jobs.api_key_sha256s', p_secret_sha256s::text, true);
        RETURN QUERY
            SELECT m.user_id, m.workspace_id, m.role, NULL::uuid, false
            FROM unnest(p_user_ids, p_workspace_ids) AS asked (user_id, workspace_id)
            JOIN workspace_members m ON m.user_id = asked.user_id AND m.workspace_id = asked.workspace_id
            UNION ALL
            SELECT NULL, NULL, NULL, k.id, coalesce(k.last_used_at < now() - interval '1 minute', true)
            FROM api_keys k
            WHERE k.id = ANY (p_api_key_ids);
        PERFORM
            set_config('robot_jobs.user_ids', '', true),
            set_config('robot_jobs.api_key_sha256s', '', true);
    END $$
    """,
)

FUNCTIONS = ("list_access(text[], uuid[], uuid[], bytea[])", "app_api_key_sha256s()", "app_user_ids()")

_KEY_IS_VALID = "revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())"
_KEY_IS_MANAGED = "workspace_id = (SELECT app_managed_workspace_id()) OR (SELECT app_is_system())"

# (name, table, USING) as changed here, and as before.
CHANGED = (
    ("workspace_members_select", "workspace_members", "user_id = ANY ((SELECT app_user_ids())::text[])"),
    (
        "api_keys_select",
        "api_keys",
        f"(secret_sha256 = ANY ((SELECT app_api_key_sha256s())::bytea[]) AND {_KEY_IS_VALID}) OR {_KEY_IS_MANAGED}",
    ),
)
BEFORE = (
    ("workspace_members_select", "workspace_members", "user_id = (SELECT app_user_id())"),
    (
        "api_keys_select",
        "api_keys",
        f"(secret_sha256 = (SELECT app_api_key_sha256()) AND {_KEY_IS_VALID}) OR {_KEY_IS_MANAGED}",
    ),
)


def upgrade() -> None:
    for function in SCOPE:
        op.execute(function)
    for name, table, using in CHANGED:
        op.execute(f"ALTER POLICY {name} ON {table} USING ({using})")


def downgrade() -> None:
    for name, table, using in BEFORE:
        op.execute(f"ALTER POLICY {name} ON {table} USING ({using})")
    for function in FUNCTIONS:
        op.execute(f"DROP FUNCTION {function}")
