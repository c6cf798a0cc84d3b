"""Which cities a carrier serves, and the country's municipalities: for forms that offer what may be chosen."""

from dataclasses import dataclass
from typing import Any, Self

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.carriers import Carrier, carrier_coverage, dane_municipalities, department_abbreviations
from domain.city_matching import Municipality
from domain.errors import invalid
from domain.filters import SearchText, fold, folded
from domain.pages import FLAG, TEXT, Ordering, Page, PageRequest, SortKey, count_rows
from domain.text import text_problem

DEPARTMENT_AT_MOST = 100

# What begins with the text comes before what only holds it, as in any field that completes what is typed.
_BEST_FIRST = (SortKey("is_inner_match", FLAG), SortKey("search_text", TEXT))
CITIES_BY_NAME = Ordering("carrier cities", (*_BEST_FIRST, SortKey("carrier_city", TEXT)))
MUNICIPALITIES_BY_NAME = Ordering("municipalities", (*_BEST_FIRST, SortKey("dane_code", TEXT)))


@dataclass(frozen=True, slots=True)
class Listed:
    """Where a row stands in its list."""

    is_inner_match: bool
    search_text: str


@dataclass(frozen=True, slots=True)
class CarrierCity(Listed):
    """A city of a portal; `carrier_city` is the portal's own text, sent back exactly so."""

    carrier_city: str
    city_name: str
    department_abbrev: str
    supports_cod: bool
    municipality: Municipality | None


@dataclass(frozen=True, slots=True)
class ListedMunicipality(Listed):
    municipality: Municipality

    @property
    def dane_code(self) -> str:
        return self.municipality.dane_code


@dataclass(frozen=True, slots=True)
class PlaceFilter:
    """All that is given must hold.  `department`: a name, or a carrier's abbreviation or DANE's code for it, folded."""

    search: SearchText | None = None
    department: str | None = None
    supports_cod: bool | None = None

    @classmethod
    def of(cls, search: str | None = None, department: str | None = None, supports_cod: bool | None = None) -> Self:
        """Raises InvalidInput."""
        if department is not None and (problem := text_problem(department, at_most=DEPARTMENT_AT_MOST)):
            raise invalid("department", problem)
        return cls(
            SearchText.of("search", search),
            fold(department).strip() if department is not None else None,
            supports_cod,
        )


async def list_carrier_cities(
    connection: AsyncConnection, carrier: Carrier, *, page: PageRequest, place_filter: PlaceFilter | None = None
) -> Page[CarrierCity]:
    """The cities that the carrier serves by name; those that begin with the searched text before the others."""
    wanted = place_filter or PlaceFilter()
    city = carrier_coverage.c
    conditions: list[sa.ColumnElement[bool]] = [city.carrier == carrier.value]
    if wanted.search is not None:
        conditions.append(wanted.search.is_in(city.search_text))
    if wanted.department is not None:
        named = sa.select(department_abbreviations.c.abbreviation).where(
            _folded(department_abbreviations.c.department_name) == wanted.department
        )
        conditions.append(
            sa.or_(_folded(city.department_abbrev) == wanted.department, city.department_abbrev.in_(named))
        )
    if wanted.supports_cod is not None:
        conditions.append(city.supports_cod == wanted.supports_cod)
    listed = (
        sa.select(
            _is_inner_match(wanted, city.search_text),
            city.search_text,
            city.carrier_city,
            city.city_name,
            city.department_abbrev,
            city.supports_cod,
            *_MUNICIPALITY,
        )
        .outerjoin(dane_municipalities, dane_municipalities.c.dane_code == city.dane_code)
        .where(*conditions)
        .subquery("listed")
    )
    ordered = page.in_order(CITIES_BY_NAME)
    rows = await connection.execute(ordered.apply(sa.select(listed), listed.c))
    found = [
        CarrierCity(
            row.is_inner_match,
            row.search_text,
            row.carrier_city,
            row.city_name,
            row.department_abbrev,
            row.supports_cod,
            _municipality(row) if row.dane_code is not None else None,
        )
        for row in rows
    ]
    total = await count_rows(connection, carrier_coverage, conditions) if page.with_total else None
    return ordered.page(found, total)


async def list_municipalities(
    connection: AsyncConnection, *, page: PageRequest, place_filter: PlaceFilter | None = None
) -> Page[ListedMunicipality]:
    """DANE's municipalities by name; those that begin with the searched text before the others."""
    wanted = place_filter or PlaceFilter()
    municipality = dane_municipalities.c
    conditions: list[sa.ColumnElement[bool]] = []
    if wanted.search is not None:
        conditions.append(wanted.search.is_in(municipality.search_text))
    if wanted.department is not None:
        is_code = municipality.department_code == wanted.department
        conditions.append(sa.or_(is_code, _folded(municipality.department_name) == wanted.department))
    listed = (
        sa.select(_is_inner_match(wanted, municipality.search_text), municipality.search_text, *_MUNICIPALITY)
        .where(*conditions)
        .subquery("listed")
    )
    ordered = page.in_order(MUNICIPALITIES_BY_NAME)
    rows = await connection.execute(ordered.apply(sa.select(listed), listed.c))
    found = [ListedMunicipality(row.is_inner_match, row.search_text, _municipality(row)) for row in rows]
    total = await count_rows(connection, dane_municipalities, conditions) if page.with_total else None
    return ordered.page(found, total)


_MUNICIPALITY = (
    dane_municipalities.c.dane_code,
    dane_municipalities.c.department_code,
    dane_municipalities.c.department_name,
    dane_municipalities.c.municipality_name,
)


def _folded(column: sa.Column[Any]) -> sa.ColumnElement[str]:
    return sa.literal_column(folded(str(column)), sa.Text())


def _is_inner_match(wanted: PlaceFilter, searched: sa.ColumnElement[Any]) -> sa.Label[bool]:
    is_inner = sa.not_(wanted.search.starts(searched)) if wanted.search is not None else sa.false()
    return is_inner.label("is_inner_match")


def _municipality(row: sa.Row[Any]) -> Municipality:
    return Municipality(row.dane_code, row.department_code, row.department_name, row.municipality_name)
