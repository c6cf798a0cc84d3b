"""What robots say of their attempts beside the result: who they are, and what they did."""

import datetime as dt
from dataclasses import replace
from typing import Any

import pytest

from domain.errors import InvalidInput
from domain.robot_jobs import (
    AttemptStep,
    ErrorType,
    ItemResult,
    ItemStatus,
    JobStatus,
    RecordedResult,
    ResultConflict,
    ResultStatus,
    RobotJobItem,
)
from tests.tenants import Tenant

BEGAN_AT = dt.datetime(2026, 11, 22, 8, 0, 0, 123_456, dt.timezone(dt.timedelta(hours=-5)))
LOGIN = AttemptStep(name="log in", started_at=BEGAN_AT, duration_ms=1_250)
FORM = AttemptStep(name="fill the form", started_at=BEGAN_AT + dt.timedelta(seconds=2), duration_ms=0, note="2 fields")


def error(item: RobotJobItem, **given: Any) -> ItemResult:
    return ItemResult(item_id=item.id, status=ResultStatus.ERROR, error_type=ErrorType.PORTAL, **given)


async def test_robot_and_steps_are_kept_with_the_attempt(tenant: Tenant) -> None:
    in_hand = await tenant.job(items=1)

    await tenant.report(error(in_hand.items[0], robot=" sandbox 1.4.2 ", steps=[LOGIN, FORM]))

    [attempt] = await tenant.attempts(in_hand.items[0])
    assert attempt.robot == "sandbox 1.4.2"
    assert attempt.steps == [LOGIN, FORM]
    assert attempt.steps[0].started_at.utcoffset() == dt.timedelta(0)


async def test_each_attempt_has_its_own(tenant: Tenant) -> None:
    in_hand = await tenant.job(items=1)
    await tenant.report(error(in_hand.items[0], robot="one", steps=[LOGIN]))
    await tenant.retry(in_hand.job.id)

    await tenant.report(error(in_hand.items[0], robot="two"))

    attempts = await tenant.attempts(in_hand.items[0])
    assert [(each.robot, each.steps) for each in attempts] == [("one", [LOGIN]), ("two", [])]


async def test_the_same_result_with_other_steps_is_the_same_result(tenant: Tenant) -> None:
    in_hand = await tenant.job(items=1)
    await tenant.report(error(in_hand.items[0], robot="one", steps=[LOGIN]))
    before = await tenant.contents()

    again = await tenant.report(error(in_hand.items[0], robot="two", steps=[FORM]))

    assert isinstance(again, RecordedResult)
    assert again.replayed
    assert await tenant.contents() == before


async def test_another_result_for_a_closed_attempt_leaves_its_steps(tenant: Tenant) -> None:
    in_hand = await tenant.job(items=1)
    await tenant.report(error(in_hand.items[0], robot="one", steps=[LOGIN]))

    answer = await tenant.report(error(in_hand.items[0], error_message="No.", robot="two", steps=[FORM]))

    [attempt] = await tenant.attempts(in_hand.items[0])
    assert isinstance(answer, ResultConflict)
    assert (attempt.robot, attempt.steps) == ("one", [LOGIN])


async def test_a_late_proof_tells_what_the_system_could_not(tenant: Tenant) -> None:
    in_hand = await tenant.job(items=1)
    await tenant.set_status(in_hand.job.id, JobStatus.FAILED)
    proof: dict[str, Any] = {"item_id": in_hand.items[0].id, "status": ResultStatus.SUCCESS, "tracking_number": "PED-1"}

    await tenant.report(ItemResult(**proof, robot="one", steps=[LOGIN]))
    await tenant.report(ItemResult(**proof, carrier_guide_number="G-1", robot="two", steps=[FORM]))

    [attempt] = await tenant.attempts(in_hand.items[0])
    assert attempt.status is ItemStatus.ERROR
    assert (attempt.robot, attempt.steps) == ("one", [LOGIN])


async def test_a_lease_that_runs_out_leaves_an_attempt_without_steps(tenant: Tenant) -> None:
    await tenant.job(items=1)
    [item] = (await tenant.claim()).items
    await tenant.run_out(item)

    await tenant.sweep()

    [attempt] = await tenant.attempts(item)
    assert (attempt.robot, attempt.steps) == (None, [])


def step(**changes: Any) -> AttemptStep:
    return replace(LOGIN, **changes)


@pytest.mark.parametrize(
    ("given", "path"),
    [
        ({"robot": "x" * 101}, "robot"),
        ({"robot": "a\x00b"}, "robot"),
        ({"steps": [LOGIN] * 51}, "steps"),
        ({"steps": [LOGIN, step(name=" ")]}, "steps.1.name"),
        ({"steps": [step(name="x" * 51)]}, "steps.0.name"),
        ({"steps": [step(name="\ud800")]}, "steps.0.name"),
        ({"steps": [step(note="x" * 201)]}, "steps.0.note"),
        ({"steps": [step(note="\x00")]}, "steps.0.note"),
        ({"steps": [step(duration_ms=-1)]}, "steps.0.duration_ms"),
        ({"steps": [step(duration_ms=2**31)]}, "steps.0.duration_ms"),
        ({"steps": [step(started_at=BEGAN_AT.replace(tzinfo=None))]}, "steps.0.started_at"),
        ({"steps": [step(started_at=dt.datetime.min.replace(tzinfo=dt.timezone.max))]}, "steps.0.started_at"),
    ],
    ids=str,
)
async def test_what_cannot_be_kept_is_invalid_input(tenant: Tenant, given: dict[str, Any], path: str) -> None:
    in_hand = await tenant.job(items=1)
    before = await tenant.contents()

    with pytest.raises(InvalidInput) as refused:
        await tenant.report(error(in_hand.items[0], **given))

    assert [problem.path for problem in refused.value.problems] == [path]
    assert await tenant.contents() == before


async def test_as_much_as_may_be_is_kept(tenant: Tenant) -> None:
    in_hand = await tenant.job(items=1)
    steps = [step(name="x" * 50, note="ñ" * 200, duration_ms=2**31 - 1)] * 50

    await tenant.report(error(in_hand.items[0], robot="r" * 100, steps=steps))

    [attempt] = await tenant.attempts(in_hand.items[0])
    assert (attempt.robot, attempt.steps) == ("r" * 100, steps)
