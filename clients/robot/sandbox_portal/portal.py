"""What the portal does, without HTTP: logins, drafts, and what becomes of an order when its button is pressed."""

import asyncio
import hmac
import random
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

from clients.robot.sandbox_portal.cities import Cities
from clients.robot.sandbox_portal.faults import INSTEAD_OF_STORING, Fault, FaultKind, marked_faults
from clients.robot.sandbox_portal.order_form import CITY, FIELDS, form_problems, form_values, text_problem
from clients.robot.sandbox_portal.pages import Dialog
from clients.robot.sandbox_portal.settings import PortalSettings
from clients.robot.sandbox_portal.store import Login, NumberTaken, Outcome, Store

BY_HAND = "(a mano)"
"""The reference of a parcel that took an order's number: somebody typed it in the portal meanwhile."""
CONNECTION_DIALOG = Dialog(
    "error", "Error de conexión", "No hay conexión con el servidor. Recargue la página e intente de nuevo."
)


class SessionLost(Exception):
    """Whoever asks has to log in again."""


class CutOff(Exception):
    """The connection ends here, in the middle of the answer."""


@dataclass(frozen=True, slots=True)
class _Ending:
    """What became of an order whose button was pressed; without a dialog nobody is told."""

    outcome: Outcome
    dialog: Dialog | None


def _refused(reason: str) -> _Ending:
    return _Ending(Outcome.REFUSED, Dialog("error", "No se pudo crear el pedido", reason))


_ENDINGS: Mapping[FaultKind, _Ending] = {
    FaultKind.SESSION_LOST_AT_SUBMIT: _Ending(Outcome.SESSION_LOST, None),
    FaultKind.CRASH_BEFORE: _Ending(Outcome.CUT, None),
    FaultKind.ERROR: _Ending(
        Outcome.ERROR, Dialog("error", "Error", "Ocurrió un error inesperado. No se pudo crear el pedido.")
    ),
    FaultKind.REFUSAL: _refused(f"{FIELDS['direccion_'].label}: no es válida para la ciudad destino."),
}


@dataclass(frozen=True, slots=True)
class Portal:
    settings: PortalSettings
    store: Store
    cities: Cities
    stopping: asyncio.Event

    # ------------------------------------------------------------------------------------------ accounts

    def log_in(self, account: str, password: str) -> tuple[str, str]:
        """The token of a new session and "", or "" and why there is none."""
        if problem := text_problem(account) or text_problem(password):
            return "", f"El usuario o la clave {problem}"
        if not account:
            return "", "Ingrese su usuario."
        if self.store.meet_fault([FaultKind.REFUSE_LOGINS], account=account):
            self.store.count_refused_login(account)
            return "", "El ingreso no está permitido en este momento."
        login, token = self.store.log_in(
            account, is_right=self._is_right(account, password), lock_after=self.settings.lock_after
        )
        match login:
            case Login.OPENED:
                return token, ""
            case Login.WRONG:
                return "", "Usuario o clave incorrectos."
            case Login.LOCKED:
                return "", "La cuenta está bloqueada. Comuníquese con su asesor."

    def _is_right(self, account: str, password: str) -> bool:
        is_own, expected = self.store.own_password(account)
        if not is_own:
            expected = self.settings.passwords.get(account, self.settings.default_password)
        return expected is not None and hmac.compare_digest(expected.encode(), password.encode())

    # ------------------------------------------------------------------------------------------ the form

    def load_form(self, account: str) -> Dialog | None:
        """What the form shows at once; with that dialog it takes nothing until it is loaded again."""
        is_broken = self.store.meet_fault([FaultKind.CONNECTION_DIALOG], account=account) is not None
        self.store.break_form(account, is_broken=is_broken)
        return CONNECTION_DIALOG if is_broken else None

    def keep_draft(self, account: str, sent: Mapping[str, str]) -> dict[str, str]:
        """The form as the portal has it after something was typed.  Raises SessionLost."""
        values = form_values(sent)
        reference = self._known(account, values["referencia"])
        if self.store.meet_fault([FaultKind.SESSION_LOST], account=account, reference=reference):
            self.store.end_session(account)
            raise SessionLost
        filled = [name for name in FIELDS if values[name]]
        dropped = self.store.meet_dropped_fields(account, reference, filled=filled)
        return {name: "" if name in dropped else value for name, value in values.items() if name in sent}

    async def submit(self, account: str, sent: Mapping[str, str]) -> Dialog:
        """Press the button.  Raises SessionLost and CutOff, the latter perhaps with a parcel stored."""
        values = form_values(sent)
        reference = self._known(account, values["referencia"])
        slow = self.store.meet_fault([FaultKind.SLOW], account=account, reference=reference)
        ending = await self._decide(account, reference, values)
        if ending.outcome is not Outcome.STORED:
            self.store.count_submission(account, reference, ending.outcome)
        if ending.outcome is Outcome.SESSION_LOST:
            self.store.end_session(account)
            raise SessionLost
        if ending.dialog is None:
            raise CutOff
        at_least, at_most = self.settings.dialog_delay_s
        await self.pause(random.uniform(at_least, at_most))  # noqa: S311 -- a pace, no secret
        if slow:
            await self.pause(self._seconds(slow))
        return ending.dialog

    async def _decide(self, account: str, reference: str, values: Mapping[str, str]) -> _Ending:
        if self.store.form_is_broken(account):
            return _Ending(Outcome.ERROR, CONNECTION_DIALOG)
        fault = self.store.meet_fault(INSTEAD_OF_STORING, account=account, reference=reference)
        if fault and fault.kind in _ENDINGS:
            return _ENDINGS[fault.kind]
        if problems := form_problems(values, self.cities):
            return _refused(" ".join(problems))
        if fault and fault.kind is FaultKind.DUPLICATE_NUMBER:
            self._take_by_hand(account, int(values["numero_pedido"]), values)
        return await self._store(account, reference, values)

    async def _store(self, account: str, reference: str, values: Mapping[str, str]) -> _Ending:
        number = int(values["numero_pedido"])
        late = self.store.meet_fault([FaultKind.STORED_LATE], account=account, reference=reference)
        if late:
            await self.pause(self._seconds(late))
        try:
            self.store.add_parcel(account, number, reference, values)
        except NumberTaken:
            last = self.store.last_number(account)
            return _refused(f"El número de pedido {number} ya fue usado; el último es {last}.")
        if self.store.meet_fault([FaultKind.CRASH_AFTER], account=account, reference=reference):
            return _Ending(Outcome.STORED, None)
        done = Dialog("success", "¡Pedido creado!", f"El pedido {number} fue creado correctamente.")
        return _Ending(Outcome.STORED, done)

    def _take_by_hand(self, account: str, number: int, values: Mapping[str, str]) -> None:
        if number > self.store.last_number(account):
            form = {"nombres_": "Otra", "apellidos_": "Persona", CITY: values[CITY]}
            self.store.add_parcel(account, number, BY_HAND, form, is_by_hand=True)

    def _known(self, account: str, reference: str) -> str:
        """The reference, whose marks count from now on.  One that no field would take is nobody's."""
        if text_problem(reference):
            return ""
        if marks := marked_faults(reference):
            self.store.order_faults(marks, account_of_marks=account)
        return reference

    # ------------------------------------------------------------------------------------------ time

    async def pause(self, seconds: float) -> None:
        """Raises CutOff when the portal is stopped meanwhile."""
        try:
            async with asyncio.timeout(seconds):
                await self.stopping.wait()
        except TimeoutError:
            return
        raise CutOff

    async def hang(self, fault: Fault) -> None:
        """Say nothing for a while, or until the portal is stopped."""
        with suppress(CutOff):
            await self.pause(self._seconds(fault))

    def _seconds(self, fault: Fault) -> float:
        return self.settings.slow_s if fault.seconds is None else fault.seconds
