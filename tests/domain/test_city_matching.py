"""The city rules against the whole reference data and the labelled sample orders."""

import csv
import dataclasses
import random
import string
import unicodedata
from itertools import product
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.city_matching import (
    CityIndex,
    CityMatch,
    CityOutcome,
    CityProblem,
    CoveredCity,
    Municipality,
    city_key,
)

_ROOT = Path(__file__).parents[2]


def _rows(path: str) -> list[dict[str, str]]:
    with (_ROOT / path).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


_MUNICIPALITIES = [Municipality(**row) for row in _rows("domain/data/dane_municipalities.csv")]
_DEPARTMENTS = [
    (row["department_name"], row["abbreviation"]) for row in _rows("domain/data/department_abbreviations.csv")
]
_COVERED = [
    CoveredCity(
        row["city_name"],
        row["department_abbrev"],
        row["carrier_city"],
        row["supports_cod"] == "true",
        row["dane_code"] or None,
    )
    for row in _rows("domain/data/coordinadora_coverage.csv")
]
_SAMPLE_ORDERS = _rows("clients/console/sample_orders.csv")
_INDEX = CityIndex(_MUNICIPALITIES, _DEPARTMENTS, _COVERED)


def _departments_of(city: CoveredCity) -> list[str]:
    return [name for name, abbreviation in _DEPARTMENTS if abbreviation == city.department_abbrev]


def _match(city: str, department: str, *, is_cod: bool = False) -> CityMatch:
    return _INDEX.match(city, department, is_cod=is_cod)


@pytest.mark.parametrize("row", _SAMPLE_ORDERS, ids=lambda row: row["order_id"])
def test_a_sample_order_is_answered_as_labelled(row: dict[str, str]) -> None:
    match = _match(row["shipping_city"], row["shipping_department"], is_cod=row["is_cod"] == "true")

    assert match.outcome == row["expected_outcome"]
    assert (match.carrier_city or "") == row["expected_carrier_city"]
    assert (match.problem or "") == row["expected_problem"]


def test_every_covered_city_is_itself_in_its_departments() -> None:
    for city in _COVERED:
        for department in [*_departments_of(city), city.department_abbrev]:
            match = _match(city.city_name, department, is_cod=True)

            assert match.carrier_city == city.carrier_city
            assert match.problem is (None if city.supports_cod else CityProblem.COD_NOT_SUPPORTED)


def test_every_municipality_is_its_linked_city_or_not_covered() -> None:
    by_dane_code = {city.dane_code: city for city in _COVERED if city.dane_code}
    for municipality in _MUNICIPALITIES:
        match = _match(municipality.municipality_name, municipality.department_name)
        city = by_dane_code.get(municipality.dane_code)

        if city is None:
            assert (match.carrier_city, match.problem) == (None, CityProblem.CITY_NOT_COVERED)
        else:
            is_same_name = city_key(city.city_name) == city_key(municipality.municipality_name)
            assert match.carrier_city == city.carrier_city
            assert match.problem is (None if is_same_name else CityProblem.ALIAS_NAME)


def test_no_municipality_is_taken_for_a_city_of_another_name_in_another_department() -> None:
    linked = {(city.dane_code, city.carrier_city) for city in _COVERED}
    for municipality, (department, _) in product(_MUNICIPALITIES, _DEPARTMENTS):
        carrier_city = _match(municipality.municipality_name, department).carrier_city

        if carrier_city and (municipality.dane_code, carrier_city) not in linked:
            typed = city_key(municipality.municipality_name).replace(" ", "")
            names = {
                city_key(other.municipality_name).replace(" ", "")
                for other in _MUNICIPALITIES
                if (other.dane_code, carrier_city) in linked
            }
            assert typed in names | {city_key(carrier_city.rpartition(" (")[0]).replace(" ", "")}


@pytest.mark.parametrize(
    "form",
    ["{} ({})", "{} - {}", "{}-{}", "{}, {}", "{}/{}", "{} {}", "{}, {}, Colombia", "{} Departamento de {}"],
)
def test_the_stated_department_may_be_glued_to_any_city(form: str) -> None:
    for city in _COVERED:
        for department in [*_departments_of(city), city.department_abbrev]:
            match = _match(form.format(city.city_name, department), department)

            assert match.carrier_city == city.carrier_city
            assert match.problem is CityProblem.DEPARTMENT_IN_CITY


def test_one_edit_never_leads_to_a_wrong_city() -> None:
    choose = random.Random(20)  # noqa: S311
    resolved = tried = 0
    for city in _COVERED:
        if not _departments_of(city):
            continue
        name, department = city_key(city.city_name), _departments_of(city)[0]
        for typed in choose.sample(sorted(_one_edit_from(name)), 12):
            match = _match(typed, department)
            tried += 1
            resolved += match.carrier_city == city.carrier_city

            is_another_real_name = match.problem in {None, CityProblem.ALIAS_NAME}
            assert match.carrier_city in {city.carrier_city, None} or is_another_real_name
    assert resolved > 0.98 * tried


def _one_edit_from(name: str) -> set[str]:
    edits: set[str] = set()
    for i in range(len(name) + 1):
        head, tail = name[:i], name[i:]
        edits.update(head + letter + tail for letter in string.ascii_uppercase)
        edits.update(head + letter + tail[1:] for letter in string.ascii_uppercase if tail)
        edits.update({head + tail[1:], head + tail[1:2] + tail[:1] + tail[2:]})
    return edits - {name}


_BOGOTA = "BOGOTA (C/MARCA)"


@pytest.mark.parametrize(
    ("city", "department", "carrier_city", "problem"),
    [
        ("Santafé de Bogotá", "Bogotá", _BOGOTA, "alias_name"),
        ("Bogota DC", "Cundinamarca", _BOGOTA, "alias_name"),
        ("Bogotá Distrito Capital", "Santafé de Bogotá", _BOGOTA, "alias_name"),
        ("Bogotá - Ciudad Bolívar", "Bogotá D.C.", _BOGOTA, "extra_text_in_city"),
        ("Bogotá, Bogotá D.C.", "Cundinamarca", _BOGOTA, "department_in_city"),
        ("Soacha Bogotá", "Cundinamarca", None, "city_not_covered"),
        ("Cali B/ El Prado", "Valle", "CALI (VALLE)", "extra_text_in_city"),
        ("Cali barrio Antioquia", "Valle", "CALI (VALLE)", "extra_text_in_city"),
        ("Cali - Vale del Cauca", "Valle", "CALI (VALLE)", "extra_text_in_city"),
        ("Cartagena, Bocagrande, Bolívar", "Bolívar", "CARTAGENA (BOL)", "extra_text_in_city"),
        ("Colombia, Antioquia, Medellín", "Antioquia", "MEDELLIN (ANT)", "department_in_city"),
        ("Medelln (Antioquia)", "Antioquia", "MEDELLIN (ANT)", "misspelled_city"),
        ("Puero Santander", "Norte Santander", "PUERTO SANTANDER (N/STDER)", "misspelled_city"),
        ("Agustin Codazi", "Cesar", "CODAZZI- AGUSTIN (CES)", "misspelled_city"),
        ("San Andres Islas", "San Andrés", "SAN ANDRES ISLA (S/ANDRES)", "alias_name"),
        ("Colombia", "Huila", "COLOMBIA (HLA)", None),
        ("Colombia, Huila", "Huila", "COLOMBIA (HLA)", "department_in_city"),
        ("Pasto Nariño", "Nariño", "PASTO (NAR)", "department_in_city"),
        ("Nariño, Pasto", "Nariño", None, "city_not_covered"),
        ("Valle del Cauca", "Valle del Cauca", None, "city_not_covered"),
        ("San Antonio de Padua", "Valle", None, "city_not_covered"),
        ("Santa Rosa Alta", "Bolívar", None, "city_not_covered"),
        ("Vereda Bello", "Antioquia", None, "city_not_covered"),
        ("Beltrn (Cundinamarca)", "Cundinamarca", None, "city_not_covered"),
        ("Medellín, Bello", "Antioquia", None, "city_not_covered"),
        ("Granada (Meta)", "Antioquia", None, "department_mismatch"),
        ("Cúcuta, Norte de Santander", "Santander", None, "department_mismatch"),
        ("El Peñón", "Antioquia", None, "department_mismatch"),
        ("Cali (Valle)", "", None, "department_missing"),
        ("Cali", "Vale", None, "department_unknown"),
        (" - ", "Centro", None, "city_missing"),
    ],
)
def test_a_typed_city_is_read_with_care(
    city: str, department: str, carrier_city: str | None, problem: str | None
) -> None:
    match = _match(city, department)

    assert (match.carrier_city, match.problem) == (carrier_city, problem)


@pytest.mark.parametrize(
    "department",
    [
        "N. de Santander",
        "Norte Santander",
        "N/STDER",
        "NORTE DE SANTANDER, Colombia",
        "Dpto. Norte de Santander",
    ],
)
def test_a_department_is_known_by_its_usual_forms(department: str) -> None:
    assert _match("Cúcuta", department).outcome is CityOutcome.OK


def test_an_ambiguous_misspelling_names_its_candidates() -> None:
    match = _match("Tosa", "Boyacá")

    assert match.outcome is CityOutcome.REJECTED
    assert set(match.suggestions) >= {"TOCA (BOY)", "TOTA (BOY)"}


@pytest.mark.parametrize(
    ("city", "department", "carrier_city"),
    [
        ("Barranquilla Alto Prado", "Atlántico", "BARRANQUILLA (ATL)"),
        ("Bogota Antonio Nariño", "Bogotá D.C.", "BOGOTA (C/MARCA)"),
    ],
)
def test_a_neighbourhood_may_begin_or_end_like_another_kind_of_name(
    city: str, department: str, carrier_city: str
) -> None:
    match = _match(city, department)

    assert (match.problem, match.carrier_city) == (CityProblem.EXTRA_TEXT_IN_CITY, carrier_city)


def test_a_short_name_is_put_right_within_its_department() -> None:
    match = _match("Clai", "Valle del Cauca")

    assert (match.outcome, match.carrier_city) == (CityOutcome.WARNING, "CALI (VALLE)")


def test_cash_on_delivery_is_refused_with_the_city_named() -> None:
    match = _match("INZÁ-CAUCA", "Cauca", is_cod=True)

    assert (match.outcome, match.carrier_city) == (CityOutcome.REJECTED, "INZA (CAU)")
    assert match.message is not None
    assert "INZA (CAU)" in match.message


@pytest.mark.parametrize(
    "text", [" ", "x", "a ", "-", "\u0301", "\u200b", "\ud800", "\x00", "ﷺ", "san ", "Cali ", "Vereda "]
)
@pytest.mark.parametrize("length", [1, 200, 1_000_000])
def test_hostile_text_is_answered(text: str, length: int) -> None:
    typed = (text * length)[:length]

    for match in (_match(typed, "Valle"), _match("Cali", typed), _match(typed, typed)):
        assert match.message is None or len(match.message) <= 200
        assert match.message is None or match.message.encode()


@given(city=st.text(max_size=60), department=st.sampled_from([name for name, _ in _DEPARTMENTS]) | st.text())
def test_any_text_has_one_well_formed_answer(city: str, department: str) -> None:
    match = _match(city, department, is_cod=True)

    assert match == _match(city, department, is_cod=True)
    assert (match.outcome is CityOutcome.OK) == (match.problem is None) == (match.message is None)
    assert match.carrier_city is None or match.carrier_city in {city.carrier_city for city in _COVERED}
    assert match.carrier_city is not None or match.outcome is CityOutcome.REJECTED


@given(st.text() | st.text(alphabet="áñÑü.-/ \u00a0\u0301\u200bßİıﬁ²ao"))
def test_city_key_is_idempotent(text: str) -> None:
    assert city_key(city_key(text)) == city_key(text)


def test_city_key_of_every_character_is_idempotent() -> None:
    changed = [code for code in range(0x30000) if (key := city_key(chr(code))) != city_key(key)]

    assert changed == []


@pytest.mark.parametrize("form", ["NFC", "NFD", "NFKC", "NFKD"])
def test_city_key_is_the_same_for_every_unicode_form(form: Literal["NFC", "NFD", "NFKC", "NFKD"]) -> None:
    for city in _COVERED:
        typed = unicodedata.normalize(form, city.city_name).lower().replace(" ", "\u00a0\u2009")

        assert city_key(typed) == city_key(city.city_name)


def test_city_key_is_unique_within_an_abbreviation() -> None:
    keys = {(city.department_abbrev, city_key(city.city_name)) for city in _COVERED}

    assert len(keys) == len(_COVERED)


def test_the_answer_does_not_depend_on_the_order_of_the_reference_data() -> None:
    reversed_index = CityIndex(_MUNICIPALITIES[::-1], _DEPARTMENTS[::-1], _COVERED[::-1])

    for row in _SAMPLE_ORDERS:
        city, department = row["shipping_city"], row["shipping_department"]
        assert reversed_index.match(city, department, is_cod=False) == _match(city, department)


def test_a_match_is_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        _match("Cali", "Valle").carrier_city = "PASTO (NAR)"  # type: ignore[misc]
