"""Carriers that each break one rule, as real ones have."""

import asyncio
from collections.abc import Mapping
from typing import Any

import httpx

from clients.robot.carrier import (
    DuplicateNumber,
    ErrorKind,
    Form,
    LoginRefused,
    OutcomeUnknown,
    PageEvidence,
    Parcel,
    PortalAnswer,
    PortalUnavailable,
    Refused,
    SessionLost,
    Stored,
)
from clients.robot.carriers.pedidos import FORM_PATH, list_page
from clients.robot.carriers.sandbox import CITIES_PATH, SandboxCarrier


class RoundsTheAmount(SandboxCarrier):
    def form(self, order: Mapping[str, Any], number: str) -> Form:
        return {**super().form(order, number), "total_coniva": str(order["totalConIva"] // 100_000 * 100_000)}


class FoldsAccents(SandboxCarrier):
    def form(self, order: Mapping[str, Any], number: str) -> Form:
        return {name: value.replace("ñ", "n") for name, value in super().form(order, number).items()}


class RemembersInsteadOfReading(SandboxCarrier):
    async def fill(self, form: Form) -> None:
        await super().fill(form)
        self.typed = dict(form)

    async def read_back(self) -> Form:
        return self.typed


class TakesTheFirstSuggestion(SandboxCarrier):
    async def fill(self, form: Form) -> None:
        suggested = (await self._ask("GET", CITIES_PATH, params={"texto": form["ciudad"]}))["ciudades"]
        await super().fill({**form, "ciudad": suggested[0]["ciudad"]})


class PressesTwice(SandboxCarrier):
    async def submit(self) -> None:
        draft = self._draft
        await super().submit()
        await self._http.post(FORM_PATH, data=draft)


class PressesForWhoeverAsks(SandboxCarrier):
    async def submit(self) -> None:
        draft = self._draft
        await super().submit()
        self._draft = draft


class SendsAgainWhenCutOff(SandboxCarrier):
    async def submit(self) -> None:
        draft = self._draft
        try:
            await super().submit()
        except OutcomeUnknown:
            self._draft = draft
            await super().submit()


class TakesSilenceForARefusal(SandboxCarrier):
    async def submit(self) -> None:
        self.is_silent = False
        try:
            await super().submit()
        except OutcomeUnknown:
            self.is_silent = True

    async def read_result(self) -> PortalAnswer:
        return Refused(ErrorKind.PORTAL, "No answer") if self.is_silent else await super().read_result()


class WaitsForEver(SandboxCarrier):
    async def submit(self) -> None:
        draft, self._draft = self._draft, None
        self._shown = await self._http.post(FORM_PATH, data=draft)


class BlamesThePortal(SandboxCarrier):
    async def read_result(self) -> PortalAnswer:
        answer = await super().read_result()
        return Refused(ErrorKind.PORTAL, answer.message) if isinstance(answer, Refused) else answer


class BlamesTheOrder(SandboxCarrier):
    async def read_result(self) -> PortalAnswer:
        answer = await super().read_result()
        return Refused(ErrorKind.VALIDATION, answer.message) if isinstance(answer, Refused) else answer


class TakesADuplicateForARefusal(SandboxCarrier):
    async def read_result(self) -> PortalAnswer:
        answer = await super().read_result()
        return Refused(ErrorKind.VALIDATION, answer.message) if isinstance(answer, DuplicateNumber) else answer


class TakesADuplicateForASuccess(SandboxCarrier):
    async def read_result(self) -> PortalAnswer:
        answer = await super().read_result()
        return Stored(self._number) if isinstance(answer, DuplicateNumber) else answer


class AlwaysLogsIn(SandboxCarrier):
    async def open_session(self, kept: Any = None) -> Any:
        del kept
        self._http.cookies.clear()
        return await super().open_session()


class TakesAnySession(SandboxCarrier):
    async def open_session(self, kept: Any = None) -> Any:
        return await super().open_session(kept and kept | {"username": self.account.username})


class TriesALoginAgain(SandboxCarrier):
    async def open_session(self, kept: Any = None) -> Any:
        try:
            return await super().open_session(kept)
        except LoginRefused:
            return await super().open_session(kept)


class TellsThePassword(SandboxCarrier):
    async def open_session(self, kept: Any = None) -> Any:
        try:
            return await super().open_session(kept)
        except LoginRefused as error:
            raise LoginRefused(f"Refused: {self.account.username}, {self.account.password}") from error


class TakesAnOutageForARefusal(SandboxCarrier):
    async def open_session(self, kept: Any = None) -> Any:
        try:
            return await super().open_session(kept)
        except PortalUnavailable as error:
            raise LoginRefused("Refused") from error


class LogsInBehindTheRuntimesBack(SandboxCarrier):
    async def fill(self, form: Form) -> None:
        try:
            await super().fill(form)
        except SessionLost:
            await self.open_session()
            await super().fill(form)


class NeverLoadsTheFormAgain(SandboxCarrier):
    async def _load_form(self) -> None:
        if (await self._ask("GET", FORM_PATH))["dialogo"]:
            raise PortalUnavailable("A dialog")


class IgnoresTheDialog(SandboxCarrier):
    async def _load_form(self) -> None:
        await self._ask("GET", FORM_PATH)


class ReadsTheFirstPageOnly(SandboxCarrier):
    async def look_up(self, number: str, **_: Any) -> Parcel | None:
        shown = await self._ask("GET", "/panel/pedidos")
        page = list_page([Parcel(row["pedido"]) for row in shown["pedidos"]], shown["rango"])
        assert page is not None
        return next((row for row in page.rows if row.number == number), None)


class TakesAnOutageForAnEmptyList(SandboxCarrier):
    async def look_up(self, number: str, **_: Any) -> Parcel | None:
        try:
            return await super().look_up(number)
        except PortalUnavailable:
            return None


class CountsTheParcels(SandboxCarrier):
    async def last_number(self) -> int:
        shown = await self._ask("GET", "/panel/pedidos")
        return int(shown["rango"].split()[-1])


class ShowsTooMuch(SandboxCarrier):
    async def evidence(self) -> PageEvidence | None:
        return PageEvidence("text/plain", b"x" * 2_000_001)


class HasNothingToShow(SandboxCarrier):
    async def evidence(self) -> PageEvidence | None:
        assert self._shown is not None, "nothing was shown yet"
        return None


class LogsOut(SandboxCarrier):
    async def close(self) -> None:
        try:
            await self._http.post("/logout")
        except (httpx.HTTPError, RuntimeError):
            return
        await super().close()


class SharesItsSession(SandboxCarrier):
    shared = httpx.Cookies()
    turn = asyncio.Lock()

    async def open_session(self, kept: Any = None) -> Any:
        self._http._cookies = type(self).shared
        return {} if type(self).shared else await super().open_session(kept)
