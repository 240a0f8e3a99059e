"""Lines in the name of another service: forged, changed, repeated, or beside the journals in the index."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
from collections.abc import Callable, Generator
from pathlib import Path

from tests.redteam.catalogue import attempt
from tests.redteam.target import Target, wait_until


@attempt("journal-lines", "api", refused="EACCES", allowed="opened", needs="servers")
def append_to_journal_of_worker(target: Target, is_twin: bool) -> str:
    """The API's uid opens the worker's journal to append a line; its own it may."""
    folder = target.project.journals_dir / ("api" if is_twin else "worker")
    path = next(folder.glob("*.log"))

    def open_journal() -> str:
        os.close(os.open(path, os.O_WRONLY | os.O_APPEND))
        return "opened"

    return target.run_as("api", open_journal)


@attempt("journal-lines", "worker", refused="EACCES", allowed="opened", needs="servers")
def write_into_the_log(target: Target, is_twin: bool) -> str:
    """The worker's uid opens the index of the log for writing; the sequencer may."""
    path = target.project.ledger_dir / "index.sqlite"

    def open_index() -> str:
        os.close(os.open(path, os.O_WRONLY))
        return "opened"

    return target.run_as("sequencer" if is_twin else "worker", open_index)


@attempt("journal-lines", "worker", refused="EACCES", allowed="created", needs="servers")
def create_journal_of_supervisor(target: Target, is_twin: bool) -> str:
    """The worker's uid creates a file in the supervisor's journal, where users are enrolled; in its own it may."""
    path = target.project.journals_dir / ("worker" if is_twin else "supervisor") / "laid"

    def create() -> str:
        path.touch()
        path.unlink()
        return "created"

    return target.run_as("worker", create)


@contextlib.contextmanager
def changed_by(target: Target, service: str, path: Path, change: Callable[[Path], None]) -> Generator[None]:
    """Let a service change a file of its own while everything is down; put its content back at the end."""
    target.stop_servers()
    content, info = path.read_bytes(), path.stat()

    def act() -> str:
        change(path)
        return "changed"

    outcome = target.run_as(service, act)
    assert outcome == "changed", outcome
    try:
        yield
    finally:
        path.write_bytes(content)
        os.chown(path, info.st_uid, info.st_gid)


def verify_ledger(target: Target, name: str) -> str:
    """Run `ledger verify`; return its exit code, and whether a finding names what was changed."""
    result = target.run("ledger", "verify")
    findings = result.document["findings"] if result.document else [result.error]
    target.notes += findings
    return f"exit {result.code}, named" if any(name in finding for finding in findings) else f"exit {result.code}"


def find_journal(target: Target, name: str) -> Path:
    return max((target.project.journals_dir / name).glob("*.log"), key=lambda path: path.stat().st_size)


def rewrite_file(path: Path) -> None:
    path.write_bytes(path.read_bytes())


def _append_line(build: Callable[[list[bytes]], bytes]) -> Callable[[Path], None]:
    def append(path: Path) -> None:
        with path.open("ab") as file:
            file.write(build(path.read_bytes().splitlines()) + b"\n")

    return append


def _forge_line(lines: list[bytes]) -> bytes:
    """Build the next line of a journal: a promotion, with the signature of the line before."""
    line = json.loads(lines[-1])
    line |= {"sequence": line["sequence"] + 1, "action": "promote", "subject": "release:forged"}
    return json.dumps(line, sort_keys=True, separators=(",", ":")).encode()


def _attempt_line(target: Target, is_twin: bool, change: Callable[[Path], None]) -> str:
    path = find_journal(target, "worker")
    with changed_by(target, "worker", path, rewrite_file if is_twin else change):
        return verify_ledger(target, "journals/worker")


@attempt("journal-lines", "worker", refused="exit 20, named", allowed="exit 0", needs="stop")
def forge_a_line(target: Target, is_twin: bool) -> str:
    """The worker's uid appends a promotion with the signature of another line; the same bytes again change nothing."""
    return _attempt_line(target, is_twin, _append_line(_forge_line))


@attempt("journal-lines", "worker", refused="exit 20, named", allowed="exit 0", needs="stop")
def repeat_a_line(target: Target, is_twin: bool) -> str:
    """The worker's uid appends a copy of its last line; the same bytes written again change nothing."""
    return _attempt_line(target, is_twin, _append_line(lambda lines: lines[-1]))


@attempt("journal-lines", "worker", refused="exit 20, named", allowed="exit 0", needs="stop")
def change_a_line(target: Target, is_twin: bool) -> str:
    """The worker's uid changes a line that is in the log; the same bytes written again change nothing."""

    def flip(path: Path) -> None:
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)

    return _attempt_line(target, is_twin, flip)


@attempt("journal-lines", "worker", refused="exit 20, named", allowed="exit 0", needs="stop")
def remove_a_line(target: Target, is_twin: bool) -> str:
    """The worker's uid removes its last line; the same bytes written again change nothing."""

    def cut(path: Path) -> None:
        path.write_bytes(b"".join(line + b"\n" for line in path.read_bytes().splitlines()[:-1]))

    return _attempt_line(target, is_twin, cut)


@attempt("journal-lines", "worker", refused="exit 20, named", allowed="exit 0", needs="stop")
def take_a_line_of_another_journal(target: Target, is_twin: bool) -> str:
    """The worker's uid appends a line that the enclave has signed; the same bytes written again change nothing."""
    foreign = find_journal(target, "enclave").read_bytes().splitlines()[-1]
    return _attempt_line(target, is_twin, _append_line(lambda _: foreign))


@attempt("journal-lines", "owner", refused="exit 20, named", allowed="exit 0", needs="stop")
def change_a_row_of_the_index(target: Target, is_twin: bool) -> str:
    """The owner makes the index name another user as the approver; an update that changes nothing is not named."""

    def update(path: Path) -> None:
        with contextlib.closing(sqlite3.connect(path)) as file, file:
            action = "promote" if is_twin else "demote"
            file.execute("update entries set action = ? where action = 'promote'", (action,))

    with changed_by(target, "sequencer", target.project.ledger_dir / "index.sqlite", update):
        return verify_ledger(target, "index")


@attempt(
    "journal-lines", "worker", refused="not in the log", allowed="in the log", needs="end", recorded=("check_journal",)
)
def forge_a_line_while_servers_run(target: Target, is_twin: bool) -> str:
    """The worker's uid appends a promotion that nobody signed; a line that the supervisor has signed is added."""
    if is_twin:
        return target.remembered["line"]
    # First, because the log of a journal stands still from a line that nobody signed.
    before = target.count_actions("start")
    target.run("restart", "witness")
    is_added = wait_until(lambda: target.count_actions("start") > before, 10)
    target.remembered["line"] = "in the log" if is_added else "not in the log"
    path = find_journal(target, "worker")
    assert target.run_as("worker", lambda: _append_to(path)) == "appended"
    wait_until(lambda: target.has_entry("check_journal"), 10)
    return "in the log" if target.has_entry("promote release:forged") else "not in the log"


def _append_to(path: Path) -> str:
    _append_line(_forge_line)(path)
    return "appended"
