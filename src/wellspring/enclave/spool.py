"""Keep the result of one drop in files without a name while the drop is processed: all of it counts, or none.

The rows in a spool have left the contract's egress rules (tokens and plain values), or are encrypted with the drop's
key. A file disappears when it is closed, also when the process is killed.
"""

from __future__ import annotations

import json
import tempfile
import weakref
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from wellspring.trust.vault.records import QuarantinedRecord, decode_reasons, encode_reasons

if TYPE_CHECKING:
    import pyarrow as pa


def open_spool(folder: Path) -> BinaryIO:
    """Open a file without a name."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return cast(BinaryIO, tempfile.TemporaryFile(dir=folder))


class RowSpool:
    """Arrow rows of one schema, written in batches and read once."""

    def __init__(self, folder: Path, schema: pa.Schema) -> None:
        import pyarrow as pa

        self._file = open_spool(folder)
        self._close_file = weakref.finalize(self, self._file.close)
        self._schema = schema
        self._writer = pa.ipc.new_stream(self._file, schema)
        self.rows = 0

    def write_rows(self, rows: pa.Table) -> None:
        """Append rows."""
        self._writer.write_table(rows)
        self.rows += rows.num_rows

    def open_reader(self) -> pa.RecordBatchReader:
        """End writing, and return a reader of all rows. The file is closed after the last one."""
        import pyarrow as pa

        self._writer.close()
        return pa.RecordBatchReader.from_batches(self._schema, self._read_batches())

    def close(self) -> None:
        """Remove the rows."""
        self._close_file()

    def _read_batches(self) -> Iterator[pa.RecordBatch]:
        import pyarrow as pa

        self._file.seek(0)
        yield from pa.ipc.open_stream(self._file)
        self.close()


class QuarantineSpool:
    """Encrypted quarantined rows with their reasons, written in batches and read once, in the order of the file."""

    def __init__(self, folder: Path) -> None:
        import pyarrow as pa

        self._schema = pa.schema([("row_number", pa.int64()), ("sealed", pa.binary()), ("reasons", pa.string())])
        self._spool = RowSpool(folder, self._schema)

    def write_records(self, records: Iterable[QuarantinedRecord]) -> None:
        """Append records."""
        import pyarrow as pa

        rows: list[dict[str, Any]] = [
            {
                "row_number": record.row_number,
                "sealed": record.sealed,
                "reasons": json.dumps(encode_reasons(record.reasons)),
            }
            for record in records
        ]
        if rows:
            self._spool.write_rows(pa.Table.from_pylist(rows, schema=self._schema))

    def read_records(self) -> Iterator[QuarantinedRecord]:
        """Yield all records."""
        for batch in self._spool.open_reader():
            for row in batch.to_pylist():
                yield QuarantinedRecord(row["row_number"], row["sealed"], decode_reasons(json.loads(row["reasons"])))

    def close(self) -> None:
        self._spool.close()
