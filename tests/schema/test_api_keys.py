"""API keys and the viewer as clients see them."""

import datetime as dt
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from api.database import owner_engine
from domain.api_keys import ACTIVE_KEYS_AT_MOST, api_keys, make_secret
from domain.base import new_id
from domain.workspaces import Membership, Role, enter_as_owner, set_member
from tests.conftest import Database
from tests.domain.ledger import counted_statements
from tests.schema import documents as d
from tests.schema.caller import Api, Caller, MemoryWakeUps
from tests.servers import until
from tests.tenants import Tenant, make_installation_key

UNKNOWN = str(new_id())


@pytest.fixture
def admin(api: Api, tenant: Tenant) -> Caller:
    return api.member(tenant, Role.ADMIN)


async def listed(admin: Caller) -> list[Any]:
    nodes: list[Any] = (await admin.ask(d.API_KEYS))["apiKeys"]["nodes"]
    return nodes


async def test_a_key_is_made_shown_once_and_lets_a_robot_in(api: Api, tenant: Tenant, admin: Caller) -> None:
    in_hand = await tenant.job(items=1)

    made = await admin.do(d.CREATE_KEY, name="robot 1", carriers=["COORDINADORA"], expiresInDays=30)

    assert made["__typename"] == "CreateApiKeySuccess"
    key = made["apiKey"]
    assert made["secret"].startswith(key["prefix"])
    assert (key["name"], key["carriers"], key["revokedAt"]) == ("robot 1", ["COORDINADORA"], None)
    assert key["createdBy"] == tenant.user(Role.ADMIN)
    assert dt.datetime.fromisoformat(key["expiresAt"]) > dt.datetime.now(dt.UTC) + dt.timedelta(days=29)
    assert await listed(admin) == [key]
    assert made["secret"] not in repr(await listed(admin))

    reported = await api.robot(made["secret"]).do(
        d.REPORT, itemId=str(in_hand.items[0].id), status="SUCCESS", trackingNumber="P-1"
    )
    assert reported["item"]["status"] == "SUCCESS"
    async with tenant.work() as connection:
        by = await connection.scalar(sa.text("SELECT reported_by FROM robot_job_attempts"))
    assert by == f"key:{key['id']}"


async def test_a_revoked_key_is_refused_with_the_next_operation(api: Api, admin: Caller) -> None:
    made = await admin.do(d.CREATE_KEY, name="robot 1")
    robot = api.robot(made["secret"])
    await robot.ask(d.JOBS)

    revoked = await admin.do(d.REVOKE_KEY, apiKeyId=made["apiKey"]["id"])
    again = await admin.do(d.REVOKE_KEY, apiKeyId=made["apiKey"]["id"])

    assert revoked["apiKey"]["revokedAt"] is not None
    assert again == revoked
    refused = await robot.refused(d.JOBS)
    assert refused["extensions"]["code"] == "UNAUTHENTICATED"
    unknown = await api.robot(make_secret()).refused(d.JOBS)
    assert refused["message"] == unknown["message"]


async def test_another_workspaces_key_and_none_are_answered_alike(
    tenant: Tenant, other_tenant: Tenant, admin: Caller, database: Database
) -> None:
    foreign = str((await other_tenant.key()).api_key.id)
    everywhere = str((await make_installation_key(database.urls)).api_key.id)

    unknown = await admin.do(d.REVOKE_KEY, apiKeyId=UNKNOWN)

    assert (unknown["__typename"], unknown["code"]) == ("ApiKeyNotFound", "API_KEY_NOT_FOUND")
    for key_id in (foreign, everywhere):
        answer = await admin.do(d.REVOKE_KEY, apiKeyId=key_id)
        assert repr(answer).replace(key_id, UNKNOWN) == repr(unknown)
    assert await listed(admin) == []


@pytest.mark.parametrize(
    ("given", "path"),
    [
        ({"name": ""}, "name"),
        ({"carriers": []}, "carriers"),
        ({"expiresInDays": 0}, "expiresInDays"),
        ({"expiresInDays": 1, "expiresAt": "2040-01-01T00:00:00Z"}, "expiresInDays"),
        ({"expiresAt": "2020-01-01T00:00:00Z"}, "expiresAt"),
        ({"expiresAt": "9999-12-31T23:59:59-12:00"}, "expiresAt"),
        ({"expiresAt": "2027-01-01T00:00:00"}, "expiresAt"),
    ],
    ids=str,
)
async def test_input_that_cannot_be_right_is_named(admin: Caller, given: dict[str, object], path: str) -> None:
    answer = await admin.do(d.CREATE_KEY, **({"name": "robot 1"} | given))

    assert answer["__typename"] == "InvalidInput"
    assert [problem["path"] for problem in answer["problems"]] == [path]
    assert await listed(admin) == []


async def test_an_id_that_is_none_is_invalid_input(admin: Caller) -> None:
    answer = await admin.do(d.REVOKE_KEY, apiKeyId="x")

    assert [problem["path"] for problem in answer["problems"]] == ["apiKeyId"]


async def test_too_many_keys_are_refused(tenant: Tenant, admin: Caller) -> None:
    for _ in range(ACTIVE_KEYS_AT_MOST):
        await tenant.key()

    answer = await admin.do(d.CREATE_KEY, name="one more")

    assert (answer["__typename"], answer["code"]) == ("TooManyApiKeys", "TOO_MANY_API_KEYS")


async def test_keys_are_paged(tenant: Tenant, admin: Caller) -> None:
    made = [str((await tenant.key(f"robot {number}")).api_key.id) for number in range(5)]

    first = (await admin.ask(d.API_KEYS, first=3))["apiKeys"]
    second = (await admin.ask(d.API_KEYS, first=3, after=first["pageInfo"]["endCursor"]))["apiKeys"]

    assert [node["id"] for node in first["nodes"] + second["nodes"]] == made[::-1]
    assert not second["pageInfo"]["hasNextPage"]


async def test_a_read_counts_as_use_and_is_recorded_once_a_minute(
    api: Api, engine: AsyncEngine, tenant: Tenant, admin: Caller
) -> None:
    created = await tenant.key()
    robot = api.robot(created.secret)

    async def used_at() -> Any:
        return (await listed(admin))[0]["lastUsedAt"]

    assert await used_at() is None
    await robot.ask(d.JOBS)
    first = await until(used_at)
    with counted_statements(engine) as sent:
        for _ in range(5):
            await robot.ask(d.JOBS)
            await robot.database.finish()
    assert not any("record_api_key_use" in statement for statement in sent)
    assert await used_at() == first


async def test_a_crowd_with_one_key_records_its_use_once(api: Api, engine: AsyncEngine, tenant: Tenant) -> None:
    robot = api.robot((await tenant.key()).secret)

    with counted_statements(engine) as sent:
        for _ in range(3):
            robot.database.record_use(robot.principal.presented)  # type: ignore[union-attr]  # a key's
        await robot.database.finish()

    assert sum("record_api_key_use" in statement for statement in sent) == 1


async def test_entering_by_a_key_takes_one_statement(api: Api, engine: AsyncEngine, tenant: Tenant) -> None:
    robot = api.robot((await tenant.key()).secret)
    await robot.ask(d.JOBS)
    await robot.database.finish()

    with counted_statements(engine) as sent:
        await robot.ask(d.JOBS)

    assert len(sent) == 2, "enter the workspace, the jobs"


# ---------------------------------------------------------------------------------------------- viewer


async def test_a_viewer_of_two_workspaces_sees_both_without_naming_one(
    api: Api, engine: AsyncEngine, database: Database, tenant: Tenant, other_tenant: Tenant
) -> None:
    user_id = tenant.user(Role.OPERATOR)
    async with owner_engine(database.urls).begin() as connection:
        await enter_as_owner(connection)
        await set_member(connection, Membership(other_tenant.workspace_id, user_id, Role.VIEWER))

    with counted_statements(engine) as sent:
        viewer = (await api.caller(user_id).ask(d.VIEWER))["viewer"]

    assert len(sent) == 1
    assert (viewer["user"], viewer["apiKey"]) == ({"id": user_id}, None)
    assert sorted(viewer["workspaces"], key=lambda each: str(each["role"])) == [
        {"id": str(tenant.workspace_id), "name": "A shop", "role": "OPERATOR"},
        {"id": str(other_tenant.workspace_id), "name": "A shop", "role": "VIEWER"},
    ]


async def test_a_member_of_none_has_no_workspaces(api: Api) -> None:
    viewer = (await api.caller("somebody").ask(d.VIEWER))["viewer"]

    assert viewer == {"user": {"id": "somebody"}, "workspaces": [], "apiKey": None}


async def test_a_key_sees_itself_and_where_it_works(api: Api, database: Database, tenant: Tenant) -> None:
    own, everywhere = await tenant.key(expires_in_days=3), await make_installation_key(database.urls)

    viewer = (await api.robot(own.secret).ask(d.VIEWER))["viewer"]
    of_all = (await api.robot(everywhere.secret).ask(d.VIEWER))["viewer"]

    assert viewer["user"] == {"id": f"key:{own.api_key.id}"}
    assert (viewer["apiKey"]["id"], viewer["apiKey"]["prefix"]) == (str(own.api_key.id), own.secret[:12])
    here = {"id": str(tenant.workspace_id), "name": "A shop", "role": "ROBOT"}
    assert viewer["workspaces"] == [here]
    assert here in of_all["workspaces"]


async def test_the_viewer_and_a_workspaces_jobs_are_read_in_one_transaction(
    api: Api, engine: AsyncEngine, tenant: Tenant
) -> None:
    in_hand = await tenant.job(items=1)
    key = await tenant.key()

    for caller in (api.member(tenant), api.robot(key.secret)):
        await caller.ask(d.VIEWER)
        await caller.database.finish()
        for order in (
            "viewer { user { id } } robotJobs { nodes { id } }",
            "robotJobs { nodes { id } } viewer { user { id } }",
        ):
            with counted_statements(engine) as sent:
                data = await caller.ask(f"{{ {order} }}")
            assert data["robotJobs"]["nodes"] == [{"id": str(in_hand.job.id)}]
            assert len(sent) == 3, "who asks; enter the workspace; its jobs"


async def test_the_viewer_is_answered_where_the_workspace_is_refused(api: Api, tenant: Tenant) -> None:
    caller = api.caller(tenant.user(Role.VIEWER), new_id())

    result = await caller.execute("{ viewer { user { id } } activeRobotJob(carrier: COORDINADORA) { id } }")

    assert result.data == {"viewer": {"user": {"id": tenant.user(Role.VIEWER)}}, "activeRobotJob": None}
    assert [error.extensions["code"] for error in result.errors] == ["NOT_A_MEMBER"]


async def test_nobody_takes_no_connection(database: Database, wakeups: MemoryWakeUps) -> None:
    engine = create_async_engine(database.urls.app, pool_size=1, max_overflow=0, pool_timeout=0.05)

    async with engine.connect():
        nobody = Api(engine, wakeups).nobody()
        codes = [await nobody.code(d.VIEWER), await nobody.code(d.JOBS), await nobody.code(d.ITEM, id=UNKNOWN)]
        codes.append(await nobody.code(d.REVOKE_KEY, input={"apiKeyId": UNKNOWN}))

    await engine.dispose()
    assert set(codes) == {"UNAUTHENTICATED"}


async def test_the_hash_is_in_no_answer(tenant: Tenant, database: Database, admin: Caller) -> None:
    created = await tenant.key()
    async with owner_engine(database.urls).begin() as owner:
        await enter_as_owner(owner)
        stored = await owner.scalar(sa.select(api_keys.c.secret_sha256).where(api_keys.c.id == created.api_key.id))

    assert stored is not None
    assert stored.hex() not in repr(await listed(admin))
