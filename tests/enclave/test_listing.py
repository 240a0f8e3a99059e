"""Listing of a source against the stored drops; each problem with a file is recorded once."""

from __future__ import annotations

import os

import pytest

from tests.builders.enclave import ProjectFixture
from wellspring.errors import NotFound, Refused

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


def test_file_dated_ahead_is_named_and_taken_once_it_has_not_changed(
    project: ProjectFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    toml = project.folder / "wellspring.toml"
    toml.write_text(toml.read_text().replace("settle_seconds = 0", "settle_seconds = 5"))
    source = project.vendor.source(settle_seconds=5, clock=project.clock)
    monkeypatch.setattr(project.vendor, "source", lambda **_: source)
    project.put("claim_1.csv", "C-1,a,1")
    path = project.vendor.outbox / "claim_1.csv"
    instant = project.clock.now().timestamp() + 7_200
    os.utime(path, (instant, instant))

    def listed() -> tuple[str, int]:
        (file,) = enclave.list_files("clearinghouse")
        return file.state, file.seconds_ahead

    with project.open_enclave() as enclave:
        assert listed() == ("still_writing", 7_200)
        project.clock.pass_(seconds=4)
        os.utime(path, (instant + 1, instant + 1))
        assert listed() == ("still_writing", 7_197)
        project.clock.pass_(seconds=4)
        with pytest.raises(Refused, match="still being written"):
            enclave.ingest_file("clearinghouse", "claim_1.csv", project.contract().digest)
        project.clock.pass_(seconds=1)
        assert listed() == ("new", 7_192)
        assert enclave.ingest_file("clearinghouse", "claim_1.csv", project.contract().digest).counts.admitted == 1
        assert listed()[0] == "ingested"
    assert project.list_entries("finding") == []


def test_file_dated_more_than_a_day_ahead_is_a_finding_until_it_is_ingested(project: ProjectFixture) -> None:
    project.put("claim_1.csv", "C-1,a,1")
    instant = project.clock.now().timestamp() + 3 * 86_400
    os.utime(project.vendor.outbox / "claim_1.csv", (instant, instant))
    with project.open_enclave() as enclave:
        (file,) = enclave.list_files("clearinghouse")
        assert file.state == "new"
        assert file.finding is not None
        assert file.finding.code == "future_dated"
        assert "3 days in the future" in file.finding.message
        enclave.ingest_file("clearinghouse", "claim_1.csv", project.contract().digest)
        (file,) = enclave.list_files("clearinghouse")
        assert (file.state, file.finding) == ("ingested", None)


def test_finding_is_another_one_when_the_file_changes(project: ProjectFixture) -> None:
    def finding_ids() -> list[str]:
        return [file.finding.id if file.finding else "" for file in enclave.list_files("clearinghouse")]

    project.put("other.csv", "C-1,a,1")
    project.put("claim_of_ann_219-09-9999.csv", "C-1,a,1")
    with project.open_enclave() as enclave:
        first = finding_ids()
        assert finding_ids() == first
        project.put("other.csv", "C-1,a,1", "C-2,a,1")
        hidden, replaced = finding_ids()
        assert first[0] == hidden
        assert first[1] != replaced
    facts = [entry.facts for entry in project.list_entries("finding")]
    assert [fact["finding"] for fact in facts] == [*first, replaced]
    assert [fact["source"] for fact in facts] == ["clearinghouse"] * 3
    assert [str(fact["shown"])[:9] for fact in facts] == ["(hidden) ", "other.csv", "other.csv"]


def test_each_change_of_an_ingested_file_is_a_finding_of_its_own(project: ProjectFixture) -> None:
    project.put("claim_1.csv", "C-1,a,1")
    with project.open_enclave() as enclave:
        enclave.ingest_file("clearinghouse", "claim_1.csv", project.contract().digest)
        for rows in (1, 2, 3):
            # The modification time stays the same.
            project.put("claim_1.csv", *["C-2,a,1"] * (rows + 1))
            (file,) = enclave.list_files("clearinghouse")
            assert file.state == "changed"
    assert [entry.facts["code"] for entry in project.list_entries("finding")] == ["changed"] * 3


def test_too_large_file_is_refused_under_its_finding(project: ProjectFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    project.put("claim_1.csv", "C-1,a,1", "C-2,a,1", "C-3,a,1")
    limited = project.vendor.source(max_bytes=30, clock=project.clock)
    monkeypatch.setattr(project.vendor, "source", lambda **_: limited)
    with project.open_enclave() as enclave:
        enclave.list_files("clearinghouse")
        with pytest.raises(Refused) as refused:
            enclave.ingest_file("clearinghouse", "claim_1.csv", project.contract().digest)
    (finding,) = project.list_entries("finding")
    assert refused.value.verdict is not None
    assert refused.value.verdict.subject == f"finding:{finding.facts['finding']}"
