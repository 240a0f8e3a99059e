"""Data files of an Iceberg table: written and read batch by batch, so that memory does not grow with the rows."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from wellspring.errors import CorruptedError
from wellspring.lake.file_pins import PinnedFile, hash_local_file
from wellspring.lake.iceberg.schemas import plain_schema

if TYPE_CHECKING:
    import pyarrow as pa
    from pyiceberg.manifest import DataFile
    from pyiceberg.table import Table as PyIcebergTable

FILE_BYTES = 64 << 20
"""Bytes of rows in memory after which a data file is written; its Parquet file is a third to a tenth of it."""
BATCH_ROWS = 65_536
_CHUNK_BYTES = 1 << 20


def write_data_files(iceberg: PyIcebergTable, rows: pa.RecordBatchReader) -> Iterator[DataFile]:
    """Write rows as data files that no snapshot names yet, in the order of the rows.

    The files have the columns and types of the rows, not those that the table has gained since: rows of an earlier
    version of a contract read back as they were returned, and have the same digest.
    `Table.append` of pyiceberg takes a reader too, but its thread pool reads all batches before it writes the first
    file. Each call of `write_file` here has one file to write.
    """
    from pyiceberg.io.pyarrow import pyarrow_to_schema, write_file
    from pyiceberg.table import WriteTask

    write_uuid = uuid.uuid4()
    row_schema = pyarrow_to_schema(rows.schema, name_mapping=iceberg.schema().name_mapping)
    # Without this pyiceberg gives each file all columns of the table.
    metadata = iceberg.metadata.model_copy(update={"schemas": [row_schema], "current_schema_id": row_schema.schema_id})
    for number, batches in enumerate(_group_batches(rows)):
        task = WriteTask(write_uuid=write_uuid, task_id=number, schema=row_schema, record_batches=batches)
        yield from write_file(iceberg.io, metadata, iter([task]))


def read_data_files(iceberg: PyIcebergTable, files: Sequence[DataFile]) -> pa.RecordBatchReader:
    """Read the rows of data files that one append wrote, file by file, with plain types."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not files:
        return pa.RecordBatchReader.from_batches(plain_schema(iceberg.schema().as_arrow()), iter(()))
    with iceberg.io.new_input(files[0].file_path).open() as stream:
        schema = plain_schema(pq.read_schema(stream))

    def read_batches() -> Iterator[pa.RecordBatch]:
        for file in files:
            with iceberg.io.new_input(file.file_path).open() as stream, pq.ParquetFile(stream) as stored:
                for batch in stored.iter_batches(BATCH_ROWS):
                    yield batch.cast(schema)

    return pa.RecordBatchReader.from_batches(schema, read_batches())


def read_file_columns(iceberg: PyIcebergTable, path: str, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """Read columns of one data file, batch by batch, cast to a schema; a column that the file lacks is null."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    with iceberg.io.new_input(path).open() as stream, pq.ParquetFile(stream) as stored:
        present = [name for name in schema.names if name in stored.schema_arrow.names]
        for batch in stored.iter_batches(BATCH_ROWS, columns=present):
            arrays = [
                batch[field.name].cast(field.type) if field.name in present else pa.nulls(batch.num_rows, field.type)
                for field in schema
            ]
            yield pa.record_batch(arrays, schema=schema)


def take_written_file(iceberg: PyIcebergTable, path: str) -> PinnedFile:
    """Return size and SHA-256 of a file that was just written: hashed on its way to this disk, elsewhere read again."""
    written: dict[str, PinnedFile] = getattr(iceberg.io, "written_files", {})
    return written.pop(path, None) or hash_data_file(iceberg, path)


def hash_data_file(iceberg: PyIcebergTable, path: str) -> PinnedFile:
    """Hash a data file: one of this machine as `hash_local_file` does, another through the storage of its table."""
    if path.startswith("/"):
        return hash_local_file(path)
    digest = hashlib.sha256()
    size = 0
    try:
        with iceberg.io.new_input(path).open() as stream:
            while chunk := stream.read(_CHUNK_BYTES):
                digest.update(chunk)
                size += len(chunk)
    except FileNotFoundError:
        raise CorruptedError(
            f"{path}, a data file of the lake, is missing", fix="restore the file from a copy"
        ) from None
    return PinnedFile(path, size, digest.hexdigest())


def _group_batches(rows: pa.RecordBatchReader) -> Iterator[list[pa.RecordBatch]]:
    group: list[pa.RecordBatch] = []
    group_bytes = 0
    for batch in rows:
        # A batch without rows has no file, and a batch of a whole table is not held at once with its file.
        for start in range(0, batch.num_rows, BATCH_ROWS):
            part = batch.slice(start, BATCH_ROWS)
            group.append(part)
            group_bytes += part.nbytes
            if group_bytes >= FILE_BYTES:
                yield group
                group, group_bytes = [], 0
    if group:
        yield group
