"""The stream's promise, checked: each completion exactly once, in order, with the counters of its own moment."""

from dataclasses import dataclass, field

from clients.console.answers import Completion, ItemState, JobState, JobWithItems


class StreamBroken(Exception):
    """The stream did not keep its promise.  One line for people: what came, and what should have come."""


@dataclass(slots=True)
class CompletionLedger:
    """All completions of one job from its beginning.

    Each message must count its own item and nothing else: successes only grow, and by that item;
    failures may also shrink between two messages, for a retry takes failed items out of the count.
    """

    items: dict[str, ItemState] = field(default_factory=dict)
    last: JobState | None = None
    last_cursor: str = "0"
    message_count: int = 0
    _seen_cursors: set[str] = field(default_factory=set)

    def add(self, completion: Completion) -> None:
        """Raises StreamBroken."""
        item, job = completion.item, completion.job
        if completion.cursor in self._seen_cursors:
            raise StreamBroken(f"The stream repeated cursor {completion.cursor} (item {item.id}).")
        if item.is_open:
            raise StreamBroken(f"The stream told of item {item.id} as completed, but it is {item.status}.")
        before = self.items.get(item.id)
        if before is not None and not _may_follow(before, item):
            raise StreamBroken(
                f"The stream told of item {item.id} twice: attempt {before.attempt} {before.status}, "
                f"then attempt {item.attempt} {item.status}."
            )
        self._check_counters(before, item, job)
        self._seen_cursors.add(completion.cursor)
        self.items[item.id] = item
        self.last, self.last_cursor = job, completion.cursor
        self.message_count += 1

    def check_against(self, read: JobWithItems) -> None:
        """The finished job as it is read over HTTP must be what the stream told.  Raises StreamBroken."""
        told = _counters(self.last)
        if told != _counters(read.job):
            raise StreamBroken(
                f"The stream's last counters are {told}; the job read over HTTP has {_counters(read.job)}."
            )
        differing = [item.id for item in read.items if self.items.get(item.id) != item]
        if differing or len(read.items) != len(self.items):
            raise StreamBroken(
                f"The stream told of {len(self.items)} items, the job has {len(read.items)}; "
                f"{len(differing)} differ, the first is {differing[0] if differing else 'unknown'}."
            )

    def _check_counters(self, before: ItemState | None, item: ItemState, job: JobState) -> None:
        success, error, cancelled = _counters(self.last)
        must_success = success + (item.status == "SUCCESS")
        was_cancelled = before is not None and before.status == "CANCELLED"
        must_cancelled = cancelled + (item.status == "CANCELLED") - was_cancelled
        error_at_most = error + (item.status == "ERROR")
        error_at_least = int(item.status == "ERROR")
        is_right = (job.success_count, job.cancelled_count) == (must_success, must_cancelled)
        if not is_right or not error_at_least <= job.error_count <= error_at_most:
            raise StreamBroken(
                f"A completion is missing or out of order before item {item.id}: the counters went from "
                f"{(success, error, cancelled)} to {_counters(job)} (success, error, cancelled)."
            )


def _may_follow(before: ItemState, after: ItemState) -> bool:
    """A newer attempt; or, for the same one, a proven success in place of what the system had written."""
    if after.attempt == before.attempt:
        return before.status != "SUCCESS" and after.status == "SUCCESS"
    return after.attempt > before.attempt and before.status == "ERROR"


def _counters(job: JobState | None) -> tuple[int, int, int]:
    return (job.success_count, job.error_count, job.cancelled_count) if job is not None else (0, 0, 0)
