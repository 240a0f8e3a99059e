"""Encode and decode online rows: Feast's Redis hash (0.67, entity key version 3) plus one packed version field.

Feast can read these rows. The field `_ws:VIEW` holds what Feast's `_ts:VIEW` does not: the sequence that breaks ties
of known_since, the edition of the row, the digest of the view definition, and a keyed hash over all of these, the
row's key and its values (`RowCodec.seal_row`). The encoding is implemented here because the API process must not
import Feast; the tests compare each byte with Feast's own code.
"""

from __future__ import annotations

import hashlib
import hmac
import struct
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Literal, NamedTuple

from wellspring.errors import CorruptedError
from wellspring.records.features import FeatureRow, FeatureViewSpec
from wellspring.records.instants import from_epoch_micros, to_epoch_micros
from wellspring.records.tokens import TOKEN_PATTERN
from wellspring.stores.online.port import token_required
from wellspring_verify import canonical

if TYPE_CHECKING:
    import pyarrow as pa

ScalarValue = int | float | bool | str | None
FeatureType = Literal["int64", "float64", "bool", "string"]
_STRING = struct.pack("<I", 2)
_VERSION_STRUCT = struct.Struct(">qqq12s")
_DEFINITION_BYTES = _SEAL_BYTES = 16
_DOUBLE = struct.Struct("<Bd")
_TAGS: Mapping[FeatureType, int] = {"string": 0x12, "int64": 0x20, "float64": 0x29, "bool": 0x38}


class RowVersion(NamedTuple):
    """The content of `_ws:VIEW`: known_since and published (microseconds since 1970), sequence and edition.

    Big-endian, in the order of comparison: known_since, sequence, then the time at which the edition was published.
    """

    known_since: int
    sequence: int
    published: int
    edition: str

    def encode(self) -> bytes:
        return _VERSION_STRUCT.pack(self.known_since, self.sequence, self.published, self.edition.encode("ascii"))

    @classmethod
    def decode(cls, raw: bytes) -> RowVersion:
        """Unpack the beginning of the version field."""
        known_since, sequence, published, edition = _VERSION_STRUCT.unpack_from(raw)
        return cls(known_since, sequence, published, edition.decode("ascii", "replace"))


class RowCodec:
    """Encode and decode the keys and rows of one feature view. fields: of the hash, in the order of HMGET.

    namespace: Feast's project, or that of one tenant (see `online_namespace`). row_key: the secret of the keyed hash,
    which whoever encodes and whoever decodes a row share; without one, only keys can be encoded.
    """

    def __init__(self, namespace: str, view: FeatureViewSpec, row_key: bytes = b"") -> None:
        self.view = view
        self._row_key = row_key
        self._definition = digest_definition(view)
        # Feast sorts by key column name; callers pass the values in the order of the view.
        self._key_order = sorted(range(len(view.keys)), key=lambda position: view.keys[position])
        names = b"".join(_encode_text(view.keys[position]) for position in self._key_order)
        self._prefix = struct.pack("<I", len(view.keys)) + names
        self._suffix = namespace.encode()
        feature_fields = [
            struct.pack("<I", murmur3_hash(f"{view.online_name}:{feature.name}".encode())) for feature in view.features
        ]
        self.version_field = f"_ws:{view.online_name}".encode()
        self.fields: tuple[bytes, ...] = (*feature_fields, f"_ts:{view.online_name}".encode(), self.version_field)
        self._decoders = [(feature.name, _DECODERS[feature.type]) for feature in view.features]
        self._pack_lengths = struct.Struct(f">{len(self.fields)}I").pack

    def encode_key(self, values: Sequence[str]) -> bytes:
        """Build the Redis key of one entity. Raises Refused for a key that is not a token; the error omits the key."""
        if len(values) != len(self.view.keys) or not all(TOKEN_PATTERN.fullmatch(value) for value in values):
            raise token_required(self.view)
        return self.encode_checked_key(values)

    def encode_checked_key(self, values: Sequence[str]) -> bytes:
        """Build the Redis key of one entity whose tokens are already checked."""
        return b"".join((self._prefix, *(_encode_text(values[position]) for position in self._key_order), self._suffix))

    def encode_rows(
        self, rows: pa.Table, keys: Sequence[bytes], *, published: datetime, edition: str
    ) -> list[Sequence[bytes]]:
        """Encode a table by column, in the order of `fields`. known_since and sequence must not be null.

        keys: of the rows, as `encode_checked_key` returns them.
        """
        import pyarrow as pa

        columns: list[Sequence[bytes]] = [
            encode_column(feature.type, rows[feature.name]) for feature in self.view.features
        ]
        instants = rows["known_since"].cast(pa.timestamp("us", "UTC")).cast(pa.int64()).to_pylist()
        columns.append([encode_timestamp(instant) for instant in instants])
        published_micros, pack_version, edition_bytes = (
            to_epoch_micros(published),
            _VERSION_STRUCT.pack,
            edition.encode("ascii"),
        )
        sequences = rows["sequence"].to_pylist()
        stems = [
            pack_version(known_since, sequence, published_micros, edition_bytes) + self._definition
            for known_since, sequence in zip(instants, sequences, strict=True)
        ]
        columns.append(
            [
                stem + self.seal_row(key, stem, values)
                for key, stem, values in zip(keys, stems, zip(*columns, strict=True), strict=True)
            ]
        )
        return columns

    def seal_row(self, key: bytes, stem: bytes, values: Sequence[bytes]) -> bytes:
        """Compute the keyed hash that ends the version field: of the hash's key, the field's beginning, and the values.

        key: as `encode_key` returns it, with namespace, key columns and tokens. stem: known_since, sequence, time of
        publication, edition and the digest of the view definition. values: of all other fields, in their order.
        """
        if not self._row_key:
            raise ValueError("rows cannot be encoded or decoded without the row key")
        lengths = self._pack_lengths(len(key), *map(len, values))
        content = b"".join((lengths, key, stem, *values))
        return hashlib.blake2b(content, digest_size=_SEAL_BYTES, key=self._row_key).digest()

    def has_definition(self, raw_version: bytes) -> bool:
        """Return whether a version field names the definition of this view."""
        return raw_version[-_SEAL_BYTES - _DEFINITION_BYTES : -_SEAL_BYTES] == self._definition

    def is_sealed(self, key: bytes, reply: Sequence[bytes | None]) -> bool:
        """Return whether a row with this key was encoded with the row key. key: as `encode_key` returns it."""
        written = [value for value in reply if value is not None]
        stem, seal = written[-1][:-_SEAL_BYTES], written[-1][-_SEAL_BYTES:]
        return len(written) == len(self.fields) and hmac.compare_digest(seal, self.seal_row(key, stem, written[:-1]))

    def decode_row(self, key: tuple[str, ...], reply: Sequence[bytes | None]) -> FeatureRow | None:
        """Decode the fields of one hash; None if the row is missing.

        Raises CorruptedError unless a materialization wrote exactly this row for this key with this definition.
        """
        raw_version = reply[-1]
        if raw_version is None:
            return None
        if len(raw_version) != _VERSION_STRUCT.size + _DEFINITION_BYTES + _SEAL_BYTES:
            raise CorruptedError("a row of the online store has an invalid version field", fix=_REBUILD_HINT)
        written = [value for value in reply[:-1] if value is not None]
        if not self.has_definition(raw_version) or not self.is_sealed(self.encode_checked_key(key), reply):
            raise CorruptedError(
                f"a row of {self.view.name} in the online store is not one that a materialization wrote for its key",
                fix=_REBUILD_HINT,
            )
        version = RowVersion.decode(raw_version)
        values: dict[str, ScalarValue] = {}
        for (name, decode_value), raw in zip(self._decoders, written, strict=False):
            values[name] = decode_value(raw) if raw else None
        return FeatureRow(
            self.view.name, key, values, from_epoch_micros(version.known_since), version.sequence, version.edition
        )


def digest_definition(view: FeatureViewSpec) -> bytes:
    """Return the first 16 bytes of the digest of what decides the values of a view: its table, keys and features."""
    definition = view.model_dump(mode="json", include={"name", "keys", "table"})
    definition["features"] = [
        feature.model_dump(mode="json", include={"name", "type", "categories"}) for feature in view.features
    ]
    return hashlib.sha256(canonical.dumps_canonical(definition)).digest()[:_DEFINITION_BYTES]


def seal_text(row_key: bytes, *words: bytes) -> bytes:
    """Return the keyed hash of a list of words, which no row has."""
    content = b"".join(struct.pack(">I", len(word)) + word for word in words)
    return hashlib.blake2b(content, digest_size=_SEAL_BYTES, key=row_key, person=b"ws:words").digest()


_REBUILD_HINT = "empty the online store and run `wellspring transform` again"


def murmur3_hash(key: bytes) -> int:
    """Hash a field name with MurmurHash3, 32 bits, seed 0."""
    factor_1, factor_2, state = 0xCC9E2D51, 0x1B873593, 0
    block_end = len(key) & ~3

    def mix_word(word: int) -> int:
        word = word * factor_1 & 0xFFFFFFFF
        return (word << 15 | word >> 17) * factor_2 & 0xFFFFFFFF

    for offset in range(0, block_end, 4):
        state ^= mix_word(int.from_bytes(key[offset : offset + 4], "little"))
        state = ((state << 13 | state >> 19 & 0x1FFF) & 0xFFFFFFFF) * 5 + 0xE6546B64 & 0xFFFFFFFF
    if tail := key[block_end:]:
        state ^= mix_word(int.from_bytes(tail, "little"))
    state ^= len(key)
    state = (state ^ state >> 16) * 0x85EBCA6B & 0xFFFFFFFF
    state = (state ^ state >> 13) * 0xC2B2AE35 & 0xFFFFFFFF
    return state ^ state >> 16


def encode_varint(number: int) -> bytes:
    """Encode an int64 as a protobuf varint; negative numbers use their 64-bit two's complement."""
    number &= 0xFFFFFFFFFFFFFFFF
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def encode_timestamp(micros: int) -> bytes:
    """Encode microseconds since 1970 as google.protobuf.Timestamp; zero fields are omitted."""
    seconds, rest = divmod(micros, 1_000_000)
    return (b"\x08" + encode_varint(seconds) if seconds else b"") + (
        b"\x10" + encode_varint(rest * 1000) if rest else b""
    )


def encode_column(feature_type: FeatureType, column: pa.ChunkedArray) -> list[bytes]:
    """Encode a column as Feast values, one protobuf message each; null is the empty message."""
    values = column.to_pylist()
    if feature_type == "float64":
        pack = _DOUBLE.pack
        return [b"" if value is None else pack(0x29, value) for value in values]
    # Integers, texts and booleans repeat, so each distinct value is encoded once.
    encoded_values: dict[ScalarValue, bytes] = {None: b""}
    for value in values:
        if value not in encoded_values:
            encoded_values[value] = _encode_value(feature_type, value)
    return [encoded_values[value] for value in values]


def _encode_value(feature_type: FeatureType, value: int | bool | str) -> bytes:
    if isinstance(value, str):
        text = value.encode()
        return b"\x12" + encode_varint(len(text)) + text
    return bytes((_TAGS[feature_type],)) + encode_varint(int(value))


def _encode_text(value: str) -> bytes:
    raw = value.encode()
    return _STRING + struct.pack("<I", len(raw)) + raw


def _decode_varint(raw: bytes, offset: int) -> tuple[int, int]:
    number = shift = 0
    for position in range(offset, len(raw)):
        byte = raw[position]
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, position + 1
        shift += 7
    raise _corrupted_value()


def _corrupted_value() -> CorruptedError:
    return CorruptedError("a value of the online store does not have the type of its view", fix=_REBUILD_HINT)


def _decode_float(raw: bytes) -> float:
    if len(raw) != 9 or raw[0] != 0x29:
        raise _corrupted_value()
    return _DOUBLE.unpack(raw)[1]


def _decode_int(raw: bytes) -> int:
    if raw[0] != 0x20:
        raise _corrupted_value()
    number, _ = _decode_varint(raw, 1)
    return number - (1 << 64) if number >> 63 else number


def _decode_bool(raw: bytes) -> bool:
    if raw[0] != 0x38:
        raise _corrupted_value()
    return _decode_varint(raw, 1)[0] == 1


def _decode_string(raw: bytes) -> str:
    if raw[0] != 0x12:
        raise _corrupted_value()
    length, start = _decode_varint(raw, 1)
    if start + length != len(raw):
        raise _corrupted_value()
    try:
        return raw[start:].decode()
    except UnicodeDecodeError:
        raise _corrupted_value() from None


_DECODERS: Mapping[FeatureType, Callable[[bytes], ScalarValue]] = {
    "float64": _decode_float,
    "int64": _decode_int,
    "bool": _decode_bool,
    "string": _decode_string,
}
