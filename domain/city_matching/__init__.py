"""Turns a city and department as people type them into the carrier's own city text, or says why not.

Pure: built from the reference data (docs/data.md), no database and no clock.

    index.py    the rules and their order
    answers.py  outcomes, problems and the messages for the operator
    names.py    the key both sides are compared by, and the words people use around a name
"""

from domain.city_matching.answers import CityMatch, CityOutcome, CityProblem
from domain.city_matching.index import CityIndex
from domain.city_matching.names import CoveredCity, Municipality, city_key

__all__ = [
    "CityIndex",
    "CityMatch",
    "CityOutcome",
    "CityProblem",
    "CoveredCity",
    "Municipality",
    "city_key",
]
