"""Feast itself, given our definitions and our rows: the same join, and the same rows read online."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.builders import feast
from tests.builders.feature_views import edition, instant, rows, token, view
from tests.builders.valkey import PASSWORD, USER, Valkey, running
from wellspring.data.features import point_in_time, views
from wellspring.query.registry import open_query_engine
from wellspring.stores.online.feast_codec import RowCodec

pytestmark = [
    pytest.mark.live,
    pytest.mark.slow,
    # Feast, and what it stands on, warn of their own plans.
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning"),
]
MEMBERS = view()
CLAIMS = view("member_claims", {"open": "int64", "share": "float64"}, keys=("claim_id",))
ENGINE = open_query_engine("duckdb", {})
VIEWS = views.build_views("acme", [MEMBERS, CLAIMS])


@pytest.fixture(scope="module", autouse=True)
def _feast() -> None:
    feast.imported()


@pytest.fixture(scope="module")
def server() -> Iterator[Valkey]:
    with running() as started:
        yield started


def history(seed: int, size: int) -> dict[str, pa.Table]:
    """Draw two histories in which each instant is one row's own: Feast knows no sequence to break a tie by."""
    draw = random.Random(seed)
    instants = iter(draw.sample(range(1, 10**6), 4 * size))
    members = [
        {
            "member_id": token(draw.randrange(8)),
            "known_since": instant(next(instants) / 100),
            "sequence": n,
            "denials": draw.choice([0, -1, 2**60, draw.randrange(50)]),
            "rate": draw.choice([0.0, -0.5, 1 / 3]),
            "covered": draw.choice([True, False]),
            "plan": draw.choice(["", "gold", "ö" * 140]),
        }
        for n in range(size)
    ]
    claims = [
        {
            "claim_id": token(draw.randrange(5), "claim"),
            "known_since": instant(next(instants) / 100),
            "sequence": n,
            "open": draw.randrange(-5, 5),
            "share": draw.random(),
        }
        for n in range(size)
    ]
    return {"member_history": rows(MEMBERS, members), "member_claims": rows(CLAIMS, claims)}


def repo(tables: dict[str, pa.Table], folder: Path, server: Valkey) -> Any:
    folder.mkdir()
    sources = {name: folder / f"{name}.parquet" for name in tables}
    for name, table in tables.items():
        pq.write_table(table, sources[name])
    online = f"localhost:0,unix_socket_path={server.socket},username={USER},password={PASSWORD}"
    return views.open_feast_store(VIEWS, folder, sources, online)


def plain(value: Any) -> Any:
    """Take numpy's and pandas' word for nothing as None, and their numbers as Python's."""
    if value is None or value != value:
        return None
    return value.item() if hasattr(value, "item") else value


@pytest.mark.parametrize("seed", range(3))
def test_feasts_historical_join_is_ours(tmp_path: Path, server: Valkey, seed: int):
    import pandas as pd

    tables = history(seed, 60)
    store = repo(tables, tmp_path / "repo", server)
    draw = random.Random(seed)
    requests = [
        {
            "place": n,
            "member_id": token(draw.randrange(9)),
            "claim_id": token(draw.randrange(6), "claim"),
            "event_at": instant(draw.randrange(10**6) / 100 + 0.005),
        }
        for n in range(80)
    ]
    spine = pa.Table.from_pylist(requests).set_column(
        3, "event_at", pa.array([item["event_at"] for item in requests], pa.timestamp("us", "UTC"))
    )
    own_value = point_in_time.point_in_time_join(spine, VIEWS.views, tables, engine=ENGINE).to_pylist()
    names = [(view.name, feature.name) for view in VIEWS.views for feature in view.features]
    frame = pd.DataFrame(requests).rename(columns={"event_at": "event_timestamp"})
    result = store.get_historical_features(frame, [f"{view}:{name}" for view, name in names]).to_df()
    their_value = {row["place"]: row for row in result.to_dict("records")}
    for place, item_value in enumerate(own_value):
        if place not in their_value:
            # Feast's file store drops a row of the spine when all that it has of a thing was known later.
            assert _only_later(item_value, tables), place
            continue
        for view_name, name in names:
            own_copy, yours = (
                item_value[point_in_time.joined_column_name(view_name, name)],
                plain(their_value[place][name]),
            )
            # pandas makes floats of whole numbers and objects of truths where one is missing.
            assert own_copy == (type(own_copy)(yours) if own_copy is not None and yours is not None else yours), (
                view_name,
                name,
            )
    assert len(their_value) > 40


def _only_later(row: dict[str, Any], tables: dict[str, pa.Table]) -> bool:
    """Tell whether some view has rows of this thing, and none that was known by then."""
    return any(
        row[view.keys[0]] in tables[view.table][view.keys[0]].to_pylist()
        and row[point_in_time.joined_column_name(view.name, views.KNOWN_SINCE_COLUMN)] is None
        for view in VIEWS.views
    )


def test_stock_feast_reads_our_online_rows_equal(tmp_path: Path, server: Valkey):
    tables = history(9, 60)
    store = repo(tables, tmp_path / "repo", server)
    writer = server.writer()
    newest = {item.name: point_in_time.latest_rows(item, tables[item.name], engine=ENGINE) for item in VIEWS.views}
    for item in VIEWS.views:
        writer.write_rows(item, newest[item.name], edition())
    writer.close()
    for item in VIEWS.views:
        expected_result = newest[item.name].to_pylist()
        key = item.keys[0]
        requests = [{key: row[key]} for row in expected_result] + [{key: token(999)}]
        names = [feature.name for feature in item.features]
        result = store.get_online_features([f"{item.name}:{name}" for name in names], requests).to_dict()
        for name in names:
            assert result[name] == [row[name] for row in expected_result] + [None]


def test_our_key_and_values_are_feasts_byte_by_byte():
    from feast.infra.key_encoding_utils import serialize_entity_key
    from feast.infra.online_stores.helpers import _mmh3
    from feast.protos.feast.types.EntityKey_pb2 import EntityKey
    from feast.protos.feast.types.Value_pb2 import Value

    two = view(keys=("member_id", "claim_id"))
    laid = RowCodec("acme", two, b"\x05" * 32)
    names = {"claim_id": token(2, "claim"), "member_id": token(1)}
    their_value = EntityKey(join_keys=list(names), entity_values=[Value(string_val=name) for name in names.values()])
    assert laid.encode_key((token(1), token(2, "claim"))) == serialize_entity_key(their_value, 3) + b"acme"
    assert laid.fields[:4] == tuple(_mmh3(f"member_history:{feature.name}") for feature in two.features)
    result = {
        "member_id": token(1),
        "claim_id": token(2, "claim"),
        "denials": -7,
        "rate": 0.0,
        "covered": False,
        "plan": "",
    }
    keys = [laid.encode_key((token(1), token(2, "claim")))]
    columns = laid.encode_rows(rows(two, [result]), keys, published=instant(0), edition="0123456789ab")
    values = [Value(int64_val=-7), Value(double_val=0.0), Value(bool_val=False), Value(string_val="")]
    assert [column[0] for column in columns[:4]] == [value.SerializeToString() for value in values]
