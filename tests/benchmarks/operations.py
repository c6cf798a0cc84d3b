"""Operations: the median of several rounds of each, and its ratio to the floor of its kind.

The floor in process is a transaction that enters a workspace and does nothing; over HTTP it is `{ __typename }`.
"""

import asyncio
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from importlib.resources import files
from typing import Any

import httpx
from rich.console import Console
from rich.table import Table
from sqlalchemy.ext.asyncio import create_async_engine

from api.database import DatabaseUrls
from api.tokens import Tokens
from domain.carriers import Carrier, CityQuestion, validate_cities
from domain.order_import import import_orders
from domain.robot_jobs import (
    ItemResult,
    OrderSelection,
    ResultStatus,
    RobotJobItem,
    create_robot_job,
    update_job_item_result,
)
from domain.workspaces import Role
from tests.benchmarks.database import fresh_database
from tests.benchmarks.foreign_ids import SAMPLES, Comparison, compare
from tests.tenants import Tenant, make_tenant

ROUNDS = 7
CLIENTS = 32
SECRET = "a secret of the benchmarks only, no more"


@dataclass(slots=True)
class Figures:
    """Seconds per operation, one figure a round."""

    rows: list[tuple[str, float, float]] = field(default_factory=list)

    async def measure(self, name: str, operation: Callable[[], Awaitable[int]], *, floor: float | None = None) -> float:
        """`operation` tells how many times it did the thing; the median time of one is kept."""
        await operation()
        rounds = []
        for _ in range(ROUNDS):
            start = time.perf_counter()
            times = await operation()
            rounds.append((time.perf_counter() - start) / times)
        median = statistics.median(rounds)
        self.rows.append((name, median, median / (floor or median)))
        return median

    def show(self) -> None:
        table = Table(title=f"Medians of {ROUNDS} rounds on {os.cpu_count()} processors")
        for title in ("operation", "ms each", "per second", "× floor"):
            table.add_column(title, justify="left" if title == "operation" else "right")
        for name, seconds, ratio in self.rows:
            table.add_row(name, f"{1000 * seconds:,.2f}", f"{1 / seconds:,.0f}", f"{ratio:,.1f}")
        Console().print(table)


async def main() -> None:
    async with fresh_database() as urls:
        engine = create_async_engine(urls.app, pool_size=CLIENTS, max_overflow=0)
        tenant = await make_tenant(urls, engine)
        figures = Figures()
        await measure_domain(figures, tenant)
        other = await make_tenant(urls, engine)
        comparisons = await measure_http(figures, tenant, other, urls)
        await engine.dispose()
        figures.show()
        show_comparisons(comparisons)


async def measure_domain(figures: Figures, tenant: Tenant) -> None:
    async def enter() -> int:
        for _ in range(100):
            async with tenant.work():
                pass
        return 100

    floor = await figures.measure("enter a workspace (floor)", enter)

    async def one_after_another() -> int:
        in_hand = await tenant.job(items=100)
        return await report_all(tenant, in_hand.items, clients=1)

    async def one_job() -> int:
        in_hand = await tenant.job(items=500)
        return await report_all(tenant, in_hand.items, clients=CLIENTS)

    async def many_jobs() -> int:
        jobs = [await tenant.job(items=16) for _ in range(CLIENTS)]
        return await report_all(tenant, [job.items[n] for n in range(16) for job in jobs], clients=CLIENTS)

    await figures.measure("result, one after another*", one_after_another, floor=floor)
    await figures.measure(f"result, {CLIENTS} clients, one job*", one_job, floor=floor)
    await figures.measure(f"result, {CLIENTS} clients, {CLIENTS} jobs*", many_jobs, floor=floor)

    async def create() -> int:
        orders = await tenant.orders(1_000)
        async with tenant.work() as connection:
            await create_robot_job(
                connection,
                workspace_id=tenant.workspace_id,
                created_by="bench",
                carrier=Carrier.COORDINADORA,
                selection=OrderSelection([order.id for order in orders]),
            )
        return 1

    await figures.measure("import 1,000 orders and create their job", create, floor=floor)
    sample = (files("clients") / "console" / "sample_orders.csv").read_text(encoding="utf-8")
    async with tenant.work() as connection:
        imported = await import_orders(connection, workspace_id=tenant.workspace_id, csv_text=sample)
    questions = [
        CityQuestion(line.order.reference, line.order.city, line.order.department, line.order.is_cod)
        for line in imported.imported
    ]

    async def validate() -> int:
        async with tenant.work() as connection:
            await validate_cities(connection, Carrier.COORDINADORA, questions)
        return 1

    await figures.measure("validate the cities of 199 sample orders", validate, floor=floor)


async def report_all(tenant: Tenant, items: Sequence[RobotJobItem], *, clients: int) -> int:
    """*: the time to make the job is in it, the same for all of them."""
    left = iter(items)

    async def client() -> None:
        for item in left:
            async with tenant.work(Role.ROBOT) as connection:
                result = ItemResult(item_id=item.id, status=ResultStatus.SUCCESS, tracking_number=item.id.hex)
                await update_job_item_result(connection, result, reported_by="bench")

    await asyncio.gather(*(client() for _ in range(clients)))
    return len(items)


async def measure_http(figures: Figures, tenant: Tenant, other: Tenant, urls: DatabaseUrls) -> list[Comparison]:
    job = (await tenant.job(items=1_000)).job
    [foreign] = (await other.job(items=1)).items
    foreign_ids = {
        "job": str(foreign.job_id),
        "item": str(foreign.id),
        "order": str(foreign.order_id),
        "key": str((await other.key()).api_key.id),
    }
    own = (await tenant.job(items=1, failed=1)).job
    token = Tokens(SECRET).make(tenant.user(Role.VIEWER), lifetime=timedelta(hours=1))
    port = 8765
    environment = {
        **os.environ,
        "DATABASE_URL": urls.app,
        "MIGRATION_DATABASE_URL": urls.owner,
        "ROBOT_JOBS_JWT_SECRET": SECRET,
        "ROBOT_JOBS_PORT": str(port),
        "ROBOT_JOBS_REQUESTS_PER_MINUTE": "1000000",
    }
    server = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "api", "serve", env=environment, stdout=subprocess.DEVNULL
    )
    try:
        headers = {"Authorization": f"Bearer {token}"}
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=30) as client:
            await until_ready(client)

            def asking(query: str, times: int, **variables: Any) -> Callable[[], Awaitable[int]]:
                async def ask() -> int:
                    for _ in range(times):
                        answer = await client.post("/graphql", json={"query": query, "variables": variables})
                        if "errors" in answer.json():
                            raise RuntimeError(answer.text)
                    return times

                return ask

            one_job = "query($id: ID!) { robotJob(id: $id) { id status totalItems successCount errorCount } }"
            items = """query($id: ID!, $n: Int!) { robotJob(id: $id) { id status successCount items(first: $n) { nodes {
                id status attempt trackingNumber errorType errorMessage validatedCity completedAt
                order { id reference recipientName city } } } } }"""
            floor = await figures.measure("HTTP: { __typename } (floor)", asking("{ __typename }", 50))
            await figures.measure("HTTP: one job", asking(one_job, 50, id=str(job.id)), floor=floor)
            await figures.measure("HTTP: job, 100 items, orders", asking(items, 5, id=str(job.id), n=100), floor=floor)
            await figures.measure(
                "HTTP: job, 1,000 items, orders", asking(items, 1, id=str(job.id), n=1_000), floor=floor
            )
            tokens = {
                role: Tokens(SECRET).make(tenant.user(role), lifetime=timedelta(hours=1))
                for role in (Role.OPERATOR, Role.ADMIN)
            }
            by_role = {role: {"Authorization": f"Bearer {token}"} for role, token in tokens.items()}
            return await compare(client, by_role, foreign_ids, str(own.id))
    finally:
        server.terminate()
        await server.wait()


def show_comparisons(comparisons: list[Comparison]) -> None:
    table = Table(title=f"An id of another workspace, and one that does not exist: medians of {SAMPLES} answers each")
    for title in ("argument", "foreign ms", "missing ms", "ratio", "z of ranks"):
        table.add_column(title, justify="left" if title == "argument" else "right")
    for each in comparisons:
        ratio = each.foreign_s / each.missing_s
        table.add_row(
            each.path, f"{1000 * each.foreign_s:.2f}", f"{1000 * each.missing_s:.2f}", f"{ratio:.3f}", f"{each.z:+.1f}"
        )
    Console().print(table)


async def until_ready(client: httpx.AsyncClient) -> None:
    for _ in range(300):
        try:
            if (await client.get("/health/ready")).status_code == httpx.codes.OK:
                return
        except httpx.TransportError:
            pass
        await asyncio.sleep(0.1)
    raise RuntimeError("the server did not become ready")
