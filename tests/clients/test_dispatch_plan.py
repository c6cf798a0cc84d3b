"""A preview sorted into what goes out, what waits and what is on the way."""

from clients.console.answers import DispatchProblem, PreviewedOrder
from clients.console.demo import idempotency_key
from clients.console.dispatch_plan import plan_dispatch


def _order(reference: str, outcome: str, *problems: DispatchProblem) -> PreviewedOrder:
    return PreviewedOrder(reference, reference, "cali", "valle", None, outcome, "CALI (VALLE)", list(problems))


def _wrong(code: str) -> DispatchProblem:
    return DispatchProblem(code, f"{code} message", is_warning=False)


CORRECTED = DispatchProblem("MISSPELLED_CITY", "read as CALI", is_warning=True)


def test_orders_with_a_warning_are_ready_and_corrected() -> None:
    plan = plan_dispatch([_order("a", "OK"), _order("b", "WARNING", CORRECTED)])

    assert [order.reference for order in plan.ready] == ["a", "b"]
    assert [order.reference for order in plan.corrected] == ["b"]
    assert plan.rejected == []


def test_rejected_orders_are_grouped_by_what_is_wrong_largest_first() -> None:
    plan = plan_dispatch(
        [
            _order("a", "REJECTED", _wrong("PHONE_INVALID")),
            _order("b", "REJECTED", CORRECTED, _wrong("COD_NOT_SUPPORTED")),
            _order("c", "REJECTED", _wrong("COD_NOT_SUPPORTED"), _wrong("PHONE_INVALID")),
        ]
    )

    assert [(group.title, [order.reference for order in group.orders]) for group in plan.rejected] == [
        ("No cash on delivery", ["b", "c"]),
        ("Phone invalid", ["a"]),
    ]
    assert plan.rejected[0].orders[0].message == "COD_NOT_SUPPORTED message"
    assert (plan.rejected_count, plan.ready) == (3, [])


def test_shipped_orders_are_not_counted_among_the_rejected_whatever_else_is_wrong() -> None:
    plan = plan_dispatch(
        [
            _order("a", "REJECTED", _wrong("CITY_MISSING"), _wrong("ALREADY_SHIPPED")),
            _order("b", "REJECTED", _wrong("IN_OPEN_JOB")),
        ]
    )

    assert [order.reference for order in plan.shipped] == ["a"]
    assert [order.reference for order in plan.under_way] == ["b"]
    assert plan.rejected == []


def test_the_idempotency_key_depends_on_the_carrier_and_the_orders_not_on_their_order() -> None:
    assert idempotency_key("SANDBOX", ["a", "b"]) == idempotency_key("SANDBOX", ["b", "a"])
    assert idempotency_key("SANDBOX", ["a", "b"]) != idempotency_key("SANDBOX", ["a", "c"])
    assert idempotency_key("SANDBOX", ["a", "b"]) != idempotency_key("COORDINADORA", ["a", "b"])
