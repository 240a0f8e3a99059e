"""Tables that grow on a branch before anybody reads them."""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from tests.builders import drops
from wellspring.errors import CorruptedError, NotFound, Refused
from wellspring.lake.iceberg import AUDIT_BRANCH, MAIN_BRANCH, STAGING_BRANCH, Catalog, LakeTable

ROWS = drops.rows(2)


@pytest.fixture
def warehouse(tmp_path: Path) -> Iterator[Catalog]:
    # A folder's name may hold what means something in an address.
    warehouse = Catalog(tmp_path / "a lake #1 50%")
    yield warehouse
    warehouse.close()


def write(table: LakeTable, base: int, name: str = "a") -> int:
    return table.append_rows(ROWS, base, {"drop": name})


def main(table: LakeTable) -> int:
    head = table.branch_head(MAIN_BRANCH)
    assert head is not None
    return head


def test_looking_at_a_lake_that_is_not_there_makes_none(warehouse: Catalog):
    assert warehouse.table_names() == ()
    with pytest.raises(NotFound):
        warehouse.load_table("a")
    assert not warehouse.folder.exists()


def test_written_rows_are_on_the_audit_branch_alone(warehouse: Catalog):
    table = warehouse.prepare_table("a", ROWS.schema)
    root = main(table)
    written = write(table, root)
    assert (table.branch_head(MAIN_BRANCH), table.branch_head(STAGING_BRANCH), table.branch_head(AUDIT_BRANCH)) == (
        root,
        None,
        written,
    )
    assert table.rows_added_by(written).equals(ROWS)
    assert table.read_snapshot(root, None).num_rows == 0
    table.move_staging(written)
    assert (table.branch_head(MAIN_BRANCH), table.branch_head(STAGING_BRANCH), table.branch_head(AUDIT_BRANCH)) == (
        root,
        written,
        None,
    )
    assert [(link.properties, link.rows) for link in table.ancestry(written)] == [({"drop": "a"}, 2), ({}, 0)]


def test_switching_is_final_tagged_and_may_be_done_again(warehouse: Catalog):
    table = warehouse.prepare_table("a", ROWS.schema)
    written = write(table, main(table))
    table.move_staging(written)
    for _ in range(2):
        table.publish(written, "edition-1")
        assert (table.branch_head(MAIN_BRANCH), table.branch_head("edition-1"), table.branch_head(STAGING_BRANCH)) == (
            written,
            written,
            None,
        )
    later = write(table, written)
    table.publish(later, "edition-2")
    table.publish(written, "edition-1")
    assert table.branch_head(MAIN_BRANCH) == later


def test_a_snapshot_that_lacks_published_rows_never_becomes_current(warehouse: Catalog):
    table = warehouse.prepare_table("a", ROWS.schema)
    root = main(table)
    item = write(table, root)
    table.publish(item, "edition-1")
    second = write(table, root, "b")
    with pytest.raises(CorruptedError, match="does not contain all published rows"):
        table.publish(second, "edition-2")
    assert table.branch_head(MAIN_BRANCH) == item


def test_each_snapshot_gives_back_only_what_it_added_even_when_manifests_are_merged(warehouse: Catalog):
    table = warehouse.prepare_table("a", ROWS.schema)
    with table.iceberg.transaction() as change:
        change.set_properties({"commit.manifest.min-count-to-merge": "2"})
    head = main(table)
    for number in range(5):
        rows = drops.rows(3, first=10 * number)
        head = table.append_rows(rows, head, {"drop": str(number)})
        assert table.rows_added_by(head).equals(rows)
    assert table.read_snapshot(head, None).num_rows == 15


def test_a_table_widens_a_decimal_and_takes_no_other_change(warehouse: Catalog):
    warehouse.prepare_table("a", pa.schema([("x", pa.decimal128(12, 2)), ("y", pa.large_string())]))
    warehouse.prepare_table("a", pa.schema([("x", pa.decimal128(18, 2)), ("y", pa.string())]))
    for narrower in (pa.decimal128(12, 2), pa.decimal128(18, 3), pa.float64(), pa.string()):
        with pytest.raises(Refused, match="column x of a"):
            warehouse.prepare_table("a", pa.schema([("x", narrower)]))


def test_a_table_whose_creation_was_cut_short_is_made_whole(warehouse: Catalog, monkeypatch: pytest.MonkeyPatch):
    with monkeypatch.context() as cut:
        cut.setattr(LakeTable, "evolve_schema", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            warehouse.prepare_table("a", ROWS.schema)
    assert warehouse.load_table("a").branch_head(MAIN_BRANCH) is None
    assert warehouse.prepare_table("a", ROWS.schema).branch_head(MAIN_BRANCH) is not None
