"""new project | contract | model: what is laid out, what is guessed of a file, and that nothing is written over."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from wellspring.cli import cli
from wellspring.cli.context import run_command
from wellspring.data.contracts import contract, inference
from wellspring.data.transform import build
from wellspring.data.transform.dbt_process import BuildJob, SourceTable
from wellspring.data.transform.leakage import compare_past
from wellspring.errors import Refused
from wellspring.models.spec import definition
from wellspring.project import load_project
from wellspring.records.clock import SystemClock
from wellspring.records.data import DataContract
from wellspring.records.record import format_instant
from wellspring.supervisor import client
from wellspring.trust import policy

HEADER = (
    "order_id,customer_id,born_dob,mail,first_name,zip,note,kind,code,price,pieces,gift,ordered_on,late,recorded_at"
)
ROWS = f"""{HEADER}
O-1,C1,1980-02-03,a@mail.example,Ada,02139,call me,shoe,007,3.10,1,yes,2026-01-02,,2026-01-02T10:00:00Z
O-1,C1,1980-02-03,a@mail.example,Ada,02139,,shoe,007,3.10,1,yes,2026-01-02,no,2026-01-09T10:00:00Z
O-2,C2,1990-02-03,b@mail.example,Bo,02140,,sock,008,9.99,2,no,2026-01-03,,2026-01-03T10:00:00Z
"""
MANY = "\n".join(
    [HEADER, *(ROWS.splitlines()[1 + index % 3].replace("O-", f"O-{index // 3}-") for index in range(150))]
) + "\n"  # fmt: skip
NEW_MODEL = ("new", "model", "late", "--table", "orders", "--key", "order_id", "--label", "late", "--known")


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "orders_2026.csv").write_text(MANY)
    assert run_command(cli, ["new", "project", "shop"]) == 0
    monkeypatch.chdir(tmp_path / "shop")
    return tmp_path / "shop"


def drafted(shop: Path) -> DataContract:
    return contract.load_contract(
        shop / "contracts" / "orders.odcs.yaml", tenant="shop", known_since=SystemClock().now()
    )


def test_a_new_projects_own_tests_pass_untouched(shop: Path):
    words = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests"]
    done = subprocess.run(words, cwd=shop, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert load_project(shop).users.keys() == {"ann", "bob"}
    assert (shop / "policies" / "wellspring.cedarschema").read_text() == policy.CEDAR_SCHEMA
    assert not list(shop.rglob("*.tmpl"))


@pytest.mark.parametrize("holds", ["thesis.txt", "wellspring.toml", ".hidden"])
def test_a_folder_that_holds_something_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, holds: str):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / holds).write_text("years of work")
    assert run_command(cli, ["new", "project", "shop"]) == 77
    assert [(path.name, path.read_text()) for path in (tmp_path / "shop").iterdir()] == [(holds, "years of work")]


def test_a_draft_is_a_contract_and_tells_what_it_guessed(shop: Path, capsys: pytest.CaptureFixture[str]):
    assert run_command(cli, ["new", "contract", "../orders_2026.csv"]) == 0
    result = drafted(shop)
    assert (result.key, result.files, result.source) == (("order_id", "recorded_at"), "orders*.csv", "inbox")
    assert {column.name: (column.type, column.egress) for column in result.columns} == {
        "order_id": ("string", "token"), "customer_id": ("string", "token"), "born_dob": ("date32[day]", "year"),
        "mail": ("string", "never"), "first_name": ("string", "never"), "zip": ("string", "never"),
        "note": ("string", "never"), "kind": ("string", "plain"), "code": ("string", "plain"),
        "price": ("float64", "plain"), "pieces": ("int64", "plain"), "gift": ("bool", "plain"),
        "ordered_on": ("date32[day]", "plain"), "late": ("bool", "plain"),
        "recorded_at": ("timestamp[us, tz=UTC]", "plain"),
    }  # fmt: skip
    printed = capsys.readouterr().out
    assert all(column.name in printed for column in result.columns)
    assert "mail.example" not in printed + (shop / "contracts" / "orders.odcs.yaml").read_text()


def test_what_leaves_as_it_is_is_told_last(shop: Path, capsys: pytest.CaptureFixture[str]):
    assert run_command(cli, ["new", "contract", "../orders_2026.csv"]) == 0
    result = capsys.readouterr().out.splitlines()
    names = [column.name for column in drafted(shop).columns if column.egress == "plain"]
    line = f"{len(names)} columns leave as they are: {', '.join(names)} - check them before `wellspring ingest`"
    assert result[-2:] == [line, "next: wellspring up"]


def test_of_three_rows_no_text_leaves_as_it_is(shop: Path):
    (shop.parent / "few.csv").write_text(ROWS)
    assert run_command(cli, ["new", "contract", "../few.csv", "--name", "orders"]) == 0
    shown = {column.name for column in drafted(shop).columns if column.egress == "plain"}
    assert shown == {"price", "pieces", "gift", "ordered_on", "late", "recorded_at"}


def test_when_the_servers_are_up_the_drop_is_next(
    shop: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    running = [client.ServerStatus("enclave", "up", 1, "", "", None)]
    monkeypatch.setattr(client, "list_server_status", lambda project: running)
    assert run_command(cli, ["new", "contract", "../orders_2026.csv"]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == "next: cp ../orders_2026.csv vendor/outbox/ && wellspring ingest inbox"


@pytest.mark.parametrize(
    "content", ["", "a b,c\n1,2\n", "a,A\n1,2\n", "a,b\n", "a,b\n1,2,3\n", "a;b\n1;2\n", "a\n\xe9\n"]
)
def test_a_file_that_no_contract_can_be_of_is_refused(shop: Path, content: str):
    (shop.parent / "bad.csv").write_bytes(content.encode("latin-1"))
    assert run_command(cli, ["new", "contract", "../bad.csv"]) == 78
    assert not list((shop / "contracts").iterdir())


@pytest.mark.parametrize("name", ["no", "null"])
def test_a_name_that_yaml_reads_otherwise_is_a_name_all_the_same(shop: Path, name: str):
    (shop.parent / f"{name}.csv").write_text(f"{name},on\n" + "".join(f"{index + 1000},yes\n" for index in range(60)))
    assert run_command(cli, ["new", "contract", f"../{name}.csv"]) == 0
    assert contract.load_all(shop / "contracts", tenant="shop", known_since=SystemClock().now())[0].name == name


def test_a_draft_that_is_no_contract_leaves_no_file(shop: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(inference, "render_contract", lambda *arguments, **named: "apiVersion: [")
    assert run_command(cli, ["new", "contract", "../orders_2026.csv"]) == 78
    assert not list((shop / "contracts").iterdir())


def test_a_model_has_a_file_a_view_sql_and_a_policy(shop: Path):
    assert run_command(cli, ["new", "contract", "../orders_2026.csv"]) == 0
    assert run_command(cli, [*NEW_MODEL, "recorded_at"]) == 0
    model = definition.load_model_definition(shop / "models", "late")
    assert (model.keys, model.label.table, model.baselines.entity_column) == (
        ("order_id",),
        "late_label",
        "customer_id",
    )
    policy.load_policies(shop / "policies")
    views = (shop / "features.py").read_text()
    compile(views, "features.py", "exec")
    sql = (shop / "dbt/models/marts/late_features.sql").read_text()
    assert not [name for name in ("mail", "first_name", "zip", "note") if f'"{name}"' in views or f"row_.{name}" in sql]


def test_a_models_file_reads_well(shop: Path):
    assert run_command(cli, ["new", "contract", "../orders_2026.csv"]) == 0
    assert run_command(cli, [*NEW_MODEL, "recorded_at"]) == 0
    text = (shop / "models/late.py").read_text()
    assert max(map(len, text.splitlines())) <= 120
    assert "of an order_id" in text


def of_once(shop: Path, header: str) -> None:
    """Put in a table that has one row of each order, with the outcome in it."""
    rows = [
        f"O-{n},C{n % 7},{('yes', 'no')[n % 2]},2026-01-{n % 27 + 1:02d},2026-03-{n % 27 + 1:02d}" for n in range(60)
    ]
    (shop.parent / "once.csv").write_text("\n".join([header, *rows, ""]))
    assert run_command(cli, ["new", "contract", "../once.csv"]) == 0


ONCE = ("new", "model", "late", "--table", "once", "--key", "order_id", "--label", "late", "--known", "recorded_at")


def test_an_outcome_in_the_row_that_asks_needs_its_own_instant(shop: Path, capsys: pytest.CaptureFixture[str]):
    of_once(shop, "order_id,customer_id,late,recorded_at,told_on")
    before = state(shop)
    assert run_command(cli, list(ONCE)) == 78
    assert "--answered" in capsys.readouterr().err
    assert state(shop) == before
    assert run_command(cli, [*ONCE, "--answered", "told_on"]) == 0
    sql = (shop / "dbt/models/marts/late_label.sql").read_text()
    assert 'greatest(known_at, "told_on"::timestamptz) as known_since' in sql
    # When it was told tells what was told.
    assert "told_on" not in (shop / "features.py").read_text()


def test_whoever_says_that_an_order_comes_again_is_believed(shop: Path):
    of_once(shop, "order_id,customer_id,late,recorded_at,told_on")
    assert run_command(cli, [*ONCE, "--answered", "recorded_at"]) == 0
    assert "known_at as known_since" in (shop / "dbt/models/marts/late_label.sql").read_text()


@pytest.mark.parametrize("taken", ["instant", "asked", "told", "hit", "told_at", "sequence", "known_at"])
def test_a_name_that_the_drafted_sql_uses_is_refused(shop: Path, taken: str):
    of_once(shop, f"order_id,customer_id,late,recorded_at,{taken}")
    assert run_command(cli, [*ONCE, "--answered", taken]) == 78


@pytest.mark.parametrize("name", ["class", "import", "Late", "late__", "_late"])
def test_a_model_is_not_called_like_a_word_of_pythons(shop: Path, name: str):
    assert run_command(cli, ["new", "contract", "../orders_2026.csv"]) == 0
    assert run_command(cli, [*NEW_MODEL[:2], name, *NEW_MODEL[3:], "recorded_at"]) == 64


@pytest.mark.slow
def test_sql_is_built_whatever_its_columns_are_called(shop: Path, tmp_path: Path):
    """Names that SQL and YAML know as words; cut at an instant, the past looks as it did then."""
    of_once(shop, "order,group,default,recorded_at,end")
    names = ("--key", "order", "--label", "default", "--known", "recorded_at", "--answered", "end")
    path = shop / "contracts" / "once.odcs.yaml"
    # A person opens what the draft protects.
    path.write_text(
        path.read_text().replace("leaves, value: never", 'leaves, value: token }, { property: domain, value: "g"')
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
    (tmp_path / "scratch").mkdir()
    source = SourceTable(files=(str(tmp_path / "once.parquet"),), known_since_columns=("recorded_at", "known_since"))
    cut = format_instant(day + timedelta(days=60))
    job = BuildJob(
        project_dir=str(shop / "dbt"),
        scratch_dir=str(tmp_path / "scratch"),
        sources={"once": source},
        audit_instants=(cut,),
    )
    answer = build.run_in_child(job)
    assert answer.problems == ()
    assert {table.name: table.rows for table in answer.tables} == {
        "default_on_features": count,
        "default_on_label": count,
    }
    for table in answer.tables:
        whole, past = (str(tmp_path / "scratch" / run / f"{table.name}.parquet") for run in ("full", "audit-0"))
        compared = compare_past(whole, past, audit_instant=cut, keys=table.keys)
        assert (compared.leaks, compared.rows > 50) == ([], True)
    result = pq.read_table(tmp_path / "scratch/full/default_on_label.parquet").sort_by("known_since")
    assert result["known_since"][0].as_py() == day + timedelta(days=5)


@pytest.mark.parametrize(
    ("option", "column"), [("--key", "kind"), ("--label", "price"), ("--known", "kind"), ("--label", "mail")]
)
def test_a_column_that_does_not_fit_is_named_and_nothing_is_written(shop: Path, option: str, column: str):
    assert run_command(cli, ["new", "contract", "../orders_2026.csv"]) == 0
    before = state(shop)
    words = [*NEW_MODEL, "recorded_at", option, column]
    assert run_command(cli, words) == 78
    assert state(shop) == before


def test_nothing_is_ever_written_over(shop: Path):
    assert run_command(cli, ["new", "contract", "../orders_2026.csv"]) == 0
    assert run_command(cli, [*NEW_MODEL, "recorded_at"]) == 0
    for path in (shop / "contracts/orders.odcs.yaml", shop / "models/late.py", shop / "dbt/models/marts/late.yml"):
        path.write_text(f"{path.read_text()}# mended by hand\n")
    before = state(shop)
    for words in (["new", "contract", "../orders_2026.csv"], [*NEW_MODEL, "recorded_at"], ["new", "project", "shop"]):
        assert run_command(cli, [*words, "--project", str(shop)]) == 77
        assert state(shop) == before


def test_files_are_written_all_or_none(tmp_path: Path):
    from wellspring.cli.new import write_new_files

    (tmp_path / "second").write_text("mine")
    with pytest.raises(Refused, match="second"):
        write_new_files({tmp_path / "first": "1", tmp_path / "second": "2"})
    assert [path.name for path in tmp_path.iterdir()] == ["second"]


def state(folder: Path) -> dict[str, str]:
    return {str(path): path.read_text() for path in folder.rglob("*") if path.is_file() and path.suffix != ".pyc"}
