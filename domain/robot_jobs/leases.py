"""Robots take items under a lease: nobody else works on them until it ends, by the database's clock alone.

How claiming keeps the order of locks, and why no lease is ever given twice: docs/decisions/0014.
"""

import datetime as dt
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.accounts import CAN_BE_CLAIMED, WAITS_FOR_SOMEBODY, Breaker, carrier_accounts, note_claim
from domain.base import array_parameter
from domain.carrier_configs import carrier_configs
from domain.carriers import Carrier
from domain.errors import InputProblem, InvalidInput
from domain.orders import orders
from domain.robot_jobs.changes import JobChange, write_job_changes
from domain.robot_jobs.tables import (
    ItemStatus,
    JobStatus,
    JobType,
    RobotJob,
    RobotJobItem,
    is_open,
    robot_job_items,
    robot_job_lookups,
    robot_jobs,
)

LEASE_S_AT_LEAST, LEASE_S_AT_MOST = 30, 3_600
LEASES_AT_ONCE = 100

_item = robot_job_items.c


class ClaimPurpose(StrEnum):
    """What a robot wants to do with what it claims."""

    SHIP = "ship"
    LOOK_UP = "look_up"


class HeldBack(StrEnum):
    """Why a claim brought less than there may be to do."""

    CARRIER_DISABLED = "carrier_disabled"
    ACCOUNT_BUSY = "account_busy"
    ACCOUNT_PAUSED = "account_paused"


@dataclass(frozen=True, slots=True)
class ClaimedItems:
    """The items, each with its lease, those of the oldest job first; `jobs` were begun by it."""

    items: list[RobotJobItem]
    jobs: list[RobotJob]
    held_back: HeldBack | None = None


async def claim_job_items(
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
    """Lease up to `limit` pending items of that carrier for so many seconds, those of the oldest jobs first.

    Never more at once with one login than its config allows (one, when there is no config, and until a login that was
    set or changed has worked), none while the config is switched off or the account pauses (a probe that is due: one),
    and none whose order has meanwhile got a tracking number, or that an earlier try may have shipped
    (`close_unclaimable_items`).  The first item taken up starts its job.  What the claim of that id, if one is named,
    has brought the same robot before and is not submitted yet is brought again, and nothing else.  Claims with one
    login wait for each other and for nobody else; then the jobs that begin are locked, then items, then the account.
    A constant number of statements.  Raises InvalidInput.
    """
    check_claim(limit=limit, lease_s=lease_s)
    await lock_account(connection, carrier, workspace_id=workspace_id)
    account = {"workspace_id": workspace_id, "carrier": carrier.value}
    again = account | {"of_claim": claim_id, "of_robot": claimed_by, "lease": seconds(lease_s)}
    if claim_id is not None and (rows := (await connection.execute(_LEASE_AGAIN, again)).all()):
        items = sorted((RobotJobItem.from_row(row) for row in rows), key=_by_job)
        return ClaimedItems(items, [], await held_back_by_pause(connection, carrier, workspace_id=workspace_id))
    room = await find_room(connection, carrier, workspace_id=workspace_id, wanted=limit)
    if not room.count:
        return ClaimedItems([], [], room.held_back)
    claimed = await _claim(connection, carrier, workspace_id, claimed_by, claim_id, room, lease_s)
    if claimed.items:
        await note_claim(connection, workspace_id, carrier, is_probe=room.is_probe, breaker=breaker)
    return claimed


def check_claim(*, limit: int, lease_s: int) -> None:
    """Raises InvalidInput for what cannot be claimed wherever it is asked."""
    problems = [*lease_problems(lease_s)]
    if not 1 <= limit <= LEASES_AT_ONCE:
        problems.append(InputProblem("limit", f"must be 1 to {LEASES_AT_ONCE}; it is {limit}."))
    if problems:
        raise InvalidInput(*problems)


@dataclass(frozen=True, slots=True)
class Room:
    """How many items may be leased for an account now, and why it is not more."""

    count: int
    held_back: HeldBack | None = None
    is_probe: bool = False


async def lock_account(connection: AsyncConnection, carrier: Carrier, *, workspace_id: uuid.UUID) -> None:
    """Keep other claims of the account out until the commit."""
    await connection.execute(_LOCK_ACCOUNT, {"account": f"claims {workspace_id} {carrier}"})


async def find_room(connection: AsyncConnection, carrier: Carrier, *, workspace_id: uuid.UUID, wanted: int) -> Room:
    """Of `wanted` leases as many as the account, which the caller has locked, has room for."""
    account = {"workspace_id": workspace_id, "carrier": carrier.value}
    login = (await connection.execute(_ACCOUNT, account)).one()
    if not login.is_enabled:
        return Room(0, HeldBack.CARRIER_DISABLED)
    if not login.can_be_claimed or (login.is_paused and login.leases):
        return Room(0, HeldBack.ACCOUNT_PAUSED)
    if login.is_paused:
        return Room(1, HeldBack.ACCOUNT_PAUSED, is_probe=True)
    at_once = 1 if login.is_untried else login.max_concurrent_leases
    free = max(0, min(wanted, at_once - login.leases))
    return Room(free, HeldBack.ACCOUNT_BUSY if free < wanted else None)


async def held_back_by_pause(
    connection: AsyncConnection, carrier: Carrier, *, workspace_id: uuid.UUID
) -> HeldBack | None:
    """What is held of an account that pauses is a probe."""
    login = (await connection.execute(_ACCOUNT, {"workspace_id": workspace_id, "carrier": carrier.value})).one()
    return HeldBack.ACCOUNT_PAUSED if login.is_paused else None


async def _claim(
    connection: AsyncConnection,
    carrier: Carrier,
    workspace_id: uuid.UUID,
    claimed_by: str,
    claim_id: uuid.UUID | None,
    room: Room,
    lease_s: int,
) -> ClaimedItems:
    candidates = (
        await connection.execute(
            _CANDIDATES, {"workspace_id": workspace_id, "carrier": carrier.value, "limit": room.count}
        )
    ).all()
    if not candidates:
        return ClaimedItems([], [])
    new_jobs = {row.job_id for row in candidates if row.status == JobStatus.PENDING}
    begun = await _lock_pending_jobs(connection, sorted(new_jobs)) if new_jobs else {}
    free_items = (await connection.scalars(_LOCK_FREE_ITEMS, {"item_ids": [row.id for row in candidates]})).all()
    if not free_items:
        return ClaimedItems([], [], room.held_back)
    rows = await connection.execute(
        _LEASE,
        {
            "item_ids": list(free_items),
            "begun": list(begun),
            "leased_by": claimed_by,
            "lease": seconds(lease_s),
            "claim": claim_id,
        },
    )
    place = {row.id: number for number, row in enumerate(candidates)}
    items = sorted((RobotJobItem.from_row(row) for row in rows), key=lambda item: place[item.id])
    return ClaimedItems(items, await _start_jobs(connection, begun, items), room.held_back)


def lease_problems(lease_s: int) -> list[InputProblem]:
    if LEASE_S_AT_LEAST <= lease_s <= LEASE_S_AT_MOST:
        return []
    return [InputProblem("lease_seconds", f"must be {LEASE_S_AT_LEAST} to {LEASE_S_AT_MOST:,}; it is {lease_s}.")]


def seconds(lease_s: int) -> dt.timedelta:
    return dt.timedelta(seconds=lease_s)


# Held until the claim has been committed, so that the next one counts its leases.
_LOCK_ACCOUNT = sa.text("SELECT pg_advisory_xact_lock(hashtextextended(:account, 0))").bindparams(
    sa.bindparam("account", type_=sa.Text)
)

_of_account = sa.and_(
    robot_jobs.c.workspace_id == sa.bindparam("workspace_id", type_=sa.Uuid()),
    robot_jobs.c.carrier == sa.bindparam("carrier", type_=sa.Text()),
)
# Literals, not parameters: whoever plans it must see that the partial indexes hold what is asked for.
IS_ACTIVE = sa.text("robot_jobs.status IN ('pending', 'processing')")
_config = (
    sa.select(
        carrier_configs.c.is_enabled, carrier_configs.c.max_concurrent_leases, carrier_configs.c.password_updated_at
    )
    .where(
        carrier_configs.c.workspace_id == sa.bindparam("workspace_id", type_=sa.Uuid()),
        carrier_configs.c.carrier == sa.bindparam("carrier", type_=sa.Text()),
    )
    .subquery("config")
)
# Of the account's own jobs, which are few: what others have leased, and how much, makes no difference.
_leased = (
    sa.select(_item.id)
    .where(_item.job_id == robot_jobs.c.id, _item.lease_expires_at.is_not(None))
    .correlate(robot_jobs)
    .lateral("leased")
)
_lookups = robot_job_lookups.c
IS_LOOKED_UP = sa.and_(_lookups.lease_token.is_not(None), _lookups.lease_expires_at > sa.func.statement_timestamp())
_looked_up = (
    sa.select(sa.func.count())
    .select_from(
        robot_job_lookups.join(robot_job_items, _item.id == _lookups.item_id).join(
            robot_jobs, robot_jobs.c.id == _item.job_id
        )
    )
    .where(IS_LOOKED_UP, _of_account)
    .scalar_subquery()
)
_pause = (
    sa.select(
        carrier_accounts.c.paused_at.is_not(None).label("is_paused"),
        CAN_BE_CLAIMED.label("can_be_claimed"),
        carrier_accounts.c.login_worked_at,
    )
    .where(
        carrier_accounts.c.workspace_id == sa.bindparam("workspace_id", type_=sa.Uuid()),
        carrier_accounts.c.carrier == sa.bindparam("carrier", type_=sa.Text()),
    )
    .subquery("pause")
)
# A lease that has run out still counts until the sweep has ended it: its robot may be logged in.
_ACCOUNT = sa.select(
    sa.func.coalesce(sa.select(_config.c.is_enabled).scalar_subquery(), sa.true()).label("is_enabled"),
    sa.func.coalesce(sa.select(_config.c.max_concurrent_leases).scalar_subquery(), 1).label("max_concurrent_leases"),
    (
        sa.select(sa.func.count())
        .select_from(robot_jobs.join(_leased, sa.true()))
        .where(_of_account, IS_ACTIVE)
        .scalar_subquery()
        + _looked_up
    ).label("leases"),
    # n robots would try a wrong password n times at once, and lock the account.
    sa.and_(
        sa.select(_config.c.password_updated_at).scalar_subquery().is_not(None),
        sa.select(_pause.c.login_worked_at).scalar_subquery().is_(None),
    ).label("is_untried"),
    sa.func.coalesce(sa.select(_pause.c.is_paused).scalar_subquery(), sa.false()).label("is_paused"),
    sa.func.coalesce(sa.select(_pause.c.can_be_claimed).scalar_subquery(), sa.true()).label("can_be_claimed"),
)

# A job that ships again goes by the number which was known when it was made.
_is_unshipped = sa.or_(
    orders.c.tracking_number.is_(None),
    orders.c.tracking_number == _item.previous_tracking_number,
)
# An open item is flagged when a success came for an earlier try: there may be a parcel, so no other is made on a guess.
IS_CLAIMABLE = sa.and_(_is_unshipped, _item.review_reason.is_(None))
_pending = (
    sa.select(_item.id)
    .join(orders, orders.c.id == _item.order_id)
    .where(_item.job_id == robot_jobs.c.id, _item.status == sa.literal_column("'pending'"), IS_CLAIMABLE)
    .order_by(_item.id)
    .limit(sa.bindparam("limit", type_=sa.Integer()))
    .correlate(robot_jobs)
    .lateral("pending")
)
_CANDIDATES = (
    sa.select(_pending.c.id, robot_jobs.c.id.label("job_id"), robot_jobs.c.status)
    .select_from(robot_jobs.join(_pending, sa.true()))
    .where(
        _of_account,
        robot_jobs.c.job_type == sa.literal_column(f"'{JobType.CREATE_SHIPMENT}'"),
        IS_ACTIVE,
    )
    .order_by(robot_jobs.c.id, _pending.c.id)
    .limit(sa.bindparam("limit", type_=sa.Integer()))
)

_LOCK_FREE_ITEMS = (
    sa.select(_item.id)
    .join(orders, orders.c.id == _item.order_id)
    .where(
        _item.id == sa.func.any(array_parameter("item_ids", sa.Uuid())),
        _item.status == ItemStatus.PENDING.value,
        IS_CLAIMABLE,
    )
    .order_by(_item.id)
    .with_for_update(key_share=True, skip_locked=True, of=[robot_job_items, orders])
)

# Whatever became of its job before the item was locked: a job stays active while one of its items is open.
_LEASE = (
    sa.update(robot_job_items)
    .where(
        _item.id == sa.func.any(array_parameter("item_ids", sa.Uuid())),
        sa.or_(
            _item.job_id == sa.func.any(array_parameter("begun", sa.Uuid())),
            sa.exists().where(robot_jobs.c.id == _item.job_id, robot_jobs.c.status == JobStatus.PROCESSING.value),
        ),
    )
    .values(
        status=ItemStatus.PROCESSING.value,
        lease_token=sa.func.gen_random_uuid(),
        leased_by=sa.bindparam("leased_by", type_=sa.Text()),
        claim_id=sa.bindparam("claim", type_=sa.Uuid()),
        lease_expires_at=sa.func.clock_timestamp() + sa.bindparam("lease", type_=sa.Interval()),
        started_at=sa.func.clock_timestamp(),
        updated_at=sa.func.clock_timestamp(),
    )
    .returning(robot_job_items)
)


# Another robot may have met since that the login is refused: who asks again has not logged in yet.
MAY_LOG_IN = sa.not_(
    sa.exists().where(
        carrier_accounts.c.workspace_id == sa.bindparam("workspace_id", type_=sa.Uuid()),
        carrier_accounts.c.carrier == sa.bindparam("carrier", type_=sa.Text()),
        WAITS_FOR_SOMEBODY,
    )
)
# The same robot asks again because it was not answered; what it has marked as submitted it has had.
_LEASE_AGAIN = (
    sa.update(robot_job_items)
    .where(
        _item.claim_id == sa.bindparam("of_claim", type_=sa.Uuid()),
        _item.leased_by == sa.bindparam("of_robot", type_=sa.Text()),
        _item.submitted_at.is_(None),
        MAY_LOG_IN,
    )
    .values(lease_expires_at=sa.func.clock_timestamp() + sa.bindparam("lease", type_=sa.Interval()))
    .returning(robot_job_items)
)


def _by_job(item: RobotJobItem) -> tuple[uuid.UUID, uuid.UUID]:
    return item.job_id, item.id


async def _lock_pending_jobs(connection: AsyncConnection, job_ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, RobotJob]:
    """Those that are pending still, under their locks; what somebody else has locked is left for the next claim."""
    rows = await connection.execute(
        sa.select(robot_jobs)
        .where(
            robot_jobs.c.id == sa.func.any(array_parameter("job_ids", sa.Uuid())),
            robot_jobs.c.status == JobStatus.PENDING.value,
        )
        .order_by(robot_jobs.c.id)
        .with_for_update(skip_locked=True),
        {"job_ids": list(job_ids)},
    )
    return {row.id: RobotJob.from_row(row) for row in rows}


async def _start_jobs(
    connection: AsyncConnection, begun: dict[uuid.UUID, RobotJob], items: Sequence[RobotJobItem]
) -> list[RobotJob]:
    """As a result starts its job: from the time that the first item was taken up."""
    changes: dict[uuid.UUID, JobChange] = {}
    for item in items:
        if item.job_id in begun and item.job_id not in changes:
            changes[item.job_id] = JobChange(begun[item.job_id])
            changes[item.job_id].start(item)
    return await write_job_changes(connection, list(changes.values())) if changes else []


# ---------------------------------------------------------------------------------------------- while it runs


class LeaseState(StrEnum):
    """What a robot is to do with an item that it asked about."""

    GO_ON = "go_on"
    STOP = "stop"
    LOST = "lost"


@dataclass(frozen=True, slots=True)
class HeldLease:
    """Whose lease a robot says to hold."""

    item_id: uuid.UUID
    token: uuid.UUID


@dataclass(frozen=True, slots=True)
class RenewedLease:
    item_id: uuid.UUID
    state: LeaseState
    expires_at: dt.datetime | None


async def renew_leases(connection: AsyncConnection, leases: Sequence[HeldLease], *, lease_s: int) -> list[RenewedLease]:
    """Each lease for so many seconds from now, in the order asked; one statement.

    GO_ON has the new deadline.  STOP: the job was cancelled or has failed, and so was the item.  LOST: somebody else
    has it, or it was closed; so is answered for an item that does not exist.  A lease that has run out is renewed all
    the same, if no sweep was there first.  Locks the items by id.  Raises InvalidInput.
    """
    problems = [*lease_problems(lease_s)]
    if not 1 <= len(leases) <= LEASES_AT_ONCE:
        problems.append(InputProblem("leases", f"must name 1 to {LEASES_AT_ONCE} leases; it names {len(leases):,}."))
    if problems:
        raise InvalidInput(*problems)
    rows = await connection.execute(
        _RENEW,
        {
            "item_ids": [lease.item_id for lease in leases],
            "tokens": [lease.token for lease in leases],
            "lease": seconds(lease_s),
        },
    )
    found = {(row.item_id, row.token): row for row in rows}
    return [_renewed(lease, found[lease.item_id, lease.token]) for lease in leases]


def _renewed(lease: HeldLease, row: sa.Row[*tuple[Any, ...]]) -> RenewedLease:
    if row.lease_expires_at is not None:
        return RenewedLease(lease.item_id, LeaseState.GO_ON, row.lease_expires_at)
    return RenewedLease(lease.item_id, LeaseState.STOP if row.is_stopped else LeaseState.LOST, None)


def _leases_named(alias: str) -> sa.TableValuedAlias:
    return (
        sa.func.unnest(array_parameter("item_ids", sa.Uuid()), array_parameter("tokens", sa.Uuid()))
        .table_valued(sa.column("item_id", sa.Uuid()), sa.column("token", sa.Uuid()))
        .render_derived(alias)
    )


_held, _asked = _leases_named("held"), _leases_named("asked")
_locked = (
    sa.select(_item.id)
    .where(
        _item.id == sa.func.any(array_parameter("item_ids", sa.Uuid())),
        _item.lease_token == sa.func.any(array_parameter("tokens", sa.Uuid())),
    )
    .order_by(_item.id)
    .with_for_update(key_share=True)
    .cte("locked")
)
_renewal = (
    sa.update(robot_job_items)
    .where(_item.id == _locked.c.id, _item.id == _held.c.item_id, _item.lease_token == _held.c.token)
    .values(lease_expires_at=sa.func.clock_timestamp() + sa.bindparam("lease", type_=sa.Interval()))
    .returning(_item.id, _item.lease_token, _item.lease_expires_at)
    .cte("renewed")
)
_job_is_stopped = (
    sa.select(sa.or_(robot_jobs.c.status.in_(["failed", "cancelled"]), robot_jobs.c.cancel_requested_at.is_not(None)))
    .join(robot_job_items, _item.job_id == robot_jobs.c.id)
    .where(_item.id == _asked.c.item_id, sa.not_(is_open(_item.status)))
    .correlate(_asked)
    .scalar_subquery()
)
_RENEW = sa.select(
    _asked.c.item_id, _asked.c.token, _renewal.c.lease_expires_at, _job_is_stopped.label("is_stopped")
).select_from(
    _asked.outerjoin(_renewal, sa.and_(_renewal.c.id == _asked.c.item_id, _renewal.c.lease_token == _asked.c.token))
)
