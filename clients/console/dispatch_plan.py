"""What a preview means for a batch: who goes out, who waits for a correction, who is on the way already."""

from collections.abc import Sequence
from dataclasses import dataclass

from clients.console.answers import PreviewedOrder

_SHIPPED = "ALREADY_SHIPPED"
_UNDER_WAY = "IN_OPEN_JOB"
_TITLES = {"COD_NOT_SUPPORTED": "No cash on delivery"}


@dataclass(frozen=True, slots=True)
class Rejected:
    """An order that must not be sent, and what to do about it."""

    reference: str
    message: str


@dataclass(frozen=True, slots=True)
class RejectedGroup:
    """Orders with the same thing wrong; `code` is the API's, such as CITY_NOT_COVERED."""

    code: str
    orders: list[Rejected]

    @property
    def title(self) -> str:
        """For people; codes this program does not know are readable too."""
        return _TITLES.get(self.code) or self.code.replace("_", " ").capitalize()


@dataclass(frozen=True, slots=True)
class DispatchPlan:
    """Each previewed order stands in exactly one of ready, shipped, under_way and rejected; corrected are ready too."""

    ready: list[PreviewedOrder]
    corrected: list[PreviewedOrder]
    shipped: list[PreviewedOrder]
    under_way: list[PreviewedOrder]
    rejected: list[RejectedGroup]

    @property
    def rejected_count(self) -> int:
        return sum(len(group.orders) for group in self.rejected)


def plan_dispatch(previewed: Sequence[PreviewedOrder]) -> DispatchPlan:
    """Sort the orders; rejected ones by the first thing that is wrong with them, the largest group first."""
    plan = DispatchPlan(ready=[], corrected=[], shipped=[], under_way=[], rejected=[])
    groups: dict[str, RejectedGroup] = {}
    for order in previewed:
        wrong = {problem.code: problem.message for problem in order.problems if not problem.is_warning}
        if order.outcome != "REJECTED":
            plan.ready.append(order)
            if order.problems:
                plan.corrected.append(order)
        elif _SHIPPED in wrong:
            plan.shipped.append(order)
        elif _UNDER_WAY in wrong:
            plan.under_way.append(order)
        else:
            code, message = next(iter(wrong.items()))
            groups.setdefault(code, RejectedGroup(code, [])).orders.append(Rejected(order.reference, message))
    plan.rejected.extend(sorted(groups.values(), key=lambda group: -len(group.orders)))
    return plan
