"""What may stand in the fields of an order, whoever writes them."""

import datetime as dt
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from domain.errors import InputProblem, InvalidInput
from domain.orders.tables import REFERENCE_AT_MOST, UNITS_AT_MOST, orders
from domain.text import text_problem

TEXT_AT_MOST = 500
AMOUNT_COP_AT_MOST = Decimal("999999999999.99")
TRIMMED = frozenset({"reference", "tracking_number", "carrier_guide_number"})
_PROBLEMS_AT_MOST = 100


def order_field_problem(name: str, value: Any) -> str | None:  # noqa: PLR0911 -- one answer a kind of field
    """Why that value cannot stand in that column of an order, or None."""
    match value:
        case None:
            return None if orders.c[name].nullable else "must not be empty."
        case bool() | dt.datetime():
            return None
        case int():
            return None if 1 <= value <= UNITS_AT_MOST else f"must be 1 to {UNITS_AT_MOST:,}; it is {value}."
        case Decimal():
            return amount_problem(value)
        case str():
            at_most = REFERENCE_AT_MOST if name in TRIMMED else TEXT_AT_MOST
            if not value.strip() and (name == "reference" or orders.c[name].nullable):
                return "must not be empty." if name == "reference" else "must not be empty; null clears it."
            return text_problem(value, at_most=at_most)
        case _:
            return "has a type that cannot be stored."


def amount_problem(value: Decimal) -> str | None:
    """Why an amount of pesos cannot be stored, or None."""
    if not value.is_finite() or not 0 <= value <= AMOUNT_COP_AT_MOST:
        return "must be an amount of pesos, 0 or more."
    if abs(int(value.as_tuple().exponent)) > 30:  # 0e999999999 is zero, and no number that PostgreSQL takes
        return "must be written as a plain number."
    if int(value.normalize().as_tuple().exponent) < -2:
        return "must have at most two decimals."
    return None


def split_tags(text: str) -> list[str]:
    """The tags in a text as the shop's system writes them, `P/A; fragile`."""
    return [tag.strip() for tag in text.split(";") if tag.strip()]


def join_tags(tags: Sequence[str]) -> str:
    """Their text; what `split_tags` gives back.  Raises InvalidInput."""
    problems = [
        InputProblem(f"tags.{number}", "must be a text without blanks at its ends and without a semicolon.")
        for number, tag in enumerate(tags)
        if split_tags(tag) != [tag]
    ]
    if problems:
        raise InvalidInput(*problems[:_PROBLEMS_AT_MOST])
    return "; ".join(tags)
