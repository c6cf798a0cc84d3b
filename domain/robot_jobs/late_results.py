"""Results that change nothing, for their attempt is closed: they are kept with it, and a success is looked into."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.base import array_parameter
from domain.robot_jobs.item_results import ItemResult, ResultStatus
from domain.robot_jobs.tables import RobotJobItem, robot_job_attempts, robot_job_items

LATE_RESULTS_AT_MOST = 20


@dataclass(frozen=True, slots=True)
class LateResult:
    """For that attempt of the item, which stands as it does."""

    item: RobotJobItem
    attempt: int
    result: ItemResult


async def keep_for_review(connection: AsyncConnection, late: Sequence[LateResult]) -> dict[uuid.UUID, RobotJobItem]:
    """Keep results with their attempts, each once; a success flags its item, for a parcel may exist twice.

    The items as they stand then, by id.  Each item may come once.  One statement, and one more for what is flagged;
    the caller holds the items' locks.
    """
    if not late:
        return {}
    await connection.execute(
        _KEEP,
        {
            "item_ids": [each.item.id for each in late],
            "attempts": [each.attempt for each in late],
            "results": [each.result.as_json() for each in late],
        },
    )
    items = {each.item.id: each.item for each in late}
    doubtful = [each for each in late if _may_exist_twice(each)]
    if doubtful:
        rows = await connection.execute(
            _FLAG,
            {"item_ids": [each.item.id for each in doubtful], "reasons": [_review_reason(each) for each in doubtful]},
        )
        items |= {row.id: RobotJobItem.from_row(row) for row in rows}
    return items


def _may_exist_twice(late: LateResult) -> bool:
    number = late.result.tracking_number
    is_known = number is not None and number == late.item.tracking_number
    return late.result.status is ResultStatus.SUCCESS and not is_known and late.item.review_reason is None


def _review_reason(late: LateResult) -> str:
    number = f" with tracking number {late.result.tracking_number}" if late.result.tracking_number else ""
    return f"A robot reported a success{number} for attempt {late.attempt}: a parcel may exist twice."


_late = (
    sa.func.unnest(
        array_parameter("item_ids", sa.Uuid()),
        array_parameter("attempts", sa.Integer()),
        array_parameter("results", pg.JSONB()),
    )
    .table_valued(sa.column("item_id", sa.Uuid()), sa.column("attempt", sa.Integer()), sa.column("result", pg.JSONB()))
    .render_derived("late")
)
_kept = robot_job_attempts.c
_result = sa.func.jsonb_build_array(_late.c.result, type_=pg.JSONB())
_KEEP = (
    sa.update(robot_job_attempts)
    .where(
        _kept.item_id == _late.c.item_id,
        _kept.attempt == _late.c.attempt,
        sa.not_(_kept.late_results.contains(_result)),
        sa.func.jsonb_array_length(_kept.late_results) < LATE_RESULTS_AT_MOST,
    )
    .values(late_results=_kept.late_results.concat(_result), late_result_at=sa.func.clock_timestamp())
)
_flags = (
    sa.func.unnest(array_parameter("item_ids", sa.Uuid()), array_parameter("reasons", sa.Text()))
    .table_valued(sa.column("item_id", sa.Uuid()), sa.column("reason", sa.Text()))
    .render_derived("flags")
)
_FLAG = (
    sa.update(robot_job_items)
    .where(robot_job_items.c.id == _flags.c.item_id)
    .values(review_reason=_flags.c.reason, updated_at=sa.func.clock_timestamp())
    .returning(robot_job_items)
)
