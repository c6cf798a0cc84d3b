"""What a piece of work costs does not grow with its size.  BEGIN and COMMIT are not counted."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from domain.carriers import Carrier, CityQuestion, validate_cities
from domain.pages import PageRequest
from domain.robot_jobs import (
    JobStatus,
    OrderSelection,
    list_attempts,
    list_failures,
    list_items_of_jobs,
    preview_dispatch,
)
from tests.domain.ledger import counted_statements
from tests.tenants import JobInHand, Tenant

T = TypeVar("T")


async def _count(tenant: Tenant, work: Callable[[], Awaitable[object]]) -> int:
    with counted_statements(tenant.engine) as sent:
        await work()
    return len(sent)


async def test_a_result_takes_six_statements_at_most(tenant: Tenant) -> None:
    first, second, third = (await tenant.job(items=3)).items

    for name, work in {
        "a success": lambda: tenant.succeed(first),
        "the same again": lambda: tenant.succeed(first),
        "another one": lambda: tenant.succeed(first, tracking_number="PED-2"),
        "an error": lambda: tenant.fail(second),
        "a success that contradicts it": lambda: tenant.succeed(second),
        "the last one": lambda: tenant.succeed(third),
    }.items():
        assert await _count(tenant, work) <= 6, name


async def test_a_late_or_stale_result_takes_six_statements_at_most(tenant: Tenant) -> None:
    in_hand = await tenant.job(items=2)
    first, second = in_hand.items
    await tenant.set_status(in_hand.job.id, JobStatus.FAILED)
    await tenant.retry(in_hand.job.id, second)

    assert await _count(tenant, lambda: tenant.succeed(first)) <= 6
    assert await _count(tenant, lambda: tenant.succeed(second, attempt=1)) <= 6


class _Life:
    """Does a job's whole life with that many orders, and counts the statements of each step."""

    def __init__(self, tenant: Tenant, size: int) -> None:
        self.tenant = tenant
        self.references = [f"ORD-{size}-{number}" for number in range(size)]
        self.counts: dict[str, int] = {}

    async def _step(self, name: str, work: Awaitable[T]) -> T:
        with counted_statements(self.tenant.engine) as sent:
            done = await work
        self.counts[name] = len(sent)
        return done

    async def live(self) -> dict[str, int]:
        tenant = self.tenant
        orders = await self._step("import", tenant.orders_named(*self.references))
        await self._step("import again", tenant.orders_named(*self.references))
        order_ids = [order.id for order in orders]
        await self._step("preview", self._preview())
        await self._step("validate cities", self._validate())
        job = (await self._step("create", tenant.create(order_ids))).job
        await self._step("read", tenant.read(job.id))
        await self._step("fail", tenant.set_status(job.id, JobStatus.FAILED))
        await self._step("failures", self._read_nested(await tenant.read(job.id)))
        await self._step("retry", tenant.retry(job.id))
        await self._step("cancel", tenant.set_status(job.id, JobStatus.CANCELLED))
        return self.counts

    async def _preview(self) -> None:
        orders = await self.tenant.orders_named(*self.references)
        async with self.tenant.work() as connection:
            selection = OrderSelection([order.id for order in orders])
            await preview_dispatch(connection, Carrier.COORDINADORA, selection)

    async def _validate(self) -> None:
        questions = [CityQuestion(reference, "Cali", "Valle", True) for reference in self.references]
        async with self.tenant.work() as connection:
            await validate_cities(connection, Carrier.COORDINADORA, questions)

    async def _read_nested(self, in_hand: JobInHand) -> None:
        async with self.tenant.work() as connection:
            await list_failures(connection, [in_hand.job.id])
            await list_items_of_jobs(connection, [in_hand.job.id], page=PageRequest(1_000))
            await list_attempts(connection, [item.id for item in in_hand.items])


async def test_a_job_of_a_thousand_orders_costs_the_statements_of_a_job_of_two(tenant: Tenant) -> None:
    await _Life(tenant, 1).live()  # the reference data is in memory from now on

    few = await _Life(tenant, 2).live()
    many = await _Life(tenant, 1_000).live()

    assert many == few
    assert max(few.values()) <= 12
