"""What all formats share: packing, column names, and the rejection of a file."""

import pyarrow as pa
import pytest

from tests.builders.contracts import column, contract
from tests.builders.pii import SCANNER
from wellspring.data.formats import parsed
from wellspring.data.formats.parsed import (
    ParsedFile,
    check_columns,
    check_header,
    file_refused,
    safe_column_name,
    unpack_rows,
)
from wellspring.errors import Refused
from wellspring.records.verdict import Reason

TWO = contract(column("id"), column("day", "date32[day]"))


def test_what_is_packed_is_unpacked():
    rows = ParsedFile(pa.table({"id": ["1", None]}), pa.array([4, 9]), pa.array([None, "fields"], pa.string()))
    again = unpack_rows(rows.pack_rows())
    assert again.table.equals(rows.table)
    assert (again.row_numbers.to_pylist(), again.row_faults.to_pylist()) == ([4, 9], [None, "fields"])
    assert (again.column_names, again.row_count, again.type_faults) == (["id"], 2, None)
    mismatched = rows._replace(type_faults=pa.array([None, "id"]))
    assert unpack_rows(mismatched.pack_rows()).type_faults == mismatched.type_faults


def test_the_declared_columns_may_stand_in_any_order_with_others_between():
    assert check_header(["x", "day", "id"], TWO, "drop:1") == ["x", "day", "id"]


def test_column_with_a_reserved_name_is_renamed():
    assert check_header(["id", "day", "row_number", "fault"], TWO, "drop:1") == [
        "id", "day", "row_number_in_file", "fault_in_file",
    ]  # fmt: skip


def test_column_with_a_path_gets_its_declared_name_and_keeps_it():
    nested = contract(column("zip", path="address.zip"))
    assert check_header(["address.zip", "zip"], nested, "drop:1") == ["zip", "zip_in_file"]


def test_rows_of_an_older_version_must_have_each_declared_column():
    rows = ParsedFile(pa.table({"id": ["1"]}), pa.array([1]), pa.array([None], pa.string()))
    with pytest.raises(Refused, match="'day' is not in the file"):
        check_columns(rows, TWO, "drop:1")
    check_columns(rows, contract(column("id", path="a.id")), "drop:1")


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
        assert refused.fix.startswith("ask the vendor")
        assert refused.what == "drop:1 is rejected: it is so"
