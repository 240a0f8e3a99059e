"""What the enclave does when it is asked, and asked again, and killed in between."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pyarrow as pa
import pytest

from tests.builders.enclave import House
from wellspring.errors import CorruptedError, NotFound, Refused
from wellspring.records.data import AdmissionResult

pytestmark = pytest.mark.live

GOOD = ("C-1,a,1.50", "C-2,b,2.00")
BAD = ("C-1,a,1.50", "C-2,new,2.00", "C-3,new,x", "C-4,b,4.00")


def whole(intake: AdmissionResult) -> tuple[int, int, int]:
    return intake.received, intake.admitted, intake.quarantined


def test_a_good_drop_leaves_as_tokens(house: House) -> None:
    house.put("claim_1.csv", *GOOD)
    seen: list[str] = []
    with house.opened() as enclave:
        intake = enclave.ingest_file(
            "clearinghouse", "claim_1.csv", house.contract().digest, progress=lambda stage, *_: seen.append(stage)
        )
    assert list(dict.fromkeys(seen)) == ["fetch", "parse", "validate", "tokenize"]
    assert whole(intake) == (2, 2, 0)
    assert intake.verdict.passed
    assert intake.table is not None
    assert intake.table.column_names == ["claim_id", "kind", "amount", "row_number"]
    assert all(token.startswith("claim_k1_") for token in intake.table["claim_id"].to_pylist())
    assert intake.drop.subject == f"drop:{intake.drop.id}"
    assert [entry.action for entry in house.list_entries()] == ["accept", "land", "admit"]
    landed, admitted = house.list_entries("land")[0], house.list_entries("admit")[0]
    assert landed.outputs == admitted.inputs[:1]
    assert landed.facts["retention_until"] == "2026-12-02T12:00:00.000000Z"
    assert admitted.outputs[0].digest == intake.rows_digest
    assert (admitted.facts["received"], admitted.facts["admitted"], admitted.facts["quarantined"]) == (2, 2, 0)


def test_nothing_of_a_person_stands_outside_the_original(house: House) -> None:
    house.put("claim_1.csv", *BAD)
    with house.opened() as enclave:
        intake = enclave.ingest_file("clearinghouse", "claim_1.csv", house.contract().digest)
        rows = enclave.list_quarantined()
    for path in (house.folder / ".wellspring").rglob("*"):
        assert not path.is_file() or b"C-2" not in path.read_bytes(), path
    assert "C-2" not in repr(intake) + repr(rows)


def test_known_bytes_are_not_fetched_again_and_leave_the_same(house: House) -> None:
    house.put("claim_1.csv", *BAD)
    with house.opened() as enclave:
        first = enclave.ingest_file("clearinghouse", "claim_1.csv", house.contract().digest)
    reads = house.vendor.reads
    house.clock.pass_(hours=1)
    with house.opened() as enclave:
        assert enclave.ingest_file("clearinghouse", "claim_1.csv", house.contract().digest) == first
        (house.vendor.outbox / "claim_1.csv").unlink()
        assert enclave.ingest_file("clearinghouse", "claim_1.csv", house.contract().digest) == first
    assert house.vendor.reads == reads
    assert len(house.list_entries()) == 3


def test_the_same_bytes_sent_again_are_the_same_drop(house: House) -> None:
    house.put("claim_1.csv", *GOOD)
    with house.opened() as enclave:
        first = enclave.ingest_file("clearinghouse", "claim_1.csv", house.contract().digest)
        os.utime(house.vendor.outbox / "claim_1.csv", (1_700_000_900, 1_700_000_900))
        assert enclave.ingest_file("clearinghouse", "claim_1.csv", house.contract().digest) == first
        assert [file.state for file in enclave.list_files("clearinghouse")] == ["ingested"]
    assert house.list_entries("finding") == []


@pytest.mark.parametrize("rows", [("C-1,a,1.50", "C-2,b,2.01"), ("C-1,a,1.50",)], ids=["same size", "other size"])
def test_a_drop_that_changed_under_its_name_is_a_finding(house: House, rows: tuple[str, ...]) -> None:
    house.put("claim_1.csv", *GOOD)
    with house.opened() as enclave:
        first = enclave.ingest_file("clearinghouse", "claim_1.csv", house.contract().digest)
        house.put("claim_1.csv", *rows)
        os.utime(house.vendor.outbox / "claim_1.csv", (1_700_000_900, 1_700_000_900))
        for _ in range(2):
            with pytest.raises(CorruptedError, match="other bytes"):
                enclave.ingest_file("clearinghouse", "claim_1.csv", house.contract().digest)
            assert [file.state for file in enclave.list_files("clearinghouse")] == ["changed"]
    (finding,) = house.list_entries("finding")
    assert (finding.subject, finding.facts["code"]) == (first.drop.subject, "changed")
    assert len(house.list_entries("land")) == 1


def test_a_drop_broken_whole_is_stopped_and_remembered(house: House) -> None:
    house.vendor.put("claim_1.csv", b"claim_id,amount\nC-1,1\nC-2,2\n")
    with house.opened() as enclave:
        first = enclave.ingest_file("clearinghouse", "claim_1.csv", house.contract().digest)
        assert enclave.ingest_file("clearinghouse", "claim_1.csv", house.contract().digest) == first
        assert [file.state for file in enclave.list_files("clearinghouse")] == ["ingested"]
    assert first.verdict.outcome == "fail"
    assert first.table is None
    assert whole(first) == (2, 0, 0)
    assert [reason.code for reason in first.reasons] == ["missing_column"]
    (admitted,) = house.list_entries("admit")
    assert (admitted.facts["outcome"], admitted.facts["received"]) == ("fail", 2)


def test_a_file_deleted_while_it_is_read_is_a_finding(house: House) -> None:
    house.put("claim_1.csv", *GOOD)
    house.vendor.on_read = lambda name, _: (house.vendor.outbox / name).unlink(missing_ok=True)
    with house.opened() as enclave:
        with pytest.raises(NotFound):
            enclave.ingest_file("clearinghouse", "claim_1.csv", house.contract().digest)
        with pytest.raises(NotFound):
            enclave.ingest_file("clearinghouse", "claim_2.csv", house.contract().digest)
    assert [entry.facts["code"] for entry in house.list_entries("finding")] == ["deleted_while_read"]
    assert house.originals() == []


def test_a_contract_that_the_project_does_not_have_is_refused(house: House) -> None:
    house.put("claim_1.csv", *GOOD)
    with house.opened() as enclave:
        with pytest.raises(Refused, match="no contract with the digest"):
            enclave.ingest_file("clearinghouse", "claim_1.csv", "0" * 64)
        with pytest.raises(NotFound, match="no source"):
            enclave.ingest_file("clearinghouze", "claim_1.csv", house.contract().digest)
    assert house.vendor.reads == 0


def test_a_file_of_no_contract_is_refused(house: House) -> None:
    house.put("other.csv", *GOOD)
    with house.opened() as enclave, pytest.raises(Refused, match="fits no contract"):
        enclave.ingest_file("clearinghouse", "other.csv", house.contract().digest)


def test_a_contract_that_loosens_is_refused_and_recorded(house: House) -> None:
    house.put("claim_1.csv", *GOOD)
    house.put("claim_2.csv", "C-9,a,1")
    with house.opened() as enclave:
        enclave.ingest_file("clearinghouse", "claim_1.csv", house.contract().digest)
        looser = house.promise(version="1.1.0", egress="plain")
        for _ in range(2):
            with pytest.raises(Refused, match="protects less") as refused:
                enclave.ingest_file("clearinghouse", "claim_2.csv", looser.digest)
        assert refused.value.verdict is not None
        assert refused.value.verdict.outcome == "fail"
    assert [entry.subject for entry in house.list_entries("accept", "refused")] == ["contract:claim@1.1.0"] * 2
    assert len(house.list_entries("land")) == 1


def test_rows_that_wait_leave_once_when_the_contract_knows_better(house: House) -> None:
    house.put("claim_1.csv", *BAD)
    with house.opened() as enclave:
        first = enclave.ingest_file("clearinghouse", "claim_1.csv", house.contract().digest)
        assert whole(first) == (4, 2, 2)
        assert [row.row_number for row in enclave.list_quarantined(first.drop.id)] == [2, 3]
        with pytest.raises(Refused, match="none of the 2 rows"):
            enclave.replay_quarantined(first.drop.id, house.contract().digest)
        house.clock.pass_(days=1)
        better = house.promise(version="1.1.0", kinds=("a", "b", "new"))
        second = enclave.replay_quarantined(first.drop.id, better.digest)
        assert whole(second) == (2, 1, 1)
        assert second.drop.replay_number == 1
        assert second.drop.known_since == first.drop.known_since + timedelta(days=1)
        assert second.table is not None
        assert second.table["row_number"].to_pylist() == [2]
        assert enclave.replay_quarantined(first.drop.id, better.digest) == second, "the same part, until it is settled"
        assert len(enclave.list_quarantined()) == 2
        for _ in range(2):
            enclave.confirm_published(first.drop.id, 1)
        (row,) = enclave.list_quarantined()
        assert [reason.code for reason in row.reasons] == ["type"]
        assert row.values == {"claim_id": "***", "kind": "new", "amount": "***"}
        with pytest.raises(Refused, match="none of the 1 rows"):
            enclave.replay_quarantined(first.drop.id, better.digest)
        with pytest.raises(NotFound):
            enclave.confirm_published(first.drop.id, 2)
    with house.opened() as enclave:
        # The tokens of part 0 were made under 1.0.0, which is no longer in the project.
        assert enclave.ingest_file("clearinghouse", "claim_1.csv", better.digest) == first
    assert [entry.facts["replay_number"] for entry in house.list_entries("admit")] == [0, 1]
    assert len(house.list_entries("settle")) == 1


def test_a_row_whose_key_has_left_never_leaves_by_replay(house: House) -> None:
    house.put("claim_1.csv", "C-1,new,1", "C-1,a,2", "C-2,new,3", "C-2,new,4")
    with house.opened() as enclave:
        first = enclave.ingest_file("clearinghouse", "claim_1.csv", house.contract().digest)
        better = house.promise(version="1.1.0", kinds=("a", "b", "new"))
        left: list[int] = first.table["row_number"].to_pylist() if first.table is not None else []
        second = enclave.replay_quarantined(first.drop.id, better.digest)
        assert second.table is not None
        left += second.table["row_number"].to_pylist()
        enclave.confirm_published(first.drop.id, 1)
        with pytest.raises(Refused):
            enclave.replay_quarantined(first.drop.id, better.digest)
    lines = ["C-1", "C-1", "C-2", "C-2"]
    keys = [lines[number - 1] for number in left]
    assert len(keys) == len(set(keys)), "two rows with one key left"


def test_tokens_of_one_value_are_the_same_for_ever(house: House) -> None:
    house.put("claim_1.csv", *GOOD)
    house.put("claim_2.csv", *GOOD[:1])
    with house.opened() as enclave:
        one = enclave.ingest_file("clearinghouse", "claim_1.csv", house.contract().digest).table
    with house.opened() as enclave:
        two = enclave.ingest_file("clearinghouse", "claim_2.csv", house.contract().digest).table
    assert isinstance(one, pa.Table)
    assert isinstance(two, pa.Table)
    assert one["claim_id"][0] == two["claim_id"][0]


def test_a_changed_original_never_leaves(house: House) -> None:
    house.put("claim_1.csv", *GOOD)
    with house.opened() as enclave:
        first = enclave.ingest_file("clearinghouse", "claim_1.csv", house.contract().digest)
        path = house.folder / ".wellspring/enclave/originals" / first.drop.id
        path.write_bytes(path.read_bytes()[:-1] + b"x")
        with pytest.raises(CorruptedError):
            enclave.ingest_file("clearinghouse", "claim_1.csv", house.contract().digest)


def test_a_part_is_never_answered_with_other_rows(house: House) -> None:
    house.put("claim_1.csv", *GOOD)
    with house.opened() as enclave:
        enclave.ingest_file("clearinghouse", "claim_1.csv", house.contract().digest)
        with house.store._transaction() as run:
            # Lost token keys would make other tokens: rows that join with nothing that is published.
            run.execute("DELETE FROM token_keys")
        with pytest.raises(CorruptedError, match="no longer judged as it was"):
            enclave.ingest_file("clearinghouse", "claim_1.csv", house.contract().digest)


def test_an_unknown_drop_is_not_found(house: House) -> None:
    with house.opened() as enclave:
        for ask in (
            lambda: enclave.replay_quarantined("clearinghouse-0", house.contract().digest),
            lambda: enclave.confirm_published("clearinghouse-0", 0),
            lambda: enclave.list_quarantined("clearinghouse-0"),
        ):
            with pytest.raises(NotFound):
                ask()


def test_the_act_under_way_ends_and_no_other_begins(house: House) -> None:
    house.put("claim_1.csv", *GOOD)
    reading, go_on = threading.Event(), threading.Event()

    def hold(_name: str, _offset: int) -> None:
        reading.set()
        go_on.wait(10)

    house.vendor.on_read = hold
    digest = house.contract().digest
    with house.opened() as enclave, ThreadPoolExecutor(3) as others:
        first = others.submit(enclave.ingest_file, "clearinghouse", "claim_1.csv", digest)
        assert reading.wait(10)
        resting = threading.Thread(target=enclave.drain)
        resting.start()
        assert resting.is_alive()
        go_on.set()
        assert first.result(10).admitted == 2
        resting.join(10)
        late = threading.Thread(target=enclave.list_quarantined, daemon=True)
        late.start()
        late.join(0.3)
        assert late.is_alive(), "nobody gets a turn any more"
    assert [entry.action for entry in house.list_entries()] == ["accept", "land", "admit"]


INTAKE = ("ingest_file", "clearinghouse", "claim_1.csv")


@pytest.mark.crash
@pytest.mark.parametrize(
    "point",
    ["enclave.land:original_written", "enclave.land:recorded", "enclave.admit:quarantined", "enclave.admit:recorded"],
)
def test_an_intake_killed_anywhere_is_told_once(house: House, point: str) -> None:
    house.put("claim_1.csv", *BAD)
    call, *arguments = (*INTAKE, house.contract().digest)
    house.kill(point, call, *arguments)
    house.clock.pass_(minutes=1)
    with house.opened() as enclave:
        assert house.originals() == [] if point == "enclave.land:original_written" else len(house.originals()) == 1
        (listed,) = enclave.list_files("clearinghouse")
        assert listed.state == ("ingested" if point.startswith("enclave.admit") else "new")
        intake = enclave.ingest_file("clearinghouse", "claim_1.csv", house.contract().digest)
    assert whole(intake) == (4, 2, 2)
    assert [entry.action for entry in house.list_entries()] == ["accept", "land", "admit"]
    assert house.list_entries("admit")[0].outputs[0].digest == intake.rows_digest
    assert house.originals() == [intake.drop.id]
    with house.opened() as enclave:
        assert enclave.ingest_file("clearinghouse", "claim_1.csv", house.contract().digest) == intake


@pytest.mark.crash
@pytest.mark.parametrize("point", ["enclave.replay:chosen", "enclave.replay:recorded", "enclave.settle:confirmed"])
def test_a_replay_killed_anywhere_is_told_once(house: House, point: str) -> None:
    house.put("claim_1.csv", *BAD)
    with house.opened() as enclave:
        first = enclave.ingest_file("clearinghouse", "claim_1.csv", house.contract().digest)
        better = house.promise(version="1.1.0", kinds=("a", "b", "new"))
        if point == "enclave.settle:confirmed":
            enclave.replay_quarantined(first.drop.id, better.digest)
    if point == "enclave.settle:confirmed":
        house.kill(point, "confirm_published", first.drop.id, 1)
    else:
        house.kill(point, "replay_quarantined", first.drop.id, better.digest)
        with house.opened() as enclave:
            assert whole(enclave.replay_quarantined(first.drop.id, better.digest)) == (2, 1, 1)
    with house.opened() as enclave:
        enclave.confirm_published(first.drop.id, 1)
        assert [row.row_number for row in enclave.list_quarantined()] == [3]
    assert [entry.facts["replay_number"] for entry in house.list_entries("admit")] == [0, 1]
    assert [entry.facts["replay_number"] for entry in house.list_entries("settle")] == [1]
