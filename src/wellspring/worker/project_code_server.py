"""The server of project code: forks a child, confined and without a credential, for each piece of code that a job runs.

Started by the supervisor as `python -m wellspring.worker.project_code_server --project P --listener FD`, under a user
of its own, which owns nothing but the files that its children write. It never holds a credential, and its children are
not children of a job. It imports dbt and Feast, which take seconds, when they are first needed. Each job has a
connection of its own (see `ForkServer`), and what still runs when the job ends is killed.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import resource
import socket
import stat
import sys
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType
from typing import Any

from wellspring.observe.traceparent import format_traceparent
from wellspring.project import Project, load_project
from wellspring.runtime.fork_server import ChildStart, ForkServer, name_process
from wellspring.runtime.process import build_argument_parser, harden_process
from wellspring.runtime.process_memory import limit_memory
from wellspring.runtime.project_code import MAX_OUTPUT_BYTES, SHARE_FOLDER, ProjectCodeKind
from wellspring.runtime.sandbox import confine_process, confine_project_code
from wellspring.runtime.service_users import read_service_users
from wellspring.runtime.unix_socket import peer_uid

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
_UMASK = 0o007
"""The job, whose user has the group of this one, reads and removes what the code wrote; no other user reads it."""


def serve_project_code(listener: socket.socket, permitted_uids: frozenset[int]) -> None:
    """Serve connections of these users, until a signal."""
    imported: set[str] = set()

    def prepare(message: dict[str, Any]) -> None:
        if message["kind"] in MODULES and message["kind"] not in imported:
            imported.add(message["kind"])
            importlib.import_module(MODULES[message["kind"]]).import_libraries()
            gc.collect()
            gc.freeze()

    # Before `harden_process`, after which it may not be set. The children inherit it.
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_bytes(_OUT_OF_MEMORY_SCORE)
    harden_process(umask=_UMASK)
    ForkServer(
        listener,
        run_project_code,
        prepare=prepare,
        permits=lambda connection: peer_uid(connection) in permitted_uids,
    ).serve_requests()


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
            head: dict[str, Any] = json.loads(request_file.readline())
            request = request_file.read()
            kind = start.message["kind"]
            run_request: Callable[[bytes], bytes] = (
                _share_folder if kind == SHARE_FOLDER else importlib.import_module(MODULES[kind]).run_request
            )
            _prepare_process(start, head)
            output.write(run_request(request))
    except BaseException:
        traceback.print_exc()
        raise
    return 0


def _prepare_process(start: ChildStart, head: dict[str, Any]) -> None:
    """Limit and confine this process, and give it an environment of its own."""
    folder, memory_bytes = str(head["folder"]), int(start.opening.get("memory_bytes", 0))
    limit_memory(memory_bytes)
    if start.message["kind"] != "dbt":
        # Definitions write no data; a build does.
        resource.setrlimit(resource.RLIMIT_FSIZE, (MAX_OUTPUT_BYTES, MAX_OUTPUT_BYTES))
    harden_process(umask=_UMASK)
    # Nothing of the server: no settings of dbt or Feast.
    os.environ.clear()
    os.environ.update({"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "TZ": "UTC", "HOME": folder, "TMPDIR": folder})
    if trace := str(head["trace"]):
        os.environ["TRACEPARENT"] = format_traceparent(trace).decode()
    os.chdir(folder)
    confine_project_code(Path(folder), [Path(path) for path in head["readable"]])


def _share_folder(_: bytes) -> bytes:
    """Let the job, which has the group of this user, remove what code has written in this folder and closed to it."""
    folders = [Path.cwd()]
    while folders:
        for path in folders.pop().iterdir():
            info = path.lstat()
            if stat.S_ISDIR(info.st_mode):
                if info.st_uid == os.geteuid():
                    path.chmod(0o770)
                folders.append(path)
    return b""


def main(argv: list[str] | None = None) -> int:
    """Run the server until a signal ends it."""
    parser = build_argument_parser("wellspring.worker.project_code_server")
    parser.add_argument("--listener", type=int, required=True)
    arguments = parser.parse_args(argv)
    listener = socket.socket(fileno=arguments.listener)
    listener.set_inheritable(False)
    project = load_project(arguments.project, sources=False)
    if unconfined_reason := confine_process(project, role="code"):
        print(f"not confined: {unconfined_reason}", file=sys.stderr)
    serve_project_code(listener, _list_permitted_uids(project))
    return 0


def _list_permitted_uids(project: Project) -> frozenset[int]:
    """Return the users whose connections are served: the worker's, and the supervisor's, which probes."""
    users, own_uid = read_service_users(project), os.geteuid()
    worker_uid = users.uid_of("worker") if own_uid == users.uid_of("code") else own_uid
    return frozenset({worker_uid, project.state_dir.stat().st_uid})


if __name__ == "__main__":
    sys.exit(main())
