"""A key of the installation serves workspaces in turn: one tenant's crowd does not starve another's few."""

import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from api.database import owner_engine
from domain.accounts import Breaker
from domain.api_keys import revoke_api_key
from domain.base import new_id
from domain.carriers import Carrier
from domain.envelopes import KeyRing
from domain.robot_jobs import ClaimPurpose, ErrorType, ReleaseReason, list_workspaces_in_turn
from domain.workspaces import enter_all_workspaces, enter_as_owner
from tests.conftest import Database
from tests.schema import documents as d
from tests.schema.caller import Api, Caller
from tests.tenants import Tenant, make_installation_key, make_tenant

LOST_KEYS = KeyRing({1: b"nobody has this key any more, alas"[:32]})
SANDBOX = "SANDBOX"  # nothing else in the tests' database is for it


@pytest.fixture
async def tenants(database: Database, engine: AsyncEngine) -> AsyncIterator[list[Tenant]]:
    """Switched off at the end, for the next test's robot serves them too."""
    made = [await make_tenant(database.urls, engine) for _ in range(3)]
    yield made
    for tenant in made:
        await tenant.configure(carrier=Carrier.SANDBOX, is_enabled=False)


@pytest.fixture
async def robot(api: Api, database: Database, tenants: list[Tenant]) -> AsyncIterator[Caller]:
    """With a key of the installation, which is revoked at the end."""
    created = await make_installation_key(database.urls)
    yield api.robot(created.secret)
    async with owner_engine(database.urls).begin() as connection:
        await enter_as_owner(connection)
        await revoke_api_key(connection, created.api_key.id)


CLAIM_TWICE = """
mutation ($input: ClaimJobItemsInput!) { first: claimJobItems(input: $input) { ...Claimed }
    second: claimJobItems(input: $input) { ...Claimed } }
fragment Claimed on ClaimJobItemsSuccess {
    workspaceId items { item { id order { reference } job { items { nodes { id } } } } }
}
"""


async def claim(robot: Caller, **given: Any) -> tuple[str | None, list[Any]]:
    """Where, and the leases."""
    answer = await robot.do(d.CLAIM, carrier=SANDBOX, **given)
    leases = [{"itemId": each["item"]["id"], "leaseToken": each["leaseToken"]} for each in answer["items"]]
    return answer["workspaceId"], leases


async def finish(robot: Caller, workspace_id: str | None, leases: list[Any]) -> None:
    """Give the items back, in the workspace where they are."""
    own = robot.within(workspace_id)
    answer = await own.do(d.RELEASE, leases=leases, reason="STOPPING")
    assert [lease["state"] for lease in answer["leases"]] == ["RELEASED"] * len(leases)


async def test_one_tenants_crowd_does_not_starve_anothers_few(robot: Caller, tenants: list[Tenant]) -> None:
    for tenant, items in zip(tenants, (40, 2, 1), strict=True):
        await tenant.job(items=items, carrier=Carrier.SANDBOX)

    served = []
    for _ in range(6):
        workspace_id, leases = await claim(robot)
        served.append(workspace_id)
        await finish(robot, workspace_id, leases)

    everybody = {str(tenant.workspace_id) for tenant in tenants}
    assert set(served[:3]) == everybody
    assert served[3:] == served[:3]


async def test_what_is_asked_of_the_items_is_read_where_they_are(robot: Caller, tenants: list[Tenant]) -> None:
    for tenant in tenants[:2]:
        await tenant.job(items=1, carrier=Carrier.SANDBOX)

    answer = await robot.ask(CLAIM_TWICE, input={"carrier": SANDBOX})

    for claim in answer.values():
        [item] = claim["items"]
        assert item["item"]["order"]["reference"].startswith("ORD-")
        assert item["item"]["job"]["items"]["nodes"] == [{"id": item["item"]["id"]}]
    assert len({claim["workspaceId"] for claim in answer.values()}) == 2


async def test_where_an_answer_was_read_is_forgotten_by_the_next_operation(
    robot: Caller, tenants: list[Tenant]
) -> None:
    await tenants[0].job(items=1, carrier=Carrier.SANDBOX)
    await claim(robot)

    assert await robot.code("{ robotJobs { nodes { id } } }") == "WORKSPACE_REQUIRED"


async def test_who_is_busy_or_paused_or_switched_off_is_passed_by(robot: Caller, tenants: list[Tenant]) -> None:
    busy, paused, off = tenants
    await off.configure(carrier=Carrier.SANDBOX, is_enabled=True)
    for tenant in tenants:
        await tenant.job(items=2, carrier=Carrier.SANDBOX)
    await off.configure(carrier=Carrier.SANDBOX, is_enabled=False)
    [item] = (await paused.claim(carrier=Carrier.SANDBOX)).items
    await paused.release(item, reason=ReleaseReason.LOGIN_REFUSED)

    workspace_id, leases = await claim(robot, limit=10)

    assert (workspace_id, len(leases)) == (str(busy.workspace_id), 1)
    assert await claim(robot) == (None, [])
    await finish(robot, workspace_id, leases)


async def test_a_shop_whose_password_cannot_be_read_keeps_no_other_waiting(
    robot: Caller, tenants: list[Tenant]
) -> None:
    broken, well, _ = tenants
    for tenant in (broken, well):
        await tenant.job(items=2, carrier=Carrier.SANDBOX)
    await broken.configure(carrier=Carrier.SANDBOX, password="secret", key_ring=LOST_KEYS)

    workspace_id, leases = await claim(robot)

    assert workspace_id == str(well.workspace_id)
    assert (await robot.do(d.CLAIM, carrier=SANDBOX))["__typename"] == "CredentialsUnreadable"
    await finish(robot, workspace_id, leases)


async def test_a_shop_that_has_nothing_to_give_after_all_lets_the_others_go_first(
    robot: Caller, tenants: list[Tenant]
) -> None:
    broken, *others = tenants
    await broken.job(items=1, carrier=Carrier.SANDBOX)
    await broken.configure(carrier=Carrier.SANDBOX, password="secret", key_ring=LOST_KEYS)
    await robot.do(d.CLAIM, carrier=SANDBOX)
    for tenant in others:
        await tenant.job(items=1, carrier=Carrier.SANDBOX)

    served = await in_turn(broken)

    assert set(served[:2]) == {tenant.workspace_id for tenant in others}
    assert served[2:] == [broken.workspace_id]


async def test_a_key_that_is_limited_to_other_carriers_is_served_nothing(
    api: Api, database: Database, tenants: list[Tenant]
) -> None:
    await tenants[0].job(items=1, carrier=Carrier.SANDBOX)
    created = await make_installation_key(database.urls, carriers=[Carrier.COORDINADORA])

    assert await claim(api.robot(created.secret)) == (None, [])


async def test_an_account_that_pauses_has_no_turn_before_nobody_works_with_it(
    tenants: list[Tenant],
) -> None:
    paused, *_ = tenants
    await paused.configure(carrier=Carrier.SANDBOX, max_concurrent_leases=3)
    await paused.job(items=3, carrier=Carrier.SANDBOX)
    first, second = (await paused.claim(2, carrier=Carrier.SANDBOX)).items
    await paused.release(first, reason=ReleaseReason.PORTAL_UNAVAILABLE, breaker=Breaker(errors=1))
    await paused.make_probe_due()

    assert await in_turn(paused) == []
    await paused.release(second)
    assert await in_turn(paused) == [paused.workspace_id]


async def test_an_account_that_is_busy_with_look_ups_has_no_turn(tenants: list[Tenant]) -> None:
    busy, *_ = tenants
    await busy.job(items=2, carrier=Carrier.SANDBOX)
    [item] = (await busy.claim(carrier=Carrier.SANDBOX)).items
    await busy.mark(item)
    await busy.fail(item, error_type=ErrorType.TIMEOUT)
    [looked_up] = (await busy.claim(carrier=Carrier.SANDBOX, purpose=ClaimPurpose.LOOK_UP)).items

    assert await in_turn(busy) == []
    await busy.release(looked_up)
    assert await in_turn(busy) == [busy.workspace_id]


async def in_turn(tenant: Tenant) -> list[uuid.UUID]:
    async with tenant.engine.begin() as connection:
        await enter_all_workspaces(connection)
        return await list_workspaces_in_turn(connection, Carrier.SANDBOX)


async def test_a_key_of_the_installation_that_names_a_workspace_is_served_there_alone(
    robot: Caller, tenants: list[Tenant]
) -> None:
    mine, other, _ = tenants
    await other.job(items=1, carrier=Carrier.SANDBOX)

    assert await claim(robot.within(str(mine.workspace_id))) == (None, [])


async def test_a_key_of_one_workspace_is_never_served_anothers(api: Api, tenants: list[Tenant]) -> None:
    mine, other, _ = tenants
    await other.job(items=1, carrier=Carrier.SANDBOX)
    robot = api.robot((await mine.key()).secret)

    assert await claim(robot) == (None, [])


async def test_a_claim_that_cannot_be_right_is_refused_also_when_there_is_nothing(robot: Caller) -> None:
    answer = await robot.do(d.CLAIM, carrier=SANDBOX, limit=0)

    assert answer["__typename"] == "InvalidInput"


async def test_look_ups_go_in_turn_too(robot: Caller, tenants: list[Tenant]) -> None:
    for tenant in tenants[:2]:
        await tenant.job(items=1, carrier=Carrier.SANDBOX)
        [item] = (await tenant.claim(carrier=Carrier.SANDBOX)).items
        await tenant.mark(item)
        await tenant.fail(item, error_type=ErrorType.TIMEOUT)

    served = [(await claim(robot, purpose="LOOK_UP"))[0] for _ in range(3)]

    assert set(served[:2]) == {str(tenant.workspace_id) for tenant in tenants[:2]}
    assert served[2] is None


async def test_a_repeated_claim_is_answered_where_the_first_was(robot: Caller, tenants: list[Tenant]) -> None:
    for tenant in tenants:
        await tenant.job(items=1, carrier=Carrier.SANDBOX)
    claim_id = str(new_id())

    assert await claim(robot, claimId=claim_id) == await claim(robot, claimId=claim_id)
