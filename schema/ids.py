"""Ids as the contract has them: plain UUIDs."""

import uuid
from collections.abc import Sequence

from domain.errors import InputProblem, InvalidInput, invalid

_PROBLEMS_AT_MOST = 100


def parse_id(path: str, value: str) -> uuid.UUID:
    """Raises InvalidInput for what cannot be an id of anything."""
    parsed = find_id(value)
    if parsed is None:
        raise InvalidInput(InputProblem(path, f"is not an id: {value[:40]!r}."))
    return parsed


def parse_ids(path: str, values: Sequence[str], *, at_most: int) -> list[uuid.UUID]:
    """Raises one InvalidInput that names the malformed ids, the first hundred of them."""
    if len(values) > at_most:
        raise invalid(path, f"must name at most {at_most:,}; it names {len(values):,}.")
    parsed = [find_id(value) for value in values]
    problems = [
        InputProblem(f"{path}.{number}", f"is not an id: {values[number][:40]!r}.")
        for number, found in enumerate(parsed)
        if found is None
    ]
    if problems:
        raise InvalidInput(*problems[:_PROBLEMS_AT_MOST])
    return [found for found in parsed if found is not None]


def find_id(value: str) -> uuid.UUID | None:
    """The id, or None for what is not one.  Only the canonical form is: other spellings would be other cache keys."""
    if len(value) != 36:
        return None
    try:
        parsed = uuid.UUID(value)
    except ValueError:
        return None
    return parsed if str(parsed) == value.lower() else None
