"""Orders in the contract: bringing them in, changing them, finding them."""

import datetime as dt
from decimal import Decimal

from domain.base import new_id
from domain.carriers import Carrier
from domain.orders import Order, update_order
from domain.pages import PageRequest
from domain.robot_jobs import list_events
from tests.schema.caller import Caller
from tests.schema.documents import IMPORT, ORDER, ORDERS, UPDATE_ORDER
from tests.tenants import Tenant, csv_of

WHOLE_ORDER = """query ($id: ID!) { order(id: $id) {
    id reference recipientName recipientPhone recipientEmail address city department products units totalCop
    declaredValueCop tags isCod stage carrier trackingNumber carrierGuideNumber archivedAt createdAt updatedAt
    } }"""


async def order_of(tenant: Tenant, **changes: object) -> Order:
    (order,) = await tenant.orders(1)
    async with tenant.work() as connection:
        return (await update_order(connection, order.id, changes)).order if changes else order


async def test_import_tells_what_became_of_each_line(tenant: Tenant, operator: Caller) -> None:
    await operator.do(IMPORT, csv=csv_of("A-1", "A-2", city="Cali", department="Valle del Cauca"))
    header, *lines = csv_of("A-1", "A-3", "A-3").splitlines()
    unchanged = csv_of("A-2", city="Cali", department="Valle del Cauca").splitlines()[1]
    broken = 'A-4,"no end'

    answer = await operator.do(IMPORT, csv="\n".join([header, *lines, unchanged, broken]))

    assert answer["__typename"] == "ImportOrdersSuccess"
    assert (answer["createdCount"], answer["updatedCount"], answer["unchangedCount"]) == (1, 1, 1)
    assert [(each["line"], each["outcome"], each["order"]["reference"]) for each in answer["imported"]] == [
        (2, "UPDATED", "A-1"),
        (3, "CREATED", "A-3"),
        (5, "UNCHANGED", "A-2"),
    ]
    assert answer["imported"][0]["order"]["city"] == "Medellín"
    assert [(each["line"], each["problem"], each["reference"], each["column"]) for each in answer["refused"]] == [
        (4, "DUPLICATE_REFERENCE", "A-3", "order_id"),
        (6, "BROKEN_LINE", None, None),
    ]


async def test_import_of_a_wrong_value_names_line_and_column(operator: Caller) -> None:
    answer = await operator.do(IMPORT, csv=csv_of("A-1", total="much"))

    (refused,) = answer["refused"]
    assert (refused["line"], refused["problem"], refused["column"]) == (2, "INVALID_VALUE", "total_value")
    assert "Line 2" in refused["message"]


async def test_import_of_what_is_no_such_file_is_invalid(operator: Caller) -> None:
    answer = await operator.do(IMPORT, csv="reference,city\n1,Cali\n")

    assert (answer["__typename"], answer["code"]) == ("InvalidInput", "INVALID_INPUT")
    assert [problem["path"] for problem in answer["problems"]] == ["csv"]
    assert "order_id" in answer["message"]


async def test_update_changes_what_is_given_and_records_each_change(tenant: Tenant, operator: Caller) -> None:
    order = await order_of(tenant, stage="paid", tracking_number="P-1")

    answer = await operator.do(
        UPDATE_ORDER,
        orderId=str(order.id),
        city="Cali",
        totalCop="60000.5",
        stage=None,
        trackingNumber="P-1",
        isArchived=True,
        carrier="COORDINADORA",
    )

    assert answer["__typename"] == "UpdateOrderSuccess"
    assert answer["order"] == {
        "id": str(order.id),
        "reference": order.reference,
        "city": "Cali",
        "totalCop": "60000.5",
        "stage": None,
        "carrier": "COORDINADORA",
        "trackingNumber": "P-1",
        "archivedAt": answer["order"]["archivedAt"],
    }
    assert dt.datetime.fromisoformat(answer["order"]["archivedAt"]).utcoffset() == dt.timedelta(0)
    assert set(answer["changedFields"]) == {"city", "totalCop", "stage", "archivedAt", "carrier"}
    async with tenant.work() as connection:
        recorded = (await list_events(connection, [order.id], after_seq=order.last_event_seq, limit=100))[order.id]
    assert {event.payload["field"] for event in recorded} == set(answer["changedFields"])


async def test_an_archived_order_is_brought_back(tenant: Tenant, operator: Caller) -> None:
    order = await order_of(tenant, archived_at=dt.datetime.now(dt.UTC))

    answer = await operator.do(UPDATE_ORDER, orderId=str(order.id), isArchived=False)

    assert answer["order"]["archivedAt"] is None


async def test_update_of_an_order_that_is_not_there(operator: Caller) -> None:
    answer = await operator.do(UPDATE_ORDER, orderId=str(new_id()), city="Cali")

    assert (answer["__typename"], answer["code"]) == ("OrderNotFound", "ORDER_NOT_FOUND")


async def test_update_to_a_reference_of_another_order(tenant: Tenant, operator: Caller) -> None:
    order, other = await tenant.orders(2)

    answer = await operator.do(UPDATE_ORDER, orderId=str(order.id), reference=other.reference, city="Cali")

    assert (answer["__typename"], answer["code"]) == ("OrderReferenceTaken", "ORDER_REFERENCE_TAKEN")
    assert (await operator.ask(ORDER, id=str(order.id)))["order"]["reference"] == order.reference


async def test_update_with_wrong_values_names_each_field_as_the_contract_does(tenant: Tenant, operator: Caller) -> None:
    order = await order_of(tenant)

    answer = await operator.do(UPDATE_ORDER, orderId=str(order.id), recipientName=None, units=0, totalCop="-1")

    assert (answer["__typename"], answer["code"]) == ("InvalidInput", "INVALID_INPUT")
    assert {problem["path"] for problem in answer["problems"]} == {"recipientName", "units", "totalCop"}
    assert "recipientName" in answer["message"]


async def test_update_of_nothing_is_invalid(tenant: Tenant, operator: Caller) -> None:
    order = await order_of(tenant)

    answer = await operator.do(UPDATE_ORDER, orderId=str(order.id))

    assert answer["code"] == "INVALID_INPUT"


async def test_an_order_shows_all_it_has(tenant: Tenant, operator: Caller) -> None:
    order = await order_of(
        tenant, tags="P/A; frágil ;", carrier=Carrier.COORDINADORA, tracking_number="P-1", carrier_guide_number="G-1"
    )

    shown = (await operator.ask(WHOLE_ORDER, id=str(order.id)))["order"]

    assert shown == {
        "id": str(order.id),
        "reference": order.reference,
        "recipientName": "Ana Gómez",
        "recipientPhone": "3091234567",
        "recipientEmail": "ana@example.com",
        "address": "Calle 1 # 2-3",
        "city": "Medellín",
        "department": "Antioquia",
        "products": "1x Gorra",
        "units": 1,
        "totalCop": "52900",
        "declaredValueCop": "55000",
        "tags": ["P/A", "frágil"],
        "isCod": True,
        "stage": None,
        "carrier": "COORDINADORA",
        "trackingNumber": "P-1",
        "carrierGuideNumber": "G-1",
        "archivedAt": None,
        "createdAt": order.created_at.isoformat(),
        "updatedAt": order.updated_at.isoformat(),
    }


async def test_an_order_that_is_not_there_is_null(operator: Caller) -> None:
    assert await operator.ask(ORDER, id=str(new_id())) == {"order": None}


async def test_orders_are_filtered(tenant: Tenant, operator: Caller) -> None:
    plain = await order_of(tenant)
    shipped = await order_of(tenant, tracking_number="P-1")
    archived = await order_of(tenant, archived_at=dt.datetime.now(dt.UTC))

    async def found(**chosen: object) -> list[str]:
        return [node["id"] for node in (await operator.ask(ORDERS, filter=chosen))["orders"]["nodes"]]

    assert await found() == [str(each.id) for each in (archived, shipped, plain)]
    assert await found(isShipped=True) == [str(shipped.id)]
    assert await found(isShipped=False, isArchived=False) == [str(plain.id)]
    assert await found(isArchived=True) == [str(archived.id)]
    assert await found(references=[plain.reference, "none"]) == [str(plain.id)]
    assert await found(references=plain.reference) == [str(plain.id)], "one value stands for a list of one"
    assert await found(references=[]) == []


async def test_a_page_of_orders_is_twenty_unless_asked_otherwise(tenant: Tenant, operator: Caller) -> None:
    await tenant.orders(PageRequest.of().limit + 1)

    page = (await operator.ask(ORDERS))["orders"]

    assert len(page["nodes"]) == 20
    assert page["pageInfo"]["hasNextPage"]


async def test_orders_are_filtered_by_what_people_look_for(tenant: Tenant, operator: Caller) -> None:
    plain = await order_of(tenant)
    named = await order_of(tenant, recipient_name="Íñigo Núñez", stage="packed", carrier=Carrier.COORDINADORA)
    at = named.created_at.isoformat()

    async def found(**chosen: object) -> list[str]:
        return [node["id"] for node in (await operator.ask(ORDERS, filter=chosen))["orders"]["nodes"]]

    assert await found(search="INIGO nuñez") == [str(named.id)]
    assert await found(stage=["packed", "paid"]) == [str(named.id)]
    assert await found(carrier="COORDINADORA") == [str(named.id)]
    assert await found(createdAfter=at) == [str(named.id)], "that moment included"
    assert await found(createdBefore=at) == [str(plain.id)], "that moment not included"
    assert await found(search="nunez", stage="paid") == []


async def test_orders_are_sorted_as_asked(tenant: Tenant, operator: Caller) -> None:
    dear = await order_of(tenant, reference="B", total_cop=Decimal("20.5"))
    cheap = await order_of(tenant, reference="C", total_cop=Decimal(3))
    middle = await order_of(tenant, reference="A", total_cop=Decimal(20))

    async def sorted_by(field: str, *direction: str) -> list[str]:
        given = {"field": field, **({"direction": direction[0]} if direction else {})}
        return [node["id"] for node in (await operator.ask(ORDERS, orderBy=given))["orders"]["nodes"]]

    assert await sorted_by("TOTAL") == [str(each.id) for each in (cheap, middle, dear)]
    assert await sorted_by("TOTAL", "DESC") == [str(each.id) for each in (dear, middle, cheap)]
    assert await sorted_by("REFERENCE", "ASC") == [str(each.id) for each in (middle, dear, cheap)]
    assert await sorted_by("CREATED_AT") == [str(each.id) for each in (dear, cheap, middle)]
    assert await sorted_by("UPDATED_AT", "DESC") == [str(each.id) for each in (middle, cheap, dear)]


async def test_an_order_tells_what_became_of_it_newest_first(
    tenant: Tenant, operator: Caller, stranger: Caller
) -> None:
    document = """query ($id: ID!, $first: Int, $after: String) { order(id: $id) {
        robotJobItems(first: $first, after: $after) {
            nodes { id status job { id } } totalCount pageInfo { endCursor hasNextPage } } } }"""
    (order,) = await tenant.orders(1)
    failed = await tenant.job(orders=[order], failed=1)
    again = await tenant.job(orders=[order])

    shown = (await operator.ask(document, id=str(order.id), first=1))["order"]["robotJobItems"]
    rest = await operator.ask(document, id=str(order.id), after=shown["pageInfo"]["endCursor"])

    assert shown["nodes"] == [{"id": str(again.items[0].id), "status": "PENDING", "job": {"id": str(again.job.id)}}]
    assert (shown["totalCount"], shown["pageInfo"]["hasNextPage"]) == (2, True)
    assert [node["id"] for node in rest["order"]["robotJobItems"]["nodes"]] == [str(failed.items[0].id)]
    assert await stranger.ask(document, id=str(order.id)) == {"order": None}


async def test_tags_are_changed_as_the_list_they_are(tenant: Tenant, operator: Caller) -> None:
    order = await order_of(tenant, tags="P/A;frágil ;")

    same = await operator.do(UPDATE_ORDER, orderId=str(order.id), tags=["P/A", "frágil"])
    answer = await operator.do(UPDATE_ORDER, orderId=str(order.id), tags=["VIP", "P/A"], city="Cali")

    assert same["changedFields"] == []
    assert set(answer["changedFields"]) == {"tags", "city"}
    assert (await operator.ask(WHOLE_ORDER, id=str(order.id)))["order"]["tags"] == ["VIP", "P/A"]
    none = await operator.do(UPDATE_ORDER, orderId=str(order.id), tags=[])
    assert none["changedFields"] == ["tags"]
    assert (await tenant.order(order.id)).tags == ""


async def test_tags_that_could_not_be_told_apart_are_invalid(tenant: Tenant, operator: Caller) -> None:
    order = await order_of(tenant, tags="VIP")

    answer = await operator.do(UPDATE_ORDER, orderId=str(order.id), tags=["a;b", "good", " ", "c "])
    too_long = await operator.do(UPDATE_ORDER, orderId=str(order.id), tags=["x" * 400, "y" * 400])
    nothing = await operator.do(UPDATE_ORDER, orderId=str(order.id), tags=None)

    assert [problem["path"] for problem in answer["problems"]] == ["tags.0", "tags.2", "tags.3"]
    assert [problem["path"] for problem in too_long["problems"]] == ["tags"]
    assert [problem["path"] for problem in nothing["problems"]] == ["tags"]
    assert (await tenant.order(order.id)).tags == "VIP"
