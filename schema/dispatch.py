"""A look before the leap: what would become of these orders if they were sent now?"""

from typing import Annotated, Self

import strawberry
from strawberry.scalars import JSON

import domain.dispatch_problems
import domain.robot_jobs
from domain.carriers import Carrier
from domain.city_matching import CityOutcome
from domain.dispatch_problems import DispatchProblemCode
from domain.orders import ORDERS_AT_MOST
from domain.robot_jobs import OrderSelection
from schema.access import query, reading
from schema.context import Info
from schema.ids import parse_ids
from schema.orders import Order


@strawberry.input(description="Orders that may be sent to a carrier: either `orderIds` or `allReady`.")
class PreviewDispatchInput:
    carrier: Carrier = strawberry.field(description="To whom.")
    order_ids: list[strawberry.ID] | None = strawberry.field(
        default=None, description="1 to 10,000 of them; twice counts once."
    )
    all_ready: bool = strawberry.field(
        default=False,
        description="All that are ready for the carrier, the oldest 10,000: in the stage of its config, not archived, "
        "without a tracking number, and in no open or unsettled item.",
    )
    ship_again: bool = strawberry.field(
        default=False, description="As if a reason were given to ship again what was shipped.  With `orderIds` only."
    )


def order_selection(order_ids: list[strawberry.ID] | None, *, all_ready: bool) -> OrderSelection:
    """Raises InvalidInput for what is no id."""
    parsed = None if order_ids is None else parse_ids("orderIds", order_ids, at_most=ORDERS_AT_MOST)
    return OrderSelection(parsed, all_ready)


@strawberry.type(description="Something that is wrong with an order, or was corrected.")
class DispatchProblem:
    code: DispatchProblemCode = strawberry.field(description="What.")
    message: str = strawberry.field(description="The same for people, with what to do.")
    is_warning: bool = strawberry.field(description="True when it was corrected and the order may go out.")
    suggestions: list[str] = strawberry.field(description="Carrier cities that may have been meant.")
    job_id: strawberry.ID | None = strawberry.field(description="The job that has the order, where one does.")

    @classmethod
    def from_domain(cls, problem: domain.dispatch_problems.DispatchProblem) -> Self:
        return cls(
            code=problem.code,
            message=problem.message,
            is_warning=problem.is_warning,
            suggestions=list(problem.suggestions),
            job_id=strawberry.ID(str(problem.job_id)) if problem.job_id is not None else None,
        )


@strawberry.type(description="An order, and everything that is wrong with it or was corrected.")
class OrderProblems:
    order_id: strawberry.ID = strawberry.field(description="The order.")
    reference: str | None = strawberry.field(
        description="The shop's own order number; null when there is no such order in this workspace."
    )
    problems: list[DispatchProblem] = strawberry.field(description="At least one.")

    @classmethod
    def from_domain(cls, found: domain.dispatch_problems.OrderProblems) -> Self:
        return cls(
            order_id=strawberry.ID(str(found.order_id)),
            reference=found.reference,
            problems=[DispatchProblem.from_domain(problem) for problem in found.problems],
        )


@strawberry.type(description="What would become of one order.")
class PreviewedOrder:
    order: Order = strawberry.field(description="The order.")
    outcome: CityOutcome = strawberry.field(description="Whether it may be sent.")
    carrier_city: str | None = strawberry.field(description="The city as the portal writes it.")
    problems: list[DispatchProblem] = strawberry.field(description="What is wrong or was corrected.")
    value_to_send: JSON | None = strawberry.field(
        description="What would be typed into the portal; null when it must not be sent."
    )

    @classmethod
    def from_domain(cls, checked: domain.robot_jobs.CheckedOrder) -> Self:
        return cls(
            order=Order.from_domain(checked.order),
            outcome=checked.outcome,
            carrier_city=checked.carrier_city,
            problems=[DispatchProblem.from_domain(problem) for problem in checked.problems],
            value_to_send=JSON(checked.pedido_input) if checked.pedido_input is not None else None,
        )


@strawberry.type(description="One answer per order, in the order asked; those that are ready, oldest first.")
class DispatchPreview:
    ok_count: int = strawberry.field(description="May be sent as they are.")
    warning_count: int = strawberry.field(description="May be sent; something was corrected.")
    rejected_count: int = strawberry.field(description="Must not be sent.")
    orders: list[PreviewedOrder] = strawberry.field(description="The answers.")
    missing_order_ids: list[strawberry.ID] = strawberry.field(description="Ids that are not in this workspace.")
    more_are_ready: bool = strawberry.field(description="With `allReady`: there are more than one job takes.")

    @classmethod
    def from_domain(cls, preview: domain.robot_jobs.DispatchPreview) -> Self:
        return cls(
            ok_count=preview.count(CityOutcome.OK),
            warning_count=preview.count(CityOutcome.WARNING),
            rejected_count=preview.count(CityOutcome.REJECTED),
            orders=[PreviewedOrder.from_domain(checked) for checked in preview.orders],
            missing_order_ids=[strawberry.ID(str(order_id)) for order_id in preview.missing_order_ids],
            more_are_ready=preview.has_more,
        )


@strawberry.type
class DispatchQueries:
    @query("What would become of these orders if they were sent now; changes nothing.")
    async def preview_dispatch(
        self,
        info: Info,
        input: Annotated[PreviewDispatchInput, strawberry.argument(description="The orders.")],  # noqa: A002
    ) -> DispatchPreview:
        async with reading(info) as work:
            preview = await domain.robot_jobs.preview_dispatch(
                work.connection,
                input.carrier,
                order_selection(input.order_ids, all_ready=input.all_ready),
                ship_again=input.ship_again,
            )
        return DispatchPreview.from_domain(preview)
