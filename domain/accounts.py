"""A workspace's login at a carrier, as robots meet it: when it was last served, and whether it is to be left alone.

An account pauses after several portal errors in a row, and at once when the portal has refused its login: refused
logins lock accounts.  What a pause waits for, and how it ends: docs/decisions/0016.
"""

import datetime as dt
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.base import array_parameter, id_column, metadata, one_of, timestamp
from domain.carriers import Carrier
from domain.errors import DomainError

PAUSE_MESSAGE_AT_MOST = 500
DOUBLINGS_AT_MOST = 5
"""The wait for the next probe doubles so often, from half a minute to a quarter of an hour."""


class PauseReason(StrEnum):
    """Why robots leave an account alone."""

    LOGIN_REFUSED = "login_refused"
    PORTAL_ERRORS = "portal_errors"


class AccountNotPaused(DomainError):
    code = "ACCOUNT_NOT_PAUSED"

    def __init__(self, carrier: Carrier) -> None:
        super().__init__(f"Robots are not kept from the account at {carrier}; there is nothing to resume.")
        self.carrier = carrier


carrier_accounts = sa.Table(
    "carrier_accounts",
    metadata,
    id_column("workspace_id", sa.ForeignKey("workspaces.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("carrier", sa.Text, primary_key=True),
    timestamp("last_claimed_at", nullable=True, comment="Robots of all workspaces serve the longest forgotten first."),
    sa.Column("portal_errors", sa.Integer, nullable=False, server_default="0", comment="In a row, until now."),
    timestamp("paused_at", nullable=True, comment="From then on nothing is claimed but probes."),
    sa.Column("pause_reason", sa.Text),
    sa.Column("pause_message", sa.Text, comment="What the portal said, for people."),
    timestamp("probe_at", nullable=True, comment="From then on one item is tried; null: when somebody has looked."),
    sa.Column("probes", sa.Integer, nullable=False, server_default="0", comment="Tried since it was paused."),
    sa.Column(
        "is_probing",
        sa.Boolean,
        nullable=False,
        server_default=sa.false(),
        comment="An item was given out to see whether all is well again.",
    ),
    timestamp("login_worked_at", nullable=True, comment="Null: not yet since it was set or changed."),
    one_of("carrier", Carrier),
    one_of("pause_reason", PauseReason),
    sa.CheckConstraint("portal_errors >= 0 AND probes >= 0", name="counts_positive"),
    sa.CheckConstraint(
        "num_nulls(paused_at, pause_reason, pause_message) IN (0, 3) AND "
        "(paused_at IS NOT NULL OR (probe_at IS NULL AND NOT is_probing))",
        name="pause_is_whole",
    ),
    comment="What robots have met at a carrier with a workspace's login.  No row: nothing yet.",
)


@dataclass(frozen=True, slots=True)
class Breaker:
    """When an account pauses, and when it is tried again."""

    errors: int = 3
    probe_after_s: float = 30.0


@dataclass(frozen=True, slots=True)
class AccountPause:
    """Why nothing is claimed for an account.  `probe_at` None: not before somebody has looked."""

    carrier: Carrier
    reason: PauseReason
    message: str
    since: dt.datetime
    probe_at: dt.datetime | None


_account = carrier_accounts.c
_of_account = sa.and_(
    _account.workspace_id == sa.bindparam("of_workspace", type_=sa.Uuid()),
    _account.carrier == sa.bindparam("of_carrier", type_=sa.Text()),
)


def _parameters(workspace_id: uuid.UUID, carrier: Carrier) -> dict[str, object]:
    return {"of_workspace": workspace_id, "of_carrier": carrier.value}


# ---------------------------------------------------------------------------------------------- what robots met


async def note_portal_errors(
    connection: AsyncConnection,
    workspace_id: uuid.UUID,
    carrier: Carrier,
    *,
    count: int,
    message: str,
    breaker: Breaker,
) -> None:
    """So many more in a row; with the breaker's number of them the account pauses.

    A probe that failed sets the next one.  An account whose login was refused stays paused for that.  The caller may
    hold jobs, items and orders: accounts are locked last.
    """
    await connection.execute(_ENSURE, _parameters(workspace_id, carrier))
    await connection.execute(
        _NOTE_ERRORS,
        _parameters(workspace_id, carrier)
        | {
            "count": count,
            "message": _shown(message),
            "errors": breaker.errors,
            "probe_after_s": breaker.probe_after_s,
        },
    )


async def note_lost_robots(
    connection: AsyncConnection, lost: Mapping[tuple[uuid.UUID, Carrier], int], *, breaker: Breaker
) -> None:
    """So many robots fell silent over each account, before they had submitted anything: each counts as a portal error.

    Who tries a login and dies of it has told nobody what the portal said.  For the system role
    (`enter_all_workspaces`); one statement, on accounts that something was claimed for.
    """
    if not lost:
        return
    await connection.execute(
        _NOTE_LOST,
        {
            "workspace_ids": [workspace_id for workspace_id, _ in lost],
            "carriers": [carrier.value for _, carrier in lost],
            "counts": list(lost.values()),
            "message": "Robots fell silent before they had submitted anything.",
            "errors": breaker.errors,
            "probe_after_s": breaker.probe_after_s,
        },
    )


async def note_portal_works(connection: AsyncConnection, workspace_id: uuid.UUID, carrier: Carrier) -> None:
    """The portal has answered as it should: what was counted is forgotten, and a pause ends.

    A refused login is not forgotten for what an older session still did: its pause ends with a probe alone.
    """
    await connection.execute(_NOTE_WORKS, _parameters(workspace_id, carrier))


async def pause_for_login(
    connection: AsyncConnection, workspace_id: uuid.UUID, carrier: Carrier, *, message: str
) -> None:
    """The portal has refused the login: nobody tries it again before it was changed, or a person says so."""
    await connection.execute(_ENSURE, _parameters(workspace_id, carrier))
    await connection.execute(_PAUSE_FOR_LOGIN, _parameters(workspace_id, carrier) | {"message": _shown(message)})


async def end_probe(connection: AsyncConnection, workspace_id: uuid.UUID, carrier: Carrier) -> None:
    """The item that was given out as a probe came back untried: another may be given out now."""
    await connection.execute(_END_PROBE, _parameters(workspace_id, carrier))


def _wait_after(probes: sa.ColumnElement[int]) -> sa.ColumnElement[dt.datetime]:
    """When the next probe is due, after so many."""
    doubled = sa.func.power(2, sa.func.least(probes, DOUBLINGS_AT_MOST), type_=sa.Float())
    wait_s = sa.bindparam("probe_after_s", type_=sa.Float()) * doubled
    return sa.func.clock_timestamp() + sa.func.make_interval(0, 0, 0, 0, 0, 0, wait_s, type_=sa.Interval())


def _shown(message: str) -> str:
    return message[:PAUSE_MESSAGE_AT_MOST]


_ENSURE = (
    pg.insert(carrier_accounts)
    .values(
        workspace_id=sa.bindparam("of_workspace", type_=sa.Uuid()), carrier=sa.bindparam("of_carrier", type_=sa.Text())
    )
    .on_conflict_do_nothing()
)
_is_for_login = sa.func.coalesce(_account.pause_reason == PauseReason.LOGIN_REFUSED.value, sa.false())


def _with_more_errors(count: sa.ColumnElement[int]) -> dict[str, sa.ColumnElement[Any]]:
    """What an account is after so many more in a row.

    The next probe is put off by the one that failed, and not by what was begun before the account paused: when somebody
    has said to try it now, an older robot's last word does not overrule that.
    """
    errors = _account.portal_errors + count
    pauses = sa.and_(
        sa.not_(_is_for_login),
        sa.or_(_account.paused_at.is_not(None), errors >= sa.bindparam("errors", type_=sa.Integer())),
    )
    return {
        "portal_errors": errors,
        "paused_at": sa.case(
            (pauses, sa.func.coalesce(_account.paused_at, sa.func.clock_timestamp())), else_=_account.paused_at
        ),
        "pause_reason": sa.case((pauses, PauseReason.PORTAL_ERRORS.value), else_=_account.pause_reason),
        "pause_message": sa.case((pauses, sa.bindparam("message", type_=sa.Text())), else_=_account.pause_message),
        "probe_at": sa.case(
            (sa.and_(pauses, sa.or_(_account.paused_at.is_(None), _account.is_probing)), _wait_after(_account.probes)),
            else_=_account.probe_at,
        ),
        "is_probing": sa.case((pauses, sa.false()), else_=_account.is_probing),
    }


_NOTE_ERRORS = (
    sa.update(carrier_accounts).where(_of_account).values(_with_more_errors(sa.bindparam("count", type_=sa.Integer())))
)
_lost = (
    sa.func.unnest(
        array_parameter("workspace_ids", sa.Uuid()),
        array_parameter("carriers", sa.Text()),
        array_parameter("counts", sa.Integer()),
    )
    .table_valued(
        sa.column("workspace_id", sa.Uuid()), sa.column("carrier", sa.Text()), sa.column("count", sa.Integer())
    )
    .render_derived("lost")
)
_locked = (
    sa.select(_account.workspace_id, _account.carrier, _lost.c["count"])
    .join(_lost, sa.and_(_account.workspace_id == _lost.c.workspace_id, _account.carrier == _lost.c.carrier))
    .order_by(_account.workspace_id, _account.carrier)
    .with_for_update(of=carrier_accounts)
    .cte("locked")
)
_NOTE_LOST = (
    sa.update(carrier_accounts)
    .where(_account.workspace_id == _locked.c.workspace_id, _account.carrier == _locked.c.carrier)
    .values(_with_more_errors(_locked.c["count"]))
)
_NO_PAUSE = {
    "paused_at": None,
    "pause_reason": None,
    "pause_message": None,
    "probe_at": None,
    "probes": 0,
    "is_probing": False,
}
_NOTE_WORKS = (
    sa.update(carrier_accounts)
    .where(
        _of_account,
        sa.or_(_account.portal_errors > 0, _account.paused_at.is_not(None), _account.login_worked_at.is_(None)),
        sa.or_(sa.not_(_is_for_login), _account.is_probing),
    )
    .values(portal_errors=0, login_worked_at=sa.func.clock_timestamp(), **_NO_PAUSE)
)
_PAUSE_FOR_LOGIN = (
    sa.update(carrier_accounts)
    .where(_of_account)
    .values(
        paused_at=sa.func.coalesce(_account.paused_at, sa.func.clock_timestamp()),
        pause_reason=PauseReason.LOGIN_REFUSED.value,
        pause_message=sa.bindparam("message", type_=sa.Text()),
        probe_at=None,
        is_probing=False,
    )
)
_END_PROBE = (
    sa.update(carrier_accounts)
    .where(_of_account, _account.is_probing)
    .values(is_probing=False, probe_at=sa.func.clock_timestamp())
)

IS_TROUBLED = sa.or_(_account.portal_errors > 0, _account.paused_at.is_not(None), _account.login_worked_at.is_(None))
"""Whether `note_portal_works` has something to do."""


# ---------------------------------------------------------------------------------------------- what claims ask


WAITS_FOR_SOMEBODY = sa.and_(_is_for_login, sa.not_(_account.is_probing))
"""The login was refused, and no probe is out: nobody may log in."""

# A probe that waits for a person has no time: that is "no", not "unknown".
CAN_BE_CLAIMED = sa.or_(
    _account.paused_at.is_(None), sa.func.coalesce(_account.probe_at <= sa.func.statement_timestamp(), sa.false())
)
"""It does not pause, or a probe is due."""


async def note_claim(
    connection: AsyncConnection, workspace_id: uuid.UUID, carrier: Carrier, *, is_probe: bool, breaker: Breaker
) -> None:
    """Something was claimed now.  A probe is one at a time: the next has its time from now on."""
    await connection.execute(
        _NOTE_PROBE if is_probe else _NOTE_CLAIM,
        _parameters(workspace_id, carrier) | ({"probe_after_s": breaker.probe_after_s} if is_probe else {}),
    )


async def pass_by(connection: AsyncConnection, workspace_id: uuid.UUID, carrier: Carrier) -> None:
    """It was its turn, and there was nothing to be had after all: the others come first now."""
    await connection.execute(_NOTE_CLAIM, _parameters(workspace_id, carrier))


_inserted = pg.insert(carrier_accounts).values(
    workspace_id=sa.bindparam("of_workspace", type_=sa.Uuid()),
    carrier=sa.bindparam("of_carrier", type_=sa.Text()),
    last_claimed_at=sa.func.clock_timestamp(),
)
_NOTE_CLAIM = _inserted.on_conflict_do_update(
    index_elements=["workspace_id", "carrier"], set_={"last_claimed_at": sa.func.clock_timestamp()}
)
# After a refused login nobody tries again by himself, whatever becomes of the probe.
_NOTE_PROBE = (
    sa.update(carrier_accounts)
    .where(_of_account)
    .values(
        last_claimed_at=sa.func.clock_timestamp(),
        is_probing=True,
        probes=_account.probes + 1,
        probe_at=sa.case((_is_for_login, sa.null()), else_=_wait_after(_account.probes + 1)),
    )
)


# ---------------------------------------------------------------------------------------------- what people do


async def find_account_pauses(connection: AsyncConnection, carriers: Sequence[Carrier]) -> dict[Carrier, AccountPause]:
    """Of the workspace's accounts at those carriers the ones that pause; one statement."""
    rows = await connection.execute(_LIST_PAUSES, {"carriers": [carrier.value for carrier in carriers]})
    return {
        Carrier(row.carrier): AccountPause(
            Carrier(row.carrier), PauseReason(row.pause_reason), row.pause_message, row.paused_at, row.probe_at
        )
        for row in rows
    }


_LIST_PAUSES = sa.select(
    _account.carrier, _account.pause_reason, _account.pause_message, _account.paused_at, _account.probe_at
).where(
    _account.carrier == sa.func.any(sa.bindparam("carriers", type_=pg.ARRAY(sa.Text()))),
    _account.paused_at.is_not(None),
)


async def resume_carrier_account(connection: AsyncConnection, carrier: Carrier) -> AccountPause:
    """Let a single item be tried at once; the account goes on when that goes well.  Raises AccountNotPaused."""
    row = (
        await connection.execute(
            _RESUME.returning(_account.pause_reason, _account.pause_message, _account.paused_at, _account.probe_at),
            {"of_carrier": carrier.value},
        )
    ).one_or_none()
    if row is None:
        raise AccountNotPaused(carrier)
    return AccountPause(carrier, PauseReason(row.pause_reason), row.pause_message, row.paused_at, row.probe_at)


async def try_changed_login(connection: AsyncConnection, carrier: Carrier) -> None:
    """The login was changed: a single item is tried at once, also if the account pauses, before there are more."""
    await connection.execute(_TRY_LOGIN, {"of_carrier": carrier.value})


_TRY_LOGIN = (
    sa.update(carrier_accounts)
    .where(_account.carrier == sa.bindparam("of_carrier", type_=sa.Text()))
    .values(
        login_worked_at=None,
        probe_at=sa.case((_account.paused_at.is_not(None), sa.func.clock_timestamp()), else_=_account.probe_at),
        is_probing=False,
    )
)


_RESUME = (
    sa.update(carrier_accounts)
    .where(_account.carrier == sa.bindparam("of_carrier", type_=sa.Text()), _account.paused_at.is_not(None))
    .values(probe_at=sa.func.clock_timestamp(), is_probing=False)
)
