"""Carrier configs, their encrypted passwords, and who read them.

Admins write passwords and never read them, robots read and never write them: see docs/decisions/0008.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

SCOPE = (
    # Who may write here and is none of the people: members that are robots, and keys, which are no members.
    """
    CREATE FUNCTION app_robot_workspace_id() RETURNS uuid LANGUAGE sql STABLE AS $$
        SELECT here.workspace_id
        FROM (SELECT app_writable_workspace_id() AS workspace_id) here
        WHERE NOT EXISTS (
            SELECT 1 FROM workspace_members m
            WHERE m.user_id = app_user_id() AND m.workspace_id = here.workspace_id AND m.role <> 'robot'
        )
    $$
    """,
    # Which carrier's password the transaction replaces or removes.  A DELETE with a WHERE would need the right to read.
    """
    CREATE FUNCTION app_carrier() RETURNS text LANGUAGE sql STABLE AS $$
        SELECT nullif(current_setting('robot_jobs.carrier', true), '')
    $$
    """,
)

HERE = "workspace_id = (SELECT app_workspace_id())"
ADMIN = "workspace_id = (SELECT app_managed_workspace_id())"
ROBOT = "workspace_id = (SELECT app_robot_workspace_id())"
SYSTEM = "(SELECT app_is_system())"
# Not while a carrier is named: what is deleted then, without a WHERE, is one workspace's even in the system scope.
SYSTEM_ALONE = f"{SYSTEM} AND (SELECT app_carrier()) IS NULL"
# A key may be limited to some carriers (migration 0002); the setting is empty for whoever is not.
_LIMIT = "(SELECT nullif(current_setting('robot_jobs.carriers', true), ''))"
OF_ITS_CARRIER = f"({_LIMIT} IS NULL OR carrier = ANY ({_LIMIT}::text[]))"

# table -> (command, USING, WITH CHECK); None where the command has no such clause.
POLICIES: dict[str, list[tuple[str, str | None, str | None]]] = {
    "carrier_configs": [
        ("SELECT", HERE, None),
        ("INSERT", None, ADMIN),
        ("UPDATE", ADMIN, ADMIN),
        ("DELETE", ADMIN, None),
    ],
    # No policy lets an admin read: to replace a password is to delete the row blindly and to insert another.
    "carrier_secrets": [
        ("ALL", SYSTEM_ALONE, SYSTEM_ALONE),
        ("SELECT", f"{ROBOT} AND {OF_ITS_CARRIER}", None),
        ("INSERT", None, ADMIN),
        ("DELETE", f"{ADMIN} AND carrier = (SELECT app_carrier())", None),
    ],
    "credential_reads": [
        ("SELECT", ADMIN, None),
        ("INSERT", None, f"{ROBOT} OR {SYSTEM}"),
    ],
}


def upgrade() -> None:
    op.create_table(
        "carrier_configs",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("workspace_id", sa.Uuid(), nullable=False),
        sa.Column("carrier", sa.Text(), nullable=False),
        sa.Column("username", sa.Text(), nullable=False, comment="Of the carrier's portal."),
        sa.Column("is_enabled", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column(
            "dispatch_stage",
            sa.Text(),
            nullable=True,
            comment="Orders of that stage are ready for this carrier; null is any.",
        ),
        sa.Column("declared_value_cop", sa.Integer(), nullable=False, comment="Whole Colombian pesos, of one parcel."),
        sa.Column("weight_kg", sa.Numeric(precision=7, scale=3), nullable=False),
        sa.Column("height_cm", sa.Integer(), nullable=False),
        sa.Column("length_cm", sa.Integer(), nullable=False),
        sa.Column("width_cm", sa.Integer(), nullable=False),
        sa.Column(
            "reference",
            sa.Text(),
            nullable=True,
            comment="The form's reference text; null is the order's own reference.",
        ),
        sa.Column(
            "units_by_total",
            postgresql.JSONB(astext_type=sa.Text()),
            server_default=sa.text("'[]'"),
            nullable=False,
            comment="[{fromTotalCop, units}] by ascending total; empty is the order's own number of units.",
        ),
        sa.Column(
            "password_updated_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="When the password was last set; null when there is none.",
        ),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.Column(
            "updated_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.Column("updated_by", sa.Text(), nullable=False, comment="The user id of who changed it last."),
        sa.CheckConstraint(
            "CASE jsonb_typeof(units_by_total) WHEN 'array' THEN jsonb_array_length(units_by_total) <= 20 ELSE false END",
            name=op.f("ck_carrier_configs_units_by_total_steps"),
        ),
        sa.CheckConstraint("carrier IN ('coordinadora')", name=op.f("ck_carrier_configs_carrier_known")),
        sa.CheckConstraint(
            "declared_value_cop BETWEEN 0 AND 999999999", name=op.f("ck_carrier_configs_declared_value_cop_range")
        ),
        sa.CheckConstraint(
            "height_cm BETWEEN 1 AND 500 AND length_cm BETWEEN 1 AND 500 AND width_cm BETWEEN 1 AND 500",
            name=op.f("ck_carrier_configs_size_range"),
        ),
        sa.CheckConstraint(
            "length(dispatch_stage) BETWEEN 1 AND 100", name=op.f("ck_carrier_configs_dispatch_stage_length")
        ),
        sa.CheckConstraint("length(reference) BETWEEN 1 AND 100", name=op.f("ck_carrier_configs_reference_length")),
        sa.CheckConstraint("length(username) BETWEEN 1 AND 200", name=op.f("ck_carrier_configs_username_length")),
        sa.CheckConstraint("weight_kg BETWEEN 0.01 AND 1000", name=op.f("ck_carrier_configs_weight_kg_range")),
        sa.ForeignKeyConstraint(
            ["workspace_id"], ["workspaces.id"], name=op.f("fk_carrier_configs_workspace_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_carrier_configs")),
        sa.UniqueConstraint("workspace_id", "carrier", name=op.f("uq_carrier_configs_workspace_id_carrier")),
        comment="A workspace's login and settings for one carrier; the password is in carrier_secrets.",
    )
    op.create_table(
        "carrier_secrets",
        sa.Column("workspace_id", sa.Uuid(), nullable=False),
        sa.Column("carrier", sa.Text(), nullable=False),
        sa.Column("key_version", sa.Integer(), nullable=False, comment="Which key of the key ring wraps the data key."),
        sa.Column("wrapped_key", sa.LargeBinary(), nullable=False, comment="The row's own data key, AES-256-GCM."),
        sa.Column("wrapped_key_nonce", sa.LargeBinary(), nullable=False),
        sa.Column(
            "ciphertext", sa.LargeBinary(), nullable=False, comment="The password under the data key, AES-256-GCM."
        ),
        sa.Column("nonce", sa.LargeBinary(), nullable=False),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.CheckConstraint("key_version >= 1", name=op.f("ck_carrier_secrets_key_version_positive")),
        sa.CheckConstraint(
            "octet_length(ciphertext) BETWEEN 17 AND 4096", name=op.f("ck_carrier_secrets_ciphertext_length")
        ),
        sa.CheckConstraint("octet_length(wrapped_key) = 48", name=op.f("ck_carrier_secrets_wrapped_key_length")),
        sa.CheckConstraint(
            "octet_length(wrapped_key_nonce) = 12 AND octet_length(nonce) = 12",
            name=op.f("ck_carrier_secrets_nonce_lengths"),
        ),
        sa.ForeignKeyConstraint(
            ["workspace_id", "carrier"],
            ["carrier_configs.workspace_id", "carrier_configs.carrier"],
            name=op.f("fk_carrier_secrets_workspace_id_carrier"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("workspace_id", "carrier", name=op.f("pk_carrier_secrets")),
        comment="The portal passwords, encrypted.  People write them; only robots and the system can read the rows.",
    )
    op.create_table(
        "credential_reads",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("workspace_id", sa.Uuid(), nullable=False),
        sa.Column(
            "carrier_config_id", sa.Uuid(), nullable=False, comment="No foreign key: the record outlives the config."
        ),
        sa.Column("carrier", sa.Text(), nullable=False),
        sa.Column(
            "read_by", sa.Text(), nullable=False, comment="The user id of the robot, or the name of the process."
        ),
        sa.Column("purpose", sa.Text(), nullable=False),
        sa.Column("item_id", sa.Uuid(), nullable=True, comment="For which item; no foreign key, as above."),
        sa.Column("read_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.CheckConstraint("length(purpose) BETWEEN 1 AND 100", name=op.f("ck_credential_reads_purpose_length")),
        sa.CheckConstraint("length(read_by) BETWEEN 1 AND 255", name=op.f("ck_credential_reads_read_by_length")),
        sa.ForeignKeyConstraint(
            ["workspace_id"], ["workspaces.id"], name=op.f("fk_credential_reads_workspace_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_credential_reads")),
        comment="Each time a portal password was decrypted: by whom, what for.  Rows are never changed.",
    )
    op.create_index("ix_credential_reads_workspace_id_id", "credential_reads", ["workspace_id", "id"], unique=False)
    for function in SCOPE:
        op.execute(function)
    for table, policies in POLICIES.items():
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
        op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
        for command, using, check in policies:
            clauses = "".join(
                f" {word} ({condition})" for word, condition in (("USING", using), ("WITH CHECK", check)) if condition
            )
            op.execute(f"CREATE POLICY {table}_{command.lower()} ON {table} FOR {command}{clauses}")


def downgrade() -> None:
    for table in ("credential_reads", "carrier_secrets", "carrier_configs"):
        op.drop_table(table)
    for function in ("app_carrier", "app_robot_workspace_id"):
        op.execute(f"DROP FUNCTION {function}()")
