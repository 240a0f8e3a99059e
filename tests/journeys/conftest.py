"""A copy of the example project with its servers up, walked through its own command line; one a file."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
import sqlite3
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.house import repo
from tests.servers.houses import plain
from wellspring.cli import cli
from wellspring.cli.door import carry_out
from wellspring.project import Project, load
from wellspring.servers import supervisor

EXAMPLE = repo.ROOT / "examples" / "health_plan"


class Said(NamedTuple):
    """One command: exit code, standard output, standard error."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        return json.loads(self.out)


class House:
    """One project and its vendor's outbox."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self.root = project.root
        self.outbox = project.vendor / "outbox"

    def run(self, *words: object) -> Said:
        """Carry out one command line in this process; the worker runs in its own."""
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = carry_out(cli, [*map(str, words), "--project", str(self.root)])
        assert "Traceback" not in out.getvalue() + err.getvalue()
        return Said(code, out.getvalue(), err.getvalue())

    def receive(self, *, code: int = 0) -> dict[str, Any]:
        """Receive what is new; returns what the run did, its outcomes by file name."""
        said = self.run("receive", "--json")
        assert said.code == code, said.err or said.out
        received = said.document
        return {**received, "outcomes": {each["name"]: each for each in received["outcomes"]}}

    def accounts(self) -> dict[str, dict[str, Any]]:
        """Say every account by drop id. All of them must balance."""
        said = self.run("status", "--json")
        assert said.code == 0, said.err
        accounts = {name.removeprefix("drop:"): each for name, each in said.document["accounts"].items()}
        assert [name for name, each in accounts.items() if not each["balanced"]] == []
        return accounts

    def entries(self, action: str, **facts: Any) -> list[dict[str, Any]]:
        """List the entries of an action, with these facts, that stand in the ledger."""
        tail = self.run("ledger", "tail", "-n", "100000", "--json").document
        return [
            each
            for each in tail
            if each["action"] == action and all(each["facts"].get(k) == v for k, v in facts.items())
        ]

    def rows(self, table: str, *columns: str) -> list[dict[str, Any]]:
        """Read columns of a table as readers of the newest edition see it; none of the lake's own code is asked."""
        from pyiceberg.table import StaticTable

        newest = (self.project.lake / "editions" / "landed").read_text().strip()
        edition = json.loads((self.project.lake / "editions" / f"{newest}.json").read_bytes())
        # Read-only and immutable: a reader of another user must leave no file beside the catalog.
        with contextlib.closing(
            sqlite3.connect(f"file:{self.project.lake}/catalog.db?mode=ro&immutable=1", uri=True)
        ) as catalog:
            places = dict(catalog.execute("SELECT table_name, metadata_location FROM iceberg_tables"))
        snapshot = next(int(each["snapshot_id"]) for each in edition["tables"] if each["table"] == table)
        scan = StaticTable.from_metadata(places[table]).scan(snapshot_id=snapshot, selected_fields=columns)
        return scan.to_arrow().to_pylist()

    def up(self) -> None:
        supervisor.up(self.project)

    def down(self) -> None:
        supervisor.down(self.project)


@contextlib.contextmanager
def opened() -> Generator[House]:
    """Lay the project out where services of other users may enter, start it, and leave nothing of it."""
    root = Path(tempfile.mkdtemp(prefix="ws-journey-", dir=tempfile.gettempdir()))
    root.chmod(0o755)
    (root / "wellspring.toml").write_text(plain())
    shutil.copytree(EXAMPLE / "contracts", root / "contracts")
    house = House(load(root))
    try:
        house.up()
        yield house
    finally:
        house.down()
        shutil.rmtree(root)


@pytest.fixture(scope="module")
def house() -> Iterator[House]:
    with opened() as house:
        yield house
