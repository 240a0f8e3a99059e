"""A user acknowledges a finding at a terminal, with a login that the policies permit."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.crash.serving_project import ServingProject

pytestmark = pytest.mark.live


@pytest.fixture
def project() -> Iterator[ServingProject]:
    folder = Path(tempfile.mkdtemp(prefix="ws-findings-"))
    folder.chmod(0o755)
    project = ServingProject(folder / "project")
    try:
        project.must("up")
        project.enroll_users("ines", "omar")
        yield project
    finally:
        project.must("down")
        shutil.rmtree(folder)


def test_a_permitted_user_acknowledges_a_finding_until_its_file_changes(project: ServingProject):
    odd = project.project.vendor_dir / "outbox" / "odd\x1b[2J.csv"
    odd.write_text("x")
    assert project.run("ingest").code == 75
    (finding,) = project.must("finding", "list")
    assert (finding["code"], finding["name"]) == ("unsafe_name", "odd\\x1b[2J.csv")
    refused = project.act("omar", "finding", "acknowledge", finding["id"])
    assert refused.exit_code == 77, refused.screen
    acknowledged = project.act("ines", "finding", "acknowledge", finding["id"], "--reason", "the vendor removes it")
    assert acknowledged.exit_code == 0, acknowledged.screen
    assert json.loads(acknowledged.out)["user"] == "user:ines"
    assert project.must("finding", "list") == []
    assert project.run("ingest").code == 3
    odd.write_text("changed")
    assert project.run("ingest").code == 75
    assert [item["id"] for item in project.must("finding", "list")] != [finding["id"]]
    decide_about_a_drop(project)
    assert project.must("ledger", "verify")["findings"] == []


def decide_about_a_drop(project: ServingProject) -> None:
    """Withdraw a drop that was stopped, deliver its bytes again, and judge it again."""
    outbox = project.project.vendor_dir / "outbox"
    (outbox / "medical_claim_2026_01.csv").write_text("claim_id\nC1\n")
    assert project.run("ingest").code == 75
    stopped = next(item for item in project.must("drop", "list") if item["state"] == "stopped")
    withdrawn = project.act("ines", "drop", "withdraw", stopped["id"], "--reason", "a file without its columns")
    assert withdrawn.exit_code == 0, withdrawn.screen
    shown = project.must("drop", "show", stopped["id"])
    assert (shown["state"], shown["account"]["balanced"]) == ("withdrawn", True)
    assert [item["user"] for item in shown["decisions"]] == ["user:ines"]
    (outbox / "medical_claim_2026_02.csv").write_text("claim_id\nC1\n")
    again = project.must("ingest", codes=(0, 3, 75))
    assert [file["status"] for file in again["files"] if file["name"] == "medical_claim_2026_02.csv"] == ["withdrawn"]
    rejudged = project.act("ines", "drop", "rejudge", stopped["id"], "--reason", "another look")
    assert rejudged.exit_code == 75, rejudged.screen
    assert project.must("drop", "show", stopped["id"])["state"] == "stopped"
