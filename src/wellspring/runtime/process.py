"""Start a service process: arguments, hardening, the credential on standard input, signals, confinement.

Other users can read the log of a service, so it contains no values and no texts of unexpected exceptions.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import logging
import os
import resource
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

from wellspring.errors import Refused, WellspringError
from wellspring.project import Project, load_project
from wellspring.runtime.sandbox import SandboxRole, confine_process

_PR_SET_DUMPABLE = 4


class Credential(NamedTuple):
    """The credential of a new process: its role id, and a wrapped secret id that can be used once."""

    role_id: str
    wrapped: str


ServiceMain = Callable[[Project, Credential, threading.Event], None]
"""Serves until the event is set. Gets the loaded project and the credential."""


def run_service(
    serve: ServiceMain, *, module: str, role: SandboxRole, umask: int, argv: Sequence[str] | None = None
) -> int:
    """Run a service until SIGTERM or SIGINT, which set the event that `serve` gets. Returns an exit code.

    module: what `python -m` runs. umask: for the files that the service creates.
    """
    arguments = build_argument_parser(module).parse_args(argv)
    harden_process(umask=umask)
    try:
        credential_line = sys.stdin.readline()
        project = load_project(arguments.project)
        credential = read_credential(credential_line)
        stop = stop_event_for_signals()
        if unconfined_reason := confine_process(project, role=role):
            print(f"not confined: {unconfined_reason}", file=sys.stderr)
        serve(project, credential, stop)
    except WellspringError as exc:
        print(f"{exc.slug}: {exc.what}\nfix: {exc.fix}", file=sys.stderr)
        return exc.exit_code
    return 0


def build_argument_parser(module: str) -> argparse.ArgumentParser:
    """Build the argument parser of a process: `--project`, to which the caller adds its own options."""
    parser = argparse.ArgumentParser(prog=f"python -m {module}")
    parser.add_argument("--project", type=Path, required=True)
    return parser


def read_credential(line: str) -> Credential:
    """Parse the JSON line {"role_id", "wrapped"}. Raises Refused without repeating the line."""
    try:
        payload = json.loads(line)
        return Credential(str(payload["role_id"]), str(payload["wrapped"]))
    except (ValueError, KeyError, TypeError):
        raise Refused("standard input has no valid credential", fix="start this with `wellspring up`") from None


def stop_event_for_signals() -> threading.Event:
    """Return an event that SIGTERM and SIGINT set. Call it in the main thread."""
    stop = threading.Event()
    for signal_number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signal_number, lambda *_: stop.set())
    return stop


def harden_process(*, umask: int) -> None:
    """Disable core files and debugging by the same user, and keep values out of the error output."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    os.umask(umask)
    sys.excepthook = lambda exc_type, _exc, exc_traceback: _print_location(exc_type, exc_traceback)
    threading.excepthook = lambda arguments: _print_location(arguments.exc_type, arguments.exc_traceback)
    logging.getLogger().handlers = [RedactingLogHandler(logging.WARNING)]


class RedactingLogHandler(logging.Handler):
    """Print the location of an exception, or the logger of a message. Texts are omitted; they may quote a request."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info and record.exc_info[0] is not None:
            _print_location(record.exc_info[0], record.exc_info[2])
        else:
            print(f"{record.levelname.lower()}: {record.name}, line {record.lineno}", file=sys.stderr)


def format_location(exc_type: type[BaseException], exc_traceback: TracebackType | None) -> str:
    """Format the type and the stack of an exception without its message, which may quote a row or a request."""
    frames = [f"  {frame.filename}:{frame.lineno} {frame.name}" for frame in traceback.extract_tb(exc_traceback)]
    return "\n".join([f"unforeseen: {exc_type.__name__}", *frames])


def _print_location(exc_type: type[BaseException], exc_traceback: TracebackType | None) -> None:
    print(format_location(exc_type, exc_traceback), file=sys.stderr)
