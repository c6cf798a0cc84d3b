"""What the API's roles may do with each table: just what they need.  Rows are then a matter of the policies."""

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.workspaces import SYSTEM_ROLE

READ = "SELECT"
APPEND = "SELECT, INSERT"
WRITE = "SELECT, INSERT, UPDATE"

GRANTS = {
    "alembic_version": READ,
    "workspaces": READ,
    "workspace_members": READ,
    # Nobody reads the hash of a secret, and nothing of a key is changed but that it is revoked, and when it was used.
    "api_keys": (
        "SELECT (id, workspace_id, name, prefix, carriers, created_by, created_at, expires_at, revoked_at,"
        " last_used_at), "
        "INSERT (id, workspace_id, name, prefix, secret_sha256, carriers, created_by, expires_at), "
        "UPDATE (revoked_at, last_used_at)"
    ),
    "dane_municipalities": READ,
    "department_abbreviations": READ,
    "carrier_coverage": READ,
    "reference_data_loads": READ,
    "orders": WRITE,
    "robot_jobs": WRITE,
    "robot_job_items": WRITE,
    "robot_job_attempts": WRITE,
    "events": APPEND,
    "carrier_configs": "SELECT, INSERT, UPDATE, DELETE",
    # No UPDATE: only the system rewraps keys.  To replace a password is to delete and insert.
    "carrier_secrets": "SELECT, INSERT, DELETE",
    "credential_reads": APPEND,
    "carrier_accounts": WRITE,
    "robot_job_lookups": WRITE,
    "reserved_numbers": APPEND,
    "evidence": APPEND,
}

# Of the role that serves all workspaces (`enter_all_workspaces`): what a shared reader or a sweep needs, and no more.
SYSTEM_GRANTS = {
    "workspaces": READ,
    "robot_jobs": (
        "SELECT, UPDATE (removed_event_seq, status, success_count, error_count, cancelled_count, error,"
        " last_event_seq, started_at, completed_at, updated_at)"
    ),
    # Of an item all that ends a lease, and nothing of what it is about.
    "robot_job_items": (
        "SELECT, UPDATE (status, attempt, retry_count, tracking_number, carrier_guide_number, error_type,"
        " error_message, outcome_unknown, closed_by, review_reason, started_at, completed_at, updated_at,"
        " lease_token, leased_by, lease_expires_at, claim_id)"
    ),
    "robot_job_attempts": "SELECT, INSERT, UPDATE (late_results, late_result_at, robot, steps)",
    "events": "SELECT, INSERT, DELETE",
    # Which account is served next, and which one robots have died over.
    "carrier_accounts": (
        "SELECT, UPDATE (portal_errors, paused_at, pause_reason, pause_message, probe_at, is_probing)"
    ),
    "orders": "SELECT (id, tracking_number)",
    "carrier_configs": "SELECT (workspace_id, carrier, is_enabled, max_concurrent_leases)",
    "robot_job_lookups": READ,
    "evidence": "SELECT (id, expires_at), DELETE",
}

_CHANGED_MEANWHILE = {"42710", "23505", "XX000"}  # duplicate_object, unique_violation, tuple concurrently updated
_TRIES = 5


class SystemRoleMissing(Exception):
    """One line: what somebody who may make roles has to run."""

    def __init__(self, app_role: str, statements: list[str]) -> None:
        run = "; ".join(statements)
        super().__init__(f"the role {app_role} cannot take on {SYSTEM_ROLE} as it should; as a superuser run: {run}")


# Who serves tenants must be able to take the system role on (SET ROLE), and must not have its rights otherwise.  From
# PostgreSQL 16 on a membership says so.  In 15 the member does, for all that it belongs to: so a role stands between
# that inherits nothing, and the API's own role stays as it is.
_MISSING = sa.text("""
    WITH server AS (SELECT current_setting('server_version_num')::int >= 160000 AS is_by_membership),
    known AS (
        SELECT app.rolname, is_by_membership, system.oid IS NULL AS lacks_system, between.oid IS NULL AS lacks_between,
               pg_has_role(app.oid, system.oid, CASE WHEN is_by_membership THEN 'SET' ELSE 'MEMBER' END) AS can_set,
               pg_has_role(app.oid, system.oid, 'USAGE') AS inherits,
               pg_has_role(app.oid, between.oid, 'MEMBER') AS is_member_of_between,
               pg_has_role(between.oid, system.oid, 'MEMBER') AS is_between
        FROM server
        CROSS JOIN pg_roles app
        LEFT JOIN pg_roles system ON system.rolname = :system_role
        LEFT JOIN pg_roles between ON between.rolname = :between
        WHERE app.rolname = :app_role AND NOT app.rolsuper
    ),
    wrong AS (SELECT * FROM known WHERE (can_set AND NOT inherits) IS NOT TRUE)
    SELECT 1 AS step, format('CREATE ROLE %I NOLOGIN', :system_role) AS statement FROM wrong WHERE lacks_system
    UNION ALL
    SELECT 2, format('GRANT %I TO %I WITH INHERIT FALSE, SET TRUE', :system_role, rolname)
    FROM wrong WHERE is_by_membership
    UNION ALL
    SELECT 3, format('REVOKE %I FROM %I', :system_role, rolname) FROM wrong WHERE NOT is_by_membership AND inherits
    UNION ALL
    SELECT 4, format('CREATE ROLE %I NOLOGIN NOINHERIT', :between)
    FROM wrong WHERE NOT is_by_membership AND lacks_between
    UNION ALL
    SELECT 5, format('GRANT %I TO %I', :system_role, :between)
    FROM wrong WHERE NOT is_by_membership AND is_between IS NOT TRUE
    UNION ALL
    SELECT 6, format('GRANT %I TO %I', :between, rolname)
    FROM wrong WHERE NOT is_by_membership AND is_member_of_between IS NOT TRUE
    ORDER BY step
""").bindparams(
    sa.bindparam("system_role", SYSTEM_ROLE, type_=sa.Text),
    sa.bindparam("between", f"{SYSTEM_ROLE}_member", type_=sa.Text),
    sa.bindparam("app_role", type_=sa.Text),
)


async def list_missing_roles(connection: AsyncConnection, app_role: str) -> list[str]:
    """The statements after which that role can take the system role on, and has its rights only then."""
    rows = await connection.execute(_MISSING, {"app_role": app_role})
    return [row.statement for row in rows]


async def ensure_system_role(connection: AsyncConnection, app_role: str) -> None:
    """Idempotent, also when other databases of the server do it at once.  Raises SystemRoleMissing if it may not."""
    for tries_left in reversed(range(_TRIES)):
        missing = await list_missing_roles(connection, app_role)
        try:
            async with connection.begin_nested():
                for statement in missing:
                    await connection.execute(sa.text(statement))
        except DBAPIError as error:
            match getattr(error.orig, "sqlstate", None):
                case "42501":  # insufficient_privilege
                    raise SystemRoleMissing(app_role, missing) from error
                case state if state in _CHANGED_MEANWHILE and tries_left:
                    continue
            raise
        return


async def grant_to(connection: AsyncConnection, role: str) -> None:
    """Idempotent.  The tables' owner has all rights already, and so is given none."""
    await _grant(connection, SYSTEM_GRANTS, SYSTEM_ROLE)
    if role != await connection.scalar(sa.select(sa.func.current_user())):
        await _grant(connection, GRANTS, role)


async def _grant(connection: AsyncConnection, grants: dict[str, str], role: str) -> None:
    quoted = connection.dialect.identifier_preparer.quote_identifier(role)
    for table, rights in grants.items():
        await connection.execute(sa.text(f"GRANT {rights} ON {table} TO {quoted}"))
