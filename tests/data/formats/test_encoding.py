"""Text files: the encodings that are refused, and the mark that is removed."""

from __future__ import annotations

import pytest

from wellspring.data.formats.encoding import check_encoding
from wellspring.errors import Refused


def test_a_byte_order_mark_is_removed_and_recorded():
    content, findings = check_encoding(b"\xef\xbb\xbfa\n", "drop:1")
    assert (content, [finding.code for finding in findings]) == (b"a\n", ["bom"])


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "empty_file"),
        (b"\xef\xbb\xbf \n", "empty_file"),
        ("a\n".encode("utf-16"), "not_utf8"),
        ("abcd\n".encode("utf-16-le"), "not_utf8"),
        (b"abcdefgh\0\n", "not_text"),
    ],
)
def test_what_is_not_text_is_refused(content: bytes, code: str):
    with pytest.raises(Refused) as raised:
        check_encoding(content, "drop:1")
    assert raised.value.verdict is not None
    assert raised.value.verdict.reasons[0].code == code
