"""Start, restart, ask, stop and remove the embedded servers of a project: one detached supervisor starts them all."""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from wellspring.errors import BY_SLUG, ProjectError, Refused, Unavailable, WellspringError
from wellspring.project import Project, Running, Server, load
from wellspring.servers import folders, packages
from wellspring.servers.children import lives, owner, started, wait_gone
from wellspring.servers.control import ask
from wellspring.servers.privileges import environment
from wellspring.trust import policy

DEADLINE = 75.0
_STOP_SECONDS = 40.0
_OWNERS = {"openbao": "keys", "sftp": "vendor"}
_OPTIONAL = {"sftp", "valkey", "mlflow", "api"}


class Row(NamedTuple):
    """One line of `wellspring status`. state: up, stopped, or dead (it was started and has ended by itself)."""

    name: str
    state: str
    pid: int | None
    where: str
    version: str
    uid: int | None


def _quiet(_: str) -> None:
    return None


def up(project: Project, *, progress: Callable[[str], None] = _quiet) -> Running:
    """Start the servers and return when every probe is green; when they are up already, return at once.

    Raises Unavailable: a package is missing (within seconds), or a server did not get ready (with its last log lines).
    """
    packages.check(project)
    if project.models is not None:
        # What the API would end of as soon as it starts.
        policy.load(project.own.get("policies"))
    folders.own(project)
    with _starting(project) as lock:
        running = _running(project)
        if running is not None:
            if not all(lives(server) for server in _all(running)):
                progress("a server has ended by itself: starting all again")
            elif _asked_for(project) != _OPTIONAL & set(running.servers):
                progress("wellspring.toml asks for other servers now: starting all again")
            else:
                return running
        _end(project, running)
        return _launch(project, lock, progress)


def down(project: Project) -> bool:
    """Stop the servers gracefully, and leave no process, port, socket or run.json. Returns False if none ran."""
    folders.own(project)
    with _starting(project):
        running = _running(project)
        lived = running is not None and lives(running.supervisor)
        _end(project, running)
        return lived


def restart(project: Project, name: str) -> Server:
    """Stop one server, or find it dead, and start it again; the others stay as they are.

    Raises NotFound with the nearest name; Unavailable when it does not get ready, with its last log lines.
    """
    ask(project, {"op": "restart", "server": name}, seconds=DEADLINE)
    running = project.running()
    if running is None:
        raise Unavailable(f"the servers of {project.root} have been stopped", fix="run `wellspring up`")
    return running.servers[name]


def status(project: Project) -> list[Row]:
    """Say of each server whether it is up, where, and as whom."""
    running = _running(project)
    if running is None:
        return []
    rows = [_row("supervisor", running.supervisor, None)]
    for name, server in running.servers.items():
        rows.append(_row(name, server, running.uids.get(_OWNERS.get(name, name))))
    return rows


def clean(project: Project) -> list[Path]:
    """Stop, then remove `.wellspring/`, the embedded vendor's house and the witness; returns what was removed.

    Only folders inside the project are removed, and no link is followed.
    """
    folders.own(project)
    down(project)
    doomed = [project.state, project.root / project.witness.folder]
    if packages.embedded(project):
        doomed.append(project.vendor)
    removed: list[Path] = []
    for path in doomed:
        if path.is_symlink() or not path.resolve().is_relative_to(project.root.resolve()) or path == project.root:
            raise Refused(f"{path} does not lie inside {project.root}", fix="remove it yourself, if you mean to")
    for path in doomed:
        if path.exists():
            shutil.rmtree(path)
            removed.append(path)
    return removed


def _asked_for(project: Project) -> set[str]:
    """Name the servers that only some projects have, by what wellspring.toml asks for."""
    asked = {"sftp"} if packages.embedded(project) else set[str]()
    return asked | {*(("valkey",) if project.features else ()), *(("mlflow", "api") if project.models else ())}


def _row(name: str, server: Server, uid: int | None) -> Row:
    where = server.socket or (f"127.0.0.1:{server.port}" if server.port else "")
    alive = lives(server)
    if alive:
        uid = owner(server.pid)
    return Row(name, "up" if alive else "dead", server.pid if alive else None, where, server.version, uid)


def _all(running: Running) -> list[Server]:
    return [running.supervisor, *running.servers.values()]


def _running(project: Project) -> Running | None:
    try:
        return project.running()
    except ProjectError:
        # A run.json of another version or a torn disk: what it named cannot be asked, and is swept.
        return None


@contextmanager
def _starting(project: Project) -> Generator[int]:
    """Hold the right to start and stop this project's servers: a lock on `.wellspring/` itself, which leaves no file.

    Its descriptor goes to the supervisor, which holds on to it until it is green or gone.
    """
    handle = os.open(project.state, os.O_RDONLY | os.O_DIRECTORY)
    try:
        deadline, pause = time.monotonic() + DEADLINE, threading.Event()
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise Unavailable(
                        f"another command has been starting or stopping {project.root} for {DEADLINE:.0f} seconds",
                        fix="wait for it, or end it",
                    ) from None
                pause.wait(0.05)
        yield handle
    finally:
        os.close(handle)


def _launch(project: Project, lock: int, progress: Callable[[str], None]) -> Running:
    logs = project.state / "logs"
    logs.mkdir(exist_ok=True)
    told, telling = os.pipe()
    try:
        with (logs / "supervisor.log").open("ab") as log:
            argv = [sys.executable, "-P", "-m", "wellspring.servers.supervisor", "--project", str(project.root)]
            subprocess.run(
                [*argv, "--report", str(telling), "--lock", str(lock)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                pass_fds=(telling, lock),
                env=environment(project, "supervisor"),
                cwd="/",
                check=True,
            )
        os.close(telling)
        telling = -1
        return _follow(project, told, progress)
    finally:
        os.close(told)
        if telling >= 0:
            os.close(telling)


def _follow(project: Project, told: int, progress: Callable[[str], None]) -> Running:
    """Read what the supervisor reports, until it is up or says why not."""
    deadline, pid = time.monotonic() + DEADLINE, 0
    held = b""
    try:
        while True:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([told], [], [], left)[0]:
                raise Unavailable(f"the servers were not up in {DEADLINE:.0f} s", fix=f"read {project.state / 'logs'}")
            more = os.read(told, 65536)
            if not more:
                raise Unavailable(
                    "the supervisor ended without a word", fix=f"read {project.state / 'logs' / 'supervisor.log'}"
                )
            *lines, held = (held + more).split(b"\n")
            for line in map(json.loads, lines):
                pid = line.get("pid", pid)
                if "progress" in line:
                    progress(str(line["progress"]))
                elif "error" in line:
                    _drain(told, pid)
                    raise BY_SLUG.get(line["error"], WellspringError)(line["what"], fix=line["fix"])
                elif "up" in line and (running := project.running()) is not None:
                    return running
    except (KeyboardInterrupt, Unavailable):
        if pid:
            _terminate(pid)
        raise


def _drain(told: int, pid: int) -> None:
    """Wait until a supervisor that failed has stopped what it had started, and is gone."""
    itself = Server(pid=pid, start=started(pid) or 0, version="")
    while select.select([told], [], [], _STOP_SECONDS)[0] and os.read(told, 65536):
        continue
    wait_gone(itself, _STOP_SECONDS)


def _terminate(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGTERM)
    except ProcessLookupError:
        return


def _end(project: Project, running: Running | None) -> None:
    """Stop what runs, by its door, then by force; and sweep what a killed supervisor has left."""
    if running is not None and lives(running.supervisor):
        try:
            ask(project, {"op": "stop"}, seconds=2)
        except WellspringError:
            _terminate(running.supervisor.pid)
        if not wait_gone(running.supervisor, _STOP_SECONDS):
            os.kill(running.supervisor.pid, signal.SIGKILL)
            wait_gone(running.supervisor, 5)
    if running is not None:
        # The kernel kills the children of a killed supervisor: this waits until it has.
        for server in running.servers.values():
            if not wait_gone(server, 10):
                os.kill(server.pid, signal.SIGKILL)
                wait_gone(server, 5)
    (project.state / "run.json").unlink(missing_ok=True)
    folders.sweep_runtime(project)


def main() -> int:
    """Be the supervisor process: detach, report over a pipe, hold the starting lock until green or gone."""
    from wellspring.servers.watch import run

    parser = argparse.ArgumentParser(prog="python -m wellspring.servers.supervisor")
    parser.add_argument("--project", type=Path, required=True)
    parser.add_argument("--report", type=int, required=True)
    parser.add_argument("--lock", type=int, required=True)
    given = parser.parse_args()
    if os.fork():
        # The caller waits for this first process only, so the supervisor never becomes a zombie of the caller's.
        os._exit(0)
    for handle in (given.report, given.lock):
        os.set_inheritable(handle, False)
    report = open(given.report, "w", encoding="utf-8", buffering=1)

    def tell(message: dict[str, Any]) -> None:
        # Whoever started us may have gone: the servers are not theirs alone, and others must be able to stop them.
        with suppress(BrokenPipeError, ValueError):
            report.write(json.dumps(message) + "\n")
        if "up" in message:
            # A supervisor that failed keeps both until it has stopped everything and is gone.
            with suppress(BrokenPipeError):
                report.close()
            os.close(given.lock)

    tell({"pid": os.getpid()})
    return run(load(given.project), tell)


if __name__ == "__main__":
    sys.exit(main())
