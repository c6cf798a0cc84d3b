"""A file of orders cut into pieces that the API takes, each line keeping the number it has in the file."""

import csv
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from clients.console.answers import RefusedLine

# One call of importOrders: well below the API's limit of 1 MB for a body, and quick to answer.
CHUNK_BYTES_AT_MOST = 700_000
CHUNK_ORDERS_AT_MOST = 1_000
LINES_AT_MOST = 100_000
_LINES_OF_AN_ORDER_AT_MOST = 6  # a quoted address may run over a few lines; the API joins as many
_REFERENCE_COLUMN = "order_id"


class OrderFileUnreadable(Exception):
    """The file is not there, or is no text.  One line for people."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """A CSV file of its own.  Blank lines stand for what other chunks hold, so that line numbers stay right."""

    csv: str
    order_count: int


@dataclass(frozen=True, slots=True)
class OrderFile:
    """The chunks in order, and the lines left out because an earlier chunk has their order."""

    chunks: list[Chunk]
    refused: list[RefusedLine]


@dataclass(frozen=True, slots=True)
class _Record:
    """The lines of one order as they stand in the file; `cells` is None where a quote does not close."""

    line: int
    text: str
    cells: list[str] | None

    @property
    def line_count(self) -> int:
        return self.text.count("\n") + 1


def read_order_file(path: Path) -> str:
    """The file's text.  Raises OrderFileUnreadable."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise OrderFileUnreadable(f"There is no file {path}. Name a CSV file of orders.") from None
    except UnicodeDecodeError:
        raise OrderFileUnreadable(f"{path.name} is not UTF-8 text. Save it as CSV UTF-8, then try again.") from None
    except OSError as error:
        raise OrderFileUnreadable(f"{path} cannot be read: {error.strerror}.") from None
    if text.count("\n") > LINES_AT_MOST:
        raise OrderFileUnreadable(f"{path.name} has more than {LINES_AT_MOST:,} lines. Split it, then try again.")
    return text


def split_order_file(
    text: str,
    *,
    reference_suffix: str = "",
    bytes_at_most: int = CHUNK_BYTES_AT_MOST,
    orders_at_most: int = CHUNK_ORDERS_AT_MOST,
) -> OrderFile:
    """Cut the file between orders.  `reference_suffix` is put behind each order_id, which makes other orders of them.

    Each call of importOrders sees one chunk only, so an order that an earlier chunk has is refused here: it would
    overwrite the earlier one.
    """
    header, *lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    column = _reference_column(header)
    chunks: list[Chunk] = []
    refused: list[RefusedLine] = []
    first_lines: dict[str, int] = {}
    builder = _ChunkBuilder(header, before=2)

    for record in _records(lines):
        renamed = _with_suffix(record, column, reference_suffix)
        if builder.order_count and not builder.has_room(renamed, bytes_at_most, orders_at_most):
            chunks.append(builder.chunk())
            builder = _ChunkBuilder(header, before=record.line)
        reference = _reference(record, column)
        first_line = first_lines.setdefault(reference, record.line) if reference else record.line
        if first_line < builder.first_line:
            message = f"Line {record.line}: order {reference} already stands in line {first_line}."
            refused.append(RefusedLine(record.line, message))
            continue
        builder.add(renamed)
    if builder.order_count or not chunks:
        chunks.append(builder.chunk())
    return OrderFile(chunks, refused)


class _ChunkBuilder:
    def __init__(self, header: str, *, before: int) -> None:
        self.first_line = before
        self.order_count = 0
        self._lines = [header]
        self._next_line = 2
        self._bytes = _json_bytes(header)

    def has_room(self, record: _Record, bytes_at_most: int, orders_at_most: int) -> bool:
        fits = self._bytes + self._bytes_to_add(record) <= bytes_at_most
        return fits and self.order_count < orders_at_most

    def add(self, record: _Record) -> None:
        self._bytes += self._bytes_to_add(record)
        self._lines += [""] * (record.line - self._next_line)
        self._lines.append(record.text)
        self._next_line = record.line + record.line_count
        self.order_count += 1

    def chunk(self) -> Chunk:
        return Chunk("\n".join(self._lines), self.order_count)

    def _bytes_to_add(self, record: _Record) -> int:
        line_ends = 1 + record.line - self._next_line
        return _json_bytes(record.text) + 2 * line_ends


def _json_bytes(text: str) -> int:
    """What it takes in a request, where é is six characters."""
    return len(json.dumps(text)) - 2


def _records(lines: list[str]) -> Iterator[_Record]:
    at = 0
    while at < len(lines):
        taken = 1
        if lines[at].strip():
            cells = _cells(lines[at])
            while cells is None and taken < _LINES_OF_AN_ORDER_AT_MOST and at + taken < len(lines):
                taken += 1
                cells = _cells("\n".join(lines[at : at + taken]))
            if cells is None:
                taken = 1
            yield _Record(at + 2, "\n".join(lines[at : at + taken]), cells)
        at += taken


def _cells(text: str) -> list[str] | None:
    try:
        return next(csv.reader(io.StringIO(text, newline=""), strict=True), [])
    except csv.Error:
        return None


def _reference_column(header: str) -> int | None:
    names = [name.strip().lower() for name in _cells(header) or []]
    return names.index(_REFERENCE_COLUMN) if _REFERENCE_COLUMN in names else None


def _reference(record: _Record, column: int | None) -> str | None:
    if column is None or record.cells is None or len(record.cells) <= column:
        return None
    return record.cells[column].strip() or None


def _with_suffix(record: _Record, column: int | None, suffix: str) -> _Record:
    """The same order under another name; a line that cannot be read stays as it is, for the API to refuse."""
    reference = _reference(record, column)
    if not suffix or column is None or record.cells is None or reference is None:
        return record
    cells = [*record.cells[:column], reference + suffix, *record.cells[column + 1 :]]
    written = io.StringIO(newline="")
    csv.writer(written, lineterminator="").writerow(cells)
    return _Record(record.line, written.getvalue(), cells)
