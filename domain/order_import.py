"""Orders come in: a CSV file or a list, checked line by line; what cannot be used is refused with its reason."""

import asyncio
import csv
import io
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.base import array_of, new_id
from domain.errors import invalid
from domain.orders import ORDER_COLUMNS, ORDERS_AT_MOST, Order, order_field_problem, orders, write_order_changes

CSV_CHARACTERS_AT_MOST = 8_000_000
COLUMNS_AT_MOST = 200
_READ_AT_ONCE = 50_000  # characters
_LINES_OF_A_CELL_AT_MOST = 6

# CSV column -> field of the order.  The file's other columns are ignored.
CSV_COLUMNS = {
    "order_id": "reference",
    "contact_name": "recipient_name",
    "contact_phone": "recipient_phone",
    "contact_email": "recipient_email",
    "contact_document": "recipient_document",
    "shipping_address": "address",
    "shipping_city": "city",
    "shipping_department": "department",
    "products": "products",
    "units": "units",
    "total_value": "total_cop",
    "declared_value": "declared_value_cop",
    "tags": "tags",
    "is_cod": "is_cod",
}
_OPTIONAL_CSV_COLUMNS = {"contact_email", "contact_document", "declared_value", "tags", "is_cod"}


class LineProblem(StrEnum):
    """Why a line was refused."""

    BROKEN_LINE = "broken_line"
    INVALID_VALUE = "invalid_value"
    DUPLICATE_REFERENCE = "duplicate_reference"


class ImportOutcome(StrEnum):
    CREATED = "created"
    UPDATED = "updated"
    UNCHANGED = "unchanged"


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderDraft:
    """One order to import.  `line` is the line of the file, or the place in the list counted from 1."""

    line: int
    reference: str
    recipient_name: str
    recipient_phone: str
    recipient_email: str = ""
    recipient_document: str = ""
    address: str
    city: str
    department: str
    products: str
    units: int
    total_cop: Decimal
    declared_value_cop: Decimal = Decimal(0)
    tags: str = ""
    is_cod: bool
    absent: frozenset[str] = frozenset()
    """Fields for which the file has no column: a new order gets the default, one that is there keeps its own."""

    def values(self) -> dict[str, Any]:
        return {each.name: getattr(self, each.name) for each in fields(self) if each.name not in ("line", "absent")}

    def changes(self) -> dict[str, Any]:
        return {name: value for name, value in self.values().items() if name not in self.absent}


@dataclass(frozen=True, slots=True)
class RefusedLine:
    line: int
    reference: str | None
    problem: LineProblem
    column: str | None
    message: str


@dataclass(frozen=True, slots=True)
class ImportedLine:
    line: int
    outcome: ImportOutcome
    order: Order


@dataclass(frozen=True, slots=True)
class ImportedOrders:
    """What became of each line, both lists in the order of the file."""

    imported: list[ImportedLine]
    refused: list[RefusedLine] = field(default_factory=list)

    def count(self, outcome: ImportOutcome) -> int:
        return sum(line.outcome is outcome for line in self.imported)


async def import_orders(connection: AsyncConnection, *, workspace_id: uuid.UUID, csv_text: str) -> ImportedOrders:
    """Create the orders of a CSV file, or bring those with the same reference up to date; at most 10,000 lines.

    A line that cannot be used is refused with its number and reason; the others go in, all in the caller's
    transaction.  Importing the same file again changes nothing.  Fields that the carrier gave (tracking number and
    such) are never touched.  A constant number of statements.  Raises InvalidInput when the file as a whole is no
    such CSV.
    """
    # A long file is read in a thread, so that what else the process does goes on meanwhile.
    read = _read_file(csv_text) if len(csv_text) <= _READ_AT_ONCE else await asyncio.to_thread(_read_file, csv_text)
    drafts, refused = read
    if not drafts:
        return ImportedOrders([], refused)

    # First all new orders by reference, then the locks on the others by id: imports in the other order, or in turns,
    # would wait for each other in a circle.
    created: dict[str, Order] = {}
    found: dict[str, Order] = {}
    while left := [draft for draft in drafts if draft.reference not in created and draft.reference not in found]:
        created |= await _insert_new(connection, workspace_id, left)
        others = [draft.reference for draft in left if draft.reference not in created]
        found |= await _lock_by_reference(connection, others) if others else {}
        # What is in neither was there at the first statement and renamed before the second: it is new after all.
    known = [(draft, found[draft.reference]) for draft in drafts if draft.reference in found]
    updated = await write_order_changes(connection, [(order, draft.changes()) for draft, order in known])

    outcomes = {
        done.order.reference: (
            ImportOutcome.UPDATED if done.changed_fields else ImportOutcome.UNCHANGED,
            done.order,
        )
        for done in updated
    } | {reference: (ImportOutcome.CREATED, order) for reference, order in created.items()}
    return ImportedOrders([ImportedLine(draft.line, *outcomes[draft.reference]) for draft in drafts], refused)


def _read_file(text: str) -> tuple[list[OrderDraft], list[RefusedLine]]:
    return _without_duplicates(*_split(_read_csv(text)))


def _read_csv(text: str) -> Iterator[OrderDraft | RefusedLine]:
    if len(text) > CSV_CHARACTERS_AT_MOST:
        raise invalid("csv", f"is {len(text):,} characters long; at most {CSV_CHARACTERS_AT_MOST:,} are allowed.")
    # Lines are cut here, not by the CSV reader: one unclosed quote then costs one line, not the rest of the file.
    lines = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n").split("\n")
    header = _read_line(lines[0]) or []
    names = [name.strip().lower() for name in header]
    missing = [name for name in CSV_COLUMNS if name not in names and name not in _OPTIONAL_CSV_COLUMNS]
    if missing:
        raise invalid("csv", f"lacks the column{'s' if len(missing) > 1 else ''} {', '.join(missing)} in its header.")
    if len(names) > COLUMNS_AT_MOST:
        raise invalid("csv", f"has {len(names):,} columns; at most {COLUMNS_AT_MOST} are allowed.")
    repeated = sorted({name for name in CSV_COLUMNS if names.count(name) > 1})
    if repeated:
        raise invalid("csv", f"has the column {repeated[0]} twice in its header.")
    numbered = _join_cells_over_lines(lines[1:], len(names))
    if not numbered:
        raise invalid("csv", "holds no orders, only a header.")
    if len(numbered) > ORDERS_AT_MOST:
        raise invalid("csv", f"holds {len(numbered):,} orders; at most {ORDERS_AT_MOST:,} are allowed at once.")
    for number, cells in numbered:
        if cells is None or len(cells) != len(names):
            reason = "has a quote that is not closed" if cells is None else f"has {len(cells)} cells"
            yield RefusedLine(
                number,
                None,
                LineProblem.BROKEN_LINE,
                None,
                f"Line {number} {reason}; the header has {len(names)}.",
            )
        else:
            yield _read_draft(number, dict(zip(names, cells, strict=True)))


def _join_cells_over_lines(lines: list[str], width: int) -> list[tuple[int, list[str] | None]]:
    """The cells of each record with the number of its first line; None where a quote never closes.

    A quoted cell may run over a few lines, as an address does; only then are lines joined, and only if that gives
    exactly as many cells as the header has.
    """
    records: list[tuple[int, list[str] | None]] = []
    at = 0
    while at < len(lines):
        taken = 1
        if lines[at].strip():
            cells = _read_line(lines[at])
            while cells is None and taken < _LINES_OF_A_CELL_AT_MOST and at + taken < len(lines):
                taken += 1
                joined = _read_line("\n".join(lines[at : at + taken]))
                cells = joined if joined is not None and len(joined) == width else None
            if cells is None:
                taken = 1
            records.append((at + 2, cells))
        at += taken
    return records


def _read_line(line: str) -> list[str] | None:
    """The cells of one record, or None when its quotes do not close."""
    try:
        return next(csv.reader(io.StringIO(line, newline=""), strict=True), [])
    except csv.Error:
        return None


def _read_draft(number: int, cells: dict[str, str]) -> OrderDraft | RefusedLine:
    absent = frozenset(name for column, name in CSV_COLUMNS.items() if column not in cells)
    values: dict[str, Any] = {"line": number, "absent": absent}
    for column, name in CSV_COLUMNS.items():
        cell = cells.get(column, "")
        text = cell.strip() if name in ("reference", "units", "total_cop", "declared_value_cop", "is_cod") else cell
        try:
            value = _read_value(name, text)
        except ValueError as error:
            return _refuse_value(number, cells, column, str(error))
        if value is not None:
            values[name] = value
            if problem := order_field_problem(name, value):
                return _refuse_value(number, cells, column, problem)
    if "is_cod" not in values:
        paid_in_advance = "P/A" in {tag.strip().upper() for tag in values.get("tags", "").split(";")}
        values["is_cod"] = values["total_cop"] > 0 and not paid_in_advance
    return OrderDraft(**values)


def _read_value(name: str, text: str) -> Any:
    """The cell as a value; None when an optional cell is empty.  Raises ValueError with what is wrong."""
    match name:
        case "units":
            if not (text.isascii() and text.isdigit() and len(text) <= 9):
                raise ValueError("must be a whole number of pieces, 1 or more.")
            return int(text)
        case "total_cop" | "declared_value_cop":
            if not text and name == "declared_value_cop":
                return None
            # 52.900 is fifty-two thousand to a Colombian and 52.9 to Decimal: refused as written, not guessed.
            decimals = text.partition(".")[2]
            is_doubtful = not text.isascii() or "_" in text or (decimals.isdigit() and len(decimals) > 2)
            if is_doubtful or len(text) > 30:
                raise ValueError("must be an amount of pesos such as 52900 or 42090.3.")
            try:
                return Decimal(text)
            except InvalidOperation:
                raise ValueError("must be an amount of pesos such as 52900 or 42090.3.") from None
        case "is_cod":
            known = {"true": True, "false": False, "": None}
            if text.lower() not in known:
                raise ValueError("must be true or false, or empty to tell it from the tags.")
            return known[text.lower()]
        case _:
            return text


def _refuse_value(number: int, cells: dict[str, str], column: str, reason: str) -> RefusedLine:
    reference = cells["order_id"].strip()
    shown = reference if reference and order_field_problem("reference", reference) is None else None
    return RefusedLine(number, shown, LineProblem.INVALID_VALUE, column, f"Line {number}, column {column}: {reason}")


def _split(lines: Iterator[OrderDraft | RefusedLine]) -> tuple[list[OrderDraft], list[RefusedLine]]:
    drafts: list[OrderDraft] = []
    refused: list[RefusedLine] = []
    for line in lines:
        if isinstance(line, OrderDraft):
            drafts.append(line)
        else:
            refused.append(line)
    return drafts, refused


def _without_duplicates(
    drafts: list[OrderDraft], refused: list[RefusedLine]
) -> tuple[list[OrderDraft], list[RefusedLine]]:
    """The first line of each reference stays; each further one is refused, naming the first."""
    first: dict[str, OrderDraft] = {}
    for draft in drafts:
        earlier = first.setdefault(draft.reference, draft)
        if earlier is not draft:
            refused.append(
                RefusedLine(
                    draft.line,
                    draft.reference,
                    LineProblem.DUPLICATE_REFERENCE,
                    "order_id",
                    f"Line {draft.line}: order {draft.reference} already stands in line {earlier.line}.",
                )
            )
    return list(first.values()), sorted(refused, key=lambda line: line.line)


async def _insert_new(
    connection: AsyncConnection, workspace_id: uuid.UUID, drafts: Sequence[OrderDraft]
) -> dict[str, Order]:
    """The orders that were created, by reference; those that exist already are left alone and missing."""
    names = list(drafts[0].values())
    rows = (
        sa.func.unnest(
            array_of([new_id() for _ in drafts], sa.Uuid()),
            *(array_of([getattr(draft, name) for draft in drafts], orders.c[name].type) for name in names),
        )
        .table_valued("id", *names)
        .render_derived()
    )
    # Two imports of one reference at once: the second waits here, inserts nothing, and then reads what the first wrote.
    statement = (
        pg.insert(orders)
        .from_select(
            ["workspace_id", "id", *names],
            sa.select(sa.literal(workspace_id, sa.Uuid()), *rows.c).order_by(rows.c.reference),
        )
        .on_conflict_do_nothing(index_elements=["workspace_id", "reference"])
        .returning(*ORDER_COLUMNS)
    )
    return {row.reference: Order.from_row(row) for row in await connection.execute(statement)}


async def _lock_by_reference(connection: AsyncConnection, references: Sequence[str]) -> dict[str, Order]:
    rows = await connection.execute(
        sa.select(*ORDER_COLUMNS)
        .where(orders.c.reference == sa.func.any(array_of(list(references), sa.Text())))
        .order_by(orders.c.id)
        .with_for_update(key_share=True)
    )
    return {row.reference: Order.from_row(row) for row in rows}
