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
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

from wellspring.errors import ProjectError, Refused, WellspringError, decode_error, encode_error, format_error
from wellspring.project import PROJECT_FILE, Project, load_project
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

    module: what `python -m` runs. umask: for the files that the service creates. Only the enclave gets the settings of
    the sources, which are code of other packages; no such code runs in a process that is not confined.
    """
    arguments = build_argument_parser(module).parse_args(argv)
    harden_process(umask=umask)
    try:
        credential_line = sys.stdin.readline()
        project = load_project(arguments.project, sources=False)
        credential = read_credential(credential_line)
        stop = stop_event_for_signals()
        readable = find_source_paths(project, role, _list_readable_paths) if role == "enclave" else ()
        if unconfined_reason := confine_process(project, role=role, readable=readable):
            print(f"not confined: {unconfined_reason}", file=sys.stderr)
        if role == "enclave":
            project = load_project(arguments.project)
        serve(project, credential, stop)
    except WellspringError as exc:
        print(format_error(exc.slug, exc.what, exc.fix), file=sys.stderr)
        return exc.exit_code
    return 0


def find_source_paths(
    project: Project, role: SandboxRole, list_paths: Callable[[Project], Iterable[Path]]
) -> tuple[Path, ...]:
    """List paths that the settings of the sources name. A child process, confined as this role, reads the settings.

    list_paths: lists them from the whole project. Call it while this process has one thread. Raises ProjectError.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            confine_process(project, role=role)
            with os.fdopen(writer, "w", encoding="utf-8") as output:
                json.dump(_encode_source_paths(project, list_paths), output)
            status = 0
        except BaseException as exc:
            sys.excepthook(type(exc), exc, exc.__traceback__)
            raise
        finally:
            os._exit(status)
    os.close(writer)
    with os.fdopen(reader, encoding="utf-8") as file:
        text = file.read()
    if os.waitpid(child, 0)[1] != 0:
        raise ProjectError(
            f"the settings of a source in {project.root / PROJECT_FILE} cannot be read",
            fix="run `wellspring doctor`; correct the package of that source, or remove the source",
        )
    message: dict[str, Any] = json.loads(text)
    if "error" in message:
        raise decode_error(message["error"])
    return tuple(Path(path) for path in message["paths"])


def _encode_source_paths(project: Project, list_paths: Callable[[Project], Iterable[Path]]) -> dict[str, Any]:
    try:
        return {"paths": [os.fspath(path) for path in list_paths(load_project(project.root))]}
    except WellspringError as exc:
        return {"error": encode_error(exc)}


def _list_readable_paths(project: Project) -> list[Path]:
    return [path for source in project.sources.values() for path in source.readable_paths(project.root)]


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


def stop_on_lost_login(stop: threading.Event) -> Callable[[], None]:
    """Return a function that ends the service: the supervisor then starts it with a new credential."""

    def stop_service() -> None:
        print("OpenBao no longer accepts this login: the service ends, to be started with a new one", file=sys.stderr)
        stop.set()

    return stop_service


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
