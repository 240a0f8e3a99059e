"""The `plan` command: table, document and picture of the jobs of a project."""

from __future__ import annotations

from pathlib import Path

from tests.builders.command_line import Run

JOBS = """
[jobs.claims]
kind = "ingest"
subject = "clearinghouse"
schedule = "30 1 * * *"
on_new_file = true
sla = "2h"

[jobs.tables]
kind = "transform"
after = ["claims"]
"""


def add(root: Path, text: str) -> None:
    path = root / "wellspring.toml"
    path.write_text(path.read_text() + text)


def test_the_plan_is_a_table_and_a_document(run: Run, root: Path):
    add(root, JOBS)
    output = run("plan", "--project", root)
    assert output.code == 0
    lines = output.out.splitlines()
    assert [line.split()[0] for line in lines[2:4]] == ["claims", "tables"]
    assert "30 1 * * * UTC; each new file" in lines[2]
    assert "after claims" in lines[3]
    claims, tables = run("plan", "--json", "--project", root).document
    assert (claims["kind"], claims["subject"], claims["sla"]) == ("ingest", "clearinghouse", "2:00:00")
    assert claims["next"].endswith("T01:30:00Z")
    assert (tables["after"], tables["next"]) == (["claims"], "")


def test_without_jobs_everything_starts_on_request(run: Run, root: Path):
    output = run("plan", "--project", root)
    assert (output.code, output.out.splitlines()[0]) == (
        0,
        "wellspring.toml has no [jobs]: every job starts on request",
    )


def test_a_mistake_in_the_plan_is_a_project_error(run: Run, root: Path):
    add(root, '\n[jobs.tables]\nkind = "transform"\nafter = ["claims"]\n')
    output = run("plan", "--project", root)
    assert output.code == 78
    assert "no job 'claims'" in output.err
