"""Parts are found by drop; the index follows the lake, and reads only what is new."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.builders import drops, lakes
from tests.builders.recording_step import FixedClock, RecordingStep
from wellspring.errors import CorruptedError
from wellspring.lake.iceberg.catalog import IcebergCatalog
from wellspring.lake.iceberg.table import IcebergTable
from wellspring.lake.lake import PARTS_FILE, Lake
from wellspring.lake.part_index import PartIndex
from wellspring.lake.staging import StagedPart

CONTRACTS = [drops.contract(name) for name in ("medical_claim", "eligibility", "payment")]


def stage(lake: Lake, step: RecordingStep, number: int, *, table: int = 0) -> StagedPart:
    contract = CONTRACTS[table]
    return lake.stage_part(drops.intake(f"f{number}", contract, drops.rows(2, first=number)), contract, step=step)


def publish(lake: Lake, step: RecordingStep) -> None:
    lake.publish("clearinghouse", lake.staged_parts(), step=step)


class Reads:
    """The tables that were opened, and the snapshots that were read from them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.tables: list[str] = []
        self.snapshots = 0
        load_table, iter_ancestry = IcebergCatalog.load_table, IcebergTable.iter_ancestry

        def load(catalog: IcebergCatalog, name: str) -> IcebergTable:
            self.tables.append(name)
            return load_table(catalog, name)

        def iterate(table: IcebergTable, snapshot_id: int | None) -> Iterator[Any]:
            for snapshot in iter_ancestry(table, snapshot_id):
                self.snapshots += 1
                yield snapshot

        monkeypatch.setattr(IcebergCatalog, "load_table", load)
        monkeypatch.setattr(IcebergTable, "iter_ancestry", iterate)


def test_parts_are_listed_in_the_order_of_staging_over_all_tables(lake: Lake, step: RecordingStep):
    staged = [
        lake.stage_part(drops.intake(f"f{number}", contract, drops.rows(1, first=number)), contract, step=step)
        for number, contract in enumerate([*CONTRACTS, *CONTRACTS[::-1]])
    ]
    assert lake.staged_parts() == tuple(staged)


def test_a_part_is_found_by_drop(lake: Lake, step: RecordingStep):
    published = stage(lake, step, 0)
    publish(lake, step)
    waiting = stage(lake, step, 5)
    index = lake.index_parts()
    assert index.find_part(waiting.drop, 0) == waiting
    assert index.find_part(published.drop, 0) == published.model_copy(update={"published": True})
    assert (index.has_part(waiting.drop, 0), index.has_part(waiting.drop, 1)) == (True, False)
    assert (index.count_drop_rows(waiting.drop), index.count_drop_rows(published.drop)) == ((0, 2), (2, 0))
    assert index.count_drop_rows("vendor-none") == (0, 0)
    assert (index.has_rows("medical_claim"), index.has_rows("eligibility")) == (True, False)
    assert index.list_waiting() == index.list_waiting("medical_claim") == [waiting]
    assert index.list_waiting("eligibility") == []


def test_a_drop_that_an_edition_names_has_its_first_part(lake: Lake, step: RecordingStep, tmp_path: Path):
    part = stage(lake, step, 0)
    publish(lake, step)
    lake.index_parts()
    index: Any = lake.index_parts()
    index._open().execute("delete from parts")
    assert (index.has_part(part.drop, 0), index.has_part(part.drop, 1)) == (True, False)


def test_a_lake_that_has_not_changed_is_not_read(
    lake: Lake, step: RecordingStep, tmp_path: Path, clock: FixedClock, monkeypatch: pytest.MonkeyPatch
):
    for number in range(6):
        stage(lake, step, 2 * number, table=number % 3)
    publish(lake, step)
    listed = lake.staged_parts()
    again = lakes.open_lake(tmp_path, clock=clock)
    reads = Reads(monkeypatch)
    assert again.staged_parts() == listed == ()
    assert again.has_part(drops.intake("f2", CONTRACTS[1], drops.rows(1)).drop.id, 0)
    assert (reads.tables, reads.snapshots) == ([], 0)
    again.close()


def test_of_a_table_that_has_grown_only_the_new_snapshots_are_read(
    lake: Lake, step: RecordingStep, monkeypatch: pytest.MonkeyPatch
):
    for number in range(6):
        stage(lake, step, 2 * number)
    publish(lake, step)
    parts = [stage(lake, step, 20), stage(lake, step, 22)]
    reads = Reads(monkeypatch)
    assert lake.staged_parts() == tuple(parts)
    assert set(reads.tables) <= {"medical_claim"}
    assert reads.snapshots <= 2


def test_an_index_that_is_removed_or_damaged_is_made_anew(
    lake: Lake, step: RecordingStep, tmp_path: Path, clock: FixedClock
):
    stage(lake, step, 0)
    publish(lake, step)
    waiting = stage(lake, step, 2, table=1)
    assert lake.staged_parts() == (waiting,)
    lake.close()
    for damage in (Path.unlink, lambda path: path.write_bytes(b"not a database" * 100)):
        for path in tmp_path.glob(f"{PARTS_FILE}-*"):
            path.unlink()
        damage(tmp_path / PARTS_FILE)
        again = lakes.open_lake(tmp_path, clock=clock)
        assert again.staged_parts() == (waiting,)
        assert again.count_drop_rows(waiting.drop) == (0, 2)
        again.close()


def test_an_index_of_another_format_is_made_anew(lake: Lake, step: RecordingStep, tmp_path: Path, clock: FixedClock):
    waiting = stage(lake, step, 0)
    index: Any = lake.index_parts()
    index._open().execute("pragma user_version = 99")
    lake.close()
    again = lakes.open_lake(tmp_path, clock=clock)
    assert again.staged_parts() == (waiting,)
    again.close()


def test_the_index_forgets_discarded_parts(lake: Lake, step: RecordingStep):
    first, second = stage(lake, step, 0), stage(lake, step, 2)
    assert lake.staged_parts() == (first, second)
    lake.discard_parts(second, step=step)
    assert lake.staged_parts() == (first,)
    lake.discard_parts(first, step=step)
    assert lake.staged_parts() == ()
    assert lake.has_part(first.drop, 0) is False


def test_the_index_follows_an_older_lake(lake: Lake, step: RecordingStep, tmp_path: Path, clock: FixedClock):
    """A copy of the lake is restored, and the index is that of the newer one."""
    import shutil

    first = stage(lake, step, 0)
    publish(lake, step)
    lake.close()
    shutil.copytree(tmp_path, tmp_path.parent / "copy")
    newer = lakes.open_lake(tmp_path, clock=clock)
    second = stage(newer, step, 2)
    publish(newer, step)
    assert newer.has_part(second.drop, 0)
    newer.close()
    for name in ("catalog.db", "editions"):
        path, copy = tmp_path / name, tmp_path.parent / "copy" / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
        shutil.copytree(copy, path) if copy.is_dir() else shutil.copy(copy, path)
    older = lakes.open_lake(tmp_path, clock=clock)
    assert (older.has_part(first.drop, 0), older.has_part(second.drop, 0)) == (True, False)
    older.close()


def test_a_table_without_the_snapshot_of_its_edition_is_corrupted(
    lake: Lake, step: RecordingStep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    stage(lake, step, 0)
    publish(lake, step)
    edition = lake.get_edition()
    assert edition is not None
    tables = tuple(table.model_copy(update={"snapshot_id": 7}) for table in edition.tables)
    monkeypatch.setattr(lake._edition_store, "latest_edition", lambda: edition.model_copy(update={"tables": tables}))
    with pytest.raises(CorruptedError, match="no longer contains the snapshot of edition"):
        PartIndex(None, lake._catalog, lake._edition_store).refresh()
    with pytest.raises(CorruptedError, match="no longer contains the snapshot of edition"):
        lake.index_parts()
