"""The rules, in order; the first that answers wins.

Missing or unknown fields; the exact name; DANE's name, or that of a municipality the carrier does not serve;
the same letters spaced otherwise; a place of another department; the stated department glued to the city; a
hamlet ("Vereda …"); a department and no city; one edit; another department glued to the city; the same again
without the glued department; a neighbourhood after the city.  What could mean two places is rejected with
suggestions, never guessed.
"""

from collections.abc import Iterable, Sequence
from typing import Final

from rapidfuzz import process
from rapidfuzz.distance import OSA

from domain.city_matching.answers import (
    CityMatch,
    CityProblem,
    Place,
    Typed,
    ambiguous,
    answer,
    carrier_cities,
    mismatch,
    not_covered,
    quoted,
    rejected,
)
from domain.city_matching.names import (
    CITY_VARIANTS,
    COUNTRY,
    DEPARTMENT_WORDS,
    INNER_WORDS,
    JOINING_WORDS,
    MAX_NAME_WORDS,
    NAMED_LIKE_DEPARTMENTS,
    QUALIFYING_WORDS,
    RURAL_WORDS,
    CoveredCity,
    Department,
    Municipality,
    city_key,
    department_forms,
    limited_key,
)

_SEPARATORS: Final = str.maketrans(dict.fromkeys(",;()[]/|\\\n–—-", ","))


class CityIndex:
    """Answers one city at a time; never changes after it is built, so it may be shared by all threads."""

    __slots__ = (
        "_all_keys",
        "_compact",
        "_department_keys",
        "_departments",
        "_everywhere",
        "_keys",
        "_names",
    )

    def __init__(
        self,
        municipalities: Iterable[Municipality],
        departments: Iterable[tuple[str, str]],
        covered_cities: Iterable[CoveredCity],
    ) -> None:
        abbreviations = dict(sorted(departments))
        covered = sorted(covered_cities, key=lambda city: city.carrier_city)
        self._departments = department_forms(abbreviations, covered)
        self._names: dict[str, dict[str, Place]] = {
            department.abbreviation: {} for department in self._departments.values()
        }
        for city in covered:
            self._names[city.department_abbrev][city_key(city.city_name)] = Place(city.city_name, city)
        by_dane_code = {city.dane_code: city for city in covered if city.dane_code}
        for municipality in sorted(municipalities, key=lambda municipality: municipality.dane_code):
            carrier = by_dane_code.get(municipality.dane_code)
            place = Place(municipality.municipality_name, carrier, is_alias=carrier is not None)
            names = self._names[abbreviations[municipality.department_name]]
            for name in (place.name, *CITY_VARIANTS.get(municipality.dane_code, ())):
                names.setdefault(city_key(name), place)

        self._keys = {abbreviation: tuple(names) for abbreviation, names in self._names.items()}
        self._compact: dict[str, dict[str, Place | None]] = {}
        self._everywhere: dict[str, list[Place]] = {}
        for abbreviation, names in self._names.items():
            compact = self._compact[abbreviation] = {}
            for key, place in names.items():
                self._everywhere.setdefault(key, []).append(place)
                squeezed = key.replace(" ", "")
                known = compact.setdefault(squeezed, place)
                if known is None or known.identity != place.identity:
                    compact[squeezed] = None  # two places: no answer
        self._all_keys = tuple(self._everywhere)
        self._department_keys = tuple(form for form in self._departments if len(form) >= 5)

    def match(self, city: str, department: str, *, is_cod: bool) -> CityMatch:
        """Never raises, whatever the text; more than 200 characters match nothing."""
        city_text, department_text = city.strip(), department.strip()
        key, department_key = limited_key(city_text), limited_key(department_text)
        if key == "":
            return rejected(CityProblem.CITY_MISSING, "The order has no city. Type the city and the department.")
        if department_key == "":
            covered = carrier_cities(self._everywhere.get(key or "", ()))
            message = f"{quoted(city_text)} has no department, and it is never guessed. Type the department."
            return rejected(CityProblem.DEPARTMENT_MISSING, message, covered)
        stated = self._find_department(department_key)
        if stated is None:
            message = f"{quoted(department_text)} is not a department of Colombia. Correct the department"
            return rejected(CityProblem.DEPARTMENT_UNKNOWN, f"{message} of {quoted(city_text)}.")
        typed = Typed(city_text, stated, is_cod)
        if key is None:
            return not_covered(typed)
        place = self._names[stated.abbreviation].get(key)
        if place:
            return answer(typed, place, CityProblem.ALIAS_NAME if place.is_alias else None)
        words, breaks = tuple(key.split()), _word_breaks(city_text)
        return self._match_inexact(Typed(city_text, stated, is_cod, words, breaks))

    def _find_department(self, key: str | None) -> Department | None:
        if key is None:
            return None
        found = self._departments.get(key)
        if found:
            return found
        words = key.removesuffix(f" {COUNTRY}").split()
        if words and words[0] in DEPARTMENT_WORDS:
            words = words[2:] if len(words) > 1 and words[1] in JOINING_WORDS else words[1:]
        for length in range(len(words), 0, -1):
            found = self._departments.get(" ".join(words[:length]))
            again = self._departments.get(" ".join(words[length:])) if words[length:] else found
            if found and again and found.abbreviation == again.abbreviation:
                return found  # also said twice: "Bogotá, Cundinamarca"
        return None

    def _match_inexact(self, typed: Typed) -> CityMatch:
        whole = range(len(typed.words))
        base = self._without_department(typed)
        is_glued = base != whole
        return (
            self._respaced(typed, whole)
            or self._elsewhere(typed, whole)
            or (self._named(typed, base) if is_glued else None)
            or self._rural(typed, base)
            or self._only_department(typed, whole)
            or self._misspelled(typed, whole)
            or self._contradicted(typed, base)
            or (self._respaced(typed, base) if is_glued else None)
            or (self._elsewhere(typed, base) if is_glued else None)
            or (self._misspelled(typed, base) if is_glued else None)
            or self._with_extra_text(typed, base)
            or not_covered(typed, self._near(typed, base))
        )

    def _rural(self, typed: Typed, part: range) -> CityMatch | None:
        if typed.words[part.start] not in RURAL_WORDS:
            return None
        return not_covered(typed, self._near(typed, part[1:]) if len(part) > 1 else ())

    def _only_department(self, typed: Typed, part: range) -> CityMatch | None:
        return not_covered(typed, self._near(typed, part)) if _text(typed, part) in self._departments else None

    def _respaced(self, typed: Typed, part: range) -> CityMatch | None:
        place = self._compact[typed.department.abbreviation].get("".join(_words(typed, part)))
        return answer(typed, place, CityProblem.MISSPELLED_CITY) if place else None

    def _elsewhere(self, typed: Typed, part: range) -> CityMatch | None:
        """A real place of another department is never corrected into one of this department."""
        places = self._everywhere.get(_text(typed, part))
        if not places:
            return None
        covered = carrier_cities(places)
        return mismatch(typed, covered) if covered else not_covered(typed)

    def _named(self, typed: Typed, part: range) -> CityMatch | None:
        place = self._names[typed.department.abbreviation].get(_text(typed, part))
        return answer(typed, place, CityProblem.DEPARTMENT_IN_CITY) if place else None

    def _misspelled(self, typed: Typed, part: range) -> CityMatch | None:
        """One edit (a swap of neighbours is one) from one place of the department, covered or not."""
        key, abbreviation = _text(typed, part), typed.department.abbreviation
        if len(key) < 3 or key in self._departments:
            return None
        names = self._names[abbreviation]
        near = [names[hit] for hit in _one_edit(key, self._keys[abbreviation])]
        if len({place.identity for place in near}) > 1:
            return ambiguous(typed, carrier_cities(near))
        return answer(typed, near[0], CityProblem.MISSPELLED_CITY) if near else None

    def _without_department(self, typed: Typed) -> range:
        """What is left without the stated department and "Colombia", after the city or before it."""
        names = self._names[typed.department.abbreviation]
        part = range(len(typed.words))
        while len(part) > 1 and _text(typed, part) not in names:
            length, department = self._department_at_end(typed, part)
            rest = part[: len(part) - length]
            if not length or not self._may_be_dropped(typed, department, part[len(rest) :], rest):
                break
            part = _without_department_word(typed, rest)
        while _text(typed, part) not in names and (length := self._department_at_start(typed, part)):
            part = part[length:]
        return part

    def _department_at_start(self, typed: Typed, part: range) -> int:
        for length in range(min(len(part) - 1, MAX_NAME_WORDS), 0, -1):
            form = _text(typed, part[:length])
            department = self._departments.get(form)
            is_own = department is not None and department.abbreviation == typed.department.abbreviation
            if (is_own or form == COUNTRY) and form not in self._names[typed.department.abbreviation]:
                return length
        return 0

    def _department_at_end(self, typed: Typed, part: range) -> tuple[int, Department | None]:
        """How many last words are a department or the country (0: none), and which department."""
        for length in range(min(len(part) - 1, MAX_NAME_WORDS), 0, -1):
            form = _text(typed, part[-length:])
            if form in self._departments or form == COUNTRY:
                return length, self._departments.get(form)
            if form in self._everywhere or form in NAMED_LIKE_DEPARTMENTS:
                break  # "Ciudad Bolívar" is a place of its own: its last word is no department
        return 0, None

    def _may_be_dropped(self, typed: Typed, department: Department | None, end: range, rest: range) -> bool:
        if department is None:
            return True
        if department.abbreviation != typed.department.abbreviation:
            return False
        # "Soacha Bogotá" in Cundinamarca names two cities; "Bogotá, Bogotá D.C." names one.
        names = self._names[department.abbreviation]
        second, first = names.get(_text(typed, end)), names.get(_text(typed, rest))
        is_second_city = second is not None and (first is None or first.identity != second.identity)
        return department.name == typed.department.name or not is_second_city

    def _contradicted(self, typed: Typed, part: range) -> CityMatch | None:
        length, department = self._department_at_end(typed, part)
        if department is None or department.abbreviation == typed.department.abbreviation:
            return None
        words, end = _words(typed, part), part.stop - length
        if not INNER_WORDS.isdisjoint(words[1:]) and end not in typed.breaks:
            return None  # "Cali barrio Antioquia" names a neighbourhood
        for longer in range(length + 1, min(len(part), 6)):
            meant = self._department_like(_text(typed, part[-longer:]))
            if meant and meant.abbreviation == typed.department.abbreviation:
                return None  # "Cali - Vale del Cauca"
        key = " ".join(words[:-length])
        both = (typed.department, department)
        places = [self._names[one.abbreviation][key] for one in both if key in self._names[one.abbreviation]]
        return mismatch(typed, carrier_cities(places), glued=department.name)

    def _department_like(self, text: str) -> Department | None:
        """A department by its name, or one edit from it if the name is long enough."""
        found = self._departments.get(text)
        if found:
            return found
        near = _one_edit(text, self._department_keys)
        return self._departments[near[0]] if near else None

    def _with_extra_text(self, typed: Typed, part: range) -> CityMatch | None:
        """The longest known name at the start is the city, if nothing says that the name goes on."""
        names = self._names[typed.department.abbreviation]
        for length in range(min(len(part) - 1, MAX_NAME_WORDS), 0, -1):
            head, rest = _text(typed, part[:length]), _words(typed, part[length:])
            is_separated = part[length] in typed.breaks
            place = names.get(head)
            if place is None and head not in self._everywhere:
                continue
            # "San Pedro Alto" is another place than San Pedro; "Barranquilla Alto Prado" is in Barranquilla.
            is_qualified = len(rest) == 1 and rest[0] in QUALIFYING_WORDS and not is_separated
            if rest[0] in JOINING_WORDS or is_qualified:
                return None
            if place is None:
                is_clear = is_separated or rest[0] in INNER_WORDS
                return self._elsewhere(typed, part[:length]) if is_clear else None
            if rest[0] not in INNER_WORDS:
                others = self._other_readings(typed, part, length, place, is_separated=is_separated)
                if others is not None:
                    return ambiguous(typed, carrier_cities([place, *others]))
            return answer(typed, place, CityProblem.EXTRA_TEXT_IN_CITY)
        return None

    def _other_readings(
        self, typed: Typed, part: range, length: int, place: Place, *, is_separated: bool
    ) -> Sequence[Place] | None:
        """Other places the whole text could mean; None when it is this place and something in it."""
        names = self._names[typed.department.abbreviation]
        head, rest = _text(typed, part[:length]), part[length:]
        for size in range(min(len(rest), MAX_NAME_WORDS), 0, -1):
            start = _text(typed, rest[:size])
            department = self._department_like(start)
            if department and department.abbreviation != typed.department.abbreviation:
                return ()
            second = names.get(start)
            if second and second.identity != place.identity:
                return (second,)
        if is_separated:
            return None
        longer = [other for key, other in names.items() if key.startswith(f"{head} ")]
        for hit in _one_edit(_text(typed, part), self._all_keys):
            longer.extend(self._everywhere[hit])
        return [other for other in longer if other.identity != place.identity] or None

    def _near(self, typed: Typed, part: range) -> tuple[str, ...]:
        """Covered cities of the department that look like the text or share all words with it."""
        names, key = self._names[typed.department.abbreviation], _text(typed, part)
        hits = process.extract(
            key,
            self._keys[typed.department.abbreviation],
            scorer=OSA.normalized_similarity,
            score_cutoff=0.7,
            limit=3,
        )
        words = set(_words(typed, part))
        shared = [place for name, place in names.items() if words <= (have := set(name.split())) or words >= have]
        return carrier_cities([*(names[hit[0]] for hit in hits), *shared])


def _word_breaks(text: str) -> frozenset[int]:
    breaks, count = set(), 0
    for part in text.translate(_SEPARATORS).split(","):
        count += len(city_key(part).split())
        breaks.add(count)
    return frozenset(breaks)


def _words(typed: Typed, part: range) -> tuple[str, ...]:
    return typed.words[part.start : part.stop]


def _text(typed: Typed, part: range) -> str:
    return " ".join(_words(typed, part))


def _without_department_word(typed: Typed, part: range) -> range:
    end = part.stop - (typed.words[part.stop - 1] in JOINING_WORDS)
    is_said = end - 1 > part.start and typed.words[end - 1] in DEPARTMENT_WORDS
    return range(part.start, end - 1) if is_said else part


def _one_edit(key: str, choices: Sequence[str]) -> list[str]:
    return [hit[0] for hit in process.extract(key, choices, scorer=OSA.distance, score_cutoff=1, limit=None)]
