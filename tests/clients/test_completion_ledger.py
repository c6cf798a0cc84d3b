"""The stream's promise is checked message by message, and at the end against HTTP."""

from dataclasses import replace

import pytest

from clients.console.answers import Completion, ItemState, JobState, JobWithItems
from clients.console.completion_ledger import CompletionLedger, StreamBroken


def _job(success: int, error: int, cancelled: int = 0) -> JobState:
    return JobState("job", "PROCESSING", 3, success, error, cancelled)


def _told(seq: int, item: str, status: str, job: JobState, *, attempt: int = 1) -> Completion:
    return Completion(str(seq), ItemState(item, status, attempt), job)


A_FAILED = _told(2, "a", "ERROR", _job(0, 1))
B_SHIPPED = _told(3, "b", "SUCCESS", _job(1, 1))
C_FAILED = _told(4, "c", "ERROR", _job(1, 2))
A_RETRIED = _told(6, "a", "SUCCESS", _job(2, 0), attempt=2)
C_RETRIED = _told(7, "c", "SUCCESS", _job(3, 0), attempt=2)
WHOLE_STORY = [A_FAILED, B_SHIPPED, C_FAILED, A_RETRIED, C_RETRIED]


def _ledger(*completions: Completion) -> CompletionLedger:
    ledger = CompletionLedger()
    for completion in completions:
        ledger.add(completion)
    return ledger


def _follow_with_checks(told: list[Completion]) -> None:
    """Two rounds, each checked against HTTP at its end, as the demo does."""
    ledger = _ledger(*(completion for completion in told if completion.item.attempt == 1))
    ledger.check_against(JobWithItems(_job(1, 2), [A_FAILED.item, B_SHIPPED.item, C_FAILED.item]))
    for completion in told:
        if completion.item.attempt == 2:
            ledger.add(completion)
    ledger.check_against(JobWithItems(_job(3, 0), [A_RETRIED.item, B_SHIPPED.item, C_RETRIED.item]))


def test_a_whole_story_with_a_retry_is_accepted() -> None:
    ledger = _ledger(*WHOLE_STORY)

    assert (ledger.message_count, ledger.last_cursor, ledger.last) == (5, "7", _job(3, 0))
    _follow_with_checks(WHOLE_STORY)


def test_a_repeated_message_is_noticed() -> None:
    with pytest.raises(StreamBroken, match="repeated cursor 3"):
        _ledger(A_FAILED, B_SHIPPED, B_SHIPPED)


def test_a_repeated_item_under_a_new_cursor_is_noticed() -> None:
    with pytest.raises(StreamBroken, match="item b twice"):
        _ledger(A_FAILED, B_SHIPPED, replace(B_SHIPPED, cursor="9"))


@pytest.mark.parametrize("missing", WHOLE_STORY, ids=lambda completion: completion.cursor)
def test_a_missing_message_is_noticed_at_the_next_one_or_at_the_end_of_its_round(missing: Completion) -> None:
    with pytest.raises(StreamBroken):
        _follow_with_checks([completion for completion in WHOLE_STORY if completion is not missing])


def test_swapped_messages_are_noticed() -> None:
    with pytest.raises(StreamBroken, match="missing or out of order before item b"):
        _ledger(B_SHIPPED, A_FAILED)


def test_an_open_item_is_no_completion() -> None:
    with pytest.raises(StreamBroken, match="item a as completed, but it is PENDING"):
        _ledger(_told(2, "a", "PENDING", _job(0, 0)))


def test_a_proven_success_may_replace_an_error_of_the_same_attempt() -> None:
    _ledger(A_FAILED, _told(3, "a", "SUCCESS", _job(1, 0)))


def test_counters_that_differ_over_http_are_noticed() -> None:
    with pytest.raises(StreamBroken, match="read over HTTP"):
        _ledger(A_FAILED).check_against(JobWithItems(_job(0, 2), [A_FAILED.item]))


def test_an_item_that_differs_over_http_is_noticed() -> None:
    with pytest.raises(StreamBroken, match="1 differ, the first is a"):
        _ledger(A_FAILED).check_against(JobWithItems(_job(0, 1), [replace(A_FAILED.item, attempt=2)]))
