"""What creating a job records: the number that an order had when it was said to ship it again, documents, typed input."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "orders",
        sa.Column(
            "recipient_document",
            sa.Text(),
            server_default="",
            nullable=False,
            comment="Of identity, as typed; empty where the shop does not ask for it.",
        ),
    )
    op.create_index(
        "ix_orders_not_shipped",
        "orders",
        ["workspace_id", "id"],
        postgresql_where=sa.text("tracking_number IS NULL AND archived_at IS NULL"),
    )
    op.add_column(
        "robot_jobs",
        sa.Column(
            "ship_again_reason",
            sa.Text(),
            nullable=True,
            comment="Why shipped orders go out once more; null: they may not.",
        ),
    )
    op.add_column(
        "robot_job_items",
        sa.Column(
            "previous_tracking_number",
            sa.Text(),
            nullable=True,
            comment="The order's number when a person said to ship it again; null in all other jobs.",
        ),
    )
    op.add_column(
        "robot_job_attempts",
        sa.Column(
            "value_sent",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=True,
            comment="What was typed into the portal in this try.",
        ),
    )


def downgrade() -> None:
    op.drop_column("robot_job_attempts", "value_sent")
    op.drop_column("robot_job_items", "previous_tracking_number")
    op.drop_column("robot_jobs", "ship_again_reason")
    op.drop_index("ix_orders_not_shipped", table_name="orders")
    op.drop_column("orders", "recipient_document")
