"""Users decide at a terminal, each with a login that the policies permit: about findings, drops and contracts."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from examples.health_plan import drops
from tests.crash.serving_project import ServingProject

pytestmark = pytest.mark.live


@pytest.fixture
def project() -> Iterator[ServingProject]:
    folder = Path(tempfile.mkdtemp(prefix="ws-findings-"))
    folder.chmod(0o755)
    project = ServingProject(folder / "project")
    try:
        project.must("up")
        project.enroll_users("ines", "omar", "ana")
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
    release_a_contract(project)
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


def release_a_contract(project: ServingProject) -> None:
    """Release two versions of a contract: one that a quarantined row waits for, and one that gains a column."""
    outbox, contracts = project.project.vendor_dir / "outbox", project.project.contracts_dir
    bad = drops.bad(outbox, members=200)
    received = project.must("ingest", codes=(0, 75))["files"]
    drop = next(file["drop"] for file in received if file["name"] == bad.path.name)
    path = drops.repaired_contract(contracts)
    replayed = project.run("quarantine", "replay", drop)
    assert (replayed.code, "medical_claim 1.1.0 on disk is not in force" in replayed.error) == (77, True)
    first = propose_contract(project)
    refused = project.act("ana", "release", "approve", first["id"])
    assert (refused.exit_code, "another user must approve" in refused.screen) == (77, True), refused.screen
    assert approve_contract(project, first["id"]) == "live"
    account = project.must("quarantine", "replay", drop)["files"][0]["account"]
    assert account["quarantined"] == len(bad.flaws) - bad.repairable
    more = "      - name: remark_code\n        logicalType: string\n        classification: clinical\n"
    more += "        customProperties: [{ property: egress, value: plain }]\n"
    text = path.read_text().replace("\nversion: 1.1.0\n", "\nversion: 1.2.0\n")
    path.write_text(text.replace("    properties:\n", f"    properties:\n{more}"))
    second = propose_contract(project)
    assert second["summary"][1] == "compatible: remark_code is new: string, clinical, leaves as plain"
    assert approve_contract(project, second["id"]) == "live"
    states = {item["release"]["id"]: item["state"] for item in project.must("release", "list")["changes"]}
    assert (states[first["id"]], states[second["id"]]) == ("replaced", "live")
    # A file of the new layout lands beside one of the old layout.
    old, new = drops.corrected(outbox, lines=60, members=200), outbox / "medical_claim_remarks.csv"
    header, *lines = old.read_text().splitlines()
    old.write_text("\n".join([header, *lines[:30]]) + "\n")
    new.write_text("\n".join([f"{header},remark_code", *(f"{line},N1" for line in lines[30:])]) + "\n")
    received = {file["name"]: file for file in project.must("ingest", codes=(0, 75))["files"]}
    assert [received[name]["status"] for name in (old.name, new.name)] == ["published", "published"], received


def propose_contract(project: ServingProject) -> dict[str, Any]:
    """Propose the contract of claims on disk as ana, and return its release."""
    proposed = project.act("ana", "release", "propose", "--kind", "contract", "medical_claim")
    assert proposed.exit_code == 0, proposed.screen
    return json.loads(proposed.out)["release"]


def approve_contract(project: ServingProject, release: str) -> str:
    """Approve a release as omar, and return its state."""
    approved = project.act("omar", "release", "approve", release)
    assert approved.exit_code == 0, approved.screen
    return json.loads(approved.out)["state"]
