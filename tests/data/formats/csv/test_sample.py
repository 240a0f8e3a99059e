"""A CSV file without a contract: each error has its own text, with a line where there is one."""

from __future__ import annotations

from pathlib import Path

import pytest

from wellspring.data.formats.csv.sample import read_csv_sample
from wellspring.errors import ProjectError


def error(tmp_path: Path, content: bytes) -> str:
    path = tmp_path / "orders.csv"
    path.write_bytes(content)
    with pytest.raises(ProjectError) as result:
        read_csv_sample(path)
    return f"{result.value.what.removeprefix(str(path))} FIX {result.value.fix}"


def test_rows_are_text_and_an_empty_field_is_null(tmp_path: Path):
    (tmp_path / "a.csv").write_bytes(b'\xef\xbb\xbforder_id,note\r\n007,"a\nb"\r\n8,\r\n')
    assert read_csv_sample(tmp_path / "a.csv").rows.to_pydict() == {
        "order_id": ["007", "8"],
        "note": ["a\nb", None],
    }


def test_a_file_that_only_reads_with_backslash_escapes_gives_the_setting(tmp_path: Path):
    path = tmp_path / "a.csv"
    path.write_bytes(b'order_id,note\n7,"say \\"x\\", ok"\n8,"19\\""\n')
    sample = read_csv_sample(path)
    assert sample.rows["note"].to_pylist() == ['say "x", ok', '19"']
    assert sample.settings == {"escape": "backslash"}
    path.write_bytes(b'order_id,note\n7,"C:\\dir"\n8,C:\\x\n')
    sample = read_csv_sample(path)
    assert (sample.rows["note"].to_pylist(), sample.settings) == (["C:\\dir", "C:\\x"], {})


@pytest.mark.parametrize(
    ("content", "output"),
    [
        (b"", "it is empty"),
        (b" \n\n", "it is empty"),
        (b"a,b\n", "it has a header and no rows"),
        (b"a;b\n1;2\n", "separated by semicolons, not by commas FIX save it with commas"),
        (b"a\tb\n1\t2\n", "separated by tabs"),
        (b"a,b\n1,2\n1,\xe9\n", "line 3 is not UTF-8"),
        ("a,b\n1,é\n".encode("utf-16"), "it is UTF-16"),
        ("größe,b\n1,2\n".encode("latin-1"), "line 1 is not UTF-8"),
        (b"a,b\n1,2\n1,2,3\n1,2\n", "a row does not have the header's 2 fields; line 3 has 3, not 2"),
        (b"a,b\n1,2,3\n", "line 2 has 3, not 2"),
        (b'a,b\n1,"x\ny"\n1\n1,2\n', "line 4 has 1, not 2"),
        (b'a,b\n1,"x\n1,2\n', "a quote is opened in line 2 and not closed"),
        (b'a,b\n1,x\n1,"x"y\n1,2\n', "line 3 has text after a closing quote FIX quote fields"),
        (b'a,b\n1,"x"y\n1,"z"\\\n', "in 2 of 2 rows, text follows a closing quote; line 2 has text after"),
        (b"PAR1....PAR1", "is Parquet, not CSV"),
        (b"PK\x03\x04....", "a workbook or a zip file"),
        (b"a,\n1,2\n", "has a value, or nothing, instead of the name of column 2"),
        (b"a,A\n1,2\n", "two of its columns have the same name"),
        (b"a,a\n1,2\n", "two of its columns have the same name"),
        (b"fault,b\n1,2\n", "fault is reserved"),
        (b"Row_Number,b\n1,2\n", "row_number is reserved"),
    ],
)  # fmt: skip
def test_each_csv_error_is_named(tmp_path: Path, content: bytes, output: str):
    assert output in error(tmp_path, content)


@pytest.mark.parametrize(
    "line", ["7,Ada", "2026-01-02,Ada", "ada@mail.example,b", "Ada,shoe", "5,5", "+1.5,Ada", "Ada Lovelace,Acme & Co"]
)
def test_header_of_values_is_reported_and_not_quoted(tmp_path: Path, line: str):
    result = error(tmp_path, f"{line}\n8,shoe\n9,hat\n".encode())
    assert "insert a header line" in result
    assert not [value for value in line.replace("5", "").split(",") if len(value) > 1 and value in result]


def test_recognizable_column_name_gets_a_suggestion(tmp_path: Path):
    assert "name it member_id;" in error(tmp_path, b"Member ID,b\nx,2\n")
    assert "'Order date'" in error(tmp_path, b"b,Order date\n1,2\n")


def test_a_repeated_header_is_named(tmp_path: Path):
    file = tmp_path / "joined.csv"
    file.write_bytes(b"id,kind\nA1,x\nid,kind\nA2,y\n")
    with pytest.raises(ProjectError, match="a row repeats the header"):
        read_csv_sample(file)
