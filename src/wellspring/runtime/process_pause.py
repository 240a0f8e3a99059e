"""Pause all processes of a project for a moment, so that a copy of its files is what one kill of all would leave.

`make crash` shows that the platform recovers from such a kill. The processes are stopped by SIGSTOP: the supervisor
first, then whoever descends from it, until a scan finds no other. A process of its own stops and continues them: when
the caller dies, or when the pause lasts too long, it continues them. `python -m wellspring.runtime.process_pause`.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from wellspring.errors import Unavailable

MAX_PAUSE_SECONDS = 15.0
_STOP_TIMEOUT = 5.0
_POLL_SECONDS = 0.002
_STOPPED = frozenset("TtZX")
_PAUSED, _RESUMED = b"paused\n", b"resumed\n"


@contextmanager
def paused_processes(
    supervisor: int, uids: frozenset[int], *, max_seconds: float = MAX_PAUSE_SECONDS
) -> Generator[None]:
    """Pause a supervisor, its descendants and the processes of these uids inside the block.

    Raises Unavailable if they cannot be paused, or if one of them ran before the end of the block: then what was copied
    in the block is of no use.
    """
    argv = [sys.executable, "-P", "-m", "wellspring.runtime.process_pause", str(supervisor), str(max_seconds)]
    guard = subprocess.Popen(
        [*argv, *map(str, sorted(uids))], stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    )
    try:
        if guard.stdout is None or guard.stdin is None or guard.stdout.readline() != _PAUSED:
            raise Unavailable(
                "the servers could not be paused", fix="run the command again, or `wellspring down` first"
            )
        yield
        guard.stdin.close()
        if guard.stdout.readline() != _RESUMED:
            raise Unavailable(
                f"the servers went on before everything was copied (limit: {max_seconds:.0f} s)",
                fix="run the command again; if it repeats, write the backup to a faster disk",
            )
    finally:
        for pipe in (guard.stdin, guard.stdout):
            if pipe is not None:
                with suppress(BrokenPipeError):
                    pipe.close()
        guard.wait()
        if guard.returncode < 0:
            # It was killed, and cannot continue them.
            resume_processes(supervisor, uids)


def resume_processes(supervisor: int, uids: frozenset[int] = frozenset()) -> None:
    """Continue the processes that a killed backup left paused; those that run are not affected."""
    for pid in list_processes(supervisor, uids):
        _send(pid, signal.SIGCONT)


def list_processes(supervisor: int, uids: frozenset[int]) -> list[int]:
    """List a supervisor, its descendants, and the processes of these uids; parents before children."""
    parents, owners = dict[int, int](), dict[int, int]()
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        with suppress(OSError, IndexError, ValueError):
            fields = (
                Path(f"/proc/{entry}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
            )
            parents[int(entry)] = int(fields[1])
            owners[int(entry)] = _real_uid(int(entry)) if uids else -1
    chosen = {supervisor} & parents.keys()
    while more := {pid for pid, parent in parents.items() if parent in chosen} - chosen:
        chosen |= more
    chosen |= {pid for pid, uid in owners.items() if uid in uids}
    return sorted(chosen - {os.getpid()}, key=lambda pid: (pid != supervisor, pid))


def _real_uid(pid: int) -> int:
    text = Path(f"/proc/{pid}/status").read_text(encoding="utf-8", errors="replace")
    return next(int(line.split()[1]) for line in text.splitlines() if line.startswith("Uid:"))


def stop_processes(supervisor: int, uids: frozenset[int]) -> list[int]:
    """Stop them, and return their pids when each thread has stopped. Raises Unavailable if one does not stop."""
    stopped: list[int] = []
    deadline, pause = time.monotonic() + _STOP_TIMEOUT, threading.Event()
    while True:
        running = [pid for pid in list_processes(supervisor, uids) if pid not in stopped]
        for pid in running:
            _send(pid, signal.SIGSTOP)
            stopped.append(pid)
        if not running and are_stopped(stopped):
            return stopped
        if time.monotonic() > deadline:
            raise Unavailable("a server does not stop", fix="run the command again")
        pause.wait(_POLL_SECONDS)


def are_stopped(pids: list[int]) -> bool:
    """Return whether each thread of each process is stopped; a process that has ended counts as stopped."""
    return all(state in _STOPPED for pid in pids for state in _thread_states(pid))


def _thread_states(pid: int) -> Iterator[str]:
    with suppress(OSError):
        for thread in os.listdir(f"/proc/{pid}/task"):
            with suppress(OSError):
                text = Path(f"/proc/{pid}/task/{thread}/stat").read_text(encoding="utf-8", errors="replace")
                yield text.rpartition(")")[2].split()[0]


def _send(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def main() -> int:
    """Pause, wait for the end of standard input or for the limit, continue. Prints `paused`, then `resumed`."""
    supervisor, limit, uids = int(sys.argv[1]), float(sys.argv[2]), frozenset(map(int, sys.argv[3:]))
    pids: list[int] = []
    undisturbed = False
    try:
        pids = stop_processes(supervisor, uids)
        sys.stdout.buffer.write(_PAUSED)
        sys.stdout.buffer.flush()
        ended, _, _ = select.select([sys.stdin], [], [], limit)
        undisturbed = bool(ended) and are_stopped(pids)
    except Unavailable as error:
        print(error.what, file=sys.stderr)
    finally:
        for pid in pids or list_processes(supervisor, uids):
            _send(pid, signal.SIGCONT)
    if undisturbed:
        with suppress(BrokenPipeError):
            sys.stdout.buffer.write(_RESUMED)
            sys.stdout.buffer.flush()
    return 0 if undisturbed else 1


if __name__ == "__main__":
    sys.exit(main())
