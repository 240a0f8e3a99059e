"""The release of a change: who signed it, and whether it went live only after that."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.builders.changes import ChangedProject, build_change
from wellspring.records.changes import ChangeRelease
from wellspring.records.trust import Entry
from wellspring_verify.canonical import dumps_canonical
from wellspring_verify.chain import find_gaps
from wellspring_verify.changes import is_change
from wellspring_verify.entries import PackRef, parse_entry


def check(project: ChangedProject, change: ChangeRelease, entries: Sequence[Entry] | None = None) -> list[str]:
    """Return the gaps that the verifier reports about a change."""
    content = dumps_canonical(change.model_dump(mode="json", exclude={"id", "digest", "tenant", "known_since"}))
    assert hashlib.sha256(content).hexdigest() == change.digest
    lines = [
        parse_entry(index, dumps_canonical(entry.model_dump(mode="json")))
        for index, entry in enumerate(project.step.entries if entries is None else entries)
    ]
    gaps = find_gaps(change.subject, lines, {PackRef(change.subject, change.digest): content})
    return [gap.message for gap in gaps]


@pytest.fixture
def project(tmp_path: Path) -> ChangedProject:
    return ChangedProject(tmp_path)


def released(project: ChangedProject, **values: Any) -> ChangeRelease:
    first = project.adopt()
    change = project.propose(build_change(replaces=first.id, **values))
    if change.needs_second_person:
        project.approve(change)
    project.activate(change)
    return change


@pytest.mark.parametrize("second", [True, False])
def test_a_released_change_has_no_gap(project: ChangedProject, second: bool):
    assert check(project, released(project, needs_second_person=second)) == []


def test_a_proposal_that_nobody_approved_has_no_gap(project: ChangedProject):
    assert check(project, project.propose(build_change())) == []


def test_a_switch_before_the_approval_is_named(project: ChangedProject):
    change = released(project)
    entries = [entry for entry in project.step.entries if entry.action != "approve"]
    assert check(project, change, entries) == [f"'{change.subject}' went live before a second user approved it"]
    entries = [entry for entry in project.step.entries if entry.action not in {"approve", "propose"}]
    assert f"'{change.subject}' was never proposed" in check(project, change, entries)


def test_an_approval_by_the_proposer_or_with_another_key_is_named(project: ChangedProject):
    change = released(project)
    for facts, message in (
        ({"user": "user:ana"}, "'ana' approved '{}' and had proposed it"),
        ({"signature": "A" * 86 + "=="}, "the signature of 'bo', who approved '{}', is invalid"),
    ):
        entries = [
            entry.model_copy(update={"facts": {**entry.facts, **facts}}) if entry.action == "approve" else entry
            for entry in project.step.entries
        ]
        assert check(project, change, entries) == [
            message.format(change.subject),
            f"'{change.subject}' went live before a second user approved it",
        ]


def test_a_switch_to_other_content_is_named(project: ChangedProject):
    change = released(project)
    entries = [
        entry.model_copy(update={"outputs": (build_change(content="9" * 64).content_ref,)})
        if entry.action == "activate"
        else entry
        for entry in project.step.entries
    ]
    assert check(project, change, entries) == [f"it made something else live than '{change.subject}' says"]


def test_the_text_of_a_model_is_no_change():
    assert not is_change({"model": "denials", "kind": "threshold"})
