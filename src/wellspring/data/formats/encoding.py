"""Read a text file in blocks and check its encoding: UTF-8 without NUL bytes; a byte order mark is removed."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from wellspring.data.formats.parsed import file_refused
from wellspring.records.content import FileContent
from wellspring.records.verdict import Reason

BLOCK_BYTES = 8 << 20
_BOM = b"\xef\xbb\xbf"
_UTF16_MARKS = ((b"\xff\xfe", "UTF-16"), (b"\xfe\xff", "UTF-16"))
_START_BYTES = 4096


def find_byte_order_mark(content: FileContent) -> tuple[Reason, ...]:
    """Return the finding of a UTF-8 byte order mark, if the file begins with one."""
    content.seek(0)
    if content.read(len(_BOM)) != _BOM:
        return ()
    return (Reason(code="bom", message="it begins with a UTF-8 byte order mark, which was removed", count=1),)


def read_text_blocks(content: FileContent, subject: str, block_bytes: int = BLOCK_BYTES) -> Iterator[bytes]:
    """Yield the file from its start, without a byte order mark. A block may end within a character.

    Raises Refused if the file is empty or white space only, is UTF-16, or contains a NUL byte.
    """
    content.seek(0)
    start, blank = content.read(_START_BYTES), True
    _check_start(start, subject)
    blocks = itertools.chain([start.removeprefix(_BOM)], iter(lambda: content.read(block_bytes), b""))
    for block in filter(None, blocks):
        if b"\0" in block:
            raise file_refused(subject, Reason(code="not_text", message="it contains NUL bytes"))
        blank = blank and block.isspace()
        yield block
    if blank:
        raise file_refused(subject, Reason(code="empty_file", message="it is empty", count=0))


def ends_with_line_end(content: FileContent) -> bool:
    """Return whether the last byte of a file is a line end."""
    content.seek(max(0, content.size - 1))
    return content.read(1) in (b"\n", b"\r")


def _check_start(start: bytes, subject: str) -> None:
    for mark, name in _UTF16_MARKS:
        if start.startswith(mark):
            raise file_refused(subject, Reason(code="not_utf8", message=f"it is {name}, not UTF-8"))
    # ASCII text in UTF-16 has a zero in every second byte.
    if max(start[::2].count(0), start[1::2].count(0)) * 4 > len(start):
        raise file_refused(
            subject, Reason(code="not_utf8", message="it is UTF-16 without a byte order mark, not UTF-8")
        )
