from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.builders.backups import SETTINGS
from tests.builders.recording_step import FixedClock, RecordingStep
from wellspring.errors import CorruptedError, Refused, Unavailable
from wellspring.project import Project, load_project
from wellspring.supervisor.backup_records import RESTORED_FILE, BackupRecords


@pytest.fixture
def project(tmp_path: Path) -> Project:
    (tmp_path / "wellspring.toml").write_bytes(SETTINGS)
    (tmp_path / ".wellspring").mkdir()
    return load_project(tmp_path)


@pytest.fixture
def step() -> RecordingStep:
    return RecordingStep(service="supervisor", clock=FixedClock())


def phases(step: RecordingStep) -> list[tuple[str, str, str]]:
    return [(entry.action, entry.phase, entry.subject) for entry in step.entries]


def begin(records: BackupRecords, step: RecordingStep, backup: str, **former: str) -> dict[str, Any]:
    return records.handle_request({"op": "begin_backup", "id": backup, "trace": "", **former}, step)


def end(records: BackupRecords, step: RecordingStep, backup: str) -> dict[str, Any]:
    request = {"op": "end_backup", "id": backup, "digest": "0" * 64, "files": "3", "size": "7"}
    return records.handle_request(request, step)


def test_a_backup_is_an_intent_and_its_end(project: Project, step: RecordingStep):
    records = BackupRecords(project)
    intent = begin(records, step, "b1")["intent"]
    end(records, step, "b1")
    assert phases(step) == [("backup", "intent", "backup:b1"), ("backup", "done", "backup:b1")]
    assert step.entries[0].id == intent == step.entries[1].intent
    assert step.entries[1].outputs[0].digest == "0" * 64
    assert step.entries[1].facts == {"files": 3, "log_size": 7, "principal": "owner"}


def test_an_interrupted_backup_is_recorded_as_failed_by_the_next(project: Project, step: RecordingStep):
    records = BackupRecords(project)
    begin(records, step, "b1")
    begin(records, step, "b2")
    end(records, step, "b2")
    assert [phase for _, phase, _ in phases(step)] == ["intent", "failed", "intent", "done"]


def test_a_complete_backup_whose_command_was_killed_is_recorded_as_done(project: Project, step: RecordingStep):
    records = BackupRecords(project)
    begin(records, step, "b1")
    begin(records, step, "b2", former="b1", former_digest="1" * 64)
    assert phases(step)[1] == ("backup", "done", "backup:b1")
    assert step.entries[1].outputs[0].digest == "1" * 64


def test_the_end_of_another_backup_is_refused(project: Project, step: RecordingStep):
    with pytest.raises(Refused, match="was not announced"):
        end(BackupRecords(project), step, "b1")


def test_an_export_of_the_master_key_is_recorded(project: Project, step: RecordingStep):
    BackupRecords(project).handle_request({"op": "record_key_export", "check": "0011"}, step)
    assert phases(step) == [("export_key", "done", "key:master")]


def test_a_restore_is_recorded_once_with_its_loss(project: Project, step: RecordingStep):
    facts = {"log_size": 7, "lost_entries": 3, "accepted_loss": True, "principal": "owner"}
    restored = {"backup": "b1", "digest": "0" * 64, "intent": "supervisor:3", "facts": facts}
    (project.state_dir / RESTORED_FILE).write_text(json.dumps(restored))
    records = BackupRecords(project)
    records.record_restore(step)
    records.record_restore(step)
    assert phases(step) == [("backup", "done", "backup:b1"), ("restore", "done", "backup:b1")]
    assert step.entries[0].intent == "supervisor:3"
    assert step.entries[1].facts == facts


def test_a_damaged_record_of_a_restore_stops_the_start(project: Project, step: RecordingStep):
    (project.state_dir / RESTORED_FILE).write_text("{}")
    with pytest.raises(CorruptedError, match="is damaged"):
        BackupRecords(project).record_restore(step)


def test_other_requests_and_an_early_one_are_refused(project: Project, step: RecordingStep):
    no_step: Any = None
    with pytest.raises(Unavailable):
        begin(BackupRecords(project), no_step, "b1")
    with pytest.raises(Refused, match="does not support"):
        BackupRecords(project).handle_request({"op": "begin_backup"}, step)
