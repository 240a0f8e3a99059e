"""Backups of a project under load and across kills, and the drill: everything is lost, and restored from a backup."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import threading
import time
from collections.abc import Sequence
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from tests.crash.project import ProjectCommands, command_environment
from tests.crash.serving_project import MODEL, ServingProject
from wellspring.bootstrap.lake_ports import open_lake
from wellspring.cli.pseudo_terminal import TerminalResult, run_in_pty
from wellspring.cli.worker_client import run_worker
from wellspring.lake.table_hash import hash_rows
from wellspring.project import Project
from wellspring.records.clock import SystemClock
from wellspring.stores.locks.port import ReadOnlyFence

PASSPHRASES = ("five random words of one", "and five words of another")
MAX_PAUSED_SECONDS = 2.0
MAX_RESTORE_SECONDS = 90.0
"""Limits of the drill, for a machine that runs other tests meanwhile; docs/backup.md has what was measured."""


class Drill(NamedTuple):
    """The figures of a drill. lost_answers: not in the restored log, for which the journals survived.

    answers: sent before the pause; late_answers: after it. restore_seconds: of `backup restore` and `up` together.
    """

    rows_before: dict[str, str]
    rows_after: dict[str, str]
    answers: int
    late_answers: int
    lost_answers: int
    differing_replays: int
    ledger_findings: list[str]
    backup_seconds: float
    paused_seconds: float
    restore_seconds: float


def run_drill(project: ServingProject, keys: Sequence[dict[str, str]], folder: Path) -> Drill:
    """Back up a project that answers, remove it, restore it from the backup, and compare."""
    rows_before = hash_tables(project.project)
    export_key(project, folder / "shares")
    answered: list[tuple[float, str]] = []
    stop = threading.Event()

    def send_requests() -> None:
        with project.client() as client:
            while not stop.is_set():
                prediction = client.predict(MODEL, random.choice(keys), include_reasons=False)
                answered.append((time.time(), prediction.subject))

    sender = threading.Thread(target=send_requests)
    sender.start()
    try:
        report = project.must("backup", "create", "--to", str(folder / "backups"))
        count = len(answered)
        while sender.is_alive() and len(answered) < count + 50:
            threading.Event().wait(0.01)
    finally:
        stop.set()
        sender.join()
    project.must("backup", "verify", str(folder / "backups"))
    manifest = json.loads((folder / "backups" / "backups" / f"{report['id']}.json").read_bytes())["manifest"]
    project.must("down")
    lost = folder / "lost"
    shutil.move(project.root, lost)
    started = time.perf_counter()
    restored = restore(project, folder, "--journals", str(lost / ".wellspring" / "journals"))
    assert restored.exit_code == 0, restored.screen
    project.must("up")
    restore_seconds = time.perf_counter() - started
    taken_at = _timestamp(manifest["known_since"])
    entries = project.must("ledger", "tail", "-n", "1000000")
    recorded = {entry["subject"] for entry in entries if entry["action"] == "predict"}
    before = [prediction for sent_at, prediction in answered if sent_at < taken_at]
    sent = [prediction for _, prediction in answered]
    replayed = run_worker(project.project, "replay-predictions", params={"predictions": sent[-50:]})
    verified = project.must("ledger", "verify")
    shutil.rmtree(lost)
    return Drill(
        rows_before, hash_tables(project.project), len(before), len(sent) - len(before),
        len([item for item in sent if item not in recorded]),
        len([item for item in replayed if not item["equal"]]), verified["findings"], report["seconds"],
        report["paused_ms"] / 1000, restore_seconds,
    )  # fmt: skip


def hash_tables(project: Project) -> dict[str, str]:
    """Return the digest of the rows of each table of the newest editions."""
    with closing(open_lake(project, SystemClock(), ReadOnlyFence())) as lake:
        return {
            f"{edition.level}.{snapshot.table}": hash_rows(lake.read_table(edition, snapshot.table))
            for edition in (lake.get_edition(), lake.get_edition(level="built"))
            if edition is not None
            for snapshot in edition.tables
        }


def export_key(project: ProjectCommands, folder: Path) -> None:
    """Export the master key of a project for two custodians, at a terminal."""
    answers = [
        (prompt, text)
        for number, text in enumerate(PASSPHRASES, start=1)
        for prompt in (f"passphrase of custodian {number}: ", f"again, custodian {number}: ")
    ]
    exported = run_in_pty(project.argv("backup", "export-key", "--to", str(folder)), answers)
    assert exported.exit_code == 0, exported.screen


def restore(project: ProjectCommands, folder: Path, *options: str, crash_at: str | None = None) -> TerminalResult:
    """Restore the newest backup below a folder, with the shares that are beside it."""
    shares = [word for path in sorted((folder / "shares").iterdir()) for word in ("--share", str(path))]
    point = [f"WELLSPRING_CRASH_AT={crash_at}"] if crash_at else []
    words = project.argv("backup", "restore", str(folder / "backups"), *shares, *options)
    answers = [(f"custodian {number}: ", text) for number, text in enumerate(PASSPHRASES, start=1)]
    return run_in_pty(["env", "-u", "WELLSPRING_CRASH_AT", *point, *words], answers)


def kill_backup(project: ProjectCommands, name: str) -> tuple[bool, list[str]]:
    """Kill the command that passes a crash point of a backup, run it again; return whether it was killed, and problems.

    The project is restored from the backup at its end, so that the invariants are those of the restored project.
    """
    folder = project.root.with_name(f"{project.root.name}-backups")
    folder.mkdir(exist_ok=True)
    problems: list[str] = []
    hit = True
    if name.startswith("backup.create"):
        with subprocess.Popen(
            project.argv("backup", "create", "--to", str(folder / "backups")), env=command_environment(name),
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        ) as process:  # fmt: skip
            hit = process.wait() == -9
        # The servers go on, whatever the command was doing.
        project.must("status")
    project.must("backup", "create", "--to", str(folder / "backups"))
    project.must("backup", "verify", str(folder / "backups"))
    if not (folder / "shares").exists():
        export_key(project, folder / "shares")
    project.must("down")
    lost = folder / "lost"
    shutil.rmtree(lost, ignore_errors=True)
    shutil.move(project.root, lost)
    if name.startswith("backup.restore"):
        hit = restore(project, folder, crash_at=name).exit_code == -9
        if project.run("status").code == 0:
            problems.append("a restore that was killed left a project")
    restored = restore(project, folder)
    if restored.exit_code != 0:
        problems.append(f"the restore after the kill ended with {restored.exit_code}: {restored.screen[-300:]}")
        shutil.move(lost, project.root)
    project.must("up")
    return hit, problems


def _timestamp(instant: str) -> float:
    return datetime.fromisoformat(instant).timestamp()
