"""run.json: which servers `wellspring up` started for a project."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

from pydantic import ValidationError

from wellspring.errors import ProjectError, Unavailable
from wellspring.project import PROJECT_FILE, Project, hash_sections
from wellspring.records.record import Digest, Frozen, Instant
from wellspring.records.trust import ProjectMode

SETTINGS_BY_SERVER: Mapping[str, tuple[str, ...]] = {
    "supervisor": ("project", "servers", "witness", "features", "models"),
    "enclave": ("project", "sources", "dlp", "callers", "models"),
    "sequencer": ("project", "ledger"),
    "code": ("project",),
    "worker": ("project", "worker", "locks"),
    "api": ("project", "callers", "features", "lake", "models", "query"),
}
"""Sections of wellspring.toml that a server reads at its start. A job reads the file when it starts."""


class ServerState(Frozen):
    """One running server. start_ticks: start time of the pid, in clock ticks since boot; it detects a reused pid.

    settings: digests of the sections of wellspring.toml that it read at its start.
    """

    pid: int
    start_ticks: int
    version: str
    socket: str | None = None
    port: int | None = None
    settings: dict[str, Digest] = {}


class RunState(Frozen):
    """run.json: what `wellspring up` started. separation: by user, or only by process and keys (separation_reason).

    mode: the one that it put into force.
    """

    supervisor: ServerState
    servers: dict[str, ServerState]
    started_at: Instant
    mode: ProjectMode = "governed"
    separation: Literal["user", "process"]
    separation_reason: str = ""
    uids: dict[str, int] = {}


def read_run_state(project: Project) -> RunState | None:
    """Read run.json; None if nothing was started. The pids may be dead: `supervisor` checks that."""
    path = project.state_dir / "run.json"
    try:
        return RunState.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValidationError as exc:
        raise ProjectError(
            f"{path} is invalid: {exc.error_count()} fields are invalid",
            fix="run `wellspring down`, then `wellspring up`",
        ) from None


def describe_separation(separation: Literal["user", "process"], reason: str) -> str:
    """Describe what keeps the services apart, and what does not, for a person. reason: as in run.json."""
    if separation == "user":
        return "separated by user: each service runs under its own user id" + (f"; {reason}" if reason else "")
    return (
        f"separated by process and keys, not by user: {reason}\n"
        "  holds: OpenBao gives each service its own keys only; other users of the machine open no file and no socket; "
        "code of the project is confined; the log and its witness are signed\n"
        "  does not hold: any program of this user can read and change the files of every service, seal.key among them"
    )


DEVELOPMENT_NOTICE = "DEVELOPMENT: one person may release a model; nothing here counts once the project is governed"
"""What commands print about a project in development."""


class UnreadChange(NamedTuple):
    """Sections of wellspring.toml that changed after a server had read them. command: makes it read them."""

    server: str
    sections: tuple[str, ...]
    command: str

    def describe(self) -> str:
        """Return one sentence without the command."""
        names = ", ".join(f"[{section}]" for section in self.sections)
        return f"{self.server} has not read the change of {names} in {PROJECT_FILE}"


def select_settings(server: str, digests: Mapping[str, Digest]) -> dict[str, Digest]:
    """Return the digests of those sections that a server reads at its start."""
    return {name: digest for name, digest in digests.items() if name in SETTINGS_BY_SERVER.get(server, ())}


def find_unread_changes(project: Project, run_state: RunState | None) -> list[UnreadChange]:
    """List the changes of wellspring.toml that running servers have not read; none if nothing runs."""
    current = hash_sections(project.root)
    if run_state is None or not current:
        return []
    changes: list[UnreadChange] = []
    for server, state in {"supervisor": run_state.supervisor, **run_state.servers}.items():
        now = select_settings(server, current)
        sections = sorted(
            name for name in now.keys() | state.settings.keys() if now.get(name) != state.settings.get(name)
        )
        if sections:
            restart = "wellspring down && wellspring up" if server == "supervisor" else f"wellspring restart {server}"
            changes.append(UnreadChange(server, tuple(sections), restart))
    return changes


def find_server_port(project: Project, server: str) -> int:
    """Return the loopback port of a server. Raises Unavailable when it is not running."""
    run_state = read_run_state(project)
    if run_state is None or server not in run_state.servers or run_state.servers[server].port is None:
        raise Unavailable(f"{server} is not running for {project.root}", fix="run `wellspring up`")
    return int(run_state.servers[server].port or 0)
