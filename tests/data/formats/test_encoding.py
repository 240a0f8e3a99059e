"""Text files: read in blocks, the encodings that are refused, and the mark that is removed."""

from __future__ import annotations

import pytest

from wellspring.data.formats.encoding import ends_with_line_end, find_byte_order_mark, read_text_blocks
from wellspring.errors import Refused
from wellspring.records.content import BytesContent


def test_a_byte_order_mark_is_removed_and_recorded():
    content = BytesContent(b"\xef\xbb\xbfa\n")
    assert list(read_text_blocks(content, "drop:1")) == [b"a\n"]
    assert [finding.code for finding in find_byte_order_mark(content)] == ["bom"]


def test_a_file_is_read_in_blocks_from_its_start():
    content = BytesContent("ä".encode() * 5000)
    blocks = list(read_text_blocks(content, "drop:1", block_bytes=501))
    assert (b"".join(blocks), max(map(len, blocks[1:]))) == (content.getvalue(), 501)
    assert list(read_text_blocks(content, "drop:1", block_bytes=501)) == blocks


def test_a_line_end_at_the_end_of_a_file_is_seen():
    assert [ends_with_line_end(BytesContent(text)) for text in (b"", b"a", b"a\n", b"a\r")] == [
        False,
        False,
        True,
        True,
    ]


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "empty_file"),
        (b"\xef\xbb\xbf", "empty_file"),
        (b"\xef\xbb\xbf \n", "empty_file"),
        (b" " * 20_000, "empty_file"),
        ("a\n".encode("utf-16"), "not_utf8"),
        ("abcd\n".encode("utf-16-le"), "not_utf8"),
        (b"abcdefgh\0\n", "not_text"),
        (b"a" * 20_000 + b"\0", "not_text"),
    ],
)
def test_what_is_not_text_is_refused(content: bytes, code: str):
    with pytest.raises(Refused) as raised:
        list(read_text_blocks(BytesContent(content), "drop:1"))
    assert raised.value.verdict is not None
    assert raised.value.verdict.reasons[0].code == code
