"""Reference data: loaded once per edition, never without its counts."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from api.database import owner_engine
from domain import reference_data
from domain.carriers import (
    carrier_coverage,
    dane_municipalities,
    department_abbreviations,
    reference_data_loads,
)
from domain.reference_data import ReferenceDataError, load_reference_data
from migrations.run import is_current
from tests.conftest import Database

TABLES = (dane_municipalities, department_abbreviations, carrier_coverage, reference_data_loads)


@pytest.fixture
async def owner(database: Database) -> AsyncIterator[AsyncConnection]:
    """A transaction of the tables' owner; it is rolled back."""
    async with owner_engine(database.urls).connect() as connection:
        yield connection
        await connection.rollback()


def tampered(monkeypatch: pytest.MonkeyPatch, name: str, change: Callable[[str], str]) -> None:
    """That file as somebody has changed it; the others as they are."""
    read = reference_data._read

    def read_tampered(source: Any) -> bytes:
        return change(read(source).decode()).encode() if source.name == name else read(source)

    monkeypatch.setattr(reference_data, "_read", read_tampered)


def without_last_line(text: str) -> str:
    return "\n".join(text.splitlines()[:-1]) + "\n"


async def rows(connection: AsyncConnection) -> list[list[Any]]:
    return [sorted(map(tuple, await connection.execute(sa.select(table)))) for table in TABLES]


async def test_the_tables_hold_what_is_documented(owner: AsyncConnection) -> None:
    counts = [await owner.scalar(sa.select(sa.func.count()).select_from(table)) for table in TABLES]
    with_cod = await owner.scalar(sa.select(sa.func.count()).where(carrier_coverage.c.supports_cod))

    assert counts == [1_122, 33, 2 * 1_489, 3]
    assert with_cod == 2 * 1_181


async def test_loading_an_edition_again_does_nothing(owner: AsyncConnection) -> None:
    before = await rows(owner)

    assert await load_reference_data(owner) == []

    assert await rows(owner) == before


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("dane_municipalities", without_last_line, "1,121 municipalities; 1,122"),
        ("department_abbreviations", without_last_line, "32 abbreviations; 33"),
        ("coordinadora_coverage", without_last_line, "1,488 cities; 1,489"),
        ("coordinadora_coverage", lambda text: text.replace("true", "false", 1), "1,180 cities with COD; 1,181"),
    ],
)
async def test_a_file_with_other_counts_is_refused_before_anything_is_written(
    owner: AsyncConnection, monkeypatch: pytest.MonkeyPatch, name: str, change: Callable[[str], str], said: str
) -> None:
    before = await rows(owner)
    tampered(monkeypatch, name, change)

    with pytest.raises(ReferenceDataError, match=said):
        await load_reference_data(owner)

    assert await rows(owner) == before


async def test_a_new_edition_replaces_the_old_one(owner: AsyncConnection, monkeypatch: pytest.MonkeyPatch) -> None:
    tampered(monkeypatch, "department_abbreviations", lambda text: text.replace("ANT", "ANQ", 1))
    assert not await is_current(owner)

    assert await load_reference_data(owner) == ["department_abbreviations"]

    abbreviations = await owner.scalars(sa.select(department_abbreviations.c.abbreviation))
    assert "ANQ" in abbreviations.all()
    assert await is_current(owner)
