"""Line packs: their form, and what damaged ones get."""

from __future__ import annotations

import bz2

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wellspring.errors import CorruptedError
from wellspring.trust.ledger.line_pack import FRAME_LINES, HEAD, LinePack, encode_pack

LINES = [(3 * number + 1, b'{"n":%d}' % number) for number in range(FRAME_LINES + 10)]


def encode(lines: list[tuple[int, bytes]]) -> bytes:
    pack = encode_pack("example.com/log", iter(lines))
    assert pack is not None
    return pack.content


def test_each_line_is_found_by_its_index_and_no_other():
    pack = LinePack(encode(LINES))
    assert (pack.origin, pack.first, pack.last, pack.lines) == ("example.com/log", 1, LINES[-1][0], len(LINES))
    assert list(pack.iter_lines()) == LINES
    assert list(pack.iter_lines(LINES[FRAME_LINES][0])) == LINES[FRAME_LINES:]
    assert all(pack.find_line(tree_index) == line for tree_index, line in LINES)
    assert [pack.find_line(tree_index) for tree_index in (0, 2, LINES[-1][0] + 1)] == [None] * 3


@given(st.lists(st.binary(max_size=40).filter(lambda line: b"\n" not in line), min_size=1, max_size=20))
def test_any_lines_come_back(contents: list[bytes]):
    lines = list(enumerate(contents))
    assert list(LinePack(encode(lines)).iter_lines()) == lines


def test_without_a_line_there_is_no_pack():
    assert encode_pack("example.com/log", iter(())) is None


def test_any_tool_that_knows_bzip2_can_read_a_frame():
    stream = bz2.BZ2Decompressor()
    assert stream.decompress(encode(LINES)[len(HEAD) :]).splitlines()[0] == b'1 {"n":0}'


@pytest.mark.parametrize("content", [b"", b"nonsense", HEAD, HEAD + bytes(8), b"x" + encode(LINES)[1:]])
def test_bytes_that_are_no_pack_are_an_error(content: bytes):
    with pytest.raises(CorruptedError, match="its table cannot be read"):
        LinePack(content)


def test_a_pack_that_is_cut_or_changed_is_an_error():
    content = encode(LINES)
    for cut in (1, 8, 20, 200):
        with pytest.raises(CorruptedError):
            list(LinePack(content[:-cut]).iter_lines())
    changed = content[: len(HEAD) + 30] + bytes([content[len(HEAD) + 30] ^ 1]) + content[len(HEAD) + 31 :]
    with pytest.raises(CorruptedError, match="a frame"):
        list(LinePack(changed).iter_lines())
