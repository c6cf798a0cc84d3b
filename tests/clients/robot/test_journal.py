"""The robot's disk: what is written stays, whoever dies; one robot a folder; what is damaged is said."""

import os
import stat
from pathlib import Path
from typing import Any

import pytest

from clients.robot import journal as journals
from clients.robot.carrier import PageEvidence
from clients.robot.journal import Journal, JournalInUse, JournalUnusable, KeptClaim, Stage, open_journal


def claim(name: str = "t1", **changes: Any) -> KeptClaim:
    given: dict[str, Any] = {"lease_token": name, "item_id": "i1", "attempt": 1, "workspace_id": "w", "purpose": "SHIP"}
    return KeptClaim(**given | changes)


def result(item_id: str = "i1", attempt: int = 1) -> dict[str, Any]:
    return {"itemId": item_id, "attempt": attempt, "status": "SUCCESS", "trackingNumber": "7"}


def reopened(folder: Path) -> Journal:
    """As a process finds it that starts after the last one was killed."""
    return Journal(folder / "journal.db")


def test_a_claim_is_kept_with_its_stage_and_its_number(tmp_path: Path) -> None:
    with open_journal(tmp_path) as journal:
        journal.keep_claims([claim()])
        journal.begin_marking("t1", "account", 41)
        journal.begin_pressing("t1")

        (kept,) = reopened(tmp_path).list_claims()

    assert kept == claim(stage=Stage.PRESSING, reserved_number="41")


def test_a_number_is_used_up_once_it_is_reserved(tmp_path: Path) -> None:
    with open_journal(tmp_path) as journal:
        journal.keep_claims([claim()])
        journal.begin_marking("t1", "account", 41)
        journal.begin_marking("t1", "account", 12)

        assert reopened(tmp_path).last_number("account") == 41
        assert journal.last_number("another") == 0


def test_a_result_takes_the_place_of_its_claim_in_one_moment(tmp_path: Path) -> None:
    with open_journal(tmp_path) as journal:
        journal.keep_claims([claim(), claim("t2", item_id="i2")])
        journal.keep_result("w", result(), lease_token="t1")

        again = reopened(tmp_path)

    assert [each.lease_token for each in again.list_claims()] == ["t2"]
    assert [each.input for each in again.list_results()] == [result()]


def test_a_result_set_aside_is_kept_and_taken_up_again(tmp_path: Path) -> None:
    with open_journal(tmp_path) as journal:
        journal.keep_result("w", result("i1"))
        journal.keep_result("w", result("i2"))
        journal.set_result_aside(journal.list_results()[0].id, "No.")

        assert [each.item_id for each in journal.list_results()] == ["i2"]
        journal.take_up_what_was_set_aside()
        assert [each.item_id for each in journal.list_results()] == ["i1", "i2"]


def test_evidence_waits_for_its_result(tmp_path: Path) -> None:
    page = PageEvidence("text/html", b"<p>")
    with open_journal(tmp_path) as journal:
        journal.keep_result("w", result(), evidence=page)
        assert journal.next_evidence() is None

        journal.forget_result(journal.list_results()[0].id)

        kept = journal.next_evidence()
        assert kept is not None
        assert (kept.item_id, kept.attempt, kept.page) == ("i1", 1, page)


@pytest.mark.parametrize("limit", ["EVIDENCE_AT_MOST", "EVIDENCE_BYTES_AT_MOST"])
def test_old_evidence_makes_room_for_new(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str) -> None:
    monkeypatch.setattr(journals, limit, 2 if limit == "EVIDENCE_AT_MOST" else 25)
    with open_journal(tmp_path) as journal:
        for number in range(4):
            journal.keep_result("w", result(f"i{number}"), evidence=PageEvidence("text/plain", b"0123456789"))
        for each in journal.list_results():
            journal.forget_result(each.id)

        found = []
        while (kept := journal.next_evidence()) is not None:
            found.append(kept.item_id)
            journal.forget_evidence(kept.id)

    assert found == ["i2", "i3"]


def test_a_session_is_of_one_login(tmp_path: Path) -> None:
    with open_journal(tmp_path) as journal:
        journal.keep_session("account", "ana", {"cookie": "c"})

        assert journal.kept_session("account", "ana") == {"cookie": "c"}
        assert journal.kept_session("account", "eva") is None
        journal.keep_session("account", "ana", None)
        assert journal.kept_session("account", "ana") is None


def test_what_is_on_the_disk_is_for_its_owner_alone(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    with open_journal(folder) as journal:
        journal.keep_session("account", "ana", {"cookie": "c"})

        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in [folder, *folder.iterdir()]}

    assert modes.pop("state") == 0o700
    assert "journal.db-wal" in modes
    assert set(modes.values()) == {0o600}


def test_a_second_robot_in_the_folder_is_refused_and_told_whose_it_is(tmp_path: Path) -> None:
    with open_journal(tmp_path), pytest.raises(JournalInUse, match=f"process {os.getpid()}"), open_journal(tmp_path):
        pass

    with open_journal(tmp_path):
        pass


@pytest.mark.parametrize("kind", ["no database", "a page overwritten", "another version"])
def test_a_file_that_cannot_be_used_is_named(tmp_path: Path, kind: str) -> None:
    file = tmp_path / "journal.db"
    with open_journal(tmp_path) as journal:
        journal.keep_claims([claim(f"t{number}") for number in range(500)])
        if kind == "another version":
            journal._database.execute("PRAGMA user_version = 99")
    content = bytearray(file.read_bytes())
    if kind == "no database":
        content = bytearray(b"not a database at all, but long enough to be looked at " * 20)
    elif kind == "a page overwritten":
        content[4096 * 6 : 4096 * 8] = os.urandom(4096 * 2)
    file.write_bytes(content)

    with pytest.raises(JournalUnusable, match=str(file)) as refused, open_journal(tmp_path):
        pass
    assert ("is damaged" in str(refused.value)) is (kind != "another version")
    assert "\n" not in str(refused.value)


def test_the_journal_of_the_version_before_is_taken_up(tmp_path: Path) -> None:
    with open_journal(tmp_path) as journal:
        journal.keep_claims([claim("t1")])
        journal._database.execute("PRAGMA user_version = 1")

    with open_journal(tmp_path) as journal:
        assert journal.list_claims() == [claim("t1")]
        assert journal._database.execute("PRAGMA user_version").fetchone()[0] == 2
