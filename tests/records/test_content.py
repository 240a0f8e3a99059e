"""The content of a file: its size, and its positions for readers of the standard library's files."""

from __future__ import annotations

import io

from wellspring.records.content import BytesContent, SeekableContent


def test_bytes_are_content_of_known_size():
    content = BytesContent(b"0123456789")
    assert (content.size, content.read(3), content.tell(), content.size) == (10, b"012", 3, 10)
    assert (content.seek(8), content.read()) == (8, b"89")


def test_positions_count_from_the_start_the_position_or_the_end():
    file = SeekableContent(BytesContent(b"0123456789"))
    assert file.readable()
    assert file.seekable()
    assert (file.seek(-4, io.SEEK_END), file.read(1)) == (6, b"6")
    assert (file.seek(1, io.SEEK_CUR), file.read(1), file.tell()) == (8, b"8", 9)
    assert (file.seek(2), file.read()) == (2, b"23456789")
