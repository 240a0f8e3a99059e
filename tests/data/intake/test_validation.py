"""Every reason of every row, and the egress rules of the contract."""

from datetime import date
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.builders import drops
from tests.builders.contracts import column, contract, text
from tests.builders.pii import SCANNER
from wellspring.data.formats import csv, parquet
from wellspring.data.formats.parsed import read_all
from wellspring.data.formats.port import FileFormat
from wellspring.data.intake import validation
from wellspring.data.intake.validation import ValidationResult
from wellspring.errors import NotFound, Refused
from wellspring.lake import table_hash
from wellspring.lake.write_audit import audit_write
from wellspring.records.content import BytesContent
from wellspring.records.contracts import DataContract, RowRule
from wellspring.trust.tokenization import Tokenizer

TOKENS = Tokenizer({"claim": (1, b"k" * 32), "member": (1, b"m" * 32)})
CLAIMS = contract(
    column("id", egress="token", domain="claim", required=True, pattern="^C[0-9]+$"),
    column("line", "int64", required=True, minimum=1, maximum=99),
    column("kind", enum=("medical", "dental")),
    column("charged", "decimal128(12, 2)", minimum=0),
    column("paid", "decimal128(12, 2)"),
    column("day", "date32[day]", minimum="2020-01-01", maximum="2029-12-31"),
    column("born", "date32[day]", egress="year"),
    column("zip", egress="prefix(3)"),
    column("note", egress="masked"),
    column("comment"),
    column("ssn", egress="never"),
    key=("id", "line"),
    rules=(
        RowRule(
            name="paid_within_charge", sql="paid <= charged", description="what was paid is at most what was charged"
        ),
    ),
)
NAMES = [item.name for item in CLAIMS.columns]
GOOD = {
    "id": "C1", "line": "1", "kind": "medical", "charged": "10.50", "paid": "10", "day": "2024-05-06",
    "born": "1980-02-03",
    "zip": "12345", "note": "call 555-555-0123", "comment": "fine", "ssn": "219-09-9999",
}  # fmt: skip


def row(**changed: str) -> str:
    return ",".join({**GOOD, **changed}[name] for name in NAMES)


def validated(*rows: str, by: DataContract = CLAIMS, header: str = ",".join(NAMES)) -> ValidationResult:
    return validation.validate_rows(read_all(csv.read_csv(BytesContent(text(header, *rows)), by)), by, SCANNER)


def reasons(result: ValidationResult) -> list[tuple[int, str, str | None]]:
    return [(value["row_number"], value["code"], value["column"]) for value in result.reasons.to_pylist()]


def leaving(result: ValidationResult, by: DataContract = CLAIMS) -> list[dict[str, Any]]:
    return validation.tokenize_rows(result, by, TOKENS, SCANNER).table.to_pylist()


def test_valid_row_leaves_by_its_egress_rules():
    result = validated(row())
    assert (result.counts.received, result.valid.num_rows, result.quarantined.num_rows) == (1, 1, 0)
    assert result.counts.verdict.passed
    assert leaving(result) == [
        {
            "id": TOKENS.tokenize_value("claim", "C1"), "line": 1, "kind": "medical", "charged": Decimal("10.50"),
            "paid": Decimal("10.00"), "day": date(2024, 5, 6), "born": 1980, "zip": "123", "note": "call [phone]",
            "comment": "fine", "row_number": 1,
        }
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("changed", "code", "name"),
    [
        ({"id": ""}, "required", "id"),
        ({"line": "one"}, "type", "line"),
        ({"charged": "10.505"}, "type", "charged"),
        ({"day": "05/06/2024"}, "type", "day"),
        ({"kind": "vision"}, "enum", "kind"),
        ({"line": "0"}, "range", "line"),
        ({"line": "100"}, "range", "line"),
        ({"charged": "-0.01", "paid": "-1"}, "range", "charged"),
        ({"day": "2019-12-31"}, "range", "day"),
        ({"day": "2030-01-01"}, "range", "day"),
        ({"id": "c1"}, "pattern", "id"),
        ({"paid": "10.51"}, "rule", "paid_within_charge"),
        ({"comment": "see 219-09-9999"}, "personal_data", "comment"),
        ({"comment": "ann@example.com"}, "personal_data", "comment"),
    ],
)
def test_each_violation_quarantines_its_row_with_a_reason(changed: dict[str, str], code: str, name: str):
    result = validated(row(id="C0"), row(**changed), row(id="C2"))
    assert reasons(result) == [(2, code, name)]
    assert result.valid["row_number"].to_pylist() == [1, 3]
    assert result.quarantined["row_number"].to_pylist() == [2]
    assert [(item.code, item.column, item.count) for item in result.counts.reasons] == [(code, name, 1)]


@pytest.mark.parametrize(
    "changed", [{"kind": ""}, {"charged": ""}, {"paid": ""}, {"day": ""}, {"note": ""}, {"zip": ""}]
)
def test_an_empty_field_that_is_not_required_breaks_nothing(changed: dict[str, str]):
    assert validated(row(**changed)).valid.num_rows == 1


def test_every_reason_of_a_row_is_given():
    result = validated(row(id="", line="0", kind="x", charged="1", paid="2", day="soon", comment="219-09-9999"))
    assert reasons(result) == [
        (1, "enum", "kind"), (1, "personal_data", "comment"), (1, "range", "line"), (1, "required", "id"),
        (1, "rule", "paid_within_charge"), (1, "type", "day"),
    ]  # fmt: skip
    assert {item.message for item in validation.reasons_by_row(result, CLAIMS)[1]} >= {
        "what was paid is at most what was charged"
    }


def test_of_rows_with_one_key_the_first_stays():
    result = validated(row(), row(line="2"), row(), row(id="C2"), row())
    assert reasons(result) == [(3, "unique", "id,line"), (5, "unique", "id,line")]


def test_a_unique_column_is_compared_where_it_has_a_value():
    by = contract(column("id", unique=True), column("note"))
    result = validated("1,a", ",b", ",c", "1,d", by=by, header="id,note")
    assert reasons(result) == [(4, "unique", "id")]


def test_row_of_wrong_width_is_quarantined_without_other_checks():
    result = validated(row(), "C9,2,vision", row(id="C3"))
    assert reasons(result) == [(2, "fields", None)]
    assert result.valid["row_number"].to_pylist() == [1, 3]


def test_quarantined_row_is_stored_as_delivered():
    result = validated(row(charged="ten", note="x"), row(id="C2"))
    stored = result.quarantined.to_pylist()[0]
    assert {name: stored[name] for name in NAMES} == {**GOOD, "charged": "ten", "note": "x"}
    assert all(field.type == pa.string() for field in result.quarantined.schema if field.name != "row_number")


def test_undeclared_column_never_leaves_and_is_reported():
    header = f"{','.join(NAMES)},extra"
    result = validated(f"{row()},219-09-9999", f"{row(id='C2')},", f"{row(id='C3')},ok", header=header)
    assert [(finding.code, finding.column, finding.count) for finding in result.findings] == [
        ("undeclared_column", "extra", 2)
    ]
    assert "ssn in 1 rows" in result.findings[0].message
    assert "219" not in result.findings[0].message
    assert result.counts.masked == 2
    assert "extra" not in result.valid.column_names
    out = validation.tokenize_rows(result, CLAIMS, TOKENS, SCANNER)
    assert "extra" not in out.table.column_names
    assert out.counts.masked == 2 + 3


def test_a_column_that_never_leaves_never_leaves():
    out = validation.tokenize_rows(validated(row()), CLAIMS, TOKENS, SCANNER).table
    assert out.column_names == [*[name for name in NAMES if name != "ssn"], "row_number"]


@pytest.mark.parametrize("egress", ["token", "never", "masked", "prefix(3)", "prefix(10)"])
def test_identifier_never_leaves_under_any_protection(egress: str):
    by = contract(column("who", egress=egress, domain="member" if egress == "token" else None), column("line", "int64"))
    out = leaving(validated("219-09-9999,1", by=by, header="who,line"), by)
    assert "219" not in repr(out)
    assert "9999" not in repr(out)


def test_postcode_leaves_as_three_digits_and_other_values_as_null():
    by = contract(column("zip", egress="prefix(3)"))
    out = leaving(
        validated("12345", "12345-6789", "1234", "ABCDE", "900123456", "219-09-9999", by=by, header="zip"), by
    )
    assert [item["zip"] for item in out] == ["123", "123", None, None, None, None]


@pytest.mark.parametrize("name", ["zip_code", "ZIP", "home_postal_code", "postcode", "post_code"])
def test_a_prefix_of_a_postcode_column_needs_a_zip_code(name: str):
    by = contract(column(name, egress="prefix(2)"))
    out = leaving(validated("12345", "12345-6789", "SW1A 1AA", by=by, header=name), by)
    assert [item[name] for item in out] == ["12", "12", None]


@pytest.mark.parametrize(
    ("length", "expected"),
    [
        (1, ["E", "I", "\u00e4", None, None]),
        (3, ["E11", "I10", "\u00e4\u00f6\u00fc", None, None]),
        (10, ["E11.9", "I10", "\u00e4\u00f6\u00fc\u00df", None, None]),
    ],
)
def test_a_prefix_is_the_first_characters_and_personal_data_becomes_null(length: int, expected: list[str | None]):
    by = contract(column("code", egress=f"prefix({length})"), column("line", "int64"))
    texts = ["E11.9", "I10", "\u00e4\u00f6\u00fc\u00df", "219-09-9999", ""]
    out = leaving(validated(*(f"{value},1" for value in texts), by=by, header="code,line"), by)
    assert [item["code"] for item in out] == expected


@pytest.mark.parametrize(
    ("name", "usable", "unusable", "code"),
    [
        ("zip", "12345", "SW1A 1AA", "pattern"),
        ("zip", "12345", "1234567", "pattern"),
        ("code", "E11.9", "219-09-9999", "personal_data"),
    ],
)
def test_a_required_prefix_that_cannot_leave_quarantines_its_row(name: str, usable: str, unusable: str, code: str):
    by = contract(column(name, egress="prefix(3)", required=True, pattern="^[A-Z0-9.]+$|-"), column("line", "int64"))
    result = validated(f"{usable},1", f"{unusable},2", by=by, header=f"{name},line")
    assert reasons(result) == [(2, code, name)]
    assert [(reason.code, reason.count) for reason in result.counts.reasons] == [(code, 1)]
    tokenized = validation.tokenize_rows(result, by, TOKENS, SCANNER)
    assert (result.counts.received, result.counts.admitted, result.counts.quarantined) == (2, 1, 1)
    assert tokenized.table[name].to_pylist() == [usable[:3]]
    assert tokenized.counts.masked == 0
    assert audit_write(tokenized.table.to_reader, drops.intake("a", by, tokenized.table), by, {}).passed


def test_an_optional_prefix_that_cannot_leave_is_counted_as_masked():
    by = contract(column("zip", egress="prefix(3)"), column("code", egress="prefix(3)"))
    result = validated("12345,E11.9", "1234,219-09-9999", "12345,", by=by, header="zip,code")
    assert result.quarantined.num_rows == 0
    assert validation.tokenize_rows(result, by, TOKENS, SCANNER).counts.masked == 2


def test_the_format_of_a_contract_is_loaded_once_for_all_rows(monkeypatch: pytest.MonkeyPatch):
    loaded: list[str] = []

    def count_load(name: str) -> FileFormat:
        loaded.append(name)
        return csv.CSV

    result = validated(*(row(id=f"C{number}", kind="other") for number in range(50)))
    monkeypatch.setattr(validation, "load_format", count_load)
    by_row = validation.reasons_by_row(result, CLAIMS)
    assert len(by_row) == 50
    assert loaded == ["csv"]


def test_column_of_another_type_rejects_the_drop():
    rows = [row(id=f"C{place}", day="05/06/2024" if place % 3 else "2024-05-06") for place in range(12)]
    with pytest.raises(Refused) as refused:
        validated(*rows)
    verdict = refused.value.verdict
    assert verdict is not None
    assert [(reason.code, reason.column, reason.count) for reason in verdict.reasons] == [("type_changed", "day", 8)]


def test_some_wrong_values_stop_only_their_rows():
    rows = [row(id=f"C{place}", day="05/06/2024" if place % 2 else "2024-05-06") for place in range(12)]
    assert validated(*rows).valid.num_rows == 6


def test_no_reason_finding_or_refusal_holds_a_value():
    rows = [row(id="Zed", line="Yan", kind="Xo", charged="Wu", day="Vi", comment="Ulf 219-09-9999")] * 3
    result = validated(*rows, row())
    by_row = validation.reasons_by_row(result, CLAIMS)
    output = f"{result.counts.reasons}{result.findings}{result.counts.verdict}{result.reasons.to_pylist()}{by_row}"
    assert not [word for word in ("Zed", "Yan", "Xo", "Wu", "Vi", "Ulf", "3456") if word in output]


def test_domain_without_key_raises():
    with pytest.raises(NotFound):
        validation.tokenize_rows(validated(row()), CLAIMS, Tokenizer({"member": (1, b"m" * 32)}), SCANNER)


def test_the_digest_is_that_of_the_table_that_leaves():
    out = validation.tokenize_rows(validated(row(), row(id="C2")), CLAIMS, TOKENS, SCANNER)
    assert out.counts.rows_digest == table_hash.hash_rows(out.table)


def test_a_drop_of_bad_rows_only_leaves_an_empty_table_of_the_same_shape():
    out = validation.tokenize_rows(validated(row(id="")), CLAIMS, TOKENS, SCANNER).table
    assert out.num_rows == 0
    assert out.schema == validation.tokenize_rows(validated(row()), CLAIMS, TOKENS, SCANNER).table.schema


def test_rows_valid_under_a_newer_contract_leave_on_replay():
    result = validated(row(), row(id="C2", kind="vision"), row(id="C3", kind="vision", line="0"))
    columns = [
        item.model_copy(update={"enum": ("vision",)}) if item.name == "kind" else item for item in CLAIMS.columns
    ]
    wider = CLAIMS.model_copy(update={"columns": tuple(columns)})
    again = validation.revalidate_rows(result.quarantined, wider, SCANNER)
    assert again.valid["row_number"].to_pylist() == [2]
    assert reasons(again) == [(3, "range", "line")]
    assert [item["row_number"] for item in leaving(again, wider)] == [2]
    assert validation.revalidate_rows(again.quarantined, wider, SCANNER).quarantined.equals(again.quarantined)


def test_replay_under_the_same_contract_admits_nothing():
    result = validated(row(), row(), row(id="C2", kind="x"), "C9", row(id="C3"), row(id="C4", day="soon"))
    again = validation.revalidate_rows(result.quarantined, CLAIMS, SCANNER)
    assert again.valid.num_rows == 0
    assert reasons(again) == reasons(result)
    assert again.quarantined.equals(result.quarantined)


def test_row_with_published_key_never_leaves_again():
    result = validated(row(), row())
    assert validation.revalidate_rows(result.quarantined, CLAIMS, SCANNER).valid.num_rows == 0
    # Where the first of two was bad as well, one of them may still leave, and only one.
    result = validated(row(kind="vision"), row(kind="vision"))
    columns = [item.model_copy(update={"enum": ()}) for item in CLAIMS.columns]
    again = validation.revalidate_rows(
        result.quarantined, CLAIMS.model_copy(update={"columns": tuple(columns)}), SCANNER
    )
    assert again.valid["row_number"].to_pylist() == [1]
    assert reasons(again) == [(2, "unique", "id,line")]


def test_parquet_is_validated_like_csv():
    import io

    import pyarrow.parquet as pq

    by = contract(column("id", required=True), column("amount", "float64", maximum=5), format="parquet")
    file = io.BytesIO()
    pq.write_table(pa.table({"id": ["a", None, "c"], "amount": [1.5, float("nan"), 9.0], "extra": [1, 2, None]}), file)
    result = validation.validate_rows(read_all(parquet.read_parquet(BytesContent(file.getvalue()), by)), by, SCANNER)
    assert reasons(result) == [(2, "required", "id"), (2, "type", "amount"), (3, "range", "amount")]
    assert result.counts.masked == 2
    assert result.quarantined["amount"].type == pa.float64()


FIELDS = st.sampled_from(
    ["", "C1", "C2", "1", "0", "x", "2024-05-06", "219-09-9999", "10.00", "-1", "medical", "\u00e9"]
)


@given(st.lists(st.lists(FIELDS, min_size=9, max_size=12), min_size=1, max_size=9))
def test_every_row_is_valid_or_quarantined_with_a_reason(rows: list[list[str]]):
    try:
        result = validated(*(",".join(fields) for fields in rows))
    except Refused:
        return
    good, waiting = result.valid["row_number"].to_pylist(), result.quarantined["row_number"].to_pylist()
    assert sorted(good + waiting) == list(range(1, result.counts.received + 1))
    assert sorted(set(result.reasons["row_number"].to_pylist())) == waiting
    assert sum(item.count or 0 for item in result.counts.reasons) == result.reasons.num_rows
    assert "900-12" not in repr(leaving(result))
