"""What a robot reports of one try of one item, and what that does to the item: the rule of results, without I/O."""

import datetime as dt
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import takewhile
from typing import Any

from domain.errors import InputProblem, InvalidInput, invalid
from domain.filters import checked_moment
from domain.orders import REFERENCE_AT_MOST
from domain.robot_jobs.tables import ClosedBy, ErrorType, ItemStatus, RobotJobItem
from domain.text import checked_text, optional_text

ERROR_MESSAGE_AT_MOST = 2_000
ROBOT_AT_MOST = 100
STEPS_AT_MOST, STEP_NAME_AT_MOST, STEP_NOTE_AT_MOST = 50, 50, 200


class ResultStatus(StrEnum):
    SUCCESS = "success"
    ERROR = "error"


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptStep:
    """Something that a robot did in a try, in its own words."""

    name: str
    started_at: dt.datetime
    duration_ms: int
    note: str | None = None

    def checked(self, path: str) -> "AttemptStep":
        """The same, in UTC and with blanks cut off.  Raises InvalidInput."""
        if not 0 <= self.duration_ms < 2**31:
            raise invalid(f"{path}.duration_ms", f"must be 0 or more; it is {self.duration_ms}.")
        return AttemptStep(
            name=checked_text(f"{path}.name", self.name, at_most=STEP_NAME_AT_MOST),
            started_at=checked_moment(f"{path}.started_at", self.started_at),
            duration_ms=self.duration_ms,
            note=optional_text(f"{path}.note", self.note, at_most=STEP_NOTE_AT_MOST),
        )

    def as_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "startedAt": self.started_at.isoformat(),
            "durationMs": self.duration_ms,
            "note": self.note,
        }

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> "AttemptStep":
        return cls(
            name=stored["name"],
            started_at=dt.datetime.fromisoformat(stored["startedAt"]),
            duration_ms=stored["durationMs"],
            note=stored["note"],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemResult:
    """What a robot reports for one try of one item.  `attempt` None means the current one.

    A lease is good for one attempt: with its token the attempt must be named, and decides; one that was given back
    or taken away is good for a proof alone.  `robot`, its name and version, and `steps` are kept with the attempt;
    they are not the result: the same one with others is the same.
    """

    item_id: uuid.UUID
    status: ResultStatus
    attempt: int | None = None
    lease_token: uuid.UUID | None = None
    tracking_number: str | None = None
    carrier_guide_number: str | None = None
    error_type: ErrorType | None = None
    error_message: str | None = None
    robot: str | None = None
    steps: Sequence[AttemptStep] = ()

    def checked(self) -> "ItemResult":
        """The same, with blanks cut off and the error type filled in.  Raises InvalidInput."""
        is_success = self.status is ResultStatus.SUCCESS
        problems = []
        if self.attempt is not None and not 1 <= self.attempt < 2**31:
            problems.append(InputProblem("attempt", f"must be 1 or more; it is {self.attempt}."))
        if self.lease_token is not None and self.attempt is None:
            problems.append(InputProblem("attempt", "must go with leaseToken, for a lease may have ended meanwhile."))
        for name in ("error_type", "error_message") if is_success else ("tracking_number", "carrier_guide_number"):
            if getattr(self, name) is not None:
                problems.append(InputProblem(name, f"does not go with a result of status {self.status}."))
        if len(self.steps) > STEPS_AT_MOST:
            problems.append(InputProblem("steps", f"must be {STEPS_AT_MOST} at most; there are {len(self.steps):,}."))
        if problems:
            raise InvalidInput(*problems)
        return ItemResult(
            item_id=self.item_id,
            status=self.status,
            attempt=self.attempt,
            lease_token=self.lease_token,
            tracking_number=optional_text("tracking_number", self.tracking_number, at_most=REFERENCE_AT_MOST),
            carrier_guide_number=optional_text(
                "carrier_guide_number", self.carrier_guide_number, at_most=REFERENCE_AT_MOST
            ),
            error_type=None if is_success else self.error_type or ErrorType.UNKNOWN,
            error_message=optional_text("error_message", self.error_message, at_most=ERROR_MESSAGE_AT_MOST),
            robot=optional_text("robot", self.robot, at_most=ROBOT_AT_MOST),
            steps=[step.checked(f"steps.{number}") for number, step in enumerate(self.steps)],
        )

    @property
    def is_proof(self) -> bool:
        """There is a parcel: that counts whatever has become of the lease."""
        return self.status is ResultStatus.SUCCESS and self.tracking_number is not None

    def is_under(self, lease_token: uuid.UUID | None) -> bool:
        """Whether it is of that lease, or names none."""
        return self.lease_token in (None, lease_token)

    @property
    def shows_that_the_portal_works(self) -> bool:
        """It took the order, or refused what the order says."""
        return self.error_type in (None, ErrorType.VALIDATION)

    def as_json(self) -> dict[str, Any]:
        return {
            "status": self.status,
            "trackingNumber": self.tracking_number,
            "carrierGuideNumber": self.carrier_guide_number,
            "errorType": self.error_type,
            "errorMessage": self.error_message,
        }


class Decision(StrEnum):
    """What a result does to its item."""

    CLOSES = "closes"  # the open item
    CORRECTS = "corrects"  # what the system itself had written, or an ending that nobody knew
    COMPLETES = "completes"  # a success with the numbers that it lacked
    REPLAYS = "replays"  # what is recorded already
    CONFLICTS = "conflicts"  # with what a robot reported for this attempt
    IS_STALE = "is_stale"  # it belongs to an older attempt


def decide(item: RobotJobItem, result: ItemResult) -> Decision:
    """The rule of results, without I/O.  Raises InvalidInput for an attempt that has not begun."""
    if result.attempt is not None and result.attempt > item.attempt:
        raise invalid("attempt", f"{result.attempt} has not begun; item {item.id} is at attempt {item.attempt}.")
    if result.attempt is not None and result.attempt < item.attempt:
        return Decision.IS_STALE
    if item.status.is_open:
        return Decision.CLOSES
    recorded = (item.tracking_number, item.carrier_guide_number, item.error_type, item.error_message)
    reported = (result.tracking_number, result.carrier_guide_number, result.error_type, result.error_message)
    if item.status.value == result.status.value and recorded == reported:
        return Decision.REPLAYS
    if _adds_numbers(item, result):
        return Decision.COMPLETES
    if (item.closed_by is ClosedBy.SYSTEM or item.outcome_unknown) and result.is_proof:
        return Decision.CORRECTS
    return Decision.CONFLICTS


def _adds_numbers(item: RobotJobItem, result: ItemResult) -> bool:
    """Whether the result repeats a success and brings a number that was missing, contradicting none."""
    pairs = (
        (item.tracking_number, result.tracking_number),
        (item.carrier_guide_number, result.carrier_guide_number),
    )
    return (
        item.status is ItemStatus.SUCCESS
        and result.status is ResultStatus.SUCCESS
        and all(known is None or known == reported for known, reported in pairs)
    )


def portal_errors_in_a_row(results: Sequence[ItemResult]) -> list[ItemResult]:
    """The last ones, after the last result that shows the portal to work; UNKNOWN says nothing about it."""
    told = [result for result in results if result.error_type is not ErrorType.UNKNOWN]
    return list(takewhile(lambda result: result.error_type in _OF_THE_PORTAL, reversed(told)))[::-1]


_OF_THE_PORTAL = (ErrorType.PORTAL, ErrorType.TIMEOUT)
