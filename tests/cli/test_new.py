"""new project | contract | model: what is laid out, what is guessed of a file, and that nothing is written over."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from wellspring.cli import cli
from wellspring.cli.door import carry_out
from wellspring.data import contract
from wellspring.errors import Refused
from wellspring.models import definition
from wellspring.project import load
from wellspring.records.clock import SystemClock
from wellspring.records.data import Contract
from wellspring.trust import policy

ROWS = """order_id,customer_id,born_dob,mail,first_name,zip,note,kind,code,price,pieces,gift,ordered_on,late,recorded_at
O-1,C1,1980-02-03,a@mail.example,Ada,02139,call me,shoe,007,3.10,1,yes,2026-01-02,,2026-01-02T10:00:00Z
O-1,C1,1980-02-03,a@mail.example,Ada,02139,,shoe,007,3.10,1,yes,2026-01-02,no,2026-01-09T10:00:00Z
O-2,C2,1990-02-03,b@mail.example,Bo,02140,,sock,008,9.99,2,no,2026-01-03,,2026-01-03T10:00:00Z
"""
NEW_MODEL = ("new", "model", "late", "--table", "orders", "--key", "order_id", "--label", "late", "--known")


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "orders_2026.csv").write_text(ROWS)
    assert carry_out(cli, ["new", "project", "shop"]) == 0
    monkeypatch.chdir(tmp_path / "shop")
    return tmp_path / "shop"


def drafted(shop: Path) -> Contract:
    return contract.load(shop / "contracts" / "orders.odcs.yaml", tenant="shop", known_since=SystemClock().now())


def test_a_new_projects_own_tests_pass_untouched(shop: Path):
    words = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests"]
    done = subprocess.run(words, cwd=shop, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert load(shop).people.keys() == {"ann", "bob"}
    assert (shop / "policies" / "wellspring.cedarschema").read_text() == policy.SCHEMA
    assert not list(shop.rglob("*.tmpl"))


@pytest.mark.parametrize("holds", ["thesis.txt", "wellspring.toml", ".hidden"])
def test_a_folder_that_holds_something_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, holds: str):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / holds).write_text("years of work")
    assert carry_out(cli, ["new", "project", "shop"]) == 77
    assert [(path.name, path.read_text()) for path in (tmp_path / "shop").iterdir()] == [(holds, "years of work")]


def test_a_draft_is_a_contract_and_tells_what_it_guessed(shop: Path, capsys: pytest.CaptureFixture[str]):
    assert carry_out(cli, ["new", "contract", "../orders_2026.csv"]) == 0
    told = drafted(shop)
    assert (told.key, told.files, told.source) == (("order_id", "recorded_at"), "orders*.csv", "inbox")
    assert {each.name: (each.type, each.leaves) for each in told.columns} == {
        "order_id": ("string", "token"), "customer_id": ("string", "token"), "born_dob": ("date32[day]", "year"),
        "mail": ("string", "never"), "first_name": ("string", "never"), "zip": ("string", "never"),
        "note": ("string", "never"), "kind": ("string", "as_is"), "code": ("string", "as_is"),
        "price": ("float64", "as_is"), "pieces": ("int64", "as_is"), "gift": ("bool", "as_is"),
        "ordered_on": ("date32[day]", "as_is"), "late": ("bool", "as_is"),
        "recorded_at": ("timestamp[us, tz=UTC]", "as_is"),
    }  # fmt: skip
    printed = capsys.readouterr().out
    assert all(each.name in printed for each in told.columns)
    assert "mail.example" not in printed + (shop / "contracts" / "orders.odcs.yaml").read_text()


@pytest.mark.parametrize("content", ["", "a b,c\n1,2\n", "a,A\n1,2\n", "a,b\n", "a,b\n1,2,3\n"])
def test_a_file_that_no_contract_can_be_of_is_refused(shop: Path, content: str):
    (shop.parent / "bad.csv").write_text(content)
    assert carry_out(cli, ["new", "contract", "../bad.csv"]) == 78
    assert not list((shop / "contracts").iterdir())


def test_a_model_has_a_file_a_view_sql_and_a_policy(shop: Path):
    assert carry_out(cli, ["new", "contract", "../orders_2026.csv"]) == 0
    assert carry_out(cli, [*NEW_MODEL, "recorded_at"]) == 0
    model = definition.load(shop / "models", "late")
    assert (model.keys, model.label.table, model.baselines.provider) == (("order_id",), "late_label", "customer_id")
    policy.load(shop / "policies")
    views = (shop / "features.py").read_text()
    compile(views, "features.py", "exec")
    sql = (shop / "dbt/models/marts/late_features.sql").read_text()
    assert not [name for name in ("mail", "first_name", "zip", "note") if f'"{name}"' in views or f"row_.{name}" in sql]


@pytest.mark.parametrize(
    ("option", "column"), [("--key", "kind"), ("--label", "price"), ("--known", "kind"), ("--label", "mail")]
)
def test_a_column_that_does_not_fit_is_named_and_nothing_is_written(shop: Path, option: str, column: str):
    assert carry_out(cli, ["new", "contract", "../orders_2026.csv"]) == 0
    before = state(shop)
    words = [*NEW_MODEL, "recorded_at", option, column]
    assert carry_out(cli, words) == 78
    assert state(shop) == before


def test_nothing_is_ever_written_over(shop: Path):
    assert carry_out(cli, ["new", "contract", "../orders_2026.csv"]) == 0
    assert carry_out(cli, [*NEW_MODEL, "recorded_at"]) == 0
    for path in (shop / "contracts/orders.odcs.yaml", shop / "models/late.py", shop / "dbt/models/marts/late.yml"):
        path.write_text(f"{path.read_text()}# mended by hand\n")
    before = state(shop)
    for words in (["new", "contract", "../orders_2026.csv"], [*NEW_MODEL, "recorded_at"], ["new", "project", "shop"]):
        assert carry_out(cli, [*words, "--project", str(shop)]) == 77
        assert state(shop) == before


def test_files_are_written_all_or_none(tmp_path: Path):
    from wellspring.cli.new import write

    (tmp_path / "second").write_text("mine")
    with pytest.raises(Refused, match="second"):
        write({tmp_path / "first": "1", tmp_path / "second": "2"})
    assert [path.name for path in tmp_path.iterdir()] == ["second"]


def state(folder: Path) -> dict[str, str]:
    return {str(path): path.read_text() for path in folder.rglob("*") if path.is_file() and path.suffix != ".pyc"}
