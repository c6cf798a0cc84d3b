"""What lists are filtered by: text as people type it, and stretches of time."""

import datetime as dt
import unicodedata
from dataclasses import dataclass
from typing import Any, Final, Self

import sqlalchemy as sa

from domain.errors import invalid
from domain.text import text_problem

SEARCH_AT_LEAST = 2
SEARCH_AT_MOST = 100


def _fold_character(character: str) -> str:
    return unicodedata.normalize("NFKD", character)[0].lower()


# Capitals to small letters and accents off, in ASCII and Latin-1; accents that stand alone are dropped, all blanks are
# the same.  One table for PostgreSQL's translate and for Python's, because lower() there does what the server's locale
# says.  It is short, for translate goes through it once per character: about 10 µs an order written.
_LETTERS: Final = "".join(
    character
    for character in map(chr, (*range(0x41, 0x5B), *range(0xC0, 0x100)))
    if _fold_character(character).isascii()
)
_FROM: Final = f"{_LETTERS}\t\n\r\xa0"
_TO: Final = f"{''.join(map(_fold_character, _LETTERS))}    "
_LONE_ACCENTS: Final = "\u0300\u0301\u0302\u0303\u0308\u030a\u0327"
_FOLDING: Final = str.maketrans(_FROM, _TO, _LONE_ACCENTS)


def fold(text: str) -> str:
    """The text without capitals and accents, and with up to four blanks in a row as one."""
    return text.translate(_FOLDING).replace("  ", " ").replace("  ", " ")


def folded(sql: str) -> str:
    """The same in SQL, of an expression in SQL; immutable, so that it can be stored and indexed."""
    return f"replace(replace(translate({sql}, '{_FROM}{_LONE_ACCENTS}', '{_TO}'), '  ', ' '), '  ', ' ')"


@dataclass(frozen=True, slots=True)
class SearchText:
    """What is looked for, folded."""

    needle: str

    @classmethod
    def of(cls, path: str, typed: str | None) -> Self | None:
        """Raises InvalidInput for what is too short, too long or no text."""
        if typed is None:
            return None
        problem = text_problem(typed, at_most=4 * SEARCH_AT_MOST)
        # Between fields that are searched together stands a control character; a needle holds none.
        needle = " ".join(fold(typed).split()) if problem is None else ""
        if problem is None and not SEARCH_AT_LEAST <= len(needle) <= SEARCH_AT_MOST:
            problem = f"must have {SEARCH_AT_LEAST} to {SEARCH_AT_MOST} characters; it has {len(needle)}."
        if problem is not None:
            raise invalid(path, problem)
        return cls(needle)

    def is_in(self, folded_text: sa.ColumnElement[Any]) -> sa.ColumnElement[bool]:
        """% and _ stand for themselves."""
        return folded_text.contains(self.needle, autoescape=True)

    def starts(self, folded_text: sa.ColumnElement[Any]) -> sa.ColumnElement[bool]:
        return folded_text.startswith(self.needle, autoescape=True)


@dataclass(frozen=True, slots=True)
class Period:
    """From `after`, that moment included, to `before`, that one not; None is open."""

    after: dt.datetime | None = None
    before: dt.datetime | None = None

    @classmethod
    def of(cls, after: tuple[str, dt.datetime | None], before: tuple[str, dt.datetime | None]) -> Self:
        """From two arguments with their paths.  Raises InvalidInput."""
        return cls(*(checked_moment(path, moment) if moment is not None else None for path, moment in (after, before)))

    def conditions(self, column: sa.ColumnElement[Any]) -> list[sa.ColumnElement[bool]]:
        conditions: list[sa.ColumnElement[bool]] = []
        if self.after is not None:
            conditions.append(column >= self.after)
        if self.before is not None:
            conditions.append(column < self.before)
        return conditions


EVER: Final = Period()


def checked_moment(path: str, moment: dt.datetime) -> dt.datetime:
    """The moment in UTC.  Raises InvalidInput for one without an offset, for nobody knows when that is."""
    if moment.utcoffset() is None:
        raise invalid(path, "has no offset; write it as 2026-01-31T08:00:00-05:00 or with a Z.")
    try:
        return moment.astimezone(dt.UTC)
    except OverflowError:
        raise invalid(path, "is outside of the years 1 to 9999.") from None
