"""API keys as the command line manages them: as the tables' owner, in every workspace and in none."""

import uuid

from api.database import DatabaseUrls, owner_transaction
from api.workspaces import UnknownWorkspace
from domain.api_keys import ApiKey, CreatedApiKey, create_api_key, list_api_keys, revoke_api_key
from domain.carriers import Carrier
from domain.pages import PageRequest
from domain.workspaces import enter_as_owner, has_workspace

CREATED_BY = "command line"
_PAGE = 1_000


async def make_key(
    urls: DatabaseUrls,
    *,
    name: str,
    workspace_id: uuid.UUID | None,
    carriers: list[Carrier] | None,
    days: int | None,
) -> CreatedApiKey:
    """A key of that workspace; without one, of the installation.

    Raises UnknownWorkspace, InvalidInput, TooManyApiKeys, DatabaseError.
    """
    async with owner_transaction(urls) as connection:
        await enter_as_owner(connection)
        if workspace_id is not None and not await has_workspace(connection, workspace_id):
            raise UnknownWorkspace(f"there is no workspace {workspace_id}")
        return await create_api_key(
            connection,
            workspace_id=workspace_id,
            created_by=CREATED_BY,
            name=name,
            carriers=carriers,
            expires_in_days=days,
        )


async def all_keys(urls: DatabaseUrls) -> list[ApiKey]:
    """Every key of every workspace and of the installation, newest first."""
    keys: list[ApiKey] = []
    async with owner_transaction(urls) as connection:
        await enter_as_owner(connection)
        while True:
            after = (keys[-1].id,) if keys else None
            page = await list_api_keys(connection, page=PageRequest(_PAGE, after=after))
            keys += page.rows
            if not page.has_next:
                return keys


async def revoke_key(urls: DatabaseUrls, key_id: uuid.UUID) -> ApiKey:
    """Raises ApiKeyNotFound."""
    async with owner_transaction(urls) as connection:
        await enter_as_owner(connection)
        return await revoke_api_key(connection, key_id)
