"""A carrier that does what a test has written down, step by step, and kills its own process when it is told to.

Its portal is a file, so that it outlives robots: it counts parcels, and remembers who did what in which order.
"""

import asyncio
import datetime as dt
import os
import signal
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from clients.robot import carrier as carriers
from clients.robot.carrier import (
    Carrier,
    DuplicateNumber,
    ErrorKind,
    Form,
    LoginRefused,
    PageEvidence,
    Parcel,
    PortalAnswer,
    Refused,
    SessionLost,
    Stored,
)

_TABLES = """
CREATE TABLE IF NOT EXISTS parcels (
  number INTEGER, reference TEXT, account TEXT, guide TEXT, UNIQUE (account, number)
);
CREATE TABLE IF NOT EXISTS faults (id INTEGER PRIMARY KEY, step TEXT, what TEXT, times INTEGER, reference TEXT);
CREATE TABLE IF NOT EXISTS steps (id INTEGER PRIMARY KEY, step TEXT, reference TEXT, pid INTEGER);
CREATE TABLE IF NOT EXISTS sessions (account TEXT, password TEXT);
"""


class ScriptedPortal:
    def __init__(self, file: Path | str) -> None:
        self.file = Path(file)
        self._database = sqlite3.connect(file, timeout=30, isolation_level=None)
        self._database.execute("PRAGMA journal_mode = WAL")
        self._database.execute("PRAGMA synchronous = OFF")
        self._database.executescript(_TABLES)

    def close(self) -> None:
        self._database.close()

    def order(self, step: str, what: str, *, times: int = 1, reference: str | None = None) -> None:
        """That the step goes wrong so often; `after submit` is when it is done."""
        self._database.execute(
            "INSERT INTO faults (step, what, times, reference) VALUES (?, ?, ?, ?)", (step, what, times, reference)
        )

    def lift(self) -> None:
        self._database.execute("DELETE FROM faults")

    def take_fault(self, step: str, reference: str | None) -> str | None:
        row = self._database.execute(
            "UPDATE faults SET times = times - 1 WHERE id = (SELECT min(id) FROM faults WHERE step = ? AND times > 0"
            " AND (reference IS NULL OR reference = ?)) RETURNING what",
            (step, reference),
        ).fetchone()
        return row[0] if row else None

    def note(self, step: str, reference: str | None) -> None:
        self._database.execute(
            "INSERT INTO steps (step, reference, pid) VALUES (?, ?, ?)", (step, reference, os.getpid())
        )

    def steps(self, *, reference: str | None = None) -> list[str]:
        rows = self._database.execute(
            "SELECT step FROM steps WHERE ? IS NULL OR reference = ? ORDER BY id", (reference, reference)
        )
        return [row[0] for row in rows]

    def count(self, step: str) -> int:
        return self.steps().count(step)

    def store(self, account: str, number: int, reference: str) -> Parcel | None:
        """None: the number is taken."""
        try:
            self._database.execute(
                "INSERT INTO parcels VALUES (?, ?, ?, ?)", (number, reference, account, f"G{number}")
            )
        except sqlite3.IntegrityError:
            return None
        return Parcel(str(number), f"G{number}", reference)

    def find(self, account: str, number: int) -> Parcel | None:
        row = self._database.execute(
            "SELECT guide, reference FROM parcels WHERE account = ? AND number = ?", (account, number)
        ).fetchone()
        return Parcel(str(number), row[0], row[1]) if row else None

    def numbers(self, reference: str) -> list[str]:
        """Of all the order's parcels."""
        rows = self._database.execute("SELECT number FROM parcels WHERE reference = ? ORDER BY number", (reference,))
        return [str(row[0]) for row in rows]

    def last_number(self, account: str) -> int:
        (last,) = self._database.execute("SELECT max(number) FROM parcels WHERE account = ?", (account,)).fetchone()
        return int(last or 0)


class ScriptedCarrier(Carrier):
    """`options`: `portal`, its file; `no_reference`, when its list shows none; `lacks`, what is missing here."""

    name: ClassVar[str] = "coordinadora"

    def __init__(self, settings: carriers.CarrierSettings, account: carriers.Account) -> None:
        super().__init__(settings, account)
        self._portal = ScriptedPortal(settings.options["portal"])
        self._typed: dict[str, str] = {}
        self._shown: Form = {}
        self._is_logged_in = False

    @classmethod
    def check(cls, settings: carriers.CarrierSettings) -> None:
        if "lacks" in settings.options:
            raise carriers.CarrierUnusable(f"There is no {settings.options['lacks']} here.")

    async def _meet(self, step: str) -> str | None:
        """What else goes wrong than what ends the step."""
        reference = self._typed.get("referencia")
        self._portal.note(step, reference)
        match self._portal.take_fault(step, reference):
            case None:
                return None
            case "kill":
                os.kill(os.getpid(), signal.SIGKILL)
                await asyncio.Event().wait()
            case "terminate":
                os.kill(os.getpid(), signal.SIGTERM)
                await asyncio.sleep(0.05)
            case "hang":
                await asyncio.Event().wait()
            case "SessionLost":
                self._is_logged_in = False
                raise SessionLost("The portal shows its login page.")
            case str(what) if what.startswith("Defect"):
                raise ValueError(f"a defect, with the password {self.account.password} in it")
            case str(what) if hasattr(carriers, what):
                raise getattr(carriers, what)(f"{what} at {step}.")
            case str(what):
                return what
        return None

    async def open_session(self, kept: Any = None) -> Any:
        if kept is not None and kept.get("cookie") == f"cookie of {self.account.username}":
            await self._meet("kept session")
        elif await self._meet("log in") == "refuse" or self.account.password == "wrong":
            raise LoginRefused(f"{self.account.username} may not log in.")
        self._is_logged_in = True
        return {"cookie": f"cookie of {self.account.username}"}

    async def last_number(self) -> int:
        self._typed = {}
        if await self._meet("last number") == "hidden":
            return 0
        return self._portal.last_number(self.account.username)

    def form(self, order: Mapping[str, Any], number: str) -> Form:
        self._typed = {}
        return {"numero_pedido": number, "referencia": order["referencia"], "direccion_": order["direccion"]}

    async def fill(self, form: Form) -> None:
        self._typed, self._shown = dict(form), form
        if await self._meet("fill") == "drop":
            self._typed["direccion_"] = ""

    async def read_back(self) -> Form:
        await self._meet("read back")
        return self._typed

    async def submit(self) -> None:
        if await self._meet("submit") == "taken":
            self._portal.store(self.account.username, int(self._typed["numero_pedido"]), "somebody else's")
        if not self._is_logged_in:
            raise SessionLost("The portal shows its login page.")
        self._answer = self._stored()
        await self._meet("after submit")

    def _stored(self) -> PortalAnswer:
        if self._portal.take_fault("portal", self._typed["referencia"]) == "refuse":
            return Refused(ErrorKind.VALIDATION, "The address is not valid.")
        number = self._typed["numero_pedido"]
        if self._portal.store(self.account.username, int(number), self._typed["referencia"]) is None:
            return DuplicateNumber("That number is taken.")
        return Stored(number)

    async def read_result(self) -> PortalAnswer:
        if await self._meet("result") == "says duplicate":
            return DuplicateNumber("That number is taken.")
        self._typed = {}
        return self._answer

    async def look_up(self, number: str, *, since: dt.datetime | None = None) -> Parcel | None:
        assert since is None or since.tzinfo is not None
        await self._meet("look up")
        found = self._portal.find(self.account.username, int(number))
        if found is not None and "no_reference" in self.settings.options:
            return Parcel(found.number, found.guide_number)
        return found

    async def evidence(self) -> PageEvidence | None:
        return PageEvidence("text/html", f"<p>{self._shown} {self.account.password}</p>".encode())

    async def close(self) -> None:
        self._portal.note("close", None)
        self._portal.close()
