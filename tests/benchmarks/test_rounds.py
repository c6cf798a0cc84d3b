"""The streams' benchmark notices whatever is not told exactly once, in order and as it was."""

import json
from array import array
from typing import Any

import pytest

from tests.benchmarks.rounds import check
from tests.benchmarks.sources import Closed
from tests.benchmarks.subscribers import Heard, Report, Sample


@pytest.mark.parametrize(
    ("seqs", "hears_all"),
    [([2, 3, 5], True), ([2], True), ([], True), ([2, 3, 5], False), ([3, 5], False), ([5], False), ([], False)],
)
def test_each_once_and_in_order_is_right(seqs: list[int], hears_all: bool) -> None:
    assert check(_report(seqs), _CLOSED, [hears_all]) == (1, [])


@pytest.mark.parametrize(
    ("seqs", "hears_all"),
    [
        ([2, 5], True),  # one is missing
        ([3, 5], True),  # the first one is
        ([2, 2, 3, 5], True),  # twice
        ([3, 2, 5], False),  # not in order
        ([2, 3, 4, 5], True),  # nobody closed that
        ([4], False),
        ([2, 3, 5, 6], True),
    ],
)
def test_anything_else_is_wrong(seqs: list[int], hears_all: bool) -> None:
    exact, problems = check(_report(seqs), _CLOSED, [hears_all])

    assert exact == 0
    assert problems[0].startswith("subscriber 0 heard")


def test_a_message_as_it_was_committed_is_right() -> None:
    message = _message()
    with_order = _message()
    with_order["payload"]["data"]["robotJobItemCompleted"]["item"]["order"] = {"id": "o"}
    message["payload"]["data"]["robotJobItemCompleted"]["item"]["completedAt"] = "2026-01-02T03:04:05Z"

    assert check(_report([], message, with_order), _CLOSED, [True]) == (1, [])


@pytest.mark.parametrize(
    "wrong",
    [
        {"id": "another operation"},
        {"type": "error"},
        {"errors": [{"message": "no"}]},
        {"job": {"successCount": 2}},
        {"item": {"id": "i", "completedAt": "2026-01-02T03:04:06+00:00"}},
        {"item": {"id": "j", "completedAt": "2026-01-02T03:04:05+00:00"}},
        {"item": {"id": "i", "completedAt": "2026-01-02T03:04:05+00:00", "order": {"id": "p"}}},
    ],
)
def test_a_message_that_says_anything_else_is_wrong(wrong: dict[str, Any]) -> None:
    message = _message()
    for name, value in wrong.items():
        if name in message:
            message[name] = value
        elif name == "errors":
            message["payload"][name] = value
        else:
            message["payload"]["data"]["robotJobItemCompleted"][name] = value

    _, problems = check(_report([], message), _CLOSED, [True])

    assert len(problems) == 1


_TOLD = {
    "item": {"id": "i", "completedAt": "2026-01-02T03:04:05+00:00", "order": {"id": "o"}},
    "job": {"successCount": 1},
}
_CLOSED = [Closed(seq, 0, _TOLD) for seq in (2, 3, 5)]


def _message() -> dict[str, Any]:
    item = {"id": "i", "completedAt": "2026-01-02T03:04:05+00:00"}
    data = {"robotJobItemCompleted": {"cursor": "3.abc", "item": item, "job": {"successCount": 1}}}
    return {"id": "1", "type": "next", "payload": {"data": data}}


def _report(seqs: list[int], *messages: dict[str, Any]) -> Report:
    samples = [Sample("1", 3, json.dumps(message).encode()) for message in messages]
    return Report([Heard(array("Q", seqs), array("Q", seqs))], samples, [])
