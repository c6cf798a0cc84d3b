"""What the demo makes go wrong at the sandbox portal, spread over a job."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from clients.console.answers import PreviewedOrder


@dataclass(frozen=True, slots=True)
class FaultKind:
    """A fault as the portal knows it, and in words what it comes to."""

    name: str
    story: str
    more: Mapping[str, Any] | None = None
    times: int = 1


# The most telling first, for a small job has room for a few; never three in a row at which a robot would pause.
KINDS: Sequence[FaultKind] = (
    FaultKind("error", "an error dialog without a reason: nothing is stored"),
    FaultKind("crash_before", "the connection is cut at the button, and there is no parcel"),
    FaultKind("crash_after", "the parcel is stored, then the connection is cut"),
    FaultKind("drop_field", "a field that loses what was typed, once", {"field": "direccion_"}),
    FaultKind("error", "an error dialog without a reason: nothing is stored"),
    FaultKind("slow", "the dialog comes 2 seconds late", {"seconds": 2}),
    FaultKind("session_lost", "the session ends while the form is filled in"),
    FaultKind("crash_after", "the parcel is stored, then the connection is cut"),
    FaultKind("drop_field", "a field that loses what was typed, each time", {"field": "telefono_celular_"}, times=2),
    FaultKind("error", "an error dialog without a reason: nothing is stored"),
)
_ORDERS_PER_FAULT_AT_LEAST = 3


@dataclass(frozen=True, slots=True)
class OrderedFault:
    kind: FaultKind
    reference: str

    def as_ordered(self) -> dict[str, Any]:
        more = dict(self.kind.more or {})
        return {"kind": self.kind.name, "reference": self.reference, "times": self.kind.times} | more


def plan_faults(orders: Sequence[PreviewedOrder]) -> list[OrderedFault]:
    """At most one order in three meets a fault, evenly over the job; the same ones whenever it is asked."""
    kinds = KINDS[: len(orders) // _ORDERS_PER_FAULT_AT_LEAST]
    return [
        OrderedFault(kind, orders[(2 * place + 1) * len(orders) // (2 * len(kinds))].reference)
        for place, kind in enumerate(kinds)
    ]


def count_stories(faults: Sequence[OrderedFault]) -> dict[str, int]:
    """How many orders meet what, in words, the most frequent first."""
    counted: dict[str, int] = {}
    for fault in faults:
        counted[fault.kind.story] = counted.get(fault.kind.story, 0) + 1
    return dict(sorted(counted.items(), key=lambda each: -each[1]))
