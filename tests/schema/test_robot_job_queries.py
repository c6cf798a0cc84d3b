"""Reading jobs and items: each field with its real answer."""

import asyncio

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from domain.base import new_id
from domain.robot_jobs import ErrorType, retry_failed_items
from domain.workspaces import Role
from tests.schema.caller import Caller
from tests.schema.documents import ACTIVE_JOB, ITEM, JOB, JOB_WITH_ITEMS, JOBS, NODE, NODES, ORDERS
from tests.tenants import Tenant

WHOLE_JOB = """query ($id: ID!) { robotJob(id: $id) {
    id carrier jobType status totalItems successCount errorCount cancelledCount idempotencyKey error createdBy
    startedAt completedAt createdAt updatedAt
    progress { pending processing done percent itemsPerMinute estimatedCompletionAt }
    failures { action errorType count messages }
    } }"""
WHOLE_ITEM = """query ($id: ID!) { robotJobItem(id: $id) {
    id status attempt retryCount trackingNumber carrierGuideNumber validatedCity valueSent errorType errorMessage
    outcomeUnknown reviewReason lastRetryAt startedAt completedAt createdAt updatedAt
    job { id } order { id }
    attempts { attempt status trackingNumber errorType errorMessage lateResults startedAt completedAt }
    } }"""


async def test_a_job_shows_all_it_has(tenant: Tenant, operator: Caller) -> None:
    in_hand = await tenant.job(items=4, succeeded=1, failed=2, idempotency_key="monday")
    job = in_hand.job
    assert job.started_at is not None

    shown = (await operator.ask(WHOLE_JOB, id=str(job.id)))["robotJob"]

    progress = shown.pop("progress")
    assert shown == {
        "id": str(job.id),
        "carrier": "COORDINADORA",
        "jobType": "CREATE_SHIPMENT",
        "status": "PROCESSING",
        "totalItems": 4,
        "successCount": 1,
        "errorCount": 2,
        "cancelledCount": 0,
        "idempotencyKey": "monday",
        "error": None,
        "createdBy": tenant.user(Role.OPERATOR),
        "startedAt": job.started_at.isoformat(),
        "completedAt": None,
        "createdAt": job.created_at.isoformat(),
        "updatedAt": job.updated_at.isoformat(),
        "failures": [{"action": "RETRY", "errorType": "PORTAL", "count": 2, "messages": ["The portal said no."]}],
    }
    assert (progress["pending"], progress["processing"], progress["done"], progress["percent"]) == (1, 0, 3, 75.0)
    assert progress["itemsPerMinute"] > 0
    assert progress["estimatedCompletionAt"] > shown["startedAt"]


async def test_failures_are_grouped_by_what_must_be_done(tenant: Tenant, operator: Caller) -> None:
    in_hand = await tenant.job(items=5)
    for item, (error_type, message) in zip(
        in_hand.items,
        [
            (ErrorType.VALIDATION, "No such city."),
            (ErrorType.PORTAL, "Down."),
            (ErrorType.PORTAL, "Down."),
            (ErrorType.PORTAL, "Refused."),
            (ErrorType.UNKNOWN, "?"),
        ],
        strict=True,
    ):
        await tenant.fail(item, error_type=error_type, message=message)

    shown = (await operator.ask(WHOLE_JOB, id=str(in_hand.job.id)))["robotJob"]

    assert shown["failures"] == [
        {"action": "RETRY", "errorType": "PORTAL", "count": 3, "messages": ["Down.", "Refused."]},
        {"action": "INVESTIGATE", "errorType": "UNKNOWN", "count": 1, "messages": ["?"]},
        {"action": "FIX_ORDER", "errorType": "VALIDATION", "count": 1, "messages": ["No such city."]},
    ]
    assert shown["progress"]["estimatedCompletionAt"] is None, "the job is finished"


async def test_an_item_shows_all_it_has(tenant: Tenant, operator: Caller) -> None:
    in_hand = await tenant.job(items=1, failed=1)
    async with tenant.work() as connection:
        await retry_failed_items(connection, in_hand.job.id)
    await tenant.succeed(in_hand.items[0], attempt=1, tracking_number="P-1")
    await tenant.succeed(in_hand.items[0], tracking_number="P-2")
    item = (await tenant.read(in_hand.job.id)).items[0]
    assert item.last_retry_at is not None
    assert item.started_at is not None
    assert item.completed_at is not None

    shown = (await operator.ask(WHOLE_ITEM, id=str(item.id)))["robotJobItem"]

    first, second = shown.pop("attempts")
    assert shown == {
        "id": str(item.id),
        "status": "SUCCESS",
        "attempt": 2,
        "retryCount": 1,
        "trackingNumber": "P-2",
        "carrierGuideNumber": None,
        "validatedCity": "MEDELLIN (ANT)",
        "valueSent": item.value_sent,
        "errorType": None,
        "errorMessage": None,
        "outcomeUnknown": False,
        "reviewReason": item.review_reason,
        "lastRetryAt": item.last_retry_at.isoformat(),
        "startedAt": item.started_at.isoformat(),
        "completedAt": item.completed_at.isoformat(),
        "createdAt": item.created_at.isoformat(),
        "updatedAt": item.updated_at.isoformat(),
        "job": {"id": str(item.job_id)},
        "order": {"id": str(item.order_id)},
    }
    assert (first["attempt"], first["status"], first["errorType"], first["errorMessage"]) == (
        1,
        "ERROR",
        "PORTAL",
        "The portal said no.",
    )
    assert [late["trackingNumber"] for late in first["lateResults"]] == ["P-1"]
    assert (second["attempt"], second["trackingNumber"], second["lateResults"]) == (2, "P-2", [])


@pytest.mark.parametrize(
    ("document", "field"), [(JOB, "robotJob"), (JOB_WITH_ITEMS, "robotJob"), (ITEM, "robotJobItem")]
)
async def test_what_is_not_there_is_null(operator: Caller, document: str, field: str) -> None:
    assert await operator.ask(document, id=str(new_id())) == {field: None}


async def test_events_are_the_jobs_history_in_order(tenant: Tenant, operator: Caller) -> None:
    in_hand = await tenant.job(items=1, failed=1)
    document = """query ($id: ID!, $first: Int, $afterSeq: Int! = 0) { robotJob(id: $id) {
        events(first: $first, afterSeq: $afterSeq) { id seq type payload occurredAt } } }"""

    async def events(**chosen: object) -> list[tuple[int, str]]:
        shown = (await operator.ask(document, id=str(in_hand.job.id), **chosen))["robotJob"]["events"]
        assert all(event["payload"]["jobId"] == str(in_hand.job.id) for event in shown)
        return [(event["seq"], event["type"]) for event in shown]

    told = [(1, "JOB_SUBMITTED"), (2, "JOB_STARTED"), (3, "ITEM_COMPLETED"), (4, "JOB_COMPLETED")]
    assert await events() == told
    assert await events(first=2) == told[:2]
    assert await events(afterSeq=3) == told[3:]
    assert await events(afterSeq=-1) == told


async def test_jobs_are_filtered_newest_first(tenant: Tenant, operator: Caller) -> None:
    finished = await tenant.job(items=1, succeeded=1)
    started = await tenant.job(items=2, failed=1)
    pending = await tenant.job(items=1)

    async def found(**chosen: object) -> list[str]:
        return [node["id"] for node in (await operator.ask(JOBS, filter=chosen))["robotJobs"]["nodes"]]

    assert await found() == [str(each.job.id) for each in (pending, started, finished)]
    assert await found(status=["PENDING", "COMPLETED"]) == [str(pending.job.id), str(finished.job.id)]
    assert await found(status="PROCESSING") == [str(started.job.id)], "one value stands for a list of one"
    assert await found(carrier="COORDINADORA", jobType="CREATE_SHIPMENT", status=["FAILED"]) == []
    assert await found(status=[]) == []


async def test_jobs_are_filtered_by_what_people_look_for(tenant: Tenant, operator: Caller) -> None:
    broken, waiting = await tenant.job(items=1, failed=1), await tenant.job(items=1)
    await tenant.change_order(waiting.items[0].order_id, recipient_name="Íñigo Núñez")

    async def found(**chosen: object) -> list[str]:
        return [node["id"] for node in (await operator.ask(JOBS, filter=chosen))["robotJobs"]["nodes"]]

    assert await found(errorType="PORTAL") == [str(broken.job.id)]
    assert await found(search="inigo") == [str(waiting.job.id)]
    assert await found(search="inigo", errorType="PORTAL") == []
    assert await found(createdBefore=waiting.job.created_at.isoformat()) == [str(broken.job.id)]
    assert await found(createdAfter=waiting.job.created_at.isoformat()) == [str(waiting.job.id)]


async def test_unfinished_jobs_count_as_finished_later_than_all_others(tenant: Tenant, operator: Caller) -> None:
    first, open_one, last = [await tenant.job(items=1) for _ in range(3)]
    await tenant.succeed(last.items[0])
    await tenant.succeed(first.items[0])

    async def sorted_by(**order: str) -> list[str]:
        return [node["id"] for node in (await operator.ask(JOBS, orderBy=order))["robotJobs"]["nodes"]]

    assert await sorted_by(field="COMPLETED_AT") == [str(each.job.id) for each in (last, first, open_one)]
    assert await sorted_by(field="COMPLETED_AT", direction="DESC") == [
        str(each.job.id) for each in (open_one, first, last)
    ]
    assert await sorted_by(field="CREATED_AT") == [str(each.job.id) for each in (first, open_one, last)]


async def test_items_are_searched_and_sorted_as_asked(tenant: Tenant, operator: Caller) -> None:
    in_hand = await tenant.job(items=3)
    first, second, third = in_hand.items
    await tenant.succeed(third, tracking_number="PED-Ñ-7")
    await tenant.fail(first)

    async def found(**given: object) -> list[str]:
        shown = await operator.ask(JOB_WITH_ITEMS, id=str(in_hand.job.id), **given)
        return [node["id"] for node in shown["robotJob"]["items"]["nodes"]]

    assert await found(filter={"search": "ped-n"}) == [str(third.id)]
    assert await found(orderBy={"field": "COMPLETED_AT"}) == [str(each.id) for each in (third, first, second)]
    assert await found(orderBy={"field": "CREATED_AT", "direction": "DESC"}, first=1) == [str(third.id)]


@pytest.mark.parametrize(
    "document",
    [
        '{ robotJobs { nodes { good: items { nodes { id } } bad: items(after: "x") { nodes { id } } } } }',
        "{ robotJobs(first: 1) { nodes { id } } orders(first: -1) { nodes { id } } }",
        "{ orders { nodes { good: robotJobItems { nodes { id } } bad: robotJobItems(last: 101) { nodes { id } } } } }",
    ],
)
async def test_what_is_wrong_with_one_list_is_told_whatever_is_read_beside_it(
    engine: AsyncEngine, tenant: Tenant, operator: Caller, document: str
) -> None:
    await tenant.job(items=1)

    for _ in range(3):
        assert await operator.code(document) == "INVALID_INPUT"

    assert engine.pool.checkedout() == 0  # type: ignore[attr-defined]  # a queue pool counts


async def test_the_active_job_is_the_newest_that_is_not_finished(tenant: Tenant, operator: Caller) -> None:
    assert await operator.ask(ACTIVE_JOB) == {"activeRobotJob": None}
    await tenant.job(items=1)
    active = await tenant.job(items=1)
    await tenant.job(items=1, succeeded=1)

    assert await operator.ask(ACTIVE_JOB) == {"activeRobotJob": {"id": str(active.job.id)}}


async def test_nodes_are_read_by_id_alone_in_the_order_asked(tenant: Tenant, operator: Caller) -> None:
    in_hand = await tenant.job(items=1)
    job_id, item_id, order_id = in_hand.job.id, in_hand.items[0].id, in_hand.items[0].order_id
    asked = [str(order_id), str(new_id()), str(job_id), "no id", str(item_id), str(job_id)]

    nodes = (await operator.ask(NODES, ids=asked))["nodes"]

    job, item = {"__typename": "RobotJob", "id": str(job_id)}, {"__typename": "RobotJobItem", "id": str(item_id)}
    assert nodes == [{"__typename": "Order", "id": str(order_id)}, None, job, None, item, job]
    assert await operator.ask(NODE, id=str(item_id)) == {"node": item}


async def test_more_than_a_hundred_nodes_are_refused(operator: Caller) -> None:
    assert await operator.code(NODES, ids=[str(new_id())] * 101) == "INVALID_INPUT"


@pytest.mark.parametrize("kind", ["items", "robotJobs", "orders"])
async def test_pages_go_forth_and_back_over_every_row_once(tenant: Tenant, operator: Caller, kind: str) -> None:
    match kind:
        case "items":
            in_hand = await tenant.job(items=5)
            everything = [str(item.id) for item in in_hand.items]
            document, given = JOB_WITH_ITEMS, {"id": str(in_hand.job.id)}
        case "robotJobs":
            jobs = [await tenant.job(items=1) for _ in range(5)]
            everything = [str(each.job.id) for each in reversed(jobs)]
            document, given = JOBS, {}
        case _:
            orders = await tenant.orders(5)
            everything = sorted((str(order.id) for order in orders), reverse=True)
            document, given = ORDERS, {}

    async def walk(size: str, start: str, edge: str, more: str) -> list[list[str]]:
        pages, cursor, has_more = [], None, True
        while has_more:
            data = await operator.ask(document, **given, **{size: 2, start: cursor})
            page = (data.get("robotJob") or data)[kind]
            info = page["pageInfo"]
            assert [each["node"] for each in page["edges"]] == [{"id": node["id"]} for node in page["nodes"]]
            assert (info["startCursor"], info["endCursor"]) == (
                page["edges"][0]["cursor"],
                page["edges"][-1]["cursor"],
            )
            pages.append([node["id"] for node in page["nodes"]])
            cursor, has_more = info[edge], info[more]
        return pages

    assert await walk("first", "after", "endCursor", "hasNextPage") == [
        everything[:2],
        everything[2:4],
        everything[4:],
    ]
    assert await walk("last", "before", "startCursor", "hasPreviousPage") == [
        everything[3:],
        everything[1:3],
        everything[:1],
    ]


async def test_an_empty_page_has_no_cursors(operator: Caller) -> None:
    page = (await operator.ask(JOBS))["robotJobs"]

    assert page == {
        "nodes": [],
        "edges": [],
        "pageInfo": {"hasNextPage": False, "hasPreviousPage": False, "startCursor": None, "endCursor": None},
    }


async def test_many_queries_at_once_do_not_mix_their_answers(tenant: Tenant, operator: Caller) -> None:
    jobs = [await tenant.job(items=1) for _ in range(4)]

    answers = await asyncio.gather(*(operator.ask(JOB_WITH_ITEMS, id=str(each.job.id)) for each in jobs * 5))

    assert [answer["robotJob"]["items"]["nodes"] for answer in answers] == [
        [{"id": str(each.items[0].id)}] for each in jobs * 5
    ]
