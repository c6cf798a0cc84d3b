"""Results: each counts once, whatever comes how often and in which order."""

from domain.robot_jobs import ItemStatus, JobStatus, RecordedResult, StaleAttempt, retry_failed_items
from tests.tenants import Tenant


async def test_the_last_result_completes_the_job(tenant: Tenant) -> None:
    in_hand = await tenant.job(items=2, succeeded=1)

    recorded = await tenant.fail(in_hand.items[1])

    assert isinstance(recorded, RecordedResult)
    assert recorded.job.status is JobStatus.COMPLETED
    assert (recorded.job.success_count, recorded.job.error_count) == (1, 1)


async def test_a_result_for_an_older_attempt_changes_nothing_but_flags_the_item(tenant: Tenant) -> None:
    in_hand = await tenant.job(items=1, failed=1)
    async with tenant.work() as connection:
        await retry_failed_items(connection, in_hand.job.id)

    answer = await tenant.succeed(in_hand.items[0], attempt=1)

    assert isinstance(answer, StaleAttempt)
    after = await tenant.read(in_hand.job.id)
    assert after.items[0].status is ItemStatus.PENDING
    assert after.items[0].review_reason is not None
    assert after.job.success_count == 0
