"""The event log: numbered without gaps within a stream, and never changed."""

from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError, ProgrammingError

from domain.base import new_id
from domain.events import INSERT_EVENTS, EventType, NewEvent, event_parameters, events
from domain.workspaces import Role
from tests.tenants import Tenant


async def _insert(tenant: Tenant, *new_events: NewEvent) -> None:
    async with tenant.work() as connection:
        await connection.execute(INSERT_EVENTS, event_parameters(tenant.workspace_id, new_events))


async def test_events_are_written_together_and_read_in_their_order(tenant: Tenant) -> None:
    stream_id = new_id()

    await _insert(
        tenant,
        *(NewEvent(stream_id, seq, EventType.JOB_STARTED, {"number": seq, "text": "Ñ “x”"}) for seq in (3, 1, 2)),
    )

    stream = await tenant.events(stream_id)
    assert [(event.seq, event.payload) for event in stream] == [
        (seq, {"number": seq, "text": "Ñ “x”"}) for seq in (1, 2, 3)
    ]
    assert len({event.id for event in stream}) == 3


async def test_a_number_is_given_once_within_a_stream(tenant: Tenant) -> None:
    in_hand = await tenant.job(items=1)

    with pytest.raises(IntegrityError, match="pk_events"):
        await _insert(tenant, NewEvent(in_hand.job.id, 1, EventType.JOB_STARTED, {}))

    assert len(await tenant.events(in_hand.job.id)) == 1


async def test_numbers_begin_with_one(tenant: Tenant) -> None:
    with pytest.raises(IntegrityError, match="ck_events_seq_positive"):
        await _insert(tenant, NewEvent(new_id(), 0, EventType.JOB_STARTED, {}))


@pytest.mark.parametrize(
    "statement", [sa.update(events).values(payload={}), sa.delete(events)], ids=["changed", "deleted"]
)
async def test_what_was_told_is_not_unsaid(tenant: Tenant, statement: Any) -> None:
    in_hand = await tenant.job(items=1)
    before = await tenant.events(in_hand.job.id)

    with pytest.raises(ProgrammingError, match="permission denied"):
        async with tenant.work(Role.ADMIN) as connection:
            await connection.execute(statement)

    assert await tenant.events(in_hand.job.id) == before


async def test_another_tenants_stream_is_empty(tenant: Tenant, other_tenant: Tenant) -> None:
    in_hand = await tenant.job(items=1)

    assert await other_tenant.events(in_hand.job.id) == []
