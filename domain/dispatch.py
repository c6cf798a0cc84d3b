"""May these orders be sent to a carrier?  The same checks for a look beforehand and for whoever asks why not."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy.ext.asyncio import AsyncConnection

from domain.carriers import Carrier, match_cities
from domain.city_matching import CityMatch, CityOutcome
from domain.errors import invalid
from domain.orders import ORDERS_AT_MOST, Order, find_orders
from domain.robot_jobs.blocks import find_blocked_orders

PHONE_DIGITS = 10


class DispatchProblemCode(StrEnum):
    """What is wrong, or was corrected: the city's problems first, then the order's own."""

    DEPARTMENT_IN_CITY = "department_in_city"
    MISSPELLED_CITY = "misspelled_city"
    ALIAS_NAME = "alias_name"
    EXTRA_TEXT_IN_CITY = "extra_text_in_city"
    CITY_NOT_COVERED = "city_not_covered"
    COD_NOT_SUPPORTED = "cod_not_supported"
    DEPARTMENT_MISMATCH = "department_mismatch"
    DEPARTMENT_MISSING = "department_missing"
    DEPARTMENT_UNKNOWN = "department_unknown"
    CITY_MISSING = "city_missing"
    RECIPIENT_MISSING = "recipient_missing"
    ADDRESS_MISSING = "address_missing"
    PHONE_INVALID = "phone_invalid"
    AMOUNT_NOT_WHOLE_PESOS = "amount_not_whole_pesos"
    ALREADY_SHIPPED = "already_shipped"
    IN_OPEN_JOB = "in_open_job"
    OUTCOME_UNKNOWN = "outcome_unknown"
    ARCHIVED = "archived"


@dataclass(frozen=True, slots=True)
class DispatchProblem:
    """`is_warning`: corrected by rule; the order may go out, but the operator should know."""

    code: DispatchProblemCode
    message: str
    is_warning: bool = False
    suggestions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PreviewedOrder:
    order: Order
    carrier_city: str | None
    problems: list[DispatchProblem]

    @property
    def outcome(self) -> CityOutcome:
        if any(not problem.is_warning for problem in self.problems):
            return CityOutcome.REJECTED
        return CityOutcome.WARNING if self.problems else CityOutcome.OK


@dataclass(frozen=True, slots=True)
class DispatchPreview:
    """One answer per order in the order asked, and the ids that are not this workspace's."""

    orders: list[PreviewedOrder]
    missing_order_ids: list[uuid.UUID]

    def count(self, outcome: CityOutcome) -> int:
        return sum(previewed.outcome is outcome for previewed in self.orders)


async def preview_dispatch(
    connection: AsyncConnection, carrier: Carrier, order_ids: Sequence[uuid.UUID]
) -> DispatchPreview:
    """What would become of 1 to 10,000 orders if they were sent now; changes nothing.

    Ids given twice count once.  A constant number of statements.  Raises InvalidInput.
    """
    if not 1 <= len(order_ids) <= ORDERS_AT_MOST:
        raise invalid("orderIds", f"must name 1 to {ORDERS_AT_MOST:,} orders; it names {len(order_ids):,}.")
    wanted = list(dict.fromkeys(order_ids))
    found = await find_orders(connection, wanted)
    known = [found[order_id] for order_id in wanted if order_id in found]
    blocked = {block.order_id: block for block in await find_blocked_orders(connection, known)}
    typed = [(order.city, order.department, order.is_cod) for order in known]
    matches = await match_cities(connection, carrier, typed)

    previewed = []
    for order, match in zip(known, matches, strict=True):
        problems = [*_city_problems(match), *own_problems(order)]
        if (block := blocked.get(order.id)) is not None:
            problems.append(DispatchProblem(DispatchProblemCode(block.block.value), block.message))
        previewed.append(PreviewedOrder(order, match.carrier_city, problems))
    return DispatchPreview(previewed, [order_id for order_id in wanted if order_id not in found])


def _city_problems(match: CityMatch) -> list[DispatchProblem]:
    if match.problem is None:
        return []
    return [
        DispatchProblem(
            DispatchProblemCode(match.problem.value),
            match.message or "",
            is_warning=match.outcome is CityOutcome.WARNING,
            suggestions=match.suggestions,
        )
    ]


def own_problems(order: Order) -> list[DispatchProblem]:
    """What the portal's form would refuse whatever the city: it needs a name, an address, ten digits, whole pesos."""
    problems = []
    if not order.recipient_name.strip():
        problems.append(DispatchProblem(DispatchProblemCode.RECIPIENT_MISSING, "The recipient has no name."))
    if not order.address.strip():
        problems.append(DispatchProblem(DispatchProblemCode.ADDRESS_MISSING, "There is no address."))
    digits = sum(character.isdigit() for character in order.recipient_phone)
    if digits < PHONE_DIGITS:
        message = f"The phone number has {digits} digits; the carrier needs {PHONE_DIGITS}."
        problems.append(DispatchProblem(DispatchProblemCode.PHONE_INVALID, message))
    if order.is_cod and order.total_cop != order.total_cop.to_integral_value():
        message = f"The carrier collects whole pesos only; the total is {order.total_cop.normalize():f}."
        problems.append(DispatchProblem(DispatchProblemCode.AMOUNT_NOT_WHOLE_PESOS, message))
    return problems
