"""`python -m wellspring.enclave --project P`: run the enclave process.

Reads one line of JSON from standard input, {"role_id", "wrapped"}: a single-use credential. Other users can read the
log of its output, so it prints no values and no messages of unexpected exceptions.
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

MAINTENANCE_INTERVAL = 3600.0
_PR_SET_DUMPABLE = 4


def main(argv: list[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT. Returns an exit code."""
    parser = argparse.ArgumentParser(prog="python -m wellspring.enclave")
    parser.add_argument("--project", type=Path, required=True)
    options = parser.parse_args(argv)
    _harden()
    try:
        return _serve(options.project, sys.stdin.readline())
    except WellspringError as exc:
        print(f"{exc.slug}: {exc.what}\nfix: {exc.fix}", file=sys.stderr)
        return exc.exit_code


def _serve(root: Path, credential_line: str) -> int:
    from wellspring.enclave.app import open_enclave
    from wellspring.project import load_project
    from wellspring.runtime.sandbox import confine_process

    project = load_project(root)
    try:
        credential = json.loads(credential_line)
        role_id, wrapped = str(credential["role_id"]), str(credential["wrapped"])
    except (ValueError, KeyError, TypeError):
        raise Refused("the enclave got no credential on standard input", fix="start it with `wellspring up`") from None
    stop = threading.Event()

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, on_signal)
    if unconfined := confine_process(project, role="enclave"):
        print(f"not confined: {unconfined}", file=sys.stderr)
    with open_enclave(project, role_id=role_id, wrapped=wrapped) as enclave:
        while not stop.wait(MAINTENANCE_INTERVAL):
            try:
                enclave.run_maintenance()
            except WellspringError as exc:
                # The next request runs the maintenance again, and fails if it still fails.
                print(f"{exc.slug}: {exc.what}", file=sys.stderr)
    return 0


def _harden() -> None:
    """Disable core files, debuggers of the same user and exception messages, all of which could expose values."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    os.umask(0o077)
    sys.excepthook = print_crash_location
    threading.excepthook = lambda arguments: print_crash_location(
        arguments.exc_type, arguments.exc_value, arguments.exc_traceback
    )


def print_crash_location(
    exc_type: type[BaseException], exc: BaseException | None, exc_traceback: TracebackType | None
) -> None:
    """Print the stack of an unexpected exception without its message, which may quote a row."""
    del exc
    print(f"unforeseen: {exc_type.__name__}", file=sys.stderr)
    for frame in traceback.extract_tb(exc_traceback):
        print(f"  {frame.filename}:{frame.lineno} {frame.name}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
