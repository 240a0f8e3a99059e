"""The `new contract` command: the contract that it infers, and the files that it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.builders.shop import FEW_ROWS, load_orders_contract
from tests.builders.validation import validate_file
from wellspring.cli import cli
from wellspring.cli.context import run_command
from wellspring.data.contracts import contract, inference
from wellspring.records.clock import SystemClock
from wellspring.supervisor import client
from wellspring.trust.tokenization import Tokenizer


def test_the_inferred_contract_of_each_column(shop: Path, capsys: pytest.CaptureFixture[str]):
    assert run_command(cli, ["new", "contract", "../orders_2026.csv"]) == 0
    drafted = load_orders_contract(shop)
    assert (drafted.key, drafted.files, drafted.source) == (("order_id", "recorded_at"), "orders*.csv", "inbox")
    assert {column.name: (column.type, column.egress) for column in drafted.columns} == {
        "order_id": ("string", "token"), "customer_id": ("string", "token"), "born_dob": ("date32[day]", "year"),
        "mail": ("string", "never"), "first_name": ("string", "never"), "zip": ("string", "never"),
        "note": ("string", "never"), "kind": ("string", "plain"), "code": ("string", "plain"),
        "price": ("float64", "plain"), "pieces": ("int64", "plain"), "gift": ("bool", "plain"),
        "ordered_on": ("date32[day]", "plain"), "late": ("bool", "plain"),
        "recorded_at": ("timestamp[us, tz=UTC]", "plain"),
    }  # fmt: skip
    printed = capsys.readouterr().out
    assert all(column.name in printed for column in drafted.columns)
    assert "mail.example" not in printed + (shop / "contracts" / "orders.odcs.yaml").read_text()


def test_the_plain_columns_are_printed_last(shop: Path, capsys: pytest.CaptureFixture[str]):
    assert run_command(cli, ["new", "contract", "../orders_2026.csv"]) == 0
    lines = capsys.readouterr().out.splitlines()
    names = [column.name for column in load_orders_contract(shop).columns if column.egress == "plain"]
    line = f"{len(names)} columns leave the enclave unchanged: {', '.join(names)} - check before `wellspring ingest`"
    assert lines[-2:] == [line, "next: wellspring up"]


def test_of_three_rows_no_text_column_is_plain(shop: Path):
    (shop.parent / "few.csv").write_text(FEW_ROWS)
    assert run_command(cli, ["new", "contract", "../few.csv", "--name", "orders"]) == 0
    shown = {column.name for column in load_orders_contract(shop).columns if column.egress == "plain"}
    assert shown == {"price", "pieces", "gift", "ordered_on", "late", "recorded_at"}


def test_the_next_command_with_running_servers_is_the_drop(
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
def test_a_malformed_file_is_refused(shop: Path, content: str):
    (shop.parent / "bad.csv").write_bytes(content.encode("latin-1"))
    assert run_command(cli, ["new", "contract", "../bad.csv"]) == 78
    assert not list((shop / "contracts").iterdir())


@pytest.mark.parametrize("name", ["no", "null"])
def test_a_table_name_that_is_a_yaml_keyword(shop: Path, name: str):
    (shop.parent / f"{name}.csv").write_text(f"{name},on\n" + "".join(f"{index + 1000},yes\n" for index in range(60)))
    assert run_command(cli, ["new", "contract", f"../{name}.csv"]) == 0
    assert contract.load_all(shop / "contracts", tenant="shop", known_since=SystemClock().now())[0].name == name


def test_an_invalid_contract_leaves_no_file(shop: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(inference, "render_contract", lambda *arguments, **named: "apiVersion: [")
    assert run_command(cli, ["new", "contract", "../orders_2026.csv"]) == 78
    assert not list((shop / "contracts").iterdir())


def test_a_contract_is_inferred_from_json_lines(shop: Path):
    lines = [
        f'{{"order_id": {1000 + number}, "to": {{"zip": "02139"}}, "price": {number}.50, "gift": true}}'
        for number in range(60)
    ]
    (shop.parent / "orders_2026.jsonl").write_text("\n".join([*lines, ""]))
    assert run_command(cli, ["new", "contract", "../orders_2026.jsonl"]) == 0
    drafted = load_orders_contract(shop)
    assert (drafted.format, drafted.files, drafted.key) == ("jsonl", "orders*.jsonl", ("order_id",))
    assert {column.name: (column.name_in_file, column.type, column.egress) for column in drafted.columns} == {
        "order_id": ("order_id", "string", "token"), "to_zip": ("to.zip", "string", "never"),
        "price": ("price", "float64", "plain"), "gift": ("gift", "bool", "plain"),
    }  # fmt: skip
    tokens = Tokenizer({column.domain: (1, b"k" * 32) for column in drafted.columns if column.domain})
    content = (shop.parent / "orders_2026.jsonl").read_bytes()
    assert validate_file(content, drafted, tokens).rows.num_rows == 60
