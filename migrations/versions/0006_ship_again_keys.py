"""The idempotency key of a job that ships again is good once: the same request, repeated late, makes no third parcel."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index(
        "uq_robot_jobs_ship_again_idempotency_key",
        "robot_jobs",
        ["workspace_id", "idempotency_key"],
        unique=True,
        postgresql_where=sa.text("ship_again_reason IS NOT NULL"),
    )


def downgrade() -> None:
    op.drop_index("uq_robot_jobs_ship_again_idempotency_key", table_name="robot_jobs")
