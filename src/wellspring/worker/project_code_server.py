"""The server of project code: forks a child, confined and without a credential, for each piece of code that a job runs.

It is forked from the warm server, so it never held a credential, and its children are not children of a job. It imports
dbt and Feast, which take seconds, when they are first needed. Each job has a channel of its own (see `ForkServer`), and
what still runs when the job ends is killed.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import os
import resource
import socket
import sys
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType
from typing import Any

from wellspring.observe.traceparent import format_traceparent
from wellspring.runtime.fork_server import ChildStart, ForkServer, die_with_parent, name_process
from wellspring.runtime.process import harden_process
from wellspring.runtime.project_code import ProjectCodeKind
from wellspring.runtime.sandbox import confine_project_code

MODULES: Mapping[ProjectCodeKind, str] = MappingProxyType(
    {
        "dbt": "wellspring.data.transform.dbt_process",
        "features": "wellspring.data.features.view_process",
        "model": "wellspring.models.spec.definition_process",
    }
)
"""The module for each kind of code: its functions are `run_request` (bytes to bytes) and `import_libraries`."""
_OUT_OF_MEMORY_SCORE = b"900"
"""The kernel ends code of the project before a job, when the memory of the machine is full."""


def serve_project_code(channel: socket.socket) -> int:
    """Serve until the channel closes."""
    imported: set[str] = set()

    def prepare(message: dict[str, Any]) -> None:
        if message["kind"] not in imported:
            imported.add(message["kind"])
            importlib.import_module(MODULES[message["kind"]]).import_libraries()
            gc.collect()
            gc.freeze()

    ForkServer(channel, run_project_code, prepare=prepare).serve_requests()
    return 0


def run_project_code(start: ChildStart) -> int:
    """Run one piece of code in this process: read the request, confine the process, write the output."""
    request_fd, output_fd, errors_fd = start.descriptors
    name_process("project code")
    for standard in (1, 2):
        os.dup2(errors_fd, standard)
    # Those that the server has are of /dev/null, and block-buffered.
    sys.stdout = sys.stderr = os.fdopen(os.dup(2), "w", encoding="utf-8", errors="replace", buffering=1)
    try:
        with os.fdopen(request_fd, "rb") as request_file, os.fdopen(output_fd, "wb") as output:
            request = request_file.read()
            run_request: Callable[[bytes], bytes] = importlib.import_module(MODULES[start.message["kind"]]).run_request
            _prepare_process(start)
            output.write(run_request(request))
    except BaseException:
        traceback.print_exc()
        raise
    return 0


def _prepare_process(start: ChildStart) -> None:
    """Limit and confine this process, and give it an environment of its own."""
    folder, memory_bytes = str(start.message["folder"]), int(start.opening["memory_bytes"])
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_bytes(_OUT_OF_MEMORY_SCORE)
    if memory_bytes:
        resource.setrlimit(resource.RLIMIT_DATA, (memory_bytes, memory_bytes))
    harden_process(umask=0o022)
    # Nothing of the worker: no token, no proxy, no settings of dbt or Feast.
    os.environ.clear()
    os.environ.update({"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "TZ": "UTC", "HOME": folder, "TMPDIR": folder})
    if trace := str(start.message["trace"]):
        os.environ["TRACEPARENT"] = format_traceparent(trace).decode()
    os.chdir(folder)
    confine_project_code(Path(folder), [Path(path) for path in start.message["readable"]])


def main(argv: list[str] | None = None) -> int:
    """Serve project code outside a worker, for tests and benchmarks."""
    parser = argparse.ArgumentParser(prog="python -m wellspring.worker.project_code_server")
    parser.add_argument("--channel", type=int, required=True)
    arguments = parser.parse_args(argv)
    die_with_parent()
    return serve_project_code(socket.socket(fileno=arguments.channel))


if __name__ == "__main__":
    sys.exit(main())
