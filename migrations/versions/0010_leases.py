"""Leases: which robot works on which item until when, what it has submitted, and what was found out afterwards.

Two partial indexes hold what is in hand, and so stay small however many items have been closed: the pending items by
job, from which robots claim, and the leases by when they run out, which a sweep reads.
"""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

# What the sweep of expired leases reads and writes in all workspaces; each is granted in migrations/grants.py.
SYSTEM_POLICIES = (
    ("robot_job_items", "UPDATE", "USING (true) WITH CHECK (true)"),
    ("robot_job_attempts", "SELECT", "USING (true)"),
    ("robot_job_attempts", "INSERT", "WITH CHECK (true)"),
    ("robot_job_attempts", "UPDATE", "USING (true) WITH CHECK (true)"),
    ("events", "INSERT", "WITH CHECK (true)"),
)
REVOKED = (
    "REVOKE ALL ON robot_job_attempts FROM robot_jobs_system",
    "REVOKE ALL ON robot_job_items FROM robot_jobs_system",
    "GRANT SELECT ON robot_job_items TO robot_jobs_system",
    "REVOKE INSERT ON events FROM robot_jobs_system",
    "REVOKE ALL ON robot_jobs FROM robot_jobs_system",
    "GRANT SELECT, UPDATE (removed_event_seq) ON robot_jobs TO robot_jobs_system",
)


def upgrade() -> None:
    op.add_column(
        "robot_jobs",
        sa.Column(
            "cancel_requested_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="From when on nothing more of it is begun; what a robot had submitted by then is finished.",
        ),
    )
    op.add_column(
        "carrier_configs",
        sa.Column(
            "max_concurrent_leases",
            sa.Integer(),
            server_default="1",
            nullable=False,
            comment="How many items robots may work on at once with this login; many portals allow one session.",
        ),
    )
    op.create_check_constraint(
        op.f("ck_carrier_configs_max_concurrent_leases_range"),
        "carrier_configs",
        "max_concurrent_leases BETWEEN 1 AND 100",
    )
    _upgrade_items()
    _upgrade_attempts()
    for table, command, clauses in SYSTEM_POLICIES:
        op.execute(
            f"CREATE POLICY {table}_system_{command.lower()} ON {table} FOR {command} TO robot_jobs_system {clauses}"
        )


def _upgrade_items() -> None:
    for column in (
        sa.Column(
            "lease_token", sa.Uuid(), nullable=True, comment="Of the robot that works on it now; null when none does."
        ),
        sa.Column("leased_by", sa.Text(), nullable=True, comment="The user id of that robot."),
        sa.Column(
            "lease_expires_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="From then on a sweep may take it from the robot.",
        ),
        sa.Column(
            "submitted_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="The robot has pressed the portal's button in this try, or is about to.",
        ),
    ):
        op.add_column("robot_job_items", column)
    op.drop_constraint(op.f("ck_robot_job_items_outcome_unknown_when_timeout"), "robot_job_items")
    op.create_check_constraint(
        op.f("ck_robot_job_items_outcome_unknown_when_error"),
        "robot_job_items",
        "NOT outcome_unknown OR (status = 'error' AND error_type IN ('timeout', 'unknown'))",
    )
    op.create_check_constraint(
        op.f("ck_robot_job_items_leased_when_processing"),
        "robot_job_items",
        "num_nulls(lease_token, leased_by, lease_expires_at) IN (0, 3) "
        "AND (lease_token IS NULL OR status = 'processing')",
    )
    op.create_check_constraint(
        op.f("ck_robot_job_items_submitted_at_when_taken_up"),
        "robot_job_items",
        "submitted_at IS NULL OR status <> 'pending'",
    )
    op.create_index(
        "ix_robot_job_items_pending",
        "robot_job_items",
        ["job_id", "id"],
        postgresql_where=sa.text("status = 'pending'"),
    )
    op.create_index(
        "ix_robot_job_items_lease_expires_at",
        "robot_job_items",
        ["lease_expires_at"],
        postgresql_where=sa.text("lease_expires_at IS NOT NULL"),
    )


def _upgrade_attempts() -> None:
    for column in (
        sa.Column(
            "submitted_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="The portal's button was pressed, or was about to be.",
        ),
        sa.Column(
            "resolution",
            sa.Text(),
            nullable=True,
            comment="What was found out when nobody knew whether there was a parcel.",
        ),
        sa.Column("resolved_by", sa.Text(), nullable=True, comment="The user id of who found out."),
        sa.Column("resolution_reason", sa.Text(), nullable=True, comment="How it is known."),
        sa.Column("resolved_at", sa.DateTime(timezone=True), nullable=True),
    ):
        op.add_column("robot_job_attempts", column)
    op.create_check_constraint(
        op.f("ck_robot_job_attempts_resolution_known"),
        "robot_job_attempts",
        "resolution IN ('found', 'confirmed_absent')",
    )
    op.create_check_constraint(
        op.f("ck_robot_job_attempts_resolution_is_whole"),
        "robot_job_attempts",
        "num_nulls(resolution, resolved_by, resolution_reason, resolved_at) IN (0, 4)",
    )


def downgrade() -> None:
    for table, command, _ in SYSTEM_POLICIES:
        op.execute(f"DROP POLICY {table}_system_{command.lower()} ON {table}")
    for statement in REVOKED:
        op.execute(statement)
    for constraint in ("resolution_is_whole", "resolution_known"):
        op.drop_constraint(op.f(f"ck_robot_job_attempts_{constraint}"), "robot_job_attempts")
    for column in ("resolved_at", "resolution_reason", "resolved_by", "resolution", "submitted_at"):
        op.drop_column("robot_job_attempts", column)
    op.drop_index("ix_robot_job_items_lease_expires_at", "robot_job_items")
    op.drop_index("ix_robot_job_items_pending", "robot_job_items")
    for constraint in ("submitted_at_when_taken_up", "leased_when_processing", "outcome_unknown_when_error"):
        op.drop_constraint(op.f(f"ck_robot_job_items_{constraint}"), "robot_job_items")
    op.execute("ALTER TABLE robot_job_items NO FORCE ROW LEVEL SECURITY")  # its owner sees no rows otherwise
    op.execute("UPDATE robot_job_items SET error_type = 'timeout' WHERE outcome_unknown")
    op.execute("ALTER TABLE robot_job_items FORCE ROW LEVEL SECURITY")
    op.create_check_constraint(
        op.f("ck_robot_job_items_outcome_unknown_when_timeout"),
        "robot_job_items",
        "NOT outcome_unknown OR (status = 'error' AND error_type = 'timeout')",
    )
    for column in ("submitted_at", "lease_expires_at", "leased_by", "lease_token"):
        op.drop_column("robot_job_items", column)
    op.drop_constraint(op.f("ck_carrier_configs_max_concurrent_leases_range"), "carrier_configs")
    op.drop_column("carrier_configs", "max_concurrent_leases")
    op.drop_column("robot_jobs", "cancel_requested_at")
