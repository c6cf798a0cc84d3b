"""Evidence: whose it is, how much of it there may be, and when it goes."""

import asyncio
import datetime as dt

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from domain.base import new_id
from domain.errors import InvalidInput
from domain.evidence import (
    BYTES_AT_MOST,
    PER_ATTEMPT_AT_MOST,
    ContentType,
    Evidence,
    EvidenceNotFound,
    NewEvidence,
    TooMuchEvidence,
    evidence,
    find_same_evidence,
    get_evidence,
    list_evidence,
    list_strays,
    record_evidence,
    remove_expired_evidence,
)
from domain.robot_jobs import RobotJobItem, RobotJobItemNotFound
from domain.workspaces import Role, enter_all_workspaces
from tests.domain.ledger import at_once, counted_statements
from tests.tenants import Tenant

A_DAY = dt.timedelta(days=1)


def piece(item: RobotJobItem, content: bytes = b"a picture", *, attempt: int = 1) -> NewEvidence:
    return NewEvidence.of(item.id, attempt, ContentType.PNG, content)


async def keep(
    tenant: Tenant, new: NewEvidence, *, role: Role = Role.ROBOT, kept_for: dt.timedelta | None = A_DAY
) -> Evidence:
    async with tenant.work(role) as connection:
        return await record_evidence(connection, new, created_by=tenant.user(role), kept_for=kept_for)


async def find_same(tenant: Tenant, new: NewEvidence) -> Evidence | None:
    async with tenant.work(Role.ROBOT) as connection:
        return await find_same_evidence(connection, new)


async def rows(tenant: Tenant) -> int:
    return len((await tenant.contents())["evidence"])


async def test_it_is_kept_with_who_sent_it_and_until_when(tenant: Tenant) -> None:
    [item] = (await tenant.job(items=1)).items
    new = piece(item)

    kept = await keep(tenant, new)

    assert (kept.id, kept.item_id, kept.attempt) == (new.id, item.id, 1)
    assert (kept.content_type, kept.size_bytes) == (ContentType.PNG, 9)
    assert kept.created_by == tenant.user(Role.ROBOT)
    assert kept.expires_at == kept.created_at + A_DAY
    async with tenant.work(Role.VIEWER) as connection:
        assert await get_evidence(connection, kept.id) == kept


async def test_the_same_bytes_of_one_attempt_are_kept_once(tenant: Tenant) -> None:
    in_hand = await tenant.job(items=2, failed=1)
    await tenant.retry(in_hand.job.id)
    item, other = in_hand.items
    first = await keep(tenant, piece(item))

    assert await find_same(tenant, piece(item)) == first
    assert await keep(tenant, piece(item)) == first
    for another in (piece(item, b"another"), piece(item, attempt=2), piece(other)):
        assert await find_same(tenant, another) is None
        assert (await keep(tenant, another)).id == another.id
    assert await rows(tenant) == 4


async def test_an_attempt_that_has_not_begun_has_none(tenant: Tenant) -> None:
    [item] = (await tenant.job(items=1)).items

    for attempted in (find_same, keep):
        with pytest.raises(InvalidInput, match="has not begun") as refused:
            await attempted(tenant, piece(item, attempt=2))
        assert [problem.path for problem in refused.value.problems] == ["attempt"]
    assert await rows(tenant) == 0


async def test_an_attempt_has_ten_at_most(tenant: Tenant) -> None:
    [item] = (await tenant.job(items=1, failed=1)).items
    await tenant.retry(item.job_id)
    for number in range(PER_ATTEMPT_AT_MOST):
        await keep(tenant, piece(item, b"%d" % number))

    for attempted in (find_same, keep):
        with pytest.raises(TooMuchEvidence):
            await attempted(tenant, piece(item, b"one more"))

    assert (await keep(tenant, piece(item, b"0"))).size_bytes == 1, "what is there is no more"
    await keep(tenant, piece(item, b"one more", attempt=2))


async def test_ten_are_ten_however_many_come_at_once(tenant: Tenant) -> None:
    [item] = (await tenant.job(items=1)).items

    answers = await at_once(*(keep(tenant, piece(item, b"%d" % number)) for number in range(14)))

    assert sum(isinstance(answer, TooMuchEvidence) for answer in answers) == 4
    assert await rows(tenant) == 10


async def test_the_same_bytes_at_once_are_kept_once(tenant: Tenant) -> None:
    [item] = (await tenant.job(items=1)).items

    answers = await at_once(*(keep(tenant, piece(item)) for _ in range(8)))

    assert len({answer.id for answer in answers if isinstance(answer, Evidence)}) == 1
    assert await rows(tenant) == 1


async def test_evidence_does_not_wait_for_a_result_and_a_result_not_for_evidence(tenant: Tenant) -> None:
    """It takes the item's lock alone, and so can be in no circle with who holds a job's first."""
    in_hand = await tenant.job(items=4)

    async def both(item: RobotJobItem) -> None:
        await asyncio.gather(keep(tenant, piece(item)), tenant.succeed(item), keep(tenant, piece(item, b"text")))

    await at_once(*(both(item) for item in in_hand.items))

    assert await rows(tenant) == 8


@pytest.mark.parametrize("size", [0, BYTES_AT_MOST + 1])
def test_it_has_one_byte_to_two_million(size: int) -> None:
    with pytest.raises(InvalidInput) as refused:
        NewEvidence.of(new_id(), 1, ContentType.PNG, bytes(size))

    assert [problem.path for problem in refused.value.problems] == ["content"]


@pytest.mark.parametrize("attempt", [0, 2**31])
def test_an_attempt_is_a_number_from_one_on(attempt: int) -> None:
    with pytest.raises(InvalidInput) as refused:
        NewEvidence.of(new_id(), attempt, ContentType.PNG, b"a picture")

    assert [problem.path for problem in refused.value.problems] == ["attempt"]


async def test_another_tenants_is_as_nothing(tenant: Tenant, other_tenant: Tenant) -> None:
    [foreign] = (await other_tenant.job(items=1)).items
    kept = await keep(other_tenant, piece(foreign))
    nobodys = NewEvidence.of(new_id(), 1, ContentType.PNG, b"a picture")

    refusals = []
    for new in (piece(foreign), nobodys):
        with pytest.raises(RobotJobItemNotFound) as refused:
            await keep(tenant, new)
        refusals.append(refused.value.message.replace(str(new.item_id), "ID"))
    assert refusals[0] == refusals[1]
    async with tenant.work() as connection:
        for evidence_id in (kept.id, new_id()):
            with pytest.raises(EvidenceNotFound):
                await get_evidence(connection, evidence_id)
        assert await list_evidence(connection, [foreign.id]) == {foreign.id: []}
    assert await rows(other_tenant) == 1


async def test_the_database_lets_no_viewer_write_and_nobody_change_it(tenant: Tenant, other_tenant: Tenant) -> None:
    [item] = (await tenant.job(items=1)).items
    kept = await keep(tenant, piece(item))
    row = {"id": new_id(), "item_id": item.id, "attempt": 1, "content_type": "image/png", "size_bytes": 1}
    insert = sa.insert(evidence).values(**row, sha256=bytes(32), created_by="x")

    for of, role, statement in (
        (tenant, Role.VIEWER, insert),
        (other_tenant, Role.ADMIN, insert),
        (tenant, Role.ADMIN, sa.update(evidence).values(created_by="x")),
        (tenant, Role.ADMIN, sa.delete(evidence)),
    ):
        with pytest.raises(DBAPIError, match=r"row-level security|permission denied"):
            async with of.work(role) as connection:
                await connection.execute(statement)
    async with tenant.work() as connection:
        assert await get_evidence(connection, kept.id) == kept


async def test_a_key_for_other_carriers_sees_none_of_it(tenant: Tenant) -> None:
    """Nor its item: the policy goes through the job."""
    [item] = (await tenant.job(items=1)).items
    kept = await keep(tenant, piece(item))
    async with tenant.work(Role.ROBOT) as connection:
        await connection.execute(sa.text("SELECT set_config('robot_jobs.carriers', '{another}', true)"))
        visible = (await connection.scalars(sa.select(evidence.c.id))).all()

    assert kept.id not in visible


async def test_the_evidence_of_many_items_costs_one_statement(tenant: Tenant) -> None:
    in_hand = await tenant.job(items=30)
    kept = [await keep(tenant, piece(item, b"%d" % number)) for item in in_hand.items[:5] for number in range(3)]

    async with tenant.work() as connection:
        with counted_statements(tenant.engine) as sent:
            found = await list_evidence(connection, [item.id for item in in_hand.items])

    assert len(sent) == 1
    assert [each for item in in_hand.items for each in found[item.id]] == kept
    assert found[in_hand.items[-1].id] == []


async def _sweep(tenant: Tenant, *, limit: int = 1_000) -> set[object]:
    async with tenant.engine.begin() as connection:
        await enter_all_workspaces(connection)
        return set(await remove_expired_evidence(connection, limit=limit))


async def test_what_has_expired_is_removed_and_nothing_else(tenant: Tenant, other_tenant: Tenant) -> None:
    [item], [foreign] = (await tenant.job(items=1)).items, (await other_tenant.job(items=1)).items
    gone = {
        (await keep(tenant, piece(item, b"old"), kept_for=dt.timedelta(0))).id,
        (await keep(other_tenant, piece(foreign, b"old"), kept_for=dt.timedelta(0))).id,
    }
    kept = {(await keep(tenant, piece(item, b"new"))).id}
    kept.add((await keep(tenant, piece(item, b"for ever"), kept_for=None)).id)

    removed = await _sweep(tenant)

    assert gone <= removed
    assert kept.isdisjoint(removed)
    async with tenant.work() as connection:
        assert {each.id for each in (await list_evidence(connection, [item.id]))[item.id]} == kept


async def test_it_is_removed_in_batches(tenant: Tenant) -> None:
    [item] = (await tenant.job(items=1)).items
    for number in range(5):
        await keep(tenant, piece(item, b"%d" % number), kept_for=dt.timedelta(0))

    assert [len(await _sweep(tenant, limit=2)) for _ in range(2)] == [2, 2]


async def test_strays_are_what_no_workspace_knows(tenant: Tenant, other_tenant: Tenant) -> None:
    [item], [foreign] = (await tenant.job(items=1)).items, (await other_tenant.job(items=1)).items
    known = [(await keep(tenant, piece(item))).id, (await keep(other_tenant, piece(foreign))).id]
    stray = new_id()

    async with tenant.engine.begin() as connection:
        await enter_all_workspaces(connection)
        assert await list_strays(connection, [known[0], stray, known[1]]) == [stray]
