"""Robots' API keys: made once, shown once, kept as a hash, revoked for good.

A key belongs to a workspace, or to the installation: then it works in every workspace, and only the command line makes
it.  Access is PostgreSQL's decision, from the key's row, in every transaction: see docs/decisions/0007.
"""

import datetime as dt
import hashlib
import secrets
import string
import uuid
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.base import id_column, metadata, new_id, timestamp
from domain.carriers import Carrier
from domain.errors import DomainError, invalid
from domain.pages import Direction, Ordering, Page, PageRequest, count_rows
from domain.text import checked_text
from domain.workspaces import Membership, NotAMember, Role, WorkspaceOfViewer, WorkspaceRequired

ACTIVE_KEYS_AT_MOST = 100
NAME_AT_MOST = 100
DAYS_AT_MOST = 3_650
SECRET_START = "rjk_"  # noqa: S105 -- how all begin
USER_START = "key:"

_ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase
_BODY_LENGTH = 43  # 256 bits in base 62
_CHECKSUM_LENGTH = 6  # 32 bits in base 62
_PREFIX_LENGTH = len(SECRET_START) + 8


class ApiKeyNotFound(DomainError):
    """The same for a key that does not exist and for one of another workspace."""

    code = "API_KEY_NOT_FOUND"

    def __init__(self, key_id: uuid.UUID) -> None:
        super().__init__(f"There is no API key {key_id} in this workspace.")
        self.key_id = key_id


class TooManyApiKeys(DomainError):
    code = "TOO_MANY_API_KEYS"

    def __init__(self) -> None:
        super().__init__(
            f"The workspace has {ACTIVE_KEYS_AT_MOST} active API keys, which is the most; revoke one first."
        )


class ApiKeyNotValid(DomainError):
    """The same whatever the reason: who holds no good key learns nothing."""

    code = "UNAUTHENTICATED"

    def __init__(self) -> None:
        super().__init__("The API key is not valid: it is unknown, expired or revoked.")


api_keys = sa.Table(
    "api_keys",
    metadata,
    id_column(primary_key=True),
    id_column(
        "workspace_id",
        sa.ForeignKey("workspaces.id", ondelete="CASCADE"),
        nullable=True,
        comment="Null: a key of the installation, good for every workspace; only the command line makes those.",
    ),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("prefix", sa.Text, nullable=False, comment="How the secret begins, to recognise it by."),
    sa.Column("secret_sha256", sa.LargeBinary, nullable=False, comment="The secret itself is kept nowhere."),
    sa.Column("carriers", pg.ARRAY(sa.Text), comment="Sees only these carriers' jobs; null for all."),
    sa.Column("created_by", sa.Text, nullable=False, comment="The user id of who created it."),
    timestamp("created_at"),
    timestamp("expires_at", nullable=True),
    timestamp("revoked_at", nullable=True, comment="Final."),
    timestamp("last_used_at", nullable=True, comment="To about a minute; null when never."),
    sa.CheckConstraint(f"length(name) BETWEEN 1 AND {NAME_AT_MOST}", name="name_length"),
    sa.CheckConstraint(f"length(prefix) = {_PREFIX_LENGTH}", name="prefix_length"),
    sa.CheckConstraint("octet_length(secret_sha256) = 32", name="secret_sha256_length"),
    sa.CheckConstraint(
        "cardinality(carriers) > 0 AND carriers <@ ARRAY[{}]".format(", ".join(f"'{each}'" for each in Carrier)),
        name="carriers_known",
    ),
    sa.UniqueConstraint("secret_sha256"),
    sa.Index("ix_api_keys_prefix", "prefix"),
    sa.Index("ix_api_keys_workspace_id_id", "workspace_id", "id"),
    comment="Robots' keys.  Row level security reads a robot's access from here.",
)

# The API's role may not read the hash.
NEWEST_KEYS = Ordering("api keys", direction=Direction.DESC)
_SHOWN = [column for column in api_keys.c if column.name != "secret_sha256"]


@dataclass(frozen=True, slots=True)
class ApiKey:
    """What may be known of a key; its secret is not."""

    id: uuid.UUID
    workspace_id: uuid.UUID | None
    name: str
    prefix: str
    carriers: tuple[Carrier, ...] | None
    created_by: str
    created_at: dt.datetime
    expires_at: dt.datetime | None
    revoked_at: dt.datetime | None
    last_used_at: dt.datetime | None

    @classmethod
    def from_row(cls, row: Any) -> Self:
        return cls(
            id=row.id,
            workspace_id=row.workspace_id,
            name=row.name,
            prefix=row.prefix,
            carriers=_carriers(row.carriers),
            created_by=row.created_by,
            created_at=row.created_at,
            expires_at=row.expires_at,
            revoked_at=row.revoked_at,
            last_used_at=row.last_used_at,
        )


def _carriers(names: Sequence[str] | None) -> tuple[Carrier, ...] | None:
    return tuple(Carrier(name) for name in names) if names is not None else None


# ---------------------------------------------------------------------------------------------- secrets


@dataclass(frozen=True, slots=True)
class PresentedKey:
    """What the database is told of a secret: enough to find its key, not enough to use it."""

    prefix: str
    sha256: bytes

    @classmethod
    def of(cls, secret: str) -> Self:
        """Raises ApiKeyNotValid for what no key's secret can be: a slip of the keyboard costs no query."""
        body, checksum = secret[len(SECRET_START) : -_CHECKSUM_LENGTH], secret[-_CHECKSUM_LENGTH:]
        is_whole = (
            secret.startswith(SECRET_START)
            and len(body) == _BODY_LENGTH
            and secret.isascii()
            and secrets.compare_digest(checksum, _checksum(body))
        )
        if not is_whole:
            raise ApiKeyNotValid
        return cls(secret[:_PREFIX_LENGTH], hashlib.sha256(secret.encode()).digest())


def make_secret() -> str:
    """`rjk_`, 256 random bits and a checksum, by which scanners tell a leaked key from chance."""
    body = _base62(int.from_bytes(secrets.token_bytes(32)), _BODY_LENGTH)
    return f"{SECRET_START}{body}{_checksum(body)}"


def _checksum(body: str) -> str:
    return _base62(zlib.crc32(body.encode()), _CHECKSUM_LENGTH)


def _base62(number: int, length: int) -> str:
    digits = []
    for _ in range(length):
        number, digit = divmod(number, len(_ALPHABET))
        digits.append(_ALPHABET[digit])
    return "".join(reversed(digits))


# ---------------------------------------------------------------------------------------------- managing keys


@dataclass(frozen=True, slots=True)
class CreatedApiKey:
    """`secret` is not to be had again."""

    api_key: ApiKey
    secret: str


async def create_api_key(
    connection: AsyncConnection,
    *,
    workspace_id: uuid.UUID | None,
    created_by: str,
    name: str,
    carriers: Sequence[Carrier] | None = None,
    expires_at: dt.datetime | None = None,
    expires_in_days: int | None = None,
) -> CreatedApiKey:
    """A key of that workspace, or of the installation.  Without an expiry it is good until it is revoked.

    Holds off others who make keys of the same workspace until the transaction ends.  Raises InvalidInput,
    TooManyApiKeys.
    """
    name = checked_text("name", name, at_most=NAME_AT_MOST)
    if carriers is not None and not carriers:
        raise invalid("carriers", "must name at least one; leave it out for all carriers.")
    expiry = _expiry(expires_at, expires_in_days)
    await connection.execute(_LOCK_MAKING, {"of": f"api_keys {workspace_id}"})
    if await connection.scalar(_count_active(workspace_id)) >= ACTIVE_KEYS_AT_MOST:
        raise TooManyApiKeys
    secret = make_secret()
    presented = PresentedKey.of(secret)
    row = (
        await connection.execute(
            sa.insert(api_keys)
            .values(
                id=new_id(),
                workspace_id=workspace_id,
                name=name,
                prefix=presented.prefix,
                secret_sha256=presented.sha256,
                carriers=sorted({carrier.value for carrier in carriers}) if carriers is not None else None,
                created_by=created_by,
                expires_at=expiry,
            )
            .returning(*_SHOWN)
        )
    ).one()
    return CreatedApiKey(ApiKey.from_row(row), secret)


_LOCK_MAKING = sa.text("SELECT pg_advisory_xact_lock(hashtextextended(:of, 0))")


def _count_active(workspace_id: uuid.UUID | None) -> sa.Select[Any]:
    return sa.select(sa.func.count()).where(
        api_keys.c.workspace_id.is_not_distinct_from(workspace_id),
        api_keys.c.revoked_at.is_(None),
        sa.or_(api_keys.c.expires_at.is_(None), api_keys.c.expires_at > sa.func.now()),
    )


def _expiry(expires_at: dt.datetime | None, days: int | None) -> dt.datetime | None:
    now = dt.datetime.now(dt.UTC)
    latest = now + dt.timedelta(days=DAYS_AT_MOST)
    if expires_at is not None and days is not None:
        raise invalid("expires_in_days", "does not go with expiresAt; give one of them.")
    if days is not None:
        if not 1 <= days <= DAYS_AT_MOST:
            raise invalid("expires_in_days", f"must be 1 to {DAYS_AT_MOST:,}; it is {days}.")
        return now + dt.timedelta(days=days)
    if expires_at is None:
        return None
    if expires_at.tzinfo is None:
        raise invalid("expires_at", "must say its offset from UTC, as in 2030-01-31T12:00:00Z.")
    if not now < expires_at <= latest:
        raise invalid("expires_at", f"must be in the future, and at most {DAYS_AT_MOST:,} days ahead.")
    return expires_at


async def revoke_api_key(connection: AsyncConnection, key_id: uuid.UUID) -> ApiKey:
    """From the next transaction on the key opens nothing.  Idempotent: the first time stands.

    Raises ApiKeyNotFound.
    """
    revoked = await connection.execute(
        sa.update(api_keys)
        .where(api_keys.c.id == key_id, api_keys.c.revoked_at.is_(None))
        .values(revoked_at=sa.func.now())
        .returning(*_SHOWN)
    )
    row = revoked.one_or_none()
    if row is None:  # revoked before, perhaps a moment ago
        row = (await connection.execute(sa.select(*_SHOWN).where(api_keys.c.id == key_id))).one_or_none()
    if row is None:
        raise ApiKeyNotFound(key_id)
    return ApiKey.from_row(row)


async def list_api_keys(connection: AsyncConnection, *, page: PageRequest) -> Page[ApiKey]:
    """The workspace's keys, revoked and expired ones as well, newest first."""
    ordered = page.in_order(NEWEST_KEYS)
    rows = await connection.execute(ordered.apply(sa.select(*_SHOWN), api_keys.c))
    found = [ApiKey.from_row(row) for row in rows]
    return ordered.page(found, await count_rows(connection, api_keys, []) if page.with_total else None)


# ---------------------------------------------------------------------------------------------- using keys


@dataclass(frozen=True, slots=True)
class Entered:
    """`is_use_due`: the key's last recorded use is more than a minute ago; see record_api_key_use."""

    membership: Membership
    is_use_due: bool


async def enter_workspace_by_key(
    connection: AsyncConnection, presented: PresentedKey, workspace_id: uuid.UUID | None
) -> Entered:
    """As enter_workspace, for a robot with a key; one statement.

    A key's only workspace need not be named.  Raises ApiKeyNotValid, NotAMember, WorkspaceRequired.
    """
    row = (await connection.execute(_enter, _parameters(presented) | {"workspace_id": workspace_id})).one()
    if row.api_key_id is None:
        raise ApiKeyNotValid
    if row.workspace_id is None:
        raise WorkspaceRequired if row.workspaces > 1 else NotAMember
    membership = Membership(
        row.workspace_id,
        user_id_of(row.api_key_id),
        Role.ROBOT,
        carriers=_carriers(row.carriers),
        api_key_id=row.api_key_id,
    )
    return Entered(membership, row.is_use_due)


@dataclass(frozen=True, slots=True)
class KeyWithWorkspaces:
    api_key: ApiKey
    workspaces: list[WorkspaceOfViewer]
    is_use_due: bool


async def get_key_with_workspaces(connection: AsyncConnection, presented: PresentedKey) -> KeyWithWorkspaces:
    """The key itself and where it works, by name, at most 1,000; one statement.  Raises ApiKeyNotValid."""
    rows = (await connection.execute(_list_workspaces, _parameters(presented))).all()
    if not rows:
        raise ApiKeyNotValid
    key = rows[0]
    return KeyWithWorkspaces(
        ApiKey(
            id=key.api_key_id,
            workspace_id=key.key_workspace_id,
            name=key.key_name,
            prefix=key.prefix,
            carriers=_carriers(key.carriers),
            created_by=key.created_by,
            created_at=key.created_at,
            expires_at=key.expires_at,
            revoked_at=None,
            last_used_at=key.last_used_at,
        ),
        [WorkspaceOfViewer(row.id, row.name, Role.ROBOT) for row in rows if row.id is not None],
        key.is_use_due,
    )


async def record_api_key_use(connection: AsyncConnection, presented: PresentedKey) -> None:
    """Note that the key was used now, unless that was noted within the last minute; waits for nobody."""
    await connection.execute(_record_use, _parameters(presented))


def user_id_of(key_id: uuid.UUID) -> str:
    """What records of a key's work say in place of a person's id."""
    return f"{USER_START}{key_id}"


def _parameters(presented: PresentedKey) -> dict[str, object]:
    return {"prefix": presented.prefix, "sha256": presented.sha256.hex()}


_KEY_PARAMETERS = (sa.bindparam("prefix", type_=sa.Text), sa.bindparam("sha256", type_=sa.Text))
_enter = sa.text(
    "SELECT api_key_id, workspace_id, carriers, is_use_due, workspaces "
    "FROM enter_workspace_by_key(:prefix, :sha256, :workspace_id)"
).bindparams(*_KEY_PARAMETERS, sa.bindparam("workspace_id", type_=sa.Uuid))
_list_workspaces = sa.text("SELECT * FROM list_workspaces_of_key(:prefix, :sha256)").bindparams(*_KEY_PARAMETERS)
_record_use = sa.text("SELECT record_api_key_use(:prefix, :sha256)").bindparams(*_KEY_PARAMETERS)
