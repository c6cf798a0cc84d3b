"""Whatever happens to robots, portal and API: no order has two parcels, and what we say of each is true.

A third of the orders meet a fault at the portal; robots are killed and started again all the time, connections to the
API are cut in the midst of an answer, and the API itself is killed twice.  The portal counts parcels.
"""

import asyncio
import os
import random
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from clients.robot.sandbox_portal.server import RunningPortal, running_portal
from clients.robot.sandbox_portal.settings import PortalSettings
from domain.carrier_configs import CarrierConfigChanges, upsert_carrier_config
from domain.carriers import Carrier
from domain.robot_jobs import ItemStatus, RobotJobItem, robot_job_items
from domain.workspaces import Role
from tests.api.network import Network
from tests.conftest import Database
from tests.domain.ledger import assert_adds_up
from tests.domain.secrets import KEY_RING
from tests.processes import Process, start
from tests.servers import environment, running_server, settings_for
from tests.tenants import JobInHand, Tenant, make_installation_key, make_tenant

ORDERS = int(os.environ.get("ROBOT_JOBS_TESTS_ORDERS", "60"))
SHOPS, ROBOTS = 4, 4
SETTLED_WITHIN_S = 60.0 + ORDERS
ABSENT_AFTER_S = 3.0
STORED_LATE_S = 1.0
KILLS_EVERY_S = (0.5, 3.0)
"""Of any robot; one takes a second to start, or several when tests run beside it."""
CUTS_EVERY_S = (0.2, 1.0)
MARKS = (
    "#drop_field:direccion_",
    "#drop_field:telefono_celular_*",
    "#session_lost",
    "#session_lost_at_submit",
    "#crash_before",
    "#crash_after",
    "#stored_late",
    "#slow",
    "#error",
    "#refusal",
    "#duplicate_number",
)


_COUNT = sa.select(
    sa.func.count().filter(robot_job_items.c.completed_at.is_(None)).label("open"),
    sa.func.count().filter(robot_job_items.c.outcome_unknown).label("unknown"),
)


@dataclass
class Robot:
    """A process that is started again whenever it has ended, with what it kept on its disk."""

    command: list[str]
    key: str
    log: Path
    process: Process | None = None
    kills: int = 0

    def start(self) -> None:
        self.process = start(self.command, environment(ROBOT_JOBS_KEY=self.key), self.log, self.log)

    def kill(self) -> None:
        assert self.process is not None
        assert self.process.poll() is None, self.log.read_text()[-2_000:]
        self.process.kill()
        self.process.wait()
        self.kills += 1

    async def stop(self) -> int:
        assert self.process is not None
        self.process.terminate()
        return await asyncio.to_thread(self.process.wait, 60)


class Api:
    """At one address, however often it is started."""

    def __init__(self, settings: dict[str, str]) -> None:
        self.entrance = Network(0)
        self._settings = settings
        self._running = AsyncExitStack()

    async def start(self) -> None:
        self._server = await self._running.enter_async_context(running_server(**self._settings))
        self.entrance.target = self._server.port
        await self.entrance.mend()

    async def kill(self) -> None:
        await self._server.end(signal.SIGKILL)
        assert "Traceback" not in self._server.log.read_text()
        await self._running.aclose()

    async def close(self) -> None:
        await self._running.aclose()
        await self.entrance.close()


@dataclass
class Scene:
    portal: RunningPortal
    api: Api
    robots: list[Robot]
    shops: list[Tenant]
    engine: AsyncEngine
    choice: random.Random
    jobs: list[JobInHand] = field(default_factory=list)

    async def items(self) -> list[RobotJobItem]:
        return [
            item
            for shop, job in zip(self.shops, self.jobs, strict=True)
            for item in (await shop.read(job.job.id)).items
        ]

    async def wait(
        self, troubles: list["asyncio.Task[None]"], *, open_at_most: int, unknown_at_most: int = ORDERS
    ) -> None:
        """Until there are no more open items, nor items with an unknown outcome."""
        async with asyncio.timeout(SETTLED_WITHIN_S):
            while not await self._is_down_to(open_at_most, unknown_at_most):
                for trouble in troubles:
                    if trouble.done():
                        trouble.result()
                await asyncio.sleep(0.2)

    async def _is_down_to(self, open_at_most: int, unknown_at_most: int) -> bool:
        open_, unknown = 0, 0
        for shop in self.shops:
            async with shop.work() as connection:
                row = (await connection.execute(_COUNT)).one()
            open_, unknown = open_ + row.open, unknown + row.unknown
        return open_ <= open_at_most and unknown <= unknown_at_most

    @asynccontextmanager
    async def in_trouble(self) -> AsyncIterator[list["asyncio.Task[None]"]]:
        troubles = [asyncio.create_task(trouble()) for trouble in (self.keep_killing_robots, self.keep_cutting)]
        try:
            yield troubles
        finally:
            for trouble in troubles:
                trouble.cancel()
            await asyncio.gather(*troubles, return_exceptions=True)

    async def keep_killing_robots(self) -> None:
        while True:
            await asyncio.sleep(self.choice.uniform(*KILLS_EVERY_S))
            robot = self.choice.choice(self.robots)
            robot.kill()
            robot.start()

    async def keep_cutting(self) -> None:
        while True:
            await asyncio.sleep(self.choice.uniform(*CUTS_EVERY_S))
            self.api.entrance.cut_one(self.choice)


@asynccontextmanager
async def opened(database: Database, engine: AsyncEngine, folder: Path) -> AsyncIterator[Scene]:
    settings = settings_for(database.urls) | {
        "ROBOT_JOBS_CREDENTIAL_KEYS": KEY_RING.as_text(),
        "ROBOT_JOBS_PROBE_AFTER_S": "0.2",
    }
    key = (await make_installation_key(database.urls, carriers=[Carrier.SANDBOX])).secret
    api = Api(settings)
    await api.start()
    portal_settings = PortalSettings(
        dialog_delay_s=(0, 0.02), suggestions_delay_s=0, slow_s=STORED_LATE_S, page_size=50, file=folder / "portal.db"
    )
    async with running_portal(portal_settings) as portal:
        scene = Scene(portal, api, [], [], engine, random.Random(4711))  # noqa: S311 -- no secret
        for number in range(SHOPS):
            scene.shops.append(await _make_shop(database, engine, f"shop-{number}"))
        for number in range(ROBOTS):
            options = [
                "--carrier",
                "sandbox",
                "--portal-url",
                portal.url,
                "--state-dir",
                str(folder / f"robot-{number}"),
            ]
            options += ["--url", f"http://127.0.0.1:{api.entrance.port}/graphql", "--name", f"robot-{number}"]
            options += ["--absent-after", str(ABSENT_AFTER_S), "--answer-timeout", "10", "--result-timeout", "10"]
            scene.robots.append(Robot(["robot", *options], key, folder / f"robot-{number}.log"))
        try:
            yield scene
        finally:
            for robot in scene.robots:
                if robot.process is not None:
                    robot.process.kill()
                    robot.process.wait()
            await api.close()


async def _make_shop(database: Database, engine: AsyncEngine, username: str) -> Tenant:
    shop = await make_tenant(database.urls, engine)
    async with shop.work(Role.ADMIN) as connection:
        await upsert_carrier_config(
            connection,
            Carrier.SANDBOX,
            CarrierConfigChanges(username=username, password="sandbox"),
            workspace_id=shop.workspace_id,
            updated_by="a test",
            key_ring=KEY_RING,
        )
    return shop


@pytest.mark.long
@pytest.mark.filterwarnings("ignore:.*unclosed:ResourceWarning")  # of connections that were cut
async def test_no_order_has_two_parcels_and_what_is_said_of_each_is_true(
    database: Database, engine: AsyncEngine, tmp_path: Path
) -> None:
    async with opened(database, engine, tmp_path) as scene:
        marks = [MARKS[number // 3 % len(MARKS)] if number % 3 == 0 else "" for number in range(ORDERS)]
        for first, shop in enumerate(scene.shops):
            references = [f"ORD-{number}{marks[number]}" for number in range(first, ORDERS, SHOPS)]
            orders = await shop.orders_named(*references)
            scene.jobs.append(await shop.job(orders=orders, carrier=Carrier.SANDBOX))
        for robot in scene.robots:
            robot.start()

        async with scene.in_trouble() as troubles:
            for closed in (ORDERS // 3, ORDERS * 2 // 3, ORDERS):
                await scene.wait(troubles, open_at_most=ORDERS - closed)
                if closed < ORDERS:
                    await scene.api.kill()
                    await scene.api.start()
        await scene.wait([], open_at_most=0, unknown_at_most=0)

        codes = {await robot.stop() for robot in scene.robots}
        assert codes <= {0, -signal.SIGTERM}, "one that had only just been started again does not listen yet"
        assert sum(robot.kills for robot in scene.robots) >= ROBOTS
        await _check(scene)


async def _check(scene: Scene) -> None:
    items = await scene.items()
    parcels: dict[str, list[str]] = {}
    for parcel in scene.portal.store.find_parcels():
        parcels.setdefault(parcel.reference, []).append(str(parcel.number))
    said = {_reference(item): item for item in items}

    assert [reference for reference in said if len(parcels.get(reference, ())) > 1] == []
    wrong = {
        reference: (item.status, item.tracking_number, item.error_message, parcels.get(reference))
        for reference, item in said.items()
        if parcels.get(reference, []) != ([item.tracking_number] if item.status is ItemStatus.SUCCESS else [])
    }
    assert wrong == {}
    assert len(said) == ORDERS
    for shop, job in zip(scene.shops, scene.jobs, strict=True):
        await assert_adds_up(shop, job.job.id)


def _reference(item: RobotJobItem) -> str:
    assert item.value_sent is not None
    return str(item.value_sent["referencia"])
