"""The catalogue of attempts has its minima, and the runner notices an attempt that succeeds or a twin that fails."""

from __future__ import annotations

from pathlib import Path

from tests.redteam import catalogue
from tests.redteam.catalogue import KINDS, POSITIONS, Attempt
from tests.redteam.results import make_attempt
from tests.redteam.target import Target
from tests.redteam.unrecorded import explain_missing_entry


def build_attempt(outcome: str, twin_outcome: str, *, awaited: str = "") -> Attempt:
    return Attempt(
        "knock", "small", "owner", lambda _, is_twin: twin_outcome if is_twin else outcome, "EACCES", "opened",
        awaited=awaited,
    )  # fmt: skip


def test_each_kind_and_position_has_at_least_five_attempts_of_sixty():
    attempts = catalogue.list_attempts()
    assert catalogue.find_missing_minima(attempts) == []
    assert (len(KINDS), len(POSITIONS)) == (10, 6)


def test_each_attempt_has_a_name_of_its_own_and_says_why_its_twin_is_allowed():
    attempts = catalogue.list_attempts()
    assert len({item.name for item in attempts}) == len(attempts)
    assert [item.name for item in attempts if ";" not in item.description] == []


def test_each_attempt_has_an_entry_or_a_reason_why_it_has_none():
    attempts = catalogue.list_attempts()
    assert [item.name for item in attempts if not item.recorded and not explain_missing_entry(item)] == []


def test_a_catalogue_below_a_minimum_is_named():
    attempts = [item for item in catalogue.list_attempts() if item.position != "vendor"]
    assert catalogue.find_missing_minima(attempts) == ["0 attempts of vendor, at least 5 are needed"]
    assert "1 attempts, at least 60 are needed" in catalogue.find_missing_minima(attempts[:1])


def test_an_attempt_that_succeeds_or_fails_otherwise_is_a_problem(tmp_path: Path):
    target = Target(tmp_path)
    assert make_attempt(target, build_attempt("EACCES", "opened")).problem == ""
    assert "not with 'EACCES'" in make_attempt(target, build_attempt("opened", "opened")).problem
    assert "not with 'EACCES'" in make_attempt(target, build_attempt("ENOENT", "opened")).problem
    assert "its twin ended with 'EACCES'" in make_attempt(target, build_attempt("EACCES", "EACCES")).problem


def test_an_awaited_attempt_may_succeed_but_its_twin_must_be_allowed(tmp_path: Path):
    target = Target(tmp_path)
    assert make_attempt(target, build_attempt("opened", "opened", awaited="a lock")).problem == ""
    assert make_attempt(target, build_attempt("opened", "EACCES", awaited="a lock")).problem
