"""The leakage audit: a past that is built again, and the instants at which it ends."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from tests.builders import dbt_projects as built
from tests.builders.reference_engine import ReferenceEngine
from wellspring.data.transform.dbt_process import ExportedTable, list_runs
from wellspring.data.transform.leakage import (
    RECORDING_COLUMNS,
    choose_audit_instants,
    find_landing_time_tables,
    find_leaks,
    known_since_columns,
)
from wellspring.data.transform.table_versions import CompiledModel
from wellspring.errors import ProjectError
from wellspring.query.port import DbtRun
from wellspring.records.tables import TableInput

ENGINE: Any = ReferenceEngine()
SCHEMA = pa.schema({"person": pa.string(), "known_since": pa.timestamp("us", "UTC"), "sequence": pa.int64()})


def grown(days: Iterable[float], *, item: int = 1) -> pa.Table:
    """A landed table of which some rows were recorded on each of some days."""
    instants = [built.FIRST + timedelta(days=day) for day in days for _ in range(item)]
    return pa.table({"recorded_at": pa.array(instants, pa.timestamp("us", "UTC"))})


def cut_days(tables: dict[str, pa.Table]) -> list[float]:
    cuts = [datetime.fromisoformat(instant) for instant in choose_audit_instants(tables, ENGINE)]
    return [(cut - built.FIRST) / timedelta(days=1) for cut in cuts]


def test_a_table_counts_by_landing_time_when_no_landed_table_that_it_reads_has_recorded_at():
    models = [
        CompiledModel(name="model.p.stg", sql="", upstream=("source.p.landed.orders",)),
        CompiledModel(name="model.p.features", sql="", upstream=("model.p.stg",)),
        CompiledModel(name="model.p.joined", sql="", upstream=("model.p.stg", "source.p.landed.people")),
        CompiledModel(name="model.p.calendar", sql="", upstream=()),
    ]
    tables = {name: f"model.p.{name}" for name in ("features", "joined", "calendar")}
    timed, untimed = pa.schema({"recorded_at": pa.timestamp("us", "UTC")}), pa.schema({"known_since": pa.string()})
    assert find_landing_time_tables(tables, models, {"orders": untimed, "people": timed}) == ("features",)
    assert find_landing_time_tables(tables, models, {"orders": untimed, "people": untimed}) == ("features", "joined")
    assert find_landing_time_tables(tables, models, {"orders": timed, "people": untimed}) == ()


def test_a_table_loaded_at_once_does_not_move_the_instant_to_its_day():
    at_once, growing = grown([0], item=1000), grown(range(100, 200))
    assert cut_days({"a": at_once, "b": growing}) == [170]
    backfilled = grown([0, *range(100, 200)], item=1)
    assert cut_days({"a": at_once, "c": backfilled}) == [169]
    assert cut_days({"a": at_once}) == []


def test_tables_that_grew_at_different_times_are_each_divided_by_an_instant():
    assert cut_days({"a": grown(range(10)), "b": grown(range(100, 200))}) == [170, 7]
    assert cut_days({"a": grown(range(5, 15)), **{name: grown(range(20)) for name in ("b", "c")}}) == [12]


def test_no_more_than_two_pasts_are_built():
    assert len(cut_days({str(n): grown(range(n * 100, n * 100 + 10)) for n in range(5)})) == 2


def test_of_one_day_each_instant_counts():
    assert cut_days({"a": grown([n / 10 for n in range(10)])}) == [0.7]
    assert cut_days({"a": grown([0, 3])}) == [0]


@pytest.mark.parametrize("kind", [pa.string(), pa.int64()], ids=str)
def test_a_recording_column_of_another_type_is_refused_by_name(kind: pa.DataType):
    with pytest.raises(ProjectError, match=rf"column recorded_at of table visit is {kind}"):
        known_since_columns("visit", pa.schema({"recorded_at": kind}))


def test_the_recording_columns_are_those_that_the_table_has():
    assert known_since_columns("visit", pa.schema({"known_since": pa.timestamp("us"), "x": pa.int64()})) == (
        "known_since",
    )
    both = pa.schema({"known_since": pa.timestamp("us", "UTC"), "recorded_at": pa.date32()})
    assert known_since_columns("visit", both) == RECORDING_COLUMNS


class Exports:
    """The tables that three runs of dbt exported: all rows, and the past as seen at two instants."""

    def __init__(self, **rows_by_run: list[int]) -> None:
        self.rows_by_run = rows_by_run

    def open_export(self, name: str, run: DbtRun) -> TableInput:
        rows = [
            {"person": "a", "known_since": built.FIRST + timedelta(days=day), "sequence": sequence}
            for day, sequence in enumerate(self.rows_by_run[f"{name}_{run.name}".replace("-", "_")])
        ]
        return pa.Table.from_pylist(rows, SCHEMA)


def test_leaks_are_named_by_table_and_the_largest_number_of_compared_rows_is_reported(tmp_path: Path):
    tables = [
        ExportedTable(name=name, keys=("person",), columns=columns, rows=4)
        for name, columns in {
            "sound": ("person", "known_since", "sequence"),
            "leaky": ("person", "known_since", "sequence"),
            "lookup": ("person",),
        }.items()
    ]
    exports: Any = Exports(
        sound_full=[0, 1, 2, 3], sound_audit_0=[0, 1], sound_audit_1=[0, 1, 2],
        leaky_full=[4, 4, 4, 4], leaky_audit_0=[2, 2], leaky_audit_1=[4, 4, 4],
    )  # fmt: skip
    instants = [(built.FIRST + timedelta(days=day)).isoformat() for day in (1, 2)]
    report = find_leaks(tables, list_runs(tmp_path, instants), engine=ENGINE, backend=exports)
    assert report == (("leaky.sequence",), {"sound": 3, "leaky": 3})


def test_without_an_audit_instant_nothing_is_compared(tmp_path: Path):
    tables = [ExportedTable(name="sound", keys=("person",), columns=("person", "known_since"), rows=4)]
    nothing: Any = Exports()
    assert find_leaks(tables, list_runs(tmp_path, []), engine=ENGINE, backend=nothing) == ((), {"sound": 0})
