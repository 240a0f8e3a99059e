"""A finding is reported once, acknowledged by a user, closed when its file changes, and opened when it is back."""

from __future__ import annotations

import base64
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tests.builders.approvals import Somebody
from tests.builders.entry_index import Index
from tests.builders.pii import SCANNER
from tests.builders.recording_step import RecordingStep
from tests.builders.user_notes import SIGNED_AT, project_with_users, sign
from wellspring.data.intake.drop_index import DropIndex
from wellspring.errors import NotFound, Refused
from wellspring.trust.identity.port import Principal
from wellspring.trust.user_notes import hash_reason
from wellspring.workflows import reasons as module
from wellspring.workflows.findings import SourceFindings, acknowledge_finding, list_findings

A, B = "a" * 12, "b" * 12


class World:
    """A ledger with the entries of a worker and an enclave, and a user who has logged in."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.step = RecordingStep(service="worker")
        self.index = Index(self.step)
        self.drops = DropIndex(None, self.index)  # type: ignore[arg-type]
        self.ledger = self
        self.sequencer = SimpleNamespace(integrate=lambda: None)
        self.policies = folder / "users.cedar"
        self.policies.write_text('permit (principal in Role::"owner", action == Action::"acknowledge", resource);')
        self.folder = folder
        self.role = "owner"
        self.ana = Somebody("ana")
        public_key: dict[str, Any] = {"public_key": base64.b64encode(self.ana.public_key).decode()}
        with self.step("enroll", "user:ana", facts=public_key):
            pass
        self.step.entries[-1] = self.step.entries[-1].model_copy(update={"service": "supervisor"})
        monkeypatch.setattr(module, "load_scanner", lambda project: SCANNER)

    @property
    def project(self) -> Any:
        person = SimpleNamespace(principal=Principal("user:ana", (self.role,)))
        return project_with_users(cast(Somebody, person), source_paths={"policies": self.folder})

    def finds(
        self, finding: str, *, code: str = "no_contract", source: str = "vendor", service: str = "enclave"
    ) -> None:
        facts: dict[str, Any] = {
            "finding": finding, "code": code, "source": source, "shown": f"{finding[0]}.csv", "message": "m"
        }  # fmt: skip
        with self.step("finding", f"file:{source}/{finding}", facts=facts):
            pass
        self.step.entries[-1] = self.step.entries[-1].model_copy(update={"service": service})

    def run(self, *current: str) -> tuple[list[str], int]:
        """Run one ingest that sees these findings; return those that it reports, and the number of open ones."""
        platform: Any = self
        findings = SourceFindings(platform, "vendor")
        for finding in current:
            if finding not in {item.id for item in list_findings(platform.index)}:
                self.finds(finding)
        reported = [finding for finding in current if findings.report_finding(finding)]
        findings.close_ended()
        return reported, findings.count_open()

    def acknowledge(
        self, finding: str, *, reason: str = "", signed_reason: str | None = None, signed_at: str = SIGNED_AT
    ) -> Any:
        platform: Any = self
        digest = hash_reason(reason if signed_reason is None else signed_reason)
        note = sign(self.ana, "acknowledgement", finding, digest, signed_at)
        return acknowledge_finding(platform, finding, note=note, reason=reason)

    def states(self) -> dict[str, str]:
        index: Any = self.index
        return {finding.id: finding.state for finding in list_findings(index)}


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    return World(tmp_path, monkeypatch)


def test_a_finding_is_reported_by_the_first_run_only(world: World):
    assert world.run(A) == ([A], 1)
    assert world.run(A) == ([], 1)
    assert world.run(A, B) == ([B], 2)
    assert world.states() == {A: "open", B: "open"}


def test_an_acknowledged_finding_is_not_open_and_not_reported(world: World):
    world.run(A, B)
    acknowledged = world.acknowledge(A, reason="the vendor has removed it")
    assert (acknowledged.state, acknowledged.user) == ("acknowledged", "user:ana")
    assert acknowledged.reason == "the vendor has removed it"
    assert world.run(A, B) == ([], 1)
    (entry,) = world.step.done("acknowledge")
    assert (entry.subject, entry.facts["user"], entry.facts["code"]) == (f"finding:{A}", "user:ana", "no_contract")


def test_a_finding_closes_when_its_file_is_gone_and_opens_when_it_is_back(world: World):
    world.run(A, B)
    world.acknowledge(B)
    assert world.run() == ([], 0)
    assert world.states() == {A: "closed", B: "closed"}
    assert world.run() == ([], 0)
    assert len(world.step.done("resolve")) == 2
    assert world.run(A, B) == ([A, B], 2)
    assert world.states() == {A: "open", B: "open"}


def test_a_finding_about_an_original_does_not_close_with_a_listing(world: World):
    world.finds(A, code="overdue")
    assert world.run() == ([], 1)
    world.acknowledge(A)
    assert world.run() == ([], 0)
    assert world.states() == {A: "acknowledged"}


def test_findings_of_another_source_stay_as_they_are(world: World):
    world.finds(B, source="lab")
    assert world.run(A) == ([A], 1)
    index: Any = world.index
    assert [finding.id for finding in list_findings(index, "lab")] == [B]
    assert world.states()[B] == "open"


def test_entries_of_another_service_change_nothing(world: World):
    world.finds(A)
    world.finds(B, service="api")
    for action in ("acknowledge", "resolve"):
        with world.step(action, f"finding:{A}"):
            pass
        world.step.entries[-1] = world.step.entries[-1].model_copy(update={"service": "api"})
    assert world.states() == {A: "open"}


def test_only_a_user_whom_a_policy_permits_acknowledges(world: World):
    world.run(A)
    world.role = "approver"
    with pytest.raises(Refused, match=f"user:ana may not acknowledge finding:{A}"):
        world.acknowledge(A)
    assert world.states() == {A: "open"}
    assert [entry.phase for entry in world.step.entries if entry.action == "authorize"] == ["refused"]


def test_only_an_open_finding_is_acknowledged(world: World):
    world.run(A)
    with pytest.raises(NotFound, match="no finding"):
        world.acknowledge(B)
    world.acknowledge(A)
    with pytest.raises(Refused, match="is acknowledged"):
        world.acknowledge(A, signed_at="2026-11-25T13:00:00.000000Z")


@pytest.mark.parametrize("reason", ["ssn 219-09-9999 called", "x" * 201, "a\nb", "a\x1b[2J"])
def test_a_reason_with_personal_data_or_control_characters_is_refused(world: World, reason: str):
    world.run(A)
    with pytest.raises(Refused) as refused:
        world.acknowledge(A, reason=reason)
    assert reason not in refused.value.what
    assert world.step.done("acknowledge") == []


def test_a_reason_is_part_of_what_the_user_signs(world: World):
    world.run(A)
    with pytest.raises(Refused, match="signed another acknowledgement"):
        world.acknowledge(A, reason="removed", signed_reason="replaced")
    assert world.states() == {A: "open"}


def test_an_acknowledgement_that_is_executed_again_changes_nothing(world: World):
    world.run(A)
    assert world.acknowledge(A).state == "acknowledged"
    assert world.acknowledge(A).state == "acknowledged"
    assert len(world.step.done("acknowledge")) == 1
