"""Who still has access: asked for many at once, for streams that live long."""

from collections.abc import Collection
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.api_keys import PresentedKey
from domain.base import array_parameter
from domain.workspaces import Membership, Role


@dataclass(frozen=True, slots=True)
class Access:
    """What somebody had on entering a workspace, and the API key by which they came, if it was one."""

    membership: Membership
    key: PresentedKey | None = None


@dataclass(frozen=True, slots=True)
class Lasting:
    """`granted`: what is good still.  `due`: keys among them whose use is to be recorded, see record_api_key_use."""

    granted: set[Access]
    due: set[PresentedKey]


async def find_lasting(connection: AsyncConnection, granted: Collection[Access]) -> Lasting:
    """What is good still, a member's with the same role; one statement, however many they are.

    Enters no workspace.  PostgreSQL decides by the rows that decide when somebody enters.
    """
    members = [each.membership for each in granted if each.key is None]
    keys = [(each.membership.api_key_id, each.key.sha256) for each in granted if each.key is not None]
    rows = await connection.execute(
        _list_access,
        {
            "user_ids": [member.user_id for member in members],
            "workspace_ids": [member.workspace_id for member in members],
            "api_key_ids": [key_id for key_id, _ in keys],
            "sha256s": [sha256 for _, sha256 in keys],
        },
    )
    found = {row.api_key_id or (row.user_id, row.workspace_id, Role(row.role)): row.is_use_due for row in rows}
    return Lasting(
        {each for each in granted if _identity(each) in found},
        {each.key for each in granted if each.key is not None and found.get(_identity(each), False)},
    )


def _identity(access: Access) -> object:
    """A key's workspace and carriers never change, so it is the same as long as it is good."""
    member = access.membership
    return member.api_key_id if access.key is not None else (member.user_id, member.workspace_id, member.role)


_list_access = sa.text(
    "SELECT user_id, workspace_id, role, api_key_id, is_use_due "
    "FROM list_access(:user_ids, :workspace_ids, :api_key_ids, :sha256s)"
).bindparams(
    array_parameter("user_ids", sa.Text()),
    array_parameter("workspace_ids", sa.Uuid()),
    array_parameter("api_key_ids", sa.Uuid()),
    array_parameter("sha256s", sa.LargeBinary()),
)
