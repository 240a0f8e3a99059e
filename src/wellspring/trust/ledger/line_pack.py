"""A line pack: the lines of many answers in one compressed file, which is named by its SHA-256.

The file is a head line, then frames, then the table of the frames as canonical JSON, then the length of that table in
eight bytes, big-endian. A frame is a bzip2 stream of up to FRAME_LINES lines, each after its index in the tree and a
space. So one line is read by decompressing one frame, and any tool that knows bzip2 can read them all.
"""

from __future__ import annotations

import bz2
import functools
import itertools
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from wellspring.errors import CorruptedError
from wellspring_verify import canonical

HEAD = b"wellspring line pack 1\n"
FRAME_LINES = 128
_MAX_FRAME_BYTES = FRAME_LINES * (65_535 + 24)
"""An entry has at most 65,535 bytes; its index, a space and a newline come with it."""
_CACHED_FRAMES = 64
_LENGTH_BYTES = 8
_FIX = "keep the file, restore it from a copy; run `wellspring ledger verify`"


class EncodedPack(NamedTuple):
    """The bytes of a pack. first, last: tree indexes of its first and last line."""

    content: bytes
    first: int
    last: int
    lines: int


class _Frame(NamedTuple):
    first: int
    offset: int
    length: int


def encode_pack(origin: str, lines: Iterable[tuple[int, bytes]]) -> EncodedPack | None:
    """Compress lines, given by ascending tree index, into a pack; None without a line. origin: the log's name."""
    parts, table, count = [HEAD], list[canonical.CanonicalValue](), 0
    first = last = -1
    offset, remaining = len(HEAD), iter(lines)
    while frame := list(itertools.islice(remaining, FRAME_LINES)):
        content = bz2.compress(b"".join(b"%d %b\n" % item for item in frame))
        table.append([frame[0][0], offset, len(content)])
        parts.append(content)
        first = first if count else frame[0][0]
        offset, count, last = offset + len(content), count + len(frame), frame[-1][0]
    if not count:
        return None
    footer = canonical.dumps_canonical(
        {"version": 1, "origin": origin, "first": first, "last": last, "lines": count, "frames": table}
    )
    content = b"".join((*parts, footer, len(footer).to_bytes(_LENGTH_BYTES, "big")))
    return EncodedPack(content, first, last, count)


class LinePack:
    """A pack that was read. Raises CorruptedError for bytes of another form."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        try:
            length = int.from_bytes(content[-_LENGTH_BYTES:], "big")
            footer = canonical.loads_canonical(content[len(content) - _LENGTH_BYTES - length : -_LENGTH_BYTES])
            if not content.startswith(HEAD) or not isinstance(footer, dict) or footer["version"] != 1:
                raise ValueError("it has another form")
            self.origin = str(footer["origin"])
            self.first, self.last, self.lines = (_read_count(footer[name]) for name in ("first", "last", "lines"))
            self._frames = [_parse_frame(row) for row in _read_list(footer["frames"])]
        except (ValueError, KeyError):
            raise CorruptedError("a line pack is damaged: its table cannot be read", fix=_FIX) from None
        self._starts = [frame.first for frame in self._frames]
        self._read_frame = functools.lru_cache(_CACHED_FRAMES)(self._decompress)

    def find_line(self, tree_index: int) -> bytes | None:
        """Return the line of one entry; None if the pack does not have it. Raises CorruptedError."""
        position = bisect_right(self._starts, tree_index) - 1
        lines = self._read_frame(self._frames[position]) if position >= 0 else ()
        return next((line for index, line in lines if index == tree_index), None)

    def iter_lines(self, first: int = 0) -> Iterator[tuple[int, bytes]]:
        """Yield (tree index, line) from an index on, ascending. Raises CorruptedError."""
        start = max(0, bisect_right(self._starts, first) - 1)
        for frame in self._frames[start:]:
            yield from ((index, line) for index, line in self._decompress(frame) if index >= first)

    def _decompress(self, frame: _Frame) -> list[tuple[int, bytes]]:
        stream = bz2.BZ2Decompressor()
        try:
            text = stream.decompress(self._content[frame.offset : frame.offset + frame.length], _MAX_FRAME_BYTES)
            rows = [row.split(b" ", 1) for row in text.split(b"\n")[:-1]]
            lines = [(int(index), line) for index, line in rows]
        except (OSError, ValueError):
            lines = []
        if not lines or not stream.eof or lines[0][0] != frame.first:
            raise CorruptedError("a line pack is damaged: a frame of it cannot be read", fix=_FIX)
        return lines


def _read_count(value: canonical.CanonicalValue) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError("not a count")
    return value


def _read_list(value: canonical.CanonicalValue) -> list[canonical.CanonicalValue]:
    if not isinstance(value, list) or not value:
        raise ValueError("not a list")
    return value


def _parse_frame(value: canonical.CanonicalValue) -> _Frame:
    first, offset, length = (_read_count(number) for number in _read_list(value))
    return _Frame(first, offset, length)
