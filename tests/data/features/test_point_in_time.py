"""Point-in-time features: the checks of spine and tables. The joins themselves: tests/ports/test_query.py."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pytest

from tests.builders.feature_views import instant, rows, token, view
from wellspring.data.features import point_in_time
from wellspring.errors import CorruptedError, ProjectError
from wellspring.query.registry import open_query_engine
from wellspring.records.features import FeatureRow

MEMBERS = view()
ENGINE = open_query_engine("duckdb", {})
Row = Mapping[str, Any]


def spined(arguments: list[dict[str, Any]]) -> pa.Table:
    kinds = {"member_id": pa.string(), "claim_id": pa.string(), "event_at": pa.timestamp("us", "UTC")}
    return pa.table({name: pa.array([item.get(name) for item in arguments], kind) for name, kind in kinds.items()})


def correction() -> pa.Table:
    """One member's history: known at 1 s, corrected at 5 s."""
    result = [{"member_id": token(1), "denials": n, "known_since": instant(n), "sequence": n} for n in (1, 5)]
    return rows(MEMBERS, result)


def test_the_join_keeps_the_spine_and_appends_columns():
    requests = [{"member_id": token(n % 3), "event_at": instant(n * 7 % 10)} for n in range(200)]
    spine = spined(requests).append_column("weight", pa.array(range(200)))
    result = point_in_time.point_in_time_join(spine, [MEMBERS], {"member_history": correction()}, engine=ENGINE)
    assert result.select(spine.column_names).equals(spine)
    assert result.column_names[4:] == [
        "member_history__denials",
        "member_history__rate",
        "member_history__covered",
        "member_history__plan",
        "member_history__known_since",
        "member_history__sequence",
    ]
    assert result.schema.field("member_history__known_since").type == pa.timestamp("us", "UTC")


@pytest.mark.parametrize(
    ("change", "output"),
    [
        ({"known_since": None}, "null known_since or sequence"),
        ({"sequence": None}, "null known_since or sequence"),
        ({"known_since": instant(1), "sequence": 1}, "known_since, sequence as another row"),
    ],
)
def test_rows_without_a_defined_order_are_refused(change: Row, output: str):
    result = [{"member_id": token(1), "known_since": instant(1), "sequence": 1}]
    table = rows(MEMBERS, [*result, {"member_id": token(1), "known_since": instant(2), "sequence": 1, **change}])
    spine = spined([{"member_id": token(1), "event_at": instant(3)}])
    for ask in (
        lambda: point_in_time.point_in_time_join(spine, [MEMBERS], {"member_history": table}, engine=ENGINE),
        lambda: point_in_time.latest_rows(MEMBERS, table, engine=ENGINE),
        lambda: point_in_time.rows_at_version(MEMBERS, table, [], engine=ENGINE),
    ):
        with pytest.raises(CorruptedError, match=output) as broken:
            ask()
        assert token(1) not in broken.value.what


def test_a_missing_spine_column_is_an_error_with_the_nearest_name():
    spine = spined([]).rename_columns(["member", "claim_id", "event_at"])
    with pytest.raises(ProjectError, match=r"'member_id'.*'member'"):
        point_in_time.point_in_time_join(spine, [MEMBERS], {"member_history": correction()}, engine=ENGINE)
    with pytest.raises(ProjectError, match="'known_at'"):
        point_in_time.point_in_time_join(
            spined([]), [MEMBERS], {"member_history": correction()}, instant_column="known_at", engine=ENGINE
        )
    taken = spined([]).append_column("member_history__denials", pa.array([], pa.int64()))
    with pytest.raises(ProjectError, match="already"):
        point_in_time.point_in_time_join(taken, [MEMBERS], {"member_history": correction()}, engine=ENGINE)


def test_rows_are_found_by_the_version_that_a_prediction_names():
    expected_result = [
        FeatureRow("member_history", (token(1),), {}, instant(second), sequence, "e")
        for second, sequence in [(5, 5), (1, 1), (5, 1), (1, 1)]
    ]
    matches = point_in_time.rows_at_version(MEMBERS, correction(), expected_result, engine=ENGINE)
    assert [row.values["denials"] if row else None for row in matches] == [5, 1, None, 1]
    assert matches[0] is not None
    assert matches[0]._replace(values={}) == expected_result[0]
    assert point_in_time.rows_at_version(MEMBERS, correction(), [], engine=ENGINE) == []


def test_a_hundred_thousand_rows_and_three_views_take_seconds():
    many, wide = 100_000, {f"f{n}": "float64" for n in range(8)}
    kinds = [view(name, wide, keys=(key,)) for name, key in [("a", "claim_id"), ("b", "npi"), ("c", "member_id")]]
    numbers = pa.array(range(many), pa.int64())
    spread = {"claim_id": many, "npi": 400, "member_id": 12_000}
    keys = {name: pa.array([f"{name}_{n * 7919 % size}" for n in range(many)]) for name, size in spread.items()}
    instants = pa.array([1_750_000_000_000_000 + n * 1_000_000 for n in range(many)]).cast(pa.timestamp("us", "UTC"))
    values = {name: numbers.cast(pa.float64()) for name in wide}
    tables = {
        kind.name: pa.table({kind.keys[0]: keys[kind.keys[0]], "known_since": instants, "sequence": numbers, **values})
        for kind in kinds
    }
    spine = pa.table({**keys, "event_at": instants})
    started = time.process_time()
    assert point_in_time.point_in_time_join(spine, kinds, tables, engine=ENGINE).num_rows == many
    # Of the processor: 0.8 s when nothing else runs; a join row by row would take minutes.
    assert time.process_time() - started < 15
