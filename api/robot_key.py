"""The API key of the robot beside the API: of the demo workspace, made once and kept in the home folder."""

from pathlib import Path

from sqlalchemy.ext.asyncio import AsyncConnection

from api.api_keys import CREATED_BY
from api.database import DatabaseUrls, owner_transaction
from api.kept_secrets import find_kept_secret, replace_kept_secret
from api.workspaces import DEMO_WORKSPACE_ID
from domain.api_keys import ApiKeyNotValid, PresentedKey, create_api_key, get_key_with_workspaces
from domain.workspaces import enter_as_owner

FILE = "robot-key"
NAME = "the robot beside the API"


async def robot_key(urls: DatabaseUrls, home: Path) -> str:
    """The secret that is kept, while it is good; else that of a new key.

    Raises SettingsError, TooManyApiKeys, DatabaseError.
    """
    path = home / FILE
    kept = find_kept_secret(path)
    async with owner_transaction(urls) as connection:
        if kept is not None and await _is_good(connection, kept):
            return kept
        await enter_as_owner(connection)  # asking about a key has entered as whoever holds it
        created = await create_api_key(
            connection, workspace_id=DEMO_WORKSPACE_ID, created_by=CREATED_BY, name=NAME, carriers=None
        )
        replace_kept_secret(path, created.secret)  # before the commit: one that nobody knows is never good
    return created.secret


async def _is_good(connection: AsyncConnection, secret: str) -> bool:
    """Not expired, not revoked, and of this database, which may be another one than that of the last start."""
    try:
        key = (await get_key_with_workspaces(connection, PresentedKey.of(secret))).api_key
    except ApiKeyNotValid:
        return False
    return key.workspace_id == DEMO_WORKSPACE_ID
