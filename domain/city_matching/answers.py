"""What the caller is told: outcome, problem, the carrier's city and words an operator can act on."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from domain.city_matching.names import CoveredCity, Department

MAX_MESSAGE_LENGTH: Final = 200
MAX_SUGGESTIONS: Final = 5


class CityOutcome(StrEnum):
    OK = "ok"
    WARNING = "warning"  # resolved; tell the operator what was understood
    REJECTED = "rejected"  # do not dispatch


class CityProblem(StrEnum):
    DEPARTMENT_IN_CITY = "department_in_city"
    MISSPELLED_CITY = "misspelled_city"
    ALIAS_NAME = "alias_name"
    EXTRA_TEXT_IN_CITY = "extra_text_in_city"
    CITY_NOT_COVERED = "city_not_covered"  # also every text that could mean two places
    COD_NOT_SUPPORTED = "cod_not_supported"
    DEPARTMENT_MISMATCH = "department_mismatch"
    DEPARTMENT_MISSING = "department_missing"
    DEPARTMENT_UNKNOWN = "department_unknown"
    CITY_MISSING = "city_missing"


@dataclass(frozen=True, slots=True)
class CityMatch:
    """City and department of the carrier are set when it was resolved, even if cod_not_supported rejects the order."""

    outcome: CityOutcome
    carrier_city: str | None
    problem: CityProblem | None
    message: str | None
    suggestions: tuple[str, ...]
    department_abbrev: str | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """A name within one department; carrier is None for a municipality that is not covered."""

    name: str
    carrier: CoveredCity | None
    is_alias: bool = False

    @property
    def identity(self) -> str:
        return self.carrier.carrier_city if self.carrier else self.name


@dataclass(frozen=True, slots=True)
class Typed:
    city: str
    department: Department
    is_cod: bool
    words: tuple[str, ...] = ()
    breaks: frozenset[int] = frozenset()  # positions between words where the text had a separator


def carrier_cities(places: Iterable[Place]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(place.carrier.carrier_city for place in places if place.carrier))


def answer(typed: Typed, place: Place, problem: CityProblem | None) -> CityMatch:
    if place.carrier is None:
        return not_covered(typed)
    carrier_city, city = place.carrier.carrier_city, quoted(typed.city)
    department = place.carrier.department_abbrev
    if typed.is_cod and not place.carrier.supports_cod:
        message = f"{city} is {carrier_city}, without cash on delivery. Ask for payment in advance."
        return CityMatch(CityOutcome.REJECTED, carrier_city, CityProblem.COD_NOT_SUPPORTED, message, (), department)
    if problem is None:
        return CityMatch(CityOutcome.OK, carrier_city, None, None, (), department)
    message = _WARNINGS[problem].format(city=city, carrier_city=carrier_city)
    clipped = _clipped(message, MAX_MESSAGE_LENGTH)
    return CityMatch(CityOutcome.WARNING, carrier_city, problem, clipped, (), department)


_WARNINGS: Final = {
    CityProblem.ALIAS_NAME: "{city} is called {carrier_city} by the carrier and is sent so.",
    CityProblem.DEPARTMENT_IN_CITY: (
        "{city} also names the department; it is sent as {carrier_city}. Leave only the city there."
    ),
    CityProblem.MISSPELLED_CITY: (
        "{city} looks misspelled; it is sent as {carrier_city}. Correct the order if that is wrong."
    ),
    CityProblem.EXTRA_TEXT_IN_CITY: (
        "{city} says more than the city; it is sent as {carrier_city}. Move the rest to the address."
    ),
}


def not_covered(typed: Typed, suggestions: Sequence[str] = ()) -> CityMatch:
    message = f"{quoted(typed.city)} in {_short(typed.department.name)} is not a city the carrier serves."
    advice = "Correct it, or use another carrier."
    return rejected(CityProblem.CITY_NOT_COVERED, f"{message} {advice}", suggestions)


def ambiguous(typed: Typed, suggestions: Sequence[str]) -> CityMatch:
    message = f"{quoted(typed.city)} in {_short(typed.department.name)} could mean more than one place."
    return rejected(CityProblem.CITY_NOT_COVERED, f"{message} Type the city's full name.", suggestions)


def mismatch(typed: Typed, suggestions: Sequence[str], glued: str | None = None) -> CityMatch:
    said = f"names {_short(glued)}, the order says" if glued else "is not in"
    message = f"{quoted(typed.city)} {said} {_short(typed.department.name)}. Correct the city or the department."
    return rejected(CityProblem.DEPARTMENT_MISMATCH, message, suggestions)


def rejected(problem: CityProblem, message: str, suggestions: Sequence[str] = ()) -> CityMatch:
    few = tuple(suggestions[:MAX_SUGGESTIONS])
    candidates = f" Perhaps {' or '.join(few[:2])}?" if few else ""
    text = _clipped(message + candidates, MAX_MESSAGE_LENGTH)
    return CityMatch(CityOutcome.REJECTED, None, problem, text, few)


def quoted(text: str) -> str:
    return f'"{_short(text)}"'


def _short(text: str) -> str:
    """At most 40 characters on one line, without control characters and lone surrogates."""
    printable = "".join(character if character.isprintable() else " " for character in text[:120])
    return _clipped(" ".join(printable.split()), 40)


def _clipped(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length - 1]}…"
