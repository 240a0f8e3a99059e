"""Behavior of every catalog of a lake: the suite of lake/port.py."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from tests.builders import drops
from wellspring.errors import CorruptedError, NotFound, Refused, Unavailable
from wellspring.lake import registry
from wellspring.lake.port import (
    AUDIT_BRANCH,
    BUILT_NAMESPACE,
    LANDED_NAMESPACE,
    MAIN_BRANCH,
    STAGING_BRANCH,
    Catalog,
    Table,
)
from wellspring.lake.registry import list_catalogs
from wellspring.records.clock import SystemClock
from wellspring.records.tables import ParquetTable, TableInput

ROWS = drops.rows(2)
OpenCatalog = Callable[[str], Catalog]


@pytest.fixture(params=list_catalogs())
def open_catalog(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[OpenCatalog]:
    """Open a namespace of one empty lake, as often as a test likes."""
    opened_catalogs: list[Catalog] = []

    def open_namespace(namespace: str) -> Catalog:
        # A folder's name may hold what means something in an address.
        opened_catalogs.append(registry.open_catalog(request.param, {}, tmp_path / "a lake #1 50%", namespace))
        return opened_catalogs[-1]

    yield open_namespace
    for catalog in opened_catalogs:
        catalog.close()


@pytest.fixture
def catalog(open_catalog: OpenCatalog) -> Catalog:
    return open_catalog(LANDED_NAMESPACE)


@pytest.fixture
def built(open_catalog: OpenCatalog) -> Catalog:
    return open_catalog(BUILT_NAMESPACE)


def write(table: Table, base: int, name: str = "a", rows: pa.Table = ROWS) -> int:
    return table.append_rows(rows.to_reader(), base, {"drop": name})


def head(table: Table, branch: str = MAIN_BRANCH) -> int:
    snapshot_id = table.branch_head(branch)
    assert snapshot_id is not None
    return snapshot_id


def heads(table: Table) -> tuple[int | None, ...]:
    return tuple(map(table.branch_head, (MAIN_BRANCH, STAGING_BRANCH, AUDIT_BRANCH)))


def read(table: TableInput) -> pa.Table:
    return table if isinstance(table, pa.Table) else table.read_rows()


def test_reading_creates_no_catalog(catalog: Catalog, tmp_path: Path):
    assert catalog.table_names() == ()
    with pytest.raises(NotFound):
        catalog.load_table("a")
    assert list(tmp_path.rglob("*")) == []


def test_an_unknown_table_is_reported_with_the_nearest_name(catalog: Catalog):
    catalog.prepare_table("orders", ROWS.schema)
    assert catalog.table_names() == ("orders",)
    with pytest.raises(NotFound) as missing:
        catalog.load_table("order")
    assert "'orders'" in missing.value.fix


def test_the_namespaces_of_one_lake_are_apart(open_catalog: OpenCatalog):
    open_catalog(LANDED_NAMESPACE).prepare_table("orders", ROWS.schema)
    assert open_catalog(BUILT_NAMESPACE).table_names() == ()


def test_a_new_table_has_one_empty_snapshot_which_is_the_root(catalog: Catalog):
    table = catalog.prepare_table("a", ROWS.schema)
    root = table.root_snapshot_id()
    assert heads(table) == (root, None, None)
    assert [snapshot[:3] for snapshot in table.iter_ancestry(root)] == [(root, {}, 0)]
    write(table, root)
    assert table.root_snapshot_id() == root


def test_written_rows_are_on_the_audit_branch_only(catalog: Catalog):
    table = catalog.prepare_table("a", ROWS.schema)
    root = head(table)
    written = write(table, root)
    assert heads(table) == (root, None, written)
    assert table.rows_added_by(written).read_all().equals(ROWS)
    assert table.read_snapshot(root, None).num_rows == 0
    table.move_staging(written)
    assert heads(table) == (root, written, None)
    assert [(snapshot.properties, snapshot.rows) for snapshot in table.iter_ancestry(written)] == [
        ({"drop": "a"}, 2),
        ({}, 0),
    ]


def test_a_later_process_reads_what_was_written(open_catalog: OpenCatalog):
    table = open_catalog(LANDED_NAMESPACE).prepare_table("a", ROWS.schema)
    written = write(table, head(table))
    again = open_catalog(LANDED_NAMESPACE).load_table("a")
    assert (again.name, again.branch_head(AUDIT_BRANCH)) == ("a", written)
    assert again.read_snapshot(written, ("claim_id",)).equals(ROWS.select(["claim_id"]))


def test_rows_of_a_failed_write_are_dropped_with_their_branch(catalog: Catalog):
    table = catalog.prepare_table("a", ROWS.schema)
    root = head(table)
    write(table, root, "failed")
    table.drop_branch(AUDIT_BRANCH)
    table.drop_branch(AUDIT_BRANCH)
    second = write(table, root, "second")
    assert [snapshot.properties.get("drop") for snapshot in table.iter_ancestry(second)] == ["second", None]
    assert heads(table) == (root, None, second)


def test_publishing_tags_the_snapshot_and_may_be_repeated(catalog: Catalog):
    table = catalog.prepare_table("a", ROWS.schema)
    written = write(table, head(table))
    table.move_staging(written)
    for _ in range(2):
        table.publish(written, "edition-1")
        assert heads(table) == (written, None, None)
        assert table.branch_head("edition-1") == written
    later = write(table, written)
    table.publish(later, "edition-2")
    table.publish(written, "edition-1")
    assert head(table) == later


def test_a_snapshot_without_all_published_rows_does_not_become_current(catalog: Catalog):
    table = catalog.prepare_table("a", ROWS.schema)
    root = head(table)
    item = write(table, root)
    table.publish(item, "edition-1")
    second = write(table, root, "b")
    with pytest.raises(CorruptedError, match="does not contain all published rows"):
        table.publish(second, "edition-2")
    assert head(table) == item


def test_the_whole_table_is_replaced_by_a_snapshot_beside_the_last_one(built: Catalog):
    table = built.prepare_table("a", ROWS.schema)
    first, second = (write(table, table.root_snapshot_id(), name) for name in ("first", "second"))
    for _ in range(2):
        table.set_current(first, "edition-1")
        assert (head(table), table.branch_head("edition-1")) == (first, first)
    table.set_current(second, "edition-2")
    assert (head(table), table.branch_head("edition-1")) == (second, first)
    assert not table.descends_from(second, first)
    assert table.descends_from(second, table.root_snapshot_id())
    with pytest.raises(CorruptedError, match="snapshot 7 of a is missing"):
        table.set_current(7, "edition-3")


def test_each_snapshot_returns_only_the_rows_that_it_added(catalog: Catalog):
    table = catalog.prepare_table("a", ROWS.schema)
    snapshot_id = head(table)
    for number in range(3):
        rows = drops.rows(3, first=10 * number)
        snapshot_id = write(table, snapshot_id, str(number), rows)
        assert table.rows_added_by(snapshot_id).read_all().equals(rows)
    assert table.read_snapshot(snapshot_id, None).num_rows == 9
    with pytest.raises(NotFound, match="snapshot 7"):
        table.rows_added_by(7)
    assert table.has_snapshot(snapshot_id)
    assert not table.has_snapshot(7)


def test_an_unknown_column_is_reported_with_the_nearest_name(catalog: Catalog):
    table = catalog.prepare_table("a", ROWS.schema)
    with pytest.raises(NotFound) as missing:
        table.read_snapshot(head(table), ("claim_idd",))
    assert "'claim_id'" in missing.value.fix


def test_a_snapshot_is_an_input_with_the_schema_it_was_written_with(catalog: Catalog):
    table = catalog.prepare_table("a", ROWS.schema)
    empty, written = head(table), write(table, head(table))
    wider = ROWS.append_column("more", pa.array([1, 2]))
    table = catalog.prepare_table("a", wider.schema)
    last = write(table, written, "b", wider)
    for snapshot_id, names, rows in ((empty, ROWS.column_names, 0), (last, wider.column_names, 4)):
        table_input = table.open_snapshot(snapshot_id)
        assert table_input.schema.names == names
        assert read(table_input).num_rows == rows
        assert read(table_input).schema.equals(table_input.schema)
    assert read(table.open_snapshot(written)).equals(ROWS)
    stored = table.open_snapshot(last)
    assert isinstance(stored, ParquetTable)
    assert stored.name == "a"
    assert sorted(stored.read_rows(["more"])["more"].to_pylist(), key=str) == [1, 2, None, None]


def test_a_landed_table_widens_a_decimal_and_accepts_no_other_change(catalog: Catalog):
    catalog.prepare_table("a", pa.schema([("x", pa.decimal128(12, 2)), ("y", pa.large_string())]))
    table = catalog.prepare_table("a", pa.schema([("x", pa.decimal128(18, 2)), ("y", pa.string())]))
    rows = pa.table({"x": pa.array([None], pa.decimal128(18, 2)), "y": ["b"]})
    table.move_staging(write(table, head(table), rows=rows))
    for changed in (pa.decimal128(18, 3), pa.decimal128(12, 3), pa.float64(), pa.string()):
        with pytest.raises(Refused, match="column x of a"):
            catalog.prepare_table("a", pa.schema([("x", changed)]))


def test_rows_of_an_earlier_schema_are_appended_and_read_back_as_they_were(catalog: Catalog):
    table = catalog.prepare_table("a", pa.schema([("x", pa.decimal128(18, 2)), ("y", pa.string())]))
    wide = pa.table({"x": pa.array([2], pa.decimal128(18, 2)), "y": ["b"]})
    table.move_staging(first := write(table, head(table), rows=wide))
    narrow = pa.table({"x": pa.array([1], pa.decimal128(12, 2))})
    table = catalog.prepare_table("a", narrow.schema)
    written = write(table, first, rows=narrow)
    assert table.rows_added_by(written).read_all().equals(narrow)
    whole = table.read_snapshot(written, None)
    assert {field.name: field.type for field in whole.schema} == {"x": pa.decimal128(18, 2), "y": pa.string()}
    assert sorted(whole["y"].to_pylist(), key=str) == [None, "b"]
    assert read(table.open_snapshot(written)).schema == whole.schema


def test_a_landed_table_without_rows_takes_the_types_of_the_contract_in_force(catalog: Catalog):
    table = catalog.prepare_table("a", pa.schema([("x", pa.decimal128(12, 4)), ("y", pa.string())]))
    rows = pa.table({"x": pa.array([None], pa.decimal128(12, 4)), "y": ["b"]})
    table.move_staging(write(table, head(table), rows=rows))
    table.drop_branch(STAGING_BRANCH)
    table = catalog.prepare_table("a", pa.schema([("x", pa.decimal128(12, 2))]))
    written = write(table, head(table), rows=pa.table({"x": pa.array([None], pa.decimal128(12, 2)), "y": ["c"]}))
    assert table.read_snapshot(written, None)["x"].type == pa.decimal128(12, 2)


def test_a_built_table_replaces_its_columns_and_older_snapshots_keep_theirs(built: Catalog):
    table = built.prepare_table("a", pa.schema([("x", pa.int64()), ("y", pa.string())]))
    old = write(table, table.root_snapshot_id(), rows=pa.table({"x": [1], "y": ["a"]}))
    table.set_current(old, "edition-1")
    table = built.prepare_table("a", pa.schema([("x", pa.string()), ("z", pa.bool_())]))
    new = write(table, table.root_snapshot_id(), rows=pa.table({"x": ["b"], "z": [True]}))
    assert table.read_snapshot(old, None).to_pylist() == [{"x": 1, "y": "a"}]
    assert table.read_snapshot(new, ("x", "z")).to_pylist() == [{"x": "b", "z": True}]


def test_a_second_writer_is_refused_and_loses_nothing(open_catalog: OpenCatalog):
    table = open_catalog(LANDED_NAMESPACE).prepare_table("a", ROWS.schema)
    stale = open_catalog(LANDED_NAMESPACE).load_table("a")
    written = write(table, head(table))
    with pytest.raises(Unavailable, match="another writer changed a"):
        write(stale, head(stale))
    assert open_catalog(LANDED_NAMESPACE).load_table("a").branch_head(AUDIT_BRANCH) == written


def test_only_unreferenced_files_older_than_the_run_are_removed(catalog: Catalog):
    table = catalog.prepare_table("a", ROWS.schema)
    published = write(table, head(table))
    table.publish(published, "edition-1")
    failed = write(table, published, "failed")
    table.drop_branch(AUDIT_BRANCH)
    staged = write(table, published, "staged")
    table.move_staging(staged)
    now = SystemClock().now()
    assert table.remove_orphan_files(older_than=now - timedelta(days=1)) == 0
    assert catalog.load_table("a").remove_orphan_files(older_than=now + timedelta(days=1)) > 0
    table = catalog.load_table("a")
    assert [table.has_snapshot(snapshot_id) for snapshot_id in (published, failed, staged)] == [True, False, True]
    assert table.rows_added_by(published).read_all().equals(table.rows_added_by(staged).read_all())
    assert table.remove_orphan_files(older_than=now + timedelta(days=1)) == 0
