"""Two robots, a sandbox portal with faults, kill -9 and lost answers: each order ends rightly, and never twice."""

import asyncio
import random
from pathlib import Path

from sqlalchemy.ext.asyncio import AsyncEngine

from clients.robot.sandbox_portal.server import running_portal
from clients.robot.sandbox_portal.store import Store
from domain.carriers import Carrier
from domain.robot_jobs import ItemStatus, RobotJobItem
from tests.clients.robot.gate import open_gate
from tests.clients.robot.portal_visitors import fast
from tests.clients.robot.workshops import PASSWORD, RobotProcess, Workshop, open_workshop
from tests.conftest import Database
from tests.domain.secrets import KEY_RING
from tests.servers import running_server, settings_for, until
from tests.tenants import Tenant

FAULTS = [
    *("drop_field:direccion_", "session_lost", "session_lost_at_submit", "crash_before", "crash_after", "error"),
    *("refusal", "duplicate_number", "crash_after*2", "drop_field:direccion_*"),
]
ORDERS = 24
KILLS = 4


def start(workshop: Workshop, url: str, number: int) -> RobotProcess:
    return workshop.start(
        *("--carrier", "sandbox", "--portal-url", url, "--name", f"robot-{number}"),
        *("--state-dir", str(workshop.folder / f"state-{number}"), "--absent-after", "1"),
        *("--result-timeout", "5", "--answer-timeout", "5"),
    )


async def test_every_order_ends_rightly_and_none_has_two_parcels(
    database: Database, engine: AsyncEngine, tenant: Tenant, tmp_path: Path
) -> None:
    luck = random.Random(7)  # noqa: S311 -- a repeatable test, no secret
    marks = [f"#{fault}" for fault in FAULTS] + [""] * (ORDERS - len(FAULTS))
    luck.shuffle(marks)
    orders = await tenant.orders_named(*[f"F-{number}{mark}" for number, mark in enumerate(marks)])
    job = await tenant.job(orders=orders, carrier=Carrier.SANDBOX)
    settings = settings_for(database.urls) | {
        "ROBOT_JOBS_CREDENTIAL_KEYS": KEY_RING.as_text(),
        "ROBOT_JOBS_PAUSE_AFTER_ERRORS": "1000",
    }

    async with (
        running_server(**settings) as server,
        open_gate(server.url) as gate,
        open_workshop(gate, tenant, tmp_path, carrier=Carrier.SANDBOX) as workshop,
        running_portal(fast(default_password=PASSWORD)) as portal,
    ):
        robots = [start(workshop, portal.url, number) for number in range(2)]
        for kill in range(KILLS):
            await workshop.answered("MarkItemSubmitting", times=1 + kill * 3)
            await asyncio.sleep(luck.uniform(0, 0.1))  # any moment will do
            number = kill % 2
            robots[number].process.kill()
            await robots[number].ended()
            gate.lost |= {"updateJobItemResults(": 1, "markItemSubmitting(": 1}
            robots[number] = start(workshop, portal.url, number)
        await until(lambda: workshop.is_settled(job), within_s=120)
        for robot in robots:
            robot.process.terminate()
            assert await robot.ended() == 0, robot.log.read_text()

        kept = await tenant.read(job.job.id)
        wrong = [told for item in kept.items if (told := what_is_wrong(item, portal.store))]
    assert wrong == []
    assert kept.job.success_count == sum(item.status == ItemStatus.SUCCESS for item in kept.items)
    assert kept.job.error_count == sum(item.status == ItemStatus.ERROR for item in kept.items)
    assert kept.job.success_count >= ORDERS - len(FAULTS) - KILLS


def what_is_wrong(item: RobotJobItem, store: Store) -> str | None:
    assert item.value_sent is not None
    reference = str(item.value_sent["referencia"])
    numbers = [str(parcel.number) for parcel in store.find_parcels(reference=reference)]
    expected = [item.tracking_number] if item.status is ItemStatus.SUCCESS else []
    is_right = numbers == expected and item.review_reason is None
    return None if is_right else f"{reference}: {item.status} {item.tracking_number}, parcels {numbers}, {item}"
