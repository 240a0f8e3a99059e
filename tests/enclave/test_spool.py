"""Files without a name: rows are read once, and nothing stays in the folder."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from wellspring.enclave.spool import QuarantineSpool, RowSpool
from wellspring.records.verdict import Reason
from wellspring.trust.vault.records import QuarantinedRecord

SCHEMA = pa.schema([("number", pa.int64())])


def test_rows_are_read_in_order_and_leave_no_file(tmp_path: Path) -> None:
    spool = RowSpool(tmp_path / "new", SCHEMA)
    for start in (0, 10):
        spool.write_rows(pa.table({"number": pa.array(range(start, start + 10), pa.int64())}, schema=SCHEMA))
    assert spool.rows == 20
    assert list((tmp_path / "new").iterdir()) == []
    reader = spool.open_reader()
    del spool
    assert reader.read_all()["number"].to_pylist() == list(range(20))


def test_an_empty_spool_has_its_schema(tmp_path: Path) -> None:
    table = RowSpool(tmp_path, SCHEMA).open_reader().read_all()
    assert (table.num_rows, table.schema) == (0, SCHEMA)


def test_a_spool_that_is_never_read_closes_its_file(tmp_path: Path) -> None:
    reader = RowSpool(tmp_path, SCHEMA).open_reader()
    del reader
    RowSpool(tmp_path, SCHEMA).close()


def test_quarantined_rows_keep_their_reasons(tmp_path: Path) -> None:
    records = [
        QuarantinedRecord(number, bytes([number]), (Reason(code="type", message="no number", column="a", count=1),))
        for number in range(5)
    ]
    spool = QuarantineSpool(tmp_path)
    spool.write_records(records[:2])
    spool.write_records([])
    spool.write_records(records[2:])
    assert list(spool.read_records()) == records
