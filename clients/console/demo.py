"""The product's main job on real input: a file of orders becomes tracking numbers, seen live.

Import, preview, one robot job, a robot that fills in the sandbox portal's form while some of it goes wrong, the stream
of completions, a retry of what failed, and in the end the portal's own count of parcels.  Everything goes through the
public API; run again at any time, it goes on where it stopped.
"""

import asyncio
import hashlib
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console

from clients.console.answers import (
    CreatedJob,
    ImportedOrders,
    ItemState,
    JobState,
    JobWithItems,
    KeyInUse,
    OrdersRefused,
    PreviewedOrder,
)
from clients.console.api_client import ApiClient, ApiRefused
from clients.console.completion_ledger import CompletionLedger, StreamBroken
from clients.console.dispatch_plan import DispatchPlan, plan_dispatch
from clients.console.faults import plan_faults
from clients.console.order_file import OrderFileUnreadable, read_order_file, split_order_file
from clients.console.outages import ServerUnreachable
from clients.console.sandbox import ParcelsDiffer, PortalUnusable, SandboxPortal, check_parcels
from clients.console.screen import LiveBar, Round, Screen, count_of

SETTLED, NOT_SETTLED, CANNOT_RUN = 0, 1, 2
SAMPLE_ORDERS = Path(__file__).with_name("sample_orders.csv")
RETRIES_AT_MOST = 3
ORDERS_PER_JOB_AT_MOST = 10_000
LOOKS_EVERY_S = 0.5
_PORTAL_NAMES = {"SANDBOX": "the sandbox portal", "COORDINADORA": "Coordinadora's form, in a browser"}


class NotAllSettled(Exception):
    """The demo came to an end that is not the good one.  One line for people."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoOptions:
    """`again`: import the file as new orders; `record`: write an SVG there."""

    url: str
    token: str = field(repr=False)
    workspace_id: str | None = None
    carrier: str = "SANDBOX"
    portal_url: str | None = None
    """Of the sandbox portal that the robot works at; without it nothing goes wrong, and no parcels are counted."""
    with_faults: bool = True
    csv_path: Path = SAMPLE_ORDERS
    orders_at_most: int = ORDERS_PER_JOB_AT_MOST
    again: bool = False
    patience_s: float = 30.0
    """With a server that does not answer."""
    robot_patience_s: float = 120.0
    """With a robot that does nothing, and with outcomes that nobody knows."""
    record: Path | None = None
    console: Console = field(default_factory=Console)


async def run_demo(options: DemoOptions) -> int:
    """Returns the exit code: 0 every order has a tracking number or a refusal, 1 not so or a broken promise, 2 cannot
    run.
    """
    screen = Screen(options.console, record=options.record)
    client = ApiClient(
        options.url,
        options.token,
        carrier=options.carrier,
        workspace_id=options.workspace_id,
        patience_s=options.patience_s,
        tell=screen.notice,
    )
    try:
        async with AsyncExitStack() as closing:
            await closing.enter_async_context(client)
            portal = None
            if options.portal_url is not None:
                portal = await closing.enter_async_context(SandboxPortal(options.portal_url))
            await _Demo(options, client, portal, screen).ship_file()
    except (ServerUnreachable, ApiRefused, OrderFileUnreadable, PortalUnusable) as error:
        screen.bad(str(error))
        return CANNOT_RUN
    except (StreamBroken, NotAllSettled, ParcelsDiffer) as error:
        screen.bad(str(error))
        return NOT_SETTLED
    except asyncio.CancelledError:
        screen.notice("Stopped. Run the demo again: it goes on where it stopped.")
        raise
    finally:
        screen.close()
    return SETTLED


def idempotency_key(carrier: str, order_ids: Sequence[str]) -> str:
    """The same for the same orders in any order."""
    return f"demo-{carrier.lower()}-" + hashlib.sha256("\n".join(sorted(order_ids)).encode()).hexdigest()[:32]


def _run_suffix() -> str:
    """Short, and new with every second."""
    return f"-{int(time.time()):x}"


class _Demo:
    def __init__(self, options: DemoOptions, client: ApiClient, portal: SandboxPortal | None, screen: Screen) -> None:
        self._options, self._client, self._portal, self._screen = options, client, portal, screen

    # ------------------------------------------------------------------------------------------ the job

    async def ship_file(self) -> None:
        options, screen = self._options, self._screen
        text = read_order_file(options.csv_path)
        screen.title(f"Robot jobs: {options.csv_path.name} to {_PORTAL_NAMES[options.carrier]}, through {options.url}")
        plan = None
        active = await self._client.find_active_job()
        if active is not None and options.again:
            screen.step("Orders")
            screen.say("A job is under way: it is finished first. Then run with --again once more.")
        else:
            order_ids = await self._import(text, suffix=_run_suffix() if options.again else "")
            screen.step("Preview: what would become of them")
            plan = plan_dispatch(await self._client.preview_dispatch(order_ids))
            screen.plan(plan)
            active = active or await self._create_job(plan)
        if active is None:
            screen.step("Nothing is left to ship")
            screen.say('To see it all once more with new orders: make demo ARGS="--again"')
            return
        await self._settle(active)
        if plan is not None and plan.rejected:
            waiting = count_of(plan.rejected_count, "order")
            screen.say(f"{waiting} not sent: correct what is wrong in the file, then run the demo again.")

    async def _import(self, text: str, *, suffix: str) -> list[str]:
        file = split_order_file(text, reference_suffix=suffix)
        self._screen.step(f"Import: {len(file.refused) + sum(chunk.order_count for chunk in file.chunks):,} orders")
        imported: list[ImportedOrders] = [await self._client.import_orders(chunk.csv) for chunk in file.chunks]
        refused = [*file.refused, *(line for each in imported for line in each.refused)]
        self._screen.imported(imported, sorted(refused, key=lambda line: line.line))
        return list(dict.fromkeys(order_id for each in imported for order_id in each.order_ids))

    async def _create_job(self, plan: DispatchPlan) -> JobState | None:
        """A job of the orders that are ready, or the one that the same request made before; None if none is ready."""
        going = plan.ready[: self._options.orders_at_most]
        if going and len(going) < len(plan.ready):
            self._screen.say(f"The first {len(going):,} go out now; run the demo again for others.")
        if going:
            await self._order_faults(going)
        ready = [order.order_id for order in going]
        while ready:
            key = idempotency_key(self._options.carrier, ready)
            match await self._client.create_robot_job(ready, idempotency_key=key):
                case CreatedJob(job):
                    return job
                case KeyInUse(job):
                    self._screen.say("The same orders are in a job already; it is followed instead.")
                    return job
                case OrdersRefused(reasons):
                    self._screen.say(f"Left out meanwhile: {next(iter(reasons.values()))} ({len(reasons):,} in all)")
                    ready = [order_id for order_id in ready if order_id not in reasons]
        return None

    async def _order_faults(self, orders: Sequence[PreviewedOrder]) -> None:
        """Before there is a job: the robot is quick."""
        faults = plan_faults(orders) if self._portal is not None and self._options.with_faults else []
        if self._portal is None or not faults:
            return
        await self._portal.lift_faults()  # those that an earlier run has ordered and not met
        await self._portal.order_faults([fault.as_ordered() for fault in faults])
        self._screen.step(f"The portal is told to go wrong for {count_of(len(faults), 'order')}")
        self._screen.faults(faults)

    async def _settle(self, job: JobState) -> None:
        """Follow the job, retry what failed, until everything is settled.  Raises NotAllSettled, StreamBroken."""
        screen, ledger = self._screen, CompletionLedger()
        before = f" goes on, {job.done_count:,} done" if job.done_count else ""
        screen.step(f"Job {job.id}{before}: {count_of(job.total_items, 'item')}")
        screen.say("A robot fills in the portal's form; the bar moves by the live stream alone.", style="dim")
        rounds = [await self._run_round("First run", job, ledger)]
        while failed := [item for item in (await self._looked_up(job.id, ledger)).items if _may_go_out(item)]:
            if len(rounds) > RETRIES_AT_MOST:
                raise NotAllSettled(f"{len(failed):,} items still fail after {RETRIES_AT_MOST} retries.")
            retried = await self._client.retry_failed_items(job.id, [item.id for item in failed])
            if not retried.item_count:
                reason = retried.skipped[0] if retried.skipped else "nothing can be retried."
                raise NotAllSettled(f"{len(failed):,} items stay failed: {reason}")
            screen.step(f"Retry: {count_of(retried.item_count, 'item')} of which the portal has no parcel")
            rounds.append(await self._run_round("Retry", retried.job, ledger))
        await self._show_end(job.id, ledger, rounds)

    # ------------------------------------------------------------------------------------------ following it

    async def _run_round(self, title: str, job: JobState, ledger: CompletionLedger) -> Round:
        """The stream is followed while a robot works, until the job is finished and all has been told."""
        started = time.monotonic()
        with self._screen.progress(job) as bar:
            try:
                async with asyncio.TaskGroup() as group:
                    watching = group.create_task(self._watch_for_idle(ledger))
                    await self._follow(job.id, ledger, bar)
                    watching.cancel()
            except ExceptionGroup as failures:
                raise failures.exceptions[0] from None  # the first one stopped the other
            seconds = time.monotonic() - started
            await self._check(job.id, ledger, bar)
        last = ledger.last or job
        # What was closed before this round had been told is not this round's work.
        return Round(title, last.success_count - job.success_count, last.error_count - job.error_count, seconds)

    async def _follow(self, job_id: str, ledger: CompletionLedger, bar: LiveBar | None = None) -> None:
        async for completion in self._client.follow_completions(job_id, after=ledger.last_cursor):
            ledger.add(completion)
            if bar is not None:
                bar.show(completion.job)

    async def _watch_for_idle(self, ledger: CompletionLedger) -> None:
        """Raises NotAllSettled when no item has ended for too long."""
        told, since, is_noticed = ledger.message_count, time.monotonic(), False
        while True:
            await asyncio.sleep(LOOKS_EVERY_S)
            if ledger.message_count != told:
                told, since, is_noticed = ledger.message_count, time.monotonic(), False
                continue
            idle_s = time.monotonic() - since
            if idle_s > self._options.robot_patience_s:
                raise NotAllSettled(
                    f"No item has ended for {idle_s:.0f} s: is there a robot? `make run` starts one beside the API."
                )
            if idle_s > self._options.robot_patience_s / 4 and not is_noticed:
                is_noticed = True
                self._screen.notice(f"No item has ended for {idle_s:.0f} s; waiting for a robot …")

    async def _check(self, job_id: str, ledger: CompletionLedger, bar: LiveBar | None = None) -> JobWithItems:
        """What the stream told must be what HTTP tells.  Raises StreamBroken."""
        read = await self._client.get_job_with_items(job_id)
        if ledger.last != read.job:
            # A proof that came when the job was finished corrects what the stream had told to its end.
            await self._follow(job_id, ledger, bar)
            read = await self._client.get_job_with_items(job_id)
        ledger.check_against(read)
        return read

    # ------------------------------------------------------------------------------------------ what failed

    async def _looked_up(self, job_id: str, ledger: CompletionLedger) -> JobWithItems:
        """The job once nothing of it is unknown any more.  Raises NotAllSettled."""
        shown = await self._client.get_job(job_id)
        if shown.job.status == "CANCELLED":
            raise NotAllSettled("The job was cancelled.")
        if any(group.action != "FIX_ORDER" for group in shown.failures):
            self._screen.step(f"{shown.job.error_count:,} failed: what must be done")
            self._screen.failures(shown.failures)
        read = await self._client.get_job_with_items(job_id)
        unknown, started = set(read.unknown_ids), time.monotonic()
        if unknown:
            self._screen.notice(f"Is there a parcel? For {len(unknown):,} the robot looks it up in the portal's list …")
        while read.unknown_ids:
            if time.monotonic() - started > self._options.robot_patience_s:
                raise NotAllSettled(f"{len(read.unknown_ids):,} outcomes are still unknown; look at the robot's log.")
            await asyncio.sleep(LOOKS_EVERY_S)
            read = await self._client.get_job_with_items(job_id)
        read = await self._check(job_id, ledger)
        if unknown:
            found = sum(item.status == "SUCCESS" for item in read.items if item.id in unknown)
            took = f"after {time.monotonic() - started:.1f} s"
            self._screen.good(f"Looked up {took}: {found:,} found, {len(unknown) - found:,} surely without a parcel")
        return read

    async def _show_end(self, job_id: str, ledger: CompletionLedger, rounds: Sequence[Round]) -> None:
        screen = self._screen
        read = await self._check(job_id, ledger)
        screen.step("Settled")
        screen.rounds(rounds)
        refused = [item for item in read.items if item.is_refused]
        if refused:
            what = count_of(len(refused), "order")
            screen.say(f"{what} refused by the portal: each needs a correction first", style="yellow")
            said: dict[str, list[str]] = {}
            for item in refused:
                said.setdefault(item.error_message or "", []).append(read.references[item.id])
            screen.refused(said)
            screen.say("")
        lost = read.job.total_items - read.job.success_count - len(refused)
        if lost:
            raise NotAllSettled(f"{lost:,} of {read.job.total_items:,} items have neither a number nor a refusal.")
        which = (
            f"{read.job.success_count:,} of {read.job.total_items:,}" if refused else f"All {read.job.total_items:,}"
        )
        screen.good(f"{which} orders have a tracking number.")
        told = f"{count_of(ledger.message_count, 'completion')} came over WebSocket"
        screen.good(f"{told}, each once and in order; the counters agree with HTTP.")
        if self._portal is not None:
            parcels = check_parcels(read, await self._portal.count_parcels())
            screen.good(
                f"The portal counted {parcels:,} parcels: one for each success, under its number, and no other."
            )


def _may_go_out(item: ItemState) -> bool:
    """Failed, and not for what its order says."""
    return item.status == "ERROR" and not item.is_refused
