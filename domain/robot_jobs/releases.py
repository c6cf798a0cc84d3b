"""Leases that robots give back: the item is as it was before, and its account is told what the robot has met."""

import uuid
from collections.abc import Container, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.accounts import Breaker, end_probe, note_portal_errors, note_portal_works, pause_for_login
from domain.base import array_parameter
from domain.carriers import Carrier
from domain.errors import InputProblem, InvalidInput
from domain.robot_jobs.leases import LEASES_AT_ONCE, HeldLease
from domain.robot_jobs.lookups import RETRY_AFTER_S_AT_MOST, release_lookups
from domain.robot_jobs.tables import ItemStatus, robot_job_items, robot_jobs
from domain.text import optional_text

RELEASE_MESSAGE_AT_MOST = 500

_item = robot_job_items.c


class ReleaseReason(StrEnum):
    """Why a robot gives back what it has not submitted."""

    STOPPING = "stopping"
    LOGIN_REFUSED = "login_refused"
    PORTAL_UNAVAILABLE = "portal_unavailable"
    NOT_SETTLED = "not_settled"


class ReleaseState(StrEnum):
    """What became of a lease that was given back."""

    RELEASED = "released"
    SUBMITTED = "submitted"
    LOST = "lost"


@dataclass(frozen=True, slots=True)
class ReleasedLease:
    item_id: uuid.UUID
    state: ReleaseState


async def release_job_items(
    connection: AsyncConnection,
    leases: Sequence[HeldLease],
    *,
    reason: ReleaseReason,
    message: str | None = None,
    retry_after_s: int | None = None,
    breaker: Breaker = Breaker(),  # noqa: B008 -- frozen
) -> list[ReleasedLease]:
    """Give leases back; one answer each, in the order given.

    An item is pending again at the same attempt: nothing was tried, so nothing is used up.  What is marked as submitted
    cannot be given back, and stays with its robot until it reports.  A look-up may be claimed again after
    `retry_after_s` seconds.  A refused login pauses the account, also when the lease was lost meanwhile: to try it
    again would lock it.  Portal errors count towards a pause, once however many leases.  Locks the items by id, then
    the account.  Raises InvalidInput.
    """
    text = _checked(leases, message, retry_after_s)
    rows = (
        await connection.execute(
            _RELEASE,
            {"item_ids": [lease.item_id for lease in leases], "tokens": [lease.token for lease in leases]},
        )
    ).all()
    states = {(row.item_id, row.token): row for row in rows}
    lookups = await release_lookups(connection, [lease.token for lease in leases], retry_after_s=retry_after_s)
    released = [
        ReleasedLease(lease.item_id, _state(lease, states.get((lease.item_id, lease.token)), lookups))
        for lease in leases
    ]
    is_bad = reason is ReleaseReason.PORTAL_UNAVAILABLE
    is_told = any(
        each.state is not ReleaseState.LOST and (is_bad or lookups.get(each.item_id, True)) for each in released
    )
    if is_told or reason is ReleaseReason.LOGIN_REFUSED:
        await _tell_accounts(connection, leases, reason, text, breaker)
    return released


def _checked(leases: Sequence[HeldLease], message: str | None, retry_after_s: int | None) -> str | None:
    problems = []
    if not 1 <= len(leases) <= LEASES_AT_ONCE:
        problems.append(InputProblem("leases", f"must name 1 to {LEASES_AT_ONCE} leases; it names {len(leases):,}."))
    if retry_after_s is not None and not 0 <= retry_after_s <= RETRY_AFTER_S_AT_MOST:
        problems.append(
            InputProblem("retry_after_seconds", f"must be 0 to {RETRY_AFTER_S_AT_MOST:,}; it is {retry_after_s}.")
        )
    if problems:
        raise InvalidInput(*problems)
    return optional_text("message", message, at_most=RELEASE_MESSAGE_AT_MOST)


def _state(lease: HeldLease, row: Any, lookups: Container[uuid.UUID]) -> ReleaseState:
    if row is not None:
        return ReleaseState.RELEASED if row.is_released else ReleaseState.SUBMITTED
    return ReleaseState.RELEASED if lease.item_id in lookups else ReleaseState.LOST


async def _tell_accounts(
    connection: AsyncConnection,
    leases: Sequence[HeldLease],
    reason: ReleaseReason,
    message: str | None,
    breaker: Breaker,
) -> None:
    accounts = await connection.execute(_ACCOUNTS, {"item_ids": sorted({lease.item_id for lease in leases})})
    for row in accounts:
        carrier = Carrier(row.carrier)
        match reason:
            case ReleaseReason.LOGIN_REFUSED:
                await pause_for_login(
                    connection, row.workspace_id, carrier, message=message or "The portal refused the login."
                )
            case ReleaseReason.PORTAL_UNAVAILABLE:
                await note_portal_errors(
                    connection,
                    row.workspace_id,
                    carrier,
                    count=1,
                    message=message or "The portal could not be worked with.",
                    breaker=breaker,
                )
            case ReleaseReason.NOT_SETTLED:
                await note_portal_works(connection, row.workspace_id, carrier)
            case ReleaseReason.STOPPING:
                await end_probe(connection, row.workspace_id, carrier)


_held = (
    sa.func.unnest(array_parameter("item_ids", sa.Uuid()), array_parameter("tokens", sa.Uuid()))
    .table_valued(sa.column("item_id", sa.Uuid()), sa.column("token", sa.Uuid()))
    .render_derived("held")
)
_locked = (
    sa.select(_item.id, _item.lease_token, _item.submitted_at)
    .where(
        _item.id == sa.func.any(array_parameter("item_ids", sa.Uuid())),
        _item.lease_token == sa.func.any(array_parameter("tokens", sa.Uuid())),
        sa.exists().where(_held.c.item_id == _item.id, _held.c.token == _item.lease_token),
    )
    .order_by(_item.id)
    .with_for_update(key_share=True)
    .cte("locked")
)
_given_back = (
    sa.update(robot_job_items)
    .where(_item.id == _locked.c.id, _locked.c.submitted_at.is_(None))
    .values(
        status=ItemStatus.PENDING.value,
        lease_token=None,
        leased_by=None,
        lease_expires_at=None,
        claim_id=None,
        started_at=None,
        updated_at=sa.func.clock_timestamp(),
    )
    .returning(_item.id)
    .cte("given_back")
)
_RELEASE = (
    sa.select(_held.c.item_id, _held.c.token, _given_back.c.id.is_not(None).label("is_released"))
    .join(_locked, sa.and_(_locked.c.id == _held.c.item_id, _locked.c.lease_token == _held.c.token))
    .outerjoin(_given_back, _given_back.c.id == _locked.c.id)
)
# At most one for each carrier, for all are of one workspace.
_ACCOUNTS = (
    sa.select(robot_jobs.c.workspace_id, robot_jobs.c.carrier)
    .join(robot_job_items, _item.job_id == robot_jobs.c.id)
    .where(_item.id == sa.func.any(array_parameter("item_ids", sa.Uuid())))
    .distinct()
    .order_by(robot_jobs.c.carrier)
)
