"""The demo robot's decisions."""

from collections import Counter

from clients.console.answers import ItemState
from clients.console.demo_robot import Task, decide, open_tasks


def _tasks(count: int, *, attempt: int = 1) -> list[Task]:
    return open_tasks([ItemState(f"item-{number}", "PENDING", attempt) for number in range(count)])


def test_all_four_error_types_occur_among_fifty_items() -> None:
    for seed in range(20):
        results = [decide(task, seed=seed) for task in _tasks(50)]

        errors = Counter(result["errorType"] for result in results if result["status"] == "ERROR")

        assert set(errors) == {"VALIDATION", "PORTAL", "TIMEOUT", "UNKNOWN"}
        assert sum(errors.values()) <= 8


def test_a_decision_is_the_same_whenever_it_is_asked() -> None:
    once = [decide(task, seed=7) for task in _tasks(200)]

    assert once == [decide(task, seed=7) for task in _tasks(200)]
    assert once != [decide(task, seed=8) for task in _tasks(200)]


def test_a_second_attempt_succeeds_with_a_tracking_number_of_its_own() -> None:
    results = [decide(task, seed=7) for task in _tasks(200, attempt=2)]

    assert {result["status"] for result in results} == {"SUCCESS"}
    assert {result["attempt"] for result in results} == {2}
    assert len({result["trackingNumber"] for result in results}) == 200


def test_every_error_says_what_to_do() -> None:
    errors = [result for task in _tasks(500) if (result := decide(task, seed=7))["status"] == "ERROR"]

    assert all("etry" in error["errorMessage"] for error in errors)


def test_a_result_carries_only_what_goes_with_its_status() -> None:
    for task in _tasks(60):
        result = decide(task, seed=7)
        assert ("trackingNumber" in result) == (result["status"] == "SUCCESS")
        assert ("errorType" in result) == ("errorMessage" in result) == (result["status"] == "ERROR")


def test_only_open_items_are_worked_on_and_each_keeps_its_place() -> None:
    items = [
        ItemState("a", "SUCCESS", 1),
        ItemState("b", "PENDING", 1),
        ItemState("c", "ERROR", 1),
        ItemState("d", "PROCESSING", 2),
    ]

    assert open_tasks(items) == [Task(items[1], 1), Task(items[3], 3)]
