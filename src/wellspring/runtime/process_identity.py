"""Identify a process by its pid and its start time, because the kernel reuses pids."""

from __future__ import annotations

from pathlib import Path

from wellspring.runtime.run_state import ServerState


def process_start_time(pid: int) -> int | None:
    """Return the kernel's start time of a living process (clock ticks since boot); None if it is gone or a zombie."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = text.rpartition(")")[2].split()
    return None if fields[0] in {"Z", "X"} else int(fields[19])


def is_same_process(server: ServerState) -> bool:
    """Return True if the process runs. The start time distinguishes it from another process with a reused pid."""
    return process_start_time(server.pid) == server.start_ticks
