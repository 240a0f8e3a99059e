"""Tables that grow on a branch before anybody reads them."""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from tests.data import drops
from wellspring.data.iceberg import AUDIT, MAIN, STAGING, LakeTable, Warehouse
from wellspring.errors import Broken, NotFound, Refused

ROWS = drops.rows(2)


@pytest.fixture
def warehouse(tmp_path: Path) -> Iterator[Warehouse]:
    # A folder's name may hold what means something in an address.
    warehouse = Warehouse(tmp_path / "a lake #1 50%")
    yield warehouse
    warehouse.close()


def write(table: LakeTable, base: int, name: str = "a") -> int:
    return table.write(ROWS, base, {"drop": name})


def main(table: LakeTable) -> int:
    head = table.head(MAIN)
    assert head is not None
    return head


def test_looking_at_a_lake_that_is_not_there_makes_none(warehouse: Warehouse):
    assert warehouse.names() == ()
    with pytest.raises(NotFound):
        warehouse.table("a")
    assert not warehouse.folder.exists()


def test_written_rows_are_on_the_audit_branch_alone(warehouse: Warehouse):
    table = warehouse.prepare("a", ROWS.schema)
    root = main(table)
    written = write(table, root)
    assert (table.head(MAIN), table.head(STAGING), table.head(AUDIT)) == (root, None, written)
    assert table.added(written).equals(ROWS)
    assert table.read(root, None).num_rows == 0
    table.stage(written)
    assert (table.head(MAIN), table.head(STAGING), table.head(AUDIT)) == (root, written, None)
    assert [(link.marks, link.rows) for link in table.line(written)] == [({"drop": "a"}, 2), ({}, 0)]


def test_switching_is_final_tagged_and_may_be_done_again(warehouse: Warehouse):
    table = warehouse.prepare("a", ROWS.schema)
    written = write(table, main(table))
    table.stage(written)
    for _ in range(2):
        table.switch(written, "edition-1")
        assert (table.head(MAIN), table.head("edition-1"), table.head(STAGING)) == (written, written, None)
    later = write(table, written)
    table.switch(later, "edition-2")
    table.switch(written, "edition-1")
    assert table.head(MAIN) == later


def test_a_snapshot_that_lacks_published_rows_never_becomes_current(warehouse: Warehouse):
    table = warehouse.prepare("a", ROWS.schema)
    root = main(table)
    one = write(table, root)
    table.switch(one, "edition-1")
    other = write(table, root, "b")
    with pytest.raises(Broken, match="does not hold all rows"):
        table.switch(other, "edition-2")
    assert table.head(MAIN) == one


def test_each_snapshot_gives_back_only_what_it_added_even_when_manifests_are_merged(warehouse: Warehouse):
    table = warehouse.prepare("a", ROWS.schema)
    with table.iceberg.transaction() as change:
        change.set_properties({"commit.manifest.min-count-to-merge": "2"})
    head = main(table)
    for number in range(5):
        rows = drops.rows(3, first=10 * number)
        head = table.write(rows, head, {"drop": str(number)})
        assert table.added(head).equals(rows)
    assert table.read(head, None).num_rows == 15


def test_a_table_widens_a_decimal_and_takes_no_other_change(warehouse: Warehouse):
    warehouse.prepare("a", pa.schema([("x", pa.decimal128(12, 2)), ("y", pa.large_string())]))
    warehouse.prepare("a", pa.schema([("x", pa.decimal128(18, 2)), ("y", pa.string())]))
    for narrower in (pa.decimal128(12, 2), pa.decimal128(18, 3), pa.float64(), pa.string()):
        with pytest.raises(Refused, match="column x of a"):
            warehouse.prepare("a", pa.schema([("x", narrower)]))


def test_a_table_whose_creation_was_cut_short_is_made_whole(warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch):
    with monkeypatch.context() as cut:
        cut.setattr(LakeTable, "grow", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            warehouse.prepare("a", ROWS.schema)
    assert warehouse.table("a").head(MAIN) is None
    assert warehouse.prepare("a", ROWS.schema).head(MAIN) is not None
