"""Robots look for the parcels of which nobody knows: one robot an item, again later when it was too soon to say."""

import datetime as dt
import uuid
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.accounts import Breaker, note_claim
from domain.base import array_parameter
from domain.carriers import Carrier
from domain.robot_jobs.leases import (
    MAY_LOG_IN,
    ClaimedItems,
    check_claim,
    find_room,
    held_back_by_pause,
    lock_account,
    seconds,
)
from domain.robot_jobs.tables import RobotJobItem, robot_job_items, robot_job_lookups, robot_jobs

RETRY_AFTER_S_AT_MOST = 86_400

_item = robot_job_items.c
_lookup = robot_job_lookups.c


async def claim_lookups(
    connection: AsyncConnection,
    carrier: Carrier,
    *,
    workspace_id: uuid.UUID,
    claimed_by: str,
    claim_id: uuid.UUID | None = None,
    limit: int = 1,
    lease_s: int = 300,
    breaker: Breaker = Breaker(),  # noqa: B008 -- frozen
) -> ClaimedItems:
    """Items with an unknown outcome, the longest submitted first, each for one robot to look up in the portal.

    The items stay as they are: to settle one is `resolve_unknown_outcome`.  A lease of a look-up keeps other robots
    from looking at the same time, counts for its account as any other, and ends by itself; what a robot was looking up
    when it went silent comes after the others, for it may be what silences robots.  What the claim of that id has
    brought the same robot before is brought again.  Locks no job and no item.  A constant number of statements.
    Raises InvalidInput.
    """
    check_claim(limit=limit, lease_s=lease_s)
    await lock_account(connection, carrier, workspace_id=workspace_id)
    account = {"workspace_id": workspace_id, "carrier": carrier.value}
    again = account | {"of_claim": claim_id, "of_robot": claimed_by, "lease": seconds(lease_s)}
    if claim_id is not None and (rows := (await connection.execute(_LEASE_AGAIN, again)).all()):
        return ClaimedItems(
            [_under_lease(RobotJobItem.from_values(*row[4:]), row) for row in rows],
            [],
            await held_back_by_pause(connection, carrier, workspace_id=workspace_id),
        )
    room = await find_room(connection, carrier, workspace_id=workspace_id, wanted=limit)
    if not room.count:
        return ClaimedItems([], [], room.held_back)
    found = await connection.execute(
        _CANDIDATES, {"workspace_id": workspace_id, "carrier": carrier.value, "limit": room.count}
    )
    items = {row.id: RobotJobItem.from_row(row) for row in found}
    if not items:
        return ClaimedItems([], [])
    rows = await connection.execute(
        _LEASE, {"item_ids": list(items), "leased_by": claimed_by, "lease": seconds(lease_s), "claim": claim_id}
    )
    leases = {row.item_id: row for row in rows}
    if not leases:  # they were settled just now, and no probe was given out
        return ClaimedItems([], [], room.held_back)
    await note_claim(connection, workspace_id, carrier, is_probe=room.is_probe, breaker=breaker)
    return ClaimedItems(
        [_under_lease(item, leases[item.id]) for item in items.values() if item.id in leases], [], room.held_back
    )


def _under_lease(item: RobotJobItem, lease: Any) -> RobotJobItem:
    return replace(
        item, lease_token=lease.lease_token, leased_by=lease.leased_by, lease_expires_at=lease.lease_expires_at
    )


async def release_lookups(
    connection: AsyncConnection, tokens: Sequence[uuid.UUID], *, retry_after_s: int | None
) -> dict[uuid.UUID, bool]:
    """Give look-ups back, to be claimed again after so many seconds.

    The items whose look-ups they were, and whether the lease had not run out: if it had, no good word of its robot
    counts for the account any more, which others may have met since.
    """
    rows = await connection.execute(
        _RELEASE,
        {"tokens": list(tokens), "after": dt.timedelta(seconds=retry_after_s or 0)},
    )
    return {row.item_id: row.is_running for row in rows}


CAN_BE_LOOKED_UP = sa.and_(
    sa.func.coalesce(_lookup.lease_expires_at < sa.func.statement_timestamp(), sa.true()),
    sa.func.coalesce(_lookup.not_before <= sa.func.statement_timestamp(), sa.true()),
)
"""Nobody looks it up now, and it is not too soon; also when nobody ever has."""

# From the few items that are in question, not from all the jobs that there have been.
_unknown = sa.select(robot_job_items).where(_item.outcome_unknown).cte("unknown").prefix_with("MATERIALIZED")
_CANDIDATES = (
    sa.select(*(_unknown.c[column.name] for column in robot_job_items.c))
    .join(robot_jobs, robot_jobs.c.id == _unknown.c.job_id)
    .outerjoin(robot_job_lookups, sa.and_(_lookup.item_id == _unknown.c.id, _lookup.attempt == _unknown.c.attempt))
    .where(
        robot_jobs.c.workspace_id == sa.bindparam("workspace_id", type_=sa.Uuid()),
        robot_jobs.c.carrier == sa.bindparam("carrier", type_=sa.Text()),
        CAN_BE_LOOKED_UP,
    )
    .order_by(_lookup.lease_token.is_not(None), _unknown.c.submitted_at, _unknown.c.id)
    .limit(sa.bindparam("limit", type_=sa.Integer()))
)
_new = pg.insert(robot_job_lookups).from_select(
    ["item_id", "attempt", "lease_token", "leased_by", "lease_expires_at", "tries", "claim_id"],
    sa.select(
        _item.id,
        _item.attempt,
        sa.func.gen_random_uuid(),
        sa.bindparam("leased_by", type_=sa.Text()),
        sa.func.clock_timestamp() + sa.bindparam("lease", type_=sa.Interval()),
        sa.literal(1),
        sa.bindparam("claim", type_=sa.Uuid()),
    )
    .where(_item.id == sa.func.any(array_parameter("item_ids", sa.Uuid())), _item.outcome_unknown)
    .order_by(_item.id),
)
_LEASE = _new.on_conflict_do_update(
    index_elements=["item_id"],
    set_={
        "attempt": _new.excluded.attempt,
        "lease_token": _new.excluded.lease_token,
        "leased_by": _new.excluded.leased_by,
        "lease_expires_at": _new.excluded.lease_expires_at,
        "not_before": None,
        "claim_id": _new.excluded.claim_id,
        "tries": sa.case((_lookup.attempt == _new.excluded.attempt, _lookup.tries + 1), else_=1),
    },
).returning(_lookup.item_id, _lookup.lease_token, _lookup.leased_by, _lookup.lease_expires_at)
_LEASE_AGAIN = (
    sa.update(robot_job_lookups)
    .where(
        _lookup.claim_id == sa.bindparam("of_claim", type_=sa.Uuid()),
        _lookup.leased_by == sa.bindparam("of_robot", type_=sa.Text()),
        _item.id == _lookup.item_id,
        _item.attempt == _lookup.attempt,
        _item.outcome_unknown,
        MAY_LOG_IN,
    )
    .values(lease_expires_at=sa.func.clock_timestamp() + sa.bindparam("lease", type_=sa.Interval()))
    .returning(_lookup.item_id, _lookup.lease_token, _lookup.leased_by, _lookup.lease_expires_at, robot_job_items)
)
_held = (
    sa.select(_lookup.item_id, (_lookup.lease_expires_at > sa.func.statement_timestamp()).label("is_running"))
    .where(_lookup.lease_token == sa.func.any(array_parameter("tokens", sa.Uuid())))
    .order_by(_lookup.item_id)  # as claims lock them
    .with_for_update()
    .cte("held")
)
_RELEASE = (
    sa.update(robot_job_lookups)
    .where(
        _lookup.item_id == _held.c.item_id,
        _lookup.lease_token == sa.func.any(array_parameter("tokens", sa.Uuid())),
    )
    .values(
        lease_token=None,
        leased_by=None,
        lease_expires_at=None,
        claim_id=None,
        not_before=sa.func.clock_timestamp() + sa.bindparam("after", type_=sa.Interval()),
    )
    .returning(_lookup.item_id, _held.c.is_running)
)
