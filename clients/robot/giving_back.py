"""Ends the leases that are not in hand any more: after a failed try, at a stop, and of a process that was killed."""

from collections.abc import Callable
from itertools import groupby

from clients.robot.api import Purpose, ReleaseReason, ReleaseState, RobotApi
from clients.robot.desk import Desk
from clients.robot.journal import Journal, KeptClaim, Stage
from clients.robot.logs import Log
from clients.robot.reports import ErrorType, Reporter
from clients.robot.transport import ApiRefused

_AT_ONCE = 100


class GivingBack:
    def __init__(
        self,
        api: RobotApi,
        journal: Journal,
        desk: Desk,
        reporter: Reporter,
        log: Log,
        *,
        has_result: Callable[[], None],
    ) -> None:
        self._api, self._journal, self._desk, self._reporter = api, journal, desk, reporter
        self._log, self._has_result = log, has_result

    def abandon(self, *, was_killed: bool) -> None:
        """Nothing is in hand any more: the journal's claims are of a process that was killed, or of a try broken off.

        Who dies over an account again and again must not log in there as often: being killed over an item counts as
        an error of its portal.
        """
        for claim in self._journal.list_claims():
            if claim.stage is Stage.PRESSING:
                number = claim.reserved_number
                message = f"The robot ended after the button. Whether there is a parcel under {number} is not known."
                self._keep(claim, ErrorType.TIMEOUT, message, is_pressed=True)
            elif claim.reason is None and was_killed and claim.stage is Stage.WORKING:
                message = "The robot ended while it worked at the portal."
                self._journal.give_back_later(claim.lease_token, ReleaseReason.PORTAL_UNAVAILABLE, message)
            elif claim.reason is None:
                self._journal.give_back_later(claim.lease_token, ReleaseReason.STOPPING, "The robot stopped.")

    async def settle(self, *, within_s: float | None) -> None:
        """Tell the API of all that is to be given back; None waits until the robot is told to stop.

        Raises ApiUnreachable, KeyRefused, JournalUnusable.
        """
        waiting = [claim for claim in self._journal.list_claims() if claim.reason is not None]
        for _, alike in groupby(sorted(waiting, key=_alike), key=_alike):
            claims = list(alike)
            for start in range(0, len(claims), _AT_ONCE):
                await self._release(claims[start : start + _AT_ONCE], within_s)

    async def _release(self, claims: list[KeptClaim], within_s: float | None) -> None:
        first = claims[0]
        leases = [(claim.item_id, claim.lease_token) for claim in claims]
        try:
            states = await self._api.release(
                leases,
                workspace_id=first.workspace_id,
                reason=first.reason or ReleaseReason.STOPPING,
                message=first.message,
                retry_after_s=first.retry_after_s,
                within_s=within_s,
            )
        except ApiRefused as refused:
            # The leases then run out by themselves.
            self._log.error("release_refused", code=refused.code, message=str(refused), reason=first.reason)
            states = [ReleaseState.LOST] * len(claims)
        else:
            if first.reason == ReleaseReason.LOGIN_REFUSED:
                self._desk.refusal_is_known()
        for claim, state in zip(claims, states, strict=True):
            self._is_answered(claim, state)

    def _is_answered(self, claim: KeptClaim, state: ReleaseState) -> None:
        log = self._log.of(item=claim.item_id, attempt=claim.attempt, workspace=claim.workspace_id)
        log.info("given_back", reason=claim.reason, state=state, message=claim.message)
        if state is ReleaseState.SUBMITTED and claim.purpose == Purpose.SHIP:
            # The mark had arrived, its answer had not: and without its answer nothing is pressed.
            message = f"The robot did not press the button: {claim.message or claim.reason} Nothing was submitted."
            self._keep(claim, ErrorType.PORTAL, message, is_pressed=False)
        else:
            self._journal.forget_claim(claim.lease_token)

    def _keep(self, claim: KeptClaim, error_type: ErrorType, message: str, *, is_pressed: bool) -> None:
        result = self._reporter.error(
            claim.item_id,
            claim.attempt,
            error_type,
            message,
            lease_token=None if is_pressed else claim.lease_token,
        )
        self._journal.keep_result(claim.workspace_id, result, lease_token=claim.lease_token)
        self._has_result()


def _alike(claim: KeptClaim) -> tuple[str, str, str, int]:
    return (claim.workspace_id or "", claim.reason or "", claim.message or "", claim.retry_after_s or 0)
