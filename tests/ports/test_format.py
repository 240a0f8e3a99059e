"""Behavior of every file format: rows in order, values exact, faults with a code, and no row lost in silence.

The suite runs over each registered format. A new format needs a writer, found by
its name (`tests.builders.plugins.find_suite_builders`), and nothing here.
"""

from __future__ import annotations

import codecs
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.architecture import repository
from tests.builders.contracts import column, contract
from tests.builders.plugins import find_suite_builders
from tests.builders.validation import validate_file
from wellspring.data.formats.parsed import BATCH_BYTES, BATCH_ROWS, read_all
from wellspring.data.formats.port import FileFormat
from wellspring.data.formats.registry import list_formats, load_format
from wellspring.errors import ProjectError, Refused
from wellspring.records.content import BytesContent
from wellspring.records.contracts import DataContract
from wellspring.trust.tokenization import Tokenizer

Row = dict[str, Any]
COLUMNS = (
    column("id", required=True), column("note", normalization=()), column("count", "int64"),
    column("paid", "decimal128(12, 2)"), column("open", "bool"),
)  # fmt: skip
ROWS: list[Row] = [
    {"id": "007", "note": " ünï, \"x\" ", "count": 9007199254740993, "paid": Decimal("1234567890.12"), "open": True},
    {"id": "8", "note": None, "count": None, "paid": None, "open": False},
    {"id": "9", "note": "line\nend", "count": -1, "paid": Decimal("0.10"), "open": None},
]  # fmt: skip


WRITERS: dict[str, Callable[[list[Row]], bytes]] = find_suite_builders("formats")
"""By format: write rows as a file."""


@pytest.fixture(params=sorted(WRITERS))
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def file_format(name: str) -> FileFormat:
    return load_format(name)


@pytest.fixture
def declared(name: str) -> DataContract:
    return contract(*COLUMNS, format=name)


def refusal(file_format: FileFormat, content: bytes, declared: DataContract) -> str:
    with pytest.raises(Refused) as raised:
        read_all(file_format.read_rows(BytesContent(content), declared, subject="drop:1"))
    verdict = raised.value.verdict
    assert verdict is not None
    assert (verdict.subject, verdict.outcome) == ("drop:1", "fail")
    assert raised.value.fix
    return verdict.reasons[0].code


def test_each_registered_format_runs_this_suite():
    assert set(list_formats()) == set(WRITERS)


def test_rows_are_numbered_in_file_order_and_their_values_are_exact(
    name: str, file_format: FileFormat, declared: DataContract
):
    parsed = read_all(file_format.read_rows(BytesContent(WRITERS[name](ROWS)), declared))
    assert parsed.row_numbers.to_pylist() == [1, 2, 3]
    assert parsed.row_faults.to_pylist() == [None, None, None]
    valid = validate_file(WRITERS[name](ROWS), declared, Tokenizer({})).valid.drop_columns(["row_number"])
    assert valid.to_pylist() == ROWS


def test_a_long_file_is_read_in_bounded_batches(name: str, file_format: FileFormat, declared: DataContract):
    content = WRITERS[name]([{**ROWS[0], "count": number} for number in range(BATCH_ROWS + 10)])
    batches = list(file_format.read_rows(BytesContent(content), declared))
    assert len(batches) > 1
    assert max(batch.row_count for batch in batches) <= BATCH_ROWS
    numbers = [number for batch in batches for number in batch.row_numbers.to_pylist()]
    assert numbers == list(range(1, BATCH_ROWS + 11))
    counts = [int(value) for batch in batches for value in batch.table["count"].to_pylist()]
    assert counts == list(range(BATCH_ROWS + 10))


def test_a_batch_of_long_rows_is_bounded(name: str, file_format: FileFormat, declared: DataContract):
    content = WRITERS[name]([{**ROWS[0], "note": str(number) * 20_000} for number in range(1000, 2000)])
    batches = list(file_format.read_rows(BytesContent(content), declared))
    assert sum(batch.row_count for batch in batches) == 1000
    assert max(batch.table.nbytes for batch in batches) < 2 * BATCH_BYTES


def test_a_text_file_may_begin_with_a_byte_order_mark_and_end_its_lines_with_cr_lf(
    name: str, file_format: FileFormat, declared: DataContract
):
    rows: list[Row] = [{**row, "note": None} for row in ROWS]
    content = WRITERS[name](rows)
    if b"\0" in content:
        pytest.skip("a binary format")
    expected = read_all(file_format.read_rows(BytesContent(content), declared))
    tolerated = codecs.BOM_UTF8 + content.replace(b"\n", b"\r\n").removesuffix(b"\r\n")
    parsed = read_all(file_format.read_rows(BytesContent(tolerated), declared))
    assert parsed.table.equals(expected.table)
    assert {finding.code for finding in parsed.findings} == {"bom", "no_final_newline"}
    assert expected.findings == ()


def test_columns_may_stand_in_any_order_and_undeclared_ones_are_kept(
    name: str, file_format: FileFormat, declared: DataContract
):
    rows = [{"more": "x", **dict(reversed(row.items())), "fault": "y"} for row in ROWS]
    parsed = read_all(file_format.read_rows(BytesContent(WRITERS[name](rows)), declared))
    assert set(parsed.column_names) == {*ROWS[0], "more", "fault_in_file"}
    result = validate_file(WRITERS[name](rows), declared, Tokenizer({}))
    undeclared = [finding for finding in result.findings if finding.code == "undeclared_column"]
    assert (result.valid.num_rows, len(undeclared), result.validator.masked_undeclared) == (3, 2, 6)


def test_a_missing_declared_column_rejects_the_file(name: str, file_format: FileFormat, declared: DataContract):
    rows = [{key: value for key, value in row.items() if key != "note"} for row in ROWS]
    assert refusal(file_format, WRITERS[name](rows), declared) == "missing_column"


def test_an_empty_file_is_rejected(file_format: FileFormat, declared: DataContract):
    assert refusal(file_format, b"", declared) == "empty_file"


def test_a_file_that_is_cut_off_is_rejected_or_loses_no_whole_row(
    name: str, file_format: FileFormat, declared: DataContract
):
    content = WRITERS[name](ROWS)
    whole_rows = set[int]()
    for end in range(1, len(content)):
        try:
            whole_rows.add(read_all(file_format.read_rows(BytesContent(content[:end]), declared)).row_count)
        except Refused:
            continue
    # A cut at the end of a row cannot be seen.
    assert whole_rows <= {1, 2, 3}


@pytest.mark.parametrize("content", [b"%PDF-1.7\n\x00\xff\n", b"PK\x03\x04" + b"\0" * 60, b"\x1f\x8b\x08" * 30])
def test_another_kind_of_file_is_rejected_and_not_quoted(
    file_format: FileFormat, declared: DataContract, content: bytes
):
    assert refusal(file_format, content, declared)
    assert file_format.count_rows(BytesContent(content), declared) in {0, 1}


def test_rows_of_a_rejected_file_are_counted(name: str, file_format: FileFormat, declared: DataContract):
    assert file_format.count_rows(BytesContent(WRITERS[name](ROWS)), declared) == 3
    assert file_format.count_rows(BytesContent(b""), declared) == 0


def test_a_sample_is_text_or_an_error_that_says_what_to_do(name: str, file_format: FileFormat, tmp_path: Path):
    path = tmp_path / f"sample{file_format.suffixes[0]}"
    path.write_bytes(WRITERS[name](ROWS))
    refusal_of_samples = None
    try:
        sample = file_format.read_sample(path)
    except ProjectError as error:
        refusal_of_samples = error
    if refusal_of_samples is not None:
        assert refusal_of_samples.fix
        return
    assert sample.rows["id"].to_pylist() == ["007", "8", "9"]
    assert set(map(str, sample.rows.schema.types)) == {"string"}


def test_settings_and_faults_are_documented(name: str, file_format: FileFormat):
    page = (repository.ROOT / "docs/formats.md").read_text()
    assert f"`{name}`" in page
    assert [word for word in (*file_format.settings, *file_format.row_faults) if f"`{word}`" not in page] == []
