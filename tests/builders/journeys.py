"""The project that the tests of one journey share."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
import sqlite3
import tempfile
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

from tests.architecture import repository
from tests.builders.command_line import Output
from tests.builders.projects import minimal_config
from wellspring.cli import cli
from wellspring.cli.context import run_command
from wellspring.project import Project, load_project
from wellspring.supervisor import client

HOSTILE_NAMES = (
    "medical_claim_a.csv\nfix: forged",
    "medical_claim_\x1b[2J\x1b]0;owned\x07.csv",
    "medical_claim_\rok.csv",
    "medical_claim_\u202evsc.x",
    "medical_claim_\u200b.csv",
    "medical_claim_\u2028.csv",
    "medical_claim_\x9b31m.csv",
    "..medical_claim_1.csv",
    "..\\..\\medical_claim_1.csv",
)
"""Names of files that a terminal or a path would act on."""
EXAMPLE = repository.ROOT / "examples" / "health_plan"


def check_hostile_output(text: str) -> None:
    """Check that an output has no character that a terminal acts on, and no forged line."""
    assert all(line.isprintable() for line in text.split("\n"))
    assert not any(line.startswith(("fix: forged", "ok.csv")) for line in text.split("\n"))


class ProjectFixture:
    """One project and the outbox of its vendor."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self.root = project.root
        self.outbox = project.vendor_dir / "outbox"

    def run(self, *words: object) -> Output:
        """Run one command line in this process; the worker runs in its own process."""
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = run_command(cli, [*map(str, words), "--project", str(self.root)])
        assert "Traceback" not in out.getvalue() + err.getvalue()
        return Output(code, out.getvalue(), err.getvalue())

    def ingest(self, *, code: int = 0) -> dict[str, Any]:
        """Ingest new files; return the result, with its outcomes by file name."""
        output = self.run("ingest", "--json")
        assert output.code == code, output.err or output.out
        result = output.document
        return {**result, "files": {outcome["name"]: outcome for outcome in result["files"]}}

    def accounts(self) -> dict[str, dict[str, Any]]:
        """Return the row accounts by drop id; all of them must balance."""
        output = self.run("status", "--all", "--json")
        assert output.code == 0, output.err
        accounts = {name.removeprefix("drop:"): account for name, account in output.document["accounts"].items()}
        assert [name for name, account in accounts.items() if not account["balanced"]] == []
        return accounts

    def list_entries(self, action: str, **facts: Any) -> list[dict[str, Any]]:
        """List the ledger entries of an action with these facts."""
        tail = self.run("ledger", "tail", "-n", "100000", "--json").document
        return [
            entry
            for entry in tail
            if entry["action"] == action and all(entry["facts"].get(name) == value for name, value in facts.items())
        ]

    def rows(self, table: str, *columns: str) -> list[dict[str, Any]]:
        """Read columns of a table in the newest edition, without the code of the lake."""
        from pyiceberg.table import StaticTable

        newest = (self.project.lake_dir / "editions" / "landed").read_text().strip()
        edition = json.loads((self.project.lake_dir / "editions" / f"{newest}.json").read_bytes())
        # Read-only and immutable: a reader under another user must leave no file beside the catalog.
        with contextlib.closing(
            sqlite3.connect(f"file:{self.project.lake_dir}/catalog.db?mode=ro&immutable=1", uri=True)
        ) as catalog:
            locations = dict(catalog.execute("SELECT table_name, metadata_location FROM iceberg_tables"))
        snapshot = next(int(entry["snapshot_id"]) for entry in edition["tables"] if entry["table"] == table)
        scan = StaticTable.from_metadata(locations[table]).scan(snapshot_id=snapshot, selected_fields=columns)
        return scan.to_arrow().to_pylist()

    def up(self) -> None:
        client.start_servers(self.project)

    def down(self) -> None:
        client.stop_servers(self.project)


@contextlib.contextmanager
def running_project(*, contracts: Sequence[str] = (), copied: Path | None = None) -> Generator[ProjectFixture]:
    """Create the project in a folder that other users may read, start it, and remove it at the end.

    contracts: the texts of its contracts (default: the contracts of the example). copied: a project to copy whole,
    instead of one without optional servers.
    """
    root = Path(tempfile.mkdtemp(prefix="ws-journey-", dir=tempfile.gettempdir()))
    if copied is not None:
        shutil.copytree(copied, root, ignore=shutil.ignore_patterns("__pycache__", ".wellspring"), dirs_exist_ok=True)
    else:
        (root / "wellspring.toml").write_text(minimal_config())
        if not contracts:
            shutil.copytree(EXAMPLE / "contracts", root / "contracts")
        (root / "contracts").mkdir(exist_ok=True)
        for number, text in enumerate(contracts):
            (root / "contracts" / f"{number}.odcs.yaml").write_text(text)
    root.chmod(0o755)
    project = ProjectFixture(load_project(root))
    try:
        project.up()
        yield project
    finally:
        project.down()
        shutil.rmtree(root)
