"""The check of typed cities against what a carrier serves."""

from typing import Annotated, Self

import strawberry

import domain.carriers
from domain.carriers import Carrier
from domain.city_matching import CityOutcome, CityProblem
from schema.access import query, reading
from schema.context import Info


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


@strawberry.type
class CarrierQueries:
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
