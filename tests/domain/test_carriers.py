"""Cities through the database: the reference data is whole, and every sample order is answered as labelled."""

import csv
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from api.database import owner_engine
from domain.carriers import (
    Carrier,
    CityQuestion,
    carrier_coverage,
    dane_municipalities,
    department_abbreviations,
    load_city_index,
    reference_data_loads,
    validate_cities,
)
from domain.errors import InvalidInput
from domain.reference_data import load_reference_data
from tests.conftest import Database
from tests.tenants import Tenant

_SAMPLE_ORDERS = Path(__file__).parents[2] / "clients" / "console" / "sample_orders.csv"


async def test_every_sample_order_is_answered_as_labelled(tenant: Tenant) -> None:
    with _SAMPLE_ORDERS.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    questions = [
        CityQuestion(row["order_id"], row["shipping_city"], row["shipping_department"], row["is_cod"] == "true")
        for row in rows
    ]

    async with tenant.work() as connection:
        answers = await validate_cities(connection, Carrier.COORDINADORA, questions)

    assert len(answers) == 199
    assert [
        (answer.reference, answer.match.outcome, answer.match.carrier_city or "", answer.match.problem or "")
        for answer in answers
    ] == [
        (row["order_id"], row["expected_outcome"], row["expected_carrier_city"], row["expected_problem"])
        for row in rows
    ]


async def test_answers_stand_in_the_order_of_the_questions_and_repeat_their_references(tenant: Tenant) -> None:
    questions = [CityQuestion("same", "Cali", "Valle", True), CityQuestion("same", "Cali", "", True)]

    async with tenant.work() as connection:
        answers = await validate_cities(connection, Carrier.COORDINADORA, questions)

    assert [(answer.reference, answer.match.carrier_city) for answer in answers] == [
        ("same", "CALI (VALLE)"),
        ("same", None),
    ]


@pytest.mark.parametrize("count", [0, 10_001])
async def test_no_cities_or_too_many_are_refused(tenant: Tenant, count: int) -> None:
    with pytest.raises(InvalidInput, match="1 to 10,000"):
        async with tenant.work() as connection:
            await validate_cities(connection, Carrier.COORDINADORA, [CityQuestion("a", "Cali", "Valle", True)] * count)


async def test_every_text_that_cannot_be_read_is_named_by_its_place(tenant: Tenant) -> None:
    questions = [
        CityQuestion("a", "Cali", "Valle", True),
        CityQuestion("b\x00", "x" * 10_000_000, "\ud800", True),
    ]

    with pytest.raises(InvalidInput) as refusal:
        async with tenant.work() as connection:
            await validate_cities(connection, Carrier.COORDINADORA, questions)

    assert [problem.path for problem in refusal.value.problems] == [
        "cities.1.reference",
        "cities.1.city",
        "cities.1.department",
    ]


async def _count(connection: AsyncConnection, table: sa.Table, *conditions: sa.ColumnElement[bool]) -> int | None:
    return await connection.scalar(sa.select(sa.func.count()).select_from(table).where(*conditions))


async def test_the_reference_data_is_whole(tenant: Tenant) -> None:
    async with tenant.work() as connection:
        assert await _count(connection, dane_municipalities) == 1_122
        assert await _count(connection, carrier_coverage) == 2 * 1_489
        assert await _count(connection, carrier_coverage, carrier_coverage.c.supports_cod) == 2 * 1_181
        assert await _count(connection, department_abbreviations) == 33


async def test_the_coverage_has_no_blanks_at_its_ends(tenant: Tenant) -> None:
    names = (carrier_coverage.c.carrier_city, carrier_coverage.c.city_name, carrier_coverage.c.department_abbrev)

    async with tenant.work() as connection:
        untrimmed = sa.or_(*(name != sa.func.trim(name) for name in names))
        assert await _count(connection, carrier_coverage, untrimmed) == 0


async def test_loading_the_same_edition_again_does_nothing(database: Database) -> None:
    async with owner_engine(database.urls).begin() as owner:
        assert await load_reference_data(owner) == []


async def test_loading_another_edition_puts_wrong_rows_right(database: Database) -> None:
    city = carrier_coverage.c.carrier_city == "CALI (VALLE)"
    async with owner_engine(database.urls).connect() as owner:  # rolled back: the others go on with the same data
        await owner.execute(sa.update(reference_data_loads).values(sha256="of an older edition"))
        await owner.execute(sa.update(carrier_coverage).where(city).values(supports_cod=False, city_name="KALI"))
        await owner.execute(sa.delete(carrier_coverage).where(carrier_coverage.c.carrier_city == "NATAGA (HLA)"))

        loaded = await load_reference_data(owner)

        assert sorted(loaded) == ["coordinadora_coverage", "dane_municipalities", "department_abbreviations"]
        assert await _count(owner, carrier_coverage) == 2 * 1_489
        restored = (await owner.execute(sa.select(carrier_coverage).where(city))).all()
        assert [(each.supports_cod, each.city_name) for each in restored] == [(True, "CALI")] * 2
        await owner.rollback()


async def test_the_cities_are_kept_in_memory_for_one_edition_only(tenant: Tenant, database: Database) -> None:
    async with owner_engine(database.urls).connect() as owner:
        known = await load_city_index(owner, Carrier.COORDINADORA)
        again = await load_city_index(owner, Carrier.COORDINADORA)
        await owner.execute(sa.update(reference_data_loads).values(sha256="of another edition"))
        other = await load_city_index(owner, Carrier.COORDINADORA)
        await owner.rollback()

    assert again is known
    assert other is not known
