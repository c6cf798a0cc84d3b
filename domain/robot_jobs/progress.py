"""How far a job has come, and how fast it goes: arithmetic on what was read."""

import datetime as dt

from domain.robot_jobs.queries import Pace
from domain.robot_jobs.tables import RobotJob


def percent_done(job: RobotJob) -> float:
    """Closed items of all, 0 to 100; 100 only when all are."""
    done = job.total_items - job.open_count
    return min(round(100 * done / job.total_items, 1), 99.9) if job.open_count else 100.0


def items_per_minute(job: RobotJob, pace: Pace, *, now: dt.datetime) -> float | None:
    """Of the job's latest run; None before its first item is closed."""
    rate = _items_per_second(job, pace, now)
    return round(60 * rate, 1) if rate is not None else None


def estimate_completion(job: RobotJob, pace: Pace, *, now: dt.datetime) -> dt.datetime | None:
    """When the last item will be closed if it goes on like this; None when the job is finished or nothing is known."""
    rate = _items_per_second(job, pace, now)
    if rate is None or not job.status.is_active:
        return None
    try:
        return now + dt.timedelta(seconds=job.open_count / rate)
    except OverflowError:
        return None


def _items_per_second(job: RobotJob, pace: Pace, now: dt.datetime) -> float | None:
    if job.started_at is None:
        return None
    elapsed_s = ((job.completed_at or now) - job.started_at).total_seconds()
    return pace.closed_since_start / elapsed_s if pace.closed_since_start and elapsed_s > 0 else None
