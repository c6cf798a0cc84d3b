"""A file of orders is cut into pieces for the API; line numbers stay those of the file."""

import csv
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clients.console.answers import RefusedLine
from clients.console.demo import SAMPLE_ORDERS
from clients.console.order_file import OrderFileUnreadable, read_order_file, split_order_file

HEADER = "order_id,contact_name,shipping_address"


def _file(*lines: str) -> str:
    return "\n".join([HEADER, *lines]) + "\n"


def _numbered(chunk_csv: str) -> dict[int, str]:
    """Line number in the chunk -> line, without the header and blank lines, as the API numbers them."""
    lines = chunk_csv.split("\n")
    return {number: line for number, line in enumerate(lines[1:], start=2) if line.strip()}


@given(st.lists(st.sampled_from(["", "Ana,Calle 1", "Zoë,Cl 2"]), max_size=30), st.integers(1, 5))
def test_every_line_stands_in_one_chunk_under_the_number_it_has_in_the_file(rows: list[str], at_most: int) -> None:
    lines = [f"{number},{row}" if row else "" for number, row in enumerate(rows)]
    text = _file(*lines)

    file = split_order_file(text, orders_at_most=at_most)

    found = [numbered for chunk in file.chunks for numbered in _numbered(chunk.csv).items()]
    assert found == list(_numbered(text).items())
    assert all(chunk.csv.startswith(HEADER) and chunk.order_count <= at_most for chunk in file.chunks)


def test_a_chunk_stays_below_its_bytes_as_they_are_sent() -> None:
    file = split_order_file(_file(*(f"{number},Ñandú,Calle {number}" for number in range(500))), bytes_at_most=2_000)

    assert len(file.chunks) > 1
    assert sum(chunk.order_count for chunk in file.chunks[:2]) > 40
    assert all(len(json.dumps(chunk.csv).replace("\\n", "")) <= 2_000 for chunk in file.chunks)


def test_an_address_over_two_lines_is_not_cut() -> None:
    file = split_order_file(_file('1,Ana,"Calle 1', 'Apto 2"', "2,Eva,Calle 3"), orders_at_most=1)

    assert [chunk.csv for chunk in file.chunks] == [
        f'{HEADER}\n1,Ana,"Calle 1\nApto 2"',
        f"{HEADER}\n\n\n2,Eva,Calle 3",
    ]


def test_a_quote_that_never_closes_costs_its_own_line_only() -> None:
    file = split_order_file(_file('1,Ana,"Calle 1', "2,Eva,Calle 3", "3,Sol,Calle 4"), orders_at_most=1)

    assert [chunk.order_count for chunk in file.chunks] == [1, 1, 1]


def test_an_order_of_an_earlier_chunk_is_refused_by_its_line() -> None:
    file = split_order_file(_file("1,Ana,a", "2,Eva,b", "1,Ana,c", "3,Sol,d"), orders_at_most=2)

    assert file.refused == [RefusedLine(4, "Line 4: order 1 already stands in line 2.")]
    assert [_numbered(chunk.csv) for chunk in file.chunks] == [
        {2: "1,Ana,a", 3: "2,Eva,b"},
        {5: "3,Sol,d"},
    ]


def test_a_repeated_order_within_a_chunk_is_left_to_the_api() -> None:
    file = split_order_file(_file("1,Ana,a", "1,Ana,c"))

    assert file.refused == []
    assert file.chunks[0].order_count == 2


def test_a_suffix_makes_other_orders_of_the_same_lines() -> None:
    file = split_order_file(_file("1,Ana,a", '2,"Díaz, Eva","Calle ""B"""', "broken"), reference_suffix="-x")

    assert list(csv.reader(file.chunks[0].csv.splitlines()))[1:] == [
        ["1-x", "Ana", "a"],
        ["2-x", "Díaz, Eva", 'Calle "B"'],
        ["broken-x"],
    ]


def test_a_file_with_a_header_only_is_one_chunk_for_the_api_to_judge() -> None:
    assert [chunk.order_count for chunk in split_order_file(HEADER).chunks] == [0]


def test_the_sample_orders_fit_into_one_call() -> None:
    file = split_order_file(read_order_file(SAMPLE_ORDERS))

    assert [chunk.order_count for chunk in file.chunks] == [199]


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(OrderFileUnreadable, match=r"There is no file .*nowhere\.csv"):
        read_order_file(tmp_path / "nowhere.csv")


def test_a_file_that_is_no_text_is_told_so(tmp_path: Path) -> None:
    (tmp_path / "orders.csv").write_bytes(b"order_id\n\xff\xfe\n")

    with pytest.raises(OrderFileUnreadable, match="not UTF-8"):
        read_order_file(tmp_path / "orders.csv")
