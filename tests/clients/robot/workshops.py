"""A shop with orders to ship, a scripted portal, and robots that work there: in this process, or in their own."""

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from clients.robot.carrier import CarrierSettings
from clients.robot.journal import Journal, open_journal
from clients.robot.logs import Log, Secrets
from clients.robot.main import assembled_robot
from clients.robot.metrics import Metrics
from clients.robot.options import RobotOptions
from clients.robot.robot import Robot
from domain.accounts import (
    Breaker,
    carrier_accounts,
    note_claim,
    note_portal_works,
    resume_carrier_account,
)
from domain.carrier_configs import ShippingDefaultsChanges
from domain.carriers import Carrier
from domain.robot_jobs import RobotJobItem, cancel_robot_job, mark_item_submitting
from domain.robot_jobs.tables import robot_job_lookups
from domain.workspaces import Role
from tests.clients.robot.gate import Gate
from tests.clients.robot.scripted import ScriptedCarrier, ScriptedPortal
from tests.domain.secrets import upsert
from tests.processes import Process, start
from tests.servers import PATIENCE_S, environment, until
from tests.tenants import JobInHand, Tenant, held

PASSWORD = "Kanarienvogel4711"


@dataclass
class RobotProcess:
    process: Process
    log: Path

    async def ended(self) -> int:
        return await asyncio.to_thread(self.process.wait, PATIENCE_S)

    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]


@dataclass
class Workshop:
    gate: Gate
    shop: Tenant
    folder: Path
    portal: ScriptedPortal
    key: str
    metrics: Metrics = field(default_factory=Metrics)
    processes: list[Process] = field(default_factory=list)

    # ------------------------------------------------------------------------------------------ robots here

    def options(self, **changes: Any) -> RobotOptions:
        settings: dict[str, Any] = {"url": "http://portal.invalid", "options": {"portal": str(self.portal.file)}}
        settings |= changes.pop("portal", {})
        given: dict[str, Any] = {
            "carrier": "tests.clients.robot.scripted:ScriptedCarrier",
            "url": f"{self.gate.url}/graphql",
            "key": self.key,
            "carrier_settings": CarrierSettings(**settings),
            "state_dir": self.folder / "state",
            "until_idle": True,
        }
        return RobotOptions(**given | changes)

    @asynccontextmanager
    async def robot(self, *, stopping: asyncio.Event | None = None, **changes: Any) -> AsyncIterator[Robot]:
        """One that has not begun."""
        options = self.options(**changes)
        with open_journal(options.folder) as journal:
            async with assembled_robot(
                options,
                ScriptedCarrier,
                journal,
                Secrets(),
                self.metrics,
                Log(robot=options.name),
                stopping or asyncio.Event(),
            ) as robot:
                yield robot

    async def run(self, **changes: Any) -> None:
        """Until nothing is left to do."""
        async with asyncio.timeout(PATIENCE_S), self.robot(**changes) as robot:
            await robot.run()

    @asynccontextmanager
    async def running(self, **changes: Any) -> AsyncIterator[asyncio.Event]:
        """A robot beside the test; what it is stopped by, which happens at the end anyway."""
        stopping = asyncio.Event()
        async with self.robot(stopping=stopping, until_idle=False, **changes) as robot:
            work = asyncio.create_task(robot.run())
            try:
                yield stopping
            finally:
                stopping.set()
                async with asyncio.timeout(PATIENCE_S):
                    await work

    @asynccontextmanager
    async def journal(self) -> AsyncIterator[Journal]:
        with open_journal(self.folder / "state") as journal:
            yield journal

    # ------------------------------------------------------------------------------------------ robots of their own

    def start(self, *arguments: str, log_format: str = "json", **settings: str) -> RobotProcess:
        log = self.folder / f"log-{len(list(self.folder.glob('log-*')))}"
        command = ["robot", "--carrier", "tests.clients.robot.scripted:ScriptedCarrier", "--log", log_format]
        command += ["--portal-url", "http://portal.invalid", "--option", f"portal={self.portal.file}"]
        command += ["--url", f"{self.gate.url}/graphql", "--state-dir", str(self.folder / "state"), *arguments]
        process = start(command, environment(**{"ROBOT_JOBS_KEY": self.key} | settings), log, log)
        self.processes.append(process)
        return RobotProcess(process, log)

    async def run_process(self, *arguments: str, **settings: str) -> RobotProcess:
        robot = self.start("--until-idle", *arguments, **settings)
        await robot.ended()
        return robot

    # ------------------------------------------------------------------------------------------ what others do

    async def mark(self, item: RobotJobItem, number: str) -> None:
        """As another robot that holds its lease."""
        async with self.shop.work(Role.ROBOT) as connection:
            await mark_item_submitting(connection, held(item), reserved_number=number)

    async def cancel(self, job: JobInHand) -> None:
        async with self.shop.work() as connection:
            await cancel_robot_job(connection, job.job.id, cancelled_by=self.shop.user(Role.OPERATOR), reason=None)

    async def resume(self) -> None:
        """The account, as somebody who has looked."""
        async with self.shop.work() as connection:
            await resume_carrier_account(connection, Carrier.COORDINADORA)

    async def forget_the_pause(self) -> None:
        async with self.shop.work(Role.ROBOT) as connection:
            await connection.execute(
                sa.update(carrier_accounts).values(
                    paused_at=None, pause_reason=None, pause_message=None, probe_at=None, is_probing=False
                )
            )

    async def give_all_orders_the_reference(self, reference: str) -> None:
        await upsert(self.shop, shipping_defaults=ShippingDefaultsChanges(reference=reference))

    def after(self, operation: str, do: Callable[[], Awaitable[object]]) -> None:
        """Once, when the API has done it and before the robot hears of it."""

        async def watch(name: str) -> None:
            if name == operation:
                self.gate.watchers.remove(watch)
                await do()

        self.gate.watchers.append(watch)

    async def answered(self, operation: str, *, times: int = 1) -> None:
        await until(lambda: self.gate.passed.count(operation) >= times)

    async def portal_has_met(self, step: str, *, times: int = 1) -> None:
        await until(lambda: self.portal.count(step) >= times)

    async def is_closed(self, job: JobInHand, number: int) -> bool:
        return not (await self.item(job, number)).status.is_open

    # ------------------------------------------------------------------------------------------ what came of it

    def kept(self, table: str) -> int:
        """How many rows of it a robot has on its disk now."""
        with closing(sqlite3.connect(self.folder / "state" / "journal.db", timeout=10)) as database:
            (count,) = database.execute(f"SELECT count(*) FROM {table}").fetchone()  # noqa: S608 -- a test's own
        return int(count)

    async def looked_up_again_after_s(self, item: RobotJobItem) -> float:
        async with self.shop.work() as connection:
            wait = robot_job_lookups.c.not_before - sa.func.clock_timestamp()
            found = await connection.scalar(sa.select(wait).where(robot_job_lookups.c.item_id == item.id))
        assert found is not None
        return float(found.total_seconds())

    async def item(self, job: JobInHand, number: int = 0) -> RobotJobItem:
        return (await self.shop.read(job.job.id)).items[number]

    def reference(self, item: RobotJobItem) -> str:
        assert item.value_sent is not None
        return str(item.value_sent["referencia"])

    def parcels(self, item: RobotJobItem) -> list[str]:
        """The numbers of all parcels of the item's order."""
        return self.portal.numbers(self.reference(item))


@asynccontextmanager
async def open_workshop(gate: Gate, shop: Tenant, folder: Path) -> AsyncIterator[Workshop]:
    await upsert(shop, username="tienda", password=PASSWORD, max_concurrent_leases=10)
    async with shop.work(Role.ROBOT) as connection:  # it has worked before, so more than one item is given out at once
        await note_claim(connection, shop.workspace_id, Carrier.COORDINADORA, is_probe=False, breaker=Breaker())
        await note_portal_works(connection, shop.workspace_id, Carrier.COORDINADORA)
    portal = ScriptedPortal(folder / "portal.db")
    workshop = Workshop(gate, shop, folder, portal, (await shop.key()).secret)
    try:
        yield workshop
    finally:
        for process in workshop.processes:
            process.kill()
            process.wait()
        portal.close()
