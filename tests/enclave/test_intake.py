"""Processing of a drop: admitted and quarantined rows, and rejected files, which are counted."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Mapping
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.builders.enclave import CONTRACT, DOMAIN, HEAD
from tests.builders.originals import NOON
from tests.builders.pii import SCANNER
from wellspring.data.contracts import contract as contracts
from wellspring.data.formats.csv import CSV
from wellspring.data.formats.parsed import ParsedBatch
from wellspring.data.intake.known_rows import KnownRows, summarize_known_rows
from wellspring.enclave import intake
from wellspring.errors import Refused
from wellspring.lake import table_hash
from wellspring.records.content import BytesContent, FileContent
from wellspring.records.contracts import DataContract
from wellspring.trust.tokenization import Tokenizer
from wellspring.trust.vault.records import decode_row_numbers, encode_row_numbers
from wellspring_verify import canonical

TOKENS = Tokenizer({"claim": (1, os.urandom(32))})
SUBJECT = "drop:clearinghouse-0"


def quiet(stage: str, done: int, total: int) -> None:
    return None


@pytest.fixture
def contract(tmp_path: Path) -> DataContract:
    path = tmp_path / "claim.odcs.yaml"
    path.write_text(CONTRACT.format(version="1.0.0", kinds="a, b", egress="token", domain=DOMAIN))
    return contracts.load_contract(path, tenant="wellspring-benefits", known_since=NOON)


def process(
    content: bytes, contract: DataContract, folder: Path, *, only_rows: list[int] | None = None, **more: Any
) -> intake.ProcessedDrop:
    numbers = None if only_rows is None else np.array(only_rows, np.int64)
    drop_input = intake.DropInput(BytesContent(content), contract, TOKENS, SCANNER, SUBJECT, folder, quiet, numbers)
    return intake.process_drop(drop_input._replace(**more), seal)


def seal(values: Mapping[str, str], row_number: int) -> bytes:
    return json.dumps({"number": row_number, **values}).encode()


def rows_of(processed: intake.ProcessedDrop) -> pa.Table:
    assert processed.rows is not None
    return processed.rows.open_reader().read_all()


def test_each_row_is_admitted_or_quarantined(contract: DataContract, tmp_path: Path) -> None:
    good = "".join(f"G-{n},a,1\n" for n in range(20))
    processed = process(f"{HEAD}C-1,a,1\nC-2,new,x\nC-3,b\n{good}".encode(), contract, tmp_path)
    assert (processed.counts.received, processed.counts.admitted, processed.counts.quarantined) == (23, 21, 2)
    table = rows_of(processed)
    assert table["row_number"].to_pylist() == [1, *range(4, 24)]
    assert processed.counts.rows_digest == table_hash.hash_rows(table)
    second, third = processed.read_quarantined()
    assert (second.row_number, sorted(reason.code for reason in second.reasons)) == (2, ["enum", "type"])
    assert (third.row_number, [reason.code for reason in third.reasons]) == (3, ["fields"])
    assert json.loads(second.sealed)["claim_id"] == "***"
    assert processed.quarantined_digest == sha256(canonical.dumps_canonical([2, 3])).hexdigest()


def test_the_result_does_not_depend_on_the_batches(
    contract: DataContract, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = [f"C-{n % 40},{'ab'[n % 2]},{n % 40}\n" for n in range(60)]
    lines += ["C-1,a,9\n", "C-50,new,1\n", "C-51,a\n", "C-52,b,x\n", ",a,1\n"]
    content = f"{HEAD}{''.join(lines)}".encode()
    whole = process(content, contract, tmp_path)
    monkeypatch.setattr(intake, "load_format", lambda _: replace(CSV, read_rows=in_batches_of_three))
    parts = process(content, contract, tmp_path)
    assert parts.counts == whole.counts
    assert parts.quarantined_digest == whole.quarantined_digest
    assert rows_of(parts).equals(rows_of(whole))
    assert list(parts.read_quarantined()) == list(whole.read_quarantined())


def in_batches_of_three(content: FileContent, contract: DataContract, *, subject: str | None = None) -> Any:
    for batch in CSV.read_rows(content, contract, subject=subject):
        for start in range(0, batch.row_count, 3):
            numbers, faults = batch.row_numbers.slice(start, 3), batch.row_faults.slice(start, 3)
            yield ParsedBatch(batch.table.slice(start, 3), numbers, faults)


def test_rows_of_earlier_drops_are_copies_or_contradictions(contract: DataContract, tmp_path: Path) -> None:
    content = f"{HEAD}C-1,a,1\nC-2,a,2\nC-3,a,3\n".encode()
    landed = rows_of(process(content, contract, tmp_path)).append_column("drop_id", pa.array(["one", "one", "two"]))
    earlier = KnownRows(contract, summarize_known_rows(contract, landed.slice(0, 2).to_batches()))
    sent = f"{HEAD}C-1,a,1\nC-2,b,2\nC-3,a,3\n".encode()
    processed = process(sent, contract, tmp_path, known_rows=earlier)
    assert (processed.counts.received, processed.counts.admitted, processed.counts.quarantined) == (3, 1, 1)
    assert processed.counts.copies == {"one": 1}
    assert [(reason.code, reason.column, reason.count) for reason in processed.counts.reasons] == [
        ("contradicts", "claim_id", 1)
    ]
    (waiting,) = processed.read_quarantined()
    assert (waiting.row_number, [reason.code for reason in waiting.reasons]) == (2, ["contradicts"])
    assert processed.excluded.tolist() == [1, 2]
    # A repetition has the decisions of the first run, whatever the lake holds since.
    again = process(sent, contract, tmp_path, excluded=decode_row_numbers(encode_row_numbers(processed.excluded)))
    assert again.counts.rows_digest == processed.counts.rows_digest
    assert rows_of(again).equals(rows_of(processed))


def test_the_keys_of_a_drop_are_those_that_leave(contract: DataContract, tmp_path: Path) -> None:
    content = f"{HEAD}C-1,a,1\nC-4,a\n C-2 ,b,x\n,a,1\n".encode()
    drop_input = intake.DropInput(BytesContent(content), contract, TOKENS, SCANNER, SUBJECT, tmp_path, quiet)
    keys = intake.read_keys(drop_input).open_reader().read_all()
    assert keys.column_names == ["claim_id"]
    assert keys["claim_id"].to_pylist() == [TOKENS.tokenize_value("claim", name) for name in ("C-1", "C-2")]
    cut = drop_input._replace(content=BytesContent(b""))
    assert intake.read_keys(cut).open_reader().read_all().num_rows == 0


@pytest.mark.parametrize("error", [OverflowError, MemoryError, pa.ArrowMemoryError])
def test_a_failure_of_a_library_stops_its_file_only(
    contract: DataContract, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error("date value out of range: C-1 of Ann Lee")

    monkeypatch.setattr(intake, "load_format", lambda _: replace(CSV, read_rows=fail, count_rows=fail))
    processed = process(f"{HEAD}C-1,a,1\n".encode(), contract, tmp_path)
    assert processed.counts.verdict.outcome == "fail"
    assert [reason.code for reason in processed.counts.reasons] == ["unprocessable"]
    assert "Ann" not in repr(processed)


@pytest.mark.parametrize(
    ("content", "code", "rows"),
    [
        (b"", "empty_file", 0),
        (b"claim_id,kind,amount\n", "header_only", 0),
        (b"claim_id,kind\nC-1,a\nC-2,b\n", "missing_column", 2),
        (b'claim_id,kind\n"C\n1",a\nC-2,b\n', "missing_column", 2),
        (b"claim_id,kind,amount,kind\nC-1,a,1,a\n", "duplicate_header", 1),
        ("claim_id,kind,amount\nC-1,a,1\n".encode("utf-16"), "not_utf8", 0),
    ],
)
def test_rejected_drop_is_counted(content: bytes, code: str, rows: int, contract: DataContract, tmp_path: Path) -> None:
    judgement = process(content, contract, tmp_path)
    assert judgement.counts.verdict.outcome == "fail"
    assert judgement.counts.verdict.subject == SUBJECT
    assert [reason.code for reason in judgement.counts.reasons] == [code]
    assert (judgement.counts.received, judgement.counts.admitted) == (rows, 0)
    assert (judgement.rows, list(judgement.read_quarantined())) == (None, [])


def test_a_column_of_another_type_stops_the_drop(contract: DataContract, tmp_path: Path) -> None:
    rows = "".join(f"C-{n},a,{'x' if n % 3 else 1}\n" for n in range(30))
    judgement = process(f"{HEAD}{rows}".encode(), contract, tmp_path)
    assert [reason.code for reason in judgement.counts.reasons] == ["type_changed"]
    assert judgement.counts.received == 30


def test_quarantined_rows_are_revalidated_without_other_rows(contract: DataContract, tmp_path: Path) -> None:
    content = f"{HEAD}C-1,a,1\nC-2,new,2\nC-3,b,3\nC-4,new,x\n".encode()
    knows = contract.model_copy(
        update={
            "columns": tuple(
                column.model_copy(update={"enum": ("a", "b", "new")}) if column.name == "kind" else column
                for column in contract.columns
            )
        }
    )
    again = process(content, knows, tmp_path, only_rows=[2, 4])
    assert (again.counts.received, rows_of(again)["row_number"].to_pylist()) == (2, [2])
    assert [record.row_number for record in again.read_quarantined()] == [4]


def test_a_parquet_drop_is_read_by_its_types(contract: DataContract, tmp_path: Path) -> None:
    table = pa.table(
        {"claim_id": ["C-1", "C-2"], "kind": ["a", "new"], "amount": pa.array([1, 2], pa.decimal128(12, 2))}
    )
    sink = io.BytesIO()
    pq.write_table(table, sink)
    signed = contract.model_copy(update={"format": "parquet"})
    judgement = process(sink.getvalue(), signed, tmp_path)
    assert (judgement.counts.admitted, [record.row_number for record in judgement.read_quarantined()]) == (1, [2])
    second = io.BytesIO()
    pq.write_table(table.drop_columns(["kind"]), second)
    stopped = process(second.getvalue(), signed, tmp_path)
    assert (stopped.counts.received, stopped.counts.verdict.outcome) == (2, "fail")
    assert process(b"PAR1", signed, tmp_path).counts.received == 0


def test_refusal_without_verdict_is_raised(
    contract: DataContract, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise Refused("the key server says no", fix="none")

    monkeypatch.setattr(intake, "load_format", lambda _: replace(CSV, read_rows=refuse))
    with pytest.raises(Refused, match="key server"):
        process(b"x", contract, tmp_path)


def test_rows_of_one_key_with_different_unreadable_values_all_wait(contract: DataContract, tmp_path: Path) -> None:
    content = f"{HEAD}C-1,a,x\nC-1,a,y\nC-2,a,1\n".encode()
    processed = process(content, contract, tmp_path)
    assert (processed.counts.admitted, processed.counts.quarantined, processed.counts.copies) == (1, 2, {})
    as_text = contract.model_copy(
        update={
            "columns": tuple(
                column.model_copy(update={"type": "string"}) if column.name == "amount" else column
                for column in contract.columns
            )
        }
    )
    # Under a contract that can read them, they are two different rows.
    again = process(content, as_text, tmp_path, only_rows=[1, 2])
    assert [reason.code for reason in again.counts.reasons] == ["unique"]
    assert again.counts.quarantined == 2


def test_a_date_that_python_cannot_hold_waits_alone(contract: DataContract, tmp_path: Path) -> None:
    day = next(column for column in contract.columns if column.name == "amount")
    dated = contract.model_copy(
        update={
            "format": "parquet",
            "columns": (*contract.columns[:2], day.model_copy(update={"name": "day", "type": "date32[day]"})),
        }
    )
    table = pa.table({"claim_id": ["C-1", "C-2"], "kind": ["a", "b"], "day": pa.array([20_000, 1 << 30], pa.date32())})
    sink = io.BytesIO()
    pq.write_table(table, sink)
    processed = process(sink.getvalue(), dated, tmp_path)
    assert (processed.counts.admitted, processed.counts.quarantined) == (1, 1)
    (waiting,) = processed.read_quarantined()
    assert json.loads(waiting.sealed)["day"] == "***"
