"""JSON Lines from vendors: rows read exactly, rows with a fault, and files rejected whole."""

from __future__ import annotations

import pytest

from tests.builders.contracts import column, contract, text
from tests.builders.validation import validate_file
from wellspring.data.formats.jsonl import count_jsonl_rows, read_jsonl
from wellspring.data.formats.parsed import ParsedBatch, read_all
from wellspring.errors import Refused
from wellspring.records.content import BytesContent
from wellspring.records.contracts import DataContract
from wellspring.trust.tokenization import Tokenizer

TOKENS = Tokenizer({})
TWO = contract(column("id"), column("note"), format="jsonl")
TYPED = contract(
    column("id"), column("count", "int64"), column("rate", "float64"), column("paid", "decimal128(12, 2)"),
    column("open", "bool"), column("day", "date32[day]"), format="jsonl",
)  # fmt: skip


def read_file(content: bytes, by: DataContract = TWO) -> ParsedBatch:
    return read_all(read_jsonl(BytesContent(content), by, subject="drop:1"))


def read(*lines: str, by: DataContract = TWO) -> ParsedBatch:
    return read_file(text(*lines), by)


def code(content: bytes, by: DataContract = TWO) -> str:
    with pytest.raises(Refused) as refused:
        read_file(content, by)
    verdict = refused.value.verdict
    assert verdict is not None
    assert (verdict.subject, verdict.outcome) == ("drop:1", "fail")
    return verdict.reasons[0].code


def test_rows_are_read_as_text_in_file_order_and_counted_from_one():
    parsed = read('{"note": "one", "id": 1, "more": true}', "", '{"id": "2", "note": ""}')
    assert parsed.table.to_pydict() == {"id": ["1", "2"], "note": ["one", None], "more": ["true", None]}
    assert parsed.row_numbers.to_pylist() == [1, 2]
    assert (parsed.row_faults.to_pylist(), parsed.type_faults, parsed.findings) == ([None, None], None, ())


def test_a_bad_line_keeps_its_place_with_its_fault():
    good = '{"id": "1", "note": "x"}'
    parsed = read(good, good, '{"id": NaN}', good, '{"id": 1, "id": 2}', good, "[1]")
    assert parsed.row_faults.to_pylist() == [None, None, "not_finite", None, "duplicate_key", None, "not_object"]
    assert parsed.table["id"].to_pylist() == ["1", "1", None, "1", None, "1", None]


@pytest.mark.parametrize(
    ("line", "columns"),
    [
        ('{"id": "a", "count": 1, "rate": 1, "paid": 1.10, "open": true, "day": "2026-01-02"}', None),
        ('{"id": 7, "count": "1", "rate": "1.5", "paid": "1.10", "open": "yes", "day": null}', None),
        ('{"id": 1.0}', "id"),
        ('{"id": true}', "id"),
        ('{"id": {"a": 1}}', "id"),
        ('{"id": ["a"]}', "id"),
        ('{"count": 1.0}', "count"),
        ('{"count": true}', "count"),
        ('{"rate": 9007199254740993}', "rate"),
        ('{"rate": 9007199254740992}', None),
        ('{"open": 1}', "open"),
        ('{"day": 20260102}', "day"),
        ('{"id": false, "open": 0}', "id,open"),
    ],
)
def test_a_value_of_another_json_type_is_a_fault_of_its_column(line: str, columns: str | None):
    full = '{"id": "a", "count": 1, "rate": 1, "paid": 1, "open": true, "day": null}'
    parsed = read(full, line, by=TYPED)
    faults = [None, None] if parsed.type_faults is None else parsed.type_faults.to_pylist()
    assert faults == [None, columns]


def test_numbers_are_exact_or_refused():
    lines = [
        '{"id": "1", "count": 9223372036854775807, "rate": 0.1, "paid": 1234567890.12, "open": true, "day": null}',
        '{"id": "2", "count": 9223372036854775808}',
        '{"id": "3", "paid": 1.123}',
        '{"id": "4", "rate": 1e999}',
        '{"id": "5", "paid": 1e2}',
    ]
    result = validate_file(text(*lines), TYPED, TOKENS)
    assert result.valid["count"].to_pylist() == [9223372036854775807]
    assert [str(value) for value in result.valid["paid"].to_pylist()] == ["1234567890.12"]
    assert set(result.reasons) == {(2, "type", "count"), (3, "type", "paid"), (4, "type", "rate"), (5, "type", "paid")}


def test_a_mismatched_value_is_accepted_again_under_a_corrected_contract():
    content = text('{"id": "1", "note": "x"}', '{"id": "2", "note": 1.5}')
    first = validate_file(content, TWO, TOKENS)
    assert first.reasons == [(2, "type", "note")]
    corrected = contract(column("id"), column("note", "float64"), format="jsonl")
    again = validate_file(content, corrected, TOKENS, only_rows=first.quarantined)
    assert again.valid["note"].to_pylist() == [1.5]


def test_most_values_of_another_type_stop_the_file():
    lines = [f'{{"id": {number}.5, "note": "x"}}' for number in range(20)]
    with pytest.raises(Refused, match="20 of 20 values of 'id' are not string"):
        validate_file(text(*lines), TWO, TOKENS)


def test_a_nested_value_is_read_where_the_contract_names_its_path():
    nested = contract(column("id"), column("zip", path="address.zip"), column("who", path="a.b.c"), format="jsonl")
    parsed = read(
        '{"id": "1", "address": {"zip": "12345", "city": "X"}, "a": {"b": {"c": "y"}}, "zip": "other"}',
        '{"id": "2", "address": "none", "a": {"b": null}}',
        by=nested,
    )
    assert parsed.table.to_pydict() == {
        "id": ["1", "2"], "zip": ["12345", None], "who": ["y", None], "address.city": ["X", None],
        "zip_in_file": ["other", None], "address": [None, "none"], "a.b": [None, None],
    }  # fmt: skip
    assert parsed.type_faults is not None
    assert parsed.type_faults.to_pylist() == [None, "zip"]


def test_an_undeclared_object_stays_whole():
    line = '{"id": "1", "note": "x", "extra": {"mail": "ann@example.com", "n": [1, {"k": null}]}}'
    parsed = read(line)
    assert parsed.table["extra"].to_pylist() == ['{"mail": "ann@example.com", "n": ["1", {"k": null}]}']
    findings = validate_file(text(line), TWO, TOKENS).findings
    assert "email in 1 rows" in findings[0].message


@pytest.mark.parametrize(
    ("expected", "content"),
    [
        ("empty_file", b""),
        ("empty_file", b" \n\r\n"),
        ("not_utf8", '{"id": 1}'.encode("utf-16")),
        ("not_utf8", b'{"id": "\xe9"}\n' * 3),
        ("not_text", b'{"id": "1", "note": "x"}\n{"id": "\0"}\n'),
        ("unreadable", text("id,note", "1,x")),
        ("unreadable", text("[", '{"id": 1}', "]")),
        ("unreadable", text('[{"id": 1}]')),
        ("unreadable", text("{", '"id": 1', "}")),
        ("unreadable", b"%PDF-1.7\n%\xe2\n"),
        ("truncated", b'{"id": "1", "note": "x"}\n{"id": "2", "no'),
        ("truncated", b'{"id": "1", "note": "x"}\n{"id": "\xc3'),
        ("truncated", b'{"id": "1", "no'),
        ("unreadable", text('{"id": "1", "note": "x"}', '{"id": NaN}', '{"id": NaN}')),
        ("missing_column", text('{"id": "1"}', '{"id": "2", "Note": "x"}')),
        ("missing_column", text('{"a": "1"}')),
        ("too_many_keys", text(*(f'{{"id": "1", "note": "x", "k{number}": 1}}' for number in range(1001)))),
    ],
)
def test_unsafe_file_is_rejected(expected: str, content: bytes):
    assert code(content) == expected


def test_byte_order_mark_and_missing_final_line_end_are_findings():
    parsed = read_file(b'\xef\xbb\xbf{"id": "1", "note": "x"}\r\n{"id": "2", "note": "y"}')
    assert parsed.table["id"].to_pylist() == ["1", "2"]
    assert [finding.code for finding in parsed.findings] == ["bom", "no_final_newline"]


def test_truncated_file_is_rejected_or_loses_no_row():
    content = text('{"id": "10", "note": "é"}', '{"id": "20", "note": "x"}', '{"id": "30", "note": "y"}')
    for end in range(1, len(content)):
        try:
            parsed = read_file(content[:end])
        except Refused:
            continue
        assert content[:end].endswith((b"\n", b"}"))
        assert parsed.row_count == content[: end + 1].count(b"\n")


def test_a_refusal_never_quotes_the_file():
    for content in (b"Ann\n", b'{"Ann": 1}\n', b'{"id": "Ann', b'{"id": "1", "note": "x", "Ann": NaN}\n', b'["Ann"]\n'):
        with pytest.raises(Refused) as refused:
            read_file(content)
        assert "Ann" not in f"{refused.value.what} {refused.value.fix} {refused.value.verdict}"


def test_rows_of_a_rejected_file_are_counted():
    assert count_jsonl_rows(BytesContent(b'\xef\xbb\xbf{"a": 1}\n\n{"a": 2}\n'), TWO) == 2
    assert count_jsonl_rows(BytesContent(b"%PDF-1.7\n%\xe2\n"), TWO) == 0
    assert count_jsonl_rows(BytesContent(b""), TWO) == 0
