"""What all formats share: packing, column names, and the rejection of a file."""

import pyarrow as pa
import pytest

from tests.builders.contracts import column, contract
from tests.builders.pii import SCANNER
from wellspring.data.formats import parsed
from wellspring.data.formats.parsed import (
    ParsedBatch,
    attach_findings,
    check_header,
    file_refused,
    read_all,
    safe_column_name,
    split_batch,
)
from wellspring.errors import Refused
from wellspring.records.verdict import Reason

TWO = contract(column("id"), column("day", "date32[day]"))


def test_batches_are_split_joined_and_end_with_the_findings():
    count = parsed.BATCH_ROWS * 2 + 1
    texts, numbers = [str(number) for number in range(count)], pa.array(range(1, count + 1), pa.int64())
    faults = pa.array([None if number % 2 else "fields" for number in range(count)], pa.string())
    rows = ParsedBatch(pa.table({"id": texts}), numbers, faults, type_faults=faults)
    finding = Reason(code="bom", message="it has a mark")
    batches = list(attach_findings(split_batch(rows), [finding]))
    assert [batch.row_count for batch in batches] == [parsed.BATCH_ROWS, parsed.BATCH_ROWS, 1]
    assert [batch.findings for batch in batches] == [(), (), (finding,)]
    whole = read_all(batches)
    assert whole.table.equals(rows.table)
    assert whole[1:] == (numbers, faults, (finding,), faults)


def test_a_column_that_one_batch_lacks_is_null_there():
    first = ParsedBatch(pa.table({"id": ["1"]}), pa.array([1]), pa.array([None], pa.string()))
    second = ParsedBatch(
        pa.table({"id": ["2"], "more": ["x"]}),
        pa.array([2]),
        pa.array([None], pa.string()),
        type_faults=pa.array(["id"]),
    )
    whole = read_all([first, second])
    assert whole.table.to_pydict() == {"id": ["1", "2"], "more": [None, "x"]}
    assert whole.type_faults is not None
    assert whole.type_faults.to_pylist() == [None, "id"]


def test_the_declared_columns_may_stand_in_any_order_with_others_between():
    assert check_header(["x", "day", "id"], TWO, "drop:1") == ["x", "day", "id"]


ADDED = contract(
    column("id"),
    column("day", "date32[day]"),
    column("place", added_in="1.9.0"),
    column("unit", added_in="1.10.0"),
    column("price", added_in="1.10.0"),
)


@pytest.mark.parametrize("lacking", [{"unit", "price"}, {"unit", "price", "place"}])
def test_a_file_of_an_earlier_layout_lacks_what_later_versions_added(lacking: set[str]):
    names = [item.name for item in ADDED.columns if item.name not in lacking]
    assert check_header(names, ADDED, "drop:1") == names


@pytest.mark.parametrize("lacking", [{"unit"}, {"place"}, {"place", "unit"}, {"day", "unit", "price"}])
def test_a_file_of_no_layout_of_the_contract_lacks_a_column(lacking: set[str]):
    with pytest.raises(Refused, match="is not in the file"):
        check_header([item.name for item in ADDED.columns if item.name not in lacking], ADDED, "drop:1")


def test_column_with_a_reserved_name_is_renamed():
    assert check_header(["id", "day", "row_number", "fault"], TWO, "drop:1") == [
        "id", "day", "row_number_in_file", "fault_in_file",
    ]  # fmt: skip


def test_column_with_a_path_gets_its_declared_name_and_keeps_it():
    nested = contract(column("zip", path="address.zip"))
    assert check_header(["address.zip", "zip"], nested, "drop:1") == ["zip", "zip_in_file"]


@pytest.mark.parametrize(
    ("names", "code", "columns"),
    [
        (["id"], "missing_column", ["day"]),
        (["ID", "Day "], "missing_column", ["id", "day"]),
        (["900-12-3456", "1980-02-03"], "missing_column", [None]),
        (["id", "id", "day"], "duplicate_header", ["id"]),
        (["id", "day", "x", "x", "", ""], "duplicate_header", [None, None]),
    ],
)
def test_header_that_violates_the_contract_rejects_the_file(names: list[str], code: str, columns: list[str | None]):
    with pytest.raises(Refused) as refused:
        check_header(names, TWO, "drop:1")
    verdict = refused.value.verdict
    assert verdict is not None
    assert (verdict.subject, verdict.outcome) == ("drop:1", "fail")
    assert [(reason.code, reason.column) for reason in verdict.reasons] == [(code, name) for name in columns]


def test_refusal_never_quotes_an_undeclared_name():
    # Without a header line, the names are a person's values.
    for names in (["Ann", "900-12-3456"], ["Ann", "Ann", "id", "day"], ["id", "Ann"]):
        with pytest.raises(Refused) as refused:
            check_header(names, TWO, "drop:1")
        assert "Ann" not in f"{refused.value.what}{refused.value.fix}{refused.value.verdict}"
        assert "900" not in refused.value.what


def test_name_in_another_case_gets_a_hint():
    with pytest.raises(Refused, match="in another case"):
        check_header(["ID", "day"], TWO, "drop:1")


def test_undeclared_column_name_is_masked():
    assert safe_column_name("ssn of 900-12-3456", SCANNER) == "ssn of [ssn]"
    assert len(safe_column_name("x" * 500, SCANNER)) == 60
    assert safe_column_name("", SCANNER) == "(no name)"


def test_every_refusal_has_a_fix():
    for code in parsed._FIXES:
        refused = file_refused("drop:1", Reason(code=code, message="it is so"))
        assert "the vendor" in refused.fix
        assert refused.what == "drop:1 is rejected: it is so"


def test_an_undeclared_column_gets_no_name_of_another_column():
    declared = contract(column("fault_in_file"), column("id"))
    names = ["fault", "fault_in_file", "id", "fault_in_file_in_file"]
    assert check_header(names, declared, "drop:1") == [
        "fault_in_file_in_file_in_file", "fault_in_file", "id", "fault_in_file_in_file"
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["\ufeffid", "id\u200b", "\u00a0ID", "\uff49\uff44"])
def test_a_missing_column_with_another_spelling_is_named(name: str):
    with pytest.raises(Refused, match="blanks or invisible characters"):
        check_header([name, "day"], TWO, "drop:1")
