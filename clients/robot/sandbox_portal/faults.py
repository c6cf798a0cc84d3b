"""What the portal can be told to do wrong: by an order of /sandbox/faults, or by a mark in an order's reference.

A mark is `#kind`, after it `:field` if the kind needs one, and `*` for every try or `*2` for the first two; without a
star the first try only.  `ORD-7#crash_after` ships its parcel and then hangs up, once.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from clients.robot.sandbox_portal.order_form import FIELDS

TIMES_AT_MOST = 1_000_000
SECONDS_AT_MOST = 86_400.0
MARKS_AT_MOST = 5
_MARK = re.compile(r"#(?P<kind>[a-z_]+)(?::(?P<field>[a-z_]+))?(?P<star>\*(?P<times>[1-9][0-9]{0,5})?)?(?![a-z0-9_])")


class FaultKind(StrEnum):
    # of one order, while its form is filled in
    DROP_FIELD = "drop_field"
    SESSION_LOST = "session_lost"
    # of one order, once its button is pressed
    SESSION_LOST_AT_SUBMIT = "session_lost_at_submit"
    CRASH_BEFORE = "crash_before"
    ERROR = "error"
    REFUSAL = "refusal"
    DUPLICATE_NUMBER = "duplicate_number"
    CRASH_AFTER = "crash_after"
    STORED_LATE = "stored_late"
    SLOW = "slow"
    # of an account, or of the whole portal
    CONNECTION_DIALOG = "connection_dialog"
    REFUSE_LOGINS = "refuse_logins"
    DOWN = "down"
    HANG = "hang"


OF_AN_ORDER = frozenset(FaultKind) - {
    FaultKind.CONNECTION_DIALOG,
    FaultKind.REFUSE_LOGINS,
    FaultKind.DOWN,
    FaultKind.HANG,
}
WHILE_FILLED_IN = (FaultKind.SESSION_LOST, FaultKind.DROP_FIELD)
INSTEAD_OF_STORING = (
    FaultKind.SESSION_LOST_AT_SUBMIT,
    FaultKind.CRASH_BEFORE,
    FaultKind.ERROR,
    FaultKind.REFUSAL,
    FaultKind.DUPLICATE_NUMBER,
)
OF_THE_PORTAL = (FaultKind.DOWN, FaultKind.HANG)


class FaultRefused(Exception):
    """Why a fault cannot be ordered so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Where `reference` or `account` is None it meets any."""

    kind: FaultKind
    reference: str | None = None
    account: str | None = None
    times: int | None = None
    """How often it happens; None: until it is lifted."""
    field: str | None = None
    """For drop_field: the form's field that does not keep its value."""
    seconds: float | None = None
    """For those that take time; None: as the portal's settings say."""

    def __post_init__(self) -> None:
        if (self.kind is FaultKind.DROP_FIELD) != (self.field is not None):
            raise FaultRefused(f"{self.kind}: a field is named with drop_field, and with nothing else.")
        if self.field is not None and self.field not in FIELDS:
            raise FaultRefused(f"The form has no field {self.field}; it has {', '.join(FIELDS)}.")
        if self.reference is not None and self.kind not in OF_AN_ORDER:
            raise FaultRefused(f"{self.kind} is not of one order: leave the reference out.")
        if self.account is not None and self.kind in OF_THE_PORTAL:
            raise FaultRefused(f"{self.kind} is of the whole portal: leave the account out.")
        if self.times is not None and not 1 <= self.times <= TIMES_AT_MOST:
            raise FaultRefused(f"times: from 1 to {TIMES_AT_MOST:,}, or null for every time.")
        if self.seconds is not None and not 0 <= self.seconds <= SECONDS_AT_MOST:
            raise FaultRefused(f"seconds: from 0 to {SECONDS_AT_MOST:,.0f}.")


def marked_faults(reference: str) -> Sequence[Fault]:
    """The faults that a reference asks for itself.  What is no proper mark is part of the reference, and no more."""
    faults = []
    for mark in list(_MARK.finditer(reference))[:MARKS_AT_MOST]:
        kind = mark["kind"]
        if kind not in OF_AN_ORDER:
            continue
        times = None if mark["star"] == "*" else int(mark["times"] or 1)
        try:
            faults.append(Fault(kind=FaultKind(kind), reference=reference, times=times, field=mark["field"]))
        except FaultRefused:
            continue
    return faults
