"""Text that comes from outside: what PostgreSQL can hold, and no longer than the column."""

from domain.errors import InputProblem, InvalidInput


def text_problem(value: str, *, at_most: int) -> str | None:
    """Why a text cannot be stored, or None.  NUL and lone surrogates have no form in PostgreSQL's UTF-8."""
    if len(value) > at_most:
        return f"is {len(value):,} characters long; at most {at_most:,} are allowed."
    if "\x00" in value:
        return "holds a NUL character, which cannot be stored."
    if any("\ud800" <= character <= "\udfff" for character in value):
        return "holds half of a surrogate pair, which is not text."
    return None


def checked_text(path: str, value: str, *, at_most: int) -> str:
    """The text without blanks at its ends.  Raises InvalidInput if it is empty or cannot be stored."""
    stripped = value.strip() if len(value) <= 4 * at_most else value
    problem = "must not be empty." if not stripped else text_problem(stripped, at_most=at_most)
    if problem is not None:
        raise InvalidInput(InputProblem(path, problem))
    return stripped


def optional_text(path: str, value: str | None, *, at_most: int) -> str | None:
    """As checked_text, but nothing and blanks are None."""
    if value is None or (len(value) <= 4 * at_most and not value.strip()):
        return None
    return checked_text(path, value, at_most=at_most)


def camel_case(name: str) -> str:
    """`order_ids.3` as the contract writes it: `orderIds.3`."""
    head, *tail = name.split("_")
    return head + "".join(part[:1].upper() + part[1:] for part in tail)
