"""PostgreSQL on a laptop with nothing to install: started for the first process, stopped after the last.

The reasons, and what was measured: docs/decisions/0002-embedded-postgresql.md.
"""

from api.embedded_postgres.errors import EmbeddedPostgresError
from api.embedded_postgres.roles import APP_ROLE, OWNER_ROLE, ensure_roles_and_database
from api.embedded_postgres.server import EmbeddedPostgres, start_embedded_postgres

__all__ = [
    "APP_ROLE",
    "OWNER_ROLE",
    "EmbeddedPostgres",
    "EmbeddedPostgresError",
    "ensure_roles_and_database",
    "start_embedded_postgres",
]
