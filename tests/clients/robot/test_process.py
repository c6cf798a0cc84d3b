"""Robots as processes of their own: killed at every step, told to stop, started twice; nothing is shipped twice."""

import json
import signal
from pathlib import Path

import pytest

from domain.robot_jobs import ItemStatus
from tests.clients.robot.workshops import PASSWORD, Workshop
from tests.servers import run_command, until
from tests.tenants import Tenant

NOT_PRESSED = ["log in", "last number", "fill", "read back", "submit"]
HELD_BACK = 3  # how it ends when all that is left waits for somebody
AT_ONCE = ("--absent-after", "0")


@pytest.mark.parametrize("step", [*NOT_PRESSED, "after submit", "result"])
async def test_a_robot_that_is_killed_at_any_step_ships_once_after_its_next_start(
    workshop: Workshop, shop: Tenant, step: str
) -> None:
    job = await shop.job(items=2)
    workshop.portal.order(step, "kill")

    killed = await workshop.run_process("--limit", "2", *AT_ONCE)
    assert killed.process.returncode == -signal.SIGKILL
    again = await workshop.run_process("--limit", "2", *AT_ONCE)

    assert again.process.returncode == 0, again.log.read_text()
    items = (await shop.read(job.job.id)).items
    # Killed in the middle of submit, before the portal had it: the look-up finds that there is no parcel.
    expected = ItemStatus.ERROR if step == "submit" else ItemStatus.SUCCESS
    assert [(item.status, item.attempt) for item in items] == [(expected, 1), (ItemStatus.SUCCESS, 1)]
    assert [len(workshop.parcels(item)) for item in items] == [0 if step == "submit" else 1, 1]
    assert not any(item.outcome_unknown or item.review_reason for item in items)
    assert [item.tracking_number for item in items] == [next(iter(workshop.parcels(item)), None) for item in items]


async def test_a_robot_that_dies_of_its_login_does_not_try_it_for_ever(workshop: Workshop, shop: Tenant) -> None:
    job = await shop.job(items=1)
    workshop.portal.order("log in", "kill", times=4)

    ends = [(await workshop.run_process()).process.returncode for _ in range(4)]

    assert ends == [-signal.SIGKILL] * 3 + [HELD_BACK]
    assert workshop.portal.count("log in") == 3
    item = await workshop.item(job)
    assert (item.status, item.attempt) == (ItemStatus.PENDING, 1)


async def test_a_robot_that_is_told_to_stop_finishes_the_item_in_hand_and_gives_back_the_others(
    workshop: Workshop, shop: Tenant
) -> None:
    job = await shop.job(items=3)
    workshop.portal.order("fill", "terminate")

    robot = workshop.start("--limit", "3")

    assert await robot.ended() == 0, robot.log.read_text()
    items = (await shop.read(job.job.id)).items
    assert [item.status for item in items] == [ItemStatus.SUCCESS, ItemStatus.PENDING, ItemStatus.PENDING]
    assert {item.attempt for item in items} == {1}
    assert [item.lease_token for item in items] == [None] * 3


async def test_an_item_that_takes_too_long_at_a_stop_is_given_back(workshop: Workshop, shop: Tenant) -> None:
    job = await shop.job(items=1)
    workshop.portal.order("fill", "hang")
    robot = workshop.start("--stop-timeout", "0")
    await workshop.portal_has_met("fill")

    robot.process.terminate()

    assert await robot.ended() == 0, robot.log.read_text()
    item = await workshop.item(job)
    assert (item.status, item.attempt) == (ItemStatus.PENDING, 1)
    [released] = [event for event in robot.events() if event["event"] == "given_back"]
    assert released["reason"] == "STOPPING"


async def test_an_answer_that_takes_too_long_at_a_stop_leaves_an_unknown_outcome(
    workshop: Workshop, shop: Tenant
) -> None:
    job = await shop.job(items=1)
    workshop.portal.order("after submit", "hang")
    robot = workshop.start("--stop-timeout", "0")
    await workshop.portal_has_met("after submit")

    robot.process.terminate()

    assert await robot.ended() == 0, robot.log.read_text()
    item = await workshop.item(job)
    assert (item.status, item.outcome_unknown, item.reserved_number) == (ItemStatus.ERROR, True, "1")
    await workshop.run()
    assert (await workshop.item(job)).tracking_number == "1"


async def test_a_second_signal_ends_it_at_once_and_the_disk_knows(workshop: Workshop, shop: Tenant) -> None:
    job = await shop.job(items=1)
    workshop.portal.order("fill", "hang")
    robot = workshop.start()
    await workshop.portal_has_met("fill")

    robot.process.send_signal(signal.SIGINT)
    await until(lambda: any(event["event"] == "stopping" for event in robot.events()))
    robot.process.send_signal(signal.SIGINT)

    assert await robot.ended() == 1
    assert workshop.kept("claims") == 1
    await workshop.run()
    assert (await workshop.item(job)).attempt == 1
    assert workshop.parcels(await workshop.item(job)) == ["1"]


async def test_a_second_robot_in_the_same_folder_is_one_clear_line(workshop: Workshop, shop: Tenant) -> None:
    await shop.job(items=1)
    workshop.portal.order("fill", "hang")
    first = workshop.start("--stop-timeout", "0")
    await workshop.portal_has_met("fill")

    second = workshop.start()

    assert await second.ended() == 2
    (line,) = second.log.read_text().splitlines()
    assert line.startswith("robot-jobs: ")
    assert f"is in use by another robot (process {first.process.pid})" in line
    first.process.terminate()
    assert await first.ended() == 0


async def test_a_wrong_key_is_one_clear_line_and_exit_code_two(workshop: Workshop) -> None:
    robot = await workshop.run_process(ROBOT_JOBS_KEY="rjk_of-nobody")

    assert robot.process.returncode == 2
    line = robot.log.read_text().splitlines()[-1]
    assert line.startswith("robot-jobs: the API does not take the key")
    assert "rjk_of-nobody" not in robot.log.read_text()


def test_a_carrier_that_does_not_exist_is_one_clear_line(tmp_path: Path) -> None:
    ended = run_command(
        *("robot", "--carrier", "pigeon", "--portal-url", "http://portal.invalid", "--state-dir", str(tmp_path)),
        ROBOT_JOBS_KEY="rjk_any",
    )

    assert (ended.returncode, ended.stdout) == (2, "")
    (line,) = ended.stderr.splitlines()
    assert line.startswith("robot-jobs: there is no carrier 'pigeon'; there are sandbox, coordinadora")


async def test_a_carrier_that_lacks_something_is_one_clear_line_before_anything_is_claimed(
    workshop: Workshop, shop: Tenant
) -> None:
    job = await shop.job(items=1)

    robot = await workshop.run_process("--option", "lacks=a browser")

    assert robot.process.returncode == 2
    assert robot.log.read_text() == "robot-jobs: There is no a browser here.\n"
    assert (await workshop.item(job)).status == ItemStatus.PENDING


def test_a_robot_without_a_key_says_where_to_put_it() -> None:
    ended = run_command("robot", "--carrier", "sandbox", "--portal-url", "http://portal.invalid")

    assert ended.returncode == 2
    assert "set ROBOT_JOBS_KEY" in ended.stderr


@pytest.mark.parametrize("log_format", ["json", "text"])
async def test_neither_logs_nor_disk_know_the_password_or_the_key(
    workshop: Workshop, shop: Tenant, log_format: str
) -> None:
    await shop.job(items=4)
    for step, what in (("fill", "Defect"), ("after submit", "Defect"), ("portal", "refuse")):
        workshop.portal.order(step, what)

    robot = await workshop.run_process(*AT_ONCE, "--log-level", "debug", log_format=log_format)

    assert robot.process.returncode == 0, robot.log.read_text()
    written = robot.log.read_bytes() + b"".join(
        path.read_bytes() for path in (workshop.folder / "state").iterdir() if path.is_file()
    )
    assert b"a defect, with the password *** in it" in written
    assert PASSWORD.encode() not in written
    assert workshop.key.encode() not in written
    if log_format == "json":
        events = [json.loads(line) for line in robot.log.read_text().splitlines()]
        assert {"time", "level", "event", "robot"} <= set.intersection(*[set(event) for event in events])
        assert events[0]["time"].endswith("Z")
        (ended, *_) = [event for event in events if event["event"] == "item_ended"]
        assert {"workspace", "item", "attempt", "outcome"} <= set(ended)


async def test_metrics_are_served_while_it_works(workshop: Workshop, shop: Tenant) -> None:
    await shop.job(items=1)
    robot = workshop.start("--metrics-port", "0")
    await until(lambda: any(event["event"] == "metrics_served" for event in robot.events()))
    (served,) = [event for event in robot.events() if event["event"] == "metrics_served"]

    async def metrics() -> str:
        answer = await workshop.gate.http.get(f"http://127.0.0.1:{served['port']}/metrics")
        return answer.text

    async def has_shipped() -> bool:
        return 'robot_jobs_robot_items_total{outcome="success"} 1.0' in await metrics()

    await until(has_shipped)
    told = await metrics()
    robot.process.terminate()
    assert await robot.ended() == 0
    for name in (
        'robot_jobs_robot_claims_total{brought="items",purpose="ship"} 1.0',
        'robot_jobs_robot_step_seconds_count{step="submit"} 1.0',
        "robot_jobs_robot_queued_results",
        "robot_jobs_robot_items_in_hand",
        "robot_jobs_robot_last_success_timestamp_seconds",
    ):
        assert name in told, name
