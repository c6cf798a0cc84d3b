"""The sweep of expired leases counts robots that fell silent towards their account's pause."""

from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

COUNTED = "portal_errors, paused_at, pause_reason, pause_message, probe_at, is_probing"


def upgrade() -> None:
    # What of a row it may change is granted in migrations/grants.py.
    op.execute(
        "CREATE POLICY carrier_accounts_system_update ON carrier_accounts FOR UPDATE TO robot_jobs_system"
        " USING (true) WITH CHECK (true)"
    )


def downgrade() -> None:
    op.execute("DROP POLICY carrier_accounts_system_update ON carrier_accounts")
    op.execute(f"REVOKE UPDATE ({COUNTED}) ON carrier_accounts FROM robot_jobs_system")
