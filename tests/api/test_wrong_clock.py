"""Leases go by the database's clock: a server whose own is two hours off gives none out for too long, and ends none."""

import datetime as dt
from typing import Any

import pytest
import sqlalchemy as sa

from domain.robot_jobs import ItemStatus, RobotJobItem
from tests.conftest import Database
from tests.schema import documents as d
from tests.servers import credentials, running_server, settings_for, until
from tests.tenants import Tenant

TWO_HOURS_S = 7_200


@pytest.mark.parametrize("offset_s", [TWO_HOURS_S, -TWO_HOURS_S], ids=["ahead", "behind"])
async def test_leases_are_given_out_kept_and_ended_by_the_databases_clock(
    database: Database, tenant: Tenant, offset_s: int
) -> None:
    await tenant.configure(max_concurrent_leases=2)
    job = await tenant.job(items=2)
    headers = {"Authorization": f"Bearer {(await tenant.key()).secret}"}

    async with running_server(module=("tests.skewed", str(offset_s)), **settings_for(database.urls)) as server:

        async def ask(document: str, **given: object) -> Any:
            answer = await server.http.post(
                "/graphql", json={"query": document, "variables": {"input": given}}, headers=headers
            )
            (result,) = answer.json()["data"].values()
            return result

        answer = await server.http.post("/graphql", json={"query": "{ __typename }"}, headers=credentials(tenant))
        assert answer.status_code == 401, "a token of this hour is not good there: its clock is off"
        claimed = await ask(d.CLAIM, carrier="COORDINADORA", limit=2, leaseSeconds=600)
        first, second = (await tenant.read(job.job.id)).items
        async with tenant.work() as connection:
            now = await connection.scalar(sa.select(sa.func.clock_timestamp()))
        assert second.lease_expires_at is not None
        assert now is not None
        assert dt.timedelta(seconds=570) < second.lease_expires_at - now <= dt.timedelta(seconds=600)

        await tenant.run_out(first)
        await until(lambda: _is_pending(tenant, first))  # this server swept, for no other serves the database

        second = ((await tenant.read(job.job.id)).items)[1]
        lease = {"itemId": str(second.id), "leaseToken": str(second.lease_token)}
        renewed = await ask(d.RENEW, leases=[lease], leaseSeconds=60)
        assert [each["state"] for each in renewed["leases"]] == ["GO_ON"]
        assert (await ask(d.MARK, **lease))["__typename"] == "MarkItemSubmittingSuccess"
        assert claimed["leaseSeconds"] == 600


async def _is_pending(tenant: Tenant, item: RobotJobItem) -> bool:
    return (await tenant.item(item)).status is ItemStatus.PENDING
