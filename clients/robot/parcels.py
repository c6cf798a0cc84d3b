"""Whether a parcel in the portal's list is the one that was asked for."""

import datetime as dt
from enum import StrEnum

from clients.robot.api import ClaimedItem
from clients.robot.carrier import Parcel, SessionLost
from clients.robot.desk import Desk


class Finding(StrEnum):
    OURS = "ours"
    UNCLEAR = "unclear"
    """There is one of that number, and the list does not tell whose."""
    ANOTHERS = "anothers"
    ABSENT = "absent"


def judge(parcel: Parcel | None, item: ClaimedItem) -> Finding:
    if parcel is None:
        return Finding.ABSENT
    if parcel.reference is None:
        return Finding.UNCLEAR
    if parcel.reference.split() != item.reference.split():
        return Finding.ANOTHERS
    return Finding.OURS if item.has_own_reference else Finding.UNCLEAR


async def find_parcel(desk: Desk, number: str, *, since: dt.datetime | None) -> Parcel | None:
    """In the portal's list, logged in again once if need be.  Raises what the carrier raises."""
    carrier = await desk.carrier()
    try:
        return await desk.limited(carrier.look_up(number, since=since))
    except SessionLost:
        carrier = await desk.log_in_again()
        return await desk.limited(carrier.look_up(number, since=since))
