"""Every reason of every row, and the egress rules of the contract."""

from datetime import date
from decimal import Decimal

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.builders.contracts import column, contract, text
from tests.builders.validation import ValidatedFile, validate_file
from wellspring.errors import NotFound, Refused
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


def validated(*rows: str, by: DataContract = CLAIMS, header: str = ",".join(NAMES)) -> ValidatedFile:
    return validate_file(text(header, *rows), by, TOKENS)


def replayed(result: ValidatedFile, *rows: str, by: DataContract) -> ValidatedFile:
    return validate_file(text(",".join(NAMES), *rows), by, TOKENS, only_rows=result.quarantined)


def test_valid_row_leaves_by_its_egress_rules():
    result = validated(row())
    assert (result.validator.received, result.valid.num_rows, result.quarantined) == (1, 1, [])
    assert result.rows.to_pylist() == [
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
    assert result.reasons == [(2, code, name)]
    assert result.valid["row_number"].to_pylist() == [1, 3]
    assert result.quarantined == [2]
    assert result.counts == [(code, name, 1)]


@pytest.mark.parametrize(
    "changed", [{"kind": ""}, {"charged": ""}, {"paid": ""}, {"day": ""}, {"note": ""}, {"zip": ""}]
)
def test_an_empty_field_that_is_not_required_breaks_nothing(changed: dict[str, str]):
    assert validated(row(**changed)).valid.num_rows == 1


def test_every_reason_of_a_row_is_given():
    result = validated(row(id="", line="0", kind="x", charged="1", paid="2", day="soon", comment="219-09-9999"))
    assert result.reasons == [
        (1, "enum", "kind"), (1, "personal_data", "comment"), (1, "range", "line"), (1, "required", "id"),
        (1, "rule", "paid_within_charge"), (1, "type", "day"),
    ]  # fmt: skip
    assert {item.message for item in result.by_row[1]} >= {"what was paid is at most what was charged"}


def test_equal_rows_with_one_key_are_one_row_and_copies():
    result = validated(row(), row(line="2"), row(), row(id="C2"), row())
    assert result.valid["row_number"].to_pylist() == [1, 2, 4]
    assert (result.quarantined, result.validator.copies) == ([], 2)


def test_rows_with_one_key_and_other_values_all_wait():
    result = validated(row(), row(line="2"), row(paid="9"), row(id="C2"))
    assert result.reasons == [(1, "unique", "id,line"), (3, "unique", "id,line")]
    assert result.valid["row_number"].to_pylist() == [2, 4]


def test_rows_that_differ_only_in_what_does_not_leave_are_copies():
    result = validated(row(), row(ssn="219-09-8888"))
    assert (result.valid["row_number"].to_pylist(), result.validator.copies) == ([1], 1)


@pytest.mark.parametrize(
    ("instants", "valid"),
    [
        (("2024-01-01T00:00:00Z", "2024-01-02T00:00:00Z"), [1, 2]),
        (("2024-01-02T00:00:00Z", "2024-01-01T00:00:00Z"), [1, 2]),
        (("2024-01-01T00:00:00Z", "2024-01-01T00:00:00Z"), []),
        (("2024-01-01T00:00:00Z", ""), []),
    ],
)
def test_versions_of_one_key_are_ordered_by_recorded_at(instants: tuple[str, str], valid: list[int]):
    by = contract(
        column("id", unique=True), column("paid", "int64"), column("recorded_at", "timestamp[us, tz=UTC]"), key=("id",)
    )
    rows = [f"A,{number},{instant}" for number, instant in enumerate(instants)]
    result = validated(*rows, by=by, header="id,paid,recorded_at")
    assert result.valid["row_number"].to_pylist() == valid
    assert len(result.quarantined) == 2 - len(valid)


def test_a_unique_column_is_compared_where_it_has_a_value():
    by = contract(column("id", unique=True), column("note"))
    result = validated("1,a", ",b", ",c", "1,d", by=by, header="id,note")
    assert result.reasons == [(1, "unique", "id"), (4, "unique", "id")]


def test_a_unique_value_of_two_keys_holds_back_both_rows():
    by = contract(column("id"), column("mail", egress="token", domain="member", unique=True), key=("id",))
    result = validated("1,a", "2,b", "3,a", "2,b", by=by, header="id,mail")
    assert result.reasons == [(1, "unique", "mail"), (3, "unique", "mail")]
    assert (result.valid["row_number"].to_pylist(), result.validator.copies) == ([2], 1)


def test_keys_are_compared_after_normalization():
    by = contract(column("id"), column("note"), key=("id",))
    assert validated("7,a", " 7,a", "7\u00a0,a ", by=by, header="id,note").validator.copies == 2


def test_row_of_wrong_width_is_quarantined_without_other_checks():
    result = validated(row(), "C9,2,vision", row(id="C3"))
    assert result.reasons == [(2, "fields", None)]
    assert result.valid["row_number"].to_pylist() == [1, 3]


def test_undeclared_column_never_leaves_and_is_reported():
    header = f"{','.join(NAMES)},extra"
    result = validated(f"{row()},219-09-9999", f"{row(id='C2')},", f"{row(id='C3')},ok", header=header)
    assert [(finding.code, finding.column, finding.count) for finding in result.findings] == [
        ("undeclared_column", "extra", 2),
        ("personal_data.phone", "note", 3),
    ]
    assert "ssn in 1 rows" in result.findings[0].message
    assert "219" not in result.findings[0].message
    assert (result.validator.masked_undeclared, result.validator.masked) == (2, 3)
    assert "extra" not in result.valid.column_names
    assert "extra" not in result.rows.column_names


def test_a_column_that_never_leaves_never_leaves():
    out = validated(row()).rows
    assert out.column_names == [*[name for name in NAMES if name != "ssn"], "row_number"]


@pytest.mark.parametrize("egress", ["token", "never", "masked", "prefix(3)", "prefix(10)"])
def test_identifier_never_leaves_under_any_protection(egress: str):
    by = contract(column("who", egress=egress, domain="member" if egress == "token" else None), column("line", "int64"))
    out = validated("219-09-9999,1", by=by, header="who,line").rows.to_pylist()
    assert "219" not in repr(out)
    assert "9999" not in repr(out)


@pytest.mark.parametrize("name", ["zip", "zip_code", "ZIP", "home_postal_code", "postcode", "post_code"])
@pytest.mark.parametrize("required", [True, False])
def test_another_form_of_a_postal_code_waits_and_is_never_null_by_itself(name: str, required: bool):
    by = contract(column(name, egress="prefix(3)", required=required), column("line"))
    codes = ["12345", "12345-6789", "123456789", " 12345 ", "1234", "ABCDE", "SW1A 1AA", "219-09-9999"]
    result = validated(*(f"{code},1" for code in codes), by=by, header=f"{name},line")
    assert [item[name] for item in result.rows.to_pylist()] == ["123"] * 4
    assert {(number, code) for number, code, _ in result.reasons} >= {(n, "pattern") for n in (5, 6, 7, 8)}
    assert result.quarantined == [5, 6, 7, 8]


@pytest.mark.parametrize(("length", "expected"), [(1, ["E", "I", "\u00e4"]), (3, ["E11", "I10", "\u00e4\u00f6\u00fc"])])
def test_a_prefix_is_the_first_characters_and_personal_data_waits(length: int, expected: list[str]):
    by = contract(column("code", egress=f"prefix({length})"), column("line", "int64"))
    texts = ["E11.9", "I10", "\u00e4\u00f6\u00fc\u00df", "219-09-9999", ""]
    result = validated(*(f"{value},1" for value in texts), by=by, header="code,line")
    assert [item["code"] for item in result.rows.to_pylist()] == [*expected, None]
    assert result.reasons == [(4, "personal_data", "code")]


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


@pytest.mark.parametrize(("bad", "stopped"), [(2, False), (3, True), (10, True)])
def test_a_share_of_bad_rows_beyond_the_contract_stops_the_drop(bad: int, stopped: bool):
    by = CLAIMS.model_copy(update={"max_quarantined_share": 0.2})
    rows = [row(id=f"C{place}", kind="x" if place < bad else "dental") for place in range(10)]
    if not stopped:
        assert len(validated(*rows, by=by).quarantined) == bad
        return
    with pytest.raises(Refused) as refused:
        validated(*rows, by=by)
    verdict = refused.value.verdict
    assert verdict is not None
    assert [(reason.code, reason.count) for reason in verdict.reasons] == [("too_many_quarantined", bad), ("enum", bad)]


def test_no_reason_finding_or_refusal_holds_a_value():
    rows = [row(id="Zed", line="Yan", kind="Xo", charged="Wu", day="Vi", comment="Ulf 219-09-9999")] * 3
    result = validated(*rows, row())
    output = f"{result.summary}{result.findings}{result.reasons}{result.by_row}"
    assert not [word for word in ("Zed", "Yan", "Xo", "Wu", "Vi", "Ulf", "9999") if word in output]


def test_domain_without_key_raises():
    with pytest.raises(NotFound):
        validate_file(text(",".join(NAMES), row()), CLAIMS, Tokenizer({"member": (1, b"m" * 32)}))


def test_a_drop_of_bad_rows_only_leaves_an_empty_table_of_the_same_shape():
    out = validated(row(id="")).rows
    assert out.num_rows == 0
    assert out.schema == validated(row()).rows.schema


def test_rows_valid_under_a_newer_contract_leave_on_replay():
    rows = [row(), row(id="C2", kind="vision"), row(id="C3", kind="vision", line="0")]
    columns = [
        item.model_copy(update={"enum": ("vision",)}) if item.name == "kind" else item for item in CLAIMS.columns
    ]
    again = replayed(validated(*rows), *rows, by=CLAIMS.model_copy(update={"columns": tuple(columns)}))
    assert again.valid["row_number"].to_pylist() == [2]
    assert again.reasons == [(3, "range", "line")]


def test_replay_under_the_same_contract_admits_nothing():
    rows = [row(), row(paid="1"), row(id="C2", kind="x"), "C9", row(id="C3"), row(id="C4", day="soon")]
    result = validated(*rows)
    again = replayed(result, *rows, by=CLAIMS)
    assert (again.valid.num_rows, again.reasons, again.quarantined) == (0, result.reasons, result.quarantined)


def test_parquet_is_validated_like_csv():
    import io

    import pyarrow.parquet as pq

    by = contract(column("id", required=True), column("amount", "float64", maximum=5), format="parquet")
    file = io.BytesIO()
    ids, amounts = ["a", None, "c", "", "  "], [1.5, float("nan"), 9.0, 1.0, 1.0]
    pq.write_table(pa.table({"id": ids, "amount": amounts, "extra": [1, 2, None, None, None]}), file)
    result = validate_file(file.getvalue(), by, TOKENS)
    assert result.reasons == [
        (2, "required", "id"), (2, "type", "amount"), (3, "range", "amount"), (4, "required", "id"),
        (5, "required", "id"),
    ]  # fmt: skip
    assert result.validator.masked_undeclared == 2


def test_required_ids_of_blanks_are_missing():
    assert validated(row(id="         ")).reasons == [(1, "required", "id")]


def test_spellings_of_one_identifier_have_one_token_or_a_finding():
    by = contract(column("who", egress="token", domain="member"), column("line", "int64"))
    spellings = [
        "20000000",
        "20000000 ",
        "\u00a020000000",
        "020000000",
        "20000000.0",
        "Jos\u00e9-1",
        "Jose\u0301-1",
        "X",
    ]
    result = validated(*(f"{spelling},1" for spelling in spellings), by=by, header="who,line")
    tokens = result.rows["who"].to_pylist()
    assert len(set(tokens[:3])) == 1
    assert tokens[5] == tokens[6]
    assert [(finding.code, finding.column, finding.count) for finding in result.findings] == [("near_equal", "who", 1)]


def test_a_number_in_an_integer_column_can_be_personal_data():
    by = contract(column("ssn_copy", "int64"), column("line", "int64"))
    assert validated("123456789,1", "12345,2", by=by, header="ssn_copy,line").reasons == [
        (1, "personal_data", "ssn_copy")
    ]


def test_times_without_a_zone_are_counted():
    by = contract(column("at", "timestamp[us, tz=UTC]"), column("line", "int64"))
    result = validated("2024-01-01T00:00:00,1", "2024-01-01T00:00:00Z,2", by=by, header="at,line")
    assert [(finding.code, finding.column, finding.count) for finding in result.findings] == [("no_time_zone", "at", 1)]


FIELDS = st.sampled_from(
    ["", "C1", "C2", "1", "0", "x", "2024-05-06", "219-09-9999", "10.00", "-1", "medical", "\u00e9"]
)


@given(st.lists(st.lists(FIELDS, min_size=9, max_size=12), min_size=1, max_size=9))
def test_every_row_is_valid_or_quarantined_with_a_reason(rows: list[list[str]]):
    try:
        result = validated(*(",".join(fields) for fields in rows))
    except Refused:
        return
    good, waiting = result.valid["row_number"].to_pylist(), result.quarantined
    assert len(good) + len(waiting) + result.validator.copies == result.validator.received
    assert sorted({number for number, _, _ in result.reasons}) == waiting
    assert sum(item.count or 0 for item in result.summary) == len(result.reasons)
    assert "219-09" not in repr(result.rows.to_pylist())


def test_columns_that_a_file_of_an_earlier_layout_lacks_are_null():
    by = contract(*CLAIMS.columns, column("place", added_in="1.1.0"), column("unit", "int64", added_in="1.1.0"))
    result = validated(row(), by=by)
    assert result.quarantined == []
    (leaving,) = result.rows.to_pylist()
    assert (leaving["place"], leaving["unit"], leaving["id"] is None) == (None, None, False)
    assert [(finding.code, finding.count) for finding in result.findings if finding.code == "earlier_layout"] == [
        ("earlier_layout", 2)
    ]
