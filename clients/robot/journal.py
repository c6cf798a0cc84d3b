"""What a robot must not forget, on its disk: claims in hand, results and evidence not yet taken, sessions, numbers.

SQLite, each method one transaction that is on the disk when it returns.  A result is written here before it is sent,
and removed when the API has answered for it.  Passwords are never written.  One process at a time per folder.
"""

import fcntl
import json
import os
import sqlite3
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from clients.robot.carrier import PageEvidence

EVIDENCE_AT_MOST = 100
EVIDENCE_BYTES_AT_MOST = 50_000_000
_VERSION = 2
_READABLE = (0, 1, _VERSION)
"""An empty file; 1 knew no stage `working`, and has nothing else that is not so now."""
_TABLES = """
CREATE TABLE claims (
  lease_token TEXT PRIMARY KEY,
  item_id TEXT NOT NULL,
  attempt INTEGER NOT NULL,
  workspace_id TEXT,
  purpose TEXT NOT NULL,
  stage TEXT NOT NULL,
  reserved_number TEXT,
  reason TEXT,
  message TEXT,
  retry_after_s INTEGER
);
CREATE TABLE claim_ids (
  purpose TEXT PRIMARY KEY,
  claim_id TEXT NOT NULL
);
CREATE TABLE results (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  workspace_id TEXT,
  item_id TEXT NOT NULL,
  attempt INTEGER NOT NULL,
  input TEXT NOT NULL,
  refusal TEXT
);
CREATE TABLE evidence (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  workspace_id TEXT,
  item_id TEXT NOT NULL,
  attempt INTEGER NOT NULL,
  content_type TEXT NOT NULL,
  content BLOB NOT NULL
);
CREATE TABLE accounts (
  name TEXT PRIMARY KEY,
  username TEXT,
  session TEXT,
  last_number INTEGER NOT NULL DEFAULT 0
);
"""


class JournalInUse(Exception):
    """Another process works with the folder.  One line for people."""


class JournalUnusable(Exception):
    """The file is damaged, of another version, or cannot be written.  One line for people."""


class Stage(StrEnum):
    """How far a try has come, in this order; what is not on the disk has not begun."""

    CLAIMED = "claimed"
    WORKING = "working"
    """Taken up: the portal is logged in to, the form filled in."""
    MARKING = "marking"
    """The API is asked to mark it; the button is not pressed."""
    PRESSING = "pressing"
    """The API has marked it; the button may have been pressed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptClaim:
    """A lease that the API believes this robot to hold.  With a `reason` it is to be given back."""

    lease_token: str
    item_id: str
    attempt: int
    workspace_id: str | None
    purpose: str
    stage: Stage = Stage.CLAIMED
    reserved_number: str | None = None
    reason: str | None = None
    message: str | None = None
    retry_after_s: int | None = None


@dataclass(frozen=True, slots=True)
class KeptResult:
    id: int
    workspace_id: str | None
    item_id: str
    attempt: int
    input: dict[str, Any]


@dataclass(frozen=True, slots=True)
class KeptEvidence:
    id: int
    workspace_id: str | None
    item_id: str
    attempt: int
    page: PageEvidence


@contextmanager
def open_journal(folder: Path) -> "Iterator[Journal]":
    """The journal of that folder, which is made if need be.  Raises JournalInUse, JournalUnusable."""
    file = folder / "journal.db"
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise JournalUnusable(f"{folder} cannot be used: {error.strerror}") from error
    try:
        _lock(lock, folder)
        os.close(os.open(file, os.O_RDWR | os.O_CREAT, 0o600))  # sessions are in it
        journal = Journal(file)
        try:
            yield journal
        finally:
            journal.close()
    finally:
        os.close(lock)


def _lock(lock: int, folder: Path) -> None:
    """Held until the process ends, however that is."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        holder = os.pread(lock, 20, 0).decode(errors="replace").strip()
        raise JournalInUse(
            f"{folder} is in use by another robot (process {holder or 'unknown'}); give this one another --name"
        ) from None
    os.ftruncate(lock, 0)
    os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)


class Journal:
    def __init__(self, file: Path) -> None:
        """Raises JournalUnusable."""
        self._file = file
        try:
            self._database = sqlite3.connect(file, timeout=10, isolation_level=None)
            self._database.row_factory = sqlite3.Row
            self._database.execute("PRAGMA journal_mode = WAL")
            self._database.execute("PRAGMA synchronous = FULL")
            self._prepare()
        except sqlite3.Error as error:
            raise self._unusable(error) from error

    def _prepare(self) -> None:
        (version,) = self._database.execute("PRAGMA user_version").fetchone()
        if version not in _READABLE:
            raise JournalUnusable(f"{self._file} is of another version of the robot ({version}); use that one")
        problems = [row[0] for row in self._database.execute("PRAGMA quick_check")]
        if problems != ["ok"]:
            raise sqlite3.DatabaseError(problems[0])
        if version == 0:
            self._database.executescript(f"BEGIN; {_TABLES} PRAGMA user_version = {_VERSION}; COMMIT;")
        elif version != _VERSION:
            self._database.execute(f"PRAGMA user_version = {_VERSION}")

    def _unusable(self, error: sqlite3.Error) -> JournalUnusable:
        if isinstance(error, sqlite3.OperationalError):
            return JournalUnusable(f"{self._file} cannot be used: {error}")
        return JournalUnusable(
            f"{self._file} is damaged ({error}). Move the folder away and start again: what the robot had in hand then "
            "runs out by itself, and what it had submitted becomes an unknown outcome, which robots look up."
        )

    def close(self) -> None:
        self._database.close()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        try:
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield self._database
            except BaseException:
                self._database.execute("ROLLBACK")
                raise
            self._database.execute("COMMIT")
        except sqlite3.Error as error:
            raise self._unusable(error) from error

    def _rows(self, statement: str, *values: object) -> list[sqlite3.Row]:
        try:
            return self._database.execute(statement, values).fetchall()
        except sqlite3.Error as error:
            raise self._unusable(error) from error

    # ------------------------------------------------------------------------------------------ claims

    def claim_id(self, purpose: str) -> str:
        """Of the next claim; the same until what it has brought is kept, also for the process after this one."""
        for row in self._rows("SELECT claim_id FROM claim_ids WHERE purpose = ?", purpose):
            return str(row["claim_id"])
        with self._transaction() as database:
            return _renew_claim_id(database, purpose)

    def keep_claims(self, claims: Sequence[KeptClaim]) -> None:
        with self._transaction() as database:
            for purpose in {each.purpose for each in claims}:
                _renew_claim_id(database, purpose)
            database.executemany(
                "INSERT OR REPLACE INTO claims (lease_token, item_id, attempt, workspace_id, purpose, stage)"
                " VALUES (?, ?, ?, ?, ?, ?)",
                [
                    (each.lease_token, each.item_id, each.attempt, each.workspace_id, each.purpose, each.stage)
                    for each in claims
                ],
            )

    def list_claims(self) -> list[KeptClaim]:
        rows = self._rows("SELECT * FROM claims ORDER BY rowid")
        return [KeptClaim(**dict(row) | {"stage": Stage(row["stage"])}) for row in rows]

    def forget_claim(self, lease_token: str) -> None:
        with self._transaction() as database:
            database.execute("DELETE FROM claims WHERE lease_token = ?", (lease_token,))

    def give_back_later(
        self, lease_token: str, reason: str, message: str | None = None, *, retry_after_s: int | None = None
    ) -> None:
        with self._transaction() as database:
            database.execute(
                "UPDATE claims SET reason = ?, message = ?, retry_after_s = ? WHERE lease_token = ?",
                (reason, message, retry_after_s, lease_token),
            )

    def begin_working(self, lease_token: str) -> None:
        with self._transaction() as database:
            database.execute("UPDATE claims SET stage = ? WHERE lease_token = ?", (Stage.WORKING, lease_token))

    def begin_marking(self, lease_token: str, account: str, number: int) -> None:
        """The number is used up by it, whatever comes."""
        with self._transaction() as database:
            database.execute(
                "UPDATE claims SET stage = ?, reserved_number = ? WHERE lease_token = ?",
                (Stage.MARKING, str(number), lease_token),
            )
            database.execute(
                "INSERT INTO accounts (name, last_number) VALUES (?, ?)"
                " ON CONFLICT (name) DO UPDATE SET last_number = max(last_number, excluded.last_number)",
                (account, number),
            )

    def begin_pressing(self, lease_token: str) -> None:
        with self._transaction() as database:
            database.execute("UPDATE claims SET stage = ? WHERE lease_token = ?", (Stage.PRESSING, lease_token))

    # ------------------------------------------------------------------------------------------ what is to be sent

    def keep_result(
        self,
        workspace_id: str | None,
        result: Mapping[str, Any],
        *,
        lease_token: str | None = None,
        evidence: PageEvidence | None = None,
    ) -> int:
        """The claim that it ends is forgotten in the same moment.  How many pieces of old evidence had to go."""
        item_id, attempt = result["itemId"], result["attempt"]
        with self._transaction() as database:
            database.execute(
                "INSERT INTO results (workspace_id, item_id, attempt, input) VALUES (?, ?, ?, ?)",
                (workspace_id, item_id, attempt, json.dumps(result)),
            )
            if lease_token is not None:
                database.execute("DELETE FROM claims WHERE lease_token = ?", (lease_token,))
            if evidence is None:
                return 0
            database.execute(
                "INSERT INTO evidence (workspace_id, item_id, attempt, content_type, content) VALUES (?, ?, ?, ?, ?)",
                (workspace_id, item_id, attempt, evidence.content_type, evidence.content),
            )
            return database.execute(
                "DELETE FROM evidence WHERE id IN (SELECT id FROM (SELECT id, row_number() OVER newest AS place,"
                " sum(length(content)) OVER newest AS bytes FROM evidence WINDOW newest AS (ORDER BY id DESC))"
                " WHERE place > ? OR bytes > ?)",
                (EVIDENCE_AT_MOST, EVIDENCE_BYTES_AT_MOST),
            ).rowcount

    def list_results(self, *, but: Sequence[int] = (), limit: int = 1_000) -> list[KeptResult]:
        """Oldest first, without those that were set aside, and those named."""
        rows = self._rows("SELECT * FROM results WHERE refusal IS NULL ORDER BY id")
        found = [
            KeptResult(row["id"], row["workspace_id"], row["item_id"], row["attempt"], json.loads(row["input"]))
            for row in rows
            if row["id"] not in but
        ]
        return found[:limit]

    def count_results(self) -> int:
        return int(self._rows("SELECT count(*) FROM results WHERE refusal IS NULL")[0][0])

    def forget_result(self, result_id: int) -> None:
        with self._transaction() as database:
            database.execute("DELETE FROM results WHERE id = ?", (result_id,))

    def set_result_aside(self, result_id: int, refusal: str) -> None:
        """It is kept, and tried once more after the next start."""
        with self._transaction() as database:
            database.execute("UPDATE results SET refusal = ? WHERE id = ?", (refusal, result_id))

    def take_up_what_was_set_aside(self) -> None:
        with self._transaction() as database:
            database.execute("UPDATE results SET refusal = NULL WHERE refusal IS NOT NULL")

    def next_evidence(self) -> KeptEvidence | None:
        """The oldest of those whose result has been sent."""
        rows = self._rows(
            "SELECT * FROM evidence AS e WHERE NOT EXISTS (SELECT 1 FROM results AS r WHERE r.item_id ="
            " e.item_id AND r.attempt = e.attempt AND r.refusal IS NULL) ORDER BY id LIMIT 1"
        )
        if not rows:
            return None
        row = rows[0]
        page = PageEvidence(row["content_type"], row["content"])
        return KeptEvidence(row["id"], row["workspace_id"], row["item_id"], row["attempt"], page)

    def forget_evidence(self, evidence_id: int) -> None:
        with self._transaction() as database:
            database.execute("DELETE FROM evidence WHERE id = ?", (evidence_id,))

    # ------------------------------------------------------------------------------------------ accounts

    def kept_session(self, account: str, username: str) -> Any:
        """None if there is none of that login."""
        rows = self._rows("SELECT session FROM accounts WHERE name = ? AND username = ?", account, username)
        return json.loads(rows[0]["session"]) if rows and rows[0]["session"] is not None else None

    def keep_session(self, account: str, username: str, session: Any) -> None:
        """None forgets it."""
        text = json.dumps(session) if session is not None else None
        with self._transaction() as database:
            database.execute(
                "INSERT INTO accounts (name, username, session) VALUES (?, ?, ?)"
                " ON CONFLICT (name) DO UPDATE SET username = excluded.username, session = excluded.session",
                (account, username, text),
            )

    def last_number(self, account: str) -> int:
        """The highest that was reserved from here, 0 when none was."""
        rows = self._rows("SELECT last_number FROM accounts WHERE name = ?", account)
        return int(rows[0]["last_number"]) if rows else 0


def _renew_claim_id(database: sqlite3.Connection, purpose: str) -> str:
    claim_id = str(uuid.uuid4())
    database.execute("INSERT OR REPLACE INTO claim_ids VALUES (?, ?)", (purpose, claim_id))
    return claim_id
