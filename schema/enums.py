"""The contract's enums: the domain's own values, named and described."""

from enum import Enum
from typing import TypeVar

import strawberry

from domain.accounts import PauseReason
from domain.carriers import Carrier
from domain.city_matching import CityOutcome, CityProblem
from domain.dispatch_problems import DispatchProblemCode
from domain.events import EventType
from domain.order_import import ImportOutcome, LineProblem
from domain.orders import OrderSort
from domain.pages import Direction
from domain.robot_jobs import (
    ClaimPurpose,
    ErrorType,
    FailureAction,
    HeldBack,
    ItemSort,
    ItemStatus,
    JobSort,
    JobStatus,
    JobStatusUpdate,
    JobType,
    LeaseState,
    OnInvalid,
    ReleaseReason,
    ReleaseState,
    Resolution,
    ResultStatus,
)
from domain.workspaces import Role

E = TypeVar("E", bound=type[Enum])


def describe(enum: E, name: str, description: str, **values: str) -> E:
    """The enum as part of the schema; every value must be described."""
    strawberry.enum(enum, name=name, description=description)
    definition = enum.__strawberry_definition__  # type: ignore[attr-defined]  # set by strawberry.enum
    for value in definition.values:
        value.description = values.pop(value.name)
    if values:
        raise TypeError(f"{name} has no values {', '.join(values)}")
    return enum


describe(
    Carrier,
    "Carrier",
    "A company that ships orders.",
    COORDINADORA="Coordinadora Mercantil, Colombia.",
    SANDBOX="A make-believe carrier that ships nothing, for tests and demonstrations; it serves Coordinadora's cities.",
)
describe(
    JobType,
    "RobotJobType",
    "What a job does with each order.",
    CREATE_SHIPMENT="Fills in the carrier's form once per order; each comes back with a tracking number.",
)
describe(
    JobStatus,
    "RobotJobStatus",
    "Where a job stands.  A retry brings COMPLETED and FAILED back to PENDING.",
    PENDING="Waits for a robot.",
    PROCESSING="At least one item was taken up, and some are still open.",
    COMPLETED="Every item is closed.",
    FAILED="Ended as a whole; what was open was closed as an error.",
    CANCELLED="Ended by a person; what was open was closed as cancelled.",
)
describe(
    ItemStatus,
    "RobotJobItemStatus",
    "Where an item stands.",
    PENDING="Waits for a robot.",
    PROCESSING="A robot works on it.",
    SUCCESS="Shipped.  Final.",
    ERROR="Failed; see errorType and errorMessage.  A retry gives it a new attempt.",
    CANCELLED="Not done, for the job was cancelled.",
)
describe(
    ErrorType,
    "RobotJobItemErrorType",
    "Whose fault a failure is, which says what to do.",
    VALIDATION="The order's data is wrong: fix the order, then retry.",
    PORTAL="The carrier's site refused or broke: retry.",
    TIMEOUT="Nothing came back in time.",
    UNKNOWN="None of the others.",
)
describe(
    HeldBack,
    "HeldBack",
    "Why a claim brought less than was asked for.",
    CARRIER_DISABLED="The workspace's config has this carrier switched off.",
    ACCOUNT_BUSY="The account has as many leases as its config allows, or one while its login is new; claim again when "
    "one has ended.",
    ACCOUNT_PAUSED="Robots leave the account alone: `pause` of its config, and of its jobs, says why.",
)
describe(
    LeaseState,
    "LeaseState",
    "What a robot is to do with an item.",
    GO_ON="The lease is renewed.",
    STOP="The job was cancelled or has failed: do not submit the item.",
    LOST="The lease has ended, perhaps for another robot: do not submit the item; report what you know by attempt.",
)
describe(
    PauseReason,
    "PauseReason",
    "Why robots leave an account alone.",
    LOGIN_REFUSED="The portal refused the login.  Repeated refusals lock an account, so nobody tries it by itself.",
    PORTAL_ERRORS="Several errors of the portal in a row, or robots that died over it; it is tried again by itself, "
    "ever more rarely.",
)
describe(
    ReleaseReason,
    "ReleaseReason",
    "Why a robot gives back what it has not submitted.",
    STOPPING="The robot stops.",
    LOGIN_REFUSED="The portal refused the login: the account pauses at once.",
    PORTAL_UNAVAILABLE="The portal cannot be worked with, or the robot died over it: several in a row, and the account "
    "pauses.",
    NOT_SETTLED="Of a look-up: it is too soon to say that there is no parcel.",
)
describe(
    ReleaseState,
    "ReleaseState",
    "What became of a lease that was given back.",
    RELEASED="Another robot may claim the item; it is at the same attempt.",
    SUBMITTED="The item is marked as submitted, so it stays yours: report its result.",
    LOST="It was no lease of the item any more.",
)
describe(
    ClaimPurpose,
    "ClaimPurpose",
    "What a robot wants to do with what it claims.",
    SHIP="Fill in the form: pending items.",
    LOOK_UP="Look for the parcel: items with an unknown outcome.  Settle them by resolveUnknownOutcome.",
)
describe(
    Resolution,
    "Resolution",
    "What was found out about a parcel of which nobody knew.",
    FOUND="There is one.",
    CONFIRMED_ABSENT="There is none.",
)
describe(
    JobStatusUpdate,
    "RobotJobStatusUpdate",
    "What a job may be set to.  It completes by itself with its last item, and a retry makes it PENDING.",
    PROCESSING="Taken up.",
    FAILED="Ended as a whole; what is open is closed as an error.",
    CANCELLED="Ended by a person; what is open and was not submitted is closed as cancelled.",
)
describe(
    JobSort,
    "RobotJobSort",
    "What jobs are sorted by.",
    CREATED_AT="When they were created.",
    COMPLETED_AT="When their last item was closed; unfinished ones count as later than all others.",
)
describe(
    ItemSort,
    "RobotJobItemSort",
    "What items are sorted by.",
    CREATED_AT="When they were created.",
    UPDATED_AT="When anything in them last changed.",
    COMPLETED_AT="When they were closed; open ones count as later than all others.",
)
describe(
    OrderSort,
    "OrderSort",
    "What orders are sorted by.",
    CREATED_AT="When they came in.",
    UPDATED_AT="When any of their fields last changed.",
    REFERENCE="The shop's own order number, as text.",
    TOTAL="What the customer pays.",
)
describe(Direction, "SortDirection", "Which way a list is sorted.", ASC="Upwards.", DESC="Downwards.")
describe(
    ResultStatus,
    "ItemResultStatus",
    "How a try ended.",
    SUCCESS="The portal took the order.",
    ERROR="The portal did not take the order.",
)
describe(
    FailureAction,
    "FailureAction",
    "What a person must do about a failed item.",
    FIX_ORDER="Correct the order, then retry.",
    RETRY="Retry: the order is fine.",
    CHECK_PORTAL="Look in the carrier's portal first: a parcel may exist.",
    INVESTIGATE="Read the messages: the reason is not known.",
)
describe(
    OnInvalid,
    "OnInvalid",
    "What becomes of the others when some orders may not go out.",
    REJECT_ALL="No job is made.",
    SKIP_INVALID="The job is made of the others; without a single good one there is none.",
)
describe(
    CityOutcome,
    "ValidationOutcome",
    "What becomes of an order.",
    OK="May be sent as it is.",
    WARNING="May be sent; something was corrected that the operator should know of.",
    REJECTED="Must not be sent; the message says what to do.",
)
_CITY_PROBLEMS = {
    "DEPARTMENT_IN_CITY": "The department or country was glued to the city; it was cut off.",
    "MISSPELLED_CITY": "One letter away from exactly one city of that department; it was corrected.",
    "ALIAS_NAME": "The official name where the portal uses another; it was replaced.",
    "EXTRA_TEXT_IN_CITY": "Text such as a neighbourhood after the city; it was cut off.",
    "CITY_NOT_COVERED": "The carrier does not serve it, or it cannot be told which place is meant.",
    "COD_NOT_SUPPORTED": "The city is served, but not with cash on delivery.",
    "DEPARTMENT_MISMATCH": "The city is served in another department only.",
    "DEPARTMENT_MISSING": "There is no department; it is never guessed.",
    "DEPARTMENT_UNKNOWN": "The department was not recognised.",
    "CITY_MISSING": "There is no city.",
}
describe(CityProblem, "CityProblem", "What is wrong with a typed city, or was corrected.", **_CITY_PROBLEMS)
describe(
    DispatchProblemCode,
    "DispatchProblemCode",
    "What is wrong with an order, or was corrected.",
    **_CITY_PROBLEMS,
    RECIPIENT_MISSING="There is no recipient's name.",
    ADDRESS_MISSING="There is no address.",
    PHONE_INVALID="The phone number has fewer than ten digits.",
    AMOUNT_NOT_WHOLE_PESOS="Cash on delivery is collected, and a value declared, in whole pesos only.",
    COD_AMOUNT_MISSING="Cash on delivery, but the total is 0.",
    ALREADY_SHIPPED="The order has a tracking number, or was shipped without one becoming known.",
    IN_OPEN_JOB="The order is in an open item of a job.",
    OUTCOME_UNKNOWN="Nobody knows yet whether an earlier try made a parcel.",
    ARCHIVED="The order is archived.",
    ORDER_NOT_FOUND="There is no such order in this workspace.",
)
describe(
    ImportOutcome,
    "ImportOutcome",
    "What became of an imported line.",
    CREATED="A new order.",
    UPDATED="An order with that reference was there; its fields were brought up to date.",
    UNCHANGED="An order with that reference was there with the same fields.",
)
describe(
    LineProblem,
    "LineProblem",
    "Why a line was refused.",
    BROKEN_LINE="It is not a CSV record with as many cells as the header.",
    INVALID_VALUE="A cell holds what cannot stand in its column.",
    DUPLICATE_REFERENCE="An earlier line of the file has the same order_id.",
)
describe(
    EventType,
    "EventType",
    "The kind of an event.",
    JOB_SUBMITTED="The job was created.",
    JOB_STARTED="The first item was taken up or closed.",
    ITEM_COMPLETED="An item was closed: success, error or cancelled.",
    ITEMS_RETRIED="Failed items, or items whose lease ran out, were given a new attempt.",
    ITEM_RESOLVED="Somebody found out whether there is a parcel.",
    JOB_COMPLETED="The last open item was closed.",
    JOB_FAILED="The job was failed as a whole.",
    JOB_CANCELLED="The job was cancelled.",
    ORDER_FIELD_CHANGED="A field of an order changed.",
)
describe(
    Role,
    "Role",
    "What somebody may do in a workspace; each field says for whom it is.",
    VIEWER="Reads.",
    OPERATOR="Reads and works: orders, jobs, results.",
    ADMIN="An operator who also manages API keys and carriers.",
    ROBOT="Reads what it needs, and reports results.",
)
