"""Whether a parcel in the portal's list is the one that was asked for."""

import datetime as dt
from enum import StrEnum

from clients.robot.api import ClaimedItem, RobotApi
from clients.robot.carrier import Parcel, SessionLost
from clients.robot.desk import Desk
from clients.robot.transport import ApiRefused, ApiUnreachable

_ASKED_FOR_S = 20.0


class Finding(StrEnum):
    OURS = "ours"
    UNCLEAR = "unclear"
    """There is one of that number, and the list does not tell whose."""
    ANOTHERS = "anothers"
    ABSENT = "absent"


def compare(parcel: Parcel | None, item: ClaimedItem) -> Finding:
    """As far as the list tells: OURS only if no other order has the same reference typed."""
    if parcel is None:
        return Finding.ABSENT
    if parcel.reference is None:
        return Finding.UNCLEAR
    return Finding.OURS if parcel.reference.split() == item.reference.split() else Finding.ANOTHERS


async def judge(api: RobotApi, parcel: Parcel | None, item: ClaimedItem, *, workspace_id: str | None) -> Finding:
    """Asks the API whether the reference is the order's own; what it does not answer is UNCLEAR.  Raises KeyRefused."""
    finding = compare(parcel, item)
    if finding is not Finding.OURS:
        return finding
    try:
        is_own = await api.has_own_reference(item, workspace_id=workspace_id, within_s=_ASKED_FOR_S)
    except (ApiUnreachable, ApiRefused):
        is_own = False
    return Finding.OURS if is_own else Finding.UNCLEAR


async def find_parcel(desk: Desk, number: str, *, since: dt.datetime | None) -> Parcel | None:
    """In the portal's list, logged in again once if need be.  Raises what the carrier raises."""
    carrier = await desk.carrier()
    try:
        return await desk.limited(carrier.look_up(number, since=since))
    except SessionLost:
        carrier = await desk.log_in_again()
        return await desk.limited(carrier.look_up(number, since=since))
