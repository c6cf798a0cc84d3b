"""What is reported of a try: the input of the API's results, with the steps that were taken."""

import datetime as dt
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from clients.robot.carrier import Stored

_MESSAGE_AT_MOST = 2_000
_STEPS_AT_MOST = 50


class ErrorType(StrEnum):
    """After the button TIMEOUT and UNKNOWN leave an unknown outcome; the others say that there is no parcel."""

    VALIDATION = "VALIDATION"
    PORTAL = "PORTAL"
    TIMEOUT = "TIMEOUT"
    UNKNOWN = "UNKNOWN"


@dataclass(slots=True)
class Steps:
    """What was done in a try, and how long it took."""

    now: Callable[[], dt.datetime]
    """By the API's clock."""
    observe: Callable[[str, float], None] = lambda _name, _seconds: None
    taken: list[dict[str, Any]] = field(default_factory=list)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        started_at, since = self.now(), time.monotonic()
        note = None
        try:
            yield
        except BaseException as error:
            note = type(error).__name__
            raise
        finally:
            took_s = time.monotonic() - since
            self.observe(name, took_s)
            step = {"name": name, "startedAt": started_at.isoformat(), "durationMs": round(took_s * 1_000)}
            self.taken.append(step | ({"note": note} if note is not None else {}))


@dataclass(frozen=True, slots=True)
class Reporter:
    """Writes the input of a result, as it is kept on the disk and sent."""

    robot: str
    """Name and version."""
    hide: Callable[[str], str]
    """Takes secrets out of a text."""

    def told(self, message: str, *, at_most: int = 500) -> str:
        """Without secrets, without what is no text, and no longer than that."""
        return self.hide(message).encode("utf-8", "replace").decode().replace("\0", "?")[:at_most]

    def success(self, item_id: str, attempt: int, stored: Stored, steps: Steps | None = None) -> dict[str, Any]:
        return self._input(
            item_id,
            attempt,
            {"status": "SUCCESS", "trackingNumber": stored.number, "carrierGuideNumber": stored.guide_number},
            steps,
        )

    def error(
        self,
        item_id: str,
        attempt: int,
        error_type: ErrorType,
        message: str,
        steps: Steps | None = None,
        *,
        lease_token: str | None = None,
    ) -> dict[str, Any]:
        """With the token while nothing was submitted: then another robot may have the same try by now."""
        ending = {
            "status": "ERROR",
            "errorType": error_type,
            "errorMessage": self.told(message, at_most=_MESSAGE_AT_MOST),
            "leaseToken": lease_token,
        }
        return self._input(item_id, attempt, ending, steps)

    def _input(self, item_id: str, attempt: int, ending: Mapping[str, Any], steps: Steps | None) -> dict[str, Any]:
        told = {name: value for name, value in ending.items() if value is not None}
        told |= {"itemId": item_id, "attempt": attempt, "robot": self.robot[:100]}
        return told | ({"steps": steps.taken[-_STEPS_AT_MOST:]} if steps is not None and steps.taken else {})
