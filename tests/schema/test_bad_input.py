"""Whatever is sent is answered in the contract's own words: never a fault, never half a change."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from domain.base import metadata, new_id
from domain.workspaces import Role
from tests.conftest import Database
from tests.schema import documents as d
from tests.schema.caller import Api, Caller
from tests.tenants import HEADER, Tenant, csv_of

ID = "01980000-0000-7000-8000-000000000001"
NO_IDS = [
    "",
    " ",
    "x",
    "0",
    5,
    -1,
    "null",
    "\x00",
    "\ud800",
    f"{ID}\x00",
    f"{ID}\n",
    ID.replace("-", ""),
    f"{{{ID}}}",
    f"urn:uuid:{ID}",
    f"{ID[:-1]}g",
    f"{ID[:-1]}١",
    f"{ID}' OR true --",
    "x" * 10_000_000,
]
NO_TEXTS = ["a\x00b", "\x00", "a\ud800b", "x" * 10_000_000]
NO_CURSORS = [
    "",
    "x",
    "é",
    "\x00",
    "\ud800",
    "====",
    base64.urlsafe_b64encode(b"15 bytes, not 16").decode()[:20],
    "A" * 10_000_000,
]
BEYOND_32_BITS = [2**31, -(2**31) - 1, 2**63, 10**399]

# Each field that takes an id: its operation, and the variables that carry the id.
Calls = dict[str, tuple[str, Callable[[object], dict[str, Any]]]]
ID_QUERIES: Calls = {
    "robotJob": (d.JOB, lambda value: {"id": value}),
    "robotJob with items": (d.JOB_WITH_ITEMS, lambda value: {"id": value}),
    "robotJobItem": (d.ITEM, lambda value: {"id": value}),
    "order": (d.ORDER, lambda value: {"id": value}),
    "previewDispatch": (d.PREVIEW, lambda value: {"input": {"carrier": "COORDINADORA", "orderIds": [value]}}),
}
ID_MUTATIONS: Calls = {
    "createRobotJob": (d.CREATE, lambda value: {"input": {"carrier": "COORDINADORA", "orderIds": [value]}}),
    "updateJobItemResult": (d.REPORT, lambda value: {"input": {"itemId": value, "status": "SUCCESS"}}),
    "updateJobStatus": (d.SET_STATUS, lambda value: {"input": {"jobId": value, "status": "CANCELLED"}}),
    "retryFailedItems": (d.RETRY, lambda value: {"input": {"jobId": value}}),
    "updateOrder": (d.UPDATE_ORDER, lambda value: {"input": {"orderId": value, "city": "Cali"}}),
}


async def contents(database: Database) -> dict[str, list[Any]]:
    """Every row of every table, as a superuser sees them."""
    engine = create_async_engine(database.superuser_url, poolclass=NullPool)
    async with engine.connect() as connection:
        return {
            table.name: sorted(map(str, await connection.execute(sa.select(table))))
            for table in metadata.sorted_tables
            if table.name not in ("carrier_coverage", "dane_municipalities", "department_abbreviations")
        }


@asynccontextmanager
async def nothing_changes(database: Database) -> AsyncIterator[None]:
    before = await contents(database)
    yield
    assert await contents(database) == before


def sent(value: object) -> str:
    """The value, short enough to be read in a report of a failure."""
    return repr(value)[:60]


async def code_of(caller: Caller, document: str, **variables: object) -> str:
    """The code of the only error, wherever the contract puts it; "" for an answer without one."""
    result = await caller.execute(document, **variables)
    json.dumps(result.data).encode()
    if result.errors is not None:
        (error,) = result.errors
        return str(error.extensions["code"])
    (answer,) = result.data.values()
    return str((answer or {}).get("code", ""))


async def test_what_cannot_be_an_id_is_invalid_input_everywhere(
    database: Database, tenant: Tenant, operator: Caller
) -> None:
    job_id = str((await tenant.job(items=1, failed=1)).job.id)
    async with nothing_changes(database):
        for name, (document, given) in (ID_QUERIES | ID_MUTATIONS).items():
            for value in NO_IDS:
                assert await code_of(operator, document, **given(value)) == "INVALID_INPUT", (name, sent(value))
        for value in NO_IDS:
            given_ids = {"jobId": job_id, "itemIds": [value]}
            assert await code_of(operator, d.RETRY, input=given_ids) == "INVALID_INPUT", sent(value)


async def test_what_cannot_be_an_id_is_no_node(operator: Caller) -> None:
    assert await operator.ask(d.NODES, ids=NO_IDS) == {"nodes": [None] * len(NO_IDS)}


async def test_an_id_in_capitals_is_the_same_id(tenant: Tenant, operator: Caller) -> None:
    in_hand = await tenant.job(items=1)

    shown = await operator.ask(d.JOB, id=str(in_hand.job.id).upper())

    assert shown["robotJob"]["id"] == str(in_hand.job.id)


async def test_another_tenants_id_is_answered_byte_for_byte_as_one_of_nothing(
    database: Database, tenant: Tenant, other_tenant: Tenant, operator: Caller
) -> None:
    own = await tenant.job(items=1, failed=1)
    foreign = await other_tenant.job(items=1, failed=1)
    foreign_ids = [foreign.job.id, foreign.items[0].id, foreign.items[0].order_id]

    async def answered(document: str, given: Any, asked: object) -> str:
        result = await operator.execute(document, **given(str(asked)))
        errors = [error.formatted for error in result.errors or []]
        return json.dumps([result.data, errors]).replace(str(asked), "ID")

    everything = ID_QUERIES | ID_MUTATIONS
    everything["node"] = (d.NODE, lambda value: {"id": value})
    everything["nodes"] = (d.NODES, lambda value: {"ids": [value]})
    everything["itemIds"] = (d.RETRY, lambda value: {"input": {"jobId": str(own.job.id), "itemIds": [value]}})
    async with nothing_changes(database):
        for name, (document, given) in everything.items():
            of_nothing = await answered(document, given, new_id())
            for foreign_id in foreign_ids:
                assert await answered(document, given, foreign_id) == of_nothing, name


async def test_lists_that_are_empty_or_too_long_are_invalid_input(
    database: Database, tenant: Tenant, operator: Caller
) -> None:
    job_id = str((await tenant.job(items=1, failed=1)).job.id)
    too_many = [str(new_id()) for _ in range(10_001)]
    city = {"reference": "1", "city": "Cali", "department": "Valle", "isCod": False}
    async with nothing_changes(database):
        for order_ids in ([], too_many):
            given: dict[str, Any] = {"carrier": "COORDINADORA", "orderIds": order_ids}
            assert await code_of(operator, d.CREATE, input=given) == "INVALID_INPUT"
            assert await code_of(operator, d.PREVIEW, input=given) == "INVALID_INPUT"
            given = {"jobId": job_id, "itemIds": order_ids}
            assert await code_of(operator, d.RETRY, input=given) == "INVALID_INPUT"
        for results in ([], [{"itemId": new, "status": "ERROR"} for new in too_many[:501]]):
            assert await code_of(operator, d.REPORT_MANY, input={"results": results}) == "INVALID_INPUT"
        given = {"carrier": "COORDINADORA", "cities": [city] * 10_001}
        assert await code_of(operator, d.VALIDATE, input=given) == "INVALID_INPUT"
        assert await code_of(operator, d.NODES, ids=too_many[:101]) == "INVALID_INPUT"
        lines = "\n".join([HEADER, *["x" for _ in range(10_001)]])
        assert await code_of(operator, d.IMPORT, input={"csv": lines}) == "INVALID_INPUT"


async def test_ten_thousand_unknown_orders_are_all_listed(database: Database, operator: Caller) -> None:
    unknown = [str(new_id()) for _ in range(10_000)]

    async with nothing_changes(database):
        answer = await operator.do(d.CREATE, carrier="COORDINADORA", orderIds=unknown)

    assert [each["orderId"] for each in answer["refused"]] == unknown


async def test_texts_that_cannot_be_stored_are_invalid_input_everywhere(
    database: Database, tenant: Tenant, operator: Caller
) -> None:
    in_hand = await tenant.job(items=1)
    free = await tenant.orders(1)
    item_id, job_id, order_id = str(in_hand.items[0].id), str(in_hand.job.id), str(free[0].id)
    create = {"carrier": "COORDINADORA", "orderIds": [order_id]}
    success, error = ({"itemId": item_id, "status": status} for status in ("SUCCESS", "ERROR"))
    city = {"reference": "1", "city": "Cali", "department": "Valle", "isCod": False}
    step = {"name": "log in", "startedAt": "2026-11-22T08:00:00-05:00", "durationMs": 0}
    order_fields = (
        "reference recipientName recipientPhone recipientEmail address city department products stage "
        "trackingNumber carrierGuideNumber"
    )
    async with nothing_changes(database):
        for text in NO_TEXTS:
            calls: list[tuple[str, dict[str, Any]]] = [
                (d.CREATE, {**create, "idempotencyKey": text}),
                (d.REPORT, {**success, "trackingNumber": text}),
                (d.REPORT, {**success, "carrierGuideNumber": text}),
                (d.REPORT, {**error, "errorMessage": text}),
                (d.REPORT, {**error, "robot": text}),
                *((d.REPORT, {**error, "steps": [{**step, name: text}]}) for name in ("name", "note")),
                (d.SET_STATUS, {"jobId": job_id, "status": "FAILED", "error": text}),
                *((d.UPDATE_ORDER, {"orderId": order_id, name: text}) for name in order_fields.split()),
                *(
                    (d.VALIDATE, {"carrier": "COORDINADORA", "cities": [{**city, name: text}]})
                    for name in ("reference", "city", "department")
                ),
                (d.IMPORT, {"csv": text}),
            ]
            for document, given in calls:
                assert await code_of(operator, document, input=given) == "INVALID_INPUT", (document[:80], sent(text))
            assert await code_of(operator, d.ORDERS, filter={"references": [text]}) == "INVALID_INPUT", sent(text)


@pytest.mark.parametrize("text", NO_TEXTS[:3], ids=sent)
async def test_a_line_of_a_file_with_text_that_cannot_be_stored_is_refused(operator: Caller, text: str) -> None:
    answer = await operator.do(d.IMPORT, csv=csv_of("A-1", "A-2").replace("A-1", f"A-1{text}"))

    assert [(each["line"], each["problem"], each["reference"]) for each in answer["refused"]] == [
        (2, "INVALID_VALUE", None)
    ]
    assert [each["order"]["reference"] for each in answer["imported"]] == ["A-2"]


@pytest.mark.parametrize(
    ("document", "has_items"),
    [(d.JOBS, False), (d.ORDERS, False), (d.JOB_WITH_ITEMS, True), (d.COVERAGE, False), (d.MUNICIPALITIES, False)],
    ids=["jobs", "orders", "items", "cities", "municipalities"],
)
async def test_pages_that_cannot_be_are_invalid_input(
    tenant: Tenant, operator: Caller, document: str, has_items: bool
) -> None:
    given = {"id": str((await tenant.job(items=1)).job.id)} if has_items else {}
    most = 1_000 if has_items else 100
    wrong: list[dict[str, Any]] = [
        *({name: size} for name in ("first", "last") for size in (-1, -(2**31), most + 1, 2**31 - 1)),
        *({name: cursor} for name in ("after", "before") for cursor in NO_CURSORS),
        {"first": 1, "last": 1},
    ]
    for page in wrong:
        assert await code_of(operator, document, **given, **page) == "INVALID_INPUT", sent(page)
    for size in (0, most):
        assert await code_of(operator, document, **given, first=size) == ""
        assert await code_of(operator, document, **given, last=size) == ""


async def test_a_cursor_of_another_list_or_another_order_is_invalid_input(tenant: Tenant, operator: Caller) -> None:
    in_hand = await tenant.job(items=2)
    job = {"id": str(in_hand.job.id)}
    by_total, upwards = {"field": "TOTAL", "direction": "DESC"}, {"field": "TOTAL"}
    cursors = {
        "orders": (await operator.ask(d.ORDERS))["orders"]["edges"][0]["cursor"],
        "jobs": (await operator.ask(d.JOBS))["robotJobs"]["edges"][0]["cursor"],
        "items": (await operator.ask(d.JOB_WITH_ITEMS, **job))["robotJob"]["items"]["edges"][0]["cursor"],
        "by total": (await operator.ask(d.ORDERS, orderBy=by_total))["orders"]["edges"][0]["cursor"],
    }
    lists: dict[str, tuple[str, dict[str, Any]]] = {
        "orders": (d.ORDERS, {}),
        "jobs": (d.JOBS, {}),
        "items": (d.JOB_WITH_ITEMS, job),
        "by total": (d.ORDERS, {"orderBy": by_total}),
        "upwards": (d.ORDERS, {"orderBy": upwards}),
        "cities": (d.COVERAGE, {}),
        "municipalities": (d.MUNICIPALITIES, {}),
    }

    for of, cursor in cursors.items():
        for name, (document, given) in lists.items():
            for edge in ("after", "before"):
                code = await code_of(operator, document, **given, **{edge: cursor})
                assert code == ("" if name == of else "INVALID_INPUT"), (of, name, edge)


async def test_a_cursor_of_another_tenant_is_just_a_place(
    tenant: Tenant, other_tenant: Tenant, operator: Caller, stranger: Caller
) -> None:
    await other_tenant.orders(1)
    await tenant.orders(2)
    foreign = (await stranger.ask(d.ORDERS))["orders"]["edges"][0]

    orders = await operator.ask(d.ORDERS, before=foreign["cursor"])

    assert len(orders["orders"]["nodes"]) == 2


async def test_filters_that_cannot_be_are_invalid_input_under_their_names(tenant: Tenant, operator: Caller) -> None:
    job = {"id": str((await tenant.job(items=1)).job.id)}
    searched: list[tuple[str, dict[str, Any]]] = [(d.ORDERS, {}), (d.JOBS, {}), (d.JOB_WITH_ITEMS, job)]
    for document, given in searched:
        for text in (*NO_TEXTS, "", "x", " x ", "\u0301\u0301\u0301", "x" * 101):
            error = await operator.refused(document, **given, filter={"search": text})
            assert "filter.search" in error["message"], (document, sent(text))
    for document in (d.ORDERS, d.JOBS):
        for moment in ("2026-01-31T08:00:00", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"):
            for name in ("createdAfter", "createdBefore"):
                assert await code_of(operator, document, filter={name: moment}) == "INVALID_INPUT", (name, moment)
    for document in (d.COVERAGE, d.MUNICIPALITIES):
        for text in NO_TEXTS:
            assert await code_of(operator, document, search=text) == "INVALID_INPUT", sent(text)
            assert await code_of(operator, document, department=text) == "INVALID_INPUT", sent(text)
    for text in NO_TEXTS:
        assert await code_of(operator, d.ORDERS, filter={"stage": [text]}) == "INVALID_INPUT", sent(text)


async def test_numbers_beyond_32_bits_do_not_fit_the_schema(
    database: Database, tenant: Tenant, operator: Caller
) -> None:
    in_hand = await tenant.job(items=1)
    result = {"itemId": str(in_hand.items[0].id), "status": "SUCCESS"}
    order_id = str(in_hand.items[0].order_id)
    async with nothing_changes(database):
        for number in BEYOND_32_BITS:
            calls: list[tuple[str, dict[str, Any]]] = [
                (d.REPORT, {"input": {**result, "attempt": number}}),
                (d.UPDATE_ORDER, {"input": {"orderId": order_id, "units": number}}),
                (d.JOBS, {"first": number}),
                (d.ORDERS, {"last": number}),
                (f"{{ robotJobs(first: {number}) {{ nodes {{ id }} }} }}", {}),
            ]
            for document, variables in calls:
                assert await code_of(operator, document, **variables) == "GRAPHQL_VALIDATION_FAILED", sent(number)


async def test_a_filter_may_name_the_same_more_often_than_a_statement_has_room_for(
    tenant: Tenant, operator: Caller
) -> None:
    job_id = str((await tenant.job(items=1)).job.id)

    jobs = await operator.ask(d.JOBS, filter={"status": ["PENDING"] * 40_000})
    with_items = await operator.ask(d.JOB_WITH_ITEMS, id=job_id, filter={"status": ["PENDING"] * 40_000})
    failed = await operator.ask(d.JOBS, filter={"errorType": ["PORTAL"] * 40_000})

    assert [node["id"] for node in jobs["robotJobs"]["nodes"]] == [job_id]
    assert len(with_items["robotJob"]["items"]["nodes"]) == 1
    assert failed["robotJobs"]["nodes"] == []


async def test_an_attempt_that_cannot_be_is_invalid_input(database: Database, tenant: Tenant, robot: Caller) -> None:
    result = {"itemId": str((await tenant.job(items=1)).items[0].id), "status": "SUCCESS"}
    async with nothing_changes(database):
        for attempt in (0, -1, -(2**31), 2, 2**31 - 1):
            assert await code_of(robot, d.REPORT, input={**result, "attempt": attempt}) == "INVALID_INPUT", attempt


async def test_amounts_that_cannot_be_stored_are_invalid_input(
    database: Database, tenant: Tenant, operator: Caller
) -> None:
    order_id = str((await tenant.orders(1))[0].id)
    amounts = ["-0.01", "1e12", "1e999999", "0.001", "1e-999999", "9" * 5_000]
    async with nothing_changes(database):
        for name in ("totalCop", "declaredValueCop"):
            for amount in amounts:
                given = {"orderId": order_id, name: amount}
                assert await code_of(operator, d.UPDATE_ORDER, input=given) == "INVALID_INPUT", (name, amount[:20])
        for nonsense in ("", "x", "1,5", "NaN", "sNaN", "-Infinity", True, [1]):
            wrong: dict[str, Any] = {"orderId": order_id, "totalCop": nonsense}
            assert await code_of(operator, d.UPDATE_ORDER, input=wrong) == "GRAPHQL_VALIDATION_FAILED", nonsense


async def test_documents_that_are_not_of_the_contract_say_so(api: Api) -> None:
    for document, code in [
        ("{", "GRAPHQL_PARSE_FAILED"),
        ("{ robotJob(id: \x00) { id } }", "GRAPHQL_PARSE_FAILED"),
        ('{ robotJob(id: "\ud800") { id } }', "GRAPHQL_PARSE_FAILED"),
        ("{" + "a{" * 5_000 + "}" * 5_000 + "}", "QUERY_TOO_COMPLEX"),
        ("{a(b:" + "[" * 5_000 + "]" * 5_000 + ")}", "QUERY_TOO_COMPLEX"),
        ("{ orders(first: " + "9" * 5_000 + ") { nodes { id } } }", "GRAPHQL_PARSE_FAILED"),
        ("{ orders(first: -1." + "9" * 5_000 + ") { nodes { id } } }", "GRAPHQL_PARSE_FAILED"),
        ("{ nothing }", "GRAPHQL_VALIDATION_FAILED"),
        ("{ robotJob { id } }", "GRAPHQL_VALIDATION_FAILED"),
        ('{ robotJob(id: "x") }', "GRAPHQL_VALIDATION_FAILED"),
        ("query ($id: ID!) { robotJob(id: $id) { id } }", "GRAPHQL_VALIDATION_FAILED"),
        ("{ ...F } fragment F on Query { ...F }", "GRAPHQL_VALIDATION_FAILED"),
    ]:
        result = await api.nobody().execute(document)

        assert result.data is None
        assert {error.extensions["code"] for error in result.errors} == {code}, sent(document)


async def test_calls_that_are_refused_give_their_connections_back(
    engine: AsyncEngine, tenant: Tenant, api: Api
) -> None:
    callers = [api.nobody(), api.caller("stranger"), api.member(tenant, Role.VIEWER)]
    document, given = ID_MUTATIONS["createRobotJob"]

    await asyncio.gather(*(caller.execute(document, **given(ID)) for caller in callers * 20))

    assert engine.pool.checkedout() == 0  # type: ignore[attr-defined]  # a queue pool counts
