"""Nothing runs a query per row: what is asked of many costs as many statements as what is asked of few."""

from dataclasses import replace
from typing import Any

from sqlalchemy.ext.asyncio import AsyncEngine

from schema.limits import Limits
from tests.domain.ledger import counted_statements
from tests.schema.caller import Caller
from tests.schema.documents import CREATE, NODES, PREVIEW, REPORT, RETRY, SET_STATUS
from tests.tenants import Tenant

ITEMS = """query ($id: ID!) { robotJob(id: $id) { items(first: 1000) {
    nodes { status order { reference } attempts { attempt } job { id status } }
    } } }"""
JOBS_WITH_ITEMS = """{ robotJobs(first: 20) { nodes {
    items(first: 5) { nodes { order { reference } attempts { attempt } job { id } } }
    failed: items(first: 5, filter: {status: ERROR}) { nodes { id } }
    failures { action count }
    progress { pending processing itemsPerMinute }
    } } }"""


async def statements_of(engine: AsyncEngine, caller: Caller, document: str, **variables: object) -> tuple[int, Any]:
    with counted_statements(engine) as statements:
        data = await caller.ask(document, **variables)
    assert statements
    return len(statements), data


async def test_a_thousand_items_with_their_orders_cost_as_much_as_two(
    engine: AsyncEngine, tenant: Tenant, operator: Caller
) -> None:
    few, many = await tenant.job(items=2, failed=1), await tenant.job(items=1_000, failed=1)
    operator = replace(operator, limits=Limits(cost=10_000))

    cost_of_few, _ = await statements_of(engine, operator, ITEMS, id=str(few.job.id))
    cost_of_many, data = await statements_of(engine, operator, ITEMS, id=str(many.job.id))

    nodes = data["robotJob"]["items"]["nodes"]
    assert len({node["order"]["reference"] for node in nodes}) == 1_000
    assert [node["attempts"] for node in nodes[:2]] == [[{"attempt": 1}], []]
    assert cost_of_many == cost_of_few
    assert cost_of_many <= 9


async def test_items_and_job_are_read_with_three_statements(
    engine: AsyncEngine, tenant: Tenant, operator: Caller
) -> None:
    in_hand = await tenant.job(items=2)
    document = "query ($id: ID!) { robotJob(id: $id) { status items(first: 5) { nodes { status } } } }"

    cost, _ = await statements_of(engine, operator, document, id=str(in_hand.job.id))

    assert cost == 3, "enter the workspace, the job, its items"


async def test_all_that_a_query_reads_is_one_snapshot(engine: AsyncEngine, tenant: Tenant, operator: Caller) -> None:
    await tenant.job(items=1)

    with counted_statements(engine) as statements:
        await operator.ask("{ robotJobs { nodes { id failures { count } } } orders { nodes { id } } }")

    assert sum("enter_workspace" in statement for statement in statements) == 1


async def test_a_page_of_many_jobs_costs_as_much_as_one_of_two(
    engine: AsyncEngine, tenant: Tenant, operator: Caller
) -> None:
    for _ in range(2):
        await tenant.job(items=2, failed=1)
    cost_of_few, _ = await statements_of(engine, operator, JOBS_WITH_ITEMS)
    for _ in range(10):
        await tenant.job(items=3, failed=1)

    cost_of_many, data = await statements_of(engine, operator, JOBS_WITH_ITEMS)

    nodes = data["robotJobs"]["nodes"]
    assert [len(node["items"]["nodes"]) for node in nodes] == [3] * 10 + [2] * 2
    assert all(len(node["failed"]["nodes"]) == 1 for node in nodes)
    assert cost_of_many == cost_of_few


async def test_a_total_costs_a_statement_only_when_it_is_asked_for(
    engine: AsyncEngine, tenant: Tenant, operator: Caller
) -> None:
    in_hand = await tenant.job(items=3, failed=1)

    async def cost(selection: str) -> tuple[int, Any]:
        return await statements_of(engine, operator, f"{{ {selection} }}")

    for listed, expected in {
        "orders(first: 1)": 3,
        "robotJobs(first: 1)": 1,
        "carrierCoverage(carrier: COORDINADORA, first: 1)": 1_489,
        "municipalities(first: 1)": 1_122,
    }.items():
        unasked, _ = await cost(f"{listed} {{ pageInfo {{ endCursor }} }}")
        asked, data = await cost(f"{listed} {{ pageInfo {{ endCursor }} totalCount }}")
        assert (unasked, asked) == (2, 3), listed
        assert next(iter(data.values()))["totalCount"] == expected

    job = f'robotJob(id: "{in_hand.job.id}")'
    own, data = await cost(f"{job} {{ items(first: 1) {{ nodes {{ id }} totalCount }} }}")
    assert (own, data["robotJob"]["items"]["totalCount"]) == (3, 3), "the job's own row tells it"
    some, data = await cost(f"{job} {{ items(first: 0, filter: {{status: ERROR}}) {{ nodes {{ id }} totalCount }} }}")
    assert (some, data["robotJob"]["items"]["totalCount"]) == (4, 1)


async def test_the_totals_of_many_jobs_cost_one_statement(
    engine: AsyncEngine, tenant: Tenant, operator: Caller
) -> None:
    document = """{ robotJobs { nodes {
        all: items(first: 1) { totalCount } failed: items(first: 1, filter: {errorType: PORTAL}) { totalCount }
        } } }"""
    for number in range(3):
        await tenant.job(items=2, failed=number)
    cost_of_few, _ = await statements_of(engine, operator, document)
    for _ in range(3):
        await tenant.job(items=1)

    cost_of_many, data = await statements_of(engine, operator, document)

    totals = [(node["all"]["totalCount"], node["failed"]["totalCount"]) for node in data["robotJobs"]["nodes"]]
    assert totals == [(1, 0)] * 3 + [(2, 2), (2, 1), (2, 0)]
    assert cost_of_many == cost_of_few == 5, "the workspace, the jobs, two pages of items, one count"


async def test_the_items_of_many_orders_cost_as_much_as_those_of_one(
    engine: AsyncEngine, tenant: Tenant, operator: Caller
) -> None:
    document = "{ orders(first: 100) { nodes { robotJobItems(first: 3) { nodes { status job { id } } totalCount } } } }"
    await tenant.job(items=1)
    cost_of_one, _ = await statements_of(engine, operator, document)
    await tenant.job(items=30)
    await tenant.orders(1)

    cost_of_many, data = await statements_of(engine, operator, document)

    totals = [node["robotJobItems"]["totalCount"] for node in data["orders"]["nodes"]]
    assert totals == [0, *[1] * 31]
    assert cost_of_many == cost_of_one


async def test_the_events_of_many_jobs_cost_as_much_as_those_of_two(
    engine: AsyncEngine, tenant: Tenant, operator: Caller
) -> None:
    document = "{ robotJobs { nodes { events(first: 2) { seq } } } }"
    for _ in range(2):
        await tenant.job(items=1)
    cost_of_few, _ = await statements_of(engine, operator, document)
    for _ in range(4):
        await tenant.job(items=1)

    cost_of_many, _ = await statements_of(engine, operator, document)

    assert cost_of_many == cost_of_few


async def test_a_hundred_nodes_cost_as_much_as_one(engine: AsyncEngine, tenant: Tenant, operator: Caller) -> None:
    in_hand = await tenant.job(items=98)
    (order,) = await tenant.orders(1)
    ids = [str(in_hand.job.id), *(str(item.id) for item in in_hand.items), str(order.id)]

    cost_of_one, _ = await statements_of(engine, operator, NODES, ids=ids[:1])
    cost_of_many, data = await statements_of(engine, operator, NODES, ids=ids)

    assert [node["id"] for node in data["nodes"]] == ids
    assert cost_of_many == cost_of_one


async def test_a_preview_of_many_orders_costs_as_much_as_one(
    engine: AsyncEngine, tenant: Tenant, operator: Caller
) -> None:
    ids = [str(order.id) for order in await tenant.orders(200)]
    await operator.ask(PREVIEW, input={"carrier": "COORDINADORA", "orderIds": ids[:1]})  # the cities stay in memory

    cost_of_one, _ = await statements_of(
        engine, operator, PREVIEW, input={"carrier": "COORDINADORA", "orderIds": ids[:1]}
    )
    cost_of_many, data = await statements_of(
        engine, operator, PREVIEW, input={"carrier": "COORDINADORA", "orderIds": ids}
    )

    assert data["previewDispatch"]["okCount"] == 200
    assert cost_of_many == cost_of_one


async def test_a_job_of_a_thousand_is_made_failed_and_retried_with_as_many_statements_as_one_of_two(
    engine: AsyncEngine, tenant: Tenant, operator: Caller
) -> None:
    async def cost(items: int) -> tuple[int, int, int]:
        orders = [str(order.id) for order in await tenant.orders(items)]
        await operator.ask(PREVIEW, input={"carrier": "COORDINADORA", "orderIds": orders[:1]})  # as above
        created, data = await statements_of(
            engine, operator, CREATE, input={"carrier": "COORDINADORA", "orderIds": orders}
        )
        job_id = data["createRobotJob"]["job"]["id"]
        failed, _ = await statements_of(engine, operator, SET_STATUS, input={"jobId": job_id, "status": "FAILED"})
        retried, data = await statements_of(engine, operator, RETRY, input={"jobId": job_id})
        assert len(data["retryFailedItems"]["items"]) == items
        return created, failed, retried

    of_two, of_many = await cost(2), await cost(1_000)

    assert of_many == of_two
    assert max(of_many) <= 12


async def test_a_result_takes_six_statements_at_most(engine: AsyncEngine, tenant: Tenant, robot: Caller) -> None:
    in_hand = await tenant.job(items=1)

    cost, _ = await statements_of(
        engine,
        robot,
        REPORT,
        input={"itemId": str(in_hand.items[0].id), "status": "SUCCESS", "trackingNumber": "P-1"},
    )

    assert cost <= 6
