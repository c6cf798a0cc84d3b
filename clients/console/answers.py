"""What the API answers, as values.  Each knows how to read itself from the answer's JSON."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self


@dataclass(frozen=True, slots=True)
class JobState:
    """A job and its counters, as of one moment."""

    id: str
    status: str
    total_items: int
    success_count: int
    error_count: int
    cancelled_count: int

    @classmethod
    def read(cls, answer: Mapping[str, Any]) -> Self:
        return cls(
            id=answer["id"],
            status=answer["status"],
            total_items=answer["totalItems"],
            success_count=answer["successCount"],
            error_count=answer["errorCount"],
            cancelled_count=answer["cancelledCount"],
        )

    @property
    def is_active(self) -> bool:
        return self.status in ("PENDING", "PROCESSING")

    @property
    def done_count(self) -> int:
        return self.success_count + self.error_count + self.cancelled_count


@dataclass(frozen=True, slots=True)
class ItemState:
    """An item at one of its attempts."""

    id: str
    status: str
    attempt: int
    tracking_number: str | None = None
    error_type: str | None = None
    error_message: str | None = None

    @classmethod
    def read(cls, answer: Mapping[str, Any]) -> Self:
        return cls(
            id=answer["id"],
            status=answer["status"],
            attempt=answer["attempt"],
            tracking_number=answer["trackingNumber"],
            error_type=answer["errorType"],
            error_message=answer["errorMessage"],
        )

    @property
    def is_open(self) -> bool:
        return self.status in ("PENDING", "PROCESSING")

    @property
    def is_refused(self) -> bool:
        """For what its order says: the same again would be refused again."""
        return self.status == "ERROR" and self.error_type == "VALIDATION"


@dataclass(frozen=True, slots=True)
class Completion:
    """One message of the stream: an item was closed, and the counters right after it."""

    cursor: str
    item: ItemState
    job: JobState

    @classmethod
    def read(cls, answer: Mapping[str, Any]) -> Self:
        return cls(answer["cursor"], ItemState.read(answer["item"]), JobState.read(answer["job"]))


@dataclass(frozen=True, slots=True)
class FailureGroup:
    """Failed items for which the same must be done."""

    action: str
    error_type: str
    count: int
    messages: list[str]

    @classmethod
    def read(cls, answer: Mapping[str, Any]) -> Self:
        return cls(answer["action"], answer["errorType"], answer["count"], answer["messages"])


@dataclass(frozen=True, slots=True)
class JobWithFailures:
    job: JobState
    failures: list[FailureGroup]


@dataclass(frozen=True, slots=True)
class JobWithItems:
    """A job and all of its items, in the order of their creation."""

    job: JobState
    items: list[ItemState]
    references: dict[str, str] = field(default_factory=dict)
    """Of the orders, by the items' ids."""
    unknown_ids: set[str] = field(default_factory=set)
    """The items of which nobody knows whether a parcel exists."""


@dataclass(frozen=True, slots=True)
class RefusedLine:
    """A line of the file that was not imported; the message names it."""

    line: int
    message: str


@dataclass(frozen=True, slots=True)
class ImportedOrders:
    """What became of one file of orders."""

    created_count: int
    updated_count: int
    unchanged_count: int
    order_ids: list[str]
    refused: list[RefusedLine]

    @classmethod
    def read(cls, answer: Mapping[str, Any]) -> Self:
        return cls(
            created_count=answer["createdCount"],
            updated_count=answer["updatedCount"],
            unchanged_count=answer["unchangedCount"],
            order_ids=[line["order"]["id"] for line in answer["imported"]],
            refused=[RefusedLine(line["line"], line["message"]) for line in answer["refused"]],
        )


@dataclass(frozen=True, slots=True)
class DispatchProblem:
    code: str
    message: str
    is_warning: bool


@dataclass(frozen=True, slots=True)
class PreviewedOrder:
    """What would become of one order if it were sent now."""

    order_id: str
    reference: str
    typed_city: str
    typed_department: str
    tracking_number: str | None
    outcome: str
    carrier_city: str | None
    problems: list[DispatchProblem]

    @classmethod
    def read(cls, answer: Mapping[str, Any]) -> Self:
        order = answer["order"]
        return cls(
            order_id=order["id"],
            reference=order["reference"],
            typed_city=order["city"],
            typed_department=order["department"],
            tracking_number=order["trackingNumber"],
            outcome=answer["outcome"],
            carrier_city=answer["carrierCity"],
            problems=[
                DispatchProblem(problem["code"], problem["message"], problem["isWarning"])
                for problem in answer["problems"]
            ],
        )


@dataclass(frozen=True, slots=True)
class CreatedJob:
    job: JobState


@dataclass(frozen=True, slots=True)
class KeyInUse:
    """An active job was created by the same request before: follow that one."""

    job: JobState


@dataclass(frozen=True, slots=True)
class OrdersRefused:
    """Orders that may not go into a job, by id, each with its reason."""

    reasons: dict[str, str]


@dataclass(frozen=True, slots=True)
class RetriedItems:
    """The job, how many items are open again, and why failed ones were passed over."""

    job: JobState
    item_count: int
    skipped: list[str]
