"""Tenants, their members, and how a transaction enters a workspace.

Tenancy is decided by PostgreSQL: `enter_workspace` tells the transaction who asks and where, and every policy reads
the membership tables from there.  A revoked membership loses access with the next transaction.
"""

import uuid
from dataclasses import dataclass
from enum import StrEnum

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.base import id_column, metadata, one_of, timestamp
from domain.carriers import Carrier
from domain.errors import DomainError


class Role(StrEnum):
    """What a member may do: viewer < operator < admin; a robot reports results and reads what it needs."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"
    ROBOT = "robot"


class NotAMember(DomainError):
    """The same for a workspace that does not exist and for one of others: nothing is revealed."""

    code = "NOT_A_MEMBER"

    def __init__(self) -> None:
        super().__init__("You are not a member of that workspace, or it does not exist.")


class WorkspaceRequired(DomainError):
    code = "WORKSPACE_REQUIRED"

    def __init__(self) -> None:
        super().__init__("You are a member of several workspaces; name one in the X-Workspace-Id header.")


class RoleNotAllowed(DomainError):
    code = "FORBIDDEN"

    def __init__(self, role: Role, needed: tuple[Role, ...]) -> None:
        super().__init__(f"This needs the role {' or '.join(needed)}; yours in this workspace is {role}.")


workspaces = sa.Table(
    "workspaces",
    metadata,
    id_column(primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    timestamp("created_at"),
    sa.CheckConstraint("length(name) BETWEEN 1 AND 200", name="name_length"),
    comment="The tenants.",
)

workspace_members = sa.Table(
    "workspace_members",
    metadata,
    id_column("workspace_id", sa.ForeignKey("workspaces.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("user_id", sa.Text, primary_key=True, comment="The subject (`sub`) of the person's token."),
    sa.Column("role", sa.Text, nullable=False),
    timestamp("created_at"),
    one_of("role", Role),
    sa.CheckConstraint("length(user_id) BETWEEN 1 AND 255", name="user_id_length"),
    sa.Index("ix_workspace_members_user_id", "user_id"),
    comment="Who belongs to which workspace, and as what.  Row level security reads access from here.",
)


@dataclass(frozen=True, slots=True)
class Membership:
    """Who works in a workspace, and as what.  A robot with an API key is one too: its user id is `key:<id>`.

    `carriers`: sees only these carriers' jobs; None for all.
    """

    workspace_id: uuid.UUID
    user_id: str
    role: Role
    carriers: tuple[Carrier, ...] | None = None
    api_key_id: uuid.UUID | None = None


@dataclass(frozen=True, slots=True)
class WorkspaceOfViewer:
    """A workspace as somebody who may work in it has it."""

    id: uuid.UUID
    name: str
    role: Role


_enter = sa.text("SELECT workspace_id, role, memberships FROM enter_workspace(:user_id, :workspace_id)").bindparams(
    sa.bindparam("user_id", type_=sa.Text), sa.bindparam("workspace_id", type_=sa.Uuid)
)


async def enter_workspace(connection: AsyncConnection, user_id: str, workspace_id: uuid.UUID | None) -> Membership:
    """Make the running transaction see that workspace and nothing else, until it ends; one statement.

    Without `workspace_id` the only membership is meant.  Raises NotAMember or WorkspaceRequired.
    """
    row = (await connection.execute(_enter, {"user_id": user_id, "workspace_id": workspace_id})).one()
    if row.workspace_id is not None:
        return Membership(row.workspace_id, user_id, Role(row.role))
    if row.memberships > 1:
        raise WorkspaceRequired
    raise NotAMember


async def list_workspaces_of_user(connection: AsyncConnection, user_id: str) -> list[WorkspaceOfViewer]:
    """Where that user is a member, by name, at most 1,000; one statement.  Enters no workspace and leaves none."""
    rows = await connection.execute(_list_workspaces, {"user_id": user_id})
    return [WorkspaceOfViewer(row.id, row.name, Role(row.role)) for row in rows]


_list_workspaces = sa.text("SELECT id, name, role FROM list_workspaces_of_user(:user_id)").bindparams(
    sa.bindparam("user_id", type_=sa.Text)
)


async def create_workspace(connection: AsyncConnection, workspace_id: uuid.UUID, name: str) -> None:
    """Idempotent by id.  Only the tables' owner may: see `enter_as_owner`."""
    await connection.execute(
        sa.text("INSERT INTO workspaces (id, name) VALUES (:id, :name) ON CONFLICT (id) DO NOTHING"),
        {"id": workspace_id, "name": name},
    )


async def has_workspace(connection: AsyncConnection, workspace_id: uuid.UUID) -> bool:
    """Among those that the running transaction may see."""
    return bool(await connection.scalar(sa.select(sa.exists().where(workspaces.c.id == workspace_id))))


async def set_member(connection: AsyncConnection, membership: Membership) -> None:
    """Add a member or change a member's role.  Only the tables' owner may: see `enter_as_owner`."""
    await connection.execute(
        sa.text(
            "INSERT INTO workspace_members (workspace_id, user_id, role) VALUES (:workspace_id, :user_id, :role) "
            "ON CONFLICT (workspace_id, user_id) DO UPDATE SET role = excluded.role"
        ),
        {"workspace_id": membership.workspace_id, "user_id": membership.user_id, "role": membership.role},
    )


async def enter_as_owner(connection: AsyncConnection) -> None:
    """Let the running transaction manage workspaces and members.

    Takes effect only for a role that owns the tables, as whoever runs the command line does; the API's own role
    gains nothing by it.
    """
    await connection.execute(sa.text("SELECT set_config('robot_jobs.system', 'on', true)"))


async def enter_all_workspaces(connection: AsyncConnection) -> None:
    """Let the running transaction work for all workspaces, as SYSTEM_ROLE until it ends; one statement.

    For readers that followers share and for sweeps, never on behalf of a caller: what the role may do is little, but
    it is in every workspace.  See docs/decisions/0011.
    """
    await connection.execute(_enter_all)


SYSTEM_ROLE = "robot_jobs_system"
"""The API's login is a member of it, and has its rights only where it takes it on."""
_enter_all = sa.text(f"SELECT set_config('role', '{SYSTEM_ROLE}', true)")
