"""What the portal keeps, in SQLite: parcels, accounts with their sessions, faults, and what has been tried.

With a file all of it outlives the process, whenever that is killed: a carrier does not forget a parcel.  Each method is
one transaction, and may be called from any thread.
"""

import json
import secrets
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from clients.robot.sandbox_portal.faults import Fault, FaultKind

_BUSY_S = 10.0
_GUIDE_FROM = 70_000_000_000
_TABLES = """
CREATE TABLE IF NOT EXISTS accounts (
  name TEXT PRIMARY KEY,
  has_own_password INTEGER NOT NULL DEFAULT 0,
  password TEXT,
  is_locked INTEGER NOT NULL DEFAULT 0,
  wrong_in_a_row INTEGER NOT NULL DEFAULT 0,
  session TEXT UNIQUE,
  form_is_broken INTEGER NOT NULL DEFAULT 0,
  logins INTEGER NOT NULL DEFAULT 0,
  refused_logins INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE IF NOT EXISTS parcels (
  id INTEGER PRIMARY KEY,
  account TEXT NOT NULL,
  number INTEGER NOT NULL,
  reference TEXT NOT NULL,
  form TEXT NOT NULL,
  stored_at REAL NOT NULL,
  UNIQUE (account, number)
);
CREATE INDEX IF NOT EXISTS parcels_by_reference ON parcels (reference, account);
CREATE TABLE IF NOT EXISTS submissions (
  id INTEGER PRIMARY KEY,
  account TEXT NOT NULL,
  reference TEXT NOT NULL,
  outcome TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS submissions_by_reference ON submissions (reference, account);
CREATE TABLE IF NOT EXISTS faults (
  id INTEGER PRIMARY KEY,
  kind TEXT NOT NULL,
  reference TEXT,
  account TEXT,
  times INTEGER,
  field TEXT,
  seconds REAL,
  is_mark INTEGER NOT NULL,
  met INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX IF NOT EXISTS faults_by_kind ON faults (kind, reference);
CREATE UNIQUE INDEX IF NOT EXISTS marks ON faults (account, reference, kind, coalesce(field, '')) WHERE is_mark;
"""


class NumberTaken(Exception):
    """The account has used the number, or a later one."""


class StoreUnusable(Exception):
    """The file is no database of ours, or cannot be written.  One line for people."""


class Login(StrEnum):
    OPENED = "opened"
    WRONG = "wrong"
    LOCKED = "locked"


class Outcome(StrEnum):
    """What became of one press of the submit button."""

    STORED = "stored"
    REFUSED = "refused"
    ERROR = "error"
    CUT = "cut"
    SESSION_LOST = "session_lost"


@dataclass(frozen=True, slots=True)
class Parcel:
    id: int
    account: str
    number: int
    reference: str
    form: Mapping[str, str]
    stored_at: float
    """Seconds since 1970."""

    def guide(self, *, after_s: float) -> str:
        """The guía, empty until it is assigned."""
        return str(_GUIDE_FROM + self.id) if time.time() >= self.stored_at + after_s else ""


@dataclass(frozen=True, slots=True)
class OrderedFault:
    id: int
    fault: Fault
    met: int
    """How often it has happened."""


class Store:
    def __init__(self, file: Path | None = None) -> None:
        """Raises StoreUnusable."""
        try:
            self._database = sqlite3.connect(
                file or ":memory:", timeout=_BUSY_S, isolation_level=None, check_same_thread=False
            )
            self._database.row_factory = sqlite3.Row
            # Survives the end of the process at any moment; only a power cut may take the last moments with it.
            self._database.execute("PRAGMA journal_mode = WAL")
            self._database.execute("PRAGMA synchronous = NORMAL")
            self._database.executescript(_TABLES)
        except sqlite3.Error as error:
            raise StoreUnusable(f"The sandbox portal cannot keep its parcels in {file}: {error}.") from error
        self._lock = threading.Lock()

    def close(self) -> None:
        with self._lock:
            self._database.close()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield self._database
            except BaseException:
                self._database.execute("ROLLBACK")
                raise
            self._database.execute("COMMIT")

    # ------------------------------------------------------------------------------------------ accounts

    def own_password(self, account: str) -> tuple[bool, str | None]:
        """Whether the account was given a password while the portal runs, and that one; None: none is right."""
        with self._transaction() as database:
            row = database.execute(
                "SELECT has_own_password, password FROM accounts WHERE name = ?", (account,)
            ).fetchone()
        return (bool(row["has_own_password"]), row["password"]) if row else (False, None)

    def log_in(self, account: str, *, is_right: bool, lock_after: int) -> tuple[Login, str]:
        """Open a session, which ends the account's earlier one; its token.  Wrong ones in a row lock it."""
        token = secrets.token_urlsafe(24)
        with self._transaction() as database:
            database.execute("INSERT INTO accounts (name) VALUES (?) ON CONFLICT DO NOTHING", (account,))
            if not is_right:
                database.execute(
                    "UPDATE accounts SET wrong_in_a_row = wrong_in_a_row + 1,"
                    " is_locked = is_locked OR wrong_in_a_row + 1 >= ? WHERE name = ?",
                    (lock_after, account),
                )
            (is_locked,) = database.execute("SELECT is_locked FROM accounts WHERE name = ?", (account,)).fetchone()
            if is_locked or not is_right:
                database.execute("UPDATE accounts SET refused_logins = refused_logins + 1 WHERE name = ?", (account,))
                return (Login.LOCKED if is_locked else Login.WRONG), ""
            database.execute(
                "UPDATE accounts SET session = ?, wrong_in_a_row = 0, logins = logins + 1, form_is_broken = 0"
                " WHERE name = ?",
                (token, account),
            )
        return Login.OPENED, token

    def count_refused_login(self, account: str) -> None:
        with self._transaction() as database:
            database.execute(
                "INSERT INTO accounts (name, refused_logins) VALUES (?, 1)"
                " ON CONFLICT (name) DO UPDATE SET refused_logins = refused_logins + 1",
                (account,),
            )

    def find_account(self, token: str) -> str | None:
        """Whose session it is, as long as it lasts."""
        with self._transaction() as database:
            row = database.execute("SELECT name FROM accounts WHERE session = ?", (token,)).fetchone()
        return row["name"] if row else None

    def end_session(self, account: str) -> None:
        with self._transaction() as database:
            database.execute("UPDATE accounts SET session = NULL WHERE name = ?", (account,))

    def set_account(self, account: str, changes: Mapping[str, Any]) -> None:
        """`password` (None: none is right) and `is_locked`, each if it is there.  A lock ends the session."""
        with self._transaction() as database:
            database.execute("INSERT INTO accounts (name) VALUES (?) ON CONFLICT DO NOTHING", (account,))
            if "password" in changes:
                database.execute(
                    "UPDATE accounts SET has_own_password = 1, password = ? WHERE name = ?",
                    (changes["password"], account),
                )
            if "is_locked" in changes:
                database.execute(
                    "UPDATE accounts SET is_locked = ?1, wrong_in_a_row = 0,"
                    " session = CASE WHEN ?1 THEN NULL ELSE session END WHERE name = ?2",
                    (bool(changes["is_locked"]), account),
                )

    def break_form(self, account: str, *, is_broken: bool) -> None:
        """A form that was loaded without a connection takes nothing until it is loaded again."""
        with self._transaction() as database:
            database.execute("UPDATE accounts SET form_is_broken = ? WHERE name = ?", (is_broken, account))

    def form_is_broken(self, account: str) -> bool:
        with self._transaction() as database:
            row = database.execute("SELECT form_is_broken FROM accounts WHERE name = ?", (account,)).fetchone()
        return bool(row and row["form_is_broken"])

    # ------------------------------------------------------------------------------------------ parcels

    def add_parcel(
        self, account: str, number: int, reference: str, form: Mapping[str, str], *, is_by_hand: bool = False
    ) -> None:
        """Raises NumberTaken.  Two parcels for one reference are stored as readily as one: so does a carrier.

        It counts as a submission in the same breath, unless somebody typed it in by hand.
        """
        with self._transaction() as database:
            if number <= _last_number(database, account):
                raise NumberTaken
            database.execute(
                "INSERT INTO parcels (account, number, reference, form, stored_at) VALUES (?, ?, ?, ?, ?)",
                (account, number, reference, json.dumps(form), time.time()),
            )
            if not is_by_hand:
                _count_submission(database, account, reference, Outcome.STORED)

    def last_number(self, account: str) -> int:
        """0 before the account's first parcel."""
        with self._transaction() as database:
            return _last_number(database, account)

    def list_parcels(self, account: str, *, page: int, page_size: int) -> tuple[list[Parcel], int]:
        """A page of the account's parcels, newest first, counted from 1; and how many there are in all."""
        with self._transaction() as database:
            (total,) = database.execute("SELECT count(*) FROM parcels WHERE account = ?", (account,)).fetchone()
            rows = database.execute(
                "SELECT * FROM parcels WHERE account = ? ORDER BY number DESC LIMIT ? OFFSET ?",
                (account, page_size, (page - 1) * page_size),
            ).fetchall()
        return [_parcel(row) for row in rows], total

    def find_parcels(self, *, account: str | None = None, reference: str | None = None) -> list[Parcel]:
        """All that match, in the order in which they were stored."""
        with self._transaction() as database:
            rows = database.execute(
                "SELECT * FROM parcels WHERE (?1 IS NULL OR account = ?1) AND (?2 IS NULL OR reference = ?2)"
                " ORDER BY id",
                (account, reference),
            ).fetchall()
        return [_parcel(row) for row in rows]

    # ------------------------------------------------------------------------------------------ faults

    def order_faults(self, faults: Sequence[Fault], *, account_of_marks: str | None = None) -> list[int]:
        """Their ids.  Marks, which come again with every request, are ordered once."""
        is_mark = account_of_marks is not None
        ids = []
        with self._transaction() as database:
            for fault in faults:
                written = database.execute(
                    "INSERT INTO faults (kind, reference, account, times, field, seconds, is_mark)"
                    " VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING RETURNING id",
                    (
                        fault.kind,
                        fault.reference,
                        account_of_marks or fault.account,
                        fault.times,
                        fault.field,
                        fault.seconds,
                        is_mark,
                    ),
                ).fetchone()
                ids += [written["id"]] if written else []
        return ids

    def meet_fault(
        self, kinds: Sequence[FaultKind], *, account: str | None = None, reference: str | None = None
    ) -> Fault | None:
        """The first of these kinds that is due here and now; it counts as having happened."""
        due = self._due(kinds, account, reference, at_most=1)
        return due[0] if due else None

    def meet_dropped_fields(self, account: str, reference: str, *, filled: Sequence[str]) -> list[str]:
        """The fields among those with a value that lose it now."""
        due = self._due([FaultKind.DROP_FIELD], account, reference, fields=filled)
        return [fault.field for fault in due if fault.field is not None]

    def _due(
        self,
        kinds: Sequence[FaultKind],
        account: str | None,
        reference: str | None,
        *,
        fields: Sequence[str] | None = None,
        at_most: int = -1,
    ) -> list[Fault]:
        with self._transaction() as database:
            rows = database.execute(
                "SELECT faults.* FROM faults JOIN json_each(?1) AS kinds ON kinds.value = faults.kind"
                " WHERE (times IS NULL OR met < times) AND (reference IS NULL OR reference = ?2)"
                " AND (account IS NULL OR account = ?3)"
                " AND (?4 IS NULL OR field IN (SELECT value FROM json_each(?4)))"
                " ORDER BY kinds.key, faults.id LIMIT ?5",
                (json.dumps(kinds), reference, account, None if fields is None else json.dumps(fields), at_most),
            ).fetchall()
            database.executemany("UPDATE faults SET met = met + 1 WHERE id = ?", [(row["id"],) for row in rows])
        return [_fault(row) for row in rows]

    def list_faults(self) -> list[OrderedFault]:
        with self._transaction() as database:
            rows = database.execute("SELECT * FROM faults ORDER BY id").fetchall()
        return [OrderedFault(row["id"], _fault(row), row["met"]) for row in rows]

    def lift_faults(self, *, kind: FaultKind | None = None, fault_id: int | None = None) -> int:
        """All, or those that match: they happen no more; how many there were."""
        with self._transaction() as database:
            return database.execute(
                "DELETE FROM faults WHERE (?1 IS NULL OR kind = ?1) AND (?2 IS NULL OR id = ?2)", (kind, fault_id)
            ).rowcount

    # ------------------------------------------------------------------------------------------ counts

    def count_submission(self, account: str, reference: str, outcome: Outcome) -> None:
        with self._transaction() as database:
            _count_submission(database, account, reference, outcome)

    def list_orders(self, *, account: str | None = None, reference: str | None = None) -> list[dict[str, Any]]:
        """Per account and reference: its parcels' numbers, and how often the button was pressed with which end."""
        orders: dict[tuple[str, str], dict[str, Any]] = {}

        def order(row: sqlite3.Row) -> dict[str, Any]:
            named = {"account": row["account"], "reference": row["reference"]}
            return orders.setdefault(
                (row["account"], row["reference"]), {**named, "parcels": 0, "numbers": [], "submissions": {}}
            )

        with self._transaction() as database:
            for row in database.execute(
                "SELECT account, reference, outcome, count(*) AS times FROM submissions"
                " WHERE (?1 IS NULL OR account = ?1) AND (?2 IS NULL OR reference = ?2) GROUP BY 1, 2, 3 ORDER BY 1, 2",
                (account, reference),
            ):
                order(row)["submissions"][row["outcome"]] = row["times"]
            for row in database.execute(
                "SELECT account, reference, number FROM parcels"
                " WHERE (?1 IS NULL OR account = ?1) AND (?2 IS NULL OR reference = ?2) ORDER BY id",
                (account, reference),
            ):
                found = order(row)
                found["parcels"] += 1
                found["numbers"].append(row["number"])
        return list(orders.values())

    def list_accounts(self) -> list[dict[str, Any]]:
        with self._transaction() as database:
            rows = database.execute(
                "SELECT name, logins, refused_logins, wrong_in_a_row, is_locked, session IS NOT NULL AS has_session,"
                " (SELECT count(*) FROM parcels WHERE account = name) AS parcels,"
                " (SELECT coalesce(max(number), 0) FROM parcels WHERE account = name) AS last_number"
                " FROM accounts ORDER BY name"
            ).fetchall()
        return [dict(row) | {name: bool(row[name]) for name in ("is_locked", "has_session")} for row in rows]

    def reset(self) -> None:
        """Forget everything."""
        with self._transaction() as database:
            for table in ("accounts", "parcels", "submissions", "faults"):
                database.execute(f"DELETE FROM {table}")  # noqa: S608 -- our own names


def _count_submission(database: sqlite3.Connection, account: str, reference: str, outcome: Outcome) -> None:
    database.execute(
        "INSERT INTO submissions (account, reference, outcome) VALUES (?, ?, ?)", (account, reference, outcome)
    )


def _last_number(database: sqlite3.Connection, account: str) -> int:
    (last,) = database.execute("SELECT coalesce(max(number), 0) FROM parcels WHERE account = ?", (account,)).fetchone()
    return int(last)


def _parcel(row: sqlite3.Row) -> Parcel:
    return Parcel(row["id"], row["account"], row["number"], row["reference"], json.loads(row["form"]), row["stored_at"])


def _fault(row: sqlite3.Row) -> Fault:
    return Fault(
        kind=FaultKind(row["kind"]),
        reference=row["reference"],
        account=row["account"] if not row["is_mark"] else None,
        times=row["times"],
        field=row["field"],
        seconds=row["seconds"],
    )
