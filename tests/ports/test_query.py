"""Behavior of every query engine, by comparison with the reference engine: the suite of query/port.py.

To try an engine of your own, install its package: each entry point of `wellspring.query_engines` is a parameter.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.builders.feature_views import instant, rows, token, view
from tests.builders.reference_engine import ReferenceEngine
from wellspring.query.port import QueryEngine
from wellspring.query.registry import list_query_engines, open_query_engine
from wellspring.records.record import format_instant
from wellspring.records.tables import ParquetTable, TableInput

MEMBERS = view()
ORDERS = view("member_claims", {"open": "int64"}, keys=("member_id", "claim_id"))
REFERENCE = ReferenceEngine()
ENGINES = [*list_query_engines(), "reference"]
EXAMPLES = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
Row = Mapping[str, Any]


def open_engine(name: str) -> QueryEngine:
    return REFERENCE if name == "reference" else open_query_engine(name, {})


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> QueryEngine:
    return open_engine(request.param)


KEY = st.none() | st.sampled_from([token(n) for n in range(4)])
ORDER_KEY = st.none() | st.sampled_from([token(n, "claim") for n in range(2)])
# Few instants, so that many rows become known at one of them and the sequence decides.
INSTANT = st.integers(0, 6).map(lambda n: instant(n * 0.5))
MEMBER_ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "member_id": KEY,
            "known_since": INSTANT,
            "sequence": st.integers(-3, 3),
            "denials": st.none() | st.integers(-9, 9),
            "rate": st.none() | st.floats(0, 1),
            "covered": st.none() | st.booleans(),
            "plan": st.none() | st.sampled_from(["gold", ""]),
        }
    ),
    max_size=25,
    unique_by=lambda row: (row["member_id"], row["known_since"], row["sequence"]),
)
ORDER_ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "member_id": KEY,
            "claim_id": ORDER_KEY,
            "known_since": INSTANT,
            "sequence": st.integers(-1, 1),
            "open": st.none() | st.integers(0, 5),
        }
    ),
    max_size=15,
    unique_by=lambda row: (row["member_id"], row["claim_id"], row["known_since"], row["sequence"]),
)
SPINE_ROWS = st.lists(
    st.fixed_dictionaries({"member_id": KEY, "claim_id": ORDER_KEY, "event_at": st.none() | INSTANT}), max_size=12
)


def spine_of(requests: list[dict[str, Any]]) -> pa.Table:
    kinds = {"member_id": pa.string(), "claim_id": pa.string(), "event_at": pa.timestamp("us", "UTC")}
    return pa.table({name: pa.array([item.get(name) for item in requests], kind) for name, kind in kinds.items()})


def stored(table: pa.Table, folder: Path, *, parts: int = 2) -> ParquetTable:
    """Write a table as several files, as a lake does."""
    size = -(-table.num_rows // parts) or 1
    paths = [folder / f"{number}.parquet" for number in range(parts)]
    for number, path in enumerate(paths):
        pq.write_table(table.slice(number * size, size), path)
    return ParquetTable("member_history", tuple(map(str, paths)), table.schema)


def history(*versions: tuple[float, int, int | None]) -> pa.Table:
    """Return one member's history: the second when a row became known, its sequence, and its value."""
    return rows(
        MEMBERS,
        [
            {"member_id": token(1), "known_since": instant(second), "sequence": sequence, "denials": value}
            for second, sequence, value in versions
        ],
    )


# --- point_in_time_join -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", list_query_engines())
@EXAMPLES
@given(SPINE_ROWS, MEMBER_ROWS, ORDER_ROWS)
def test_the_join_equals_a_brute_force_join_under_late_corrections(
    name: str, requests: list[dict[str, Any]], members: list[dict[str, Any]], orders: list[dict[str, Any]]
):
    tables = {"member_history": rows(MEMBERS, members), "member_claims": rows(ORDERS, orders)}
    spine, views = spine_of(requests), [MEMBERS, ORDERS]
    joined = open_engine(name).point_in_time_join(spine, views, tables, instant_column="event_at")
    assert joined.equals(REFERENCE.point_in_time_join(spine, views, tables, instant_column="event_at"))


@pytest.mark.parametrize(("second", "expected"), [(0.999999, None), (1, 1), (4.999999, 1), (5, 5), (9, 5)])
def test_a_correction_is_not_joined_before_it_was_known(engine: QueryEngine, second: float, expected: int | None):
    spine = spine_of([{"member_id": token(1), "event_at": instant(second)}])
    tables = {"member_history": history((1, 1, 1), (5, 5, 5))}
    joined = engine.point_in_time_join(spine, [MEMBERS], tables, instant_column="event_at")
    assert joined["member_history__denials"].to_pylist() == [expected]


def test_of_two_rows_known_at_one_instant_the_higher_sequence_is_joined(engine: QueryEngine):
    spine = spine_of([{"member_id": token(1), "event_at": instant(1)}])
    tables = {"member_history": history((1, 2, 2), (1, 9, 9), (1, -5, -5))}
    joined = engine.point_in_time_join(spine, [MEMBERS], tables, instant_column="event_at")
    assert joined["member_history__denials"].to_pylist() == [9]


def test_the_join_has_one_row_for_each_spine_row_in_its_order(engine: QueryEngine):
    spine = spine_of([{"member_id": token(n % 3), "event_at": instant(n * 7 % 10)} for n in range(200)])
    tables = {"member_history": history((1, 1, 1), (5, 5, 5))}
    joined = engine.point_in_time_join(spine, [MEMBERS], tables, instant_column="event_at")
    expected = [(None, 1, 5)[(n * 7 % 10 >= 1) + (n * 7 % 10 >= 5)] if n % 3 == 1 else None for n in range(200)]
    assert joined["member_history__denials"].to_pylist() == expected
    features = ("denials", "rate", "covered", "plan", "known_since", "sequence")
    assert joined.column_names == [f"member_history__{name}" for name in features]
    assert joined.schema.field("member_history__known_since").type == pa.timestamp("us", "UTC")


def test_an_instant_in_another_zone_or_unit_is_the_same_instant(engine: QueryEngine):
    moment = datetime(2026, 1, 1, 0, 0, 5, tzinfo=UTC)
    table = history((1, 1, 1), (5, 5, 5))
    local = table["known_since"].cast(pa.timestamp("us", "Asia/Tokyo"))
    shifted = table.set_column(table.column_names.index("known_since"), "known_since", local)
    spine = pa.table({"member_id": [token(1)], "event_at": pa.array([moment], pa.timestamp("ms", "America/New_York"))})
    joined = engine.point_in_time_join(spine, [MEMBERS], {"member_history": shifted}, instant_column="event_at")
    assert joined["member_history__denials"].to_pylist() == [5]
    assert joined["member_history__known_since"].to_pylist() == [moment]


def test_floats_keep_their_bits(engine: QueryEngine):
    values = [0.1 + 0.2, -0.0, float("inf"), 5e-324]
    table = rows(
        MEMBERS,
        [
            {"member_id": token(n), "rate": value, "known_since": instant(1), "sequence": 1}
            for n, value in enumerate(values)
        ],
    )
    newest = engine.latest_rows(MEMBERS, table)
    assert [value.hex() for value in newest["rate"].to_pylist()] == [value.hex() for value in values]


# --- stored tables ----------------------------------------------------------------------------------------------------


def test_a_stored_table_gives_the_same_rows_as_one_in_memory(engine: QueryEngine, tmp_path: Path):
    table = history((1, 1, 1), (5, 5, 5), (7, 1, None))
    on_disk = stored(table, tmp_path)
    spine = spine_of([{"member_id": token(n), "event_at": instant(6)} for n in (1, 2)])
    for_each = [
        lambda rows: engine.row_counts(MEMBERS, rows),
        lambda rows: engine.latest_rows(MEMBERS, rows),
        lambda rows: engine.point_in_time_join(spine, [MEMBERS], {"member_history": rows}, instant_column="event_at"),
        lambda rows: engine.recording_instants(rows, ["known_since"]),
    ]
    for operation in for_each:
        assert operation(on_disk) == operation(table)


def test_a_column_that_older_files_lack_is_null(engine: QueryEngine, tmp_path: Path):
    table = history((1, 1, 1), (5, 5, 5))
    pq.write_table(table.slice(0, 1).drop_columns(["denials"]), tmp_path / "0.parquet")
    pq.write_table(table.slice(1), tmp_path / "1.parquet")
    on_disk = ParquetTable("member_history", (f"{tmp_path}/0.parquet", f"{tmp_path}/1.parquet"), table.schema)
    spine = spine_of([{"member_id": token(1), "event_at": instant(second)} for second in (2, 6)])
    joined = engine.point_in_time_join(spine, [MEMBERS], {"member_history": on_disk}, instant_column="event_at")
    assert joined["member_history__denials"].to_pylist() == [None, 5]


def test_a_column_that_no_file_has_yet_is_null(engine: QueryEngine, tmp_path: Path):
    table = history((1, 1, 1))
    on_disk = stored(table.drop_columns(["denials"]), tmp_path)
    assert isinstance(on_disk, ParquetTable)
    evolved = ParquetTable(on_disk.name, on_disk.files, table.schema)
    spine = spine_of([{"member_id": token(1), "event_at": instant(2)}])
    joined = engine.point_in_time_join(spine, [MEMBERS], {"member_history": evolved}, instant_column="event_at")
    assert joined["member_history__denials"].to_pylist() == [None]
    assert joined["member_history__denials"].type == table.schema.field("denials").type


def test_an_engine_that_reads_files_does_not_load_them_first(
    engine: QueryEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    on_disk = stored(history((1, 1, 1)), tmp_path)
    reads: list[object] = []
    monkeypatch.setattr(
        ParquetTable, "read_rows", lambda table, _columns=None: reads.append(table) or history((1, 1, 1))
    )
    engine.latest_rows(MEMBERS, on_disk)
    assert bool(reads) != engine.capabilities.reads_files


def test_a_table_of_another_storage_is_read_through_its_protocol(engine: QueryEngine):
    class Elsewhere:
        name = "member_history"
        schema = history((1, 1, 1)).schema

        def read_rows(self, columns: Any = None) -> pa.Table:
            return history((1, 1, 8))

    elsewhere: TableInput = Elsewhere()
    assert engine.latest_rows(MEMBERS, elsewhere)["denials"].to_pylist() == [8]


# --- latest_rows, rows_at_version, row_counts -------------------------------------------------------------------------


@pytest.mark.parametrize("name", list_query_engines())
@EXAMPLES
@given(MEMBER_ROWS)
def test_the_newest_rows_equal_those_of_the_reference(name: str, members: list[dict[str, Any]]):
    table = rows(MEMBERS, members)
    assert open_engine(name).latest_rows(MEMBERS, table).equals(REFERENCE.latest_rows(MEMBERS, table))


def test_a_row_is_found_by_its_version(engine: QueryEngine):
    requests = [(5, 5), (1, 1), (5, 1), (1, 1)]
    versions = pa.table(
        {
            "position": pa.array(range(4), pa.int64()),
            "member_id": [token(1)] * 4,
            "known_since": pa.array([instant(second) for second, _ in requests], pa.timestamp("us", "UTC")),
            "sequence": pa.array([sequence for _, sequence in requests], pa.int64()),
        }
    )
    matches = engine.rows_at_version(MEMBERS, history((1, 1, 10), (5, 5, 50)), versions)
    assert {row["position"]: row["denials"] for row in matches.to_pylist()} == {0: 50, 1: 10, 3: 10}
    assert engine.rows_at_version(MEMBERS, history((1, 1, 1)), versions.slice(0, 0)).num_rows == 0


@pytest.mark.parametrize("name", list_query_engines())
@EXAMPLES
@given(st.lists(st.tuples(KEY, st.none() | INSTANT, st.none() | st.integers(0, 2)), max_size=12))
def test_rows_without_a_version_of_their_own_are_counted(
    name: str, versions: list[tuple[str | None, datetime | None, int | None]]
):
    table = rows(
        MEMBERS,
        [{"member_id": key, "known_since": instant, "sequence": sequence} for key, instant, sequence in versions],
    )
    assert open_engine(name).row_counts(MEMBERS, table) == REFERENCE.row_counts(MEMBERS, table)


# --- matching_rows ----------------------------------------------------------------------------------------------------

KEYED = pa.schema({"code": pa.string(), "day": pa.date32(), "value": pa.int64()})
KEYED_ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "code": st.none() | st.sampled_from(["a", "b", "A", "a "]),
            "day": st.none() | st.sampled_from([datetime(2026, 1, day).date() for day in (1, 2)]),
            "value": st.integers(0, 3),
        }
    ),
    max_size=12,
)


@pytest.mark.parametrize("name", list_query_engines())
@settings(EXAMPLES, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(KEYED_ROWS, KEYED_ROWS)
def test_rows_with_a_key_equal_those_of_the_reference(
    name: str, tmp_path: Path, rows: list[dict[str, Any]], keys: list[dict[str, Any]]
):
    table = pa.Table.from_pylist(rows, KEYED)
    looked_for = pa.Table.from_pylist(keys, KEYED).select(["day", "code"])

    def matching(engine: QueryEngine) -> list[tuple[Any, ...]]:
        matches = engine.matching_rows(table, looked_for, columns=("value", "code"), scratch=tmp_path).read_all()
        assert matches.column_names == ["value", "code"]
        return sorted(tuple(row.values()) for row in matches.to_pylist())

    assert matching(open_engine(name)) == matching(REFERENCE)


def test_rows_with_a_key_are_found_in_stored_tables(engine: QueryEngine, tmp_path: Path):
    table = pa.table({"code": [str(number) for number in range(1000)], "value": range(1000)})
    keys = pa.table({"code": ["7", "999", "none", None, "7"]})
    (tmp_path / "keys").mkdir()
    matches = engine.matching_rows(
        stored(table, tmp_path), stored(keys, tmp_path / "keys"), columns=("value",), scratch=tmp_path
    )
    assert sorted(matches.read_all()["value"].to_pylist()) == [7, 999]


# --- compare_past -----------------------------------------------------------------------------------------------------

CUT = instant(2)
BUILT_SCHEMA = pa.schema(
    {
        "person": pa.string(),
        "known_since": pa.timestamp("us", "UTC"),
        "sequence": pa.int64(),
        "count": pa.int64(),
        "share": pa.float64(),
        "code": pa.string(),
    }
)


def built_row(second: int, **values: Any) -> dict[str, Any]:
    return {
        "person": "a", "known_since": instant(second), "sequence": second, "count": 1, "share": 0.5, "code": "x",
        **values,
    }  # fmt: skip


def built(*table_rows: dict[str, Any]) -> pa.Table:
    return pa.Table.from_pylist(list(table_rows), BUILT_SCHEMA)


def differing(engine: QueryEngine, full: pa.Table, past: pa.Table) -> list[str]:
    return engine.compare_past(full, past, audit_instant=format_instant(CUT), keys=("person",)).differing


def test_the_comparison_counts_the_compared_rows(engine: QueryEngine):
    past = [built_row(0), built_row(1)]
    full = built(*past, built_row(2), built_row(3))
    compare = engine.compare_past
    audit_instant = format_instant(CUT)
    assert compare(full, built(*past, built_row(2)), audit_instant=audit_instant, keys=("person",)) == ([], 3)
    assert compare(built(built_row(3)), built(), audit_instant=audit_instant, keys=("person",)) == ([], 0)


def test_equal_values_and_nulls_do_not_differ(engine: QueryEngine):
    past = [built_row(0), built_row(1, count=None, code=None, share=None), built_row(2)]
    assert differing(engine, built(*past, built_row(3, count=9)), built(*past)) == []


def test_each_column_that_differs_is_named(engine: QueryEngine):
    past = built(built_row(0), built_row(1, share=None), built_row(2))
    full = built(built_row(0, count=2), built_row(1), built_row(2, code=None), built_row(3))
    assert differing(engine, full, past) == ["code", "count", "share"]
    assert differing(engine, full, past.drop_columns(["code", "share"])) == ["code", "share"]


def test_a_row_that_was_added_or_removed_differs_in_known_since(engine: QueryEngine):
    assert differing(engine, built(built_row(0), built_row(1)), built(built_row(0))) == ["known_since"]
    assert differing(engine, built(built_row(0)), built(built_row(0), built_row(2))) == ["known_since"]


def test_a_sequence_that_counts_later_rows_differs(engine: QueryEngine):
    full = built(built_row(0, sequence=2), built_row(1, sequence=1))
    assert differing(engine, full, built(built_row(0, sequence=1))) == ["known_since", "sequence"]
    assert differing(engine, built(built_row(0, sequence=5)), built(built_row(0, sequence=1))) == ["sequence"]


def test_the_last_bits_of_a_sum_do_not_differ_and_a_little_more_does(engine: QueryEngine):
    past = built(built_row(0, share=0.3))
    assert differing(engine, built(built_row(0, share=0.1 + 0.2)), past) == []
    assert differing(engine, built(built_row(0, share=0.300001)), past) == ["share"]


def test_rows_of_one_instant_are_compared_in_the_order_of_their_sequence(engine: QueryEngine):
    both = [built_row(1, sequence=1, count=1), built_row(1, sequence=2, count=2)]
    assert differing(engine, built(*both), built(*both[::-1])) == []


# --- recording_instants -----------------------------------------------------------------------------------------------

RECORDED = st.lists(st.tuples(st.none() | st.integers(0, 20), st.none() | st.integers(0, 3)), max_size=12)


@pytest.mark.parametrize("name", list_query_engines())
@EXAMPLES
@given(RECORDED)
def test_the_recording_instants_equal_those_of_the_reference(name: str, recorded: list[tuple[int | None, int | None]]):
    start = datetime(2026, 1, 1, tzinfo=UTC)
    hours = [None if hour is None else start + timedelta(hours=5 * hour) for hour, _ in recorded]
    days = [None if day is None else (start + timedelta(days=day)).date() for _, day in recorded]
    table = pa.table({"first": pa.array(hours, pa.timestamp("us", "UTC")), "second": pa.array(days, pa.date32())})
    columns = ["first", "second"]
    assert open_engine(name).recording_instants(table, columns) == REFERENCE.recording_instants(table, columns)


# --- dbt, errors ------------------------------------------------------------------------------------------------------


def test_a_missing_file_is_reported_without_a_value(engine: QueryEngine, tmp_path: Path):
    on_disk = stored(history((1, 1, 1)), tmp_path)
    Path(on_disk.files[1]).unlink()
    if engine.capabilities.reads_files:
        from wellspring.errors import NotFound

        with pytest.raises(NotFound, match="member_history"):
            engine.latest_rows(MEMBERS, on_disk)
