"""Robots' API keys in the contract: admins make, list and revoke them."""

import datetime as dt
from typing import Annotated, Self

import strawberry

import domain.api_keys
from domain.carriers import Carrier
from domain.pages import PageRequest
from schema.access import ADMINS, mutation, query, reading, transaction
from schema.context import Info
from schema.errors import Error, ErrorCode, InvalidInput
from schema.ids import parse_id
from schema.pages import After, Before, Connection, First, Last, wants_total


@strawberry.type(description="A robot's API key.  Its secret was shown when it was made, and is kept nowhere.")
class ApiKey:
    id: strawberry.ID = strawberry.field(description="Its id; what the key does is recorded as done by `key:<id>`.")
    name: str = strawberry.field(description="What it is for.")
    prefix: str = strawberry.field(description="How the secret begins, to recognise it by.")
    carriers: list[Carrier] | None = strawberry.field(
        description="It sees and works on these carriers' jobs only; null for all."
    )
    created_by: str = strawberry.field(description="The id of the user who made it.")
    created_at: dt.datetime = strawberry.field(description="When it was made.")
    expires_at: dt.datetime | None = strawberry.field(description="From when on it is not good; null for never.")
    revoked_at: dt.datetime | None = strawberry.field(description="Since when it is not good any more; final.")
    last_used_at: dt.datetime | None = strawberry.field(
        description="When it was last used, to about a minute; null when it never was."
    )

    @classmethod
    def from_domain(cls, key: domain.api_keys.ApiKey) -> Self:
        return cls(
            id=strawberry.ID(str(key.id)),
            name=key.name,
            prefix=key.prefix,
            carriers=list(key.carriers) if key.carriers is not None else None,
            created_by=key.created_by,
            created_at=key.created_at,
            expires_at=key.expires_at,
            revoked_at=key.revoked_at,
            last_used_at=key.last_used_at,
        )


@strawberry.type(description="There is no such API key in this workspace.")
class ApiKeyNotFound(Error):
    @classmethod
    def from_domain(cls, error: domain.api_keys.ApiKeyNotFound) -> Self:
        return cls(code=ErrorCode.API_KEY_NOT_FOUND, message=error.message)


@strawberry.type(description="The workspace has as many active API keys as it may have.")
class TooManyApiKeys(Error):
    @classmethod
    def from_domain(cls, error: domain.api_keys.TooManyApiKeys) -> Self:
        return cls(code=ErrorCode.TOO_MANY_API_KEYS, message=error.message)


@strawberry.type
class ApiKeyQueries:
    @query(
        "The workspace's API keys, newest first, those that are no longer good included; at most 100 a page.",
        roles=ADMINS,
    )
    async def api_keys(
        self, info: Info, first: First = None, after: After = None, last: Last = None, before: Before = None
    ) -> Connection[ApiKey]:
        page = PageRequest.of(
            domain.api_keys.NEWEST_KEYS,
            first=first,
            after=after,
            last=last,
            before=before,
            with_total=wants_total(info),
        )
        async with reading(info) as work:
            found = await domain.api_keys.list_api_keys(work.connection, page=page)
        return Connection[ApiKey].of(found, node=ApiKey.from_domain)


@strawberry.input(description="An API key to make.  Without an expiry it is good until it is revoked.")
class CreateApiKeyInput:
    name: str = strawberry.field(description="What it is for, 1 to 100 characters.")
    carriers: list[Carrier] | None = strawberry.field(
        default=None, description="Let it see and work on these carriers' jobs only; left out, on all."
    )
    expires_at: dt.datetime | None = strawberry.field(default=None, description="From when on it shall not be good.")
    expires_in_days: int | None = strawberry.field(
        default=None, description="The same as a number of days from now, 1 to 3,650; give one of the two."
    )


@strawberry.type(description="The key, and this once its secret.")
class CreateApiKeySuccess:
    api_key: ApiKey = strawberry.field(description="The key.")
    secret: str = strawberry.field(
        description="What the robot sends as `Authorization: Bearer <secret>`.  It cannot be read again."
    )


@strawberry.input(description="An API key to revoke.")
class RevokeApiKeyInput:
    api_key_id: strawberry.ID = strawberry.field(description="The key.")


@strawberry.type(description="The key, which opens nothing any more.")
class RevokeApiKeySuccess:
    api_key: ApiKey = strawberry.field(description="The key.")


CreateApiKeyResult = Annotated[
    CreateApiKeySuccess | TooManyApiKeys | InvalidInput,
    strawberry.union("CreateApiKeyResult", description="Of createApiKey."),
]
RevokeApiKeyResult = Annotated[
    RevokeApiKeySuccess | ApiKeyNotFound | InvalidInput,
    strawberry.union("RevokeApiKeyResult", description="Of revokeApiKey."),
]


@strawberry.type
class ApiKeyMutations:
    @mutation(
        "Make an API key for a robot.  The answer holds its secret, this once; at most 100 active keys a workspace.",
        roles=ADMINS,
    )
    async def create_api_key(
        self,
        info: Info,
        input: Annotated[CreateApiKeyInput, strawberry.argument(description="The key.")],  # noqa: A002
    ) -> CreateApiKeyResult:
        async with transaction(info) as work:
            created = await domain.api_keys.create_api_key(
                work.connection,
                workspace_id=work.membership.workspace_id,
                created_by=work.membership.user_id,
                name=input.name,
                carriers=input.carriers,
                expires_at=input.expires_at,
                expires_in_days=input.expires_in_days,
            )
        return CreateApiKeySuccess(api_key=ApiKey.from_domain(created.api_key), secret=created.secret)

    @mutation(
        "Revoke an API key: it opens nothing from the next request on, and within five seconds ends the streams that "
        "it follows.  Doing it again changes nothing.",
        roles=ADMINS,
    )
    async def revoke_api_key(
        self,
        info: Info,
        input: Annotated[RevokeApiKeyInput, strawberry.argument(description="The key.")],  # noqa: A002
    ) -> RevokeApiKeyResult:
        async with transaction(info) as work:
            revoked = await domain.api_keys.revoke_api_key(work.connection, parse_id("apiKeyId", input.api_key_id))
        return RevokeApiKeySuccess(api_key=ApiKey.from_domain(revoked))
