"""What a carrier's portal is to a robot: a class with few methods, one object per account.

The runtime does everything else: it claims, renews, compares what the form kept with what was typed, marks the item
before the button, keeps the result, and settles what nobody knows.  docs/robots.md shows how to write one, and
`clients.robot.conformance` asks any carrier for what a robot relies on.
"""

import datetime as dt
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, ClassVar

Form = Mapping[str, str]
"""The portal's fields by their names, as the portal writes their values."""


class CarrierUnusable(Exception):
    """The carrier cannot work on this machine, such as for want of a browser.  One line: what is missing."""


class PortalError(Exception):
    """Something that the portal did; the message is shown to the operator."""


class LoginRefused(PortalError):
    """The portal refused the login.  It is not tried again: repeated refusals lock an account."""


class PortalUnavailable(PortalError):
    """The portal cannot be worked with now, and nothing was submitted: an outage, a dialog that does not go away."""


class SessionLost(PortalError):
    """The portal has forgotten the login.  From `submit` or `read_result`: its answer proves that nothing is stored."""


class FieldRefused(PortalError):
    """The form does not take a value, and a second try would end alike: no suggestion equals the carrier city."""


class OutcomeUnknown(PortalError):
    """After the button: nobody knows whether there is a parcel."""


class ErrorKind(StrEnum):
    """Whose fault a refusal is, in the API's words."""

    VALIDATION = "VALIDATION"
    PORTAL = "PORTAL"


@dataclass(frozen=True, slots=True)
class Account:
    """A login at the portal, for as long as the lease lasts.  `name` is unique to the account, for logs and files."""

    name: str
    username: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Stored:
    """The portal has taken the order, under this number."""

    number: str
    guide_number: str | None = None


@dataclass(frozen=True, slots=True)
class Refused:
    """The portal has said no: there is no parcel."""

    kind: ErrorKind
    message: str


@dataclass(frozen=True, slots=True)
class DuplicateNumber:
    """The portal has a parcel of that number.  It may be this very order's: the runtime looks it up."""

    message: str


PortalAnswer = Stored | Refused | DuplicateNumber


@dataclass(frozen=True, slots=True)
class Parcel:
    """A row of the portal's list.  `reference` is None where the list does not show it."""

    number: str
    guide_number: str | None = None
    reference: str | None = None


@dataclass(frozen=True, slots=True)
class PageEvidence:
    """What the portal showed when something went wrong; at most 2,000,000 bytes."""

    content_type: str
    content: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class CarrierSettings:
    """Times are in seconds.  `options` are the carrier's own, from `--option name=value`."""

    url: str
    answer_timeout_s: float = 30.0
    """Until a page, and any answer but the result, must have come."""
    result_timeout_s: float = 60.0
    """From the button to the dialog; a real portal takes 7 to 17 seconds."""
    pace_s: float = 0.0
    """Between one order's result and the next order's form."""
    absent_after_s: float = 120.0
    """From the button on: a number that is not in the portal's list by then is taken for absent."""
    options: Mapping[str, str] = field(default_factory=dict)


class Carrier(ABC):
    """One account at one portal.  Methods are called one after another, never two at once.

    Every method but `submit` and `read_result` may raise LoginRefused, PortalUnavailable or SessionLost; what else they
    raise is taken for a defect of the robot.  An object whose session was lost is opened again by `open_session`.
    """

    name: ClassVar[str]
    """As the API and the command line call it, in small letters."""

    def __init__(self, settings: CarrierSettings, account: Account) -> None:
        self.settings = settings
        self.account = account

    @classmethod
    def check(cls, settings: CarrierSettings) -> None:  # noqa: ARG003 -- for those who need them
        """Whether it can work on this machine with these settings, before anything is claimed for it.

        Raises CarrierUnusable; `open_session` too, for what shows only then.
        """
        return

    @abstractmethod
    async def open_session(self, kept: Any = None) -> Any:
        """Be logged in: by the session that was kept if it is still good, else by one login, never two.

        What it returns is JSON, is kept on the robot's disk, and is given to the next `open_session`; None keeps none.
        """

    @abstractmethod
    async def last_number(self) -> int:
        """The highest number in use at the portal, 0 when there is none."""

    @abstractmethod
    def form(self, order: Mapping[str, Any], number: str) -> Form:
        """What is typed for an order (the API's `valueSent`) under that number, as the portal will show it."""

    @abstractmethod
    async def fill(self, form: Form) -> None:
        """Open an empty form and type everything.  Raises FieldRefused too."""

    @abstractmethod
    async def read_back(self) -> Form:
        """Every field as the portal has it now, read from the portal and not from memory."""

    @abstractmethod
    async def submit(self) -> None:
        """Press the button, once: never again before the next `fill`, whoever asks.

        Whatever goes wrong from here on is OutcomeUnknown, or SessionLost.
        """

    @abstractmethod
    async def read_result(self) -> PortalAnswer:
        """What the portal answers to the button.  Raises OutcomeUnknown when it does not, or unclearly; SessionLost."""

    @abstractmethod
    async def look_up(self, number: str, *, since: dt.datetime | None = None) -> Parcel | None:
        """The parcel of that number in the portal's list, or None.  `since`: no parcel of interest is older."""

    async def evidence(self) -> PageEvidence | None:
        """What the portal shows now, if there is anything to show; raises nothing."""
        return None

    @abstractmethod
    async def close(self) -> None:
        """Let go of the connection or the browser.  The session stays good."""
