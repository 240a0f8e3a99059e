"""A stop and a start of the servers, between which a database, a secret and a lock are tampered with."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from tests.crash.serving_project import ServingProject
from wellspring.embedded import packages, postgres
from wellspring.embedded.openbao_setup import supervisor_key_path
from wellspring.runtime.privileges import ServicePrivileges, detect_privileges

# It holds a lock until it is ended, or only says that it runs.
_HOLDER = """
import fcntl, os, sys
if len(sys.argv) > 1:
    file = os.open(sys.argv[1], os.O_RDWR)
    fcntl.flock(file, fcntl.LOCK_EX)
print("ready", flush=True)
sys.stdin.read()
"""
_FORGED = {
    "key": "accept/forged", "action": "accept", "subject": "contract:forged@9.9.9", "inputs": [], "outputs": [],
    "facts": {"accepted_at": "2026-01-01T00:00:00.000000Z"},
}  # fmt: skip


class RestartReport(NamedTuple):
    """What a restart showed. landed: `land` entries before it. down_output: what `down` printed."""

    supervisor_key: bytes
    landed: int
    holder_pid: int
    is_holder_alive: bool
    is_bystander_alive: bool
    down_output: str


def restart_servers(shop: ServingProject, landed: int) -> RestartReport:
    """Stop the servers beside a left-over holder of a lock, forge a row of the outbox, and start them again."""
    project = shop.project
    supervisor_key = supervisor_key_path(project).read_bytes()
    privileges = detect_privileges(project)
    lock = project.jobs_dir / "locks" / "left-over.lock"
    lock.touch()
    privileges.set_owner(lock, "worker", 0o640)
    holder, bystander = _start_process(privileges, lock), _start_process(privileges, None)
    try:
        # The JSON document does not name the processes that were ended.
        argv = [word for word in shop.argv("down") if word != "--json"]
        down = subprocess.run(argv, capture_output=True, text=True, check=True)
        report = RestartReport(
            supervisor_key, landed, holder.pid, holder.poll() is None, bystander.poll() is None,
            down.stdout,
        )  # fmt: skip
    finally:
        for process in (holder, bystander):
            process.kill()
            process.communicate()
    record = json.dumps(_FORGED, sort_keys=True, separators=(",", ":"))
    setup = postgres.PostgresSetup(project, privileges, packages.check_installed(project).postgres)
    setup.run_single_user(
        postgres.DATABASE_ROLE,
        "INSERT INTO outbox (key, record, mac)"
        f" VALUES ('accept/forged', convert_to('{record}', 'UTF8'), decode(repeat('00', 32), 'hex'));\n\n"
        "UPDATE outbox SET published = false WHERE key LIKE 'land/%';\n\n",
    )
    shop.must("up")
    shop.must("ingest", codes=(0, 3, 75))
    return report


def _start_process(privileges: ServicePrivileges, lock: Path | None) -> subprocess.Popen[str]:
    """Start a process of the worker's user, which holds a lock. It survives its parent's servers."""
    argv = [sys.executable, "-S", "-c", _HOLDER, *([] if lock is None else [str(lock)])]
    process = subprocess.Popen(
        privileges.command_for("worker", argv), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process
