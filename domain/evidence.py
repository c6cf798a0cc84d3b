"""Evidence: what a robot saw in an attempt, as a picture or as text; kept for a time.

A row says whose it is; the bytes are in a store, under the row's id.  The bytes come first and go last, so that no row
is ever without them: see docs/decisions/0015.
"""

import datetime as dt
import hashlib
import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any, Protocol, Self

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.base import array_of, id_column, metadata, new_id, one_of, timestamp
from domain.errors import DomainError, InputProblem, InvalidInput, invalid
from domain.robot_jobs import RobotJobItemNotFound, robot_job_items

BYTES_AT_MOST = 2_000_000
PER_ATTEMPT_AT_MOST = 10
BATCH = 1_000


class ContentType(StrEnum):
    PNG = "image/png"
    JPEG = "image/jpeg"
    WEBP = "image/webp"
    TEXT = "text/plain"
    HTML = "text/html"
    JSON = "application/json"


class EvidenceNotFound(DomainError):
    """The same for evidence that does not exist, that has expired, and for another workspace's."""

    code = "EVIDENCE_NOT_FOUND"

    def __init__(self) -> None:
        super().__init__("There is no such evidence in this workspace, or it has expired.")


class EvidenceLost(DomainError):
    """The row is there, the bytes are not."""

    code = "EVIDENCE_LOST"

    def __init__(self) -> None:
        super().__init__("What this evidence held is no longer in the store.")


class StoreUnavailable(Exception):
    """The store is away, or full."""


class TooMuchEvidence(DomainError):
    code = "TOO_MUCH_EVIDENCE"

    def __init__(self, attempt: int) -> None:
        super().__init__(f"Attempt {attempt} has {PER_ATTEMPT_AT_MOST} pieces of evidence already; nothing was kept.")


evidence = sa.Table(
    "evidence",
    metadata,
    id_column(primary_key=True),
    id_column("item_id", sa.ForeignKey("robot_job_items.id", ondelete="CASCADE")),
    sa.Column("attempt", sa.Integer, nullable=False, comment="It may be in hand still: only closed ones have a row."),
    sa.Column("content_type", sa.Text, nullable=False),
    sa.Column("size_bytes", sa.Integer, nullable=False),
    sa.Column("sha256", sa.LargeBinary, nullable=False, comment="Of the bytes: the same ones are kept once."),
    sa.Column("created_by", sa.Text, nullable=False, comment="The user id of who sent it."),
    timestamp("created_at"),
    timestamp("expires_at", nullable=True, comment="From then on a sweep removes it; null: never."),
    one_of("content_type", ContentType),
    sa.CheckConstraint("attempt >= 1", name="attempt_positive"),
    sa.CheckConstraint(f"size_bytes BETWEEN 1 AND {BYTES_AT_MOST}", name="size_bytes_range"),
    sa.CheckConstraint("length(sha256) = 32", name="sha256_length"),
    sa.UniqueConstraint("item_id", "attempt", "sha256"),
    sa.Index("ix_evidence_expires_at", "expires_at", postgresql_where=sa.text("expires_at IS NOT NULL")),
    comment="What a robot saw in an attempt; the bytes are in the store, under the id.",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Evidence as it was read, without its bytes."""

    id: uuid.UUID
    item_id: uuid.UUID
    attempt: int
    content_type: ContentType
    size_bytes: int
    sha256: bytes
    created_by: str
    created_at: dt.datetime
    expires_at: dt.datetime | None

    @classmethod
    def from_row(cls, row: sa.Row[Any]) -> Self:
        named = dict(zip(_FIELDS, row, strict=True))
        named["content_type"] = ContentType(named["content_type"])
        return cls(**named)


_FIELDS = tuple(field.name for field in fields(Evidence))
if tuple(evidence.c.keys()) != _FIELDS:
    raise TypeError("Evidence must name the columns of its table in the table's order")


@dataclass(frozen=True, slots=True)
class NewEvidence:
    """Something to keep, under an id that is new."""

    id: uuid.UUID
    item_id: uuid.UUID
    attempt: int
    content_type: ContentType
    content: bytes
    sha256: bytes

    @classmethod
    def of(cls, item_id: uuid.UUID, attempt: int, content_type: ContentType, content: bytes) -> Self:
        """Raises InvalidInput."""
        problems = []
        if not 1 <= attempt < 2**31:
            problems.append(InputProblem("attempt", f"must be 1 or more; it is {attempt}."))
        if not 1 <= len(content) <= BYTES_AT_MOST:
            problems.append(
                InputProblem("content", f"must have 1 to {BYTES_AT_MOST:,} bytes; it has {len(content):,}.")
            )
        if problems:
            raise InvalidInput(*problems)
        return cls(new_id(), item_id, attempt, content_type, content, hashlib.sha256(content).digest())


class EvidenceStore(Protocol):
    """Where the bytes are, each under the id of its row; the ids' times are those of the bytes.

    Each raises StoreUnavailable.
    """

    async def put(self, evidence_id: uuid.UUID, content: bytes) -> None:
        """Once it returns they are there for good; before, or if it fails, nothing can be opened."""

    async def open(self, evidence_id: uuid.UUID) -> bytes | None:
        """None: there are none."""

    async def remove(self, evidence_ids: Collection[uuid.UUID]) -> None:
        """Those that there are, and what a put that was cut off has left of them."""

    async def list_ids(self, *, before: uuid.UUID, after: uuid.UUID | None, limit: int) -> list[uuid.UUID]:
        """In order, between the two, at most so many; those with something left of a put that was cut off too."""


# ---------------------------------------------------------------------------------------------- keeping


async def find_same_evidence(connection: AsyncConnection, new: NewEvidence) -> Evidence | None:
    """What that attempt has of the same bytes, if it has; None: they may be put into the store, and recorded then.

    Raises InvalidInput for an attempt that has not begun, RobotJobItemNotFound, TooMuchEvidence.
    """
    return await _look(connection, new, sa.select(robot_job_items.c.attempt).where(robot_job_items.c.id == new.item_id))


async def record_evidence(
    connection: AsyncConnection, new: NewEvidence, *, created_by: str, kept_for: dt.timedelta | None
) -> Evidence:
    """Say whose the bytes in the store are; the evidence has another id if the same ones came meanwhile.

    Kept for so long, or for ever.  Locks the item.  Raises as find_same_evidence.
    """
    of_item = (
        sa.select(robot_job_items.c.attempt).where(robot_job_items.c.id == new.item_id).with_for_update(key_share=True)
    )
    if (same := await _look(connection, new, of_item)) is not None:
        return same
    now = sa.func.statement_timestamp()
    row = await connection.execute(
        sa.insert(evidence)
        .values(
            id=new.id,
            item_id=new.item_id,
            attempt=new.attempt,
            content_type=new.content_type.value,
            size_bytes=len(new.content),
            sha256=new.sha256,
            created_by=created_by,
            created_at=now,
            expires_at=now + sa.bindparam("kept_for", kept_for, type_=sa.Interval()),
        )
        .returning(evidence)
    )
    return Evidence.from_row(row.one())


async def _look(connection: AsyncConnection, new: NewEvidence, of_item: sa.Select[Any]) -> Evidence | None:
    current = (await connection.execute(of_item)).scalar_one_or_none()
    if current is None:
        raise RobotJobItemNotFound(new.item_id)
    if new.attempt > current:
        raise invalid("attempt", f"{new.attempt} has not begun; item {new.item_id} is at attempt {current}.")
    rows = await connection.execute(
        sa.select(evidence).where(evidence.c.item_id == new.item_id, evidence.c.attempt == new.attempt)
    )
    kept = [Evidence.from_row(row) for row in rows]
    for each in kept:
        if each.sha256 == new.sha256:
            return each
    if len(kept) >= PER_ATTEMPT_AT_MOST:
        raise TooMuchEvidence(new.attempt)
    return None


# ---------------------------------------------------------------------------------------------- reading


async def get_evidence(connection: AsyncConnection, evidence_id: uuid.UUID) -> Evidence:
    """Raises EvidenceNotFound."""
    row = (await connection.execute(sa.select(evidence).where(evidence.c.id == evidence_id))).one_or_none()
    if row is None:
        raise EvidenceNotFound
    return Evidence.from_row(row)


async def list_evidence(connection: AsyncConnection, item_ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, list[Evidence]]:
    """That of each item's attempts, the oldest first; one statement for all items."""
    rows = await connection.execute(
        sa.select(evidence)
        .where(evidence.c.item_id == sa.func.any(array_of(list(item_ids), sa.Uuid())))
        .order_by(evidence.c.id)
    )
    found: dict[uuid.UUID, list[Evidence]] = {item_id: [] for item_id in item_ids}
    for row in rows:
        found[row.item_id].append(Evidence.from_row(row))
    return found


# ---------------------------------------------------------------------------------------------- removing


async def remove_expired_evidence(connection: AsyncConnection, *, limit: int = BATCH) -> list[uuid.UUID]:
    """Remove a batch of the rows that have expired; their bytes are to be removed once that has been committed.

    For `enter_all_workspaces`.  Safe to repeat.
    """
    expired = (
        sa.select(evidence.c.id)
        .where(evidence.c.expires_at <= sa.func.statement_timestamp())
        .order_by(evidence.c.expires_at)
        .limit(limit)
    )
    removed = await connection.scalars(sa.delete(evidence).where(evidence.c.id.in_(expired)).returning(evidence.c.id))
    return list(removed)


async def list_strays(connection: AsyncConnection, stored: Sequence[uuid.UUID]) -> list[uuid.UUID]:
    """Those that no row knows: a put whose row was never committed, or a removal that was cut off.

    For `enter_all_workspaces`, and of ids that are too old for their row to be still on its way.
    """
    known = set(
        await connection.scalars(
            sa.select(evidence.c.id).where(evidence.c.id == sa.func.any(array_of(list(stored), sa.Uuid())))
        )
    )
    return [evidence_id for evidence_id in stored if evidence_id not in known]
