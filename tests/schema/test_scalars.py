"""Times and amounts are taken as the contract writes them, and in no other way that Python happens to read."""

import pytest

from tests.schema.caller import Caller
from tests.schema.documents import JOBS, UPDATE_ORDER
from tests.tenants import Tenant


@pytest.mark.parametrize("total", ["52900.5", "52900", 52900, 52900.5, "5.29e4"])
async def test_numbers_are_taken(tenant: Tenant, operator: Caller, total: object) -> None:
    [order] = await tenant.orders(1)

    answer = await operator.do(UPDATE_ORDER, orderId=str(order.id), totalCop=total)

    assert answer["__typename"] == "UpdateOrderSuccess"


@pytest.mark.parametrize("total", ["1_000", "١٢", "NaN", "Infinity", "0x10", " 5", "", True, [5], {}])
async def test_what_is_no_number_is_refused(tenant: Tenant, operator: Caller, total: object) -> None:
    [order] = await tenant.orders(1)

    code = await operator.code(UPDATE_ORDER, input={"orderId": str(order.id), "totalCop": total})

    assert code == "GRAPHQL_VALIDATION_FAILED"
    assert (await tenant.order(order.id)).total_cop == order.total_cop


@pytest.mark.parametrize("time", ["2026-01-31T13:00:00Z", "2026-01-31T13:00:00.123456+00:00", "2026-01-31T08:00-05:00"])
async def test_times_are_taken(operator: Caller, time: str) -> None:
    assert (await operator.ask(JOBS, filter={"createdAfter": time}))["robotJobs"]["nodes"] == []


@pytest.mark.parametrize("time", ["2020-W01-1T00:00Z", "20260131T130000Z", "2026-02-30T00:00:00Z", "now", "", 5, True])
async def test_what_is_no_time_is_refused(operator: Caller, time: object) -> None:
    assert await operator.code(JOBS, filter={"createdAfter": time}) == "GRAPHQL_VALIDATION_FAILED"
