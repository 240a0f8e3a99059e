"""A project with real servers for crash tests: its commands, its drops, and its observable state."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from examples.health_plan import drops, population
from tests.builders.s3_process import start_s3, use_s3_source
from tests.crash.invariants import Observed, SentFile
from wellspring import project
from wellspring.embedded import packages, postgres
from wellspring.runtime import privileges

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "health_plan"
ROWS = 40
WIDE_NOTE = "routine visit, reviewed and closed " * 20_000
"""With a note of 700 kB in each row, a drop spans at least three batches, which are bounded by bytes too."""
TIMEOUT = 180
USERS = """
[models]

[users.ines]
roles = ["author"]

[users.omar]
roles = ["approver"]
"""


class CommandResult(NamedTuple):
    """Result of one command: exit code, JSON document (None without one) and the end of its error output."""

    code: int
    document: Any
    error: str


class ProjectCommands:
    """A project folder and the commands run in it. bootstrap_code: of the first enrollment, if `up` printed one."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.bootstrap_code = ""

    def start(self, *words: str, crash_at: str | None = None) -> subprocess.Popen[str]:
        """Start a command. crash_at: the crash point at which it kills itself."""
        return subprocess.Popen(
            self.argv(*words),
            env=command_environment(crash_at), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True,
        )  # fmt: skip

    def argv(self, *words: str) -> list[str]:
        """Return the command line of a command of this project."""
        return [sys.executable, "-m", "wellspring.cli", *words, "--json", "--project", str(self.root)]

    def run(self, *words: str, crash_at: str | None = None) -> CommandResult:
        """Run a command and wait for it."""
        with self.start(*words, crash_at=crash_at) as process:
            return wait_for_result(process)

    def must(self, *words: str, codes: tuple[int, ...] = (0,), crash_at: str | None = None) -> Any:
        """Run a command that must exit with one of codes; return its document."""
        ran = self.run(*words, crash_at=crash_at)
        if ran.code not in codes:
            raise AssertionError(f"`wellspring {' '.join(words)}` ended with {ran.code}: {ran.error}")
        if words == ("up",) and ran.document is not None:
            self.bootstrap_code = ran.document["bootstrap_code"] or ""
        return ran.document

    def server(self, name: str) -> int | None:
        """Return the pid of a server, or None if it is not running."""
        try:
            running = json.loads((self.root / ".wellspring/run.json").read_bytes())
        except FileNotFoundError:
            return None
        matches = running["supervisor"] if name == "supervisor" else running["servers"].get(name)
        return matches["pid"] if matches and psutil.pid_exists(matches["pid"]) else None

    @staticmethod
    def down(root: Path) -> None:
        """Stop the servers of a project in any state."""
        words = [sys.executable, "-m", "wellspring.cli", "down", "--project", str(root)]
        subprocess.run(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=TIMEOUT, check=False)


class ProjectFixture(ProjectCommands):
    """A project with the example's contracts in its own folder.

    sent: the files that the vendor has delivered so far, with the expected result of each row.
    source: the kind of its source; `s3` starts a server, which ends with this process. wide: each drop spans at least
    three batches.
    """

    def __init__(self, root: Path, *, source: str = "sftp", wide: bool = False) -> None:
        self._attach(root, wide=wide)
        self._s3 = start_s3() if source == "s3" else None
        root.mkdir(parents=True, exist_ok=True)
        root.chmod(0o755)
        # Without the sections of optional servers, which the serving project has.
        plain = (EXAMPLE / "wellspring.toml").read_text(encoding="utf-8").partition("\n[dbt]")[0]
        if self._s3 is not None:
            plain = use_s3_source(plain, self._s3)
        (root / "wellspring.toml").write_text(plain + "\n", encoding="utf-8")
        shutil.copytree(EXAMPLE / "contracts", root / "contracts")

    @classmethod
    def attach(cls, root: Path) -> ProjectFixture:
        """Return the vendor and the observations of a project that somebody else has made."""
        fixture = cls.__new__(cls)
        fixture._attach(root, wide=False)
        return fixture

    def _attach(self, root: Path, *, wide: bool) -> None:
        ProjectCommands.__init__(self, root)
        self.sent: list[SentFile] = []
        self.repaired = False
        self._wide = wide
        self._s3 = None
        self._people = population.members(200, 11)

    def close(self) -> None:
        """Stop the S3 server, if there is one."""
        if self._s3 is not None:
            self._s3.close()

    def start_servers(self) -> None:
        """Start the servers, and store the credentials of a source that needs its own."""
        self.must("up")
        if self._s3 is None:
            return
        ran = subprocess.run(
            self.argv("source", "login", "clearinghouse"), input=json.dumps(self._s3.credentials),
            env=command_environment(None), capture_output=True, text=True, timeout=TIMEOUT, check=False,
        )  # fmt: skip
        if ran.returncode:
            raise AssertionError(f"the credentials could not be stored: {ran.stderr[-500:]}")

    # --- the vendor -----------------------------------------------------------------------------------------------

    def send(self, number: int) -> SentFile:
        """Deliver a drop of 40 rows: 34 valid, 4 valid under contract 1.1.0 only, 2 invalid."""
        rows = population.claims(ROWS, 1000 + number, people=self._people, first=number * ROWS).to_pylist()
        office = [place for place, row in enumerate(rows) if row["claim_type"] == "professional"][:5]
        repairable, bad = set(office[:4]), {office[4], next(place for place in range(ROWS) if place not in office)}
        for place in repairable:
            rows[place]["place_of_service_code"] = drops.TELEHEALTH
        for place in bad:
            rows[place]["member_id"] = "WSP12AB"
        if self._wide:
            rows = [{**row, "note": WIDE_NOTE} for row in rows]
        path = self.root / "vendor" / "outbox" / f"medical_claim_{number:04d}.csv"
        if self._s3 is None:
            drops._write(path, rows)
        else:
            with tempfile.TemporaryDirectory() as folder:
                drops._write(Path(folder) / path.name, rows)
                self._s3.put(path.name, (Path(folder) / path.name).read_bytes())
        sent = SentFile(
            name=path.name,
            rows=ROWS,
            bad=frozenset(place + 1 for place in bad),
            repairable=frozenset() if self.repaired else frozenset(place + 1 for place in repairable),
        )
        self.sent.append(sent)
        return sent

    def mark_replayed(self, name: str) -> None:
        """Record that the repairable rows of a drop were replayed."""
        self.sent = [item._replace(replayed=True) if item.name == name else item for item in self.sent]

    def repair_contract(self) -> bool:
        """Write contract version 1.1.0, which has the missing place of service, once; return whether it did.

        Add the policies and the users who release it. Only an `up` after this reads them.
        """
        if self.repaired:
            return False
        toml = self.root / "wellspring.toml"
        toml.write_text(f"{toml.read_text(encoding='utf-8')}{USERS}", encoding="utf-8")
        shutil.copytree(EXAMPLE / "policies", self.root / "policies")
        drops.repaired_contract(self.root / "contracts")
        self.repaired = True
        return True

    def end_retention(self, name: str) -> None:
        """Move the retention date of one drop eight days back in the enclave's database; the servers must be stopped.

        Only the enclave can log in there, so this uses PostgreSQL's single-user mode, as the bootstrap does.
        """
        project_value = project.load_project(self.root)
        programs = packages.check_installed(project_value).postgres
        sql = f"UPDATE drops SET retention_until = retention_until - interval '8 days' WHERE name = '{name}'"
        setup = postgres.PostgresSetup(project_value, privileges.detect_privileges(project_value), programs)
        setup.run_single_user(postgres.DATABASE_ROLE, f"{sql};\n\n")
        self.sent = [item._replace(gone=True) if item.name == name else item for item in self.sent]

    # --- observable state -----------------------------------------------------------------------------------------

    def observe(self) -> Observed:
        """Observe the project through commands and files, without the code of the lake."""
        status = self.must("status", "--all")
        entries = self.must("ledger", "tail", "-n", "1000000")
        audit = self.run("ledger", "verify")
        quarantined = self.must("quarantine", "list")
        return Observed(
            sent=tuple(self.sent),
            accounts=status["accounts"],
            entries=tuple(entries),
            ledger=audit.error if audit.code else "",
            journals=self._journals(),
            editions=self._editions(),
            pointer=self._pointer(),
            rows=self._rows(),
            quarantined={item["drop"]: item["rows"] for item in quarantined},
            lineage=self._lineage(),
            open_jobs=tuple(job["id"] for job in self.must("job", "list")),
        )

    def _journals(self) -> dict[str, list[int]]:
        matches: dict[str, list[int]] = {}
        for path in sorted((self.root / ".wellspring/journals").glob("*/*.log")):
            lines = [json.loads(line) for line in path.read_bytes().splitlines()]
            matches.setdefault(path.parent.name, []).extend(line["sequence"] for line in lines)
        return matches

    def _editions(self) -> dict[str, dict[str, Any]]:
        folder = self.root / ".wellspring/lake/editions"
        return {path.stem: json.loads(path.read_bytes()) for path in sorted(folder.glob("*.json"))}

    def _pointer(self) -> str | None:
        path = self.root / ".wellspring/lake/editions/landed"
        return path.read_text().strip() if path.exists() else None

    def _rows(self) -> list[tuple[str, int]]:
        """List (drop, row number) of every row of the live edition, read with pyiceberg from the table's metadata."""
        from pyiceberg.table import StaticTable

        edition = self._pointer()
        if edition is None:
            return []
        rows: list[tuple[str, int]] = []
        # Read-only and immutable, so that this reader leaves no file beside the catalog.
        catalog = sqlite3.connect(f"file:{self.root}/.wellspring/lake/catalog.db?mode=ro&immutable=1", uri=True)
        try:
            locations = dict(catalog.execute("SELECT table_name, metadata_location FROM iceberg_tables"))
        finally:
            catalog.close()
        for table in self._editions()[edition]["tables"]:
            static = StaticTable.from_metadata(locations[table["table"]])
            scan = static.scan(snapshot_id=int(table["snapshot_id"]), selected_fields=("drop_id", "row_number"))
            matches = scan.to_arrow()
            rows += zip(matches["drop_id"].to_pylist(), matches["row_number"].to_pylist(), strict=True)
        return rows

    def _lineage(self) -> list[str]:
        """List the lineage files with a line that is not JSON."""
        torn: list[str] = []
        for path in sorted((self.root / ".wellspring/lineage").glob("*/*.jsonl")):
            for line in path.read_bytes().split(b"\n"):
                try:
                    json.loads(line or b"{}")
                except ValueError:
                    torn.append(path.name)
        return torn


def command_environment(crash_at: str | None) -> dict[str, str]:
    """Return the environment of a command. crash_at: the crash point at which it kills itself."""
    plain = {name: value for name, value in os.environ.items() if name != "WELLSPRING_CRASH_AT"}
    return {**plain, "WELLSPRING_CRASH_AT": crash_at} if crash_at else plain


def wait_for_result(process: subprocess.Popen[str]) -> CommandResult:
    """Wait for a command; kill it after the timeout and return exit code 124."""
    try:
        out, error_output = process.communicate(timeout=TIMEOUT)
    except subprocess.TimeoutExpired:
        process.kill()
        out, error_output = process.communicate()
        return CommandResult(124, None, f"did not end in {TIMEOUT} s; {error_output[-2000:]}")
    try:
        document = json.loads(out) if out.strip() else None
    except ValueError:
        document = None
    return CommandResult(process.returncode, document, error_output[-2000:] or out[-2000:])
