"""Text from outside: what PostgreSQL can hold, and no longer than allowed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import InvalidInput
from domain.text import checked_text, optional_text, text_problem

UNSTORABLE = ["a\x00b", "\ud800", "a\udfff", "x" * 11, "x" * 10_000_000]


@pytest.mark.parametrize("value", UNSTORABLE, ids=["NUL", "high", "low", "long", "10 MB"])
def test_what_cannot_be_stored_is_refused_under_its_name(value: str) -> None:
    with pytest.raises(InvalidInput) as refusal:
        checked_text("stage", value, at_most=10)

    assert [problem.path for problem in refusal.value.problems] == ["stage"]
    assert len(refusal.value.message) < 200


@pytest.mark.parametrize("value", ["", " ", "\t\n\u00a0"])
def test_nothing_and_blanks_are_empty(value: str) -> None:
    with pytest.raises(InvalidInput, match="must not be empty"):
        checked_text("stage", value, at_most=10)

    assert optional_text("stage", value, at_most=10) is None


def test_blanks_at_the_ends_do_not_count() -> None:
    assert checked_text("stage", "  ten chars.  ", at_most=10) == "ten chars."
    assert optional_text("stage", " a ", at_most=10) == "a"


def test_no_text_is_none() -> None:
    assert optional_text("stage", None, at_most=10) is None


def test_a_mountain_of_blanks_is_refused_without_being_searched() -> None:
    with pytest.raises(InvalidInput, match="at most 10"):
        optional_text("stage", " " * 10_000_000, at_most=10)


@given(st.text(alphabet=st.characters(), max_size=20))
def test_whatever_passes_can_be_encoded(value: str) -> None:
    if text_problem(value, at_most=20) is None:
        assert b"\x00" not in value.encode()
