"""Rows are found by key among published and staged rows, and files that cannot hold a key are not read."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from tests.builders import drops, lakes
from tests.builders.recording_step import RecordingStep
from wellspring.errors import CorruptedError
from wellspring.lake.iceberg import data_files
from wellspring.lake.lake import Lake
from wellspring.query.duckdb.engine import DuckDbEngine
from wellspring.records.tables import TableInput

CLAIMS = drops.contract()
DAILY = drops.contract(key=("claim_id", "service_date"))


class WatchedEngine(DuckDbEngine):
    """Remembers the tables that a lookup reads."""

    def __init__(self) -> None:
        super().__init__(threads=1)
        self.tables: list[TableInput] = []

    def matching_rows(self, table: TableInput, *args: Any, **options: Any) -> pa.RecordBatchReader:
        self.tables.append(table)
        return super().matching_rows(table, *args, **options)


@pytest.fixture
def engine() -> WatchedEngine:
    return WatchedEngine()


def stage(lake: Lake, step: RecordingStep, name: str, rows: pa.Table, contract: drops.DataContract = CLAIMS) -> str:
    return lake.stage_part(drops.intake(name, contract, rows), contract, step=step).drop


def daily_rows(day: int, count: int = 5) -> pa.Table:
    dates = pa.array([20000 + day] * count, pa.int32()).cast(pa.date32())
    return drops.rows(count, first=1000 * day).set_column(2, "service_date", dates)


def test_published_and_staged_rows_are_found_and_a_null_matches_nothing(
    lake: Lake, step: RecordingStep, engine: WatchedEngine, tmp_path: Path
):
    published = stage(lake, step, "a", drops.rows(5))
    lake.publish("clearinghouse", lake.staged_parts(), step=step)
    staged = stage(lake, step, "b", drops.rows(5, first=5))
    tokens = [drops.rows(1, first=number)["claim_id"][0].as_py() for number in (1, 7, 99)]
    keys = pa.table({"claim_id": pa.array([*tokens, None, tokens[0]], pa.string())})
    matches = lake.find_rows_by_key(CLAIMS, keys.to_reader(), engine=engine, scratch=tmp_path).read_all()
    assert matches.column_names == ["claim_id", "paid", "service_date", "row_number", "drop_id"]
    assert sorted(zip(matches["drop_id"].to_pylist(), matches["row_number"].to_pylist(), strict=True)) == sorted(
        [(published, 2), (staged, 3)]
    )


def test_without_rows_or_keys_nothing_is_read(lake: Lake, step: RecordingStep, engine: WatchedEngine, tmp_path: Path):
    keys = pa.table({"claim_id": ["x"]})
    assert lake.find_rows_by_key(CLAIMS, keys.to_reader(), engine=engine, scratch=tmp_path).read_all().num_rows == 0
    stage(lake, step, "empty", drops.rows(0))
    assert lake.find_rows_by_key(CLAIMS, keys.to_reader(), engine=engine, scratch=tmp_path).read_all().num_rows == 0
    stage(lake, step, "a", drops.rows(3))
    nulls = pa.table({"claim_id": pa.array([None], pa.string())})
    assert lake.find_rows_by_key(CLAIMS, nulls.to_reader(), engine=engine, scratch=tmp_path).read_all().num_rows == 0
    assert engine.tables == []


def test_only_files_of_the_days_of_the_keys_are_read(
    lake: Lake, step: RecordingStep, engine: WatchedEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    # Each batch becomes a file: 60 days in three drops.
    monkeypatch.setattr(data_files, "FILE_BYTES", 1)
    for start in range(0, 60, 20):
        days = [daily_rows(day) for day in range(start, start + 20)]
        numbered = pa.concat_tables(days).set_column(3, "row_number", pa.array(range(1, 101), pa.int64()))
        admission = drops.intake(f"from {start}", DAILY, numbered)
        batches: Iterator[pa.RecordBatch] = iter(numbered.to_reader(max_chunksize=5))
        rows = pa.RecordBatchReader.from_batches(numbered.schema, batches)
        lake.stage_part(admission._replace(rows=rows), DAILY, step=step)
    edition = lake.publish("clearinghouse", lake.staged_parts(), step=step)
    assert len(lakes.stored_files(lake.open_table(edition, "medical_claim"))) == 60
    keys = pa.concat_tables([daily_rows(3), daily_rows(51)]).select(["service_date", "claim_id"])
    matches = lake.find_rows_by_key(DAILY, keys.to_reader(), engine=engine, scratch=tmp_path).read_all()
    assert sorted(matches["claim_id"].to_pylist()) == sorted(keys["claim_id"].to_pylist())
    assert len(lakes.stored_files(engine.tables[0])) == 2


def test_a_miss_opens_no_file(lake: Lake, step: RecordingStep, engine: WatchedEngine, tmp_path: Path):
    for number in range(5):
        stage(lake, step, f"f{number}", drops.rows(5, first=5 * number))
    keys = drops.rows(50, first=100).select(["claim_id"])
    assert lake.find_rows_by_key(CLAIMS, keys.to_reader(), engine=engine, scratch=tmp_path).read_all().num_rows == 0
    assert engine.tables == []


def test_rows_of_a_discarded_drop_are_not_looked_up(
    lake: Lake, step: RecordingStep, engine: WatchedEngine, tmp_path: Path
):
    stage(lake, step, "a", drops.rows(5))
    stage(lake, step, "b", drops.rows(5, first=5))
    keys = drops.rows(10).select(["claim_id"])
    matches = lake.find_rows_by_key(CLAIMS, keys.to_reader(), engine=engine, scratch=tmp_path).read_all()
    assert matches.num_rows == 10
    lake.discard_parts(lake.staged_parts()[-1], step=step)
    matches = lake.find_rows_by_key(CLAIMS, keys.to_reader(), engine=engine, scratch=tmp_path).read_all()
    assert matches.num_rows == 5


def test_a_published_file_that_was_changed_is_not_read(
    lake: Lake, step: RecordingStep, engine: WatchedEngine, tmp_path: Path
):
    stage(lake, step, "a", drops.rows(5))
    edition = lake.publish("clearinghouse", lake.staged_parts(), step=step)
    (path,) = map(Path, lakes.stored_files(lake.open_table(edition, CLAIMS.name)))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(CorruptedError, match="was changed: it is not the file that table medical_claim"):
        lake.find_rows_by_key(CLAIMS, drops.rows(1).select(["claim_id"]).to_reader(), engine=engine, scratch=tmp_path)
    assert engine.tables == []
