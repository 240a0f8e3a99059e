"""`python -m wellspring.enclave --project P`: the process that alone sees people.

Reads one line of JSON from its standard input, {"role_id", "wrapped"}: a credential that works once. What it writes to
its output is for a log that others read: no value, no traceback's message, nothing of what it holds.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import resource
import signal
import sys
import threading
import traceback
from pathlib import Path
from types import FrameType, TracebackType

from wellspring.errors import Refused, WellspringError

HOUR = 3600.0
_PR_SET_DUMPABLE = 4


def main(argv: list[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT; returns an exit code."""
    parser = argparse.ArgumentParser(prog="python -m wellspring.enclave")
    parser.add_argument("--project", type=Path, required=True)
    given = parser.parse_args(argv)
    _harden()
    try:
        return _serve(given.project, sys.stdin.readline())
    except WellspringError as wrong:
        print(f"{wrong.slug}: {wrong.what}\nfix: {wrong.fix}", file=sys.stderr)
        return wrong.exit_code


def _serve(root: Path, line: str) -> int:
    from wellspring.enclave.compose import opened
    from wellspring.project import load
    from wellspring.servers.confine import confine

    project = load(root)
    try:
        credential = json.loads(line)
        role_id, wrapped = str(credential["role_id"]), str(credential["wrapped"])
    except (ValueError, KeyError, TypeError):
        raise Refused("the enclave was given no credential", fix="start it with `wellspring up`") from None
    stop = threading.Event()

    def ending(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, ending)
    if unconfined := confine(project, role="enclave"):
        print(f"not confined: {unconfined}", file=sys.stderr)
    with opened(project, role_id=role_id, wrapped=wrapped) as enclave:
        while not stop.wait(HOUR):
            try:
                enclave.keep_house()
            except WellspringError as wrong:
                # The next act tries again, and fails itself while this lasts.
                print(f"{wrong.slug}: {wrong.what}", file=sys.stderr)
    return 0


def _harden() -> None:
    """Let no core file and no debugger of the same user have this memory, and no error message the values in it."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    os.umask(0o077)
    sys.excepthook = told
    threading.excepthook = lambda arguments: told(arguments.exc_type, arguments.exc_value, arguments.exc_traceback)


def told(kind: type[BaseException], problem: BaseException | None, trail: TracebackType | None) -> None:
    """Say where an unforeseen error arose, not what it says: its message may quote a row."""
    del problem
    print(f"unforeseen: {kind.__name__}", file=sys.stderr)
    for frame in traceback.extract_tb(trail):
        print(f"  {frame.filename}:{frame.lineno} {frame.name}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
