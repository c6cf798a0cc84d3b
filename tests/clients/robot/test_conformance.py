"""The conformance suite itself: whoever breaks a rule does not pass, and it runs from anywhere."""

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from clients.robot.carrier import Carrier, PortalError
from clients.robot.conformance.portal import FAST, portal_under_test
from clients.robot.conformance.suite import CarrierConformance, Desk
from clients.robot.sandbox_portal.server import running_portal
from tests.clients.robot import broken_carriers as broken
from tests.servers import PATIENCE_S, ROOT, environment

TYPED = "test_orders_are_stored_as_they_were_typed"
ONCE = "test_the_button_is_pressed_once_whoever_asks"
UNKNOWN = "test_without_a_dialog_the_outcome_is_unknown_until_it_is_looked_up"
BROKEN: list[tuple[type[Carrier], str, dict[str, Any]]] = [
    (broken.RoundsTheAmount, TYPED, {}),
    (broken.FoldsAccents, TYPED, {}),
    (broken.RemembersInsteadOfReading, "test_a_field_that_lost_its_value_is_read_back_so", {}),
    (broken.TakesTheFirstSuggestion, "test_a_city_that_no_suggestion_equals_is_not_replaced", {}),
    (broken.TakesTheFirstSuggestion, TYPED, {}),
    (broken.PressesTwice, TYPED, {}),
    (broken.PressesForWhoeverAsks, ONCE, {}),
    (broken.PressesForWhoeverAsks, "test_the_button_is_not_pressed_again_after_a_failure", {"fault": "refusal"}),
    (broken.SendsAgainWhenCutOff, UNKNOWN, {"fault": "crash_after", "stored": 1}),
    (broken.TakesSilenceForARefusal, UNKNOWN, {"fault": "crash_before", "stored": 0}),
    (broken.WaitsForEver, UNKNOWN, {"fault": "slow", "stored": 1}),
    (broken.BlamesThePortal, "test_a_refusal_that_names_a_field_is_about_the_order", {}),
    (broken.BlamesTheOrder, "test_an_error_without_a_reason_is_the_portals", {}),
    (broken.TakesADuplicateForARefusal, "test_a_number_that_somebody_took_is_a_duplicate", {}),
    (broken.TakesADuplicateForASuccess, "test_a_number_that_is_used_up_is_a_duplicate", {}),
    (broken.AlwaysLogsIn, "test_a_session_is_kept_and_needs_no_second_login", {}),
    (broken.TakesAnySession, "test_the_session_of_another_account_is_not_used", {}),
    (broken.TriesALoginAgain, "test_a_wrong_password_is_tried_once_and_told_to_nobody", {}),
    (broken.TriesALoginAgain, "test_a_locked_account_is_a_refused_login", {}),
    (broken.TellsThePassword, "test_a_wrong_password_is_tried_once_and_told_to_nobody", {}),
    (broken.TakesAnOutageForARefusal, "test_a_portal_that_is_down_refuses_no_login", {}),
    (broken.LogsInBehindTheRuntimesBack, "test_a_session_that_is_lost_over_the_form_is_opened_again", {}),
    (broken.NeverLoadsTheFormAgain, "test_a_connection_error_is_gone_when_the_form_is_loaded_again", {}),
    (broken.IgnoresTheDialog, "test_a_connection_error_that_stays_is_an_outage", {}),
    (broken.ReadsTheFirstPageOnly, "test_a_number_is_found_on_whatever_page_it_stands", {}),
    (broken.TakesAnOutageForAnEmptyList, "test_a_portal_that_is_down_is_unavailable_before_the_button", {}),
    (broken.CountsTheParcels, "test_the_last_number_is_the_highest", {}),
    (broken.ShowsTooMuch, "test_evidence_can_be_asked_for_at_any_time", {}),
    (broken.HasNothingToShow, "test_evidence_can_be_asked_for_at_any_time", {}),
    (broken.LogsOut, "test_closing_ends_no_session_and_may_be_repeated", {}),
    (broken.SharesItsSession, "test_two_accounts_work_side_by_side", {}),
]


@pytest.mark.parametrize(("carrier", "test", "case"), BROKEN, ids=[f"{each[0].__name__}-{each[1]}" for each in BROKEN])
async def test_who_breaks_a_rule_does_not_pass(
    carrier: type[Carrier], test: str, case: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clients.robot.conformance.suite.PATIENCE_S", 4)
    async with portal_under_test(None) as portal:
        desk = Desk(carrier, {}, portal)
        try:
            with pytest.raises((AssertionError, PortalError, TimeoutError, pytest.fail.Exception)):
                await getattr(CarrierConformance(), test)(desk, portal, **case)
        finally:
            for made in desk.made:
                await made.close()


def run_suite(folder: Path, *options: str) -> "subprocess.CompletedProcess[str]":
    """As somebody runs it who has the package, and settings of pytest that are not ours."""
    plugin = "clients.robot.conformance.plugin"
    package = "clients.robot.conformance"
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:randomly", "-p", plugin, "--pyargs", package, *options],
        cwd=folder,
        env=environment(PYTHONPATH=str(ROOT)),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )


def test_it_runs_from_anywhere(tmp_path: Path) -> None:
    done = run_suite(tmp_path, "--carrier", "sandbox", "-k", "wrong_password or as_they_were_typed or empty_list")

    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 passed" in done.stdout


async def test_it_runs_at_a_portal_that_runs_already(tmp_path: Path) -> None:
    async with running_portal(FAST) as portal:
        done = await asyncio.to_thread(
            run_suite,
            tmp_path,
            "--carrier",
            "sandbox",
            "--portal-url",
            portal.url,
            "-k",
            "kept_and_needs or empty_list",
        )

        assert done.returncode == 0, done.stdout + done.stderr
        assert portal.store.list_parcels("tienda", page=1, page_size=10) == ([], 0)  # as the last of them left it
        assert [each["name"] for each in portal.store.list_accounts()] == ["tienda"]


def test_a_carrier_of_ones_own_is_named_by_its_class(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "from clients.robot.carriers.sandbox import SandboxCarrier\n"
        "class Mine(SandboxCarrier):\n"
        "    async def last_number(self):\n"
        "        return int(self.settings.options['answer'])\n"
    )
    options = ["--carrier", "mine:Mine", "-k", "empty_list or last_number", "--carrier-option"]

    done = run_suite(tmp_path, *options, "answer=0")

    assert done.returncode == 1, done.stdout + done.stderr
    assert "1 failed, 1 passed" in done.stdout
    assert "test_the_last_number_is_the_highest" in done.stdout


def test_without_a_carrier_it_says_how_to_name_one(tmp_path: Path) -> None:
    done = run_suite(tmp_path, "-k", "empty_list", "-rs")

    assert "--carrier sandbox" in done.stdout
