"""A story refers to sealed parts: sealing it costs its own entries, and its pack has the entries of all parts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.builders.ledger import JournalStep, Ledger, tell_drop
from tests.builders.pack_checks import check
from tests.builders.packs import Built, built_with_parts, seal, sealed_parts
from wellspring.compliance.evidence import collect_story
from wellspring.compliance.sealed_parts import parse_manifest


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    item = Ledger(tmp_path / "project")
    for number in range(4):
        publish(item, number)
    return item


def publish(ledger: Ledger, number: int, contract: str = "medical_claim") -> None:
    """Publish one drop in an edition of its own, and seal the edition and its table."""
    tell_drop(
        ledger, f"d{number}", edition=f"e{number}", parent=f"e{number - 1}" if number else None, contract=contract
    )
    ledger.sequencer.integrate()
    for subject in (f"edition:e{number}", f"dataset:{contract}"):
        seal(ledger, subject)


def subjects(built: Built) -> set[str]:
    entries = json.loads((built.folder / "story.json").read_bytes())["entries"]
    return {entry["subject"] for entry in entries}


def test_an_edition_seals_its_own_entries_and_refers_to_its_parent(ledger: Ledger):
    seals = ledger.index.list_entries(action="seal")
    assert [item.entry.facts["entries"] for item in seals] == [6] * len(seals)
    story = collect_story(ledger.index, "edition:e3", sealed_parts(ledger))
    assert [part.subject for part in story.parts] == ["edition:e2"]
    assert {item.entry.subject for item in story.entries} == {"drop:d3", "edition:e3"}


@pytest.mark.parametrize("subject", ["edition:e3", "dataset:medical_claim"])
def test_a_pack_has_the_entries_of_all_parts_and_verifies(tmp_path: Path, subject: str):
    built = built_with_parts(tmp_path, subject)
    report = check(built)
    assert (report.outcome, report.findings, report.subject) == (0, (), subject)
    assert {f"drop:d{number}" for number in range(4)} <= subjects(built)
    ledger = Ledger(built.project)
    whole = collect_story(ledger.index, subject)
    names = {f"entries/{item.index:012d}.json" for item in whole.entries}
    assert names == {name for name in built.files() if name.startswith("entries/")}
    assert len([name for name in built.files() if name.startswith("parts/")]) == 3


def test_a_dataset_has_what_came_after_its_latest_part(ledger: Ledger):
    with JournalStep(ledger, "enclave")("expire", "drop:d0", facts={"discarded": 2}):
        pass
    publish(ledger, 4, "eligibility")
    story = seal(ledger, "dataset:medical_claim")
    assert {item.entry.subject for item in story.entries} == {"drop:d0"}
    assert [part.subject for part in story.parts] == ["dataset:medical_claim"]


def test_a_dataset_without_news_is_sealed_once(ledger: Ledger):
    count = len(ledger.index.list_entries(action="seal"))
    story = seal(ledger, "dataset:medical_claim")
    assert len(ledger.index.list_entries(action="seal")) == count
    assert {item.entry.subject for item in story.entries} == {"drop:d3", "edition:e3"}


def test_an_edition_with_later_entries_is_followed_again(ledger: Ledger):
    with JournalStep(ledger, "worker")("materialize", "edition:e2"):
        pass
    publish(ledger, 4)
    whole = collect_story(ledger.index, "edition:e3", sealed_parts(ledger))
    assert "materialize" in {item.entry.action for item in whole.entries}
    assert [part.subject for part in whole.parts] == ["edition:e1"]


def test_a_story_before_the_seal_of_an_edition_does_not_refer_to_it(ledger: Ledger):
    sealed = sealed_parts(ledger)
    first = ledger.index.list_entries(subject="edition:e1", action="seal")[0]
    assert sealed.find_first("edition:e1", limit=first.index - 1) is None
    part = sealed.find_first("edition:e1", limit=first.index)
    assert part is not None
    assert part.digest == first.entry.outputs[0].digest


def test_a_part_whose_manifest_is_gone_is_collected_again(ledger: Ledger, tmp_path: Path):
    part = sealed_parts(ledger).find_first("edition:e2")
    assert part is not None
    (tmp_path / "project" / "sealed" / part.digest[:2] / part.digest[2:]).unlink()
    story = collect_story(ledger.index, "edition:e3", sealed_parts(ledger))
    assert [item.subject for item in story.parts] == ["edition:e1"]
    assert {"drop:d2", "edition:e2"} <= {item.entry.subject for item in story.entries}


def test_the_manifest_names_the_parts_by_digest(tmp_path: Path):
    built = built_with_parts(tmp_path)
    contents = parse_manifest((built.folder / "manifest.json").read_bytes())
    assert list(contents.parts) == ["edition:e2"]
    assert (built.folder / "parts" / f"{contents.parts['edition:e2']}.json").is_file()
    assert "story.json" not in contents.files
