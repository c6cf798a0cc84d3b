"""How times and amounts stand in JSON, and only so: Python's own readers take much that no other program writes."""

import datetime as dt
import re
from dataclasses import replace
from decimal import Decimal

from graphql import GraphQLError
from strawberry.schema.types.base_scalars import DateTimeDefinition, DecimalDefinition
from strawberry.types.scalar import ScalarDefinition

_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d(:\d\d([.,]\d{1,9})?)?([Zz]|[+-]\d\d:\d\d)?", re.ASCII)
_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?([eE][+-]?\d+)?", re.ASCII)


def _parse_time(value: object) -> dt.datetime:
    if not isinstance(value, str) or not _TIME.fullmatch(value):
        raise GraphQLError("A time is written as 2026-01-31T13:00:00Z or with its offset.")
    try:
        return dt.datetime.fromisoformat(value)
    except ValueError:
        raise GraphQLError("There is no such time.") from None


def _parse_number(value: object) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise GraphQLError('A number is written as text, such as "52900.5".')
    if isinstance(value, str) and not _NUMBER.fullmatch(value):
        raise GraphQLError('A number is written in digits with a point, such as "52900.5".')
    return Decimal(str(value))


SCALARS: dict[object, ScalarDefinition] = {
    dt.datetime: replace(
        DateTimeDefinition,
        parse_value=_parse_time,
        description="A moment in ISO 8601 with its offset, such as `2026-01-31T13:00:00.123456+00:00`; answers are in "
        "UTC.  What is sent needs an offset, or a Z, too.",
    ),
    Decimal: replace(
        DecimalDefinition,
        parse_value=_parse_number,
        description='A number with exact decimals, as text: `"52900.5"`.  A JSON number is taken too, but may have '
        "lost decimals on its way.",
    ),
}
