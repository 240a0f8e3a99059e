"""CSV from vendors: parsed unchanged, or rejected with a stable code."""

import csv as standard
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.builders.contracts import column, contract, text
from wellspring.data.formats import csv
from wellspring.data.formats.csv.dialect import Dialect
from wellspring.data.formats.csv.stream import CsvStream
from wellspring.data.formats.parsed import MAX_COLUMNS, ParsedBatch, read_all
from wellspring.errors import Refused
from wellspring.records.content import BytesContent
from wellspring.records.contracts import DataContract

TWO = contract(column("id"), column("note"))
GOOD = text("id,note", "1,one", "2,two")


def read(content: bytes, by: DataContract = TWO) -> ParsedBatch:
    return read_all(csv.read_csv(BytesContent(content), by, subject="drop:1"))


def code(content: bytes) -> str:
    with pytest.raises(Refused) as refused:
        read(content)
    verdict = refused.value.verdict
    assert verdict is not None
    assert (verdict.subject, verdict.outcome) == ("drop:1", "fail")
    return verdict.reasons[0].code


def values(content: bytes) -> list[tuple[str | None, ...]]:
    return list(zip(*read(content).table.to_pydict().values(), strict=True))


def test_rows_are_read_as_text_in_file_order_and_counted_from_one():
    parsed = read(text("note,id,more", "one,1,a", "two,2,b"))
    assert parsed.column_names == ["note", "id", "more"]
    assert parsed.table.to_pydict() == {"note": ["one", "two"], "id": ["1", "2"], "more": ["a", "b"]}
    assert parsed.row_numbers.to_pylist() == [1, 2]
    assert parsed.row_faults.to_pylist() == [None, None]
    assert parsed.findings == ()


@pytest.mark.parametrize("field", ["007", " 1 ", "1.50", "NULL", "nan", "true", "2024-01-01", "\u00e9", "-"])
def test_a_field_is_neither_trimmed_nor_guessed(field: str):
    assert values(text("id,note", f"1,{field}")) == [("1", field)]


def test_an_empty_field_is_null_quoted_or_not():
    assert values(b'id,note\n1,\n2,""\n,3\n') == [("1", None), ("2", None), (None, "3")]


def test_line_ends_delimiters_and_quotes_stand_within_quotes():
    content = b'id,note\n1,"one\ntwo"\n2,"a,b"\n3,"say ""x"""\n4,plain\n'
    assert values(content) == [("1", "one\ntwo"), ("2", "a,b"), ("3", 'say "x"'), ("4", "plain")]
    assert read(content).row_numbers.to_pylist() == [1, 2, 3, 4]


def test_the_header_may_be_quoted_and_lines_may_end_as_on_windows():
    assert values(b'"id","note"\r\n1,one\r\n2,"t\r\nwo"\r\n') == [("1", "one"), ("2", "t\r\nwo")]


def test_empty_lines_are_skipped():
    parsed = read(b"id,note\n\n1,one\n\n2\n3,three\n\n\n")
    assert parsed.table["id"].to_pylist() == ["1", "2", "3"]
    assert parsed.row_numbers.to_pylist() == [1, 2, 3]
    assert parsed.row_faults.to_pylist() == [None, "fields", None]


def test_byte_order_mark_is_removed_and_reported():
    parsed = read(b"\xef\xbb\xbf" + GOOD)
    assert parsed.column_names == ["id", "note"]
    assert [note.code for note in parsed.findings] == ["bom"]


def test_missing_final_line_end_is_reported():
    parsed = read(GOOD[:-1])
    assert parsed.row_count == 2
    assert [note.code for note in parsed.findings] == ["no_final_newline"]


def test_row_of_wrong_width_keeps_its_place_with_a_fault():
    parsed = read(text("id,note", "1,one", "2", "3,a,b,c", "4,four", '5,"x,y"'))
    assert parsed.row_numbers.to_pylist() == [1, 2, 3, 4, 5]
    assert parsed.row_faults.to_pylist() == [None, "fields", "fields", None, None]
    assert parsed.table["id"].to_pylist() == ["1", "2", "3", "4", "5"]
    assert parsed.table["note"].to_pylist() == ["one", None, "a,b,c", "four", "x,y"]


FOUR = contract(column("id"), column("count", "int64"), column("b"), column("note"))


def test_row_that_contains_other_rows_has_a_fault():
    parsed = read(text("id,count,b,note", '1,7,y,"one', "2,7,y,two", '3,7,y,three"', "4,7,y,four"), FOUR)
    assert parsed.table["id"].to_pylist() == ["1", "4"]
    assert parsed.row_faults.to_pylist() == ["fields", None]
    assert parsed.findings == ()


@pytest.mark.parametrize(
    "note",
    [
        "one, and\ntwo, too",
        "a list:\nx, y, z, and more",
        "a list:\n1, y, z, and more, as said",
        "measured:\n,,,",
        "first\r\n\r\nsecond",
        "5,5,5,5",
    ],
)
def test_a_quoted_note_with_line_ends_and_commas_is_a_value(note: str):
    parsed = read(text("id,count,b,note", f'1,7,y,"{note}"', "2,8,y,x"), FOUR)
    assert parsed.table["note"].to_pylist() == [note, "x"]
    assert parsed.row_faults.to_pylist() == [None, None]
    expected = [("embedded_lines", 1)] if "\n" in note else []
    assert [(finding.code, finding.count) for finding in parsed.findings] == expected


def test_a_line_that_does_not_fit_a_pattern_or_a_list_of_values_is_no_row():
    shaped = contract(column("id", pattern="^[0-9]$"), column("kind", enum=("a", "b")), column("b"), column("note"))
    swallowed, note = text("id,kind,b,note", '1,a,y,"x', '2,b,y,z"'), text("id,kind,b,note", '1,a,y,"x', '2,c,y,z"')
    assert read(swallowed, shaped).row_faults.to_pylist() == ["fields"]
    assert read(note, shaped).row_faults.to_pylist() == [None]
    assert read(text("id,kind,b,note", '1,a,y,"x', 'two,a,y,z"'), shaped).row_faults.to_pylist() == [None]


def test_an_inch_mark_is_a_character():
    parsed = read(text("id,note", '1,19" screen', '2,20"', '3,"a ""b"" c"', "4,5' 6\""))
    assert parsed.table["note"].to_pylist() == ['19" screen', '20"', 'a "b" c', "5' 6\""]
    assert parsed.row_faults.to_pylist() == [None] * 4


def test_text_after_a_closing_quote_is_a_fault_of_its_row():
    lines = ['1,"say \\"x\\", ok"', "2,two", '3,"a"b', "4,four", '5,"19\\" screen, new"', "6,six", "7,seven"]
    parsed = read(text("id,note", *lines))
    assert parsed.row_faults.to_pylist() == ["quote", None, "quote", None, "quote", None, None]
    assert parsed.table["id"].to_pylist() == list("1234567")
    assert parsed.table["note"].to_pylist()[2] == '"a"b'


def test_a_value_with_undeclared_escapes_and_line_ends_is_one_row():
    parsed = read(text("id,note", '1,"say \\"x\\"', 'two,b"', "2,two", "3,three"))
    assert parsed.table["id"].to_pylist() == ["1", "2", "3"]
    assert parsed.row_faults.to_pylist() == ["quote", None, None]


def test_backslash_escapes_are_read_where_they_are_declared():
    escaped = contract(column("id"), column("note"), format_settings={"escape": "backslash"})
    lines = ['1,"say \\"x\\"', 'two, ok"', '2,19\\"', '3,"C:\\\\dir\\"""', '4,"a\\nb"', "5,a\\,b", "6,six"]
    parsed = read(text("id,note", *lines), escaped)
    assert parsed.table["note"].to_pylist() == ['say "x"\ntwo, ok', '19"', '"C:\\\\dir\\"""', "a\\nb", "a,b", "six"]
    assert parsed.row_faults.to_pylist() == [None, None, "quote", None, None, None]


def test_quotes_are_characters_where_none_are_declared():
    unquoted = contract(column("id"), column("note"), format_settings={"quote": "none"})
    parsed = read(text("id,note", '1,"one"', '2,"two', '3,19"'), unquoted)
    assert parsed.table["note"].to_pylist() == ['"one"', '"two', '19"']


def test_an_open_quote_is_refused_with_its_line():
    with pytest.raises(Refused, match="a quote is opened in line 3 and not closed"):
        read(text("id,note", "1,one", '2,"two', "3,three"))


@pytest.mark.parametrize(
    ("expected", "content"),
    [
        ("empty_file", b""),
        ("empty_file", b"\n \r\n"),
        ("empty_file", b"\xef\xbb\xbf"),
        ("header_only", b"id,note\n"),
        ("header_only", b"id,note"),
        ("not_utf8", GOOD.decode().encode("utf-16")),
        ("not_utf8", GOOD.decode().encode("utf-16-le")),
        ("not_utf8", GOOD.decode().encode("utf-16-be")),
        ("not_utf8", b"\xfe\xff" + GOOD.decode().encode("utf-16-be")),
        ("not_utf8", text("id,note", "1,one") + b"2,caf\xe9\n"),
        ("not_text", text("id,note", "1,one\0two")),
        ("wrong_delimiter", text("id;note", "1;one")),
        ("wrong_delimiter", text("id|note", "1|one")),
        ("wrong_delimiter", text("id\tnote", "1\tone")),
        ("duplicate_header", text("id,note,id", "1,one,2")),
        ("missing_column", text("id,other", "1,one")),
        ("missing_column", text("1,one", "2,two")),
        ("truncated", b"id,note\n1,one\n2"),
        ("truncated", b"id,note\n1,one\n2\n"),
        ("truncated", b'id,note\n1,one\n2,"tw'),
        ("unbalanced_quote", text("id,note", '1,"one', "2,two")),
        ("ragged", text("id,note", "1,a,b", "2,a,b", "3,c")),
        ("quote", text("id,note", '1,"a"b', '2,"a"b', "3,c")),
        ("unreadable", b'"id"x,note\n1,one\n'),
    ],
)
def test_unsafe_csv_file_is_rejected(expected: str, content: bytes):
    assert code(content) == expected


def test_utf16_and_the_line_of_an_invalid_byte_are_reported():
    with pytest.raises(Refused, match="UTF-16"):
        read(GOOD.decode().encode("utf-16"))
    with pytest.raises(Refused, match="line 3 is not UTF-8"):
        read(text("id,note", "1,one") + b"2,caf\xe9\n")


def test_truncated_file_is_rejected_or_reported():
    content = text("id,note", "10,one", '20,"two, and more"', "30,three")
    for end in range(1, len(content)):
        try:
            parsed = read(content[:end])
        except Refused:
            continue
        whole = content[:end].endswith(b"\n")
        assert whole or [note.code for note in parsed.findings] == ["no_final_newline"]
        assert parsed.row_count == content[:end].count(b"\n") - (1 if whole else 0)


def test_a_refusal_never_quotes_the_file():
    for content in (
        b"id,note\nAnn,x\nBob",
        b'id,note\nAnn,"Bob\n',
        b"Ann;Bob\nid,note\n",
        b"Ann,Bob\nid,note\n",
        b"\0Ann",
    ):
        with pytest.raises(Refused) as refused:
            read(content)
        result = f"{refused.value.what} {refused.value.fix} {refused.value.verdict}"
        assert "Ann" not in result
        assert "Bob" not in result


FIELD = st.text(st.characters(codec="utf-8", exclude_characters="\0", exclude_categories=["Cs"]), max_size=8)


@given(st.lists(st.tuples(FIELD.filter(len), FIELD), min_size=1, max_size=20))
def test_what_the_standard_library_writes_is_read_back(rows: list[tuple[str, str]]):
    written = io.StringIO(newline="")
    writer = standard.writer(written, quoting=standard.QUOTE_ALL, lineterminator="\n")
    writer.writerows([("id", "note"), *rows])
    assert values(written.getvalue().encode()) == [tuple(field or None for field in row) for row in rows]


def test_a_row_longer_than_any_block_is_read():
    long = "x" * 3_000_000
    assert values(text("id,note", f"1,{long}", "2,two"))[0] == ("1", long)


@pytest.mark.parametrize("mark", [";", "|", "\t"])
def test_another_delimiter_may_be_declared(mark: str):
    delimited = FOUR.model_copy(update={"format_settings": {"delimiter": mark}})
    lines = ["id,count,b,note", '1,7,y,"one', '2,7,y,two"', "3,x", "4,7,y,four", '5,7,19",6"']
    parsed = read(text(*(line.replace(",", mark) for line in lines)), delimited)
    assert parsed.table["id"].to_pylist() == ["1", "3", "4", "5"]
    assert parsed.row_faults.to_pylist() == ["fields", "fields", None, None]
    with pytest.raises(Refused, match="separated by commas, not by"):
        read(text("id,count,b,note", "1,2,3,4"), delimited)


def test_rows_of_a_rejected_file_are_counted():
    assert csv.count_csv_rows(BytesContent(b'\xef\xbb\xbfid,note\n1,"a\nb"\n\n2\n'), contract()) == 2
    assert csv.count_csv_rows(BytesContent(b"\xff"), contract()) == 0


def test_the_rows_of_a_rejected_file_are_counted_by_its_delimiter():
    # To commas, the quotes stand within a field, and each line end ends a row.
    content = b'id;note\n1;"a\nb"\n2;"c\n\nd"\n'
    assert csv.count_csv_rows(BytesContent(content), contract(format_settings={"delimiter": ";"})) == 2


def test_the_header_of_a_joined_file_is_not_a_row_of_values():
    both = contract(column("id"), column("note"))
    rows = read(text("id,note", "1,x", "id,note", "2,y"), both)
    assert rows.row_faults.to_pylist() == [None, "repeated_header", None]


def test_header_of_too_many_columns_is_refused_after_as_many_fields(monkeypatch: pytest.MonkeyPatch):
    content = b"id,note" + b",x" * 4_000_000 + b"\n1,one\n"
    monkeypatch.setattr(CsvStream, "read_rows", lambda *_: pytest.fail("rows were read"))
    assert code(content) == "over_budget"
    assert csv.CSV.count_rows(BytesContent(content), TWO) == 0


def test_header_of_as_many_columns_as_a_file_may_have_is_read():
    names = [f"c{number}" for number in range(MAX_COLUMNS)]
    stream = CsvStream(iter([text(",".join(names))]), Dialect(), "drop:1")
    assert stream.read_header() == names
