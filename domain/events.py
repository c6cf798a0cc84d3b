"""The event log: what happened, in commit order, without gaps, written with the change it tells of.

A stream is one job, or one order.  Its numbers come from the stream row's `last_event_seq` under that row's lock, so
the order of the numbers is the order of the commits and a reader that has seen number n has seen all before it.
"""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from domain.base import array_parameter, id_column, metadata, new_id, timestamp


class EventType(StrEnum):
    JOB_SUBMITTED = "robot/job.submitted"
    JOB_STARTED = "robot/job.started"
    ITEM_COMPLETED = "robot/item.completed"
    ITEMS_RETRIED = "robot/items.retried"
    ITEM_RESOLVED = "robot/item.resolved"
    JOB_COMPLETED = "robot/job.completed"
    JOB_FAILED = "robot/job.failed"
    JOB_CANCELLED = "robot/job.cancelled"
    ORDER_FIELD_CHANGED = "order/field.changed"


events = sa.Table(
    "events",
    metadata,
    id_column("workspace_id", sa.ForeignKey("workspaces.id", ondelete="CASCADE"), primary_key=True),
    id_column("stream_id", primary_key=True, comment="A job's id, or an order's for order/field.changed."),
    sa.Column("seq", sa.BigInteger, primary_key=True, comment="1, 2, 3 … within the stream, without gaps."),
    id_column("id", comment="Stable across deliveries: receivers drop what they have seen."),
    sa.Column("type", sa.Text, nullable=False),
    id_column("job_id", nullable=True),
    id_column("item_id", nullable=True),
    sa.Column("payload", pg.JSONB, nullable=False),
    timestamp("occurred_at"),
    sa.UniqueConstraint("workspace_id", "id"),
    sa.CheckConstraint("seq > 0", name="seq_positive"),
    sa.Index("ix_events_of_orders_occurred_at", "occurred_at", postgresql_where=sa.text("job_id IS NULL")),
    comment="The event log, written in the transaction of the change.  Rows are never changed; old ones are removed.",
)


@dataclass(frozen=True, slots=True)
class NewEvent:
    stream_id: uuid.UUID
    seq: int
    type: EventType
    payload: dict[str, Any]
    job_id: uuid.UUID | None = None
    item_id: uuid.UUID | None = None


_COLUMNS: dict[str, sa.types.TypeEngine[Any]] = {
    "stream_id": sa.Uuid(),
    "seq": sa.BigInteger(),
    "id": sa.Uuid(),
    "type": sa.Text(),
    "job_id": sa.Uuid(),
    "item_id": sa.Uuid(),
    "payload": pg.JSONB(),
}
_rows = (
    sa.func.unnest(*(array_parameter(f"event_{name}s", type_) for name, type_ in _COLUMNS.items()))
    .table_valued(*_COLUMNS)
    .render_derived("new_events")
)
_rows_of_many = (
    sa.func.unnest(
        array_parameter("event_workspace_ids", sa.Uuid()),
        *(array_parameter(f"event_{name}s", type_) for name, type_ in _COLUMNS.items()),
    )
    .table_valued("workspace_id", *_COLUMNS)
    .render_derived("new_events")
)

# One statement for any number of events, to be run alone or added to an UPDATE of the streams' rows as a CTE, so that
# the change and its events are one round trip.  Its parameters come from `event_parameters`.
INSERT_EVENTS = sa.insert(events).from_select(
    ["workspace_id", *_COLUMNS],
    sa.select(sa.bindparam("event_workspace_id", type_=sa.Uuid()), *_rows.c),
)
# The same for streams of many workspaces; its parameters come from `parameters_of_many`.
INSERT_EVENTS_OF_MANY = sa.insert(events).from_select(["workspace_id", *_COLUMNS], sa.select(*_rows_of_many.c))


def event_parameters(workspace_id: uuid.UUID, new_events: Sequence[NewEvent]) -> dict[str, Any]:
    """The parameters of INSERT_EVENTS.  The caller holds the lock on each stream's row."""
    return {"event_workspace_id": workspace_id, **_values_of(new_events)}


def parameters_of_many(new_events: Sequence[tuple[uuid.UUID, Sequence[NewEvent]]]) -> dict[str, Any]:
    """The parameters of INSERT_EVENTS_OF_MANY: each workspace with events of it."""
    return {
        "event_workspace_ids": [workspace_id for workspace_id, those in new_events for _ in those],
        **_values_of([event for _, those in new_events for event in those]),
    }


def _values_of(new_events: Sequence[NewEvent]) -> dict[str, Any]:
    return {
        "event_stream_ids": [event.stream_id for event in new_events],
        "event_seqs": [event.seq for event in new_events],
        "event_ids": [new_id() for _ in new_events],
        "event_types": [event.type.value for event in new_events],
        "event_job_ids": [event.job_id for event in new_events],
        "event_item_ids": [event.item_id for event in new_events],
        "event_payloads": [event.payload for event in new_events],
    }
