"""The robot's rounds: claim, work, rest; and how it stops."""

import asyncio
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass
from typing import Any

from clients.robot.api import Claim, Purpose, Refusal, ReleaseReason, RobotApi
from clients.robot.backoff import first_of, pause_s, rest
from clients.robot.carrier import CarrierUnusable, LoginRefused
from clients.robot.delivery import Delivery
from clients.robot.desk import Desk
from clients.robot.giving_back import GivingBack
from clients.robot.journal import Journal, JournalUnusable, KeptClaim
from clients.robot.leases import Lease, LeaseSet, lease_clock
from clients.robot.logs import Log
from clients.robot.looking_up import LookUps
from clients.robot.metrics import Metrics
from clients.robot.options import RobotOptions
from clients.robot.shipping import Held, Outcome, Shipper
from clients.robot.transport import ApiRefused, ApiUnreachable, KeyRefused

LOOK_UP_LEASE_S = 120
LOOKED_UP_EVERY_S = 60.0
_IDLE_FIRST_S, _IDLE_LONGEST_S = 1.0, 5.0
_FAILED_FIRST_S, _FAILED_LONGEST_S = 1.0, 60.0
_REFUSED_CLAIM_S = 30.0
_LAST_WORDS_S = 15.0
_USELESS_KEY_CODES = frozenset({"FORBIDDEN", "NOT_A_MEMBER"})
_BY_OTHERS, _PAUSED, _UNKNOWN = "ACCOUNT_BUSY", "ACCOUNT_PAUSED", "unknown"


@dataclass(frozen=True, slots=True)
class Parts:
    """What a robot is made of."""

    api: RobotApi
    journal: Journal
    desk: Desk
    leases: LeaseSet
    shipper: Shipper
    look_ups: LookUps
    delivery: Delivery
    giving_back: GivingBack
    metrics: Metrics


class Robot:
    """`stopping`: finish what is in hand, give back the rest, and end."""

    def __init__(self, options: RobotOptions, parts: Parts, log: Log, stopping: asyncio.Event) -> None:
        self._options, self._log, self._stopping = options, log, stopping
        self._api, self._journal, self._desk, self._leases = parts.api, parts.journal, parts.desk, parts.leases
        self._shipper, self._look_ups = parts.shipper, parts.look_ups
        self._delivery, self._giving_back, self._metrics = parts.delivery, parts.giving_back, parts.metrics
        self._waiting: list[Held] = []
        """Claimed, and not begun."""
        self._in_work: Held | None = None
        self._failure: Exception | None = None
        self._idle_rounds = self._failures = 0
        self._held_back: dict[Purpose, str | None] = {}
        self._looked_up_at = self._next_form_at = 0.0
        self.was_held_back = False
        """It ended because nothing was left to do but what the API holds back."""

    def counts(self) -> Mapping[str, int]:
        """For the progress line."""
        outcomes = self._metrics.outcomes
        return {
            "done": outcomes["success"],
            "failed": outcomes["error"],
            "unknown": outcomes["unknown"],
            "in hand": self._count_in_hand(),
            "queued": self._journal.count_results(),
        }

    async def run(self) -> None:
        """Until told to stop, or with `until_idle` until nothing is left.

        Raises KeyRefused, JournalUnusable, CarrierUnusable, and a defect of ours when all else has been seen to.
        """
        self._journal.take_up_what_was_set_aside()
        self._giving_back.abandon(was_killed=True)
        self._delivery.wake()
        background = [
            asyncio.create_task(self._guarded(each))
            for each in (self._leases.keep_renewed(), self._delivery.run(), self._give_back_at_stop())
        ]
        try:
            while not self._stopping.is_set():
                await self._guarded(self._round())
        finally:
            for task in background:
                task.cancel()
            await asyncio.gather(*background, return_exceptions=True)
            self._stopping.set()
            await self._end()
        if self._failure is not None:
            raise self._failure

    async def _guarded(self, work: Coroutine[Any, Any, None]) -> None:
        """What makes going on useless stops the robot as a signal would."""
        try:
            await work
        except ApiUnreachable:
            return  # it is stopping, or asks again in the next round
        except (KeyRefused, JournalUnusable, CarrierUnusable) as error:
            self._failure = self._failure or error
            self._stopping.set()
        except Exception as error:  # a robot without one of its tasks would wait for ever
            self._log.exception("defect", message=str(error))
            self._failure = self._failure or error
            self._stopping.set()

    # ------------------------------------------------------------------------------------------ rounds

    async def _round(self) -> None:
        await self._giving_back.settle(within_s=None)
        await first_of(self._delivery.has_sent_all, self._stopping)
        has_worked = await self._claim_and_work(Purpose.SHIP)
        if not has_worked or lease_clock() >= self._looked_up_at + LOOKED_UP_EVERY_S:
            self._looked_up_at = lease_clock()
            has_worked |= await self._claim_and_work(Purpose.LOOK_UP)
        self._count_queue()
        if has_worked:
            self._idle_rounds = 0
            return
        self._idle_rounds += 1
        if self._options.until_idle and self._is_done():
            self._stopping.set()
            return
        await rest(pause_s(self._idle_rounds, first_s=_IDLE_FIRST_S, longest_s=_IDLE_LONGEST_S), self._stopping)

    def _is_done(self) -> bool:
        """Nothing is left that this robot could do, now or soon."""
        held_back = [each for each in self._held_back.values() if each is not None]
        if (
            _UNKNOWN in held_back
            or _BY_OTHERS in held_back
            or self._journal.list_claims()
            or self._journal.count_results()
        ):
            return False
        if self._journal.next_evidence() is not None or lease_clock() < self._look_ups.next_due_at:
            return False
        if held_back:
            self._log.warning("held_back", reasons=held_back)
            self.was_held_back = True
        return True

    async def _claim_and_work(self, purpose: Purpose) -> bool:
        """Whether there was anything to do."""
        if self._stopping.is_set():
            return False
        is_ship = purpose is Purpose.SHIP
        limit, lease_s = (self._options.limit, self._options.lease_s) if is_ship else (1, LOOK_UP_LEASE_S)
        try:
            claim_id = self._journal.claim_id(purpose)
            claim = await self._api.claim(purpose, claim_id=claim_id, limit=limit, lease_s=lease_s)
        except ApiRefused as refused:
            if refused.code in _USELESS_KEY_CODES:
                raise KeyRefused(f"the API does not let this key claim: {refused}") from refused
            claim = Refusal(refused.code, str(refused))
        if isinstance(claim, Refusal):
            self._log.error("claim_refused", purpose=purpose, code=claim.code, message=claim.message)
            self._metrics.count_claim(purpose, claim.code)
            self._held_back[purpose] = _UNKNOWN
            await rest(_REFUSED_CLAIM_S, self._stopping)
            return False
        self._held_back[purpose] = claim.held_back
        self._metrics.count_claim(purpose, "items" if claim.items else claim.held_back or "nothing")
        if not claim.items:
            return False
        await self._work(claim, purpose)
        return True

    async def _work(self, claim: Claim, purpose: Purpose) -> None:
        held = [
            Held(
                item,
                Lease(item.item_id, item.lease_token, claim.workspace_id, claim.asked_at, claim.lease_s),
                claim.asked_at,
            )
            for item in claim.items
        ]
        self._journal.keep_claims(
            [
                KeptClaim(
                    lease_token=each.lease.token,
                    item_id=each.item.item_id,
                    attempt=each.item.attempt,
                    workspace_id=claim.workspace_id,
                    purpose=purpose,
                )
                for each in held
            ]
        )
        self._log.info("claimed", purpose=purpose, workspace=claim.workspace_id, items=len(held))
        self._waiting = held
        if purpose is Purpose.SHIP:
            self._leases.hold(each.lease for each in held)
        try:
            if await self._take_desk(claim):
                await self._work_through(purpose)
        finally:
            self._in_work = None
            for each in held:
                self._leases.drop(each.lease)
            self._count_queue()

    async def _take_desk(self, claim: Claim) -> bool:
        if claim.credentials is None:
            self._give_back_waiting(ReleaseReason.LOGIN_REFUSED, "No password is kept for this account.")
            return False
        try:
            await self._desk.take(claim.workspace_id, claim.credentials, is_probe=claim.held_back == _PAUSED)
        except LoginRefused as refused:
            self._give_back_waiting(ReleaseReason.LOGIN_REFUSED, str(refused))
            return False
        return True

    async def _work_through(self, purpose: Purpose) -> None:
        """One after another; what is not begun when the robot stops is given back by `_give_back_at_stop`."""
        work = self._shipper.ship if purpose is Purpose.SHIP else self._look_ups.settle
        while self._waiting and not self._stopping.is_set():
            if await rest(self._next_form_at - lease_clock(), self._stopping):
                return
            self._in_work = held = self._waiting.pop(0)
            self._journal.begin_working(held.lease.token)
            self._count_queue()
            outcome = await self._until_stopped(work(held))
            self._leases.drop(held.lease)
            self._in_work = None
            self._delivery.wake()
            if outcome is None:
                return
            self._next_form_at = lease_clock() + self._options.carrier_settings.pace_s
            if purpose is Purpose.SHIP:
                self._metrics.count_item(outcome)
            else:
                self._metrics.count_look_up(outcome)
            self._count_queue()
            if outcome.gives_up_account:
                self._give_back_waiting(ReleaseReason.STOPPING, f"Another item of the account ended: {outcome}.")
            await self._rest_after(outcome)

    async def _rest_after(self, outcome: Outcome) -> None:
        """What came back untried would be handed out again at once, and end alike."""
        if outcome not in (Outcome.PORTAL_UNAVAILABLE, Outcome.GIVEN_BACK):
            self._failures = 0
            return
        self._failures += 1
        await self._giving_back.settle(within_s=None)
        wait_s = pause_s(self._failures, first_s=_FAILED_FIRST_S, longest_s=_FAILED_LONGEST_S)
        await rest(wait_s, self._stopping)

    # ------------------------------------------------------------------------------------------ stopping

    async def _until_stopped(self, work: Coroutine[Any, Any, Outcome]) -> Outcome | None:
        """Its outcome; None if the robot was told to stop and it took too long: then it was broken off."""
        task, too_late = asyncio.create_task(work), asyncio.create_task(self._stop_deadline())
        try:
            await asyncio.wait({task, too_late}, return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                return task.result()
            self._log.warning("broken_off", after_s=self._options.stop_timeout_s)
            return None
        finally:
            too_late.cancel()
            if not task.done():
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

    async def _stop_deadline(self) -> None:
        await self._stopping.wait()
        await asyncio.sleep(self._options.stop_timeout_s)

    async def _give_back_at_stop(self) -> None:
        """What is not begun does not wait for what is in hand."""
        await self._stopping.wait()
        if self._waiting:
            self._give_back_waiting(ReleaseReason.STOPPING, "The robot stopped.")
            await self._giving_back.settle(within_s=_LAST_WORDS_S)

    def _give_back_waiting(self, reason: ReleaseReason, message: str) -> None:
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            self._leases.drop(each.lease)
            self._journal.give_back_later(each.lease.token, reason, message)

    async def _end(self) -> None:
        """Whatever can still be said is said; the rest stays on the disk for the next start."""
        try:
            await self._desk.leave()
            if not isinstance(self._failure, JournalUnusable):
                self._giving_back.abandon(was_killed=False)
            if not isinstance(self._failure, KeyRefused | JournalUnusable):
                async with asyncio.timeout(_LAST_WORDS_S):
                    await self._giving_back.settle(within_s=_LAST_WORDS_S)
                    await self._delivery.send_all()
        except (ApiUnreachable, TimeoutError):
            self._log.warning("stopped_with_work_on_disk", results=self._journal.count_results())
        except (KeyRefused, JournalUnusable) as error:
            self._failure = self._failure or error
        self._count_queue()

    def _count_in_hand(self) -> int:
        return len(self._waiting) + (self._in_work is not None)

    def _count_queue(self) -> None:
        self._metrics.set_queued(self._journal.count_results())
        self._metrics.set_in_hand(self._count_in_hand())
