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
    assert project.must("ledger", "verify")["findings"] == []
