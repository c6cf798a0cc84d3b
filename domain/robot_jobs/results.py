"""One result per try, counted exactly once: item, counters, job status, order and events in one transaction.

All of it works on many results at once; one result is a list of one.
"""

import uuid
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, assert_never

from sqlalchemy.ext.asyncio import AsyncConnection

from domain.accounts import Breaker, note_portal_errors, note_portal_works
from domain.carriers import Carrier
from domain.errors import InputProblem, InvalidInput, invalid
from domain.orders import Order, write_order_changes
from domain.robot_jobs.changes import JobChange, write_job_change, write_job_changes
from domain.robot_jobs.closing import Closing, close_items
from domain.robot_jobs.errors import LeaseLost, ResultConflict, RobotJobItemNotFound, StaleAttempt
from domain.robot_jobs.item_results import Decision, ItemResult, decide, portal_errors_in_a_row
from domain.robot_jobs.late_results import LateResult, keep_for_review
from domain.robot_jobs.locking import HeldItem, lock_items_and_orders, lock_jobs_of_items
from domain.robot_jobs.tables import (
    ClosedBy,
    ErrorType,
    ItemStatus,
    RobotJob,
    RobotJobItem,
)

RESULTS_AT_MOST = 500
ROUNDS_AT_MOST = 5
"""How often one item may be named in one call."""


@dataclass(frozen=True, slots=True)
class RecordedResult:
    """The item and job after the result.  `replayed`: the same result was recorded before; nothing changed now."""

    job: RobotJob
    item: RobotJobItem
    replayed: bool


ResultAnswer = RecordedResult | StaleAttempt | ResultConflict | LeaseLost | RobotJobItemNotFound | InvalidInput


async def update_job_item_result(
    connection: AsyncConnection,
    result: ItemResult,
    *,
    reported_by: str,
    breaker: Breaker = Breaker(),  # noqa: B008 -- frozen
) -> RecordedResult | StaleAttempt | ResultConflict:
    """Record a robot's result for one item; five statements at most, and two more for an account in trouble.

    A result counts once: the same one again is answered as the first time.  A different one for a closed attempt is
    ResultConflict, one for an older attempt StaleAttempt; both are returned, not raised, because what they say is
    kept with its attempt, and a success among them flags the item for review (a parcel may exist twice).  A success
    with a tracking number beats an error that the system itself wrote, or an unknown outcome, and one that brings only
    the numbers which an earlier success lacked completes that.  What a robot met at the portal under a lease may pause
    its account, or end its pause.  Locks the job, then the item, then the order, then perhaps the account.
    Raises InvalidInput, RobotJobItemNotFound, and LeaseLost for a token that is not of the attempt in hand.
    """
    [answer] = await _record(connection, [result], reported_by, breaker)
    match answer:
        case RecordedResult() | StaleAttempt() | ResultConflict():
            return answer
        case LeaseLost() | RobotJobItemNotFound() | InvalidInput():
            raise answer
        case _:
            assert_never(answer)


async def update_job_item_results(
    connection: AsyncConnection,
    results: Sequence[ItemResult | InvalidInput],
    *,
    reported_by: str,
    breaker: Breaker = Breaker(),  # noqa: B008 -- frozen
) -> list[ResultAnswer]:
    """As update_job_item_result for up to 500 results, of any jobs, each answered for itself in the order given.

    What is refused, LeaseLost for one, is an answer too and has no effect; the others are recorded all the same.  One
    that could not even be read is handed in as its InvalidInput.  The paths of problems begin with `results.3`.
    Several results for one item count in the order given, each seeing what the one before has done: a robot that was
    cut off may have two of one item to send.  Each further one takes a round of statements more, so after the fifth
    they are refused; else the number of statements is the same for any number of results.  Jobs are answered as they
    stand after all of it.  Locks all jobs by id, then all items by id, then all orders by id.
    Raises InvalidInput for no results, or too many.
    """
    if not 1 <= len(results) <= RESULTS_AT_MOST:
        raise invalid("results", f"must be 1 to {RESULTS_AT_MOST}; there are {len(results):,}.")
    answers = await _record(connection, results, reported_by, breaker)
    return [
        _within(f"results.{number}", answer) if isinstance(answer, InvalidInput) else answer
        for number, answer in enumerate(answers)
    ]


def _within(path: str, error: InvalidInput) -> InvalidInput:
    return InvalidInput(*(InputProblem(f"{path}.{problem.path}", problem.message) for problem in error.problems))


# ---------------------------------------------------------------------------------------------- deciding


@dataclass(frozen=True, slots=True)
class AcceptedResult:
    """A result that its item takes.  `settles`: why the item was flagged for review has been looked into."""

    held: HeldItem
    result: ItemResult
    completes: bool = False
    settles: bool = False


async def _record(
    connection: AsyncConnection,
    results: Sequence[ItemResult | InvalidInput],
    reported_by: str,
    breaker: Breaker,
) -> list[ResultAnswer]:
    answers: dict[int, ResultAnswer] = {}
    after: dict[int, tuple[RobotJobItem, bool]] = {}  # by the result's number, and whether it was a replay
    waiting: dict[int, ItemResult] = {}
    for number, result in enumerate(results):
        try:
            waiting[number] = _checked(result)
        except InvalidInput as problem:
            answers[number] = problem
    jobs, troubled = await lock_jobs_of_items(connection, _item_ids(waiting)) if waiting else ({}, set())
    met: list[AcceptedResult] = []
    for _ in range(ROUNDS_AT_MOST):
        if not waiting:
            break
        held = await lock_items_and_orders(connection, _item_ids(waiting))
        accepted: dict[int, AcceptedResult] = {}
        late: dict[int, LateResult] = {}
        in_turn, waiting = _take_turns(waiting, held)
        for number, result in in_turn.items():
            try:
                match _decided(result, held.get(result.item_id)):
                    case AcceptedResult() as each:
                        accepted[number] = each
                    case LateResult() as each:
                        late[number] = each
                    case RobotJobItem() as item:
                        after[number] = item, True
            except (InvalidInput, RobotJobItemNotFound, LeaseLost) as refusal:
                answers[number] = refusal
        if accepted:
            changes = {each.held.item.job_id: JobChange(jobs[each.held.item.job_id]) for each in accepted.values()}
            closed = await _apply(connection, changes, list(accepted.values()), held, reported_by)
            met += accepted.values()
            jobs |= {job.id: job for job in await _write_jobs(connection, list(changes.values()))}
            after |= {number: (closed[each.result.item_id], False) for number, each in accepted.items()}
        kept = await keep_for_review(connection, list(late.values()))
        answers |= {number: _answer_to_late(each, kept[each.item.id]) for number, each in late.items()}
    await _tell_accounts(connection, jobs, troubled, met, breaker)
    answers |= {
        number: invalid("item_id", f"{result.item_id}, or its order, comes more than {ROUNDS_AT_MOST} times.")
        for number, result in waiting.items()
    }
    answers |= {number: RecordedResult(jobs[item.job_id], item, replayed) for number, (item, replayed) in after.items()}
    return [answers[number] for number in range(len(results))]


def _checked(result: ItemResult | InvalidInput) -> ItemResult:
    if isinstance(result, InvalidInput):
        raise result
    return result.checked()


def _item_ids(results: Mapping[int, ItemResult]) -> list[uuid.UUID]:
    return list({result.item_id for result in results.values()})


def _take_turns(
    results: Mapping[int, ItemResult], held: Mapping[uuid.UUID, HeldItem]
) -> tuple[dict[int, ItemResult], dict[int, ItemResult]]:
    """Those that can be recorded together, and those that must see what the others did: one of an item and order."""
    now: dict[int, ItemResult] = {}
    later: dict[int, ItemResult] = {}
    taken: set[uuid.UUID] = set()
    for number, result in results.items():
        of = held.get(result.item_id)
        whose = {result.item_id} if of is None else {result.item_id, of.order.id}
        (now if taken.isdisjoint(whose) else later)[number] = result
        taken |= whose  # by what has to wait, too: they keep their order
    return now, later


def _decided(result: ItemResult, held: HeldItem | None) -> AcceptedResult | LateResult | RobotJobItem:
    """What is to be done; for the item itself nothing.  Raises RobotJobItemNotFound, LeaseLost, InvalidInput."""
    if held is None:
        raise RobotJobItemNotFound(result.item_id)
    item = held.item
    decision = decide(item, result)
    match decision:
        case Decision.CLOSES if not result.is_under(item.lease_token) and not result.is_proof:
            raise LeaseLost(item.id)
        case Decision.CLOSES | Decision.CORRECTS | Decision.COMPLETES:
            return AcceptedResult(held, result, completes=decision is Decision.COMPLETES)
        case Decision.REPLAYS:
            return item
        case Decision.CONFLICTS:
            return LateResult(item, item.attempt, result)
        case Decision.IS_STALE:
            return LateResult(item, result.attempt or item.attempt, result)
        case _:
            assert_never(decision)


def _answer_to_late(late: LateResult, item: RobotJobItem) -> StaleAttempt | ResultConflict:
    return StaleAttempt(item, late.attempt) if late.attempt < item.attempt else ResultConflict(item)


# ---------------------------------------------------------------------------------------------- writing


async def apply_result(
    connection: AsyncConnection,
    change: JobChange,
    item: RobotJobItem,
    order: Order,
    result: ItemResult,
    reported_by: str,
    *,
    settles: bool = False,
) -> RecordedResult:
    """Close the item so, with all that follows.  The caller holds the locks of job, item and order.

    `settles`: why the item was flagged for review has been looked into.
    """
    held = HeldItem(item, order, change.has_unproven_items)
    accepted = AcceptedResult(held, result, settles=settles)
    closed = await _apply(connection, {change.job.id: change}, [accepted], {item.id: held}, reported_by)
    return RecordedResult(await write_job_change(connection, change), closed[item.id], replayed=False)


async def _apply(
    connection: AsyncConnection,
    changes: Mapping[uuid.UUID, JobChange],
    accepted: Sequence[AcceptedResult],
    held: Mapping[uuid.UUID, HeldItem],
    reported_by: str,
) -> dict[uuid.UUID, RobotJobItem]:
    """Close the items, change their orders, and tell their jobs' changes, which are then to be written.

    `held` are all items under their locks, those of the results among them.
    """
    rows = await close_items(
        connection,
        [(each.held.item, _closing(each)) for each in accepted],
        closed_by=ClosedBy.ROBOT,
        reported_by=reported_by,
    )
    closed = {item.id: item for item in rows}
    shipped = [
        (each.held.order, _shipped(changes[each.held.item.job_id].job, each.held.order, each.result))
        for each in accepted
        if _ships(each)
    ]
    await write_order_changes(connection, shipped)
    unproven = Counter(each.item.job_id for each in held.values() if each.item.closed_by is ClosedBy.SYSTEM)
    for each in _by_completion(accepted, closed):
        before = each.held.item
        if before.closed_by is ClosedBy.SYSTEM:
            unproven[before.job_id] -= 1
        change = changes[before.job_id]
        # Numbers that follow settle nothing that the system itself had written.
        change.has_unproven_items = each.held.others_wait or each.completes or unproven[before.job_id] > 0
        change.item_closed(before=before, after=closed[before.id])
    return closed


async def _tell_accounts(
    connection: AsyncConnection,
    jobs: Mapping[uuid.UUID, RobotJob],
    troubled: Collection[Carrier],
    met: Sequence[AcceptedResult],
    breaker: Breaker,
) -> None:
    """What robots met at the portals under their leases; all jobs are of one workspace, so accounts are few."""
    by_carrier: dict[Carrier, list[ItemResult]] = {}
    for each in met:
        if each.held.item.lease_token is not None and each.result.is_under(each.held.item.lease_token):
            by_carrier.setdefault(jobs[each.held.item.job_id].carrier, []).append(each.result)
    workspace_id = next(iter(jobs.values())).workspace_id if by_carrier else uuid.UUID(int=0)
    for carrier, results in sorted(by_carrier.items()):
        errors = portal_errors_in_a_row(results)
        if carrier in troubled and any(result.shows_that_the_portal_works for result in results):
            await note_portal_works(connection, workspace_id, carrier)
        if errors:
            message = errors[-1].error_message or "The portal made an error."
            await note_portal_errors(
                connection, workspace_id, carrier, count=len(errors), message=message, breaker=breaker
            )


async def _write_jobs(connection: AsyncConnection, changes: Sequence[JobChange]) -> list[RobotJob]:
    if len(changes) == 1:
        return [await write_job_change(connection, changes[0])]
    return await write_job_changes(connection, changes)


def _by_completion(
    accepted: Iterable[AcceptedResult], closed: Mapping[uuid.UUID, RobotJobItem]
) -> list[AcceptedResult]:
    """As they were written: a job began with the first of them, and ended with the last."""
    return sorted(accepted, key=lambda each: (closed[each.held.item.id].completed_at, each.held.item.id))


def _closing(accepted: AcceptedResult) -> Closing:
    item, order, result = accepted.held.item, accepted.held.order, accepted.result
    return Closing(
        status=ItemStatus(result.status),
        tracking_number=result.tracking_number,
        carrier_guide_number=result.carrier_guide_number,
        error_type=result.error_type,
        error_message=result.error_message,
        review_reason=_review_reason(item, order, result),
        outcome_unknown=_leaves_outcome_unknown(item, result),
        robot=result.robot,
        steps=[step.as_json() for step in result.steps],
        settles=accepted.settles,
    )


def _leaves_outcome_unknown(item: RobotJobItem, result: ItemResult) -> bool:
    """After the button only the portal's own refusal says that there is no parcel."""
    return item.submitted_at is not None and result.error_type in (ErrorType.TIMEOUT, ErrorType.UNKNOWN)


def _review_reason(item: RobotJobItem, order: Order, result: ItemResult) -> str | None:
    """Why a person must look at a success whose number is news."""
    if result.tracking_number is None or item.tracking_number is not None:
        return None
    if result.tracking_number == item.previous_tracking_number:
        return f"It was to be shipped again, but came back with the first parcel's number {result.tracking_number}."
    if _shows_another_parcel(order, item, result):
        return f"The order had the tracking number {order.tracking_number} already."
    return None


def _shows_another_parcel(order: Order, item: RobotJobItem, result: ItemResult) -> bool:
    """A parcel that nobody knew of when the item's job was made."""
    return order.tracking_number not in (None, result.tracking_number, item.previous_tracking_number)


def _ships(accepted: AcceptedResult) -> bool:
    """Whether the order shows the parcel; not if what an earlier success lacked comes after a later parcel."""
    item, order, result = accepted.held.item, accepted.held.order, accepted.result
    is_too_late = item.status is ItemStatus.SUCCESS and _shows_another_parcel(order, item, result)
    return result.tracking_number is not None and not is_too_late


def _shipped(job: RobotJob, order: Order, result: ItemResult) -> dict[str, Any]:
    """What the order shows of its parcel.  A guide number belongs to its tracking number: a new one drops the old."""
    shipped: dict[str, Any] = {"carrier": job.carrier, "tracking_number": result.tracking_number}
    if result.carrier_guide_number is not None or order.tracking_number not in (None, result.tracking_number):
        shipped["carrier_guide_number"] = result.carrier_guide_number
    return shipped
