"""The demo's robot: it fills in no portal, but reports like one that does, a few items at a time.

What becomes of an item is decided by the seed and the item's place in its job, so a run can be repeated. On the first
attempt a few of every thirty items fail, each with another type of error; a later attempt always succeeds.
"""

import asyncio
import hashlib
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from clients.console.answers import ItemState
from clients.console.api_client import ApiClient

ROBOTS = 4
ITEMS_PER_BLOCK = 30  # of which one fails with each type of error

ERROR_MESSAGES = {
    "VALIDATION": (
        "The portal refused the address: it has no house number. Complete the address, then retry.",
        "The portal refused the document number: 6 to 10 digits are needed. Correct it, then retry.",
        "The declared value is above this service's limit. Lower it or choose another service, then retry.",
    ),
    "PORTAL": (
        "The portal answered 502 Bad Gateway; the form was not sent. Retry in a few minutes.",
        "The portal logged the robot out before the form was sent. Retry: the robot logs in again.",
    ),
    "TIMEOUT": (
        "The portal's list of cities did not load within 30 s; the form was not sent. Retry.",
        "The portal's page did not open within 60 s; nothing was typed. Retry.",
    ),
    "UNKNOWN": (
        "The portal showed a dialog that the robot does not know; the form was not sent. Look at the portal, then "
        "retry.",
    ),
}


@dataclass(frozen=True, slots=True)
class Task:
    """An open item and its place in the job, counted from 0."""

    item: ItemState
    place: int


def open_tasks(items: Sequence[ItemState]) -> list[Task]:
    """What is left to do of a job's items, given in the order of their creation."""
    return [Task(item, place) for place, item in enumerate(items) if item.is_open]


def decide(task: Task, *, seed: int) -> dict[str, Any]:
    """How this try of the item ends: the input of updateJobItemResult.  The same whenever it is asked."""
    named = {"itemId": task.item.id, "attempt": task.item.attempt}
    error_type = _error_type(task.place, seed) if task.item.attempt == 1 else None
    if error_type is None:
        return named | {"status": "SUCCESS", "trackingNumber": tracking_number(task.item, seed)}
    messages = ERROR_MESSAGES[error_type]
    message = messages[task.place // ITEMS_PER_BLOCK % len(messages)]
    return named | {"status": "ERROR", "errorType": error_type, "errorMessage": message}


def tracking_number(item: ItemState, seed: int) -> str:
    """A number such as the portal gives; always the same for one try, so that reporting it again is a repeat."""
    digest = hashlib.sha256(f"{seed}:{item.id}:{item.attempt}".encode()).digest()
    return f"56{int.from_bytes(digest[:8]) % 10**9:09d}"


def _error_type(place: int, seed: int) -> str | None:
    block, within = divmod(place, ITEMS_PER_BLOCK)
    outcomes = [*ERROR_MESSAGES, *[None] * (ITEMS_PER_BLOCK - len(ERROR_MESSAGES))]
    random.Random(f"{seed}:{block}").shuffle(outcomes)  # noqa: S311 -- a repeatable demo, no secret
    return outcomes[within]


async def work_on_job(client: ApiClient, job_id: str, *, seed: int, delay_ms: int) -> None:
    """Report one result for each open item until none is left.  Raises ServerUnreachable, ApiRefused."""
    while tasks := open_tasks((await client.get_job_with_items(job_id)).items):
        waiting = iter(tasks)
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(ROBOTS):
                    group.create_task(_work(client, waiting, seed=seed, delay_ms=delay_ms))
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from None  # the first one stopped the others


async def _work(client: ApiClient, tasks: Iterator[Task], *, seed: int, delay_ms: int) -> None:
    for task in tasks:
        pace = random.Random(f"{seed}:{task.item.id}").uniform(0.5, 1.5)  # noqa: S311 -- as above
        await asyncio.sleep(delay_ms * pace / 1_000)
        reported = await client.update_job_item_result(decide(task, seed=seed))
        if not reported.job.is_active:
            return  # cancelled or failed by somebody: what is not sent yet must not be sent
