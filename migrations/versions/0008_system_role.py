"""The role of what serves all workspaces: readers that followers share, and sweeps.

Its policies name it, so those of the tenants, and their plans, are as they were.  What it may do at all is granted in
migrations/grants.py.  The role is of the whole server, and other databases may use it: it stays when this one goes down.
"""

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

# Several databases of one server may be migrated at once.
CREATE_ROLE = """
    DO $$
    BEGIN
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'robot_jobs_system') THEN
            CREATE ROLE robot_jobs_system NOLOGIN;
        END IF;
    EXCEPTION
        WHEN duplicate_object OR unique_violation THEN NULL;
        WHEN insufficient_privilege THEN RAISE insufficient_privilege USING MESSAGE =
            'the role robot_jobs_system is missing; as a superuser run: CREATE ROLE robot_jobs_system NOLOGIN';
    END $$
"""

READ = ("workspaces", "robot_jobs", "robot_job_items", "events")


def upgrade() -> None:
    op.execute(CREATE_ROLE)
    for table in READ:
        op.execute(f"CREATE POLICY {table}_system_select ON {table} FOR SELECT TO robot_jobs_system USING (true)")


def downgrade() -> None:
    for table in READ:
        op.execute(f"REVOKE ALL ON {table} FROM robot_jobs_system")
        op.execute(f"DROP POLICY {table}_system_select ON {table}")
