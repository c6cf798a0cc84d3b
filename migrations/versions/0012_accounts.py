"""Accounts that pause and take turns, look-ups of unknown outcomes, numbers that are reserved, the sandbox's carrier."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

# (table, constraint, condition now, condition before)
KNOWN_CARRIERS = (
    (
        "robot_jobs",
        "carrier_known",
        "carrier IN ('coordinadora', 'sandbox')",
        "carrier IN ('coordinadora')",
    ),
    (
        "carrier_configs",
        "carrier_known",
        "carrier IN ('coordinadora', 'sandbox')",
        "carrier IN ('coordinadora')",
    ),
    (
        "api_keys",
        "carriers_known",
        "cardinality(carriers) > 0 AND carriers <@ ARRAY['coordinadora', 'sandbox']",
        "cardinality(carriers) > 0 AND carriers <@ ARRAY['coordinadora']",
    ),
)

CLAIM = "The robot's name for the claim that leased it: the same claim again is answered alike."
LEASED = (
    "num_nulls(lease_token, leased_by, lease_expires_at) IN (0, 3) AND (lease_token IS NULL OR status = 'processing')"
)
CLAIMED = "(claim_id IS NULL OR lease_token IS NOT NULL)"
HERE = "workspace_id = (SELECT app_workspace_id())"
WRITABLE = "workspace_id = (SELECT app_writable_workspace_id())"
OF_CARRIER = "coalesce(carrier = ANY ((SELECT app_carriers())::text[]), true)"
OF_ITEM = "EXISTS (SELECT 1 FROM robot_job_items i WHERE i.id = item_id)"
OF_WRITABLE_ITEM = (
    "EXISTS (SELECT 1 FROM robot_job_items i JOIN robot_jobs j ON j.id = i.job_id WHERE i.id = item_id"
    " AND j.workspace_id = (SELECT app_writable_workspace_id()))"
)
POLICIES: dict[str, list[tuple[str, str | None, str | None]]] = {
    "carrier_accounts": [
        ("SELECT", f"{HERE} AND {OF_CARRIER}", None),
        ("INSERT", None, f"{WRITABLE} AND {OF_CARRIER}"),
        ("UPDATE", f"{WRITABLE} AND {OF_CARRIER}", f"{WRITABLE} AND {OF_CARRIER}"),
    ],
    "robot_job_lookups": [
        ("SELECT", OF_ITEM, None),
        ("INSERT", None, OF_WRITABLE_ITEM),
        ("UPDATE", OF_WRITABLE_ITEM, OF_WRITABLE_ITEM),
    ],
    "reserved_numbers": [
        ("SELECT", f"{HERE} AND {OF_CARRIER}", None),
        # Foreign keys ignore policies.
        ("INSERT", None, f"{WRITABLE} AND {OF_CARRIER} AND {OF_WRITABLE_ITEM}"),
    ],
}
# Which workspace is served next is asked of all of them.
SYSTEM_POLICIES = (
    ("carrier_accounts", "SELECT", "USING (true)"),
    ("carrier_configs", "SELECT", "USING (true)"),
    ("orders", "SELECT", "USING (true)"),
    ("robot_job_lookups", "SELECT", "USING (true)"),
)
REVOKED = (
    "REVOKE ALL (workspace_id, carrier, is_enabled, max_concurrent_leases) ON carrier_configs FROM robot_jobs_system",
    "REVOKE ALL (id, tracking_number) ON orders FROM robot_jobs_system",
)


def upgrade() -> None:
    # The same edition is loaded again, for the sandbox serves these cities too.
    op.execute("DELETE FROM reference_data_loads WHERE name = 'coordinadora_coverage'")
    for table, name, condition, _ in KNOWN_CARRIERS:
        _replace_check(table, name, condition)
    _create_accounts()
    _create_lookups()
    _create_reserved_numbers()
    for table in ("robot_job_items", "robot_job_attempts"):
        op.add_column(
            table,
            sa.Column(
                "reserved_number",
                sa.Text(),
                nullable=True,
                comment="The number that the robot reserved at the portal for this try, before the button.",
            ),
        )
    op.add_column("robot_job_items", sa.Column("claim_id", sa.Uuid(), nullable=True, comment=CLAIM))
    _replace_check("robot_job_items", "leased_when_processing", f"{LEASED} AND {CLAIMED}")
    op.create_index(
        "ix_robot_job_items_claim_id", "robot_job_items", ["claim_id"], postgresql_where=sa.text("claim_id IS NOT NULL")
    )
    op.create_index(
        "ix_robot_job_items_outcome_unknown", "robot_job_items", ["job_id"], postgresql_where=sa.text("outcome_unknown")
    )
    for table, policies in POLICIES.items():
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
        op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
        for command, using, check in policies:
            clauses = "".join(
                f" {word} ({condition})" for word, condition in (("USING", using), ("WITH CHECK", check)) if condition
            )
            op.execute(f"CREATE POLICY {table}_{command.lower()} ON {table} FOR {command}{clauses}")
    for table, command, clauses in SYSTEM_POLICIES:
        op.execute(
            f"CREATE POLICY {table}_system_{command.lower()} ON {table} FOR {command} TO robot_jobs_system {clauses}"
        )


def _replace_check(table: str, name: str, condition: str, *, is_valid: bool = True) -> None:
    op.drop_constraint(op.f(f"ck_{table}_{name}"), table)
    op.create_check_constraint(op.f(f"ck_{table}_{name}"), table, condition, postgresql_not_valid=not is_valid)


def _create_accounts() -> None:
    op.create_table(
        "carrier_accounts",
        sa.Column("workspace_id", sa.Uuid(), nullable=False),
        sa.Column("carrier", sa.Text(), nullable=False),
        sa.Column(
            "last_claimed_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="Robots of all workspaces serve the longest forgotten first.",
        ),
        sa.Column("portal_errors", sa.Integer(), server_default="0", nullable=False, comment="In a row, until now."),
        sa.Column(
            "paused_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="From then on nothing is claimed but probes.",
        ),
        sa.Column("pause_reason", sa.Text(), nullable=True),
        sa.Column("pause_message", sa.Text(), nullable=True, comment="What the portal said, for people."),
        sa.Column(
            "probe_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="From then on one item is tried; null: when somebody has looked.",
        ),
        sa.Column("probes", sa.Integer(), server_default="0", nullable=False, comment="Tried since it was paused."),
        sa.Column(
            "is_probing",
            sa.Boolean(),
            server_default=sa.false(),
            nullable=False,
            comment="An item was given out to see whether all is well again.",
        ),
        sa.Column(
            "login_worked_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="Null: not yet since it was set or changed.",
        ),
        sa.CheckConstraint("carrier IN ('coordinadora', 'sandbox')", name=op.f("ck_carrier_accounts_carrier_known")),
        sa.CheckConstraint(
            "pause_reason IN ('login_refused', 'portal_errors')", name=op.f("ck_carrier_accounts_pause_reason_known")
        ),
        sa.CheckConstraint("portal_errors >= 0 AND probes >= 0", name=op.f("ck_carrier_accounts_counts_positive")),
        sa.CheckConstraint(
            "num_nulls(paused_at, pause_reason, pause_message) IN (0, 3) AND "
            "(paused_at IS NOT NULL OR (probe_at IS NULL AND NOT is_probing))",
            name=op.f("ck_carrier_accounts_pause_is_whole"),
        ),
        sa.ForeignKeyConstraint(
            ["workspace_id"], ["workspaces.id"], name=op.f("fk_carrier_accounts_workspace_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("workspace_id", "carrier", name=op.f("pk_carrier_accounts")),
        comment="What robots have met at a carrier with a workspace's login.  No row: nothing yet.",
    )


def _create_lookups() -> None:
    op.create_table(
        "robot_job_lookups",
        sa.Column("item_id", sa.Uuid(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False, comment="Whose outcome is looked up."),
        sa.Column(
            "lease_token", sa.Uuid(), nullable=True, comment="Of the robot that looks it up now; null when none does."
        ),
        sa.Column("leased_by", sa.Text(), nullable=True, comment="The user id of that robot."),
        sa.Column("lease_expires_at", sa.DateTime(timezone=True), nullable=True, comment="From then on another may."),
        sa.Column(
            "not_before",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="It was looked up and could not be settled; again from then on.",
        ),
        sa.Column("tries", sa.Integer(), server_default="0", nullable=False, comment="How often robots looked."),
        sa.Column("claim_id", sa.Uuid(), nullable=True, comment=CLAIM),
        sa.CheckConstraint(
            f"num_nulls(lease_token, leased_by, lease_expires_at) IN (0, 3) AND {CLAIMED}",
            name=op.f("ck_robot_job_lookups_lease_is_whole"),
        ),
        sa.ForeignKeyConstraint(
            ["item_id"], ["robot_job_items.id"], name=op.f("fk_robot_job_lookups_item_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("item_id", name=op.f("pk_robot_job_lookups")),
        comment="Robots that look for a parcel of which nobody knows.",
    )
    op.create_index(
        "ix_robot_job_lookups_leased",
        "robot_job_lookups",
        ["item_id"],
        postgresql_where=sa.text("lease_token IS NOT NULL"),
    )


def _create_reserved_numbers() -> None:
    op.create_table(
        "reserved_numbers",
        sa.Column("workspace_id", sa.Uuid(), nullable=False),
        sa.Column("carrier", sa.Text(), nullable=False),
        sa.Column("number", sa.Text(), nullable=False),
        sa.Column("item_id", sa.Uuid(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column(
            "reserved_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.ForeignKeyConstraint(
            ["item_id"], ["robot_job_items.id"], name=op.f("fk_reserved_numbers_item_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("workspace_id", "carrier", "number", name=op.f("pk_reserved_numbers")),
        comment="Numbers that tries have reserved at a portal: each is of one try, whatever became of it.",
    )
    op.create_index("ix_reserved_numbers_item_id", "reserved_numbers", ["item_id"])


def downgrade() -> None:
    for table, command, _ in SYSTEM_POLICIES:
        op.execute(f"DROP POLICY {table}_system_{command.lower()} ON {table}")
    for statement in REVOKED:
        op.execute(statement)
    op.drop_index("ix_robot_job_items_outcome_unknown", "robot_job_items")
    op.drop_index("ix_robot_job_items_claim_id", "robot_job_items")
    _replace_check("robot_job_items", "leased_when_processing", LEASED)
    op.drop_column("robot_job_items", "claim_id")
    for table in ("robot_job_attempts", "robot_job_items"):
        op.drop_column(table, "reserved_number")
    for table in ("reserved_numbers", "robot_job_lookups", "carrier_accounts"):
        op.drop_table(table)
    op.execute("DELETE FROM carrier_coverage WHERE carrier = 'sandbox'")
    for table, name, _, condition in KNOWN_CARRIERS:  # what the sandbox has shipped stays
        _replace_check(table, name, condition, is_valid=False)
