"""One try of one item, from the empty form to a result on the disk.

The order of steps is what keeps an order from going out twice: the number is on the disk before the API is asked to
mark the item, the button comes only after the API has said yes and while the lease runs by this process's clock, and
the result is on the disk before it is sent.
"""

import datetime as dt
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from clients.robot.api import ClaimedItem, Refusal, ReleaseReason, RobotApi
from clients.robot.carrier import (
    Carrier,
    CarrierUnusable,
    DuplicateNumber,
    FieldRefused,
    Form,
    LoginRefused,
    OutcomeUnknown,
    PageEvidence,
    PortalAnswer,
    PortalUnavailable,
    Refused,
    SessionLost,
    Stored,
)
from clients.robot.desk import Desk
from clients.robot.journal import Journal, JournalUnusable
from clients.robot.leases import Lease, LeaseEnded, lease_clock
from clients.robot.logs import Log
from clients.robot.parcels import Finding, find_parcel, judge
from clients.robot.reports import ErrorType, Reporter, Steps
from clients.robot.transport import ApiRefused, ApiUnreachable, KeyRefused

_NUMBERS_TRIED_AT_MOST = 20
LOOKED_FOR_BEFORE = dt.timedelta(hours=1)
"""A parcel may be that much older than the mark: the portal has a clock of its own."""


class Outcome(StrEnum):
    SUCCESS = "success"
    ERROR = "error"
    UNKNOWN = "unknown"
    GIVEN_BACK = "given_back"
    """Not submitted, and pending again."""
    LET_GO = "let_go"
    """It was not ours any more before anything was submitted."""
    LOGIN_REFUSED = "login_refused"
    PORTAL_UNAVAILABLE = "portal_unavailable"

    @property
    def gives_up_account(self) -> bool:
        """The account's other items would end alike."""
        return self in (Outcome.LOGIN_REFUSED, Outcome.PORTAL_UNAVAILABLE)


@dataclass(frozen=True, slots=True)
class Held:
    """An item in hand."""

    item: ClaimedItem
    lease: Lease
    asked_at: float
    """When it was claimed, by the lease clock."""

    def now(self) -> dt.datetime:
        """By the API's clock."""
        return self.item.claimed_at + dt.timedelta(seconds=max(lease_clock() - self.asked_at, 0))


class NotPressed(Exception):
    """It is marked, and the button was surely not pressed."""


class _FormDiffers(Exception):
    """What the portal kept is not what was typed."""


class _NumberReserved(Exception):
    """By another try of this account."""


class Shipper:
    def __init__(
        self,
        api: RobotApi,
        journal: Journal,
        desk: Desk,
        reporter: Reporter,
        log: Log,
        *,
        observe_step: Callable[[str, float], None] = lambda _name, _seconds: None,
    ) -> None:
        self._api, self._journal, self._desk, self._reporter = api, journal, desk, reporter
        self._log, self._observe_step = log, observe_step

    async def ship(self, held: Held) -> Outcome:
        """To its end: the journal then holds a result, or that the item is to be given back, or nothing of it.

        Raises JournalUnusable, KeyRefused, CarrierUnusable.
        """
        log = self._log.of(item=held.item.item_id, attempt=held.item.attempt, workspace=held.lease.workspace_id)
        steps = Steps(held.now, self._observe_step)
        try:
            outcome = await self._ship(held, steps, log)
        except (JournalUnusable, KeyRefused, CarrierUnusable):
            raise
        except LeaseEnded as ended:
            self._journal.forget_claim(held.lease.token)
            log.warning("let_go", reason=str(ended))
            return Outcome.LET_GO
        except LoginRefused as error:
            log.warning("login_refused", message=str(error))
            return self._give_back(held, ReleaseReason.LOGIN_REFUSED, str(error), Outcome.LOGIN_REFUSED)
        except (PortalUnavailable, SessionLost, TimeoutError) as error:
            message = str(error) or "the portal did not answer in time"
            log.warning("portal_unavailable", message=message)
            await self._desk.leave()
            return self._give_back(held, ReleaseReason.PORTAL_UNAVAILABLE, message, Outcome.PORTAL_UNAVAILABLE)
        except (ApiUnreachable, ApiRefused) as error:
            log.warning("not_marked", message=str(error))
            return self._give_back(held, ReleaseReason.STOPPING, str(error), Outcome.GIVEN_BACK)
        except FieldRefused as error:
            outcome = await self._fail(held, steps, ErrorType.VALIDATION, str(error))
        except (_FormDiffers, NotPressed) as error:
            outcome = await self._fail(held, steps, ErrorType.PORTAL, str(error))
        except Exception as error:  # a defect of the carrier's class, or ours: nothing was submitted
            log.exception("defect", message=str(error))
            message = f"The robot failed before it submitted anything: {type(error).__name__}: {error}"
            outcome = await self._fail(held, steps, ErrorType.UNKNOWN, message)
            await self._desk.leave()
        log.info(
            "item_ended", outcome=outcome, took_s=round(sum(each["durationMs"] for each in steps.taken) / 1_000, 2)
        )
        return outcome

    async def _ship(self, held: Held, steps: Steps, log: Log) -> Outcome:
        number = await self._until_marked(held, steps, log)
        return await self._press(held, number, steps, log)

    # ------------------------------------------------------------------------------------------ before the button

    async def _until_marked(self, held: Held, steps: Steps, log: Log) -> str:
        """The number under which the form stands filled in, with the API's word that the button may be pressed."""
        sessions_lost = 0
        for _ in range(_NUMBERS_TRIED_AT_MOST):
            try:
                number = await self._fill_in(held, steps)
                await self._mark(held, number, steps)
            except SessionLost:
                sessions_lost += 1
                if sessions_lost > 1:
                    raise
                log.info("session_lost")
                with steps.step("log_in_again"):
                    await self._desk.log_in_again()
            except _NumberReserved as taken:
                log.info("number_reserved_by_another", number=str(taken))
            else:
                return str(number)
        raise PortalUnavailable(f"{_NUMBERS_TRIED_AT_MOST} numbers in a row were reserved by other tries")

    async def _fill_in(self, held: Held, steps: Steps) -> int:
        held.lease.check()
        with steps.step("open_session"):
            carrier = await self._desk.carrier()
        held.lease.check()
        with steps.step("last_number"):
            last = await self._desk.limited(carrier.last_number())
        number = max(last, self._journal.last_number(self._desk.account.name)) + 1
        form = carrier.form(held.item.order, str(number))
        differences: list[str] = []
        for _ in range(2):
            held.lease.check()
            with steps.step("fill"):
                await self._desk.limited(carrier.fill(form))
            with steps.step("read_back"):
                differences = _differences(form, await self._desk.limited(carrier.read_back()))
            if not differences:
                return number
        raise _FormDiffers(f"The form did not keep what was typed: {'; '.join(differences)}. Nothing was submitted.")

    async def _mark(self, held: Held, number: int, steps: Steps) -> None:
        """Raises LeaseEnded, ApiUnreachable, _NumberReserved, NotPressed."""
        held.lease.check()
        self._journal.begin_marking(held.lease.token, self._desk.account.name, number)
        with steps.step("mark"):
            refusal = await self._api.mark(held.lease, reserved_number=str(number))
        match refusal:
            case None:
                pass
            case Refusal("NUMBER_ALREADY_RESERVED"):
                raise _NumberReserved(str(number))
            case Refusal("LEASE_LOST"):
                raise LeaseEnded(refusal.message)
            case Refusal(code, message):
                raise ApiRefused(code, message)

    # ------------------------------------------------------------------------------------------ from the button on

    async def _press(self, held: Held, number: str, steps: Steps, log: Log) -> Outcome:
        carrier = await self._desk.carrier()
        self._journal.begin_pressing(held.lease.token)
        if held.lease.left_s <= 0:
            raise NotPressed("The lease ran out before the robot pressed the button. Nothing was submitted.")
        try:
            answer = await self._answer(carrier, steps)
        except SessionLost as error:
            message = f"The portal had forgotten the session when the button was pressed; nothing is stored. {error}"
            await self._desk.leave()
            return await self._fail(held, steps, ErrorType.PORTAL, message, is_pressed=True)
        except Exception as error:  # whatever it was, the button has been pressed
            if not isinstance(error, OutcomeUnknown):
                log.exception("defect_after_the_button", message=str(error))
            why = str(error) if isinstance(error, OutcomeUnknown) else f"{type(error).__name__}: {error}"
            return await self._find_out(held, number, steps, log, why)
        match answer:
            case Stored():
                return self._succeed(held, answer, steps)
            case Refused(kind, message):
                return await self._fail(held, steps, ErrorType(kind), message, is_pressed=True)
            case DuplicateNumber(message):
                return await self._find_out(held, number, steps, log, message, is_duplicate=True)

    async def _answer(self, carrier: Carrier, steps: Steps) -> PortalAnswer:
        with steps.step("submit"):
            await self._desk.limited(carrier.submit())
        with steps.step("read_result"):
            return await self._desk.limited_result(carrier.read_result())

    async def _find_out(
        self, held: Held, number: str, steps: Steps, log: Log, why: str, *, is_duplicate: bool = False
    ) -> Outcome:
        """Look it up in the portal's list.  What is not found there stays unknown, and is looked up again later."""
        page = await self._desk.evidence()
        parcel = None
        try:
            with steps.step("look_up"):
                parcel = await find_parcel(self._desk, number, since=held.now() - LOOKED_FOR_BEFORE)
        except Exception as error:  # it stays unknown
            why = f"{why} Looking it up failed: {type(error).__name__}: {error}"
            await self._desk.leave()
        finding = await judge(self._api, parcel, held.item, workspace_id=held.lease.workspace_id)
        log.warning("outcome_unknown", message=why, number=number, looked_up=finding)
        if parcel is not None and (finding is Finding.OURS or (finding is Finding.UNCLEAR and not is_duplicate)):
            return self._succeed(held, Stored(parcel.number, parcel.guide_number), steps)
        if is_duplicate and finding is Finding.ANOTHERS:
            taken = f"The number {number} was taken by somebody else's parcel; this one was refused. {why}"
            return self._keep_error(held, steps, ErrorType.PORTAL, taken, page, is_pressed=True)
        # UNKNOWN also says that a parcel of this number alone proves nothing.
        error_type = ErrorType.UNKNOWN if is_duplicate else ErrorType.TIMEOUT
        message = f"{why} Whether there is a parcel under number {number} is not known."
        return self._keep_error(held, steps, error_type, message, page, is_pressed=True)

    # ------------------------------------------------------------------------------------------ endings

    def _succeed(self, held: Held, stored: Stored, steps: Steps) -> Outcome:
        result = self._reporter.success(held.item.item_id, held.item.attempt, stored, steps)
        self._keep(held, result)
        return Outcome.SUCCESS

    async def _fail(
        self, held: Held, steps: Steps, error_type: ErrorType, message: str, *, is_pressed: bool = False
    ) -> Outcome:
        page = await self._desk.evidence()
        return self._keep_error(held, steps, error_type, message, page, is_pressed=is_pressed)

    def _keep_error(
        self,
        held: Held,
        steps: Steps,
        error_type: ErrorType,
        message: str,
        page: PageEvidence | None,
        *,
        is_pressed: bool = False,
    ) -> Outcome:
        result = self._reporter.error(
            held.item.item_id,
            held.item.attempt,
            error_type,
            message,
            steps,
            lease_token=None if is_pressed else held.lease.token,
        )
        self._keep(held, result, page)
        is_unknown = is_pressed and error_type in (ErrorType.TIMEOUT, ErrorType.UNKNOWN)
        return Outcome.UNKNOWN if is_unknown else Outcome.ERROR

    def _keep(self, held: Held, result: dict[str, Any], page: PageEvidence | None = None) -> None:
        try:
            self._journal.keep_result(held.lease.workspace_id, result, lease_token=held.lease.token, evidence=page)
        except JournalUnusable:
            self._log.error("result_not_kept", result=result)  # for a person to report
            raise

    def _give_back(self, held: Held, reason: ReleaseReason, message: str, outcome: Outcome) -> Outcome:
        self._journal.give_back_later(held.lease.token, reason, self._reporter.told(message))
        return outcome


def _differences(typed: Form, kept: Mapping[str, str]) -> list[str]:
    return [
        f"{name} was typed as {value!r} and kept as {kept.get(name, '')!r}"
        for name, value in typed.items()
        if kept.get(name, "") != value
    ]
