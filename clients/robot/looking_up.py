"""Settles outcomes that nobody knows: there is a parcel under the reserved number, or surely none."""

import math

from clients.robot.api import Refusal, ReleaseReason, RobotApi
from clients.robot.carrier import CarrierSettings, CarrierUnusable, LoginRefused, PortalUnavailable, SessionLost, Stored
from clients.robot.desk import Desk
from clients.robot.journal import Journal, JournalUnusable
from clients.robot.leases import lease_clock
from clients.robot.logs import Log
from clients.robot.parcels import Finding, find_parcel, judge
from clients.robot.reports import ErrorType, Reporter
from clients.robot.shipping import LOOKED_FOR_BEFORE, Held, Outcome
from clients.robot.transport import ApiRefused, ApiUnreachable, KeyRefused

LEFT_TO_PEOPLE_S = 3_600
"""Until a look-up that cannot settle it is tried again: a person may have."""
_AT_LEAST_S = 5


class LookUps:
    def __init__(
        self, api: RobotApi, journal: Journal, desk: Desk, reporter: Reporter, log: Log, settings: CarrierSettings
    ) -> None:
        self._api, self._journal, self._desk, self._reporter = api, journal, desk, reporter
        self._log, self._absent_after_s = log, settings.absent_after_s
        self.next_due_at = 0.0
        """When all that was too soon to say can be looked up again, by the lease clock."""

    async def settle(self, held: Held) -> Outcome:
        """Found, absent, or given back to be looked up again.  Raises JournalUnusable, KeyRefused, CarrierUnusable."""
        log = self._log.of(item=held.item.item_id, attempt=held.item.attempt, workspace=held.lease.workspace_id)
        try:
            return await self._settle(held, log)
        except (JournalUnusable, KeyRefused, CarrierUnusable):
            raise
        except LoginRefused as error:
            log.warning("login_refused", message=str(error))
            return self._give_back(held, ReleaseReason.LOGIN_REFUSED, str(error), Outcome.LOGIN_REFUSED)
        except (PortalUnavailable, SessionLost, TimeoutError) as error:
            log.warning("portal_unavailable", message=str(error))
            await self._desk.leave()
            return self._give_back(held, ReleaseReason.PORTAL_UNAVAILABLE, str(error), Outcome.PORTAL_UNAVAILABLE)
        except (ApiUnreachable, ApiRefused) as error:
            log.warning("not_settled", message=str(error))
            return self._try_later(held, str(error), 60)
        except Exception as error:  # a defect of the carrier's class, or ours: nothing was settled
            log.exception("defect", message=str(error))
            await self._desk.leave()
            return self._leave_to_people(held, f"{type(error).__name__}: {error}")

    async def _settle(self, held: Held, log: Log) -> Outcome:
        item, number = held.item, held.item.reserved_number
        if number is None or item.submitted_at is None:
            return self._leave_to_people(held, "No number was reserved for it; a person has to look.")
        parcel = await find_parcel(self._desk, number, since=item.submitted_at - LOOKED_FOR_BEFORE)
        finding = await judge(self._api, parcel, item, workspace_id=held.lease.workspace_id)
        age_s = (held.now() - item.submitted_at).total_seconds()
        log.info("looked_up", number=number, finding=finding, age_s=round(age_s))
        if parcel is not None and finding is Finding.UNCLEAR and item.error_type == ErrorType.UNKNOWN:
            why = f"The portal refused number {number} as taken, and its list does not tell whose parcel that is."
            return self._leave_to_people(held, why)
        if parcel is not None and finding is not Finding.ANOTHERS:
            whose = "with its reference" if finding is Finding.OURS else "and no reference is shown"
            reason = f"The robot found number {number} in the portal's list, {whose}."
            return await self._say(held, Stored(parcel.number, parcel.guide_number), reason, log)
        if age_s < self._absent_after_s:
            wait_s = max(math.ceil(self._absent_after_s - age_s) + 1, _AT_LEAST_S)
            return self._try_later(held, f"Number {number} is not in the portal's list, so far.", wait_s)
        what = "is another order's" if finding is Finding.ANOTHERS else "is not in the portal's list"
        reason = f"Number {number}, reserved for this order, {what} {age_s:.0f} s after it was submitted."
        return await self._say(held, None, reason, log)

    async def _say(self, held: Held, found: Stored | None, reason: str, log: Log) -> Outcome:
        item, workspace_id = held.item, held.lease.workspace_id
        refusal = await self._api.resolve(
            item.item_id,
            item.attempt,
            workspace_id=workspace_id,
            found=found.number if found is not None else None,
            reason=reason,
            within_s=max(held.lease.left_s, 1),
        )
        if refusal is None and found is not None and found.guide_number is not None:
            # The settlement takes no guía: a success that adds what it lacked does.
            result = self._reporter.success(item.item_id, item.attempt, found)
            self._journal.keep_result(workspace_id, result, lease_token=held.lease.token)
        else:
            self._journal.forget_claim(held.lease.token)
        match refusal:
            case None:
                log.info("settled", reason=reason, found=found.number if found is not None else None)
            case Refusal(code, message):
                log.error("settlement_refused", code=code, message=message, reason=reason)
        return Outcome.SUCCESS if refusal is None and found is not None else Outcome.ERROR

    def _leave_to_people(self, held: Held, why: str) -> Outcome:
        return self._keep_for_later(held, why, LEFT_TO_PEOPLE_S)

    def _try_later(self, held: Held, why: str, seconds: int) -> Outcome:
        self.next_due_at = max(self.next_due_at, lease_clock() + seconds)
        return self._keep_for_later(held, why, seconds)

    def _keep_for_later(self, held: Held, why: str, seconds: int) -> Outcome:
        message = self._reporter.told(why)
        self._journal.give_back_later(held.lease.token, ReleaseReason.NOT_SETTLED, message, retry_after_s=seconds)
        return Outcome.UNKNOWN

    def _give_back(self, held: Held, reason: ReleaseReason, why: str, outcome: Outcome) -> Outcome:
        self._journal.give_back_later(held.lease.token, reason, self._reporter.told(why))
        return outcome
