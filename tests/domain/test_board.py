"""What has changed on a board, found by the events that changes write."""

import datetime as dt

import sqlalchemy as sa

from domain.base import first_id_at, new_id
from domain.carriers import Carrier
from domain.events import events
from domain.filters import Period, SearchText
from domain.pages import PageRequest
from domain.robot_jobs import (
    ErrorType,
    JobFilter,
    JobStatus,
    JobType,
    find_changed_jobs,
    find_jobs_on_board,
    list_board,
    list_robot_jobs,
)
from tests.tenants import Tenant

LONG_AGO = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
FAR_AWAY = dt.datetime(2100, 1, 1, tzinfo=dt.UTC)


def test_the_first_id_of_a_time_comes_before_those_made_then_and_after_all_made_before() -> None:
    made_before = new_id()
    later = dt.datetime.now(dt.UTC) + dt.timedelta(milliseconds=2)

    assert first_id_at(LONG_AGO) < first_id_at(dt.datetime.now(dt.UTC)) <= new_id()
    assert first_id_at(later) > made_before


async def test_jobs_are_found_by_events_made_since_and_by_name_with_their_newest_number(
    tenant: Tenant, other_tenant: Tenant
) -> None:
    old, changed = await tenant.job(items=2), await tenant.job(items=2)
    foreign = await other_tenant.job(items=1)
    async with tenant.work() as connection:
        last = (await connection.scalars(sa.select(events.c.id).order_by(events.c.id.desc()).limit(1))).one()
    since = dt.datetime.fromtimestamp(((last.int >> 80) + 1) / 1_000, dt.UTC)
    while first_id_at(since) > new_id():
        pass
    await tenant.succeed(changed.items[0])
    await tenant.change_order(old.items[0].order_id, city="Cali")  # no change of the job

    async with tenant.work() as connection:
        of_all = await find_changed_jobs(connection, since=LONG_AGO)
        of_recent = await find_changed_jobs(connection, since=since)
        of_named = await find_changed_jobs(connection, since=FAR_AWAY, also=[old.job.id, foreign.job.id, new_id()])

    after = {each.job.id: (await tenant.read(each.job.id)).job.last_event_seq for each in (old, changed)}
    assert of_all == after
    assert of_recent == {changed.job.id: after[changed.job.id]}
    assert of_named == {old.job.id: after[old.job.id]}


async def test_a_named_job_is_on_the_board_when_the_list_has_it(tenant: Tenant, other_tenant: Tenant) -> None:
    orders = await tenant.orders_named("ZX-81", "ZX-82")
    jobs = [
        await tenant.job(items=2),
        await tenant.job(items=2, succeeded=1),
        await tenant.job(items=2, failed=2),
        await tenant.job(orders=orders),
    ]
    await tenant.succeed(jobs[3].items[0], tracking_number="PED-42")
    foreign = await other_tenant.job(items=1)
    ids = [*(each.job.id for each in jobs), foreign.job.id, new_id()]

    sizes = []
    for job_filter in (
        JobFilter(),
        JobFilter(statuses=(JobStatus.COMPLETED,)),
        JobFilter(statuses=()),
        JobFilter(carrier=Carrier.COORDINADORA, job_type=JobType.CREATE_SHIPMENT),
        JobFilter(created=Period(None, jobs[2].job.created_at)),
        JobFilter(error_types=(ErrorType.PORTAL, ErrorType.UNKNOWN)),
        JobFilter(search=SearchText("zx-8")),
        JobFilter(search=SearchText("ped-42")),
        JobFilter(search=SearchText("nobody")),
    ):
        async with tenant.work() as connection:
            listed = (await list_robot_jobs(connection, page=PageRequest(100), job_filter=job_filter)).rows
            found = await find_jobs_on_board(connection, ids, job_filter=job_filter)
            standing = await list_board(connection, limit=100, job_filter=job_filter)
        assert found == {job.id: job for job in listed} == {job.id: job for job in standing}, job_filter
        sizes.append(len(found))
    assert sizes == [4, 1, 0, 4, 2, 1, 1, 1, 0]
