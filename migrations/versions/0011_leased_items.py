"""What is leased, by job: a claim counts the leases of its own account, whatever others have leased."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index(
        "ix_robot_job_items_leased",
        "robot_job_items",
        ["job_id"],
        postgresql_where=sa.text("lease_expires_at IS NOT NULL"),
    )


def downgrade() -> None:
    op.drop_index("ix_robot_job_items_leased", "robot_job_items")
