"""Iceberg tables: what the format itself could get wrong."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.builders import drops, lakes
from wellspring.lake.iceberg.catalog import IcebergCatalog
from wellspring.lake.iceberg.table import IcebergTable
from wellspring.lake.port import MAIN_BRANCH

ROWS = drops.rows(2)


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[IcebergCatalog]:
    catalog = lakes.open_catalog(tmp_path)
    yield catalog
    catalog.close()


def test_each_snapshot_returns_only_the_rows_that_it_added_after_a_merge_of_manifests(catalog: IcebergCatalog):
    table = catalog.prepare_table("a", ROWS.schema)
    with table.iceberg.transaction() as change:
        change.set_properties({"commit.manifest.min-count-to-merge": "2"})
    head = table.root_snapshot_id()
    for number in range(5):
        rows = drops.rows(3, first=10 * number)
        head = table.append_rows(rows.to_reader(), head, {"drop": str(number)})
        assert table.rows_added_by(head).read_all().equals(rows)
    assert table.read_snapshot(head, None).num_rows == 15


def test_an_interrupted_creation_of_a_table_is_completed(catalog: IcebergCatalog, monkeypatch: pytest.MonkeyPatch):
    with monkeypatch.context() as cut:
        cut.setattr(IcebergTable, "evolve_schema", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            catalog.prepare_table("a", ROWS.schema)
    assert catalog.load_table("a").branch_head(MAIN_BRANCH) is None
    assert catalog.prepare_table("a", ROWS.schema).branch_head(MAIN_BRANCH) is not None
