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
def house(tmp_path: Path) -> Released:
    return Released(tmp_path)


def go_back(house: Released) -> Release:
    return rollback_release("denials", BO, house.house, policies=ANYTHING, step=house.step)


def write(house: Released, action: str, phase: EntryPhase, release: Release, *, model: str = "denials") -> None:
    house.step.write(action, phase, release.subject, intent=None, inputs=(), outputs=(), facts={"model": model})


def test_history_says_what_was_live_at_an_instant_and_who_stood_behind_it(house: Released):
    clock = house.clock
    assert isinstance(clock, FixedClock)
    first = house.released(1)
    clock.pass_(hours=1)
    second = house.released(2)
    clock.pass_(hours=1)
    go_back(house)
    told = list_release_periods(house.books, "denials")
    assert [(item.release, item.action, item.changed_by) for item in told] == [
        (first.id, "rollback", "user:bo"),
        (second.id, "promote", "user:bo"),
        (first.id, "promote", "user:bo"),
    ]
    assert (told[0].until, told[1].until) == (None, told[0].since)
    (then,) = list_release_periods(house.books, "denials", NOW + timedelta(minutes=90))
    assert (then.release, then.proposed_by, then.approved_by) == (second.id, ("user:ana",), "user:bo")
    assert list_release_periods(house.books, "denials", NOW - timedelta(seconds=1)) == ()
    assert list_release_periods(house.books, "other") == ()


def test_the_line_holds_what_one_could_go_back_through(house: Released):
    assert build_rollback_stack(house.books, "denials") == []
    first, second = house.released(1), house.released(2)
    assert build_rollback_stack(house.books, "denials") == [first.id, second.id]
    go_back(house)
    assert build_rollback_stack(house.books, "denials") == [first.id]
    third = house.released(3)
    assert build_rollback_stack(house.books, "denials") == [first.id, third.id]
    assert [was_live(house.books, "denials", item.id) for item in (first, second, third)] == [True, True, True]
    assert not was_live(house.books, "denials", "0" * 12)
    assert build_rollback_stack(house.books, "other") == []


def test_only_what_came_to_an_end_counts(house: Released):
    first, other = house.released(1), house.train(2)
    phases: tuple[EntryPhase, ...] = ("intent", "failed")
    for phase in phases:
        write(house, "promote", phase, other)
    assert build_rollback_stack(house.books, "denials") == [first.id]
    assert not was_live(house.books, "denials", other.id)
    assert len(list_release_periods(house.books, "denials")) == 1


def test_the_switch_that_ended_last_is_told_if_it_failed(house: Released):
    assert find_last_failed_switch(house.books, "denials") is None
    first = house.released(1)
    assert find_last_failed_switch(house.books, "denials") is None
    write(house, "rollback", "failed", first, model="other")
    assert find_last_failed_switch(house.books, "denials") is None
    write(house, "rollback", "failed", first)
    failed = find_last_failed_switch(house.books, "denials")
    assert failed is not None
    assert (failed.action, failed.subject) == ("rollback", first.subject)
    write(house, "promote", "done", first)
    assert find_last_failed_switch(house.books, "denials") is None


def test_a_way_back_to_what_was_never_live_is_broken(house: Released):
    house.released(1)
    write(house, "rollback", "done", house.train(2))
    with pytest.raises(CorruptedError, match="was not live before"):
        build_rollback_stack(house.books, "denials")
