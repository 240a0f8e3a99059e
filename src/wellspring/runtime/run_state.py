"""run.json: which servers `wellspring up` started for a project."""

from __future__ import annotations

from typing import Literal

from pydantic import ValidationError

from wellspring.errors import ProjectError, Unavailable
from wellspring.project import Project
from wellspring.records.record import Frozen, Instant


class ServerState(Frozen):
    """One running server. start_ticks: start time of the pid, in clock ticks since boot; it detects a reused pid."""

    pid: int
    start_ticks: int
    version: str
    socket: str | None = None
    port: int | None = None


class RunState(Frozen):
    """run.json: what `wellspring up` started. separation: by user, or only by process and keys (separation_reason)."""

    supervisor: ServerState
    servers: dict[str, ServerState]
    started_at: Instant
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


def find_server_port(project: Project, server: str) -> int:
    """Return the loopback port of a server. Raises Unavailable when it is not running."""
    run_state = read_run_state(project)
    if run_state is None or server not in run_state.servers or run_state.servers[server].port is None:
        raise Unavailable(f"{server} is not running for {project.root}", fix="run `wellspring up`")
    return int(run_state.servers[server].port or 0)
