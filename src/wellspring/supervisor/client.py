"""Starts, restarts, lists, stops and removes a project's embedded servers through its detached supervisor process."""

from __future__ import annotations

import fcntl
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from wellspring.bootstrap import open_ledger_index
from wellspring.bootstrap.policy_ports import load_policies_in_force
from wellspring.embedded import layout, packages, uid_ranges
from wellspring.embedded.control_socket import send_request
from wellspring.embedded.path_access import PRIVATE
from wellspring.errors import ProjectError, Refused, Unavailable, WellspringError, decode_error
from wellspring.project import Project, load_project
from wellspring.runtime.lock_holders import LockHolder
from wellspring.runtime.privileges import detect_privileges, service_environment
from wellspring.runtime.process import build_argument_parser
from wellspring.runtime.process_pause import resume_processes
from wellspring.runtime.run_state import RunState, ServerState, read_run_state
from wellspring.runtime.trusted_folder import create_missing_folders, open_appending, remove_file, remove_tree
from wellspring.stores.online.registry import needs_embedded_server
from wellspring.supervisor.leftover_processes import end_leftover_processes
from wellspring.supervisor.managed_process import is_same_process, process_start_time, process_uid, wait_for_exit

STARTUP_TIMEOUT = 75.0
_STOP_TIMEOUT = 40.0
_SERVICE_BY_SERVER = {"openbao": "keys", "sftp": "vendor"}
_OPTIONAL_SERVERS = {"sftp", "valkey", "mlflow", "api"}


class ServerStatus(NamedTuple):
    """One line of `wellspring status`. state: up, or dead (it was started and has exited). uid: None if unknown."""

    name: str
    state: str
    pid: int | None
    address: str
    version: str
    uid: int | None


def _ignore_progress(_: str) -> None:
    return None


def start_servers(
    project: Project,
    *,
    progress: Callable[[str], None] = _ignore_progress,
    on_code: Callable[[str], None] = _ignore_progress,
) -> RunState:
    """Start the servers and return when every readiness probe succeeds; return at once if all servers are up.

    on_code: gets the code of the first enrollment of a governed project, if this start issued one.
    Raises Unavailable when a package is missing, or when a server is not ready in time (with its last log lines).
    """
    packages.check_installed(project)
    if project.models is not None:
        # The API exits at its start if the policies are invalid.
        load_policies_in_force(project, None)
    layout.ensure_ownership(project)
    # A governed project that wellspring.toml sets back to development keeps what runs.
    open_ledger_index(project)
    with _startup_lock(project) as lock:
        running = _read_run_state(project)
        _resume_paused(running)
        if running is not None:
            if not is_same_process(running.supervisor):
                progress("the supervisor has exited: restarting all servers")
            elif _configured_servers(project) != _OPTIONAL_SERVERS & set(running.servers):
                progress("wellspring.toml now needs other servers: restarting all servers")
            elif running.mode != project.project.mode:
                progress("wellspring.toml has another mode: restarting all servers")
            else:
                return _start_exited_servers(project, running, progress)
        _stop_running(project, running, progress)
        uid_ranges.claim_uid_range(project, detect_privileges(project))
        return _launch_supervisor(project, lock, progress, on_code)


def stop_servers(
    project: Project,
    *,
    progress: Callable[[str], None] = _ignore_progress,
    on_ended: Callable[[LockHolder], None] = lambda _: None,
) -> bool:
    """Stop the servers and remove their sockets and run.json. Returns False if the supervisor was not running.

    A process that they left over and that holds a lock of the project is ended; `progress` names it, `on_ended` gets
    it, and the next start records it.
    """
    layout.ensure_ownership(project)
    with _startup_lock(project):
        running = _read_run_state(project)
        was_running = running is not None and is_same_process(running.supervisor)
        for holder in _stop_running(project, running, progress):
            on_ended(holder)
        return was_running


def restart_server(project: Project, name: str) -> ServerState:
    """Stop one server if it runs, and start it again. The other servers keep running.

    Raises NotFound, which suggests a name; Unavailable when the server is not ready in time, with its last log lines.
    """
    send_request(project, {"op": "restart", "server": name}, timeout=STARTUP_TIMEOUT)
    running = read_run_state(project)
    if running is None:
        raise Unavailable(f"the servers of {project.root} were stopped during the restart", fix="run `wellspring up`")
    return running.servers[name]


def list_server_status(project: Project) -> list[ServerStatus]:
    """Return name, state, pid, address, version and uid of the supervisor and each server."""
    running = _read_run_state(project)
    if running is None:
        return []
    rows = [_server_status("supervisor", running.supervisor, None)]
    for name, server in running.servers.items():
        rows.append(_server_status(name, server, running.uids.get(_SERVICE_BY_SERVER.get(name, name))))
    return rows


def clean_project(project: Project) -> list[Path]:
    """Stop the servers, remove `.wellspring/` and the vendor's and witness's folders; return the removed paths.

    Raises Refused if a folder is a symbolic link or lies outside the project.
    """
    layout.ensure_ownership(project)
    stop_servers(project)
    targets = [project.state_dir, project.root / project.witness.folder]
    if packages.embedded_sources(project):
        targets.append(project.vendor_dir)
    removed: list[Path] = []
    for path in targets:
        if path.is_symlink() or not path.resolve().is_relative_to(project.root.resolve()) or path == project.root:
            raise Refused(f"{path} does not lie inside {project.root}", fix="remove it manually")
    uid_ranges.release_uid_range(project)
    for path in targets:
        if remove_tree(path):
            removed.append(path)
    return removed


def _configured_servers(project: Project) -> set[str]:
    """Return the optional servers that wellspring.toml configures."""
    names = packages.embedded_source_servers(project)
    if needs_embedded_server(project, "valkey"):
        names.add("valkey")
    return names | ({"mlflow", "api"} if project.models else set())


def _start_exited_servers(project: Project, running: RunState, progress: Callable[[str], None]) -> RunState:
    """Start the servers that have exited, without waiting for their restart. Raises Unavailable."""
    exited = [name for name, server in running.servers.items() if not is_same_process(server)]
    for name in exited:
        progress(f"{name} has exited: starting it")
        send_request(project, {"op": "start", "server": name}, timeout=STARTUP_TIMEOUT)
    return (read_run_state(project) or running) if exited else running


def _server_status(name: str, server: ServerState, uid: int | None) -> ServerStatus:
    address = server.socket or (f"127.0.0.1:{server.port}" if server.port else "")
    is_alive = is_same_process(server)
    if is_alive:
        uid = process_uid(server.pid)
    return ServerStatus(
        name, "up" if is_alive else "dead", server.pid if is_alive else None, address, server.version, uid
    )


def _read_run_state(project: Project) -> RunState | None:
    try:
        return read_run_state(project)
    except ProjectError:
        # run.json is damaged or of another version: treat the servers as stopped and remove what they left.
        return None


@contextmanager
def _startup_lock(project: Project) -> Generator[int]:
    """Lock `.wellspring/` itself while starting or stopping servers; yield the descriptor of the lock.

    The supervisor inherits the descriptor and keeps it until all servers are ready or it exits.
    """
    handle = os.open(project.state_dir, os.O_RDONLY | os.O_DIRECTORY)
    try:
        deadline, pause = time.monotonic() + STARTUP_TIMEOUT, threading.Event()
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise Unavailable(
                        f"another command has been starting or stopping {project.root} for {STARTUP_TIMEOUT:.0f} s",
                        fix="wait for that command, or stop it",
                    ) from None
                pause.wait(0.05)
        yield handle
    finally:
        os.close(handle)


def _launch_supervisor(
    project: Project, lock: int, progress: Callable[[str], None], on_code: Callable[[str], None]
) -> RunState:
    logs = project.state_dir / "logs"
    create_missing_folders(logs, PRIVATE)
    report_reader, report_writer = os.pipe()
    try:
        with open_appending(logs / "supervisor.log") as log:
            argv = [sys.executable, "-P", "-m", "wellspring.supervisor.client", "--project", str(project.root)]
            subprocess.run(
                [*argv, "--report", str(report_writer), "--lock", str(lock)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                pass_fds=(report_writer, lock),
                env=service_environment(project, "supervisor"),
                cwd="/",
                check=True,
            )
        os.close(report_writer)
        report_writer = -1
        return _await_startup(project, report_reader, progress, on_code)
    finally:
        os.close(report_reader)
        if report_writer >= 0:
            os.close(report_writer)


def _await_startup(
    project: Project, report_fd: int, progress: Callable[[str], None], on_code: Callable[[str], None]
) -> RunState:
    """Read the supervisor's reports until all servers are up. Raises the error that it reports, or Unavailable."""
    deadline, pid = time.monotonic() + STARTUP_TIMEOUT, 0
    buffer = b""
    try:
        while True:
            remaining = deadline - time.monotonic()
            if remaining <= 0 or not select.select([report_fd], [], [], remaining)[0]:
                raise Unavailable(
                    f"the servers were not up in {STARTUP_TIMEOUT:.0f} s", fix=f"read {project.state_dir / 'logs'}"
                )
            chunk = os.read(report_fd, 65536)
            if not chunk:
                raise Unavailable(
                    "the supervisor exited without a report",
                    fix=f"read {project.state_dir / 'logs' / 'supervisor.log'}",
                )
            *lines, buffer = (buffer + chunk).split(b"\n")
            for line in map(json.loads, lines):
                pid = line.get("pid", pid)
                if "progress" in line:
                    progress(str(line["progress"]))
                elif "bootstrap_code" in line:
                    on_code(str(line["bootstrap_code"]))
                elif "error" in line:
                    _wait_for_cleanup(report_fd, pid)
                    raise decode_error(line["error"])
                elif "up" in line and (running := read_run_state(project)) is not None:
                    return running
    except (KeyboardInterrupt, Unavailable):
        if pid:
            _terminate(pid)
        raise


def _wait_for_cleanup(report_fd: int, pid: int) -> None:
    """Wait until a supervisor that reported an error has stopped its servers and exited."""
    supervisor = ServerState(pid=pid, start_ticks=process_start_time(pid) or 0, version="")
    while select.select([report_fd], [], [], _STOP_TIMEOUT)[0] and os.read(report_fd, 65536):
        continue
    wait_for_exit(supervisor, _STOP_TIMEOUT)


def _resume_paused(running: RunState | None) -> None:
    """Continue the servers if a backup paused them and was killed together with its guard; running ones go on."""
    if running is not None and is_same_process(running.supervisor):
        resume_processes(running.supervisor.pid)


def _terminate(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGTERM)
    except ProcessLookupError:
        return


def _stop_running(project: Project, running: RunState | None, progress: Callable[[str], None]) -> list[LockHolder]:
    """Stop the servers through the control socket, then by signal; remove run.json and the sockets.

    Returns the processes that they left over, which were ended.
    """
    _resume_paused(running)
    if running is not None and is_same_process(running.supervisor):
        try:
            send_request(project, {"op": "stop"}, timeout=2)
        except WellspringError:
            _terminate(running.supervisor.pid)
        if not wait_for_exit(running.supervisor, _STOP_TIMEOUT):
            os.kill(running.supervisor.pid, signal.SIGKILL)
            wait_for_exit(running.supervisor, 5)
    if running is not None:
        # The kernel kills the children of a killed supervisor: wait until they have exited.
        for server in running.servers.values():
            if not wait_for_exit(server, 10):
                os.kill(server.pid, signal.SIGKILL)
                wait_for_exit(server, 5)
    ended = end_leftover_processes(project)
    for holder in ended:
        progress(f"ended pid {holder.pid}, which was left over and held {holder.path}")
    remove_file(project.state_dir / "run.json")
    layout.remove_runtime_dir(project)
    return ended


def main() -> int:
    """Run as the supervisor process: detach, report over a pipe, keep the startup lock until all servers are ready."""
    from wellspring.supervisor.monitor import MonitorSettings
    from wellspring.supervisor.process import run_supervisor

    parser = build_argument_parser("wellspring.supervisor.client")
    parser.add_argument("--report", type=int, required=True)
    parser.add_argument("--lock", type=int, required=True)
    arguments = parser.parse_args()
    if os.fork():
        # The caller waits for this first process only; init reaps the supervisor, so it never becomes a zombie.
        os._exit(0)
    for handle in (arguments.report, arguments.lock):
        os.set_inheritable(handle, False)
    report = open(arguments.report, "w", encoding="utf-8", buffering=1)

    def send_report(message: dict[str, Any]) -> None:
        # The process that started the supervisor may have exited; the servers keep running without it.
        with suppress(BrokenPipeError, ValueError):
            report.write(json.dumps(message) + "\n")
        if "up" in message:
            # A supervisor that failed keeps the pipe and the lock until it has stopped its servers and exited.
            with suppress(BrokenPipeError):
                report.close()
            os.close(arguments.lock)

    send_report({"pid": os.getpid()})
    return run_supervisor(load_project(arguments.project), send_report, MonitorSettings())


if __name__ == "__main__":
    sys.exit(main())
