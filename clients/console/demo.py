"""The product's main job on real input: a file of orders becomes tracking numbers, seen live.

Import, preview, one robot job, a robot that reports results, the stream of completions, one retry of what failed.
Everything goes through the public API; run again at any time, it goes on where it stopped.
"""

import asyncio
import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console

from clients.console.answers import CreatedJob, ImportedOrders, JobState, KeyInUse, OrdersRefused
from clients.console.api_client import ApiClient, ApiRefused
from clients.console.completion_ledger import CompletionLedger, StreamBroken
from clients.console.demo_robot import work_on_job
from clients.console.dispatch_plan import DispatchPlan, plan_dispatch
from clients.console.order_file import OrderFileUnreadable, read_order_file, split_order_file
from clients.console.outages import ServerUnreachable
from clients.console.screen import LiveBar, Round, Screen

ALL_SHIPPED, NOT_ALL_SHIPPED, CANNOT_RUN = 0, 1, 2
SAMPLE_ORDERS = Path(__file__).with_name("sample_orders.csv")
RETRIES_AT_MOST = 3
ORDERS_PER_JOB_AT_MOST = 10_000
_LAST_WORDS_S = 15.0  # how long the stream may take to tell the rest once the robot has nothing left to do


class NotAllShipped(Exception):
    """The demo came to an end that is not the good one.  One line for people."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoOptions:
    """`delay_ms`: the robot's time per item; `again`: import the file as new orders; `record`: write an SVG there."""

    url: str
    token: str = field(repr=False)
    workspace_id: str | None = None
    csv_path: Path = SAMPLE_ORDERS
    delay_ms: int = 200
    seed: int = 1
    again: bool = False
    patience_s: float = 30.0
    record: Path | None = None
    console: Console = field(default_factory=Console)


async def run_demo(options: DemoOptions) -> int:
    """Returns the exit code: 0 all shipped or nothing to ship, 1 not all shipped or a broken promise, 2 cannot run."""
    screen = Screen(options.console, record=options.record)
    client = ApiClient(
        options.url,
        options.token,
        workspace_id=options.workspace_id,
        patience_s=options.patience_s,
        tell=screen.notice,
    )
    try:
        async with client:
            await _ship_file(client, screen, options)
    except (ServerUnreachable, ApiRefused, OrderFileUnreadable) as error:
        screen.bad(str(error))
        return CANNOT_RUN
    except (StreamBroken, NotAllShipped) as error:
        screen.bad(str(error))
        return NOT_ALL_SHIPPED
    except asyncio.CancelledError:
        screen.notice("Stopped. Run the demo again: it goes on where it stopped.")
        raise
    finally:
        screen.close()
    return ALL_SHIPPED


async def _ship_file(client: ApiClient, screen: Screen, options: DemoOptions) -> None:
    text = read_order_file(options.csv_path)
    screen.title(f"Robot jobs: {options.csv_path.name} to Coordinadora, through {options.url}")
    plan = None
    active = await client.find_active_job()
    if active is not None and options.again:
        screen.step("Orders")
        screen.say("A job is under way: it is finished first. Then run with --again once more.")
    else:
        order_ids = await _import_file(client, screen, text, suffix=_run_suffix() if options.again else "")
        screen.step("Preview: what would become of them")
        plan = plan_dispatch(await client.preview_dispatch(order_ids))
        screen.plan(plan)
        active = active or await _create_job(client, screen, plan)
    if active is None:
        screen.step("Nothing is left to ship")
        screen.say('To see it all once more with new orders: make demo ARGS="--again"')
        return
    await _settle(client, screen, active, options)
    if plan is not None and plan.rejected:
        screen.say(f"{plan.rejected_count:,} orders wait: correct them in the file, then run the demo again.")


async def _import_file(client: ApiClient, screen: Screen, text: str, *, suffix: str) -> list[str]:
    file = split_order_file(text, reference_suffix=suffix)
    screen.step(f"Import: {len(file.refused) + sum(chunk.order_count for chunk in file.chunks):,} orders")
    imported: list[ImportedOrders] = [await client.import_orders(chunk.csv) for chunk in file.chunks]
    refused = [*file.refused, *(line for each in imported for line in each.refused)]
    screen.imported(imported, sorted(refused, key=lambda line: line.line))
    return list(dict.fromkeys(order_id for each in imported for order_id in each.order_ids))


async def _create_job(client: ApiClient, screen: Screen, plan: DispatchPlan) -> JobState | None:
    """A job of the orders that are ready, or the one that the same request made before; None if none is ready."""
    if len(plan.ready) > ORDERS_PER_JOB_AT_MOST:
        screen.say(f"A job takes {ORDERS_PER_JOB_AT_MOST:,} orders: run the demo again for the others.")
    ready = [order.order_id for order in plan.ready[:ORDERS_PER_JOB_AT_MOST]]
    while ready:
        created = await client.create_robot_job(ready, idempotency_key=idempotency_key(ready))
        match created:
            case CreatedJob(job):
                return job
            case KeyInUse(job):
                screen.say("The same orders are in a job already; it is followed instead.")
                return job
            case OrdersRefused(reasons):
                screen.say(f"Left out meanwhile: {next(iter(reasons.values()))} ({len(reasons):,} in all)")
                ready = [order_id for order_id in ready if order_id not in reasons]
    return None


def idempotency_key(order_ids: Sequence[str]) -> str:
    """The same for the same orders in any order."""
    return "demo-" + hashlib.sha256("\n".join(sorted(order_ids)).encode()).hexdigest()[:32]


def _run_suffix() -> str:
    """Short, and new with every second."""
    return f"-{int(time.time()):x}"


async def _settle(client: ApiClient, screen: Screen, job: JobState, options: DemoOptions) -> None:
    """Follow the job, retry what failed, until everything is settled.  Raises NotAllShipped, StreamBroken."""
    ledger = CompletionLedger()
    before = f" goes on, {job.done_count:,} done" if job.done_count else ""
    screen.step(f"Job {job.id}{before}: {job.total_items:,} items")
    screen.say("A robot reports over HTTP; the bar moves by the live stream alone.", style="dim")
    rounds = [await _run_round("First run", client, screen, job, ledger, options)]
    retries = 0
    while (read := await client.get_job(job.id)).job.error_count and read.job.status != "CANCELLED":
        screen.step(f"{read.job.error_count:,} failed: what must be done")
        screen.failures(read.failures)
        if retries == RETRIES_AT_MOST:
            raise NotAllShipped(f"{read.job.error_count:,} items still fail after {retries} retries.")
        retried = await client.retry_failed_items(job.id)
        if not retried.item_count:
            reason = retried.skipped[0] if retried.skipped else "nothing can be retried."
            raise NotAllShipped(f"{read.job.error_count:,} items stay failed: {reason}")
        retries += 1
        screen.step(f"Retry: {retried.item_count:,} items, as if each had been put right")
        rounds.append(await _run_round("Retry", client, screen, retried.job, ledger, options))
    _show_end(screen, read.job, ledger, rounds)


async def _run_round(
    title: str, client: ApiClient, screen: Screen, job: JobState, ledger: CompletionLedger, options: DemoOptions
) -> Round:
    """The robot works and the stream is followed, side by side, until the job is finished and all has been told."""
    started = time.monotonic()
    with screen.progress(job) as bar:
        try:
            async with asyncio.TaskGroup() as group:
                following = group.create_task(_follow(client, job.id, ledger, bar))
                await work_on_job(client, job.id, seed=options.seed, delay_ms=options.delay_ms)
                await _wait_for_the_rest(following, options.patience_s + _LAST_WORDS_S)
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from None  # the first one stopped the other
        seconds = time.monotonic() - started
        await _check(client, job.id, ledger, bar)
    last = ledger.last or job
    # What was closed before this round had been told is not this round's work.
    return Round(title, last.success_count - job.success_count, last.error_count - job.error_count, seconds)


async def _follow(client: ApiClient, job_id: str, ledger: CompletionLedger, bar: LiveBar) -> None:
    async for completion in client.follow_completions(job_id, after=ledger.last_cursor):
        ledger.add(completion)
        bar.show(completion.job)


async def _check(client: ApiClient, job_id: str, ledger: CompletionLedger, bar: LiveBar) -> None:
    """What the stream told must be what HTTP tells.  Raises StreamBroken."""
    read = await client.get_job_with_items(job_id)
    if ledger.last != read.job:
        # A proof that was on its way when somebody ended the job corrects what the stream had told to its end.
        await _follow(client, job_id, ledger, bar)
        read = await client.get_job_with_items(job_id)
    ledger.check_against(read)


async def _wait_for_the_rest(following: asyncio.Task[None], timeout_s: float) -> None:
    done, _ = await asyncio.wait([following], timeout=timeout_s)
    if not done:
        raise StreamBroken(f"The robot has nothing left to do, but the stream has not ended within {timeout_s:g} s.")


def _show_end(screen: Screen, job: JobState, ledger: CompletionLedger, rounds: Sequence[Round]) -> None:
    screen.step("Settled")
    screen.rounds(rounds)
    if job.success_count != job.total_items:
        why = "The job was cancelled" if job.status == "CANCELLED" else "Not all went well"
        raise NotAllShipped(f"{why}: {job.total_items - job.success_count:,} of {job.total_items:,} items not shipped.")
    screen.good(f"All {job.total_items:,} orders have a tracking number.")
    told = f"{ledger.message_count:,} completions came over WebSocket"
    screen.good(f"{told}, each once and in order; the counters agree with HTTP.")
