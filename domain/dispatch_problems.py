"""What can be wrong with an order that is to be sent, or was corrected: the same words wherever it is told."""

import uuid
from dataclasses import dataclass
from enum import StrEnum

from domain.city_matching import CityMatch, CityOutcome


class DispatchProblemCode(StrEnum):
    """The city's problems first, then the order's own, then what has become of it already."""

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
    COD_AMOUNT_MISSING = "cod_amount_missing"
    ALREADY_SHIPPED = "already_shipped"
    IN_OPEN_JOB = "in_open_job"
    OUTCOME_UNKNOWN = "outcome_unknown"
    ARCHIVED = "archived"
    ORDER_NOT_FOUND = "order_not_found"


@dataclass(frozen=True, slots=True)
class DispatchProblem:
    """`is_warning`: corrected by rule; the order may go out, but the operator should know."""

    code: DispatchProblemCode
    message: str
    is_warning: bool = False
    suggestions: tuple[str, ...] = ()
    job_id: uuid.UUID | None = None
    """The job that has the order, where one does."""


@dataclass(frozen=True, slots=True)
class OrderProblems:
    """An order and what is wrong with it; `reference` is None for an order that is not in the workspace."""

    order_id: uuid.UUID
    reference: str | None
    problems: tuple[DispatchProblem, ...]


def city_problems(match: CityMatch) -> list[DispatchProblem]:
    """At most one: the matching stops at the first thing that it finds."""
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


def order_not_found(order_id: uuid.UUID) -> OrderProblems:
    """The same for an order that does not exist and for another workspace's."""
    message = f"There is no order {order_id} in this workspace."
    return OrderProblems(order_id, None, (DispatchProblem(DispatchProblemCode.ORDER_NOT_FOUND, message),))
