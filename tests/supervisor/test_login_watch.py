"""What OpenBao refuses becomes an entry of the supervisor, without a path or an error that a caller chose."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.builders.recording_step import RecordingStep
from wellspring.observe.refusal_log import RefusalLog
from wellspring.supervisor.login_watch import OpenBaoRefusals

LOGIN = "auth/users-0f/login/"


def build_line(
    path: str, kind: str = "response", *, role: str = "", error: str = "", hidden_error: bool = False
) -> str:
    record: dict[str, Any] = {"type": kind, "request": {"path": path}, "auth": {"token_type": "default"}}
    if role:
        record["auth"]["metadata"] = {"role_name": role}
    if error:
        record["error"] = error
    if hidden_error:
        record["response"] = {"data": {"error": "hmac-sha256:00"}}
    return json.dumps(record) + "\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "audit.log"
    path.write_text(build_line(f"{LOGIN}ann", error="invalid credentials"))
    return path


def append(path: Path, *lines: str) -> None:
    with path.open("a") as file:
        file.write("".join(lines))


def watch(path: Path) -> tuple[OpenBaoRefusals, RecordingStep]:
    step = RecordingStep()
    return OpenBaoRefusals(path, RefusalLog(step)), step


def list_recorded(step: RecordingStep) -> list[tuple[Any, Any]]:
    assert {(entry.action, entry.phase, entry.subject) for entry in step.entries} <= {
        ("authenticate", "refused", "server:openbao")
    }
    return [(entry.facts["kind"], entry.facts["peer"]) for entry in step.entries]


def test_refusals_since_the_start_are_recorded_by_user_and_kind(path: Path):
    refusals, step = watch(path)
    append(
        path,
        build_line(f"{LOGIN}ann", "request"),
        build_line(f"{LOGIN}ann", error="invalid credentials", hidden_error=True),
        build_line(f"{LOGIN}Ada.Lovelace", hidden_error=True),
        build_line("auth/approle/login", hidden_error=True),
        build_line("sys/wrapping/unwrap", "request", error="wrapping token is not valid or does not exist"),
        build_line("sys/wrapping/unwrap", hidden_error=True),
        build_line("sys/mfa/validate", hidden_error=True),
        build_line("transit/sign/x", "request", role="worker", error="permission denied"),
        build_line("secret/x", error="1 error occurred: permission denied"),
        build_line("transit/sign/ledger", role="sequencer"),
    )
    refusals.record_new()
    refusals.record_new()
    assert list_recorded(step) == [
        ("password", "user:ann"), ("password", "user:unknown"), ("credential", "unknown"),
        ("wrapped_credential", "unknown"), ("code", "unknown"), ("permission", "role:worker"),
        ("permission", "role:unknown"),
    ]  # fmt: skip
    assert "Lovelace" not in str(step.entries)


def test_guesses_fill_no_ledger(path: Path):
    refusals, step = watch(path)
    for _ in range(3):
        append(path, *[build_line(f"{LOGIN}ann", error="invalid credentials")] * 100)
        refusals.record_new()
    assert len(step.entries) == 1


def test_line_that_is_not_complete_is_read_later(path: Path):
    refusals, step = watch(path)
    line = build_line(f"{LOGIN}ann", error="invalid credentials")
    append(path, line[:50])
    refusals.record_new()
    assert step.entries == []
    append(path, line[50:], 'not JSON, with "error"\n', '["error"]\n', '{"error": 1, "request": []}\n')
    refusals.record_new()
    assert list_recorded(step) == [("password", "user:ann")]


def test_log_that_was_replaced_is_read_from_its_beginning_and_a_pipe_stops_nothing(path: Path):
    refusals, step = watch(path)
    path.write_text("")
    refusals.record_new()
    append(path, build_line("sys/mfa/validate", hidden_error=True))
    refusals.record_new()
    assert list_recorded(step) == [("code", "unknown")]
    path.unlink()
    refusals.record_new()
    os.mkfifo(path)
    refusals.record_new()
    assert len(step.entries) == 1
