"""The roles and the database that the application expects on its server."""

from api.embedded_postgres.server import PORT, SUPERUSER, EmbeddedPostgres
from domain.workspaces import SYSTEM_ROLE

OWNER_ROLE = "robot_jobs_owner"
"""Owns the database and its tables; migrations run as this role."""
APP_ROLE = "robot_jobs_app"
"""What the application connects as.  It can take on the role that serves all workspaces, and does not inherit it."""

_MISSING = """
    SELECT 1 AS step, format(
        CASE WHEN rolname IS NULL THEN 'CREATE' ELSE 'ALTER' END || ' ROLE %I %s NOSUPERUSER NOBYPASSRLS',
        wanted, CASE WHEN wanted = $4 THEN 'NOLOGIN' ELSE 'LOGIN' END
    ) AS statement
    FROM unnest(ARRAY[$2, $3, $4]::text[]) AS wanted
    LEFT JOIN pg_roles ON rolname = wanted
    WHERE (rolcanlogin = (wanted <> $4) AND NOT rolsuper AND NOT rolbypassrls) IS NOT TRUE
    UNION ALL
    SELECT 2, format('GRANT %I TO %I WITH INHERIT FALSE, SET TRUE', $4, $3)
    WHERE NOT EXISTS (
        SELECT FROM pg_auth_members
        WHERE roleid = to_regrole($4) AND member = to_regrole($3) AND set_option AND NOT inherit_option
    )
    UNION ALL
    SELECT 3, format(
        CASE WHEN datname IS NULL THEN 'CREATE DATABASE %I OWNER %I' ELSE 'ALTER DATABASE %I OWNER TO %I' END,
        wanted, $2::text
    )
    FROM unnest(ARRAY[$1]::text[]) AS wanted
    LEFT JOIN pg_database ON datname = wanted
    WHERE pg_get_userbyid(datdba) IS DISTINCT FROM $2::text
    ORDER BY step
"""
"""The statements that are still to be executed, for (database, owner, application, system)."""


async def ensure_roles_and_database(server: EmbeddedPostgres, database: str) -> None:
    """Create or put right what is missing: the roles, for whom policies hold, and the owner's database.

    Idempotent, and safe when several processes do it at once. One query if there is nothing to do.
    """
    import asyncpg  # type: ignore[import-untyped, unused-ignore]  # noqa: PLC0415 - costs 100 ms

    connection = await asyncpg.connect(
        host=str(server.socket_dir), port=PORT, user=SUPERUSER, database="postgres", ssl=False
    )
    try:
        if await connection.fetch(_MISSING, database, OWNER_ROLE, APP_ROLE, SYSTEM_ROLE):
            # A lock of the session, which ends with it: CREATE DATABASE refuses to run in a transaction.
            await connection.execute("SELECT pg_advisory_lock(hashtext('robot_jobs roles and database'))")
            for missing in await connection.fetch(_MISSING, database, OWNER_ROLE, APP_ROLE, SYSTEM_ROLE):
                await connection.execute(missing["statement"])
    finally:
        await connection.close()
