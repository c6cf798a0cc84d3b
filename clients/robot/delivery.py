"""Sends what is on the disk until the API has answered for it: results, then evidence."""

import asyncio
from collections.abc import Callable
from itertools import groupby

from clients.robot.api import RESULTS_AT_ONCE, Refusal, RobotApi
from clients.robot.journal import Journal, KeptEvidence, KeptResult
from clients.robot.leases import lease_clock
from clients.robot.logs import Log
from clients.robot.transport import ApiRefused

_POSTPONED_S = 60.0
_TO_BE_SET_ASIDE = "INVALID_INPUT"


class Delivery:
    """`count` hears how each result was answered."""

    def __init__(self, api: RobotApi, journal: Journal, log: Log, *, count: Callable[[str], None]) -> None:
        self._api, self._journal, self._log, self._count = api, journal, log, count
        self._woken = asyncio.Event()
        self._postponed: dict[int, float] = {}
        """Results that the API would not take at all, and when they are tried again, by the lease clock."""
        self.has_sent_all = asyncio.Event()
        """Of the results, but for those postponed."""

    def wake(self) -> None:
        """There is something new."""
        self.has_sent_all.clear()
        self._woken.set()

    async def run(self) -> None:
        """Until cancelled.  Raises ApiUnreachable once the robot stops, KeyRefused, JournalUnusable."""
        while True:
            self._woken.clear()
            await self.send_all()
            due_in_s = min((at - lease_clock() for at in self._postponed.values()), default=_POSTPONED_S)
            try:
                async with asyncio.timeout(max(due_in_s, 1)):
                    await self._woken.wait()
            except TimeoutError:
                continue

    async def send_all(self) -> None:
        """Raises ApiUnreachable, KeyRefused, JournalUnusable."""
        while waiting := self._sendable():
            for workspace_id, results in groupby(waiting, key=lambda each: each.workspace_id):
                await self._send(list(results), workspace_id)
        self.has_sent_all.set()
        while (kept := self._journal.next_evidence()) is not None:
            await self._send_evidence(kept)
            if self._woken.is_set():
                return  # results come first

    def _sendable(self) -> list[KeptResult]:
        now = lease_clock()
        self._postponed = {each: at for each, at in self._postponed.items() if at > now}
        return self._journal.list_results(but=list(self._postponed), limit=RESULTS_AT_ONCE)

    async def _send(self, results: list[KeptResult], workspace_id: str | None) -> None:
        try:
            answers = await self._api.report([each.input for each in results], workspace_id=workspace_id)
        except ApiRefused as refused:
            if len(results) == 1:
                self._postpone(results[0], refused)
                return
            for each in results:  # one of them must not keep the others from getting there
                await self._send([each], workspace_id)
            return
        for result, refusal in zip(results, answers, strict=True):
            self._is_answered(result, refusal)

    def _is_answered(self, result: KeptResult, refusal: Refusal | None) -> None:
        log = self._log.of(item=result.item_id, attempt=result.attempt, workspace=result.workspace_id)
        if refusal is not None and refusal.code == _TO_BE_SET_ASIDE:
            log.error("result_set_aside", message=refusal.message, result=result.input)
            self._journal.set_result_aside(result.id, refusal.message)
            self._count("set_aside")
            return
        if refusal is not None:
            # The API has kept what it says, if it knows of the item at all.
            log.error("result_refused", code=refusal.code, message=refusal.message, result=result.input)
        else:
            log.debug("result_taken")
        self._journal.forget_result(result.id)
        self._count("refused" if refusal is not None else "taken")

    def _postpone(self, result: KeptResult, refused: ApiRefused) -> None:
        self._log.error("result_postponed", item=result.item_id, code=refused.code, message=str(refused))
        self._postponed[result.id] = lease_clock() + _POSTPONED_S
        self._count("postponed")

    async def _send_evidence(self, kept: KeptEvidence) -> None:
        log = self._log.of(item=kept.item_id, attempt=kept.attempt, workspace=kept.workspace_id)
        try:
            await self._api.put_evidence(kept.item_id, kept.attempt, kept.page, workspace_id=kept.workspace_id)
        except ApiRefused as refused:
            log.warning("evidence_refused", code=refused.code, message=str(refused))
        self._journal.forget_evidence(kept.id)
