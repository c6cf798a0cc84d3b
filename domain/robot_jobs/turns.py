"""Which workspace robots of the whole installation serve next: the one that has waited longest."""

import uuid

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.accounts import CAN_BE_CLAIMED, carrier_accounts
from domain.carrier_configs import LEASES_AT_MOST, carrier_configs
from domain.carriers import Carrier
from domain.orders import orders
from domain.robot_jobs.leases import IS_ACTIVE, IS_CLAIMABLE, IS_LOOKED_UP
from domain.robot_jobs.lookups import CAN_BE_LOOKED_UP
from domain.robot_jobs.tables import JobType, robot_job_items, robot_job_lookups, robot_jobs

WORKSPACES_AT_ONCE = 10

_item = robot_job_items.c
_leased = robot_job_items.alias("leased")
_of_carrier = robot_jobs.c.carrier == sa.bindparam("carrier", type_=sa.Text())


async def list_workspaces_in_turn(
    connection: AsyncConnection, carrier: Carrier, *, lookups: bool = False, claim_id: uuid.UUID | None = None
) -> list[uuid.UUID]:
    """Where something may be claimed now, the longest forgotten first, at most ten; two statements at most.

    If the claim of that id has brought something already, there alone.  Nowhere for a key that was presented before and
    is limited to other carriers.  A claim looks again, for others claim at the same time.  For the system role
    (`enter_all_workspaces`).
    """
    if claim_id is not None:
        earlier = {"claim_id": claim_id, "carrier": carrier.value}
        before = await connection.scalars(_LOOKED_UP_BEFORE if lookups else _CLAIMED_BEFORE, earlier)
        if workspace_ids := list(before.all()):
            return workspace_ids
    found = await connection.scalars(_LOOKUPS if lookups else _SHIPMENTS, {"carrier": carrier.value})
    return list(found.all())


# Active jobs are few however many there have been; what waits in them is found in the index of pending items.
_with_pending = (
    sa.select(robot_jobs.c.workspace_id)
    .where(
        _of_carrier,
        robot_jobs.c.job_type == sa.literal_column(f"'{JobType.CREATE_SHIPMENT}'"),
        IS_ACTIVE,
        sa.exists(
            sa.select(1)
            .select_from(robot_job_items.join(orders, orders.c.id == _item.order_id))
            .where(_item.job_id == robot_jobs.c.id, _item.status == sa.literal_column("'pending'"), IS_CLAIMABLE)
            .correlate(robot_jobs)
        ),
    )
    .distinct()
    .subquery("waiting")
)
_with_unknown = (
    sa.select(robot_jobs.c.workspace_id)
    .select_from(
        robot_job_items.join(robot_jobs, robot_jobs.c.id == _item.job_id).outerjoin(
            robot_job_lookups,
            sa.and_(robot_job_lookups.c.item_id == _item.id, robot_job_lookups.c.attempt == _item.attempt),
        )
    )
    .where(_of_carrier, _item.outcome_unknown, CAN_BE_LOOKED_UP)
    .distinct()
    .subquery("waiting")
)


# Leases of look-ups are few: from each to its job, whatever the planner thinks of how many there are.
_looked_up = sa.select(robot_job_lookups.c.item_id).where(IS_LOOKED_UP).cte("looked_up").prefix_with("MATERIALIZED")
_place = (
    sa.select(robot_jobs.c.workspace_id)
    .join(robot_job_items, _item.job_id == robot_jobs.c.id)
    .where(_item.id == _looked_up.c.item_id, _of_carrier)
    .limit(1)
    .correlate(_looked_up)
    .lateral("place")
)
_looking = (
    sa.select(_place.c.workspace_id, sa.func.count().label("lookups"))
    .select_from(_looked_up.join(_place, sa.true()))
    .group_by(_place.c.workspace_id)
    .subquery("looking")
)
# What presented the key says to what it is limited; the system role itself is not.
_may_be_claimed = sa.func.coalesce(
    sa.bindparam("carrier", type_=sa.Text()) == sa.func.any(sa.func.app_carriers(type_=pg.ARRAY(sa.Text()))), sa.true()
)


def _in_turn(waiting: sa.Subquery) -> sa.Select[uuid.UUID]:
    some = (
        sa.select(_leased.c.id)
        .select_from(robot_jobs.join(_leased, _leased.c.job_id == robot_jobs.c.id))
        .where(
            robot_jobs.c.workspace_id == waiting.c.workspace_id,
            _of_carrier,
            IS_ACTIVE,
            _leased.c.lease_expires_at.is_not(None),
        )
        .correlate(waiting)
        .limit(LEASES_AT_MOST)
        .subquery("some")
    )
    shipments = sa.select(sa.func.count()).select_from(some).correlate(waiting).scalar_subquery()
    leases = shipments + sa.func.coalesce(_looking.c.lookups, 0)
    # A probe is given out when nobody works with the account any more: until then it has nothing to give.
    is_open_to_claims = sa.or_(
        carrier_accounts.c.carrier.is_(None),
        sa.and_(CAN_BE_CLAIMED, sa.or_(carrier_accounts.c.paused_at.is_(None), leases == 0)),
    )

    def of_account(table: sa.Table) -> sa.ColumnElement[bool]:
        return sa.and_(
            table.c.workspace_id == waiting.c.workspace_id,
            table.c.carrier == sa.bindparam("carrier", type_=sa.Text()),
        )

    return (
        sa.select(waiting.c.workspace_id)
        .outerjoin(carrier_accounts, of_account(carrier_accounts))
        .outerjoin(carrier_configs, of_account(carrier_configs))
        .outerjoin(_looking, _looking.c.workspace_id == waiting.c.workspace_id)
        .where(
            _may_be_claimed,
            sa.func.coalesce(carrier_configs.c.is_enabled, sa.true()),
            is_open_to_claims,
            leases < sa.func.coalesce(carrier_configs.c.max_concurrent_leases, 1),
        )
        .order_by(carrier_accounts.c.last_claimed_at.asc().nulls_first(), waiting.c.workspace_id)
        .limit(WORKSPACES_AT_ONCE)
    )


_SHIPMENTS, _LOOKUPS = _in_turn(_with_pending), _in_turn(_with_unknown)
_CLAIMED_BEFORE = (
    sa.select(robot_jobs.c.workspace_id)
    .join(robot_job_items, _item.job_id == robot_jobs.c.id)
    .where(_item.claim_id == sa.bindparam("claim_id", type_=sa.Uuid()), _of_carrier, _may_be_claimed)
    .distinct()
)
_LOOKED_UP_BEFORE = (
    sa.select(robot_jobs.c.workspace_id)
    .join(robot_job_items, _item.job_id == robot_jobs.c.id)
    .join(robot_job_lookups, robot_job_lookups.c.item_id == _item.id)
    .where(robot_job_lookups.c.claim_id == sa.bindparam("claim_id", type_=sa.Uuid()), _of_carrier, _may_be_claimed)
    .distinct()
)
