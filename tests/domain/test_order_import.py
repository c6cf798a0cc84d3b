"""Files come as people save them: what can be used goes in, every other line is refused with its number and reason."""

from decimal import Decimal
from pathlib import Path

import pytest

from domain.errors import InvalidInput
from domain.order_import import ImportedOrders, ImportOutcome, LineProblem
from tests.tenants import HEADER, Tenant, csv_of

SAMPLE_ORDERS = Path(__file__).parents[2] / "clients" / "console" / "sample_orders.csv"
HUGE_NUMBERS = ["1e400", "1e15", "1000000000000", "9" * 30, "9" * 5_000]


def _line(**cells: str) -> str:
    """A good line, but for the cells named."""
    good = {
        "order_id": "ORD-1",
        "contact_name": "Ana Gómez",
        "contact_phone": "3091234567",
        "contact_email": "",
        "shipping_address": "Calle 1 # 2-3",
        "shipping_city": "Medellín",
        "shipping_department": "Antioquia",
        "products": "1x Gorra",
        "units": "1",
        "total_value": "52900",
        "declared_value": "55000",
        "tags": "",
        "is_cod": "true",
    }
    return ",".join((good | cells)[name] for name in HEADER.split(","))


def _file(*lines: str, header: str = HEADER, end: str = "\n") -> str:
    return end.join([header, *lines]) + end


def _refusals(imported: ImportedOrders) -> list[tuple[int, LineProblem, str | None]]:
    return [(line.line, line.problem, line.column) for line in imported.refused]


async def test_the_sample_file_goes_in_whole(tenant: Tenant) -> None:
    imported = await tenant.import_csv(SAMPLE_ORDERS.read_text(encoding="utf-8"))

    assert (imported.count(ImportOutcome.CREATED), imported.refused) == (199, [])
    assert len((await tenant.contents())["orders"]) == 199


async def test_the_same_file_again_changes_nothing(tenant: Tenant) -> None:
    text = SAMPLE_ORDERS.read_text(encoding="utf-8")
    await tenant.import_csv(text)
    before = await tenant.contents()

    again = await tenant.import_csv(text)

    assert again.count(ImportOutcome.UNCHANGED) == 199
    assert await tenant.contents() == before


async def test_a_changed_line_updates_its_order_with_one_event_per_field(tenant: Tenant) -> None:
    [order] = await tenant.orders_named("ORD-1")

    imported = await tenant.import_csv(_file(_line(shipping_city="Cali", shipping_department="Valle")))

    [line] = imported.imported
    assert (line.outcome, line.order.id, line.order.city) == (ImportOutcome.UPDATED, order.id, "Cali")
    fields = {event.payload["field"] for event in await tenant.events(order.id)}
    assert fields == {"city", "department", "recipientEmail"}


async def test_what_the_carrier_gave_is_never_touched_by_an_import(tenant: Tenant) -> None:
    [order] = await tenant.orders_named("ORD-1")
    await tenant.change_order(order.id, tracking_number="PED-1", carrier_guide_number="GUIA-1", stage="packed")

    [line] = (await tenant.import_csv(_file(_line(units="7")))).imported

    assert (line.order.units, line.order.tracking_number, line.order.carrier_guide_number, line.order.stage) == (
        7,
        "PED-1",
        "GUIA-1",
        "packed",
    )


async def test_another_tenants_order_with_the_same_reference_is_another_order(
    tenant: Tenant, other_tenant: Tenant
) -> None:
    await other_tenant.orders_named("ORD-1")
    before = await other_tenant.contents()

    imported = await tenant.import_csv(_file(_line(shipping_city="Cali")))

    assert imported.count(ImportOutcome.CREATED) == 1
    assert await other_tenant.contents() == before


async def test_every_cell_of_a_line_is_read(tenant: Tenant) -> None:
    imported = await tenant.import_csv(
        _file('ORD-9,"Gómez, Ana",+57 309,a@b.co,"Calle ""La 9""",Ñam,Huila,2x Té,2,42090.35,32000,vip;P/A,')
    )

    [order] = [line.order for line in imported.imported]
    assert (order.reference, order.recipient_name, order.recipient_phone) == ("ORD-9", "Gómez, Ana", "+57 309")
    assert (order.recipient_email, order.address, order.city) == ("a@b.co", 'Calle "La 9"', "Ñam")
    assert (order.department, order.products, order.units) == ("Huila", "2x Té", 2)
    assert (order.total_cop, order.declared_value_cop) == (Decimal("42090.35"), Decimal(32000))
    assert (order.tags, order.is_cod) == ("vip;P/A", False)


@pytest.mark.parametrize(
    ("is_cod", "tags", "total", "expected"),
    [
        ("TRUE", "P/A", "0", True),
        ("false", "", "52900", False),
        ("", "", "52900", True),
        ("", "vip; p/a ", "52900", False),
        ("", "", "0", False),
    ],
)
async def test_cash_on_delivery_is_told_or_follows_from_tags_and_total(
    tenant: Tenant, is_cod: str, tags: str, total: str, expected: bool
) -> None:
    imported = await tenant.import_csv(_file(_line(is_cod=is_cod, tags=tags, total_value=total)))

    assert [line.order.is_cod for line in imported.imported] == [expected]


async def test_a_broken_line_is_refused_by_its_number_and_the_others_go_in(tenant: Tenant) -> None:
    imported = await tenant.import_csv(
        _file(
            _line(order_id="A"), "only,three,cells", _line(order_id="B") + ",one more", "", "   ", _line(order_id="C")
        )
    )

    assert _refusals(imported) == [(3, LineProblem.BROKEN_LINE, None), (4, LineProblem.BROKEN_LINE, None)]
    assert [(line.line, line.order.reference) for line in imported.imported] == [(2, "A"), (7, "C")]


async def test_a_quote_that_is_not_closed_costs_its_own_line_only(tenant: Tenant) -> None:
    imported = await tenant.import_csv(
        _file(_line(order_id="A"), _line(order_id="B", contact_name='"Ana'), _line(order_id="C"), _line(order_id="D"))
    )

    assert _refusals(imported) == [(3, LineProblem.BROKEN_LINE, None)]
    assert [line.order.reference for line in imported.imported] == ["A", "C", "D"]


async def test_a_cell_may_run_over_several_lines(tenant: Tenant) -> None:
    imported = await tenant.import_csv(
        _file(_line(order_id="A", shipping_address='"Calle 1\nTorre 2\n\nApto 3"'), _line(order_id="B"))
    )

    assert [(line.line, line.order.reference) for line in imported.imported] == [(2, "A"), (6, "B")]
    assert imported.imported[0].order.address == "Calle 1\nTorre 2\n\nApto 3"


@pytest.mark.parametrize("end", ["\r\n", "\r", "\n"], ids=["CRLF", "CR", "LF"])
async def test_a_byte_order_mark_and_any_line_ends_are_understood(tenant: Tenant, end: str) -> None:
    imported = await tenant.import_csv("\ufeff" + _file(_line(order_id="A"), _line(order_id="B"), end=end))

    assert [(line.line, line.order.reference) for line in imported.imported] == [(2, "A"), (3, "B")]
    assert imported.refused == []


async def test_columns_may_stand_in_any_order_and_case_with_others_between(tenant: Tenant) -> None:
    names = [name.upper() for name in HEADER.split(",")][::-1]
    cells = _line().split(",")[::-1]

    imported = await tenant.import_csv(_file(",".join(["x", *cells]), header=",".join([" note ", *names])))

    assert [line.order.reference for line in imported.imported] == ["ORD-1"]


async def test_a_reference_that_stands_twice_is_refused_the_second_time(tenant: Tenant) -> None:
    imported = await tenant.import_csv(_file(_line(units="1"), _line(order_id="B"), _line(units="2")))

    assert _refusals(imported) == [(4, LineProblem.DUPLICATE_REFERENCE, "order_id")]
    assert "line 2" in imported.refused[0].message
    assert [line.order.units for line in imported.imported] == [1, 1]


@pytest.mark.parametrize(
    ("column", "cell"),
    [
        *(("units", cell) for cell in ("0", "1.5", "-1", "", "x", "10001", "1e3", "²", "١", "9" * 5_000)),
        *(("total_value", cell) for cell in ("-1", "NaN", "sNaN", "Infinity", "-Infinity", "", "x", "1.005", "$5")),
        *(("total_value", cell) for cell in HUGE_NUMBERS),
        *(("total_value", cell) for cell in ("1_000", "١٢٣", "1e-400", "52.900", "0e999999999", "0e-999999999")),
        *(("declared_value", cell) for cell in ("-1", "NaN", "1e400", "0.001")),
        ("is_cod", "maybe"),
        ("order_id", ""),
        ("order_id", "  "),
        ("order_id", "9" * 101),
        ("order_id", "a\x00b"),
        ("contact_name", "a\x00b"),
        ("contact_name", "\ud800"),
        ("shipping_address", "x" * 501),
        ("shipping_address", "x" * 100_000),
    ],
    ids=lambda value: ascii(value[:12]),
)
async def test_a_value_that_cannot_stand_refuses_its_line_and_names_the_column(
    tenant: Tenant, column: str, cell: str
) -> None:
    imported = await tenant.import_csv(_file(_line(**{column: cell}), _line(order_id="B")))

    assert _refusals(imported) == [(2, LineProblem.INVALID_VALUE, column)]
    assert len(imported.refused[0].message) < 200
    assert [line.order.reference for line in imported.imported] == ["B"]


@pytest.mark.parametrize("cell", ["0", "-0", "0.00", "42090.3", "999999999999.99", "5e3"])
async def test_an_amount_of_pesos_is_kept_to_the_cent(tenant: Tenant, cell: str) -> None:
    imported = await tenant.import_csv(_file(_line(total_value=cell)))

    assert [line.order.total_cop for line in imported.imported] == [Decimal(cell)]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "lacks the columns"),
        ("\n\n", "lacks the columns"),
        ("hello", "lacks the columns"),
        ('"order_id', "lacks the columns"),
        (HEADER.replace("units", "pieces") + "\n" + _line(), "lacks the column units"),
        (HEADER.replace("units", "order_id") + "\n" + _line(), "lacks the column units"),
        (HEADER + ",units\n" + _line() + ",1", "has the column units twice"),
        (HEADER, "holds no orders"),
        (HEADER + "\n\n  \n", "holds no orders"),
        ("\x00" + HEADER + "\n" + _line(), "lacks the column order_id"),
        ("x" * 10_000_000, "at most 8,000,000"),
    ],
    ids=["empty", "blank", "word", "quote", "renamed", "replaced", "twice", "header", "blanks", "NUL", "10 MB"],
)
async def test_what_is_no_file_of_orders_is_refused_whole(tenant: Tenant, text: str, says: str) -> None:
    with pytest.raises(InvalidInput, match=says):
        await tenant.import_csv(text)

    assert (await tenant.contents())["orders"] == []


async def test_ten_thousand_lines_are_read_and_one_more_refuses_the_file(tenant: Tenant) -> None:
    lines = ["x"] * 10_000

    imported = await tenant.import_csv(_file(*lines))
    with pytest.raises(InvalidInput, match="10,001 orders"):
        await tenant.import_csv(_file(*lines, _line()))

    assert (len(imported.refused), imported.imported) == (10_000, [])
    assert (await tenant.contents())["orders"] == []


async def test_a_file_without_the_optional_columns_is_enough(tenant: Tenant) -> None:
    needed = [name for name in HEADER.split(",") if name not in ("contact_email", "declared_value", "tags", "is_cod")]
    cells = dict(zip(HEADER.split(","), _line().split(","), strict=True))

    imported = await tenant.import_csv(_file(",".join(cells[name] for name in needed), header=",".join(needed)))

    [order] = [line.order for line in imported.imported]
    assert (order.recipient_email, order.tags, order.declared_value_cop, order.is_cod) == ("", "", Decimal(0), True)


async def test_when_every_line_is_refused_the_answer_has_the_same_shape(tenant: Tenant) -> None:
    imported = await tenant.import_csv(_file("x", _line(units="0")))

    assert imported.imported == []
    assert [line.line for line in imported.refused] == [2, 3]


async def test_csv_of_makes_good_lines(tenant: Tenant) -> None:
    imported = await tenant.import_csv(csv_of("A", "B"))

    assert (len(imported.imported), imported.refused) == (2, [])


async def test_a_file_without_an_optional_column_leaves_what_is_stored(tenant: Tenant) -> None:
    await tenant.import_csv(csv_of("A-1"))
    without_email = csv_of("A-1").replace("contact_email,", "").replace("ana@example.com,", "")

    imported = await tenant.import_csv(without_email)

    assert [line.outcome for line in imported.imported] == [ImportOutcome.UNCHANGED]
    assert imported.imported[0].order.recipient_email == "ana@example.com"


async def test_a_header_of_too_many_columns_is_refused(tenant: Tenant) -> None:
    wide = csv_of("A").replace("is_cod", "is_cod," + ",".join(f"c{number}" for number in range(200)), 1)

    with pytest.raises(InvalidInput, match="213 columns"):
        await tenant.import_csv(wide)
