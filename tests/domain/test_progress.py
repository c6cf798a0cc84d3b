"""How far a job has come, and when it will be done."""

import datetime as dt
from dataclasses import replace

import pytest

from domain.base import new_id
from domain.carriers import Carrier
from domain.robot_jobs import (
    JobStatus,
    JobType,
    Pace,
    RobotJob,
    estimate_completion,
    items_per_minute,
    percent_done,
)

START = dt.datetime(2026, 1, 5, 8, tzinfo=dt.UTC)
TEN_MINUTES_ON = START + dt.timedelta(minutes=10)


def job_of(total: int, *, done: int = 0, started: bool = True) -> RobotJob:
    return RobotJob(
        id=new_id(),
        workspace_id=new_id(),
        carrier=Carrier.COORDINADORA,
        job_type=JobType.CREATE_SHIPMENT,
        status=JobStatus.PROCESSING,
        total_items=total,
        success_count=done,
        error_count=0,
        cancelled_count=0,
        idempotency_key=None,
        ship_again_reason=None,
        error=None,
        created_by="a test",
        last_event_seq=1,
        started_at=START if started else None,
        completed_at=None,
        created_at=START,
        updated_at=START,
    )


@pytest.mark.parametrize(
    ("total", "done", "percent"),
    [(3, 0, 0.0), (3, 1, 33.3), (3, 3, 100.0), (10_000, 1, 0.0), (10_000, 9_999, 99.9)],
)
def test_a_job_is_done_to_a_hundred_percent_only_when_all_is(total: int, done: int, percent: float) -> None:
    assert percent_done(job_of(total, done=done)) == percent


def test_the_rate_is_of_what_was_closed_since_the_start() -> None:
    job, pace = job_of(80, done=40), Pace(closed_since_start=25)

    assert items_per_minute(job, pace, now=TEN_MINUTES_ON) == 2.5
    assert estimate_completion(job, pace, now=TEN_MINUTES_ON) == TEN_MINUTES_ON + dt.timedelta(minutes=16)


def test_a_finished_job_keeps_its_rate_and_has_no_estimate() -> None:
    job = replace(job_of(20, done=20), status=JobStatus.COMPLETED, completed_at=TEN_MINUTES_ON)
    pace = Pace(closed_since_start=20)

    assert items_per_minute(job, pace, now=TEN_MINUTES_ON + dt.timedelta(days=1)) == 2.0
    assert estimate_completion(job, pace, now=TEN_MINUTES_ON) is None


@pytest.mark.parametrize(
    ("job", "pace", "now"),
    [
        (job_of(2), Pace(), TEN_MINUTES_ON),
        (job_of(2, started=False), Pace(closed_since_start=1), TEN_MINUTES_ON),
        (job_of(2), Pace(closed_since_start=1), START),
        (job_of(2), Pace(closed_since_start=1), START - dt.timedelta(seconds=5)),
    ],
    ids=["nothing closed", "not started", "no time passed", "another clock"],
)
def test_nothing_is_said_of_what_is_not_known(job: RobotJob, pace: Pace, now: dt.datetime) -> None:
    assert items_per_minute(job, pace, now=now) is None
    assert estimate_completion(job, pace, now=now) is None


def test_an_end_beyond_the_calendar_is_not_told() -> None:
    job = replace(job_of(10_000), started_at=START - dt.timedelta(days=700_000))

    assert estimate_completion(job, Pace(closed_since_start=1), now=TEN_MINUTES_ON) is None
