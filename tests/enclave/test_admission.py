"""Admission of drops and replays: copies, contradictions, rejected drops, and repetitions."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pyarrow as pa
import pytest

from tests.builders import drops
from tests.builders.enclave import ProjectFixture
from wellspring.data.intake.known_rows import summarize_known_rows
from wellspring.errors import CorruptedError, NotFound, Refused
from wellspring.records.ingestion import AdmissionResult

pytestmark = pytest.mark.live

GOOD = ("C-1,a,1.50", "C-2,b,2.00")
BAD = ("C-1,a,1.50", "C-2,new,2.00", "C-3,new,x", "C-4,b,4.00")


def whole(intake: AdmissionResult) -> tuple[int, int, int]:
    return intake.counts.received, intake.counts.admitted, intake.counts.quarantined


def test_rejected_drop_is_recorded(project: ProjectFixture) -> None:
    project.vendor.put("claim_1.csv", b"claim_id,amount\nC-1,1\nC-2,2\n")
    with project.open_enclave() as enclave:
        first = enclave.ingest_file("clearinghouse", "claim_1.csv", project.contract().digest)
        assert enclave.ingest_file("clearinghouse", "claim_1.csv", project.contract().digest)[:2] == first[:2]
        assert [file.state for file in enclave.list_files("clearinghouse")] == ["ingested"]
    assert first.counts.verdict.outcome == "fail"
    assert first.rows is None
    assert whole(first) == (2, 0, 0)
    assert [reason.code for reason in first.counts.reasons] == ["missing_column"]
    (admitted,) = project.list_entries("admit")
    assert (admitted.facts["outcome"], admitted.facts["received"]) == ("fail", 2)


def test_quarantined_rows_leave_once_under_a_corrected_contract(project: ProjectFixture) -> None:
    project.put("claim_1.csv", *BAD)
    with project.open_enclave() as enclave:
        first = enclave.ingest_file("clearinghouse", "claim_1.csv", project.contract().digest)
        assert whole(first) == (4, 2, 2)
        assert [row.row_number for row in enclave.list_quarantined(first.drop.id)] == [2, 3]
        with pytest.raises(Refused, match="all 2 quarantined rows"):
            enclave.replay_quarantined(first.drop.id, project.contract().digest)
        project.clock.pass_(days=1)
        better = project.release_contract(enclave, version="1.1.0", kinds=("a", "b", "new"))
        second = enclave.replay_quarantined(first.drop.id, better.digest)
        assert whole(second) == (2, 1, 1)
        assert second.drop.replay_number == 1
        assert second.drop.known_since == first.drop.known_since + timedelta(days=1)
        assert drops.read_rows(second)["row_number"].to_pylist() == [2]
        assert enclave.replay_quarantined(first.drop.id, better.digest)[:2] == second[:2], (
            "the same part, until it is settled"
        )
        assert len(enclave.list_quarantined()) == 2
        for _ in range(2):
            enclave.confirm_published(first.drop.id, 1)
        (row,) = enclave.list_quarantined()
        assert [reason.code for reason in row.reasons] == ["type"]
        assert row.values == {"claim_id": "***", "kind": "new", "amount": "***"}
        with pytest.raises(Refused, match="all 1 quarantined rows"):
            enclave.replay_quarantined(first.drop.id, better.digest)
        with pytest.raises(NotFound):
            enclave.confirm_published(first.drop.id, 2)
    with project.open_enclave() as enclave:
        # The tokens of part 0 were made under 1.0.0, which is no longer in the project.
        assert enclave.ingest_file("clearinghouse", "claim_1.csv", better.digest)[:2] == first[:2]
    assert [entry.facts["replay_number"] for entry in project.list_entries("admit")] == [0, 1]
    assert len(project.list_entries("settle")) == 1


def test_rows_that_contradict_each_other_wait_until_one_is_left(project: ProjectFixture) -> None:
    project.put("claim_1.csv", "C-1,new,1", "C-1,a,2", "C-2,new,3", "C-2,new,3", "C-3,a,1")
    with project.open_enclave() as enclave:
        first = enclave.ingest_file("clearinghouse", "claim_1.csv", project.contract().digest)
        better = project.release_contract(enclave, version="1.1.0", kinds=("a", "b", "new"))
        assert drops.read_rows(first)["row_number"].to_pylist() == [5]
        assert first.counts.copies == {first.drop.id: 1}
        second = enclave.replay_quarantined(first.drop.id, better.digest)
        assert drops.read_rows(second)["row_number"].to_pylist() == [3]
        enclave.confirm_published(first.drop.id, 1)
        with pytest.raises(Refused, match="still invalid"):
            enclave.replay_quarantined(first.drop.id, better.digest)


def test_the_same_bytes_under_another_name_are_copies(project: ProjectFixture) -> None:
    project.put("claim_1.csv", *GOOD)
    project.put("claim_2.csv", *GOOD)
    with project.open_enclave() as enclave:
        digest = project.contract().digest
        first = enclave.ingest_file("clearinghouse", "claim_1.csv", digest)
        assert enclave.read_file_keys("clearinghouse", "claim_2.csv", digest) is None
        second = enclave.ingest_file("clearinghouse", "claim_2.csv", digest)
        assert enclave.ingest_file("clearinghouse", "claim_2.csv", digest) == second
    assert (second.rows, whole(second), second.counts.copies) == (None, (2, 0, 0), {first.drop.id: 2})
    assert project.list_entries("admit")[-1].facts["copies"] == {first.drop.id: 2}


def test_rows_that_were_discarded_from_quarantine_are_taken_when_they_are_sent_again(project: ProjectFixture) -> None:
    project.put("claim_1.csv", *BAD)
    with project.open_enclave() as enclave:
        first = enclave.ingest_file("clearinghouse", "claim_1.csv", project.contract().digest)
        landed = drops.read_rows(first).append_column("drop_id", pa.array([first.drop.id] * 2))
        enclave.confirm_published(first.drop.id, 0)
        project.clock.pass_(days=8)
        better = project.release_contract(enclave, version="1.1.0", kinds=("a", "b", "new"))
        project.put("claim_2.csv", *BAD)
        assert enclave.read_file_keys("clearinghouse", "claim_2.csv", better.digest) is not None
        earlier = summarize_known_rows(better, landed.to_batches())
        second = enclave.ingest_file("clearinghouse", "claim_2.csv", better.digest, known_rows=earlier)
    assert (whole(second), second.counts.copies) == ((4, 1, 1), {first.drop.id: 2})
    assert drops.read_rows(second)["row_number"].to_pylist() == [2]


def test_rows_of_an_earlier_drop_are_named_by_the_caller(project: ProjectFixture) -> None:
    project.put("claim_1.csv", "C-1,a,1", "C-2,a,2")
    project.put("claim_2.csv", "C-1,a,1", "C-2,b,2", "C-3,a,3")
    contract = project.contract()
    with project.open_enclave() as enclave:
        first = enclave.ingest_file("clearinghouse", "claim_1.csv", contract.digest)
        landed = drops.read_rows(first)
        keys = enclave.read_file_keys("clearinghouse", "claim_2.csv", contract.digest)
        assert keys is not None
        assert keys.read_all()["claim_id"].to_pylist()[:2] == landed["claim_id"].to_pylist()
        landed = landed.append_column("drop_id", pa.array([first.drop.id] * 2))
        earlier = summarize_known_rows(contract, landed.to_batches())
        second = enclave.ingest_file("clearinghouse", "claim_2.csv", contract.digest, known_rows=earlier)
        again = enclave.ingest_file("clearinghouse", "claim_2.csv", contract.digest)
    assert (whole(second), second.counts.copies) == ((3, 1, 1), {first.drop.id: 1})
    assert again.counts == second.counts
    assert [drops.read_rows(part)["row_number"].to_pylist() for part in (second, again)] == [[3], [3]]


def test_rows_of_a_drop_that_the_enclave_does_not_have_are_no_copies(project: ProjectFixture) -> None:
    project.put("claim_1.csv", "C-1,a,1", "C-2,a,2")
    contract = project.contract()
    with project.open_enclave() as enclave:
        keys = enclave.read_file_keys("clearinghouse", "claim_1.csv", contract.digest)
        assert keys is not None
        tokens = keys.read_all()["claim_id"]
        claimed = pa.table(
            {
                "claim_id": tokens,
                "kind": ["a", "a"],
                "amount": [Decimal(1), Decimal(2)],
                "drop_id": ["no-such-drop"] * 2,
            }
        )
        earlier = summarize_known_rows(contract, claimed.combine_chunks().to_batches())
        admission = enclave.ingest_file("clearinghouse", "claim_1.csv", contract.digest, known_rows=earlier)
    assert (whole(admission), admission.counts.copies) == ((2, 2, 0), {})


def test_repeated_part_with_other_rows_is_refused(project: ProjectFixture) -> None:
    project.put("claim_1.csv", *GOOD)
    with project.open_enclave() as enclave:
        enclave.ingest_file("clearinghouse", "claim_1.csv", project.contract().digest)
        with project.store._transaction() as run:
            # Lost token keys would make other tokens: rows that join with nothing that is published.
            run.execute("DELETE FROM token_keys")
        with pytest.raises(CorruptedError, match="repeating the admission gave other rows"):
            enclave.ingest_file("clearinghouse", "claim_1.csv", project.contract().digest)


def test_a_replay_is_repeated_by_its_own_contract_after_the_project_has_another(project: ProjectFixture) -> None:
    project.put("claim_1.csv", *BAD)
    with project.open_enclave() as enclave:
        first = enclave.ingest_file("clearinghouse", "claim_1.csv", project.contract().digest)
        better = project.release_contract(enclave, version="1.1.0", kinds=("a", "b", "new"))
        second = enclave.replay_quarantined(first.drop.id, better.digest)
        newer = project.release_contract(enclave, version="1.2.0", kinds=("a", "b", "new", "other"))
        for digest in (better.digest, newer.digest):
            assert enclave.replay_quarantined(first.drop.id, digest)[:2] == second[:2]
            assert enclave.read_quarantined_keys(first.drop.id, digest) is None


@pytest.mark.parametrize(
    ("suffix", "content"), [("", "5\n"), (".keys", "5\n"), ("", "1\nFatal Python error: Aborted\n")]
)
def test_drop_in_whose_reading_the_process_ended_too_often_is_rejected_and_others_go_on(
    project: ProjectFixture, suffix: str, content: str
) -> None:
    project.put("claim_1.csv", *GOOD)
    project.put("claim_2.csv", "C-9,a,1.00")
    with project.open_enclave() as enclave:
        attempts = project.dependencies.folder.parent / "attempts"
        enclave.read_file_keys("clearinghouse", "claim_1.csv", project.contract().digest)
        (land,) = project.list_entries("land")
        attempts.mkdir(exist_ok=True)
        (attempts / f"{land.subject.removeprefix('drop:')}{suffix}").write_text(content)
        rejected = enclave.ingest_file("clearinghouse", "claim_1.csv", project.contract().digest)
        assert [reason.code for reason in rejected.counts.reasons] == ["unprocessable"]
        assert rejected.counts.verdict.outcome == "fail"
        assert "ended unexpectedly" in rejected.counts.reasons[0].message
        admitted = enclave.ingest_file("clearinghouse", "claim_2.csv", project.contract().digest)
        assert whole(admitted) == (1, 1, 0)


@pytest.mark.parametrize(
    ("suffix", "content"), [("", "5\n"), (".keys", "5\n"), ("", "1\nFatal Python error: Aborted\n")]
)
def test_replay_in_which_the_process_ended_too_often_is_refused_until_the_contract_changes(
    project: ProjectFixture, suffix: str, content: str
) -> None:
    project.put("claim_1.csv", *BAD)
    with project.open_enclave() as enclave:
        first = enclave.ingest_file("clearinghouse", "claim_1.csv", project.contract().digest)
        better = project.release_contract(enclave, version="1.1.0", kinds=("a", "b", "new"))
        attempts = project.dependencies.folder.parent / "attempts"
        (attempts / f"{first.drop.id}-{better.digest[:16]}{suffix}").write_text(content)
        for _ in range(2):
            with pytest.raises(Refused, match="ended each time"):
                enclave.replay_quarantined(first.drop.id, better.digest)
        newer = project.release_contract(enclave, version="1.2.0", kinds=("a", "b", "new"))
        assert enclave.replay_quarantined(first.drop.id, newer.digest).counts.admitted == 1
    assert len(project.list_entries("admit", "refused")) == 2
