"""The first tables: tenants, orders, jobs, the event log and reference data, with row level security.

Tenancy is decided here.  A transaction says who asks and in which workspace (`enter_workspace`); every policy reads the
membership from `workspace_members`, so a revoked member sees nothing from the next transaction on.  Policies are FORCEd:
the tables' owner obeys them too.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

SCOPE = (
    """
    CREATE FUNCTION app_user_id() RETURNS text LANGUAGE sql STABLE AS $$
        SELECT nullif(current_setting('robot_jobs.user_id', true), '')
    $$
    """,
    """
    CREATE FUNCTION app_workspace_id() RETURNS uuid LANGUAGE sql STABLE AS $$
        SELECT m.workspace_id
        FROM workspace_members m
        WHERE m.user_id = app_user_id()
          AND m.workspace_id = nullif(current_setting('robot_jobs.workspace_id', true), '')::uuid
    $$
    """,
    """
    CREATE FUNCTION app_writable_workspace_id() RETURNS uuid LANGUAGE sql STABLE AS $$
        SELECT m.workspace_id
        FROM workspace_members m
        WHERE m.user_id = app_user_id()
          AND m.workspace_id = nullif(current_setting('robot_jobs.workspace_id', true), '')::uuid
          AND m.role IN ('operator', 'admin', 'robot')
    $$
    """,
    # Only for the tables' owner, that is for migrations and the command line: the API's role gains nothing by it.
    """
    CREATE FUNCTION app_is_system() RETURNS boolean LANGUAGE sql STABLE AS $$
        SELECT coalesce(current_setting('robot_jobs.system', true), '') = 'on'
           AND pg_has_role(current_user, c.relowner, 'MEMBER')
        FROM pg_class c
        WHERE c.oid = 'workspaces'::regclass
    $$
    """,
    # One round trip: says who asks, finds the membership under the policy, enters the workspace.
    """
    CREATE FUNCTION enter_workspace(p_user_id text, p_workspace_id uuid)
    RETURNS TABLE (workspace_id uuid, role text, memberships bigint) LANGUAGE plpgsql VOLATILE AS $$
    #variable_conflict use_variable
    BEGIN
        PERFORM set_config('robot_jobs.user_id', p_user_id, true), set_config('robot_jobs.workspace_id', '', true);
        SELECT count(*), (array_agg(m.workspace_id))[1], (array_agg(m.role))[1]
        INTO memberships, workspace_id, role
        FROM workspace_members m
        WHERE m.user_id = p_user_id AND (p_workspace_id IS NULL OR m.workspace_id = p_workspace_id);
        IF memberships = 1 THEN
            PERFORM set_config('robot_jobs.workspace_id', workspace_id::text, true);
        ELSE
            workspace_id := NULL;
            role := NULL;
        END IF;
        RETURN NEXT;
    END $$
    """,
)

# (SELECT f()) is evaluated once per statement, f() once per row.
HERE = "workspace_id = (SELECT app_workspace_id())"
WRITABLE = "workspace_id = (SELECT app_writable_workspace_id())"
OF_JOB = "EXISTS (SELECT 1 FROM robot_jobs j WHERE j.id = job_id)"
OF_WRITABLE_JOB = (
    "EXISTS (SELECT 1 FROM robot_jobs j WHERE j.id = job_id AND j.workspace_id = (SELECT app_writable_workspace_id()))"
)
OF_ORDER = "EXISTS (SELECT 1 FROM orders o WHERE o.id = order_id)"
OF_ITEM = "EXISTS (SELECT 1 FROM robot_job_items i WHERE i.id = item_id)"
OF_WRITABLE_ITEM = (
    "EXISTS (SELECT 1 FROM robot_job_items i JOIN robot_jobs j ON j.id = i.job_id WHERE i.id = item_id"
    " AND j.workspace_id = (SELECT app_writable_workspace_id()))"
)

# table -> (command, USING, WITH CHECK); None where the command has no such clause.
POLICIES: dict[str, list[tuple[str, str | None, str | None]]] = {
    "workspaces": [
        ("SELECT", "id IN (SELECT m.workspace_id FROM workspace_members m)", None),
        ("ALL", "(SELECT app_is_system())", "(SELECT app_is_system())"),
    ],
    "workspace_members": [
        ("SELECT", "user_id = (SELECT app_user_id())", None),
        ("ALL", "(SELECT app_is_system())", "(SELECT app_is_system())"),
    ],
    "orders": [("SELECT", HERE, None), ("INSERT", None, WRITABLE), ("UPDATE", WRITABLE, WRITABLE)],
    "robot_jobs": [("SELECT", HERE, None), ("INSERT", None, WRITABLE), ("UPDATE", WRITABLE, WRITABLE)],
    # Foreign keys ignore policies, so an item's policy asks that both its job and its order are visible here.
    "robot_job_items": [
        ("SELECT", OF_JOB, None),
        ("INSERT", None, f"{OF_WRITABLE_JOB} AND {OF_ORDER}"),
        ("UPDATE", OF_WRITABLE_JOB, f"{OF_WRITABLE_JOB} AND {OF_ORDER}"),
    ],
    "robot_job_attempts": [
        ("SELECT", OF_ITEM, None),
        ("INSERT", None, OF_WRITABLE_ITEM),
        ("UPDATE", OF_WRITABLE_ITEM, OF_WRITABLE_ITEM),
    ],
    "events": [("SELECT", HERE, None), ("INSERT", None, WRITABLE)],
}


def create_policies() -> None:
    for table, policies in POLICIES.items():
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
        op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
        for command, using, check in policies:
            clauses = "".join(
                f" {word} ({condition})" for word, condition in (("USING", using), ("WITH CHECK", check)) if condition
            )
            op.execute(f"CREATE POLICY {table}_{command.lower()} ON {table} FOR {command}{clauses}")


def upgrade() -> None:
    op.create_table(
        "dane_municipalities",
        sa.Column("dane_code", sa.Text(), nullable=False, comment="Five digits; leading zeros count."),
        sa.Column("department_code", sa.Text(), nullable=False),
        sa.Column("department_name", sa.Text(), nullable=False),
        sa.Column("municipality_name", sa.Text(), nullable=False),
        sa.CheckConstraint("dane_code ~ '^[0-9]{5}$'", name=op.f("ck_dane_municipalities_dane_code_digits")),
        sa.PrimaryKeyConstraint("dane_code", name=op.f("pk_dane_municipalities")),
        comment="DIVIPOLA, the official list of Colombia's municipalities (source: DANE).",
    )
    op.create_table(
        "department_abbreviations",
        sa.Column("department_name", sa.Text(), nullable=False),
        sa.Column("abbreviation", sa.Text(), nullable=False, comment="As the portal writes it; not unique."),
        sa.PrimaryKeyConstraint("department_name", name=op.f("pk_department_abbreviations")),
        comment="How Coordinadora's portal abbreviates each department.",
    )
    op.create_table(
        "reference_data_loads",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False, comment="Of the file that was loaded."),
        sa.Column("row_count", sa.Integer(), nullable=False),
        sa.Column(
            "loaded_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_reference_data_loads")),
        comment="Which edition of each reference file is loaded: loading again is then a no-op.",
    )
    op.create_table(
        "workspaces",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.CheckConstraint("length(name) BETWEEN 1 AND 200", name=op.f("ck_workspaces_name_length")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_workspaces")),
        comment="The tenants.",
    )
    op.create_table(
        "carrier_coverage",
        sa.Column("carrier", sa.Text(), nullable=False),
        sa.Column("carrier_city", sa.Text(), nullable=False, comment="The portal's own text, sent back exactly."),
        sa.Column("city_name", sa.Text(), nullable=False),
        sa.Column("department_abbrev", sa.Text(), nullable=False),
        sa.Column("supports_cod", sa.Boolean(), nullable=False),
        sa.Column("dane_code", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["dane_code"], ["dane_municipalities.dane_code"], name=op.f("fk_carrier_coverage_dane_code")
        ),
        sa.PrimaryKeyConstraint("carrier", "carrier_city", name=op.f("pk_carrier_coverage")),
        comment="The cities a carrier serves, and where it takes cash on delivery.",
    )
    op.create_table(
        "events",
        sa.Column("workspace_id", sa.Uuid(), nullable=False),
        sa.Column(
            "stream_id",
            sa.Uuid(),
            nullable=False,
            comment="A job's id, or an order's for order/field.changed.",
        ),
        sa.Column("seq", sa.BigInteger(), nullable=False, comment="1, 2, 3 … within the stream, without gaps."),
        sa.Column(
            "id",
            sa.Uuid(),
            nullable=False,
            comment="Stable across deliveries: receivers drop what they have seen.",
        ),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("job_id", sa.Uuid(), nullable=True),
        sa.Column("item_id", sa.Uuid(), nullable=True),
        sa.Column("payload", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column(
            "occurred_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.CheckConstraint("seq > 0", name=op.f("ck_events_seq_positive")),
        sa.ForeignKeyConstraint(
            ["workspace_id"], ["workspaces.id"], name=op.f("fk_events_workspace_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("workspace_id", "stream_id", "seq", name=op.f("pk_events")),
        sa.UniqueConstraint("workspace_id", "id", name=op.f("uq_events_workspace_id_id")),
        comment="The event log, written in the transaction of the change.  Rows are never changed.",
    )
    op.create_table(
        "orders",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("workspace_id", sa.Uuid(), nullable=False),
        sa.Column("reference", sa.Text(), nullable=False, comment="The shop's own order number."),
        sa.Column("recipient_name", sa.Text(), nullable=False),
        sa.Column("recipient_phone", sa.Text(), nullable=False, comment="As typed."),
        sa.Column("recipient_email", sa.Text(), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("city", sa.Text(), nullable=False, comment="As typed; see validated_city of an item."),
        sa.Column("department", sa.Text(), nullable=False, comment="As typed."),
        sa.Column("products", sa.Text(), nullable=False),
        sa.Column("units", sa.Integer(), nullable=False),
        sa.Column("total_cop", sa.Numeric(precision=14, scale=2), nullable=False, comment="Colombian pesos."),
        sa.Column(
            "declared_value_cop",
            sa.Numeric(precision=14, scale=2),
            nullable=False,
            comment="Colombian pesos.",
        ),
        sa.Column(
            "tags",
            sa.Text(),
            nullable=False,
            comment="As typed, separated by semicolons; P/A is paid in advance.",
        ),
        sa.Column(
            "is_cod",
            sa.Boolean(),
            nullable=False,
            comment="Cash on delivery: the carrier collects total_cop.",
        ),
        sa.Column("stage", sa.Text(), nullable=True, comment="Where the shop's own process has it."),
        sa.Column("carrier", sa.Text(), nullable=True, comment="Who shipped it."),
        sa.Column("tracking_number", sa.Text(), nullable=True, comment="The carrier's pedido number."),
        sa.Column("carrier_guide_number", sa.Text(), nullable=True, comment="The carrier's later guía number."),
        sa.Column("archived_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_event_seq", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.Column(
            "updated_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.CheckConstraint("length(reference) BETWEEN 1 AND 100", name=op.f("ck_orders_reference_length")),
        sa.CheckConstraint("total_cop >= 0 AND declared_value_cop >= 0", name=op.f("ck_orders_amounts_positive")),
        sa.CheckConstraint("units BETWEEN 1 AND 10000", name=op.f("ck_orders_units_range")),
        sa.ForeignKeyConstraint(
            ["workspace_id"], ["workspaces.id"], name=op.f("fk_orders_workspace_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_orders")),
        sa.UniqueConstraint("workspace_id", "reference", name=op.f("uq_orders_workspace_id_reference")),
        comment="A shop's orders: what shipping needs, and what comes back from the carrier.",
    )
    op.create_index("ix_orders_workspace_id_id", "orders", ["workspace_id", "id"], unique=False)
    op.create_table(
        "robot_jobs",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("workspace_id", sa.Uuid(), nullable=False),
        sa.Column("carrier", sa.Text(), nullable=False),
        sa.Column("job_type", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), server_default="pending", nullable=False),
        sa.Column("total_items", sa.Integer(), nullable=False),
        sa.Column("success_count", sa.Integer(), server_default="0", nullable=False),
        sa.Column("error_count", sa.Integer(), server_default="0", nullable=False),
        sa.Column("cancelled_count", sa.Integer(), server_default="0", nullable=False),
        sa.Column("idempotency_key", sa.Text(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True, comment="Why the job as a whole failed or was cancelled."),
        sa.Column("created_by", sa.Text(), nullable=False, comment="The user id of who created it."),
        sa.Column("last_event_seq", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column(
            "started_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="When the first item was taken up or closed.",
        ),
        sa.Column(
            "completed_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="When the last open item was closed.",
        ),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.Column(
            "updated_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.CheckConstraint(
            "(status IN ('pending', 'processing')) = (completed_at IS NULL)",
            name=op.f("ck_robot_jobs_completed_at_when_finished"),
        ),
        sa.CheckConstraint("carrier IN ('coordinadora')", name=op.f("ck_robot_jobs_carrier_known")),
        sa.CheckConstraint("job_type IN ('create_shipment')", name=op.f("ck_robot_jobs_job_type_known")),
        sa.CheckConstraint(
            "status IN ('pending', 'processing', 'completed', 'failed', 'cancelled')",
            name=op.f("ck_robot_jobs_status_known"),
        ),
        sa.CheckConstraint(
            "success_count + error_count + cancelled_count <= total_items",
            name=op.f("ck_robot_jobs_counts_within_total"),
        ),
        sa.CheckConstraint(
            "success_count >= 0 AND error_count >= 0 AND cancelled_count >= 0",
            name=op.f("ck_robot_jobs_counts_positive"),
        ),
        sa.ForeignKeyConstraint(
            ["workspace_id"], ["workspaces.id"], name=op.f("fk_robot_jobs_workspace_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_robot_jobs")),
        comment="A batch of orders for one carrier.  Its row is the lock of all that happens within the job.",
    )
    op.create_index(
        "ix_robot_jobs_active",
        "robot_jobs",
        ["workspace_id", "carrier", "job_type", "id"],
        unique=False,
        postgresql_where=sa.text("status IN ('pending', 'processing')"),
    )
    op.create_index("ix_robot_jobs_workspace_id_id", "robot_jobs", ["workspace_id", "id"], unique=False)
    op.create_index(
        "uq_robot_jobs_active_idempotency_key",
        "robot_jobs",
        ["workspace_id", "idempotency_key"],
        unique=True,
        postgresql_where=sa.text("status IN ('pending', 'processing')"),
    )
    op.create_table(
        "workspace_members",
        sa.Column("workspace_id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False, comment="The subject (`sub`) of the person's token."),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.CheckConstraint(
            "role IN ('viewer', 'operator', 'admin', 'robot')", name=op.f("ck_workspace_members_role_known")
        ),
        sa.CheckConstraint("length(user_id) BETWEEN 1 AND 255", name=op.f("ck_workspace_members_user_id_length")),
        sa.ForeignKeyConstraint(
            ["workspace_id"],
            ["workspaces.id"],
            name=op.f("fk_workspace_members_workspace_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("workspace_id", "user_id", name=op.f("pk_workspace_members")),
        comment="Who belongs to which workspace, and as what.  Row level security reads access from here.",
    )
    op.create_index("ix_workspace_members_user_id", "workspace_members", ["user_id"], unique=False)
    op.create_table(
        "robot_job_items",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.Column("order_id", sa.Uuid(), nullable=False),
        sa.Column("status", sa.Text(), server_default="pending", nullable=False),
        sa.Column(
            "attempt",
            sa.Integer(),
            server_default="1",
            nullable=False,
            comment="The current try; the first is 1.",
        ),
        sa.Column("retry_count", sa.Integer(), server_default="0", nullable=False),
        sa.Column("tracking_number", sa.Text(), nullable=True, comment="The carrier's pedido number."),
        sa.Column("carrier_guide_number", sa.Text(), nullable=True, comment="The carrier's later guía number."),
        sa.Column(
            "validated_city",
            sa.Text(),
            nullable=True,
            comment="The carrier city found at creation; null when none was.",
        ),
        sa.Column(
            "value_sent",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=True,
            comment="The pedido input: what is typed into the portal.",
        ),
        sa.Column("error_type", sa.Text(), nullable=True),
        sa.Column("error_message", sa.Text(), nullable=True),
        sa.Column(
            "outcome_unknown",
            sa.Boolean(),
            server_default=sa.text("false"),
            nullable=False,
            comment="True when nobody knows whether the parcel exists: it is not retried before that is settled.",
        ),
        sa.Column(
            "closed_by",
            sa.Text(),
            nullable=True,
            comment="robot: a reported result; system: failed, cancelled or expired.",
        ),
        sa.Column(
            "review_reason",
            sa.Text(),
            nullable=True,
            comment="Why a person must look: a parcel may exist twice.",
        ),
        sa.Column("last_retry_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("completed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.Column(
            "updated_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.CheckConstraint(
            "(status = 'error') = (error_type IS NOT NULL)",
            name=op.f("ck_robot_job_items_error_type_when_error"),
        ),
        sa.CheckConstraint(
            "(status IN ('success', 'error', 'cancelled')) = (completed_at IS NOT NULL) AND (completed_at IS NULL) = (closed_by IS NULL)",
            name=op.f("ck_robot_job_items_completed_at_when_closed"),
        ),
        sa.CheckConstraint(
            "NOT outcome_unknown OR (status = 'error' AND error_type = 'timeout')",
            name=op.f("ck_robot_job_items_outcome_unknown_when_timeout"),
        ),
        sa.CheckConstraint("closed_by IN ('robot', 'system')", name=op.f("ck_robot_job_items_closed_by_known")),
        sa.CheckConstraint(
            "error_type IN ('validation', 'portal', 'timeout', 'unknown')",
            name=op.f("ck_robot_job_items_error_type_known"),
        ),
        sa.CheckConstraint(
            "status IN ('pending', 'processing', 'success', 'error', 'cancelled')",
            name=op.f("ck_robot_job_items_status_known"),
        ),
        sa.CheckConstraint(
            "tracking_number IS NULL OR status = 'success'",
            name=op.f("ck_robot_job_items_tracking_number_when_success"),
        ),
        sa.CheckConstraint(
            "attempt >= 1 AND retry_count = attempt - 1",
            name=op.f("ck_robot_job_items_retry_count_is_attempt_less_one"),
        ),
        sa.ForeignKeyConstraint(
            ["job_id"], ["robot_jobs.id"], name=op.f("fk_robot_job_items_job_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["order_id"], ["orders.id"], name=op.f("fk_robot_job_items_order_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_robot_job_items")),
        sa.UniqueConstraint("job_id", "order_id", name=op.f("uq_robot_job_items_job_id_order_id")),
        comment="One order within a job.  Its tenant is its job's: the policy goes through the parent.",
    )
    op.create_index("ix_robot_job_items_job_id_id", "robot_job_items", ["job_id", "id"], unique=False)
    op.create_index("ix_robot_job_items_order_id", "robot_job_items", ["order_id"], unique=False)
    op.create_index(
        "uq_robot_job_items_open_order",
        "robot_job_items",
        ["order_id"],
        unique=True,
        postgresql_where=sa.text("status IN ('pending', 'processing') OR outcome_unknown"),
    )
    op.create_table(
        "robot_job_attempts",
        sa.Column("item_id", sa.Uuid(), nullable=False),
        sa.Column("attempt", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("tracking_number", sa.Text(), nullable=True),
        sa.Column("carrier_guide_number", sa.Text(), nullable=True),
        sa.Column("error_type", sa.Text(), nullable=True),
        sa.Column("error_message", sa.Text(), nullable=True),
        sa.Column("closed_by", sa.Text(), nullable=False),
        sa.Column("reported_by", sa.Text(), nullable=False, comment="The user id of who closed it."),
        sa.Column(
            "late_results",
            postgresql.JSONB(astext_type=sa.Text()),
            server_default=sa.text("'[]'"),
            nullable=False,
            comment="Results that came for this attempt after it was closed, oldest first; kept for review.",
        ),
        sa.Column("late_result_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column(
            "completed_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.CheckConstraint("closed_by IN ('robot', 'system')", name=op.f("ck_robot_job_attempts_closed_by_known")),
        sa.CheckConstraint(
            "error_type IN ('validation', 'portal', 'timeout', 'unknown')",
            name=op.f("ck_robot_job_attempts_error_type_known"),
        ),
        sa.CheckConstraint(
            "status IN ('pending', 'processing', 'success', 'error', 'cancelled')",
            name=op.f("ck_robot_job_attempts_status_known"),
        ),
        sa.ForeignKeyConstraint(
            ["item_id"],
            ["robot_job_items.id"],
            name=op.f("fk_robot_job_attempts_item_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("item_id", "attempt", name=op.f("pk_robot_job_attempts")),
        comment="One row per closed try of an item; how it ended is never changed.",
    )
    for function in SCOPE:
        op.execute(function)
    create_policies()


def downgrade() -> None:
    for table, policies in POLICIES.items():
        for command, _, _ in policies:
            op.execute(f"DROP POLICY {table}_{command.lower()} ON {table}")
    op.drop_table("robot_job_attempts")
    op.drop_index(
        "uq_robot_job_items_open_order",
        table_name="robot_job_items",
        postgresql_where=sa.text("status IN ('pending', 'processing') OR outcome_unknown"),
    )
    op.drop_index("ix_robot_job_items_order_id", table_name="robot_job_items")
    op.drop_index("ix_robot_job_items_job_id_id", table_name="robot_job_items")
    op.drop_table("robot_job_items")
    op.drop_index("ix_workspace_members_user_id", table_name="workspace_members")
    op.drop_table("workspace_members")
    op.drop_index(
        "uq_robot_jobs_active_idempotency_key",
        table_name="robot_jobs",
        postgresql_where=sa.text("status IN ('pending', 'processing')"),
    )
    op.drop_index("ix_robot_jobs_workspace_id_id", table_name="robot_jobs")
    op.drop_index(
        "ix_robot_jobs_active",
        table_name="robot_jobs",
        postgresql_where=sa.text("status IN ('pending', 'processing')"),
    )
    op.drop_table("robot_jobs")
    op.drop_index("ix_orders_workspace_id_id", table_name="orders")
    op.drop_table("orders")
    op.drop_table("events")
    op.drop_table("carrier_coverage")
    op.drop_table("workspaces")
    op.drop_table("reference_data_loads")
    op.drop_table("department_abbreviations")
    op.drop_table("dane_municipalities")
    op.execute("DROP FUNCTION enter_workspace(text, uuid)")
    for function in ("app_is_system", "app_writable_workspace_id", "app_workspace_id", "app_user_id"):
        op.execute(f"DROP FUNCTION {function}()")
