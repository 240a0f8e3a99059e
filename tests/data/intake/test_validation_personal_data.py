"""Personal data in validated rows: columns of numbers, and the numbers of a project in every text that is searched."""

from __future__ import annotations

import pytest

from tests.builders.contracts import column, contract, text
from tests.builders.pii import SCANNER
from tests.builders.validation import validate_file
from wellspring.enclave.findings import contains_personal_data
from wellspring.trust.tokenization import Tokenizer

MEMBER = "M123456789"


@pytest.mark.parametrize("kind", ["int64", "float64", "decimal128(12, 0)", "string"])
def test_a_plain_column_of_numbers_named_ssn_quarantines_its_rows(kind: str):
    by = contract(column("ssn", kind), column("amount", kind))
    header, rows = "ssn,amount", ["633519372,633519372", "13519372,1", "12,13519372", ",5"]
    result = validate_file(text(header, *rows), by, Tokenizer({}))
    assert result.reasons == [(1, "personal_data", "ssn"), (2, "personal_data", "ssn")]
    assert result.valid["row_number"].to_pylist() == [3, 4]


def test_a_number_of_the_project_is_found_in_every_text_that_is_searched():
    by = contract(column("note", egress="masked"), column("comment"), column("code", egress="prefix(3)"))
    header = f"note,comment,code,{MEMBER} of Ann,other"
    rows = [f"seen {MEMBER} today,fine,A1,1,ok", f"x,see m123456789,A2,1,{MEMBER}", f"x,fine,{MEMBER},1,ok"]
    result = validate_file(text(header, *rows), by, Tokenizer({}))
    assert result.reasons == [(2, "personal_data", "comment"), (3, "personal_data", "code")]
    undeclared = [finding for finding in result.findings if finding.code == "undeclared_column"]
    findings = {finding.column: finding.message for finding in undeclared}
    assert set(findings) == {"[member_id] of Ann", "other"}
    assert "member_id in 1 rows" in findings["other"]
    rows_out = result.rows.to_pylist()
    assert [(row["note"], row["code"]) for row in rows_out] == [("seen [member_id] today", "A1")]
    assert contains_personal_data(f"roll of {MEMBER}.csv", SCANNER)
    assert MEMBER not in repr((findings, rows_out))
