"""A robot at the accounts of several shops: logins are few, sessions are kept, numbers are each account's own."""

import asyncio
import re
import time
from pathlib import Path

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from domain.robot_jobs import ItemStatus
from tests.clients.robot.gate import open_gate
from tests.clients.robot.workshops import Workshop, open_workshop
from tests.conftest import Database
from tests.domain.secrets import KEY_RING, upsert
from tests.servers import running_server, settings_for, until
from tests.tenants import Tenant, make_installation_key


async def test_a_session_is_kept_from_one_start_to_the_next(workshop: Workshop, shop: Tenant) -> None:
    for _ in range(2):
        await shop.job(items=1)
        await workshop.run()

    assert workshop.portal.count("log in") == 1
    assert workshop.portal.count("kept session") == 1


async def test_a_session_of_another_login_is_not_used(workshop: Workshop, shop: Tenant) -> None:
    await shop.job(items=1)
    await workshop.run()
    await upsert(shop, username="otra tienda")
    await shop.job(items=1)

    await workshop.run()

    assert workshop.portal.count("log in") == 2


async def test_items_in_hand_are_done_one_after_another_at_the_carrier_s_pace(workshop: Workshop, shop: Tenant) -> None:
    job = await shop.job(items=3)
    began = asyncio.get_running_loop().time()

    await workshop.run(limit=3, portal={"pace_s": 0.2})

    assert asyncio.get_running_loop().time() - began >= 0.4
    assert workshop.gate.passed.count("ClaimJobItems") == 4  # three items, nothing to look up; nothing of either kind
    steps = [step for step in workshop.portal.steps() if step in ("fill", "result")]
    assert steps == ["fill", "result"] * 3
    assert {item.status for item in (await shop.read(job.job.id)).items} == {ItemStatus.SUCCESS}


async def test_after_a_portal_that_is_away_the_account_s_other_items_are_not_tried(
    workshop: Workshop, shop: Tenant
) -> None:
    job = await shop.job(items=3)
    workshop.portal.order("fill", "PortalUnavailable")

    async with workshop.running(limit=3):
        await until(lambda: workshop.metrics.outcomes["success"] == 3)

    assert {item.attempt for item in (await shop.read(job.job.id)).items} == {1}
    assert workshop.metrics.outcomes == {"portal_unavailable": 1, "success": 3}
    assert [f"kept {table}" for table in ("claims", "results") if workshop.kept(table)] == []


async def test_an_account_that_pauses_ends_a_robot_that_was_to_run_until_idle(workshop: Workshop, shop: Tenant) -> None:
    await shop.job(items=1)
    workshop.portal.order("fill", "PortalUnavailable", times=3)

    ended = await workshop.run_process()

    assert ended.process.returncode == 3, ended.log.read_text()
    assert "ACCOUNT_PAUSED" in ended.log.read_text()


async def test_an_account_without_a_password_is_left_alone(workshop: Workshop, shop: Tenant) -> None:
    job = await shop.job(items=1)
    await upsert(shop, password=None)

    await workshop.run()

    assert (await workshop.item(job)).status == ItemStatus.PENDING
    assert workshop.portal.steps() == []


async def test_a_robot_of_the_whole_installation_serves_each_shop_in_its_own_workspace(
    database: Database, engine: AsyncEngine, tenant: Tenant, other_tenant: Tenant, tmp_path: Path
) -> None:
    key = await make_installation_key(database.urls)
    jobs = [await shop.job(items=2) for shop in (tenant, other_tenant)]
    settings = settings_for(database.urls) | {"ROBOT_JOBS_CREDENTIAL_KEYS": KEY_RING.as_text()}

    async with (
        running_server(**settings) as server,
        open_gate(server.url) as gate,
        open_workshop(gate, tenant, tmp_path) as workshop,
    ):
        await upsert(other_tenant, username="otra tienda", password="sandbox")
        workshop.key = key.secret
        workshop.portal.order("after submit", "OutcomeUnknown", times=4)
        workshop.portal.order("look up", "PortalUnavailable")
        await workshop.run(portal={"absent_after_s": 0})

        for shop, job in zip((tenant, other_tenant), jobs, strict=True):
            items = (await shop.read(job.job.id)).items
            assert [item.status for item in items] == [ItemStatus.SUCCESS] * 2
            assert [item.tracking_number for item in items] == ["1", "2"]
            assert [len(workshop.parcels(item)) for item in items] == [1, 1]
        assert workshop.portal.count("log in") == 2


async def test_no_wall_clock_decides_anything(
    workshop: Workshop, shop: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = await shop.job(items=2)
    real = time.time
    monkeypatch.setattr("time.time", lambda: real() + 7_200)
    workshop.portal.order("submit", "OutcomeUnknown")

    await workshop.run(lease_s=30, portal={"absent_after_s": 2})

    items = (await shop.read(job.job.id)).items
    assert [item.status for item in items] == [ItemStatus.ERROR, ItemStatus.SUCCESS]
    (attempt,) = await shop.attempts(items[0])
    assert attempt.resolution == "confirmed_absent"
    assert attempt.submitted_at is not None
    assert attempt.resolved_at is not None
    assert (attempt.resolved_at - attempt.submitted_at).total_seconds() >= 2


def test_the_wall_clock_is_read_for_metrics_alone() -> None:
    folder = Path(__file__).parents[3] / "clients" / "robot"
    readers = {
        file.name
        for file in folder.glob("*.py")
        if re.search(r"\btime\.time\(|\.now\(dt\.UTC|utcnow\(|datetime\.now\(|date\.today\(", file.read_text())
    }

    assert readers == {"metrics.py"}
