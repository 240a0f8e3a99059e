"""The ledger tells which release was live when, by its switches that came to an end."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from tests.builders.recording_step import FixedClock
from tests.builders.released_model import ANYTHING, NOW, Released
from wellspring.errors import CorruptedError
from wellspring.models.releases.history import (
    build_rollback_stack,
    find_last_failed_switch,
    list_release_periods,
    was_live,
)
from wellspring.models.releases.promotion import rollback_release
from wellspring.records.models import Release
from wellspring.records.trust import EntryPhase
from wellspring.trust.identity.port import Principal

BO = Principal("user:bo", ("approver",))


@pytest.fixture
def project(tmp_path: Path) -> Released:
    return Released(tmp_path)


def go_back(project: Released) -> Release:
    return rollback_release("denials", BO, project.project, policies=ANYTHING, step=project.step)


def write(project: Released, action: str, phase: EntryPhase, release: Release, *, model: str = "denials") -> None:
    project.step.write(action, phase, release.subject, intent=None, inputs=(), outputs=(), facts={"model": model})


def test_history_lists_what_was_live_at_an_instant_and_who_approved_it(project: Released):
    clock = project.clock
    assert isinstance(clock, FixedClock)
    first = project.released(1)
    clock.pass_(hours=1)
    second = project.released(2)
    clock.pass_(hours=1)
    go_back(project)
    result = list_release_periods(project.books, "denials")
    assert [(item.release, item.action, item.changed_by) for item in result] == [
        (first.id, "rollback", "user:bo"),
        (second.id, "promote", "user:bo"),
        (first.id, "promote", "user:bo"),
    ]
    assert (result[0].until, result[1].until) == (None, result[0].since)
    (then,) = list_release_periods(project.books, "denials", NOW + timedelta(minutes=90))
    assert (then.release, then.proposed_by, then.approved_by) == (second.id, ("user:ana",), "user:bo")
    assert list_release_periods(project.books, "denials", NOW - timedelta(seconds=1)) == ()
    assert list_release_periods(project.books, "other") == ()


def test_the_rollback_stack_lists_releases_that_can_be_restored(project: Released):
    assert build_rollback_stack(project.books, "denials") == []
    first, second = project.released(1), project.released(2)
    assert build_rollback_stack(project.books, "denials") == [first.id, second.id]
    go_back(project)
    assert build_rollback_stack(project.books, "denials") == [first.id]
    third = project.released(3)
    assert build_rollback_stack(project.books, "denials") == [first.id, third.id]
    assert [was_live(project.books, "denials", item.id) for item in (first, second, third)] == [True, True, True]
    assert not was_live(project.books, "denials", "0" * 12)
    assert build_rollback_stack(project.books, "other") == []


def test_only_completed_switches_count(project: Released):
    first, second = project.released(1), project.train(2)
    phases: tuple[EntryPhase, ...] = ("intent", "failed")
    for phase in phases:
        write(project, "promote", phase, second)
    assert build_rollback_stack(project.books, "denials") == [first.id]
    assert not was_live(project.books, "denials", second.id)
    assert len(list_release_periods(project.books, "denials")) == 1


def test_the_last_switch_is_returned_if_it_failed(project: Released):
    assert find_last_failed_switch(project.books, "denials") is None
    first = project.released(1)
    assert find_last_failed_switch(project.books, "denials") is None
    write(project, "rollback", "failed", first, model="other")
    assert find_last_failed_switch(project.books, "denials") is None
    write(project, "rollback", "failed", first)
    failed = find_last_failed_switch(project.books, "denials")
    assert failed is not None
    assert (failed.action, failed.subject) == ("rollback", first.subject)
    write(project, "promote", "done", first)
    assert find_last_failed_switch(project.books, "denials") is None


def test_a_rollback_to_a_release_that_was_never_live_is_corrupt(project: Released):
    project.released(1)
    write(project, "rollback", "done", project.train(2))
    with pytest.raises(CorruptedError, match="was not live before"):
        build_rollback_stack(project.books, "denials")
