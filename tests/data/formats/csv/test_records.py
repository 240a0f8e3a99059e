"""One record at a time: its fields, its fault and its end."""

from __future__ import annotations

import pytest

from wellspring.data.formats.csv.dialect import Dialect
from wellspring.data.formats.csv.records import CsvRecord, split_record


@pytest.mark.parametrize(
    ("text", "record"),
    [
        (b"a,b\nc", CsvRecord([b"a", b"b"], 4)),
        (b'a,"b\n,""c"""\r\n', CsvRecord([b"a", b'b\n,"c"'], 14)),
        (b'19",b', CsvRecord([b'19"', b"b"], 5)),
        (b"a,", CsvRecord([b"a", b""], 2)),
        (b'a,"b"c,d\nx', CsvRecord([b"a", b'"b"c,d'], 9, "quote")),
        (b'a,"b \\"c\n\\" d",e\nx', CsvRecord([b"a", b'"b \\"c\n\\" d",e'], 17, "quote")),
        (b'a,"b \\"c\nx,y\n', CsvRecord([b"a", b'"b \\"c'], 9, "quote")),
        (b'a,"b\nc', CsvRecord([b"a"], 2, "unclosed")),
    ],
)
def test_a_record_is_split(text: bytes, record: CsvRecord):
    assert split_record(text, 0, Dialect(), is_last=True) == record


@pytest.mark.parametrize("text", [b"a,b", b'a,"b', b'a,"b"', b'a,"b"c', b'a,"b\\"c', b""])
def test_a_record_that_is_not_whole_waits_for_the_rest(text: bytes):
    assert split_record(text, 0, Dialect(), is_last=False) is None
