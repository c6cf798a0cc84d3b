"""What the API's role may do with each table: just what it needs.  Rows are then a matter of the policies."""

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

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
}


async def grant_to(connection: AsyncConnection, role: str) -> None:
    """Idempotent.  Does nothing for the tables' owner, who has all rights already."""
    if role == await connection.scalar(sa.select(sa.func.current_user())):
        return
    quoted = connection.dialect.identifier_preparer.quote_identifier(role)
    for table, rights in GRANTS.items():
        await connection.execute(sa.text(f"GRANT {rights} ON {table} TO {quoted}"))
