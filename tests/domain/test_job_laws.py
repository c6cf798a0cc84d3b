"""Whatever happens to a job in whatever order, its books balance after every step."""

from typing import TypeAlias

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from domain.errors import DomainError
from domain.events import EventType
from domain.robot_jobs import ItemStatus, JobStatus, RobotJobItem
from tests.domain.ledger import assert_adds_up
from tests.tenants import JobInHand, Tenant

ITEMS = 3
Step: TypeAlias = tuple[str, int, int | None]

_items = st.integers(0, ITEMS - 1)
_attempts = st.none() | st.integers(1, 3)
_steps: st.SearchStrategy[Step] = st.one_of(
    st.tuples(st.sampled_from(["succeed", "succeed", "fail"]), _items, _attempts),
    st.tuples(st.sampled_from(["claim", "claim", "mark", "mark", "expire", "found", "absent"]), _items, st.none()),
    st.tuples(st.sampled_from(["retry all", "retry one", "start", "fail job", "cancel job"]), _items, st.none()),
)
_FINISHED = {
    JobStatus.COMPLETED: EventType.JOB_COMPLETED,
    JobStatus.FAILED: EventType.JOB_FAILED,
    JobStatus.CANCELLED: EventType.JOB_CANCELLED,
}


async def _lease(tenant: Tenant, item: RobotJobItem, step: str) -> None:
    if step == "claim":
        await tenant.claim(2)
    elif step == "mark" and item.lease_token is not None:
        await tenant.mark(item)
    elif item.lease_token is not None:
        await tenant.run_out(item)
        await tenant.sweep()


async def _take(tenant: Tenant, in_hand: JobInHand, step: Step) -> None:
    """With the job as it was read after the step before."""
    name, number, attempt = step
    item, job_id = in_hand.items[number], in_hand.job.id
    match name:
        case "succeed":
            await tenant.succeed(item, attempt=attempt)
        case "fail":
            await tenant.fail(item, attempt=attempt)
        case "retry all":
            await tenant.retry(job_id)
        case "retry one":
            await tenant.retry(job_id, item)
        case "claim" | "mark" | "expire":
            await _lease(tenant, item, name)
        case "found":
            await tenant.resolve(item, found=f"FOUND-{number}")
        case "absent":
            await tenant.resolve(item)
        case "start":
            await tenant.set_status(job_id, JobStatus.PROCESSING)
        case "fail job":
            await tenant.set_status(job_id, JobStatus.FAILED)
        case _:
            await tenant.set_status(job_id, JobStatus.CANCELLED)


def _assert_allowed(before: JobInHand, after: JobInHand) -> None:
    """Success is final, attempts only grow, and a tracking number once given stays."""
    for was, now in zip(before.items, after.items, strict=True):
        if was.status is ItemStatus.SUCCESS:
            assert (now.status, now.tracking_number, now.attempt) == (was.status, was.tracking_number, was.attempt)
        assert was.attempt <= now.attempt <= was.attempt + 1
        if was.outcome_unknown:  # nothing but a proof or a person's word gets it out of there
            assert now.attempt == was.attempt
            assert now.status in (ItemStatus.ERROR, ItemStatus.SUCCESS)
        if was.submitted_at is not None and was.status.is_open:  # never given to another robot
            assert now.attempt == was.attempt
            assert now.status not in (ItemStatus.PENDING, ItemStatus.CANCELLED)


@settings(
    max_examples=25,
    deadline=None,
    database=None,
    phases=[Phase.generate],  # a failure is short enough to read as it is; shrinking it would take minutes
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(steps=st.lists(_steps, min_size=3, max_size=12))
async def test_counters_events_and_status_agree_after_every_step(tenant: Tenant, steps: list[Step]) -> None:
    await tenant.configure(max_concurrent_leases=ITEMS)
    in_hand = await tenant.job(items=ITEMS)
    told: list[EventType] = []

    after = in_hand
    for step in steps:
        before = after
        refusal: DomainError | None = None
        try:
            await _take(tenant, before, step)
        except DomainError as error:
            refusal = error

        after = await tenant.read(in_hand.job.id)
        await assert_adds_up(tenant, in_hand.job.id)
        _assert_allowed(before, after)
        assert refusal is None or after == before
        if after.job.status is not before.job.status and not after.job.status.is_active:
            told.append(_FINISHED[after.job.status])

    stream = await tenant.events(in_hand.job.id)
    assert [event.type for event in stream if event.type in _FINISHED.values()] == told
