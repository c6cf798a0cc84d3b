"""The tables of jobs, items and attempts, and the values that functions return for them."""

import datetime as dt
import uuid
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from typing import Any, Self

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from domain.base import id_column, metadata, one_of, timestamp
from domain.carriers import Carrier

_ACTIVE = "status IN ('pending', 'processing')"


def is_open(status: sa.ColumnElement[str]) -> sa.ColumnElement[bool]:
    """Pending or processing: of an item that it is open, of a job that it is active."""
    return status.in_(["pending", "processing"])


class JobType(StrEnum):
    CREATE_SHIPMENT = "create_shipment"


class JobStatus(StrEnum):
    PENDING = "pending"
    PROCESSING = "processing"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_active(self) -> bool:
        return self in (JobStatus.PENDING, JobStatus.PROCESSING)


class ItemStatus(StrEnum):
    PENDING = "pending"
    PROCESSING = "processing"
    SUCCESS = "success"
    ERROR = "error"
    CANCELLED = "cancelled"

    @property
    def is_open(self) -> bool:
        return self in (ItemStatus.PENDING, ItemStatus.PROCESSING)


class ErrorType(StrEnum):
    VALIDATION = "validation"
    PORTAL = "portal"
    TIMEOUT = "timeout"
    UNKNOWN = "unknown"


class ClosedBy(StrEnum):
    """Whose word closed an item.  A success with proof beats what the system wrote, never what a robot reported."""

    ROBOT = "robot"
    SYSTEM = "system"


class Resolution(StrEnum):
    """What was found out about a parcel of which nobody knew."""

    FOUND = "found"
    CONFIRMED_ABSENT = "confirmed_absent"


robot_jobs = sa.Table(
    "robot_jobs",
    metadata,
    id_column(primary_key=True),
    id_column("workspace_id", sa.ForeignKey("workspaces.id", ondelete="CASCADE")),
    sa.Column("carrier", sa.Text, nullable=False),
    sa.Column("job_type", sa.Text, nullable=False),
    sa.Column("status", sa.Text, nullable=False, server_default=JobStatus.PENDING),
    sa.Column("total_items", sa.Integer, nullable=False),
    sa.Column("success_count", sa.Integer, nullable=False, server_default="0"),
    sa.Column("error_count", sa.Integer, nullable=False, server_default="0"),
    sa.Column("cancelled_count", sa.Integer, nullable=False, server_default="0"),
    sa.Column("idempotency_key", sa.Text),
    sa.Column("error", sa.Text, comment="Why the job as a whole failed or was cancelled."),
    sa.Column("created_by", sa.Text, nullable=False, comment="The user id of who created it."),
    sa.Column("last_event_seq", sa.BigInteger, nullable=False, server_default="0"),
    timestamp("started_at", nullable=True, comment="When the first item was taken up or closed."),
    timestamp("completed_at", nullable=True, comment="When the last open item was closed."),
    timestamp("created_at"),
    timestamp("updated_at"),
    sa.Column("ship_again_reason", sa.Text, comment="Why shipped orders go out once more; null: they may not."),
    sa.Column(
        "removed_event_seq",
        sa.BigInteger,
        nullable=False,
        server_default="0",
        comment="The job's events up to this number have been removed.",
    ),
    sa.Column(
        "has_events",
        sa.Boolean,
        sa.Computed("last_event_seq > removed_event_seq", persisted=True),
        nullable=False,
        comment="Whether events are left to be removed.",
    ),
    timestamp(
        "cancel_requested_at",
        nullable=True,
        comment="From when on nothing more of it is begun; what a robot had submitted by then is finished.",
    ),
    one_of("carrier", Carrier),
    one_of("job_type", JobType),
    one_of("status", JobStatus),
    sa.CheckConstraint("success_count >= 0 AND error_count >= 0 AND cancelled_count >= 0", name="counts_positive"),
    sa.CheckConstraint("success_count + error_count + cancelled_count <= total_items", name="counts_within_total"),
    sa.CheckConstraint(f"({_ACTIVE}) = (completed_at IS NULL)", name="completed_at_when_finished"),
    sa.CheckConstraint("removed_event_seq BETWEEN 0 AND last_event_seq", name="removed_events_are_past"),
    sa.Index(
        "uq_robot_jobs_active_idempotency_key",
        "workspace_id",
        "idempotency_key",
        unique=True,
        postgresql_where=sa.text(_ACTIVE),
    ),
    sa.Index(
        "uq_robot_jobs_ship_again_idempotency_key",
        "workspace_id",
        "idempotency_key",
        unique=True,
        postgresql_where=sa.text("ship_again_reason IS NOT NULL"),
    ),
    sa.Index("ix_robot_jobs_workspace_id_id", "workspace_id", "id"),
    # None on updated_at: each result writes it, and a job's row then could not be updated in place.
    sa.Index("ix_robot_jobs_workspace_id_created_at_id", "workspace_id", "created_at", "id"),
    sa.Index(
        "ix_robot_jobs_workspace_id_completed_at_id",
        "workspace_id",
        sa.text("least(completed_at, 'infinity'::timestamptz)"),
        "id",
    ),
    # On a column of its own for what it means: last_event_seq is written by each result, as updated_at is.
    sa.Index(
        "ix_robot_jobs_finished_with_events",
        "completed_at",
        postgresql_where=sa.text("has_events AND completed_at IS NOT NULL"),
    ),
    sa.Index("ix_robot_jobs_active", "workspace_id", "carrier", "job_type", "id", postgresql_where=sa.text(_ACTIVE)),
    comment="A batch of orders for one carrier.  Its row is the lock of all that happens within the job.",
)

_CLAIM = "The robot's name for the claim that leased it: the same claim again is answered alike."
_RESERVED = "The number that the robot reserved at the portal for this try, before the button."

robot_job_items = sa.Table(
    "robot_job_items",
    metadata,
    id_column(primary_key=True),
    id_column("job_id", sa.ForeignKey("robot_jobs.id", ondelete="CASCADE")),
    id_column("order_id", sa.ForeignKey("orders.id")),
    sa.Column("status", sa.Text, nullable=False, server_default=ItemStatus.PENDING),
    sa.Column("attempt", sa.Integer, nullable=False, server_default="1", comment="The current try; the first is 1."),
    sa.Column("retry_count", sa.Integer, nullable=False, server_default="0"),
    sa.Column("tracking_number", sa.Text, comment="The carrier's pedido number."),
    sa.Column("carrier_guide_number", sa.Text, comment="The carrier's later guía number."),
    sa.Column("validated_city", sa.Text, comment="The carrier city found at creation; null when none was."),
    sa.Column("value_sent", pg.JSONB, comment="The pedido input: what is typed into the portal."),
    sa.Column("error_type", sa.Text),
    sa.Column("error_message", sa.Text),
    sa.Column(
        "outcome_unknown",
        sa.Boolean,
        nullable=False,
        server_default=sa.false(),
        comment="True when nobody knows whether the parcel exists: it is not retried before that is settled.",
    ),
    sa.Column("closed_by", sa.Text, comment="robot: a reported result; system: failed, cancelled or expired."),
    sa.Column("review_reason", sa.Text, comment="Why a person must look: a parcel may exist twice."),
    timestamp("last_retry_at", nullable=True),
    timestamp("started_at", nullable=True),
    timestamp("completed_at", nullable=True),
    timestamp("created_at"),
    timestamp("updated_at"),
    sa.Column(
        "previous_tracking_number",
        sa.Text,
        comment="The order's number when a person said to ship it again; null in all other jobs.",
    ),
    id_column("lease_token", nullable=True, comment="Of the robot that works on it now; null when none does."),
    sa.Column("leased_by", sa.Text, comment="The user id of that robot."),
    timestamp("lease_expires_at", nullable=True, comment="From then on a sweep may take it from the robot."),
    timestamp(
        "submitted_at",
        nullable=True,
        comment="The robot has pressed the portal's button in this try, or is about to.",
    ),
    sa.Column("reserved_number", sa.Text, comment=_RESERVED),
    id_column("claim_id", nullable=True, comment=_CLAIM),
    one_of("status", ItemStatus),
    one_of("error_type", ErrorType),
    one_of("closed_by", ClosedBy),
    sa.CheckConstraint("attempt >= 1 AND retry_count = attempt - 1", name="retry_count_is_attempt_less_one"),
    sa.CheckConstraint(
        "(status IN ('success', 'error', 'cancelled')) = (completed_at IS NOT NULL) "
        "AND (completed_at IS NULL) = (closed_by IS NULL)",
        name="completed_at_when_closed",
    ),
    sa.CheckConstraint("(status = 'error') = (error_type IS NOT NULL)", name="error_type_when_error"),
    sa.CheckConstraint("tracking_number IS NULL OR status = 'success'", name="tracking_number_when_success"),
    sa.CheckConstraint(
        "NOT outcome_unknown OR (status = 'error' AND error_type IN ('timeout', 'unknown'))",
        name="outcome_unknown_when_error",
    ),
    sa.CheckConstraint(
        "num_nulls(lease_token, leased_by, lease_expires_at) IN (0, 3) "
        "AND (lease_token IS NULL OR status = 'processing') AND (claim_id IS NULL OR lease_token IS NOT NULL)",
        name="leased_when_processing",
    ),
    sa.CheckConstraint("submitted_at IS NULL OR status <> 'pending'", name="submitted_at_when_taken_up"),
    sa.UniqueConstraint("job_id", "order_id"),
    sa.Index("ix_robot_job_items_job_id_id", "job_id", "id"),
    sa.Index("ix_robot_job_items_order_id", "order_id"),
    sa.Index(
        "uq_robot_job_items_open_order",
        "order_id",
        unique=True,
        postgresql_where=sa.text(f"{_ACTIVE} OR outcome_unknown"),
    ),
    # These hold only what is in hand, however many items have been closed.
    sa.Index("ix_robot_job_items_pending", "job_id", "id", postgresql_where=sa.text("status = 'pending'")),
    sa.Index(
        "ix_robot_job_items_lease_expires_at",
        "lease_expires_at",
        postgresql_where=sa.text("lease_expires_at IS NOT NULL"),
    ),
    sa.Index("ix_robot_job_items_leased", "job_id", postgresql_where=sa.text("lease_expires_at IS NOT NULL")),
    sa.Index("ix_robot_job_items_claim_id", "claim_id", postgresql_where=sa.text("claim_id IS NOT NULL")),
    sa.Index("ix_robot_job_items_outcome_unknown", "job_id", postgresql_where=sa.text("outcome_unknown")),
    comment="One order within a job.  Its tenant is its job's: the policy goes through the parent.",
)

robot_job_lookups = sa.Table(
    "robot_job_lookups",
    metadata,
    id_column("item_id", sa.ForeignKey("robot_job_items.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("attempt", sa.Integer, nullable=False, comment="Whose outcome is looked up."),
    id_column("lease_token", nullable=True, comment="Of the robot that looks it up now; null when none does."),
    sa.Column("leased_by", sa.Text, comment="The user id of that robot."),
    timestamp("lease_expires_at", nullable=True, comment="From then on another may."),
    timestamp("not_before", nullable=True, comment="It was looked up and could not be settled; again from then on."),
    sa.Column("tries", sa.Integer, nullable=False, server_default="0", comment="How often robots looked."),
    id_column("claim_id", nullable=True, comment=_CLAIM),
    sa.CheckConstraint(
        "num_nulls(lease_token, leased_by, lease_expires_at) IN (0, 3) "
        "AND (claim_id IS NULL OR lease_token IS NOT NULL)",
        name="lease_is_whole",
    ),
    sa.Index("ix_robot_job_lookups_leased", "item_id", postgresql_where=sa.text("lease_token IS NOT NULL")),
    comment="Robots that look for a parcel of which nobody knows.",
)

reserved_numbers = sa.Table(
    "reserved_numbers",
    metadata,
    id_column("workspace_id", primary_key=True),
    sa.Column("carrier", sa.Text, primary_key=True),
    sa.Column("number", sa.Text, primary_key=True),
    id_column("item_id", sa.ForeignKey("robot_job_items.id", ondelete="CASCADE")),
    sa.Column("attempt", sa.Integer, nullable=False),
    timestamp("reserved_at"),
    sa.Index("ix_reserved_numbers_item_id", "item_id"),
    comment="Numbers that tries have reserved at a portal: each is of one try, whatever became of it.",
)

robot_job_attempts = sa.Table(
    "robot_job_attempts",
    metadata,
    id_column("item_id", sa.ForeignKey("robot_job_items.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("attempt", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("tracking_number", sa.Text),
    sa.Column("carrier_guide_number", sa.Text),
    sa.Column("error_type", sa.Text),
    sa.Column("error_message", sa.Text),
    sa.Column("closed_by", sa.Text, nullable=False),
    sa.Column("reported_by", sa.Text, nullable=False, comment="The user id of who closed it."),
    sa.Column(
        "late_results",
        pg.JSONB,
        nullable=False,
        server_default=sa.text("'[]'"),
        comment="Results that came for this attempt after it was closed, oldest first; kept for review.",
    ),
    timestamp("late_result_at", nullable=True),
    timestamp("started_at", nullable=True),
    timestamp("completed_at"),
    sa.Column("value_sent", pg.JSONB, comment="What was typed into the portal in this try."),
    timestamp("submitted_at", nullable=True, comment="The portal's button was pressed, or was about to be."),
    sa.Column("resolution", sa.Text, comment="What was found out when nobody knew whether there was a parcel."),
    sa.Column("resolved_by", sa.Text, comment="The user id of who found out."),
    sa.Column("resolution_reason", sa.Text, comment="How it is known."),
    timestamp("resolved_at", nullable=True),
    sa.Column("reserved_number", sa.Text, comment=_RESERVED),
    sa.Column("robot", sa.Text, comment="The name and version of the robot, as it says itself."),
    sa.Column(
        "steps",
        pg.JSONB,
        nullable=False,
        server_default=sa.text("'[]'"),
        comment="[{name, startedAt, durationMs, note}]: what the robot did, in its own words.",
    ),
    one_of("status", ItemStatus),
    one_of("error_type", ErrorType),
    one_of("closed_by", ClosedBy),
    one_of("resolution", Resolution),
    sa.CheckConstraint(
        "num_nulls(resolution, resolved_by, resolution_reason, resolved_at) IN (0, 4)", name="resolution_is_whole"
    ),
    sa.CheckConstraint("length(robot) <= 100", name="robot_length"),
    sa.CheckConstraint(
        "CASE jsonb_typeof(steps) WHEN 'array' THEN jsonb_array_length(steps) <= 50 ELSE false END", name="steps_length"
    ),
    comment="One row per closed try of an item; how it ended is never changed.",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RobotJob:
    """A job as it was read."""

    id: uuid.UUID
    workspace_id: uuid.UUID
    carrier: Carrier
    job_type: JobType
    status: JobStatus
    total_items: int
    success_count: int
    error_count: int
    cancelled_count: int
    idempotency_key: str | None
    error: str | None
    created_by: str
    last_event_seq: int
    started_at: dt.datetime | None
    completed_at: dt.datetime | None
    created_at: dt.datetime
    updated_at: dt.datetime
    ship_again_reason: str | None
    removed_event_seq: int = 0
    has_events: bool = True
    cancel_requested_at: dt.datetime | None = None

    @property
    def finishes_as(self) -> JobStatus:
        """What it becomes with its last open item."""
        return JobStatus.COMPLETED if self.cancel_requested_at is None else JobStatus.CANCELLED

    @property
    def open_count(self) -> int:
        return self.total_items - self.success_count - self.error_count - self.cancelled_count

    @classmethod
    def from_row(cls, row: sa.Row[Any]) -> Self:
        return cls.from_values(*row)

    @classmethod
    def from_values(cls, *values: Any) -> Self:
        """From the columns of the table in their order."""
        named = dict(zip(_JOB_FIELDS, values, strict=True))
        named["carrier"] = Carrier(named["carrier"])
        named["job_type"] = JobType(named["job_type"])
        named["status"] = JobStatus(named["status"])
        return cls(**named)

    def snapshot(self) -> dict[str, Any]:
        """What changes while a job runs, as events carry it."""
        return {
            "status": self.status,
            "totalItems": self.total_items,
            "successCount": self.success_count,
            "errorCount": self.error_count,
            "cancelledCount": self.cancelled_count,
            "startedAt": _iso(self.started_at),
            "completedAt": _iso(self.completed_at),
            "updatedAt": _iso(self.updated_at),
        }

    def as_of(self, snapshot: dict[str, Any]) -> Self:
        """The job as it stood when an event took its snapshot."""
        return replace(
            self,
            status=JobStatus(snapshot["status"]),
            total_items=snapshot["totalItems"],
            success_count=snapshot["successCount"],
            error_count=snapshot["errorCount"],
            cancelled_count=snapshot["cancelledCount"],
            started_at=_time(snapshot["startedAt"]),
            completed_at=_time(snapshot["completedAt"]),
            updated_at=dt.datetime.fromisoformat(snapshot["updatedAt"]),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class RobotJobItem:
    """An item as it was read."""

    id: uuid.UUID
    job_id: uuid.UUID
    order_id: uuid.UUID
    status: ItemStatus
    attempt: int
    retry_count: int
    tracking_number: str | None
    carrier_guide_number: str | None
    validated_city: str | None
    value_sent: dict[str, Any] | None
    error_type: ErrorType | None
    error_message: str | None
    outcome_unknown: bool
    closed_by: ClosedBy | None
    review_reason: str | None
    last_retry_at: dt.datetime | None
    started_at: dt.datetime | None
    completed_at: dt.datetime | None
    created_at: dt.datetime
    updated_at: dt.datetime
    previous_tracking_number: str | None
    lease_token: uuid.UUID | None = None
    leased_by: str | None = None
    lease_expires_at: dt.datetime | None = None
    submitted_at: dt.datetime | None = None
    reserved_number: str | None = None
    claim_id: uuid.UUID | None = None

    @classmethod
    def from_row(cls, row: sa.Row[Any]) -> Self:
        return cls.from_values(*row)

    @classmethod
    def from_values(cls, *values: Any) -> Self:
        """From the columns of the table in their order."""
        named = dict(zip(_ITEM_FIELDS, values, strict=True))
        named["status"] = ItemStatus(named["status"])
        named["error_type"] = ErrorType(named["error_type"]) if named["error_type"] else None
        named["closed_by"] = ClosedBy(named["closed_by"]) if named["closed_by"] else None
        return cls(**named)

    def snapshot(self) -> dict[str, Any]:
        """What changes from try to try, as events carry it."""
        return {
            "status": self.status,
            "attempt": self.attempt,
            "trackingNumber": self.tracking_number,
            "carrierGuideNumber": self.carrier_guide_number,
            "errorType": self.error_type,
            "errorMessage": self.error_message,
            "outcomeUnknown": self.outcome_unknown,
            "closedBy": self.closed_by,
            "reviewReason": self.review_reason,
            "lastRetryAt": _iso(self.last_retry_at),
            "startedAt": _iso(self.started_at),
            "completedAt": _iso(self.completed_at),
            "updatedAt": _iso(self.updated_at),
        }

    def as_of(self, snapshot: dict[str, Any]) -> Self:
        """The item as it stood when an event took its snapshot."""
        return replace(
            self,
            status=ItemStatus(snapshot["status"]),
            attempt=snapshot["attempt"],
            retry_count=snapshot["attempt"] - 1,
            tracking_number=snapshot["trackingNumber"],
            carrier_guide_number=snapshot["carrierGuideNumber"],
            error_type=ErrorType(snapshot["errorType"]) if snapshot["errorType"] else None,
            error_message=snapshot["errorMessage"],
            outcome_unknown=snapshot["outcomeUnknown"],
            closed_by=ClosedBy(snapshot["closedBy"]) if snapshot["closedBy"] else None,
            review_reason=snapshot["reviewReason"],
            last_retry_at=_time(snapshot["lastRetryAt"]),
            started_at=_time(snapshot["startedAt"]),
            completed_at=_time(snapshot["completedAt"]),
            updated_at=dt.datetime.fromisoformat(snapshot["updatedAt"]),
        )


_JOB_FIELDS = tuple(field.name for field in fields(RobotJob))
_ITEM_FIELDS = tuple(field.name for field in fields(RobotJobItem))
if tuple(robot_jobs.c.keys()) != _JOB_FIELDS or tuple(robot_job_items.c.keys()) != _ITEM_FIELDS:
    raise TypeError("RobotJob and RobotJobItem must name the columns of their tables in the tables' order")


def _iso(value: dt.datetime | None) -> str | None:
    return value.isoformat() if value is not None else None


def _time(value: str | None) -> dt.datetime | None:
    return dt.datetime.fromisoformat(value) if value is not None else None
