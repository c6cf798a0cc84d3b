"""What robots tell of their attempts: who they are, step by step what they did, and evidence of what they saw.

Evidence may come before its attempt is closed, and so before there is a row of that attempt: it belongs to the item.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

OF_ITEM = "EXISTS (SELECT 1 FROM robot_job_items i WHERE i.id = item_id)"
OF_WRITABLE_ITEM = (
    "EXISTS (SELECT 1 FROM robot_job_items i JOIN robot_jobs j ON j.id = i.job_id WHERE i.id = item_id"
    " AND j.workspace_id = (SELECT app_writable_workspace_id()))"
)
# Nobody changes evidence; who removes it is the sweep.  Each is granted in migrations/grants.py.
POLICIES = (
    f"CREATE POLICY evidence_select ON evidence FOR SELECT USING ({OF_ITEM})",
    f"CREATE POLICY evidence_insert ON evidence FOR INSERT WITH CHECK ({OF_WRITABLE_ITEM})",
    "CREATE POLICY evidence_system_select ON evidence FOR SELECT TO robot_jobs_system USING (true)",
    "CREATE POLICY evidence_system_delete ON evidence FOR DELETE TO robot_jobs_system USING (true)",
)


def upgrade() -> None:
    _upgrade_attempts()
    _create_evidence()


def _upgrade_attempts() -> None:
    for column in (
        sa.Column("robot", sa.Text(), nullable=True, comment="The name and version of the robot, as it says itself."),
        sa.Column(
            "steps",
            postgresql.JSONB(astext_type=sa.Text()),
            server_default=sa.text("'[]'"),
            nullable=False,
            comment="[{name, startedAt, durationMs, note}]: what the robot did, in its own words.",
        ),
    ):
        op.add_column("robot_job_attempts", column)
    op.create_check_constraint(op.f("ck_robot_job_attempts_robot_length"), "robot_job_attempts", "length(robot) <= 100")
    op.create_check_constraint(
        op.f("ck_robot_job_attempts_steps_length"),
        "robot_job_attempts",
        "CASE jsonb_typeof(steps) WHEN 'array' THEN jsonb_array_length(steps) <= 50 ELSE false END",
    )


def _create_evidence() -> None:
    op.create_table(
        "evidence",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("item_id", sa.Uuid(), nullable=False),
        sa.Column(
            "attempt",
            sa.Integer(),
            nullable=False,
            comment="It may be in hand still: only closed ones have a row.",
        ),
        sa.Column("content_type", sa.Text(), nullable=False),
        sa.Column("size_bytes", sa.Integer(), nullable=False),
        sa.Column("sha256", sa.LargeBinary(), nullable=False, comment="Of the bytes: the same ones are kept once."),
        sa.Column("created_by", sa.Text(), nullable=False, comment="The user id of who sent it."),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.Column(
            "expires_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="From then on a sweep removes it; null: never.",
        ),
        sa.CheckConstraint(
            "content_type IN ('image/png', 'image/jpeg', 'image/webp', 'text/plain', 'text/html', 'application/json')",
            name=op.f("ck_evidence_content_type_known"),
        ),
        sa.CheckConstraint("attempt >= 1", name=op.f("ck_evidence_attempt_positive")),
        sa.CheckConstraint("size_bytes BETWEEN 1 AND 2000000", name=op.f("ck_evidence_size_bytes_range")),
        sa.CheckConstraint("length(sha256) = 32", name=op.f("ck_evidence_sha256_length")),
        sa.ForeignKeyConstraint(
            ["item_id"], ["robot_job_items.id"], name=op.f("fk_evidence_item_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_evidence")),
        sa.UniqueConstraint("item_id", "attempt", "sha256", name=op.f("uq_evidence_item_id_attempt_sha256")),
        comment="What a robot saw in an attempt; the bytes are in the store, under the id.",
    )
    op.create_index(
        "ix_evidence_expires_at", "evidence", ["expires_at"], postgresql_where=sa.text("expires_at IS NOT NULL")
    )
    op.execute("ALTER TABLE evidence ENABLE ROW LEVEL SECURITY")
    op.execute("ALTER TABLE evidence FORCE ROW LEVEL SECURITY")
    for policy in POLICIES:
        op.execute(policy)


def downgrade() -> None:
    op.drop_table("evidence")
    for constraint in ("steps_length", "robot_length"):
        op.drop_constraint(op.f(f"ck_robot_job_attempts_{constraint}"), "robot_job_attempts")
    for column in ("steps", "robot"):
        op.drop_column("robot_job_attempts", column)
