"""Where the past is cut off: each table that grew is divided, and a backfill decides nothing."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from tests.builders import dbt_projects as built
from wellspring.data.transform.audit_instants import RECORDING_COLUMNS, choose_audit_instants, known_since_columns
from wellspring.data.transform.dbt_process import SourceTable
from wellspring.errors import ProjectError


def grown(folder: Path, name: str, days: Iterable[float], *, item: int = 1) -> SourceTable:
    """A landed table of which some rows were recorded on each of some days."""
    instant = [built.FIRST + timedelta(days=day) for day in days for _ in range(item)]
    rows = pa.table({"recorded_at": pa.array(instant, pa.timestamp("us", "UTC"))})
    return SourceTable(files=(built.written(rows, folder / f"{name}.parquet"),), known_since_columns=("recorded_at",))


def cut_days(sources: dict[str, SourceTable]) -> list[float]:
    cuts = [datetime.fromisoformat(instant) for instant in choose_audit_instants(sources)]
    return [(cut - built.FIRST) / timedelta(days=1) for cut in cuts]


def test_a_table_loaded_at_once_does_not_draw_the_cut_to_its_day(tmp_path: Path):
    at_once, growing = grown(tmp_path, "a", [0], item=1000), grown(tmp_path, "b", range(100, 200))
    assert cut_days({"a": at_once, "b": growing}) == [170]
    backfilled = grown(tmp_path, "c", [0, *range(100, 200)], item=1)
    assert cut_days({"a": at_once, "c": backfilled}) == [169]
    assert cut_days({"a": at_once}) == []


def test_tables_that_grew_at_different_times_are_each_divided_by_a_cut(tmp_path: Path):
    apart = {name: grown(tmp_path, name, days) for name, days in {"a": range(10), "b": range(100, 200)}.items()}
    assert cut_days(apart) == [170, 7]
    together = {"a": grown(tmp_path, "a", range(5, 15)), **{n: grown(tmp_path, n, range(20)) for n in ("b", "c")}}
    assert cut_days(together) == [12]


def test_no_more_than_two_pasts_are_built(tmp_path: Path):
    sources = {str(n): grown(tmp_path, str(n), range(n * 100, n * 100 + 10)) for n in range(5)}
    assert len(cut_days(sources)) == 2


def test_of_one_day_each_instant_counts(tmp_path: Path):
    assert cut_days({"a": grown(tmp_path, "a", [n / 10 for n in range(10)])}) == [0.7]
    assert cut_days({"a": grown(tmp_path, "a", [0, 3])}) == [0]


@pytest.mark.parametrize("values", [["2026-01-01", "x"], [20260101, 20260102]], ids=["text", "number"])
def test_a_column_that_cannot_say_when_it_was_recorded_is_named(tmp_path: Path, values: list[Any]):
    schemas = [pa.schema({"recorded_at": item}) for item in (pa.timestamp("us", "UTC"), pa.array(values).type)]
    with pytest.raises(ProjectError, match=r"column recorded_at of table visit is (string|int64)"):
        known_since_columns("visit", schemas)
    schemas = [pa.schema({name: kind}) for name, kind in (("known_since", pa.timestamp("us")), ("x", pa.int64()))]
    assert known_since_columns("visit", schemas) == ("known_since",)
    assert known_since_columns("visit", [pa.schema({"recorded_at": pa.date32()}), *schemas]) == RECORDING_COLUMNS
