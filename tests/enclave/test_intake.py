"""Processing of a drop: admitted and quarantined rows, and rejected files, which are counted."""

from __future__ import annotations

import io
import os
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.builders.enclave import CONTRACT, DOMAIN, HEAD
from tests.builders.originals import NOON
from tests.builders.pii import SCANNER
from wellspring.data.contracts import contract as contracts
from wellspring.data.formats.csv import CSV
from wellspring.enclave import intake
from wellspring.errors import Refused
from wellspring.lake import table_hash
from wellspring.records.contracts import DataContract
from wellspring.trust.tokenization import Tokenizer

TOKENS = Tokenizer({"claim": (1, os.urandom(32))})
SUBJECT = "drop:clearinghouse-0"


def quiet(stage: str, done: int, total: int) -> None:
    return None


@pytest.fixture
def contract(tmp_path: Path) -> DataContract:
    path = tmp_path / "claim.odcs.yaml"
    path.write_text(CONTRACT.format(version="1.0.0", kinds="a, b", egress="token", domain=DOMAIN))
    return contracts.load_contract(path, tenant="wellspring-benefits", known_since=NOON)


def validate_rows(content: bytes, contract: DataContract) -> intake.ProcessedDrop:
    return intake.process_drop(content, contract, TOKENS, subject=SUBJECT, progress=quiet, scanner=SCANNER)


def test_each_row_is_admitted_or_quarantined(contract: DataContract) -> None:
    good = "".join(f"G-{n},a,1\n" for n in range(20))
    judgement = validate_rows(f"{HEAD}C-1,a,1\nC-2,new,x\nC-3,b\n{good}".encode(), contract)
    assert (judgement.counts.received, judgement.counts.admitted, sorted(judgement.quarantined_rows)) == (
        23,
        21,
        [2, 3],
    )
    assert judgement.row_numbers == [1, *range(4, 24)]
    assert judgement.table is not None
    assert judgement.counts.rows_digest == table_hash.hash_rows(judgement.table)
    assert sorted(reason.code for reason in judgement.quarantined_rows[2].reasons) == ["enum", "type"]
    assert judgement.quarantined_rows[3].permanent_fault == "fields"
    assert judgement.quarantined_rows[2].masked_values["claim_id"] == "***"


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
def test_rejected_drop_is_counted(content: bytes, code: str, rows: int, contract: DataContract) -> None:
    judgement = validate_rows(content, contract)
    assert judgement.counts.verdict.outcome == "fail"
    assert judgement.counts.verdict.subject == SUBJECT
    assert [reason.code for reason in judgement.counts.reasons] == [code]
    assert (judgement.counts.received, judgement.counts.admitted, judgement.quarantined_rows, judgement.table) == (
        rows,
        0,
        {},
        None,
    )


def test_a_column_of_another_type_stops_the_drop(contract: DataContract) -> None:
    rows = "".join(f"C-{n},a,{'x' if n % 3 else 1}\n" for n in range(30))
    judgement = validate_rows(f"{HEAD}{rows}".encode(), contract)
    assert [reason.code for reason in judgement.counts.reasons] == ["type_changed"]
    assert judgement.counts.received == 30


def test_quarantined_rows_are_revalidated_without_other_rows(contract: DataContract) -> None:
    content = f"{HEAD}C-1,a,1\nC-2,new,2\nC-3,b,3\nC-4,new,x\n".encode()
    knows = contract.model_copy(
        update={
            "columns": tuple(
                column.model_copy(update={"enum": ("a", "b", "new")}) if column.name == "kind" else column
                for column in contract.columns
            )
        }
    )
    again = intake.reprocess_quarantined(
        content, {2: "unique", 3: None, 4: None}, knows, TOKENS, subject=SUBJECT, progress=quiet, scanner=SCANNER
    )
    assert (again.counts.received, again.row_numbers, sorted(again.quarantined_rows)) == (3, [3], [2, 4])
    assert again.quarantined_rows[2].permanent_fault == "unique"


def test_a_parquet_drop_is_read_by_its_types(contract: DataContract) -> None:
    table = pa.table(
        {"claim_id": ["C-1", "C-2"], "kind": ["a", "new"], "amount": pa.array([1, 2], pa.decimal128(12, 2))}
    )
    sink = io.BytesIO()
    pq.write_table(table, sink)
    signed = contract.model_copy(update={"format": "parquet"})
    judgement = validate_rows(sink.getvalue(), signed)
    assert (judgement.counts.admitted, sorted(judgement.quarantined_rows)) == (1, [2])
    second = io.BytesIO()
    pq.write_table(table.drop_columns(["kind"]), second)
    stopped = validate_rows(second.getvalue(), signed)
    assert (stopped.counts.received, stopped.counts.verdict.outcome) == (2, "fail")
    assert validate_rows(b"PAR1", signed).counts.received == 0


def test_refusal_without_verdict_is_raised(contract: DataContract, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise Refused("the key server says no", fix="none")

    monkeypatch.setattr(intake, "load_format", lambda _: replace(CSV, read_rows=refuse))
    with pytest.raises(Refused, match="key server"):
        validate_rows(b"x", contract)
