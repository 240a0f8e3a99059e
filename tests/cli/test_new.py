"""The `new` command group: no command overwrites a file."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.builders.shop import NEW_MODEL, read_files
from wellspring.cli import cli
from wellspring.cli.context import run_command
from wellspring.cli.new import write_new_files
from wellspring.errors import Refused


def test_no_command_overwrites_a_file(shop: Path):
    assert run_command(cli, ["new", "contract", "../orders_2026.csv"]) == 0
    assert run_command(cli, [*NEW_MODEL, "recorded_at"]) == 0
    for path in (shop / "contracts/orders.odcs.yaml", shop / "models/late.py", shop / "dbt/models/marts/late.yml"):
        path.write_text(f"{path.read_text()}# mended by hand\n")
    before = read_files(shop)
    for words in (["new", "contract", "../orders_2026.csv"], [*NEW_MODEL, "recorded_at"], ["new", "project", "shop"]):
        assert run_command(cli, [*words, "--project", str(shop)]) == 77
        assert read_files(shop) == before


def test_files_are_written_all_or_none(tmp_path: Path):
    (tmp_path / "second").write_text("mine")
    with pytest.raises(Refused, match="second"):
        write_new_files({tmp_path / "first": "1", tmp_path / "second": "2"})
    assert [path.name for path in tmp_path.iterdir()] == ["second"]
