"""The `new model` command: the files that it drafts, and the requests that it refuses."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.builders import dbt_builds
from tests.builders.shop import NEW_MODEL, NEW_MODEL_OF_SINGLE_ROWS, add_single_row_table, read_files
from wellspring.cli import cli
from wellspring.cli.context import run_command
from wellspring.models.spec import definition
from wellspring.records.record import format_instant
from wellspring.trust import policy


def test_a_model_has_a_definition_a_view_and_sql(shop: Path):
    assert run_command(cli, ["new", "contract", "../orders_2026.csv"]) == 0
    assert run_command(cli, [*NEW_MODEL, "recorded_at"]) == 0
    model = definition.load_model_definition(shop / "models", "late")
    assert (model.keys, model.label.table, model.entity_columns) == (
        ("order_id",),
        "late_label",
        ("customer_id",),
    )
    policy.load_policies(shop / "policies")
    views = (shop / "features.py").read_text()
    compile(views, "features.py", "exec")
    sql = (shop / "dbt/models/marts/late_features.sql").read_text()
    assert not [name for name in ("mail", "first_name", "zip", "note") if f'"{name}"' in views or f"row_.{name}" in sql]


def test_the_model_file_has_short_lines_and_the_right_article(shop: Path):
    assert run_command(cli, ["new", "contract", "../orders_2026.csv"]) == 0
    assert run_command(cli, [*NEW_MODEL, "recorded_at"]) == 0
    text = (shop / "models/late.py").read_text()
    assert max(map(len, text.splitlines())) <= 120
    assert "of an order_id" in text


def test_an_outcome_in_the_same_row_needs_its_own_instant(shop: Path, capsys: pytest.CaptureFixture[str]):
    add_single_row_table(shop, "order_id,customer_id,late,recorded_at,told_on")
    before = read_files(shop)
    assert run_command(cli, list(NEW_MODEL_OF_SINGLE_ROWS)) == 78
    assert "--answered" in capsys.readouterr().err
    assert read_files(shop) == before
    assert run_command(cli, [*NEW_MODEL_OF_SINGLE_ROWS, "--answered", "told_on"]) == 0
    sql = (shop / "dbt/models/marts/late_label.sql").read_text()
    assert 'greatest(known_at, "told_on"::timestamptz) as known_since' in sql
    # The instant of the outcome reveals the outcome.
    assert "told_on" not in (shop / "features.py").read_text()


def test_answered_may_name_the_known_column(shop: Path):
    add_single_row_table(shop, "order_id,customer_id,late,recorded_at,told_on")
    assert run_command(cli, [*NEW_MODEL_OF_SINGLE_ROWS, "--answered", "recorded_at"]) == 0
    assert "known_at as known_since" in (shop / "dbt/models/marts/late_label.sql").read_text()


@pytest.mark.parametrize(
    "taken", ["instant", "is_request", "outcome_known", "hit", "outcome_known_at", "sequence", "known_at"]
)
def test_a_reserved_column_name_is_refused(shop: Path, taken: str):
    add_single_row_table(shop, f"order_id,customer_id,late,recorded_at,{taken}")
    assert run_command(cli, [*NEW_MODEL_OF_SINGLE_ROWS, "--answered", taken]) == 78


@pytest.mark.parametrize("name", ["class", "import", "Late", "late__", "_late"])
def test_an_invalid_model_name_is_refused(shop: Path, name: str):
    assert run_command(cli, ["new", "contract", "../orders_2026.csv"]) == 0
    assert run_command(cli, [*NEW_MODEL[:2], name, *NEW_MODEL[3:], "recorded_at"]) == 64


def test_a_column_that_an_earlier_staging_model_lacks_is_named(shop: Path, capsys: pytest.CaptureFixture[str]):
    assert run_command(cli, ["new", "contract", "../orders_2026.csv"]) == 0
    assert run_command(cli, [*NEW_MODEL, "recorded_at"]) == 0
    assert "was there before" not in capsys.readouterr().out
    path = shop / "dbt" / "models" / "staging" / "stg_orders.sql"
    path.write_text(path.read_text().replace('  "late",\n', "").replace('  "price",\n', ""))
    assert run_command(cli, ["new", "model", "again", *NEW_MODEL[3:], "recorded_at"]) == 0
    assert "stg_orders.sql was there before, and does not select price, late" in capsys.readouterr().out


def test_a_task_that_does_not_fit_is_refused_and_nothing_is_written(shop: Path, capsys: pytest.CaptureFixture[str]):
    assert run_command(cli, ["new", "contract", "../orders_2026.csv"]) == 0
    before = read_files(shop)
    assert run_command(cli, [*NEW_MODEL, "recorded_at", "--task", "regression"]) == 78
    assert "--task binary" in capsys.readouterr().err
    assert run_command(cli, [*NEW_MODEL, "recorded_at", "--task", "ranking"]) == 64
    assert read_files(shop) == before


@pytest.mark.slow
def test_each_task_is_drafted_and_its_sql_is_built(shop: Path, tmp_path: Path):
    """A model of several classes and one of a number share a table; two outcomes become known at each instant."""
    add_single_row_table(shop, "order,customer,default,recorded_at,end")
    path = shop / "contracts" / "once.odcs.yaml"
    path.write_text(path.read_text().replace("logicalType: boolean", "logicalType: integer"))
    words = ("--table", "once", "--key", "order", "--label", "default", "--known", "recorded_at", "--answered", "end")
    for name, task in (("kind", "multiclass"), ("amount", "regression")):
        assert run_command(cli, ["new", "model", name, *words, "--task", task]) == 0
        model = definition.load_model_definition(shop / "models", name)
        assert model.task.name == task
        assert model.baselines[-1].kind == "heuristic"
    day, count = datetime(2026, 1, 1, tzinfo=UTC), 90
    instants = [day + timedelta(days=n // 2) for n in range(count)]
    landed = pa.table(
        {
            "order": [f"order_k1_{n:026d}" for n in range(count)],
            "customer": [f"customer_k1_{n % 3:026d}" for n in range(count)],
            "default": pa.array([n * n % 7 for n in range(count)], pa.int64()),
            "recorded_at": pa.array(instants, pa.timestamp("us", "UTC")),
            "end": pa.array([(instant + timedelta(days=5)).date() for instant in instants], pa.date32()),
            "row_number": pa.array(range(count), pa.int64()), "drop_id": ["d"] * count, "tenant": ["t"] * count,
            "replay_number": pa.array([0] * count, pa.int64()),
            "known_since": pa.array([day + timedelta(days=200)] * count, pa.timestamp("us", "UTC")),
        }
    )  # fmt: skip
    pq.write_table(landed, tmp_path / "once.parquet")
    scratch, source = tmp_path / "scratch", dbt_builds.source(tmp_path / "once.parquet", "recorded_at", "known_since")
    cut = format_instant(day + timedelta(days=30))
    built = dbt_builds.run_build(shop / "dbt", scratch, {"once": source}, audit_instants=[cut])
    assert built.problems == ()
    assert dbt_builds.audit(built, scratch, [cut]).leaks == ()
    kinds, amounts = (dbt_builds.read_export(scratch, f"{name}_features").to_pylist() for name in ("kind", "amount"))
    newest = max(range(len(kinds)), key=lambda row: kinds[row]["known_since"])
    (instant, customer) = (kinds[newest]["known_since"], kinds[newest]["customer"])
    earlier = [
        row for row in landed.to_pylist()
        if row["customer"] == customer and datetime.combine(row["end"], instant.time(), UTC) < instant
    ]  # fmt: skip
    last = max(earlier, key=lambda row: (row["end"], row["order"]))
    assert kinds[newest]["customer_last"] == str(last["default"])
    mean = {row["order"]: row["customer_mean"] for row in amounts}[kinds[newest]["order"]]
    assert mean == pytest.approx(sum(row["default"] for row in earlier) / len(earlier))


@pytest.mark.slow
def test_sql_is_built_for_column_names_that_are_keywords(shop: Path, tmp_path: Path):
    """Names that SQL and YAML know as words; cut at an instant, the past looks as it did then."""
    add_single_row_table(shop, "order,group,default,recorded_at,end")
    names = ("--key", "order", "--label", "default", "--known", "recorded_at", "--answered", "end")
    path = shop / "contracts" / "once.odcs.yaml"
    # The column `group` is opened by hand.
    path.write_text(
        path.read_text().replace("egress, value: never", 'egress, value: token }, { property: domain, value: "g"')
    )
    assert run_command(cli, ["new", "model", "default_on", "--table", "once", *names]) == 0
    day = datetime(2026, 1, 1, tzinfo=UTC)
    count = 90
    landed = pa.table(
        {
            "order": [f"order_k1_{n:026d}" for n in range(count)],
            "group": [f"g_k1_{n % 7:026d}" for n in range(count)],
            "default": pa.array([n % 3 == 0 for n in range(count)]),
            "recorded_at": pa.array([day + timedelta(days=n) for n in range(count)], pa.timestamp("us", "UTC")),
            "end": pa.array([(day + timedelta(days=n + 5)).date() for n in range(count)], pa.date32()),
            "row_number": pa.array(range(count), pa.int64()), "drop_id": ["d"] * count, "tenant": ["t"] * count,
            "replay_number": pa.array([0] * count, pa.int64()),
            "known_since": pa.array([day + timedelta(days=200)] * count, pa.timestamp("us", "UTC")),
        }
    )  # fmt: skip
    pq.write_table(landed, tmp_path / "once.parquet")
    scratch, source = tmp_path / "scratch", dbt_builds.source(tmp_path / "once.parquet", "recorded_at", "known_since")
    cut = format_instant(day + timedelta(days=60))
    built = dbt_builds.run_build(shop / "dbt", scratch, {"once": source}, audit_instants=[cut])
    assert built.problems == ()
    assert {table.name: table.rows for table in built.tables} == {
        "default_on_features": count,
        "default_on_label": count,
    }
    report = dbt_builds.audit(built, scratch, [cut])
    assert report.leaks == ()
    assert min(report.audited_rows.values()) > 50
    result = dbt_builds.read_export(scratch, "default_on_label").sort_by("known_since")
    assert result["known_since"][0].as_py() == day + timedelta(days=5)


@pytest.mark.parametrize(
    ("option", "column"), [("--key", "kind"), ("--label", "ordered_on"), ("--known", "kind"), ("--label", "mail")]
)
def test_an_unsuitable_column_is_refused_and_nothing_is_written(shop: Path, option: str, column: str):
    assert run_command(cli, ["new", "contract", "../orders_2026.csv"]) == 0
    before = read_files(shop)
    words = [*NEW_MODEL, "recorded_at", option, column]
    assert run_command(cli, words) == 78
    assert read_files(shop) == before
