"""End the processes that a stopped project left over and that still hold a lock of it."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

from wellspring.project import Project
from wellspring.runtime.lock_holders import LockHolder, find_lock_holders
from wellspring.runtime.privileges import detect_privileges
from wellspring.runtime.run_state import ServerState
from wellspring.supervisor.managed_process import is_same_process, process_uid, wait_for_exit

_EXIT_TIMEOUT = 10.0


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
    return [
        holder
        for holder, uids in holders
        if holder.pid != os.getpid() and process_uid(holder.pid) in uids and _kill_process(holder)
    ]


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
