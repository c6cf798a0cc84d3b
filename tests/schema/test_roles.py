"""Who may do what: every query, mutation and subscription, for everyone who may knock."""

from collections.abc import Callable
from functools import partial

import pytest
from graphql import build_schema

from api.database import owner_engine
from domain.base import new_id
from domain.workspaces import Membership, Role, enter_system, set_member
from schema import schema
from tests.conftest import Database
from tests.schema import documents as d
from tests.schema.caller import Api, Caller, remove_member
from tests.tenants import Tenant

UNKNOWN = str(new_id())
READS = frozenset({"viewer", "operator", "admin", "robot"})
OPERATES = frozenset({"operator", "admin"})
PEOPLE = frozenset({"viewer", "operator", "admin"})
ADMINISTERS = frozenset({"admin"})
REPORTS = frozenset({"operator", "admin", "robot"})

# field -> (its operation, variables that change nothing, who may)
QUERIES: dict[str, tuple[str, dict[str, object], frozenset[str]]] = {
    "robotJob": (d.JOB, {"id": UNKNOWN}, READS),
    "robotJobs": (d.JOBS, {}, READS),
    "activeRobotJob": (d.ACTIVE_JOB, {}, READS),
    "robotJobItem": (d.ITEM, {"id": UNKNOWN}, READS),
    "order": (d.ORDER, {"id": UNKNOWN}, READS),
    "orders": (d.ORDERS, {}, READS),
    "previewDispatch": (d.PREVIEW, {"input": {"carrier": "COORDINADORA", "orderIds": [UNKNOWN]}}, READS),
    "validateCities": (
        d.VALIDATE,
        {
            "input": {
                "carrier": "COORDINADORA",
                "cities": [{"reference": "", "city": "Cali", "department": "Valle", "isCod": False}],
            }
        },
        READS,
    ),
    "carrierCoverage": (d.COVERAGE, {}, READS),
    "municipalities": (d.MUNICIPALITIES, {}, READS),
    "node": (d.NODE, {"id": UNKNOWN}, READS),
    "nodes": (d.NODES, {"ids": [UNKNOWN]}, READS),
    "carrierConfig": (d.CONFIG, {"carrier": "COORDINADORA"}, PEOPLE),
    "carrierConfigs": (d.CONFIGS, {}, PEOPLE),
}
MUTATIONS: dict[str, tuple[str, dict[str, object], frozenset[str]]] = {
    "createRobotJob": (d.CREATE, {"input": {"carrier": "COORDINADORA", "orderIds": [UNKNOWN]}}, OPERATES),
    "retryFailedItems": (d.RETRY, {"input": {"jobId": UNKNOWN}}, OPERATES),
    "importOrders": (d.IMPORT, {"input": {"csv": "no such file"}}, OPERATES),
    "updateOrder": (d.UPDATE_ORDER, {"input": {"orderId": UNKNOWN, "city": "Cali"}}, OPERATES),
    "updateJobItemResult": (d.REPORT, {"input": {"itemId": UNKNOWN, "status": "ERROR"}}, REPORTS),
    "updateJobStatus": (d.SET_STATUS, {"input": {"jobId": UNKNOWN, "status": "FAILED"}}, REPORTS),
    "upsertCarrierConfig": (d.UPSERT_CONFIG, {"input": {"carrier": "COORDINADORA", "username": ""}}, ADMINISTERS),
    "deleteCarrierConfig": (d.DELETE_CONFIG, {"input": {"carrier": "COORDINADORA"}}, ADMINISTERS),
}
SUBSCRIPTIONS: dict[str, tuple[str, dict[str, object], frozenset[str]]] = {
    "robotJobItemCompleted": (d.FOLLOW_ITEMS, {"jobId": UNKNOWN}, READS),
    "robotJobProgress": (d.FOLLOW_PROGRESS, {"jobId": UNKNOWN}, READS),
}

# who -> (the caller, the code they get where they may not)
KNOCKING: dict[str, tuple[Callable[[Api, Tenant], Caller], str]] = {
    **{role.value: (partial(Api.member, role=role), "FORBIDDEN") for role in Role},
    "nobody": (lambda api, _: api.nobody(), "UNAUTHENTICATED"),
    "expired": (
        lambda api, tenant: api.caller(tenant.user(Role.ADMIN), tenant.workspace_id, expires_in_s=-1),
        "UNAUTHENTICATED",
    ),
    "member of none": (lambda api, _: api.caller("somebody"), "NOT_A_MEMBER"),
    "non-member": (lambda api, tenant: api.caller("somebody", tenant.workspace_id), "NOT_A_MEMBER"),
    "elsewhere": (lambda api, tenant: api.caller(tenant.user(Role.ADMIN), new_id()), "NOT_A_MEMBER"),
}


def test_the_table_names_every_operation() -> None:
    contract = build_schema(schema.as_str())
    roots = (contract.query_type, contract.mutation_type, contract.subscription_type)

    named = [set(root.fields) if root is not None else set() for root in roots]

    assert named == [set(QUERIES), set(MUTATIONS), set(SUBSCRIPTIONS)]


@pytest.mark.parametrize("who", KNOCKING)
async def test_each_operation_is_for_those_whom_the_table_names(api: Api, tenant: Tenant, who: str) -> None:
    make, code = KNOCKING[who]
    caller = make(api, tenant)
    answered = {}

    for name, (document, variables, _) in (QUERIES | MUTATIONS).items():
        result = await caller.execute(document, **variables)
        answered[name] = {error.extensions["code"] for error in result.errors or ()}

    for name, (document, variables, _) in SUBSCRIPTIONS.items():
        async with caller.follow(document, **variables) as stream:
            answered[name] = {(await stream.error_and_end())["extensions"]["code"]} - {"ROBOT_JOB_NOT_FOUND"}

    expected = {
        name: set() if who in allowed else {code}
        for name, (_, _, allowed) in (QUERIES | MUTATIONS | SUBSCRIPTIONS).items()
    }
    assert answered == expected


async def test_a_member_of_several_workspaces_names_one(
    api: Api, database: Database, tenant: Tenant, other_tenant: Tenant
) -> None:
    user_id = tenant.user(Role.OPERATOR)
    in_hand = await tenant.job(items=1)
    async with owner_engine(database.urls).begin() as connection:
        await enter_system(connection)
        await set_member(connection, Membership(other_tenant.workspace_id, user_id, Role.VIEWER))

    assert await api.caller(user_id).code(d.JOBS) == "WORKSPACE_REQUIRED"
    assert await api.caller(user_id).code(d.CREATE, input={"carrier": "COORDINADORA", "orderIds": [UNKNOWN]}) == (
        "WORKSPACE_REQUIRED"
    )
    here = await api.caller(user_id, tenant.workspace_id).ask(d.JOBS)
    assert [node["id"] for node in here["robotJobs"]["nodes"]] == [str(in_hand.job.id)]
    there = api.caller(user_id, other_tenant.workspace_id)
    assert (await there.ask(d.JOBS))["robotJobs"]["nodes"] == []
    assert await there.code(d.CREATE, input={"carrier": "COORDINADORA", "orderIds": [UNKNOWN]}) == "FORBIDDEN"


async def test_the_only_workspace_need_not_be_named(api: Api, tenant: Tenant) -> None:
    in_hand = await tenant.job(items=1)

    shown = await api.caller(tenant.user(Role.VIEWER)).ask(d.JOB, id=str(in_hand.job.id))

    assert shown["robotJob"]["id"] == str(in_hand.job.id)


async def test_a_revoked_membership_ends_access_with_the_next_operation(
    api: Api, database: Database, tenant: Tenant
) -> None:
    viewer = api.member(tenant, Role.VIEWER)
    await viewer.ask(d.JOBS)

    await remove_member(database, tenant, Role.VIEWER)

    assert await viewer.code(d.JOBS) == "NOT_A_MEMBER"
