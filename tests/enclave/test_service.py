"""Operations of the enclave: first calls, repeated calls, and calls that are killed."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.builders import drops
from tests.builders.enclave import ProjectFixture
from wellspring.data.formats.parsed import MAX_COLUMNS
from wellspring.errors import CorruptedError, NotFound, Refused
from wellspring.records.ingestion import AdmissionResult

pytestmark = pytest.mark.live

GOOD = ("C-1,a,1.50", "C-2,b,2.00")
BAD = ("C-1,a,1.50", "C-2,new,2.00", "C-3,new,x", "C-4,b,4.00")


def whole(intake: AdmissionResult) -> tuple[int, int, int]:
    return intake.counts.received, intake.counts.admitted, intake.counts.quarantined


def test_valid_drop_leaves_as_tokens(project: ProjectFixture) -> None:
    project.put("claim_1.csv", *GOOD)
    observed: list[str] = []
    with project.open_enclave() as enclave:
        intake = enclave.ingest_file(
            "clearinghouse", "claim_1.csv", project.contract().digest, progress=lambda stage, *_: observed.append(stage)
        )
    assert list(dict.fromkeys(observed)) == ["fetch", "compare", "validate"]
    assert whole(intake) == (2, 2, 0)
    assert intake.counts.verdict.passed
    table = drops.read_rows(intake)
    assert table.column_names == ["claim_id", "kind", "amount", "row_number"]
    assert all(token.startswith("claim_k1_") for token in table["claim_id"].to_pylist())
    assert intake.drop.subject == f"drop:{intake.drop.id}"
    assert [entry.action for entry in project.list_entries()] == ["accept", "land", "admit"]
    landed, admitted = project.list_entries("land")[0], project.list_entries("admit")[0]
    assert landed.outputs == admitted.inputs[:1]
    assert landed.facts["retention_until"] == "2026-12-02T12:00:00.000000Z"
    assert admitted.outputs[0].digest == intake.counts.rows_digest
    assert (admitted.facts["received"], admitted.facts["admitted"], admitted.facts["quarantined"]) == (2, 2, 0)


def test_personal_data_is_only_in_the_encrypted_original(project: ProjectFixture) -> None:
    project.put("claim_1.csv", *BAD)
    with project.open_enclave() as enclave:
        intake = enclave.ingest_file("clearinghouse", "claim_1.csv", project.contract().digest)
        rows = enclave.list_quarantined()
    for path in (project.folder / ".wellspring").rglob("*"):
        assert not path.is_file() or b"C-2" not in path.read_bytes(), path
    assert "C-2" not in repr(intake) + repr(rows)


def test_repeated_ingest_does_not_fetch_again_and_returns_same_rows(project: ProjectFixture) -> None:
    project.put("claim_1.csv", *BAD)
    with project.open_enclave() as enclave:
        first = enclave.ingest_file("clearinghouse", "claim_1.csv", project.contract().digest)
    reads = project.vendor.reads
    project.clock.pass_(hours=1)
    with project.open_enclave() as enclave:
        assert enclave.ingest_file("clearinghouse", "claim_1.csv", project.contract().digest)[:2] == first[:2]
        (project.vendor.outbox / "claim_1.csv").unlink()
        assert enclave.ingest_file("clearinghouse", "claim_1.csv", project.contract().digest)[:2] == first[:2]
    assert project.vendor.reads == reads
    assert len(project.list_entries()) == 3


def test_the_same_bytes_sent_again_are_the_same_drop(project: ProjectFixture) -> None:
    project.put("claim_1.csv", *GOOD)
    with project.open_enclave() as enclave:
        first = enclave.ingest_file("clearinghouse", "claim_1.csv", project.contract().digest)
        os.utime(project.vendor.outbox / "claim_1.csv", (1_700_000_900, 1_700_000_900))
        assert enclave.ingest_file("clearinghouse", "claim_1.csv", project.contract().digest)[:2] == first[:2]
        assert [file.state for file in enclave.list_files("clearinghouse")] == ["ingested"]
    assert project.list_entries("finding") == []


@pytest.mark.parametrize("rows", [("C-1,a,1.50", "C-2,b,2.01"), ("C-1,a,1.50",)], ids=["same size", "other size"])
def test_a_drop_that_changed_under_its_name_is_a_finding(project: ProjectFixture, rows: tuple[str, ...]) -> None:
    project.put("claim_1.csv", *GOOD)
    with project.open_enclave() as enclave:
        first = enclave.ingest_file("clearinghouse", "claim_1.csv", project.contract().digest)
        project.put("claim_1.csv", *rows)
        os.utime(project.vendor.outbox / "claim_1.csv", (1_700_000_900, 1_700_000_900))
        for _ in range(2):
            # What was received is kept and can be published.
            assert enclave.ingest_file("clearinghouse", "claim_1.csv", project.contract().digest)[:2] == first[:2]
            assert [file.state for file in enclave.list_files("clearinghouse")] == ["changed"]
    (finding,) = project.list_entries("finding")
    assert (finding.subject, finding.facts["code"]) == (first.drop.subject, "changed")
    assert len(project.list_entries("land")) == 1


def test_a_file_deleted_while_it_is_read_is_a_finding(project: ProjectFixture) -> None:
    project.put("claim_1.csv", *GOOD)
    project.vendor.on_read = lambda name, _: (project.vendor.outbox / name).unlink(missing_ok=True)
    with project.open_enclave() as enclave:
        with pytest.raises(NotFound):
            enclave.ingest_file("clearinghouse", "claim_1.csv", project.contract().digest)
        with pytest.raises(NotFound):
            enclave.ingest_file("clearinghouse", "claim_2.csv", project.contract().digest)
    assert [entry.facts["code"] for entry in project.list_entries("finding")] == ["deleted_while_read"]
    assert project.originals() == []


def test_a_contract_that_the_project_does_not_have_is_refused(project: ProjectFixture) -> None:
    project.put("claim_1.csv", *GOOD)
    with project.open_enclave() as enclave:
        with pytest.raises(Refused, match="no contract in force has the digest"):
            enclave.ingest_file("clearinghouse", "claim_1.csv", "0" * 64)
        with pytest.raises(NotFound, match="no source"):
            enclave.ingest_file("clearinghouze", "claim_1.csv", project.contract().digest)
    assert project.vendor.reads == 0


def test_file_without_matching_contract_is_refused(project: ProjectFixture) -> None:
    project.put("other.csv", *GOOD)
    with project.open_enclave() as enclave, pytest.raises(Refused, match="matches no contract"):
        enclave.ingest_file("clearinghouse", "other.csv", project.contract().digest)


def test_a_version_that_no_release_names_is_not_in_force(project: ProjectFixture) -> None:
    project.put("claim_1.csv", *GOOD)
    project.put("claim_2.csv", "C-9,a,1")
    first = project.contract()
    with project.open_enclave() as enclave:
        enclave.ingest_file("clearinghouse", "claim_1.csv", first.digest)
        looser = project.write_contract(version="1.1.0", egress="plain")
        with pytest.raises(Refused, match="no contract in force has the digest"):
            enclave.ingest_file("clearinghouse", "claim_2.csv", looser.digest)
        # The file is admitted by the version in force, as the one before it.
        admitted = enclave.ingest_file("clearinghouse", "claim_2.csv", first.digest)
        assert drops.read_rows(admitted)["claim_id"][0].as_py().startswith("claim_k1_")
    assert [entry.subject for entry in project.list_entries("accept")] == ["contract:claim@1.0.0"]


def test_tokens_of_one_value_are_the_same_for_ever(project: ProjectFixture) -> None:
    project.put("claim_1.csv", *GOOD)
    project.put("claim_2.csv", *GOOD[:1])
    with project.open_enclave() as enclave:
        item = drops.read_rows(enclave.ingest_file("clearinghouse", "claim_1.csv", project.contract().digest))
    with project.open_enclave() as enclave:
        two = drops.read_rows(enclave.ingest_file("clearinghouse", "claim_2.csv", project.contract().digest))
    assert item["claim_id"][0] == two["claim_id"][0]


def test_a_changed_original_never_leaves(project: ProjectFixture) -> None:
    project.put("claim_1.csv", *GOOD)
    with project.open_enclave() as enclave:
        first = enclave.ingest_file("clearinghouse", "claim_1.csv", project.contract().digest)
        path = project.folder / ".wellspring/enclave/originals" / first.drop.id
        path.write_bytes(path.read_bytes()[:-1] + b"x")
        with pytest.raises(CorruptedError):
            enclave.ingest_file("clearinghouse", "claim_1.csv", project.contract().digest)


def test_an_unknown_drop_is_not_found(project: ProjectFixture) -> None:
    with project.open_enclave() as enclave:
        for ask in (
            lambda: enclave.replay_quarantined("clearinghouse-0", project.contract().digest),
            lambda: enclave.confirm_published("clearinghouse-0", 0),
            lambda: enclave.list_quarantined("clearinghouse-0"),
            lambda: enclave.count_quarantined("clearinghouse-0"),
        ):
            with pytest.raises(NotFound):
                ask()


def test_quarantined_rows_are_counted_beyond_the_listed_ones(project: ProjectFixture) -> None:
    project.put("claim_1.csv", *(f"C-{number},new,{1 if number % 10 else 'x'}" for number in range(1, 1_201)))
    project.put("claim_2.csv", *BAD)
    with project.open_enclave() as enclave:
        large, small = (
            enclave.ingest_file("clearinghouse", name, project.contract().digest).drop.id
            for name in ("claim_1.csv", "claim_2.csv")
        )
        assert len(enclave.list_quarantined(large)) == 1_000
        counts = {count.drop: (count.rows, count.reasons) for count in enclave.count_quarantined()}
        assert counts == {large: (1_200, {"enum": 1_200, "type": 120}), small: (2, {"enum": 2, "type": 1})}
        assert [count.rows for count in enclave.count_quarantined(small)] == [2]


def test_drain_ends_running_operation_and_blocks_others(project: ProjectFixture) -> None:
    project.put("claim_1.csv", *GOOD)
    reading, go_on = threading.Event(), threading.Event()

    def hold(_name: str, _offset: int) -> None:
        reading.set()
        go_on.wait(60)

    project.vendor.on_read = hold
    digest = project.contract().digest
    with project.open_enclave() as enclave, ThreadPoolExecutor(3) as rest:
        first = rest.submit(enclave.ingest_file, "clearinghouse", "claim_1.csv", digest)
        assert reading.wait(60)
        resting = threading.Thread(target=enclave.drain)
        resting.start()
        assert resting.is_alive()
        go_on.set()
        assert first.result(60).counts.admitted == 2
        resting.join(60)
        late = threading.Thread(target=enclave.list_quarantined, daemon=True)
        late.start()
        late.join(0.3)
        assert late.is_alive(), "nobody gets a turn any more"
    assert [entry.action for entry in project.list_entries()] == ["accept", "land", "admit"]


INTAKE = ("ingest_file", "clearinghouse", "claim_1.csv")


@pytest.mark.crash
@pytest.mark.parametrize(
    "point",
    ["enclave.land:original_written", "enclave.land:recorded", "enclave.admit:quarantined", "enclave.admit:recorded"],
)
def test_killed_intake_is_recorded_once(project: ProjectFixture, point: str) -> None:
    project.put("claim_1.csv", *BAD)
    call, *arguments = (*INTAKE, project.contract().digest)
    project.kill(point, call, *arguments)
    project.clock.pass_(minutes=1)
    with project.open_enclave() as enclave:
        assert project.originals() == [] if point == "enclave.land:original_written" else len(project.originals()) == 1
        (listed,) = enclave.list_files("clearinghouse")
        assert listed.state == ("ingested" if point.startswith("enclave.admit") else "new")
        intake = enclave.ingest_file("clearinghouse", "claim_1.csv", project.contract().digest)
    assert whole(intake) == (4, 2, 2)
    assert [entry.action for entry in project.list_entries()] == ["accept", "land", "admit"]
    assert project.list_entries("admit")[0].outputs[0].digest == intake.counts.rows_digest
    assert project.originals() == [intake.drop.id]
    with project.open_enclave() as enclave:
        assert enclave.ingest_file("clearinghouse", "claim_1.csv", project.contract().digest)[:2] == intake[:2]


@pytest.mark.crash
@pytest.mark.parametrize("point", ["enclave.replay:chosen", "enclave.replay:recorded", "enclave.settle:confirmed"])
def test_killed_replay_is_recorded_once(project: ProjectFixture, point: str) -> None:
    project.put("claim_1.csv", *BAD)
    with project.open_enclave() as enclave:
        first = enclave.ingest_file("clearinghouse", "claim_1.csv", project.contract().digest)
        better = project.release_contract(enclave, version="1.1.0", kinds=("a", "b", "new"))
        if point == "enclave.settle:confirmed":
            enclave.replay_quarantined(first.drop.id, better.digest)
    if point == "enclave.settle:confirmed":
        project.kill(point, "confirm_published", first.drop.id, 1)
    else:
        project.kill(point, "replay_quarantined", first.drop.id, better.digest)
        with project.open_enclave() as enclave:
            assert whole(enclave.replay_quarantined(first.drop.id, better.digest)) == (2, 1, 1)
    with project.open_enclave() as enclave:
        enclave.confirm_published(first.drop.id, 1)
        assert [row.row_number for row in enclave.list_quarantined()] == [3]
    assert [entry.facts["replay_number"] for entry in project.list_entries("admit")] == [0, 1]
    assert [entry.facts["replay_number"] for entry in project.list_entries("settle")] == [1]


def test_a_file_above_the_limit_stops_alone(project: ProjectFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    project.put("claim_1.csv", *BAD)
    project.put("claim_2.csv", *GOOD[:1])
    limited = project.vendor.source(max_bytes=40, clock=project.clock)
    monkeypatch.setattr(project.vendor, "source", lambda **_: limited)
    with project.open_enclave() as enclave:
        for _ in range(2):
            with pytest.raises(Refused, match="more than the limit of 40"):
                enclave.ingest_file("clearinghouse", "claim_1.csv", project.contract().digest)
        assert enclave.ingest_file("clearinghouse", "claim_2.csv", project.contract().digest).counts.admitted == 1
    (finding,) = project.list_entries("finding")
    assert (finding.facts["code"], finding.facts["name"]) == ("too_large", "claim_1.csv")
    assert len(project.originals()) == 1


@pytest.mark.parametrize("later", ["removed", "replaced"])
@pytest.mark.parametrize("point", ["enclave.land:recorded", "enclave.admit:recorded"])
def test_a_drop_that_a_crash_interrupted_is_finished_without_its_file(
    project: ProjectFixture, point: str, later: str
) -> None:
    project.put("claim_1.csv", *GOOD)
    digest = project.contract().digest
    project.kill(point, "ingest_file", "clearinghouse", "claim_1.csv", digest)
    project.vendor.remove("claim_1.csv")
    if later == "replaced":
        project.put("claim_1.csv", "C-9,a,9")
        os.utime(project.vendor.outbox / "claim_1.csv", (1_700_000_900, 1_700_000_900))
    with project.open_enclave() as enclave:
        (file,) = enclave.list_files("clearinghouse")
        state = "changed" if later == "replaced" else "ingested" if point.startswith("enclave.admit") else "new"
        assert (file.name, file.state, file.contract) == ("claim_1.csv", state, "claim")
        admission = enclave.ingest_file("clearinghouse", "claim_1.csv", digest)
        assert whole(admission) == (2, 2, 0)
        enclave.confirm_published(admission.drop.id, 0)
        assert [file.state for file in enclave.list_files("clearinghouse")] == ["changed"] * (later == "replaced")


def test_a_file_with_too_many_columns_is_over_budget(project: ProjectFixture) -> None:
    names = ",".join(["claim_id", "kind", "amount", *(f"c{number}" for number in range(MAX_COLUMNS - 2))])
    (project.vendor.outbox / "claim_1.csv").write_text(f"{names}\nC1,a,1.00{',' * (MAX_COLUMNS - 2)}\n")
    with project.open_enclave() as enclave:
        intake = enclave.ingest_file("clearinghouse", "claim_1.csv", project.contract().digest)
    assert intake.rows is None
    assert [reason.code for reason in intake.counts.verdict.reasons] == ["over_budget"]
