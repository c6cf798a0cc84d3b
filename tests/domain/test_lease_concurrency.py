"""Robots, results, cancellations, retries and sweeps at once, over real connections."""

import asyncio
import itertools
import random
import uuid
from collections.abc import Sequence

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.carriers import Carrier
from domain.errors import DomainError
from domain.robot_jobs import (
    ErrorType,
    HeldBack,
    ItemStatus,
    JobStatus,
    RecordedResult,
    RobotJob,
    RobotJobItem,
    claim_job_items,
    leases,
    robot_job_items,
    robot_jobs,
)
from domain.workspaces import Role
from tests.domain.ledger import assert_adds_up, at_once, until_blocked
from tests.tenants import Tenant

ROBOTS = 8


async def test_robots_that_claim_at_once_never_share_an_item(tenant: Tenant) -> None:
    await tenant.configure(max_concurrent_leases=100)
    jobs = [await tenant.job(items=15) for _ in range(3)]
    taken: list[RobotJobItem] = []

    async def robot(name: str) -> None:
        while items := (await tenant.claim(3, robot=name)).items:
            taken.extend(items)

    await at_once(*(robot(f"robot {number}") for number in range(ROBOTS)))

    assert sorted(item.id for item in taken) == sorted(item.id for job in jobs for item in job.items)
    assert len({item.lease_token for item in taken}) == 45
    for job in jobs:
        await assert_adds_up(tenant, job.job.id)


async def test_one_login_is_used_once_however_many_claim(tenant: Tenant) -> None:
    await tenant.configure(max_concurrent_leases=2)
    await tenant.job(items=20)

    claims = await asyncio.gather(*(tenant.claim(5) for _ in range(ROBOTS)))

    assert sum(len(claim.items) for claim in claims) == 2


async def test_a_claim_waits_until_the_leases_of_another_can_be_counted(tenant: Tenant) -> None:
    await tenant.job(items=2)
    async with tenant.work(Role.ROBOT) as first:
        claimed = await claim_job_items(
            first,
            Carrier.COORDINADORA,
            workspace_id=tenant.workspace_id,
            claimed_by="first",
            lease_s=3_600,  # as `Tenant.claim` has it: a sweep of another test must not find it
        )
        second = asyncio.create_task(tenant.claim())
        await until_blocked(tenant, 1, by=first)
    async with asyncio.timeout(20):
        assert (len(claimed.items), (await second).held_back) == (1, HeldBack.ACCOUNT_BUSY)


async def test_a_claim_passes_by_what_is_locked_while_it_holds_items(tenant: Tenant) -> None:
    """Results wait for items that a claim has locked: a claim that waited for others would close the circle."""
    await tenant.configure(max_concurrent_leases=5)
    in_hand = await tenant.job(items=3)
    await tenant.set_status(in_hand.job.id, JobStatus.PROCESSING)
    locked, *free = in_hand.items
    async with tenant.work() as busy:
        await busy.execute(sa.select(robot_jobs).where(robot_jobs.c.id == in_hand.job.id).with_for_update())
        await busy.execute(sa.select(robot_job_items).where(robot_job_items.c.id == locked.id).with_for_update())

        async with asyncio.timeout(20):
            claimed = await tenant.claim(3)

    assert [item.id for item in claimed.items] == [item.id for item in free]


async def test_a_claim_passes_by_a_job_that_is_locked(tenant: Tenant) -> None:
    await tenant.configure(max_concurrent_leases=5)
    first, second = await tenant.job(items=1), await tenant.job(items=1)
    async with tenant.work() as busy:
        await busy.execute(sa.select(robot_jobs).where(robot_jobs.c.id == first.job.id).with_for_update())

        async with asyncio.timeout(20):
            claimed = await tenant.claim(2)

    assert [item.id for item in claimed.items] == [second.items[0].id]
    assert [item.id for item in (await tenant.claim(2)).items] == [first.items[0].id]


async def test_what_was_closed_since_the_claim_looked_is_not_leased(
    tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    await tenant.configure(max_concurrent_leases=5)
    in_hand = await tenant.job(items=2)
    lock_jobs = leases._lock_pending_jobs

    async def late(connection: AsyncConnection, job_ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, RobotJob]:
        await tenant.succeed(in_hand.items[0])  # by an orchestrator without leases
        return await lock_jobs(connection, job_ids)

    monkeypatch.setattr(leases, "_lock_pending_jobs", late)
    claimed = await tenant.claim(2)

    assert [item.id for item in claimed.items] == [in_hand.items[1].id]
    await assert_adds_up(tenant, in_hand.job.id)


async def test_a_sweep_passes_by_a_job_that_is_locked(tenant: Tenant) -> None:
    in_hand = await tenant.job(items=1)
    [item] = (await tenant.claim()).items
    await tenant.run_out(item)
    async with tenant.work() as busy:
        await busy.execute(sa.select(robot_jobs).where(robot_jobs.c.id == in_hand.job.id).with_for_update())

        async with asyncio.timeout(20):
            assert (await tenant.sweep()).count == 0

    assert (await tenant.sweep()).count == 1


async def test_a_result_and_the_sweep_at_once_count_the_item_once(tenant: Tenant) -> None:
    await tenant.configure(max_concurrent_leases=1)
    for number in range(12):
        in_hand = await tenant.job(items=1)
        [item] = (await tenant.claim()).items
        await tenant.mark(item)
        await tenant.run_out(item)

        answers = await at_once(tenant.succeed(item, attempt=1), tenant.sweep())
        await tenant.sweep()

        [recorded] = [answer for answer in answers if isinstance(answer, RecordedResult)]
        after = await tenant.read(in_hand.job.id)
        assert (after.items[0].status, after.job.success_count) == (ItemStatus.SUCCESS, 1), number
        assert not recorded.replayed
        await assert_adds_up(tenant, in_hand.job.id)


async def test_a_mark_and_the_sweep_at_once_never_give_a_submitted_item_away(tenant: Tenant) -> None:
    for _ in range(12):
        in_hand = await tenant.job(items=1)
        [item] = (await tenant.claim()).items
        await tenant.run_out(item)

        async def renew_and_mark(item: RobotJobItem = item) -> bool:
            await tenant.renew(item)
            return (await tenant.mark(item)).submitted_at is not None

        answers = await at_once(renew_and_mark(), tenant.sweep())

        now = await tenant.item(item)
        if any(answer is True for answer in answers):
            assert (now.status, now.attempt) == (ItemStatus.PROCESSING, 1)
            await tenant.succeed(item, attempt=1)
        else:
            assert (now.status, now.attempt) == (ItemStatus.PENDING, 2)
            await tenant.set_status(in_hand.job.id, JobStatus.CANCELLED)
        await assert_adds_up(tenant, in_hand.job.id)


async def test_whatever_happens_at_once_the_books_balance_and_nobody_waits_in_a_circle(
    tenant: Tenant, other_tenant: Tenant
) -> None:
    """Every order has one parcel at most: what a robot makes, it makes after its mark."""
    parcels: dict[uuid.UUID, list[str]] = {}
    numbers = itertools.count()
    tenants = (tenant, other_tenant)
    for each in tenants:
        await each.configure(max_concurrent_leases=20)
    jobs = [(each, await each.job(items=12)) for each in tenants for _ in range(4)]
    until = asyncio.get_running_loop().time() + 8

    def is_over() -> bool:
        return asyncio.get_running_loop().time() > until

    async def robot(here: Tenant, dice: random.Random) -> None:
        while not is_over():
            for item in (await here.claim(3)).items:
                await _work(here, item, dice)

    async def _work(here: Tenant, item: RobotJobItem, dice: random.Random) -> None:
        fate = dice.random()
        try:
            if fate < 0.1:  # dies before the button
                await here.run_out(item)
                return
            if fate < 0.3:
                await here.renew(item)
            await here.mark(item)
            if fate < 0.6:
                number = f"PED-{next(numbers)}"
                parcels.setdefault(item.order_id, []).append(number)
                if fate > 0.5:  # dies after the button
                    await here.run_out(item)
                    return
                await here.succeed(item, attempt=item.attempt, tracking_number=number)
            else:
                kinds = [ErrorType.PORTAL, ErrorType.TIMEOUT]
                await here.fail(item, attempt=item.attempt, error_type=dice.choice(kinds))
        except DomainError:
            pass

    async def keep(dice: random.Random, act: str) -> None:
        while not is_over():
            here, in_hand = dice.choice(jobs)
            try:
                match act:
                    case "sweep":
                        await here.sweep()
                    case "retry":
                        await here.retry(in_hand.job.id)
                    case "cancel":
                        await asyncio.sleep(0.7)
                        await here.set_status(
                            in_hand.job.id, dice.choice([JobStatus.CANCELLED, JobStatus.FAILED, JobStatus.FAILED])
                        )
                    case _:
                        item = await here.item(dice.choice(in_hand.items))
                        if item.outcome_unknown:
                            made = parcels.get(item.order_id, [])
                            await here.resolve(item, found=made[0] if made else None)
            except DomainError:
                pass

    await at_once(
        *(robot(tenants[number % 2], _dice(number)) for number in range(ROBOTS)),
        *(
            keep(_dice(100 + number), act)
            for number, act in enumerate(["sweep", "sweep", "retry", "retry", "cancel", "resolve", "resolve"])
        ),
    )

    await tenant.sweep()
    for here, in_hand in jobs:
        await assert_adds_up(here, in_hand.job.id)
        for item in (await here.read(in_hand.job.id)).items:
            made = parcels.get(item.order_id, [])
            assert len(made) <= 1, item
            if item.status is ItemStatus.SUCCESS:
                assert [item.tracking_number] == made


def _dice(seed: int) -> random.Random:
    return random.Random(seed)  # noqa: S311 -- no secret
