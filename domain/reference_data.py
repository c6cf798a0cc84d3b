"""Loads the reference files beside this module; loading an edition again is a no-op."""

import csv
import hashlib
import io
from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.base import array_of
from domain.carriers import (
    Carrier,
    carrier_coverage,
    dane_municipalities,
    department_abbreviations,
    reference_data_loads,
)


class ReferenceDataError(Exception):
    """A file does not hold what docs/data.md says it holds."""


@dataclass(frozen=True, slots=True)
class _Source:
    """A file, the table it fills, and the row counts that it must have."""

    name: str
    table: sa.Table
    counts: dict[str, tuple[int, Callable[[dict[str, Any]], bool]]]


_SOURCES = (
    _Source("dane_municipalities", dane_municipalities, {"municipalities": (1_122, lambda _: True)}),
    _Source("department_abbreviations", department_abbreviations, {"abbreviations": (33, lambda _: True)}),
    _Source(
        "coordinadora_coverage",
        carrier_coverage,
        {
            "cities": (1_489, lambda _: True),
            "cities with COD": (1_181, lambda row: bool(row["supports_cod"])),
        },
    ),
)


def edition() -> dict[str, str]:
    """The SHA-256 of each file as this version of the program brings it."""
    return {source.name: hashlib.sha256(_read(source)).hexdigest() for source in _SOURCES}


async def load_reference_data(connection: AsyncConnection) -> list[str]:
    """Bring the reference tables to this program's edition; the names of the files that were loaded.

    Rows that are gone from a file stay if something refers to them.  Raises ReferenceDataError before writing when
    the counts are not as documented.
    """
    known = {row.name: row.sha256 for row in await connection.execute(sa.select(reference_data_loads))}
    loaded = []
    for source in _SOURCES:
        sha256 = hashlib.sha256(_read(source)).hexdigest()
        if known.get(source.name) == sha256:
            continue
        rows = _rows(source)
        for what, (expected, counts) in source.counts.items():
            actual = sum(counts(row) for row in rows)
            if actual != expected:
                raise ReferenceDataError(f"{source.name}.csv holds {actual:,} {what}; {expected:,} are expected")
        if source.table is carrier_coverage:  # the make-believe carrier serves the same cities
            rows = [{"carrier": carrier.value, **row} for carrier in Carrier for row in rows]
        await _upsert(connection, source.table, rows)
        await _upsert(
            connection,
            reference_data_loads,
            [{"name": source.name, "sha256": sha256, "row_count": len(rows)}],
        )
        loaded.append(source.name)
    return loaded


def _read(source: _Source) -> bytes:
    return (files("domain") / "data" / f"{source.name}.csv").read_bytes()


def _rows(source: _Source) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = list(csv.DictReader(io.StringIO(_read(source).decode(), newline="")))
    if source.table is carrier_coverage:
        for row in rows:
            row["supports_cod"] = row["supports_cod"] == "true"
            row["dane_code"] = row["dane_code"] or None
    return rows


async def _upsert(connection: AsyncConnection, table: sa.Table, rows: list[dict[str, Any]]) -> None:
    names = list(rows[0])
    given = (
        sa.func.unnest(*(array_of([row[name] for row in rows], table.c[name].type) for name in names))
        .table_valued(*names)
        .render_derived()
    )
    statement = pg.insert(table).from_select(names, sa.select(*given.c))
    keys = [column.name for column in table.primary_key]
    changed: dict[str, Any] = {name: statement.excluded[name] for name in names if name not in keys}
    if table is reference_data_loads:
        changed["loaded_at"] = sa.func.clock_timestamp()
    await connection.execute(statement.on_conflict_do_update(index_elements=keys, set_=changed))
