"""What robots say of their attempts: who they are, and step by step what they did."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
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


def downgrade() -> None:
    for constraint in ("steps_length", "robot_length"):
        op.drop_constraint(op.f(f"ck_robot_job_attempts_{constraint}"), "robot_job_attempts")
    for column in ("steps", "robot"):
        op.drop_column("robot_job_attempts", column)
