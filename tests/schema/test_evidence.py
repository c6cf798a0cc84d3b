"""Evidence as it is shown with the attempts that it is of."""

import datetime as dt

from sqlalchemy.ext.asyncio import AsyncEngine

from domain.evidence import ContentType, Evidence, NewEvidence, record_evidence
from domain.robot_jobs import RobotJobItem
from domain.workspaces import Role
from tests.domain.ledger import counted_statements
from tests.schema.caller import Caller
from tests.tenants import Tenant

EVIDENCE = "evidence { id contentType sizeBytes url createdAt createdBy expiresAt }"
ITEM = f"query ($id: ID!) {{ robotJobItem(id: $id) {{ attempts {{ attempt {EVIDENCE} }} }} }}"
JOBS = "{ robotJobs { nodes { items(first: 5) { nodes { attempts { attempt evidence { url } } } } } } }"


async def keep(
    tenant: Tenant, item: RobotJobItem, content: bytes, *, attempt: int = 1, kept_for: dt.timedelta | None = None
) -> Evidence:
    async with tenant.work(Role.ROBOT) as connection:
        new = NewEvidence.of(item.id, attempt, ContentType.PNG, content)
        return await record_evidence(connection, new, created_by=tenant.user(Role.ROBOT), kept_for=kept_for)


async def test_each_attempt_shows_its_own(tenant: Tenant, operator: Caller) -> None:
    in_hand = await tenant.job(items=1, failed=1)
    [item] = in_hand.items
    first = await keep(tenant, item, b"first", kept_for=dt.timedelta(days=30))
    second = await keep(tenant, item, b"second")
    await tenant.retry(in_hand.job.id)
    of_another_attempt = await keep(tenant, item, b"third", attempt=2)
    await tenant.fail(item)

    shown = await operator.ask(ITEM, id=str(item.id))

    one, two = shown["robotJobItem"]["attempts"]
    assert first.expires_at is not None
    assert one["evidence"][0] == {
        "id": str(first.id),
        "contentType": "image/png",
        "sizeBytes": 5,
        "url": f"/evidence/{first.id}",
        "createdAt": first.created_at.isoformat(),
        "createdBy": tenant.user(Role.ROBOT),
        "expiresAt": first.expires_at.isoformat(),
    }
    assert [(each["id"], each["expiresAt"]) for each in one["evidence"][1:]] == [(str(second.id), None)]
    assert [each["id"] for each in two["evidence"]] == [str(of_another_attempt.id)]


async def test_the_evidence_of_many_attempts_costs_one_statement(
    engine: AsyncEngine, tenant: Tenant, operator: Caller
) -> None:
    async def cost() -> int:
        with counted_statements(engine) as sent:
            await operator.ask(JOBS)
        return len(sent)

    for _ in range(2):
        [item] = (await tenant.job(items=1, failed=1)).items
        await keep(tenant, item, b"a picture")
    few = await cost()
    for _ in range(3):
        in_hand = await tenant.job(items=3, failed=3)
        await tenant.retry(in_hand.job.id)
        for item in in_hand.items:
            await keep(tenant, item, b"a picture")
            await tenant.fail(item)

    assert await cost() == few


async def test_of_another_workspace_nothing_is_shown(tenant: Tenant, other_tenant: Tenant, operator: Caller) -> None:
    [foreign] = (await other_tenant.job(items=1, failed=1)).items
    await keep(other_tenant, foreign, b"a picture")
    await tenant.job(items=1, failed=1)

    shown = await operator.ask(JOBS)

    assert [
        attempt["evidence"]
        for job in shown["robotJobs"]["nodes"]
        for item in job["items"]["nodes"]
        for attempt in item["attempts"]
    ] == [[]]
