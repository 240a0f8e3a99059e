"""Open archives, databases and columnar files: bytes in, (inside, bytes) out."""

from __future__ import annotations

import bz2
import io
import json
import lzma
import re
import sqlite3
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq

from tests.phi import valkey_files

Parts = Iterator[tuple[str, bytes]]
_CARVED = re.compile(rb"\x1f\x8b\x08|\x28\xb5\x2f\xfd|\x04\x22\x4d\x18|BZh[1-9]1AY&SY|\xfd7zXZ\x00|PK\x03\x04")
MOST = 4096
"""Maximum number of compressed streams in one file; a file with more is reported as not completely opened."""


class Unopened(Exception):
    """A container that bears its mark but does not open: what it holds has not been looked at."""


def opened_files(hay: bytes, beside: Path | None) -> Parts:
    """Yield what a container holds. beside: the file it came from, for a database's write-ahead log."""
    if hay[:4] == b"PAR1":
        yield from _parquet(hay)
    elif hay[:6] == b"ARROW1" or (hay[:4] == b"\xff\xff\xff\xff" and len(hay) > 16):
        yield from _arrow(hay)
    elif hay[:4] == b"Obj\x01":
        yield from _avro(hay)
    elif hay[:16] == b"SQLite format 3\x00":
        yield from _sqlite(hay, beside)
    elif hay[:4] in {b"PK\x03\x04", b"PK\x05\x06"}:
        yield from _zip(hay)
    elif hay[257:262] == b"ustar":
        yield from _tar(hay)
    elif valkey_files.MARK.match(hay):
        try:
            yield from valkey_files.snapshot(hay, is_container)
        except valkey_files.Unreadable as exc:
            raise Unopened("valkey") from exc
    elif valkey_files.is_commands(hay):
        yield from valkey_files.commands(hay, is_container)
    elif hay[:1] in {b"\x78"} and (plain := _zlib(hay)):
        yield "zlib", plain
    # Whatever it is, compressed streams may lie inside it (a log rotated into another, a page of a database).
    yield from _carved(hay)


def _carved(hay: bytes) -> Parts:
    for count, match in enumerate(_CARVED.finditer(hay)):
        if count == MOST:
            raise Unopened("more compressed streams than are looked for")
        if plain := _inflate(match[0], hay[match.start() :]):
            yield f"stream at {match.start()}", plain


def _inflate(mark: bytes, stream: bytes) -> bytes:
    """Decompress as much as possible of a stream, also of a truncated one."""
    if mark == b"\x1f\x8b\x08":
        return _zlib(stream, 31)
    if mark == b"PK\x03\x04":
        # A member of an archive that lies inside something, or has lost its end.
        begins = 30 + int.from_bytes(stream[26:28], "little") + int.from_bytes(stream[28:30], "little")
        return _zlib(stream[begins:], -15)
    if mark[:3] == b"BZh":
        return _piecewise(bz2.BZ2Decompressor(), stream)
    if mark[:1] == b"\xfd":
        return _piecewise(lzma.LZMADecompressor(), stream)
    try:
        codec = "zstd" if mark == b"\x28\xb5\x2f\xfd" else "lz4"
        reader = pa.CompressedInputStream(pa.py_buffer(stream), codec)
        plain = bytearray()
        try:
            while piece := reader.read(65536):
                plain += piece
        except OSError:
            # What follows the stream is no part of it.
            pass
        return bytes(plain)
    except (OSError, pa.ArrowInvalid):
        return b""


def _zlib(stream: bytes, wbits: int = 15) -> bytes:
    return _piecewise(zlib.decompressobj(wbits), stream)


def _piecewise(decompressor: Any, stream: bytes) -> bytes:
    plain = bytearray()
    try:
        for start in range(0, len(stream), 4096):
            plain += decompressor.decompress(stream[start : start + 4096])
            if decompressor.eof:
                break
    except (zlib.error, OSError, EOFError, lzma.LZMAError):
        pass
    return bytes(plain)


def _zip(hay: bytes) -> Parts:
    try:
        with zipfile.ZipFile(io.BytesIO(hay)) as archive:
            yield "comment", archive.comment
            for name in archive.namelist():
                yield name, name.encode() + b"\n" + archive.read(name)
    except (zipfile.BadZipFile, zlib.error, RuntimeError, NotImplementedError) as exc:
        raise Unopened("zip") from exc


def _tar(hay: bytes) -> Parts:
    try:
        with tarfile.open(fileobj=io.BytesIO(hay)) as archive:
            for member in archive:
                if file := archive.extractfile(member):
                    yield member.name, file.read()
    except tarfile.TarError as exc:
        raise Unopened("tar") from exc


def _parquet(hay: bytes) -> Parts:
    try:
        file = pq.ParquetFile(io.BytesIO(hay))
        yield "metadata", str(file.metadata.metadata).encode()
        for group in range(file.metadata.num_row_groups):
            for number in range(file.metadata.num_columns):
                column = file.metadata.row_group(group).column(number)
                if column.is_stats_set:
                    ends = [column.statistics.min_raw, column.statistics.max_raw]
                    yield f"statistics of {column.path_in_schema}", b"\n".join(str(end).encode() for end in ends)
        for batch in file.iter_batches():
            yield from _columns(batch)
    except (OSError, pa.ArrowException) as exc:
        raise Unopened("parquet") from exc


def _arrow(hay: bytes) -> Parts:
    try:
        reader: Any = pa.ipc.open_file(hay) if hay[:6] == b"ARROW1" else pa.ipc.open_stream(hay)
        batches = (
            (reader.get_batch(place) for place in range(reader.num_record_batches)) if hay[:6] == b"ARROW1" else reader
        )
        yield "metadata", str(reader.schema.metadata).encode() + reader.schema.to_string().encode()
        for batch in batches:
            yield from _columns(batch)
    except (OSError, pa.ArrowException) as exc:
        if hay[:6] == b"ARROW1":
            raise Unopened("arrow_bytes") from exc


def _columns(batch: pa.RecordBatch) -> Parts:
    """Write each column out: text and bytes as they are, one value a line, everything else as its text."""
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        values = column.to_pylist()
        yield f"column {name}", b"\n".join([name.encode(), *map(_bytes, values)])


def _bytes(value: Any) -> bytes:
    if isinstance(value, bytes):
        return value
    return str(value).encode("utf-8", "replace")


def _avro(hay: bytes) -> Parts:
    """Read Avro's container: a header of named bytes, then blocks, compressed by the codec that the header names."""
    stream = io.BytesIO(hay[4:])
    try:
        header: dict[bytes, bytes] = {}
        while count := _varint(stream):
            if count < 0:
                _varint(stream)
            for _ in range(abs(count)):
                key = stream.read(_varint(stream))
                header[key] = stream.read(_varint(stream))
        yield "header", b"\n".join(header.values())
        codec, mark, block = header.get(b"avro.codec", b"null"), stream.read(16), 0
        while stream.tell() < len(hay) - 4:
            _varint(stream)
            content = stream.read(_varint(stream))
            if stream.read(16) != mark:
                raise Unopened("avro")
            yield f"block {block}", _avro_block(codec, content)
            block += 1
    except (EOFError, OSError, zlib.error, pa.ArrowException, KeyError) as exc:
        raise Unopened("avro") from exc


def _avro_block(codec: bytes, content: bytes) -> bytes:
    if codec == b"deflate":
        return zlib.decompress(content, -15)
    if codec == b"snappy":
        # Snappy begins with its plain size; Avro ends it with a CRC-32 of four bytes.
        size = _varint(io.BytesIO(content), zigzag=False)
        return pa.Codec("snappy").decompress(content[:-4], decompressed_size=size, asbytes=True)
    expected = {b"null": None, b"zstandard": b"\x28\xb5\x2f\xfd", b"bzip2": b"BZh", b"xz": b"\xfd"}
    mark = expected[codec]
    return content if mark is None else _inflate(mark, content)


def _varint(stream: io.BytesIO, *, zigzag: bool = True) -> int:
    shift = value = 0
    while True:
        byte = stream.read(1)
        if not byte:
            raise EOFError
        value |= (byte[0] & 0x7F) << shift
        shift += 7
        if byte[0] < 0x80:
            return (value >> 1) ^ -(value & 1) if zigzag else value


def _sqlite(hay: bytes, beside: Path | None) -> Parts:
    """Read every table, with the write-ahead log that lies beside. (Freed pages are in the raw bytes already.)"""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "copy.db"
        copy.write_bytes(hay)
        log = beside and beside.with_name(f"{beside.name}-wal")
        if log and log.is_file():
            copy.with_name("copy.db-wal").write_bytes(log.read_bytes())
        try:
            database = sqlite3.connect(copy)
            try:
                database.text_factory = bytes
                named = database.execute("SELECT name, sql FROM sqlite_master WHERE type = 'table'").fetchall()
                yield "schema", b"\n".join(sql or b"" for _, sql in named)
                for name, _ in named:
                    table = name.decode("utf-8", "replace").replace('"', '""')
                    for row in database.execute(f'SELECT * FROM "{table}"'):
                        yield f"table {table}", b"\n".join(_bytes(value) for value in row)
                        yield from ((f"blob in {table}", value) for value in row if is_container(value))
            finally:
                database.close()
        except sqlite3.Error as exc:
            raise Unopened("sqlite") from exc


def is_container(value: Any) -> bool:
    """Tell whether bytes bear a mark that counts only at their beginning."""
    return isinstance(value, bytes) and value[:4] in {b"PAR1", b"Obj\x01", b"PK\x03\x04", b"SQLi", b"ARRO", b"\xff" * 4}


def strings(hay: bytes) -> Iterator[str]:
    """Yield every text of a JSON document, or of JSON lines, keys included; nothing if it is neither."""
    if hay.lstrip()[:1] not in {b"{", b"["}:
        return
    try:
        documents = [json.loads(hay)]
    except (ValueError, RecursionError):
        documents = []
        for line in hay.splitlines():
            try:
                documents.append(json.loads(line))
            except (ValueError, RecursionError):
                continue
    while documents:
        match documents.pop():
            case str() as text:
                yield text
            case list() as items:
                documents.extend(items)
            case dict() as pairs:
                documents.extend(pairs.values())
                yield from pairs
            case _:
                continue
