"""Which cities a carrier serves, and the check of typed ones against them."""

from typing import Annotated, Self

import strawberry

import domain.carriers
import domain.city_matching
import domain.coverage
from domain.carriers import Carrier
from domain.city_matching import CityOutcome, CityProblem
from domain.coverage import (
    CITIES_BY_NAME,
    MUNICIPALITIES_BY_NAME,
    ListedMunicipality,
    PlaceFilter,
    list_carrier_cities,
    list_municipalities,
)
from domain.pages import PageRequest
from schema.access import query, reading
from schema.context import Info
from schema.pages import After, Before, Connection, First, Last, wants_total


@strawberry.input(description="A city as somebody typed it.")
class CityInput:
    reference: str = strawberry.field(description="Your own name for the question; the answer carries it.")
    city: str = strawberry.field(description="The city as typed.")
    department: str = strawberry.field(description="The department as typed.")
    is_cod: bool = strawberry.field(description="Whether the order is cash on delivery.")


@strawberry.input(description="Cities to check.")
class ValidateCitiesInput:
    carrier: Carrier = strawberry.field(description="Whose cities.")
    cities: list[CityInput] = strawberry.field(description="1 to 10,000 of them.")


@strawberry.type(description="What a typed city means to the carrier.")
class CityValidation:
    reference: str = strawberry.field(description="The question's own name.")
    outcome: CityOutcome = strawberry.field(description="Whether an order may go there.")
    carrier_city: str | None = strawberry.field(description="The portal's own text, to be sent exactly so.")
    problem: CityProblem | None = strawberry.field(description="What is wrong or was corrected; null when nothing.")
    message: str | None = strawberry.field(description="The same for people, with what to do.")
    suggestions: list[str] = strawberry.field(description="Carrier cities that may have been meant.")

    @classmethod
    def from_domain(cls, answer: domain.carriers.CityAnswer) -> Self:
        return cls(
            reference=answer.reference,
            outcome=answer.match.outcome,
            carrier_city=answer.match.carrier_city,
            problem=answer.match.problem,
            message=answer.match.message,
            suggestions=list(answer.match.suggestions),
        )


@strawberry.type(description="One answer per question, in the order asked.")
class ValidateCitiesResults:
    results: list[CityValidation] = strawberry.field(description="The answers.")


@strawberry.type(description="A municipality of Colombia, as DANE lists them.")
class Municipality:
    dane_code: str = strawberry.field(description="Its official code: five digits, leading zeros count.")
    name: str = strawberry.field(description="Its official name.")
    department_code: str = strawberry.field(description="The first two digits of the code.")
    department_name: str = strawberry.field(description="The official name of its department.")

    @classmethod
    def from_domain(cls, municipality: domain.city_matching.Municipality) -> Self:
        return cls(
            dane_code=municipality.dane_code,
            name=municipality.municipality_name,
            department_code=municipality.department_code,
            department_name=municipality.department_name,
        )

    @classmethod
    def from_listed(cls, listed: ListedMunicipality) -> Self:
        return cls.from_domain(listed.municipality)


@strawberry.type(description="A city that a carrier serves.")
class CarrierCity:
    carrier_city: str = strawberry.field(description="The portal's own text, to be sent exactly so.")
    city_name: str = strawberry.field(description="The city in it.")
    department: str = strawberry.field(description="The department as the portal abbreviates it, such as `ANT`.")
    supports_cod: bool = strawberry.field(description="Whether cash on delivery is possible there.")
    municipality: Municipality | None = strawberry.field(
        description="The municipality that it is; null for places that are none."
    )

    @classmethod
    def from_domain(cls, city: domain.coverage.CarrierCity) -> Self:
        return cls(
            carrier_city=city.carrier_city,
            city_name=city.city_name,
            department=city.department_abbrev,
            supports_cod=city.supports_cod,
            municipality=Municipality.from_domain(city.municipality) if city.municipality is not None else None,
        )


SearchedPlace = Annotated[
    str | None,
    strawberry.argument(
        description="2 to 100 characters of the name; capitals and accents make no difference.  What begins with them "
        "comes first."
    ),
]


@strawberry.type
class CarrierQueries:
    @query("The cities that a carrier serves, by name; at most 100 a page.")
    async def carrier_coverage(
        self,
        info: Info,
        carrier: Annotated[Carrier, strawberry.argument(description="Whose cities.")],
        search: SearchedPlace = None,
        department: Annotated[
            str | None, strawberry.argument(description="Of this department: its name, or the portal's abbreviation.")
        ] = None,
        supports_cod: Annotated[
            bool | None, strawberry.argument(description="With cash on delivery, or without.")
        ] = None,
        first: First = None,
        after: After = None,
        last: Last = None,
        before: Before = None,
    ) -> Connection[CarrierCity]:
        page = PageRequest.of(
            CITIES_BY_NAME, first=first, after=after, last=last, before=before, with_total=wants_total(info)
        )
        place_filter = PlaceFilter.of(search, department, supports_cod)
        async with reading(info) as work:
            found = await list_carrier_cities(work.connection, carrier, page=page, place_filter=place_filter)
        return Connection[CarrierCity].of(found, node=CarrierCity.from_domain)

    @query("Colombia's municipalities, by name; at most 100 a page.")
    async def municipalities(
        self,
        info: Info,
        search: SearchedPlace = None,
        department: Annotated[
            str | None, strawberry.argument(description="Of this department: its name, or its two-digit code.")
        ] = None,
        first: First = None,
        after: After = None,
        last: Last = None,
        before: Before = None,
    ) -> Connection[Municipality]:
        page = PageRequest.of(
            MUNICIPALITIES_BY_NAME, first=first, after=after, last=last, before=before, with_total=wants_total(info)
        )
        place_filter = PlaceFilter.of(search, department)
        async with reading(info) as work:
            found = await list_municipalities(work.connection, page=page, place_filter=place_filter)
        return Connection[Municipality].of(found, node=Municipality.from_listed)

    @query(
        "Turn cities as people type them into the carrier's own text, or say why not.  A guess that is certain is a "
        "warning; an ambiguous one a rejection with suggestions."
    )
    async def validate_cities(
        self,
        info: Info,
        input: Annotated[ValidateCitiesInput, strawberry.argument(description="The cities.")],  # noqa: A002
    ) -> ValidateCitiesResults:
        questions = [
            domain.carriers.CityQuestion(each.reference, each.city, each.department, each.is_cod)
            for each in input.cities
        ]
        async with reading(info) as work:
            answers = await domain.carriers.validate_cities(work.connection, input.carrier, questions)
        return ValidateCitiesResults(results=[CityValidation.from_domain(answer) for answer in answers])
