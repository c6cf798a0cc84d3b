"""Carriers, the cities they serve, and the check of what people typed against them."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.base import metadata, timestamp
from domain.city_matching import CityIndex, CityMatch, CoveredCity, Municipality
from domain.errors import InputProblem, InvalidInput, invalid
from domain.filters import folded
from domain.text import text_problem

CITIES_AT_MOST = 10_000
_MATCHED_AT_ONCE = 50


class Carrier(StrEnum):
    """The carriers whose portals our robots know."""

    COORDINADORA = "coordinadora"
    SANDBOX = "sandbox"
    """A make-believe one that ships nothing: it serves the cities of Coordinadora."""


def _search_text(column: str) -> sa.Column[str]:
    """Compared byte by byte, so that lists sort alike whatever the server's locale."""
    return sa.Column(
        "search_text",
        sa.Text(collation="C"),
        sa.Computed(folded(column), persisted=True),
        comment="What a search looks through, without capitals and accents.",
    )


dane_municipalities = sa.Table(
    "dane_municipalities",
    metadata,
    sa.Column("dane_code", sa.Text, primary_key=True, comment="Five digits; leading zeros count."),
    sa.Column("department_code", sa.Text, nullable=False),
    sa.Column("department_name", sa.Text, nullable=False),
    sa.Column("municipality_name", sa.Text, nullable=False),
    _search_text("municipality_name"),
    sa.CheckConstraint("dane_code ~ '^[0-9]{5}$'", name="dane_code_digits"),
    comment="DIVIPOLA, the official list of Colombia's municipalities (source: DANE).",
)

department_abbreviations = sa.Table(
    "department_abbreviations",
    metadata,
    sa.Column("department_name", sa.Text, primary_key=True),
    sa.Column("abbreviation", sa.Text, nullable=False, comment="As the portal writes it; not unique."),
    comment="How Coordinadora's portal abbreviates each department.",
)

carrier_coverage = sa.Table(
    "carrier_coverage",
    metadata,
    sa.Column("carrier", sa.Text, primary_key=True),
    sa.Column("carrier_city", sa.Text, primary_key=True, comment="The portal's own text, sent back exactly."),
    sa.Column("city_name", sa.Text, nullable=False),
    sa.Column("department_abbrev", sa.Text, nullable=False),
    sa.Column("supports_cod", sa.Boolean, nullable=False),
    sa.Column("dane_code", sa.Text, sa.ForeignKey("dane_municipalities.dane_code"), nullable=True),
    _search_text("carrier_city"),
    comment="The cities a carrier serves, and where it takes cash on delivery.",
)

reference_data_loads = sa.Table(
    "reference_data_loads",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("sha256", sa.Text, nullable=False, comment="Of the file that was loaded."),
    sa.Column("row_count", sa.Integer, nullable=False),
    timestamp("loaded_at"),
    comment="Which edition of each reference file is loaded: loading again is then a no-op.",
)


@dataclass(frozen=True, slots=True)
class CityQuestion:
    reference: str
    city: str
    department: str
    is_cod: bool


@dataclass(frozen=True, slots=True)
class CityAnswer:
    reference: str
    match: CityMatch


async def validate_cities(
    connection: AsyncConnection, carrier: Carrier, questions: Sequence[CityQuestion]
) -> list[CityAnswer]:
    """Turn typed cities into the portal's text, or say why not; in the order of the questions.

    At most 10,000 at once.  The rules are those of `domain.city_matching`.  Raises InvalidInput.
    """
    if not 1 <= len(questions) <= CITIES_AT_MOST:
        raise invalid("cities", f"must hold 1 to {CITIES_AT_MOST:,} cities; it holds {len(questions):,}.")
    problems = [
        InputProblem(f"cities.{number}.{name}", problem)
        for number, question in enumerate(questions)
        for name, value in (
            ("reference", question.reference),
            ("city", question.city),
            ("department", question.department),
        )
        if (problem := text_problem(value, at_most=200))
    ]
    if problems:
        raise InvalidInput(*problems)

    matches = await match_cities(connection, carrier, [(each.city, each.department, each.is_cod) for each in questions])
    return [CityAnswer(question.reference, match) for question, match in zip(questions, matches, strict=True)]


async def match_cities(
    connection: AsyncConnection, carrier: Carrier, typed: Sequence[tuple[str, str, bool]]
) -> list[CityMatch]:
    """The match of each city, department and whether it is COD, in their order; the same text is looked up once.

    Many at once are matched in a thread, so that what else the process does goes on meanwhile.
    """
    index = await load_city_index(connection, carrier)
    distinct = list(dict.fromkeys(typed))

    def match_all() -> dict[tuple[str, str, bool], CityMatch]:
        return {each: index.match(each[0], each[1], is_cod=each[2]) for each in distinct}

    found = match_all() if len(distinct) <= _MATCHED_AT_ONCE else await asyncio.to_thread(match_all)
    return [found[each] for each in typed]


_city_indexes: dict[tuple[Carrier, str], CityIndex] = {}


async def load_city_index(connection: AsyncConnection, carrier: Carrier) -> CityIndex:
    """The carrier's cities, ready to match; built once per edition of the reference data and kept in memory."""
    edition = await connection.scalar(
        sa.select(sa.func.string_agg(reference_data_loads.c.sha256, sa.text("',' ORDER BY name")))
    )
    key = (carrier, edition or "")
    if key not in _city_indexes:
        for outdated in [each for each in _city_indexes if each[0] is carrier]:
            del _city_indexes[outdated]
        _city_indexes[key] = await _read_city_index(connection, carrier)
    return _city_indexes[key]


async def _read_city_index(connection: AsyncConnection, carrier: Carrier) -> CityIndex:
    municipalities = await connection.execute(
        sa.select(
            dane_municipalities.c.dane_code,
            dane_municipalities.c.department_code,
            dane_municipalities.c.department_name,
            dane_municipalities.c.municipality_name,
        )
    )
    abbreviations = await connection.execute(
        sa.select(department_abbreviations.c.department_name, department_abbreviations.c.abbreviation)
    )
    covered = await connection.execute(
        sa.select(
            carrier_coverage.c.city_name,
            carrier_coverage.c.department_abbrev,
            carrier_coverage.c.carrier_city,
            carrier_coverage.c.supports_cod,
            carrier_coverage.c.dane_code,
        ).where(carrier_coverage.c.carrier == carrier)
    )
    return CityIndex(
        [Municipality(*row) for row in municipalities],
        [(name, abbreviation) for name, abbreviation in abbreviations],
        [CoveredCity(*row) for row in covered],
    )
