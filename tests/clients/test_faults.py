"""What the demo makes go wrong, and what it says of the portal's count."""

import pytest

from clients.console.answers import ItemState, JobState, JobWithItems, PreviewedOrder
from clients.console.faults import KINDS, count_stories, plan_faults
from clients.console.sandbox import ParcelsDiffer, check_parcels
from clients.robot.sandbox_portal.faults import OF_AN_ORDER, Fault, FaultKind


def orders(count: int) -> list[PreviewedOrder]:
    return [
        PreviewedOrder(f"{n}", f"ORD-{n}", "Tunja", "Boyacá", None, "READY", "TUNJA (BOY)", []) for n in range(count)
    ]


@pytest.mark.parametrize("count", [0, 1, 2, 3, 12, 30, 164, 10_000])
def test_at_most_one_order_in_three_meets_a_fault(count: int) -> None:
    faults = plan_faults(orders(count))

    assert len(faults) == min(count // 3, len(KINDS))
    assert len({fault.reference for fault in faults}) == len(faults)
    assert sum(count_stories(faults).values()) == len(faults)


def test_the_portal_knows_every_fault() -> None:
    for fault in plan_faults(orders(164)):
        ordered = fault.as_ordered()
        kind = FaultKind(ordered.pop("kind"))

        assert kind in OF_AN_ORDER
        Fault(kind=kind, **ordered)


def job(*items: ItemState) -> JobWithItems:
    state = JobState("job", "COMPLETED", len(items), 0, 0, 0)
    return JobWithItems(state, list(items), {item.id: f"ORD-{item.id}" for item in items})


SHIPPED = ItemState("1", "SUCCESS", 1, "7")
FAILED = ItemState("2", "ERROR", 1, None, "PORTAL", "No.")


def test_one_parcel_for_each_success_and_no_other_is_right() -> None:
    assert check_parcels(job(SHIPPED, FAILED), {"ORD-1": ["7"], "ORD-of-others": ["1", "2"]}) == 1


@pytest.mark.parametrize(
    "counted", [{}, {"ORD-1": ["8"]}, {"ORD-1": ["7", "8"]}, {"ORD-1": ["7"], "ORD-2": ["9"]}], ids=str
)
def test_what_the_portal_counted_otherwise_is_told(counted: dict[str, list[str]]) -> None:
    with pytest.raises(ParcelsDiffer, match="but the portal has counted"):
        check_parcels(job(SHIPPED, FAILED), counted)
