"""Bytes of an online row: Feast's hash (0.67, entity keys of version 3), and one packed field of ours beside it.

Feast reads such a row as its own. Our field `_ws:VIEW` says what Feast's `_ts:VIEW` cannot: the sequence that breaks
ties of knowledge, and the edition that the row was read from. Written out here, because the process that answers must
not load Feast; tests hold each byte against Feast's own code.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Literal, NamedTuple

from wellspring.errors import Broken, Refused
from wellspring.records.data import FeatureRow, View

if TYPE_CHECKING:
    import pyarrow as pa

TOKEN = re.compile(r"[a-z][a-z0-9_]*_k[0-9]+_[a-z2-7]{26}")
"""What the enclave's tokens look like; nothing else is a key."""

Value = int | float | bool | str | None
Kind = Literal["int64", "float64", "bool", "string"]
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_STRING = struct.pack("<I", 2)
_MARK = struct.Struct(">qqq12s")
_DOUBLE = struct.Struct("<Bd")
_TAGS: Mapping[Kind, int] = {"string": 0x12, "int64": 0x20, "float64": 0x29, "bool": 0x38}


class Mark(NamedTuple):
    """What `_ws:VIEW` holds: when the row was known, what breaks a tie, and its edition. Instants in microseconds.

    Big-endian, in the order of what wins: knowledge first, then the edition that was published later.
    """

    known_since: int
    sequence: int
    published: int
    edition: str

    def encode(self) -> bytes:
        return _MARK.pack(self.known_since, self.sequence, self.published, self.edition.encode("ascii"))

    @classmethod
    def decode(cls, raw: bytes) -> Mark:
        """Raises Broken when the bytes are no mark."""
        if len(raw) != _MARK.size:
            raise Broken("a row of the online store has no readable mark", fix=_AGAIN)
        known_since, sequence, published, edition = _MARK.unpack(raw)
        return cls(known_since, sequence, published, edition.decode("ascii", "replace"))


class Layout:
    """Where the rows of one view lie, and how one is written and read. fields: of the hash, in the order asked for."""

    def __init__(self, project: str, view: View) -> None:
        self.view = view
        # Feast sorts by the key's name; a caller gives the values in the view's order.
        self._order = sorted(range(len(view.keys)), key=lambda place: view.keys[place])
        names = b"".join(_text(view.keys[place]) for place in self._order)
        self._head = struct.pack("<I", len(view.keys)) + names
        self._tail = project.encode()
        own = [struct.pack("<I", murmur3(f"{view.name}:{each.name}".encode())) for each in view.features]
        self.mark = f"_ws:{view.name}".encode()
        self.fields: tuple[bytes, ...] = (*own, f"_ts:{view.name}".encode(), self.mark)
        self._readers = [(each.name, _READERS[each.type]) for each in view.features]

    def key(self, values: Sequence[str]) -> bytes:
        """Name the hash of one thing. Raises Refused, without repeating it, for a key that is no token."""
        if len(values) != len(self.view.keys) or not all(TOKEN.fullmatch(each) for each in values):
            raise not_a_token(self.view)
        return self.name(values)

    def name(self, values: Sequence[str]) -> bytes:
        """Name the hash of one thing whose key was checked."""
        return b"".join((self._head, *(_text(values[place]) for place in self._order), self._tail))

    def encode(self, rows: pa.Table, *, published: datetime, edition: str) -> list[Sequence[bytes]]:
        """Encode a table, column by column, in the order of `fields`; known_since and sequence have no null."""
        import pyarrow as pa

        columns: list[Sequence[bytes]] = [encoded(each.type, rows[each.name]) for each in self.view.features]
        instants = rows["known_since"].cast(pa.timestamp("us", "UTC")).cast(pa.int64()).to_pylist()
        columns.append([timestamp(each) for each in instants])
        at, mark, name = microseconds(published), _MARK.pack, edition.encode("ascii")
        sequences = rows["sequence"].to_pylist()
        columns.append([mark(one, two, at, name) for one, two in zip(instants, sequences, strict=True)])
        return columns

    def decode(self, key: tuple[str, ...], reply: Sequence[bytes | None]) -> FeatureRow | None:
        """Read the fields of one hash; None when nothing is known under this definition of the view.

        Raises Broken when another program than ours has written the row.
        """
        mark = reply[-1]
        if mark is None:
            return None
        told = Mark.decode(mark)
        if reply[-2] != timestamp(told.known_since):
            raise Broken(f"a row of {self.view.name} was changed in the online store by another program", fix=_AGAIN)
        values: dict[str, Value] = {}
        for (name, read), raw in zip(self._readers, reply, strict=False):
            if raw is None:
                # The row was written before the view had this feature: as a whole it is not known yet.
                return None
            values[name] = read(raw) if raw else None
        return FeatureRow(self.view.name, key, values, instant(told.known_since), told.sequence, told.edition)


_AGAIN = "empty the online store and run `wellspring transform` again"


def not_a_token(view: View) -> Refused:
    """Make the refusal of a key that is no token; it never repeats what was given."""
    keys = ", ".join(view.keys)
    return Refused(f"the key of {view.name} ({keys}) is not a token", fix="get a token from the enclave, and ask by it")


def microseconds(at: datetime) -> int:
    """Count an instant from 1970."""
    return (at - _EPOCH) // timedelta(microseconds=1)


def instant(count: int) -> datetime:
    """Read an instant back."""
    return _EPOCH + timedelta(microseconds=count)


def murmur3(key: bytes) -> int:
    """Hash a field's name: MurmurHash3, 32 bits, seed 0."""
    one, two, state = 0xCC9E2D51, 0x1B873593, 0
    whole = len(key) & ~3

    def mixed(word: int) -> int:
        word = word * one & 0xFFFFFFFF
        return (word << 15 | word >> 17) * two & 0xFFFFFFFF

    for place in range(0, whole, 4):
        state ^= mixed(int.from_bytes(key[place : place + 4], "little"))
        state = ((state << 13 | state >> 19 & 0x1FFF) & 0xFFFFFFFF) * 5 + 0xE6546B64 & 0xFFFFFFFF
    if rest := key[whole:]:
        state ^= mixed(int.from_bytes(rest, "little"))
    state ^= len(key)
    state = (state ^ state >> 16) * 0x85EBCA6B & 0xFFFFFFFF
    state = (state ^ state >> 13) * 0xC2B2AE35 & 0xFFFFFFFF
    return state ^ state >> 16


def varint(number: int) -> bytes:
    """Write an int64 as protobuf does: seven bits a byte, a negative one in its 64-bit form."""
    number &= 0xFFFFFFFFFFFFFFFF
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def timestamp(count: int) -> bytes:
    """Write an instant in microseconds as google.protobuf.Timestamp; a zero is left out."""
    seconds, rest = divmod(count, 1_000_000)
    return (b"\x08" + varint(seconds) if seconds else b"") + (b"\x10" + varint(rest * 1000) if rest else b"")


def encoded(kind: Kind, column: pa.ChunkedArray) -> list[bytes]:
    """Write a column as Feast's values, one protobuf message each; a null is the empty message."""
    values = column.to_pylist()
    if kind == "float64":
        pack = _DOUBLE.pack
        return [b"" if each is None else pack(0x29, each) for each in values]
    # Whole numbers, words and truths repeat: each is encoded once.
    known: dict[Value, bytes] = {None: b""}
    for each in values:
        if each not in known:
            known[each] = _encoded(kind, each)
    return [known[each] for each in values]


def _encoded(kind: Kind, value: int | bool | str) -> bytes:
    if isinstance(value, str):
        text = value.encode()
        return b"\x12" + varint(len(text)) + text
    return bytes((_TAGS[kind],)) + varint(int(value))


def _text(value: str) -> bytes:
    raw = value.encode()
    return _STRING + struct.pack("<I", len(raw)) + raw


def _number(raw: bytes, place: int) -> tuple[int, int]:
    number = shift = 0
    for place_now in range(place, len(raw)):
        byte = raw[place_now]
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, place_now + 1
        shift += 7
    raise _unreadable()


def _unreadable() -> Broken:
    return Broken("a value of the online store is not what its view declares", fix=_AGAIN)


def _read_float(raw: bytes) -> float:
    if len(raw) != 9 or raw[0] != 0x29:
        raise _unreadable()
    return _DOUBLE.unpack(raw)[1]


def _read_int(raw: bytes) -> int:
    if raw[0] != 0x20:
        raise _unreadable()
    number, _ = _number(raw, 1)
    return number - (1 << 64) if number >> 63 else number


def _read_bool(raw: bytes) -> bool:
    if raw[0] != 0x38:
        raise _unreadable()
    return _number(raw, 1)[0] == 1


def _read_string(raw: bytes) -> str:
    if raw[0] != 0x12:
        raise _unreadable()
    length, start = _number(raw, 1)
    if start + length != len(raw):
        raise _unreadable()
    try:
        return raw[start:].decode()
    except UnicodeDecodeError:
        raise _unreadable() from None


_READERS: Mapping[Kind, Callable[[bytes], Value]] = {
    "float64": _read_float,
    "int64": _read_int,
    "bool": _read_bool,
    "string": _read_string,
}


def layouts(project: str, views: Iterable[View]) -> dict[str, Layout]:
    """Lay out every view, by name."""
    return {view.name: Layout(project, view) for view in views}
