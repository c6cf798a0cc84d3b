"""What has been removed of a job's log, and how sweeps find the jobs, and the orders' events, that are due.

The index of jobs is of those with events only: it stays small however many jobs have been swept.  `has_events` is a
column, for an index on what it is computed from would keep results from updating a job's row in place.
"""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "robot_jobs",
        sa.Column(
            "removed_event_seq",
            sa.BigInteger(),
            server_default="0",
            nullable=False,
            comment="The job's events up to this number have been removed.",
        ),
    )
    op.add_column(
        "robot_jobs",
        sa.Column(
            "has_events",
            sa.Boolean(),
            sa.Computed("last_event_seq > removed_event_seq", persisted=True),
            nullable=False,
            comment="Whether events are left to be removed.",
        ),
    )
    op.create_check_constraint(
        op.f("ck_robot_jobs_removed_events_are_past"),
        "robot_jobs",
        "removed_event_seq BETWEEN 0 AND last_event_seq",
    )
    op.create_index(
        "ix_robot_jobs_finished_with_events",
        "robot_jobs",
        ["completed_at"],
        postgresql_where=sa.text("has_events AND completed_at IS NOT NULL"),
    )
    op.create_index(
        "ix_events_of_orders_occurred_at", "events", ["occurred_at"], postgresql_where=sa.text("job_id IS NULL")
    )
    op.execute(
        "COMMENT ON TABLE events IS 'The event log, written in the transaction of the change.  Rows are never "
        "changed; old ones are removed.'"
    )
    op.execute("CREATE POLICY events_system_delete ON events FOR DELETE TO robot_jobs_system USING (true)")
    op.execute(
        "CREATE POLICY robot_jobs_system_update ON robot_jobs FOR UPDATE TO robot_jobs_system"
        " USING (true) WITH CHECK (true)"
    )


def downgrade() -> None:
    op.execute("REVOKE UPDATE (removed_event_seq) ON robot_jobs FROM robot_jobs_system")
    op.execute("REVOKE DELETE ON events FROM robot_jobs_system")
    op.execute("DROP POLICY robot_jobs_system_update ON robot_jobs")
    op.execute("DROP POLICY events_system_delete ON events")
    op.execute(
        "COMMENT ON TABLE events IS 'The event log, written in the transaction of the change.  Rows are never changed.'"
    )
    op.drop_index("ix_events_of_orders_occurred_at", "events")
    op.drop_index("ix_robot_jobs_finished_with_events", "robot_jobs")
    op.drop_constraint(op.f("ck_robot_jobs_removed_events_are_past"), "robot_jobs")
    op.drop_column("robot_jobs", "has_events")
    op.drop_column("robot_jobs", "removed_event_seq")
