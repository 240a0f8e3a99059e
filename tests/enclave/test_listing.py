"""Listing of a source against the stored drops; each problem with a file is recorded once."""

from __future__ import annotations

import os

import pytest

from tests.builders.enclave import ProjectFixture
from wellspring.errors import NotFound

pytestmark = pytest.mark.live


def states(project: ProjectFixture) -> dict[str, str]:
    with project.open_enclave() as enclave:
        return {file.name: file.state for file in enclave.list_files("clearinghouse")}


def test_each_listed_file_has_a_state(project: ProjectFixture) -> None:
    project.put("claim_1.csv", "C-1,a,1")
    project.put("other.csv", "C-1,a,1")
    project.vendor.put("claim_2.csv.part", b"")
    project.vendor.put(".claim_3.csv", b"")
    assert states(project) == {"claim_1.csv": "new", "other.csv": "unmatched"}
    with project.open_enclave() as enclave:
        drop = enclave.ingest_file("clearinghouse", "claim_1.csv", project.contract().digest).drop
        listed = {file.name: file for file in enclave.list_files("clearinghouse")}
    assert (listed["claim_1.csv"].state, listed["claim_1.csv"].drop) == ("ingested", drop.id)
    assert listed["claim_1.csv"].contract == "claim"
    assert listed["other.csv"].contract is None


def test_file_without_contract_is_one_finding(project: ProjectFixture) -> None:
    project.put("other.csv", "C-1,a,1")
    for _ in range(2):
        states(project)
    (finding,) = project.list_entries("finding")
    assert (finding.facts["code"], finding.facts["name"]) == ("no_contract", "other.csv")
    assert finding.subject.startswith("file:clearinghouse/")
    assert project.vendor.reads == 0


def test_file_name_with_personal_data_is_masked_and_not_ingested(project: ProjectFixture) -> None:
    name = "claim_Fausto_Testperson_1950-01-01_219-09-9999.csv"
    project.put(name, "C-1,a,1")
    with project.open_enclave() as enclave:
        (listed,) = enclave.list_files("clearinghouse")
        with pytest.raises(NotFound) as refused:
            enclave.ingest_file("clearinghouse", name, project.contract().digest)
    assert listed.state == "unmatched"
    (finding,) = project.list_entries("finding")
    assert finding.facts["code"] == "personal_name"
    assert listed.name == f"(hidden) {finding.subject.partition('/')[2]}.csv"
    for part in ("219-09-9999", "Fausto", "1950", "claim_"):
        assert part not in listed.name + refused.value.what + finding.model_dump_json()
    assert project.vendor.reads == 0


def test_file_just_written_is_still_writing(project: ProjectFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    project.put("claim_1.csv", "C-1,a,1")
    instant = project.clock.now().timestamp()
    os.utime(project.vendor.outbox / "claim_1.csv", (instant, instant))
    waiting = project.vendor.source(settle_seconds=5, clock=project.clock)
    monkeypatch.setattr(project.vendor, "source", lambda **_: waiting)
    assert states(project) == {"claim_1.csv": "still_writing"}
    project.clock.pass_(seconds=6)
    assert states(project) == {"claim_1.csv": "new"}


def test_unchanged_file_with_new_time_is_fetched_once(project: ProjectFixture) -> None:
    project.put("claim_1.csv", "C-1,a,1")
    with project.open_enclave() as enclave:
        enclave.ingest_file("clearinghouse", "claim_1.csv", project.contract().digest)
    os.utime(project.vendor.outbox / "claim_1.csv", (1_700_000_900, 1_700_000_900))
    reads = project.vendor.reads
    assert states(project) == {"claim_1.csv": "ingested"}
    assert project.vendor.reads > reads
    reads = project.vendor.reads
    assert states(project) == {"claim_1.csv": "ingested"}
    assert project.vendor.reads == reads


def test_file_with_control_characters_in_its_name_is_a_finding(project: ProjectFixture) -> None:
    project.put("claim_1\n2.csv", "C-1,a,1")
    project.put("claim_2.csv", "C-1,a,1")
    assert states(project) == {"claim_1\\n2.csv": "unmatched", "claim_2.csv": "new"}
    (finding,) = project.list_entries("finding")
    assert finding.facts["code"] == "unsafe_name"
    assert "name" not in finding.facts
    assert project.vendor.reads == 0


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("..claim_1.csv", "..claim_1.csv"),
        ("...", "..."),
        ("..\\..\\claim_1.csv", "..\\..\\claim_1.csv"),
        (".claim\\1.csv", ".claim\\1.csv"),
        ("claim_1\\.part", "claim_1\\.part"),
        ("claim_1.csv\n2 ok", "claim_1.csv\\n2 ok"),
        (".\x1b]0;owned\x07claim_1.csv", ".\\x1b]0;owned\\x07claim_1.csv"),
        ("claim_\u202evsc.1", "claim_\\u202evsc.1"),
        ("claim_\u200b1.csv", "claim_\\u200b1.csv"),
        ("claim_\u20281.csv", "claim_\\u20281.csv"),
        ("claim_\x9b31m1.csv", "claim_\\x9b31m1.csv"),
    ],
)
def test_unsafe_name_is_a_finding_and_never_vanishes(project: ProjectFixture, name: str, shown: str) -> None:
    project.put("claim_2.csv", "C-1,a,1")
    (project.vendor.outbox / "claim_2.csv").rename(project.vendor.outbox / name)
    assert states(project) == {shown: "unmatched"}
    assert [entry.facts["code"] for entry in project.list_entries("finding")] == ["unsafe_name"]


def test_an_identifier_that_a_control_character_splits_is_hidden(project: ProjectFixture) -> None:
    project.put("claim_of_ann_219-09\n-9999.csv", "C-1,a,1")
    (name,) = states(project)
    assert name.startswith("(hidden) ")
    assert "9999" not in name
