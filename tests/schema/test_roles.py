"""Who may do what: every query, mutation and subscription, for everyone who may knock."""

from collections.abc import Callable
from functools import partial

import pytest
from graphql import build_schema

from api.database import owner_engine
from domain.api_keys import revoke_api_key
from domain.base import new_id
from domain.workspaces import Membership, Role, enter_as_owner, set_member
from schema import schema
from tests.conftest import Database
from tests.schema import documents as d
from tests.schema.caller import Api, Caller, remove_member
from tests.tenants import Tenant, make_installation_key

UNKNOWN = str(new_id())
READS = frozenset({"viewer", "operator", "admin", "robot"})
OPERATES = frozenset({"operator", "admin"})
PEOPLE = frozenset({"viewer", "operator", "admin"})
ADMINISTERS = frozenset({"admin"})
REPORTS = frozenset({"operator", "admin", "robot"})
ROBOTS = frozenset({"robot"})
# Whoever has a good token, be it member of a workspace or not.
KNOWN = READS | {"member of none", "non-member", "elsewhere"}

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
    "viewer": (d.VIEWER, {}, KNOWN),
    "apiKeys": (d.API_KEYS, {}, ADMINISTERS),
}
MUTATIONS: dict[str, tuple[str, dict[str, object], frozenset[str]]] = {
    "createRobotJob": (d.CREATE, {"input": {"carrier": "COORDINADORA", "orderIds": [UNKNOWN]}}, OPERATES),
    "retryFailedItems": (d.RETRY, {"input": {"jobId": UNKNOWN}}, OPERATES),
    "importOrders": (d.IMPORT, {"input": {"csv": "no such file"}}, OPERATES),
    "updateOrder": (d.UPDATE_ORDER, {"input": {"orderId": UNKNOWN, "city": "Cali"}}, OPERATES),
    "updateJobItemResult": (d.REPORT, {"input": {"itemId": UNKNOWN, "status": "ERROR"}}, REPORTS),
    "updateJobItemResults": (
        d.REPORT_MANY,
        {"input": {"results": [{"itemId": UNKNOWN, "status": "ERROR"}]}},
        REPORTS,
    ),
    "createApiKey": (d.CREATE_KEY, {"input": {"name": "robot 1", "expiresInDays": -1}}, ADMINISTERS),
    "revokeApiKey": (d.REVOKE_KEY, {"input": {"apiKeyId": UNKNOWN}}, ADMINISTERS),
    "updateJobStatus": (d.SET_STATUS, {"input": {"jobId": UNKNOWN, "status": "FAILED"}}, REPORTS),
    "claimJobItems": (d.CLAIM, {"input": {"carrier": "COORDINADORA"}}, ROBOTS),
    "renewLeases": (d.RENEW, {"input": {"leases": [{"itemId": UNKNOWN, "leaseToken": UNKNOWN}]}}, ROBOTS),
    "releaseJobItems": (
        d.RELEASE,
        {"input": {"leases": [{"itemId": UNKNOWN, "leaseToken": UNKNOWN}], "reason": "STOPPING"}},
        ROBOTS,
    ),
    "resumeCarrierAccount": (d.RESUME_ACCOUNT, {"input": {"carrier": "COORDINADORA"}}, OPERATES),
    "markItemSubmitting": (d.MARK, {"input": {"itemId": UNKNOWN, "leaseToken": UNKNOWN}}, ROBOTS),
    "cancelRobotJob": (d.CANCEL, {"input": {"jobId": UNKNOWN}}, OPERATES),
    "resolveUnknownOutcome": (
        d.RESOLVE,
        {"input": {"itemId": UNKNOWN, "confirmedAbsent": True, "reason": "Looked."}},
        REPORTS,
    ),
    "upsertCarrierConfig": (d.UPSERT_CONFIG, {"input": {"carrier": "COORDINADORA", "username": ""}}, ADMINISTERS),
    "deleteCarrierConfig": (d.DELETE_CONFIG, {"input": {"carrier": "COORDINADORA"}}, ADMINISTERS),
}
SUBSCRIPTIONS: dict[str, tuple[str, dict[str, object], frozenset[str]]] = {
    "robotJobItemCompleted": (d.FOLLOW_ITEMS, {"jobId": UNKNOWN}, READS),
    "robotJobProgress": (d.FOLLOW_PROGRESS, {"jobId": UNKNOWN}, READS),
    "robotJobsChanged": (d.FOLLOW_BOARD, {}, READS),
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


async def codes_of(caller: Caller) -> dict[str, set[str]]:
    """What each operation is refused with; the job to follow does not exist, which is no refusal."""
    codes = {}
    for name, (document, variables, _) in (QUERIES | MUTATIONS).items():
        result = await caller.execute(document, **variables)
        codes[name] = {error.extensions["code"] for error in result.errors or ()}
    for name, (document, variables, _) in SUBSCRIPTIONS.items():
        async with caller.follow(document, **variables) as stream:
            codes[name] = await stream.codes() - {"ROBOT_JOB_NOT_FOUND"}
    return codes


def expected_codes(who: str, code: str) -> dict[str, set[str]]:
    return {
        name: set() if who in allowed else {code}
        for name, (_, _, allowed) in (QUERIES | MUTATIONS | SUBSCRIPTIONS).items()
    }


@pytest.mark.parametrize("who", KNOCKING)
async def test_each_operation_is_for_those_whom_the_table_names(api: Api, tenant: Tenant, who: str) -> None:
    make, code = KNOCKING[who]

    assert await codes_of(make(api, tenant)) == expected_codes(who, code)


async def test_an_api_key_may_do_what_a_robot_may(api: Api, database: Database, tenant: Tenant) -> None:
    own = await tenant.key()
    everywhere = await make_installation_key(database.urls)

    for caller in (api.robot(own.secret), api.robot(everywhere.secret, tenant.workspace_id)):
        assert await codes_of(caller) == expected_codes("robot", "FORBIDDEN")


async def test_a_revoked_api_key_may_do_nothing(api: Api, tenant: Tenant) -> None:
    created = await tenant.key()
    async with tenant.work(Role.ADMIN) as connection:
        await revoke_api_key(connection, created.api_key.id)

    assert await codes_of(api.robot(created.secret)) == expected_codes("nobody", "UNAUTHENTICATED")


def test_each_field_says_for_whom_it_is() -> None:
    contract = build_schema(schema.as_str())
    words = {READS: "viewers, operators, admins and robots", OPERATES: "operators and admins"}
    words |= {
        REPORTS: "operators, admins and robots",
        ADMINISTERS: "admins",
        ROBOTS: "robots",
        PEOPLE: "viewers, operators and admins",
        KNOWN: "everyone with a good token",
    }

    for root in (contract.query_type, contract.mutation_type, contract.subscription_type):
        for name, field in (root.fields if root is not None else {}).items():
            (_, _, allowed) = (QUERIES | MUTATIONS | SUBSCRIPTIONS)[name]
            assert (field.description or "").endswith(f"  For {words[frozenset(allowed)]}."), name


async def test_a_member_of_several_workspaces_names_one(
    api: Api, database: Database, tenant: Tenant, other_tenant: Tenant
) -> None:
    user_id = tenant.user(Role.OPERATOR)
    in_hand = await tenant.job(items=1)
    async with owner_engine(database.urls).begin() as connection:
        await enter_as_owner(connection)
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
