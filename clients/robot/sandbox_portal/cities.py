"""The carrier's cities, and what the form's field suggests while one is typed."""

import csv
import io
import unicodedata
from bisect import bisect_left
from collections.abc import Mapping
from functools import cache
from importlib.resources import files

SUGGESTIONS_AT_MOST = 10
SUGGESTIONS_AT_LEAST = 3


class Cities:
    """Cities as the portal writes them.  Its suggestions always hold look-alikes."""

    def __init__(self, collects: Mapping[str, bool]) -> None:
        self._collects = collects
        self._by_key = sorted((_key(_name(city)), city) for city in collects)

    def __contains__(self, city: object) -> bool:
        return city in self._collects

    def collects(self, city: str) -> bool:
        """Whether cash on delivery is collected there; not in a city that is unknown."""
        return self._collects.get(city, False)

    def suggest(self, typed: str) -> list[str]:
        """The best ones for a text, at most ten.  The one that equals it is never the first: who takes that is wrong.

        A text that few cities match is answered with its neighbours in the alphabet besides, as a search does that
        forgives misspellings.
        """
        wanted = _key(_name(typed))
        if not wanted:
            return []
        ranked = sorted((_rank(key, wanted), key, city) for key, city in self._by_key if wanted in key)
        # The one that is meant must not fall off the end of a long list.
        found = sorted((city for _, _, city in ranked), key=lambda city: city != typed)[:SUGGESTIONS_AT_MOST]
        if len(found) < SUGGESTIONS_AT_LEAST:
            found += [city for city in self._neighbours(wanted) if city not in found]
        if found[0] == typed:
            found[0], found[1] = found[1], found[0]
        return found

    def _neighbours(self, wanted: str) -> list[str]:
        place = bisect_left(self._by_key, (wanted, ""))
        start = max(0, min(place - 1, len(self._by_key) - SUGGESTIONS_AT_LEAST))
        return [city for _, city in self._by_key[start : start + SUGGESTIONS_AT_LEAST]]


@cache
def carrier_cities() -> Cities:
    """All that the carrier serves."""
    text = (files(__package__) / "carrier_cities.csv").read_text(encoding="utf-8")
    return Cities({row["carrier_city"]: row["supports_cod"] == "true" for row in csv.DictReader(io.StringIO(text))})


def _name(city: str) -> str:
    return city.partition("(")[0]


def _key(name: str) -> str:
    letters = unicodedata.normalize("NFKD", name)
    return " ".join("".join(letter for letter in letters if not unicodedata.combining(letter)).upper().split())


def _rank(key: str, wanted: str) -> int:
    if key == wanted:
        return 0
    return 1 if key.startswith(wanted) else 2
