"""Parse the files of Valkey, the snapshot (RDB) and the command log (AOF): bytes in, the values of one key at a time.

In a snapshot long text is compressed (LZF), and a number stands as a number: neither is found in the bytes as they lie.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterable, Iterator

MARK = re.compile(rb"(?:REDIS|VALKEY)\d{3,4}")
_COMMAND = re.compile(rb"\*(\d{1,7})\r\n(?=\$)")
_TOGETHER = 65536
"""Bytes of values that are searched together, because each search has a fixed cost."""

Parts = Iterator[tuple[str, bytes]]


class Unreadable(Exception):
    """The bytes are no snapshot, or hold a kind of value that is not known here."""


def snapshot(hay: bytes, is_container: Callable[[bytes], bool]) -> Parts:
    """Yield keys and values of a snapshot, numbers as text, and apart what is a container. Raises Unreadable."""
    try:
        values = list(_snapshot(hay))
        numbers = [result for value in values if (result := _number(value)) is not None]
        yield from _gathered([*values, *numbers])
        yield from (("value", value) for value in values if is_container(value))
    except (IndexError, struct.error, ValueError) as exc:
        raise Unreadable from exc


def commands(hay: bytes, is_container: Callable[[bytes], bool]) -> Parts:
    """Yield what a log of commands does not show as it lies: numbers, and whatever else is a container.

    Every other argument stands in it whole. A tail that is torn, as after a power cut, ends it.
    """
    values = list(_commands(hay))
    yield from _gathered(result for value in values if (result := _number(value)) is not None)
    yield from (("value", value) for value in values if is_container(value))


def is_commands(hay: bytes) -> bool:
    return _COMMAND.match(hay) is not None or hay[:5] == b"#TS:1"


def _gathered(values: Iterable[bytes]) -> Parts:
    """Hand out many values at once, one a line."""
    current: list[bytes] = []
    size = count = 0
    for value in values:
        current.append(value)
        size += len(value) + 1
        if size >= _TOGETHER:
            yield f"values {count}", b"\n".join([b"", *current])
            current, size, count = [], 0, count + 1
    if current:
        yield f"values {count}", b"\n".join([b"", *current])


def _number(value: bytes) -> bytes | None:
    """Read a number as Feast keeps it: a protobuf field of its own (int32 is 3, int64 4, double 5)."""
    if value[:1] in {b"\x18", b"\x20"} and 2 <= len(value) <= 11 and value[-1] < 0x80:
        return b"%d" % sum((byte & 0x7F) << (7 * place) for place, byte in enumerate(value[1:]))
    if value[:1] == b"\x29" and len(value) == 9:
        (number,) = struct.unpack("<d", value[1:])
        return b"%d" % int(number) if abs(number) < 1e15 and number == int(number) else None
    return None


# --- the log of commands ----------------------------------------------------------------------------------------------


def _commands(hay: bytes) -> Iterator[bytes]:
    place = 0
    while place < len(hay):
        if hay[place : place + 1] == b"#":
            end = hay.find(b"\r\n", place)
            if end < 0:
                return
            yield hay[place:end]
            place = end + 2
            continue
        begins = _COMMAND.match(hay, place)
        if begins is None:
            return
        place = begins.end()
        for _ in range(int(begins[1])):
            end = hay.find(b"\r\n", place, place + 16)
            if end < 0 or hay[place : place + 1] != b"$":
                return
            size = int(hay[place + 1 : end])
            yield hay[end + 2 : end + 2 + size]
            place = end + 2 + size + 2


# --- the snapshot -----------------------------------------------------------------------------------------------------


class _Reader:
    """Reads the snapshot's own way of writing lengths and strings."""

    def __init__(self, hay: bytes, place: int) -> None:
        self._hay = hay
        self._place = place

    def take(self, size: int) -> bytes:
        piece = self._hay[self._place : self._place + size]
        if len(piece) != size:
            raise Unreadable
        self._place += size
        return piece

    def byte(self) -> int:
        return self.take(1)[0]

    def length(self) -> int:
        size, special = self._length()
        if special:
            raise Unreadable
        return size

    def skip(self, lengths: int) -> None:
        for _ in range(lengths):
            self.length()

    def string(self) -> bytes:
        size, special = self._length()
        if not special:
            return self.take(size)
        if size < 3:
            return b"%d" % int.from_bytes(self.take(1 << size), "little", signed=True)
        if size == 3:
            packed, plain = self.length(), self.length()
            return _expanded(self.take(packed), plain)
        raise Unreadable

    def _length(self) -> tuple[int, bool]:
        first = self.byte()
        match first >> 6:
            case 0:
                return first & 0x3F, False
            case 1:
                return (first & 0x3F) << 8 | self.byte(), False
            case 3:
                return first & 0x3F, True
            case _:
                if first not in {0x80, 0x81}:
                    raise Unreadable
                return int.from_bytes(self.take(4 if first == 0x80 else 8), "big"), False


def _expanded(packed: bytes, size: int) -> bytes:
    """Undo LZF: runs of bytes as they are, and copies of what was written before."""
    out, place = bytearray(), 0
    while place < len(packed):
        control = packed[place]
        place += 1
        if control < 32:
            out += packed[place : place + control + 1]
            place += control + 1
            continue
        length = control >> 5
        if length == 7:
            length += packed[place]
            place += 1
        begins = len(out) - ((control & 0x1F) << 8 | packed[place]) - 1
        place += 1
        if begins < 0:
            raise Unreadable
        # What is copied may reach into what the copy itself writes.
        for _ in range(length + 2):
            out.append(out[begins])
            begins += 1
    if len(out) != size:
        raise Unreadable
    return bytes(out)


def _snapshot(hay: bytes) -> Iterator[bytes]:
    begins = MARK.match(hay)
    if begins is None:
        raise Unreadable
    read = _Reader(hay, 9)
    while (kind := read.byte()) != 0xFF:
        match kind:
            case 0xFA:
                yield read.string()
                yield read.string()
            case 0xFB:
                read.skip(2)
            case 0xFE | 0xF8:
                read.skip(1)
            case 0xFD:
                read.take(4)
            case 0xFC:
                read.take(8)
            case 0xF9:
                read.byte()
            case 0xF5:
                yield read.string()
            case 0xF4:
                read.skip(3)
            case _:
                if kind not in _KINDS:
                    raise Unreadable
                yield read.string()
                yield from _KINDS[kind](read)


def _many(item: int) -> Callable[[_Reader], Iterator[bytes]]:
    """Read a number of things that are so many strings each."""

    def values(read: _Reader) -> Iterator[bytes]:
        for _ in range(read.length() * item):
            yield read.string()

    return values


def _scored(read: _Reader) -> Iterator[bytes]:
    for _ in range(read.length()):
        yield read.string()
        read.take(8)


def _expiring(read: _Reader) -> Iterator[bytes]:
    for _ in range(read.length()):
        yield read.string()
        yield read.string()
        read.take(8)


def _quicklist(read: _Reader) -> Iterator[bytes]:
    for _ in range(read.length()):
        if read.length() == 1:
            yield read.string()
        else:
            yield from _listpack(read)


def _intset(read: _Reader) -> Iterator[bytes]:
    packed = read.string()
    size, count = struct.unpack("<II", packed[:8])
    for place in range(8, 8 + size * count, size):
        yield b"%d" % int.from_bytes(packed[place : place + size], "little", signed=True)


def _listpack(read: _Reader) -> Iterator[bytes]:
    """Read strings and numbers that stand one behind the other, each followed by its own length for the way back."""
    packed, place = read.string(), 6
    while (first := packed[place]) != 0xFF:
        begins = place
        if first < 0x80:
            value, place = b"%d" % first, place + 1
        elif first < 0xC0:
            value, place = _run(packed, place + 1, first & 0x3F)
        elif first < 0xE0:
            number = (first & 0x1F) << 8 | packed[place + 1]
            value, place = b"%d" % (number - (1 << 13) if number >= 1 << 12 else number), place + 2
        elif first < 0xF0:
            value, place = _run(packed, place + 2, (first & 0x0F) << 8 | packed[place + 1])
        elif first == 0xF0:
            value, place = _run(packed, place + 5, int.from_bytes(packed[place + 1 : place + 5], "little"))
        elif first in _WIDTHS:
            value, place = _run(packed, place + 1, _WIDTHS[first])
            value = b"%d" % int.from_bytes(value, "little", signed=True)
        else:
            raise Unreadable
        yield value
        size = place - begins
        place += 1 + (size > 127) + (size >= 1 << 14) + (size >= 1 << 21) + (size >= 1 << 28)


def _run(packed: bytes, place: int, size: int) -> tuple[bytes, int]:
    return packed[place : place + size], place + size


_WIDTHS = {0xF1: 2, 0xF2: 3, 0xF3: 4, 0xF4: 8}
_KINDS: dict[int, Callable[[_Reader], Iterator[bytes]]] = {
    0: lambda read: iter([read.string()]),
    1: _many(1),
    2: _many(1),
    4: _many(2),
    5: _scored,
    11: _intset,
    16: _listpack,
    17: _listpack,
    18: _quicklist,
    20: _listpack,
    22: _expiring,
}
