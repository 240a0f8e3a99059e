"""End the processes that a stopped project left over and that still hold a lock of it."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

from wellspring.errors import CorruptedError
from wellspring.project import Project
from wellspring.records.observe import Recorder
from wellspring.runtime.lock_holders import LockHolder, find_lock_holders
from wellspring.runtime.privileges import detect_privileges
from wellspring.runtime.run_state import ServerState
from wellspring.runtime.trusted_folder import read_file, remove_file, write_file
from wellspring.supervisor.managed_process import is_same_process, process_uid, wait_for_exit

_EXIT_TIMEOUT = 10.0
_ENDED_FILE = "ended-processes.json"
"""File in `.wellspring/` that names ended processes until the next start records them: before it nothing can."""
_MAX_RECORDED = 100


def _list_service_locks(project: Project) -> Iterator[Path]:
    yield from project.journals_dir.glob("*/lock")
    yield from (project.jobs_dir / "locks").glob("*.lock")
    yield project.root / project.witness.folder / "lock"


def end_leftover_processes(project: Project) -> list[LockHolder]:
    """Kill the processes of this project's users that hold one of its locks; return them. Its servers must be stopped.

    A lock that a living process holds is never broken: the process ends, and the kernel releases it.
    """
    privileges = detect_privileges(project)
    own_uid = os.geteuid()
    # The files are in folders of the services: with users of their own they must not lead to a process of root.
    service_uids = set(privileges.users.uids.values()) if privileges.separation == "user" else {own_uid}
    holders = [
        *((holder, service_uids) for holder in find_lock_holders(_list_service_locks(project))),
        *((holder, {own_uid}) for holder in find_lock_holders([project.journals_dir / "supervisor" / "lock"])),
    ]
    ended: list[LockHolder] = []
    for holder, uids in holders:
        uid = process_uid(holder.pid)
        if holder.pid != os.getpid() and uid in uids and _kill_process(holder):
            ended.append(holder)
            _remember_ended(project, holder, uid)
    return ended


def record_ended_processes(project: Project, step: Recorder) -> None:
    """Record the processes that were ended since the last start. A start that is interrupted here records them again.

    Raises CorruptedError.
    """
    path = project.state_dir / _ENDED_FILE
    for item in _read_ended(path):
        with step("end_process", f"process:{item['pid']}", facts={"uid": item["uid"], "held": item["held"]}):
            pass
    remove_file(path)


def _remember_ended(project: Project, holder: LockHolder, uid: int | None) -> None:
    path = project.state_dir / _ENDED_FILE
    # The name of a folder below the project: short, and without a value of a file.
    lock = os.path.relpath(holder.path, project.root)[-100:]
    ended = [*_read_ended(path), {"pid": holder.pid, "uid": uid, "held": lock}]
    write_file(path, json.dumps(ended[-_MAX_RECORDED:]).encode(), 0o600)


def _read_ended(path: Path) -> list[dict[str, int | str | None]]:
    try:
        ended = json.loads(read_file(path))
        return [{"pid": int(item["pid"]), "uid": item["uid"], "held": str(item["held"])} for item in ended]
    except FileNotFoundError:
        return []
    except (ValueError, KeyError, TypeError):
        raise CorruptedError(
            f"{path} is damaged", fix=f"keep a copy, remove {path}, then run `wellspring up`"
        ) from None


def _kill_process(holder: LockHolder) -> bool:
    """Kill exactly this process, by a descriptor of it, so that no other process with its pid is hit."""
    process = ServerState(pid=holder.pid, start_ticks=holder.start_ticks, version="")
    try:
        handle = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return False
    try:
        if not is_same_process(process):
            return False
        signal.pidfd_send_signal(handle, signal.SIGKILL)
    except ProcessLookupError:
        return False
    finally:
        os.close(handle)
    return wait_for_exit(process, _EXIT_TIMEOUT)
