"""A look before the leap: what would become of these orders if they were sent now?"""

from typing import Annotated, Self

import strawberry

import domain.dispatch
from domain.carriers import Carrier
from domain.city_matching import CityOutcome
from domain.dispatch import DispatchProblemCode
from domain.orders import ORDERS_AT_MOST
from schema.access import query, reading
from schema.context import Info
from schema.ids import parse_ids
from schema.orders import Order


@strawberry.input(description="Orders that may be sent to a carrier.")
class PreviewDispatchInput:
    carrier: Carrier = strawberry.field(description="To whom.")
    order_ids: list[strawberry.ID] = strawberry.field(description="1 to 10,000 of them; twice counts once.")


@strawberry.type(description="Something that is wrong with an order, or was corrected.")
class DispatchProblem:
    code: DispatchProblemCode = strawberry.field(description="What.")
    message: str = strawberry.field(description="The same for people, with what to do.")
    is_warning: bool = strawberry.field(description="True when it was corrected and the order may go out.")
    suggestions: list[str] = strawberry.field(description="Carrier cities that may have been meant.")


@strawberry.type(description="What would become of one order.")
class PreviewedOrder:
    order: Order = strawberry.field(description="The order.")
    outcome: CityOutcome = strawberry.field(description="Whether it may be sent.")
    carrier_city: str | None = strawberry.field(description="The city as the portal writes it.")
    problems: list[DispatchProblem] = strawberry.field(description="What is wrong or was corrected.")

    @classmethod
    def from_domain(cls, previewed: domain.dispatch.PreviewedOrder) -> Self:
        return cls(
            order=Order.from_domain(previewed.order),
            outcome=previewed.outcome,
            carrier_city=previewed.carrier_city,
            problems=[
                DispatchProblem(
                    code=problem.code,
                    message=problem.message,
                    is_warning=problem.is_warning,
                    suggestions=list(problem.suggestions),
                )
                for problem in previewed.problems
            ],
        )


@strawberry.type(description="One answer per order, in the order asked.")
class DispatchPreview:
    ok_count: int = strawberry.field(description="May be sent as they are.")
    warning_count: int = strawberry.field(description="May be sent; something was corrected.")
    rejected_count: int = strawberry.field(description="Must not be sent.")
    orders: list[PreviewedOrder] = strawberry.field(description="The answers.")
    missing_order_ids: list[strawberry.ID] = strawberry.field(description="Ids that are not in this workspace.")

    @classmethod
    def from_domain(cls, preview: domain.dispatch.DispatchPreview) -> Self:
        return cls(
            ok_count=preview.count(CityOutcome.OK),
            warning_count=preview.count(CityOutcome.WARNING),
            rejected_count=preview.count(CityOutcome.REJECTED),
            orders=[PreviewedOrder.from_domain(previewed) for previewed in preview.orders],
            missing_order_ids=[strawberry.ID(str(order_id)) for order_id in preview.missing_order_ids],
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
            order_ids = parse_ids("orderIds", input.order_ids, at_most=ORDERS_AT_MOST)
            preview = await domain.dispatch.preview_dispatch(work.connection, input.carrier, order_ids)
        return DispatchPreview.from_domain(preview)
