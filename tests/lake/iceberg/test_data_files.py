"""Data files are written while the rows arrive, and files of rows that break off are orphans."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from tests.builders import drops, lakes
from wellspring.errors import Unavailable
from wellspring.lake.iceberg import data_files
from wellspring.lake.iceberg.catalog import IcebergCatalog
from wellspring.lake.port import AUDIT_BRANCH
from wellspring.records.clock import SystemClock

SCHEMA = drops.rows(0).schema
BATCH_BYTES = drops.rows(1000).nbytes


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[IcebergCatalog]:
    catalog = lakes.open_catalog(tmp_path)
    yield catalog
    catalog.close()


def written_files(folder: Path) -> int:
    return len(list(folder.rglob("*.parquet")))


def test_a_file_is_written_before_the_next_rows_are_read(
    catalog: IcebergCatalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(data_files, "FILE_BYTES", 2 * BATCH_BYTES)
    table = catalog.prepare_table("a", SCHEMA)
    files_at_batch: list[int] = []

    def batches() -> Iterator[pa.RecordBatch]:
        for number in range(7):
            files_at_batch.append(written_files(tmp_path))
            yield from drops.rows(1000, first=1000 * number).to_batches()

    head = table.append_rows(pa.RecordBatchReader.from_batches(SCHEMA, batches()), table.root_snapshot_id(), {})
    assert files_at_batch == [0, 0, 1, 1, 2, 2, 3]
    assert written_files(tmp_path) == 4
    assert next(table.iter_ancestry(head)).rows == 7000
    stored = table.rows_added_by(head).read_all()
    expected = pa.concat_tables([drops.rows(1000, first=1000 * number) for number in range(7)])
    assert stored.equals(expected), "in the order in which they were appended"


def test_a_large_batch_is_divided(catalog: IcebergCatalog, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(data_files, "BATCH_ROWS", 100)
    table = catalog.prepare_table("a", SCHEMA)
    head = table.append_rows(drops.rows(950).to_reader(), table.root_snapshot_id(), {})
    assert [batch.num_rows for batch in table.rows_added_by(head)] == [100] * 9 + [50]


def test_rows_that_break_off_change_no_branch_and_leave_orphans(
    catalog: IcebergCatalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(data_files, "FILE_BYTES", BATCH_BYTES)
    table = catalog.prepare_table("a", SCHEMA)
    head = table.append_rows(drops.rows(10).to_reader(), table.root_snapshot_id(), {"drop": "a"})
    table.move_staging(head)

    def batches() -> Iterator[pa.RecordBatch]:
        yield from drops.rows(1000).to_batches()
        yield from drops.rows(1000).to_batches()
        raise Unavailable("the connection was lost", fix="try again")

    with pytest.raises(Unavailable, match="the connection was lost"):
        table.append_rows(pa.RecordBatchReader.from_batches(SCHEMA, batches()), head, {"drop": "b"})
    assert catalog.load_table("a").branch_head(AUDIT_BRANCH) is None
    assert written_files(tmp_path) == 3
    assert table.remove_orphan_files(older_than=SystemClock().now() + timedelta(days=1)) >= 2
    assert written_files(tmp_path) == 1
    assert table.rows_added_by(head).read_all().equals(drops.rows(10))
