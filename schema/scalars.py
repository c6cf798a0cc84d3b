"""How times and amounts stand in JSON: Strawberry's own scalars, in words that a client's author needs."""

import datetime as dt
from dataclasses import replace
from decimal import Decimal

from strawberry.schema.types.base_scalars import DateTimeDefinition, DecimalDefinition
from strawberry.types.scalar import ScalarDefinition

SCALARS: dict[object, ScalarDefinition] = {
    dt.datetime: replace(
        DateTimeDefinition,
        description="A moment in ISO 8601 with its offset, such as `2026-01-31T13:00:00.123456+00:00`; answers are in "
        "UTC.  What is sent needs an offset, or a Z, too.",
    ),
    Decimal: replace(
        DecimalDefinition,
        description='A number with exact decimals, as text: `"52900.5"`.  A JSON number is taken too, but may have '
        "lost decimals on its way.",
    ),
}
