"""Health checks of a project: each failed check names the problem and its fix. The checks change nothing."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator
from typing import NamedTuple

from wellspring.bootstrap import open_ledger_index
from wellspring.bootstrap.lake_ports import open_stored_state
from wellspring.bootstrap.policy_ports import open_released_policies
from wellspring.data.contracts import contract
from wellspring.data.sources.registry import load_source_kind
from wellspring.embedded import layout, packages
from wellspring.embedded.job_client import is_worker_ready, send_query
from wellspring.embedded.openbao_setup import is_bootstrap_complete
from wellspring.errors import ProjectError, WellspringError
from wellspring.models.spec import definition
from wellspring.operations.stored_state import list_state_problems
from wellspring.project import PROJECT_FILE, Project
from wellspring.records.clock import SystemClock
from wellspring.runtime import sandbox
from wellspring.runtime.privileges import detect_privileges
from wellspring.runtime.run_state import describe_separation, find_unread_changes, read_run_state
from wellspring.runtime.simulated_clock import check_clock
from wellspring.stores.locks.registry import find_lock_problems
from wellspring.supervisor.managed_process import is_same_process
from wellspring.trust import policy
from wellspring.trust.dlp.registry import load_scanner
from wellspring.trust.ledger.tree import CHECKPOINT_FILE

_MIN_FREE_BYTES = 2 * 1024**3


class HealthCheck(NamedTuple):
    """The result of one check. fix: how to repair it; empty when ok."""

    ok: bool
    what: str
    fix: str = ""


def run_health_checks(project: Project) -> list[HealthCheck]:
    """Check packages, sources, contracts, policies, models, owners, servers, locks, stored state and disk space."""
    checkers = (
        _check_packages,
        _check_sources,
        _check_contracts,
        _check_detectors,
        _check_policies,
        _check_models,
        _check_owners,
        _check_leftovers,
        _check_settings,
        _check_locks,
        _check_clock,
        _check_stored_state,
        _check_online_rows,
        _check_machine,
    )
    return [check for checker in checkers for check in checker(project)]


def _check_packages(project: Project) -> Iterator[HealthCheck]:
    try:
        programs = packages.check_installed(project)
    except WellspringError as error:
        yield HealthCheck(False, error.what, error.fix)
    else:
        yield HealthCheck(True, f"server programs found: {programs.openbao}, {programs.postgres}")


def _check_sources(project: Project) -> Iterator[HealthCheck]:
    for name, settings in project.sources.items():
        problems = list(load_source_kind(settings.kind).find_problems(settings, project.root))
        for problem in problems:
            yield HealthCheck(False, f"source {name}: {problem.what}", problem.fix)
        if not problems:
            yield HealthCheck(True, f"source {name}: {settings.kind}, {settings.place}")


def _check_contracts(project: Project) -> Iterator[HealthCheck]:
    try:
        contracts = contract.load_all(project.contracts_dir, tenant=project.tenant, known_since=SystemClock().now())
    except WellspringError as error:
        yield HealthCheck(False, error.what, error.fix)
        return
    if contracts:
        yield HealthCheck(
            True, f"contracts in {project.contracts_dir}: {', '.join(sorted(contract.name for contract in contracts))}"
        )
    else:
        yield HealthCheck(
            False, f"no contract in {project.contracts_dir}", "write NAME.odcs.yaml for each kind of vendor file"
        )


def _check_detectors(project: Project) -> Iterator[HealthCheck]:
    try:
        kinds = load_scanner(project).kinds
    except WellspringError as error:
        yield HealthCheck(False, error.what, error.fix)
    else:
        yield HealthCheck(True, f"personal data is searched for: {', '.join(kinds) or 'nothing'}")


def _check_policies(project: Project) -> Iterator[HealthCheck]:
    if project.models is None:
        return
    folder = project.source_paths.get("policies")
    try:
        policy.load_policies(folder)
    except WellspringError as error:
        yield HealthCheck(False, error.what, error.fix)
        return
    yield HealthCheck(True, f"policies in {folder} are valid")
    if difference := open_released_policies(project, open_ledger_index(project)).describe_difference():
        yield HealthCheck(True, difference)
    text = "".join(path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.cedar"))) if folder else ""
    for name, user in project.users.items():
        for role in user.roles:
            if f'"{role}"' not in text:
                fix = f"correct it in {project.root / PROJECT_FILE}, or write a policy for that role"
                yield HealthCheck(False, f"user {name} has the role {role!r}, but no policy names it", fix)


def _check_models(project: Project) -> Iterator[HealthCheck]:
    folder = project.source_paths.get("models")
    if folder is None:
        return
    for name in definition.list_models(folder):
        # Compile only, never execute: the caller may be root.
        path = folder / f"{name}.py"
        try:
            compile(path.read_bytes(), str(path), "exec")
        except (SyntaxError, ValueError) as exc:
            line = f":{exc.lineno}" if isinstance(exc, SyntaxError) and exc.lineno else ""
            yield HealthCheck(False, f"{path}{line}: not valid Python", f"edit {path}")
        else:
            yield HealthCheck(True, f"model {name} is valid Python")


def _check_owners(project: Project) -> Iterator[HealthCheck]:
    if not project.state_dir.exists():
        yield HealthCheck(True, f"{project.state_dir} does not exist yet; the first `wellspring up` creates it")
        return
    owner = project.state_dir.stat().st_uid
    if owner != os.geteuid():
        yield HealthCheck(
            False,
            f"{project.state_dir} belongs to uid {owner}, but this process runs as uid {os.geteuid()}",
            "run as that user",
        )
        return
    for name in ("seal.key", "supervisor.key", "login-path"):
        path = project.state_dir / name
        if path.exists():
            mode = stat.S_IMODE(path.stat().st_mode)
            yield HealthCheck(
                mode == 0o600, f"{path} has mode {mode:04o}", "" if mode == 0o600 else f"chmod 0600 {path}"
            )
    if (project.ledger_dir / "checkpoint").exists() and not is_bootstrap_complete(project):
        yield HealthCheck(False, "the ledger holds data, but supervisor.key is missing", "restore it from a backup")


def _check_leftovers(project: Project) -> Iterator[HealthCheck]:
    try:
        running = read_run_state(project)
    except WellspringError as error:
        yield HealthCheck(False, error.what, error.fix)
        return
    if running is None and layout.is_own_folder(project.runtime_dir):
        yield HealthCheck(False, f"no server runs, but {project.runtime_dir} exists", "run `wellspring down`")
        return
    if running is None:
        yield HealthCheck(True, "no server runs")
        return
    dead = [name for name, server in running.servers.items() if not is_same_process(server)]
    dead += [] if is_same_process(running.supervisor) else ["supervisor"]
    if dead:
        yield HealthCheck(False, f"servers that have exited: {', '.join(dead)}", "run `wellspring up`")
    else:
        yield HealthCheck(True, "all servers run")


def _check_settings(project: Project) -> Iterator[HealthCheck]:
    try:
        running = read_run_state(project)
    except WellspringError:
        # `_check_leftovers` reports it.
        return
    for change in find_unread_changes(project, running):
        yield HealthCheck(False, change.describe(), f"run `{change.command}`")


def _check_locks(project: Project) -> Iterator[HealthCheck]:
    place = project.locate("locks")
    try:
        problems = list(find_lock_problems(project))
    except ProjectError as error:
        yield HealthCheck(False, f"{error.what} ({place})", error.fix)
        return
    for problem in problems:
        yield HealthCheck(False, f"locks of kind {project.locks.kind}: {problem}", f"correct [locks] ({place})")
    if not problems:
        yield HealthCheck(True, f"locks of the resources of jobs: {project.locks.kind}")


def _check_clock(project: Project) -> Iterator[HealthCheck]:
    try:
        check_clock(project)
    except ProjectError as error:
        yield HealthCheck(False, error.what, error.fix)
    else:
        is_simulation = project.simulation is not None
        yield HealthCheck(
            True, f"clock: {'simulated, in a project for tests only' if is_simulation else 'this machine'}"
        )


def _check_stored_state(project: Project) -> Iterator[HealthCheck]:
    """Compare pointers, data files and view definitions with the log."""
    if not (project.ledger_dir / CHECKPOINT_FILE).exists():
        return
    try:
        problems = list_state_problems(open_stored_state(project))
    except WellspringError as error:
        yield HealthCheck(False, error.what, error.fix)
        return
    for problem in problems:
        yield HealthCheck(False, problem.what, problem.fix)
    if not problems:
        yield HealthCheck(True, "pointers, data files and view definitions are those that the log names")


def _check_online_rows(project: Project) -> Iterator[HealthCheck]:
    """Let the worker check each row of the online store; only it and the API have the key of the rows."""
    if project.features is None or not is_worker_ready(project):
        return
    try:
        check = send_query(project, "online-rows", "", {})
    except WellspringError as error:
        yield HealthCheck(False, f"online rows: {error.what}", error.fix)
        return
    fix = "find out who wrote to the online store; empty it, and run `wellspring transform` again"
    if check is not None and check["is_marker_refused"]:
        yield HealthCheck(False, "online rows: no materialization wrote the marker of the live edition", fix)
    if check is not None and check["refused"]:
        what = f"online rows: no materialization wrote {check['refused']:,} of {check['rows']:,} rows for their keys"
        yield HealthCheck(False, what, fix)
    elif check is not None:
        yield HealthCheck(True, f"online rows: a materialization wrote all {check['rows']:,} rows")


def _check_machine(project: Project) -> Iterator[HealthCheck]:
    free = shutil.disk_usage(project.root).free
    fix = "" if free > _MIN_FREE_BYTES else "free some disk space: the servers and the lake need 2 GiB"
    yield HealthCheck(free > _MIN_FREE_BYTES, f"{free // 1024**2:,} MiB of disk are free", fix)
    privileges = detect_privileges(project)
    if privileges.closed_folders and sandbox.read_abi_version() < 1:
        yield HealthCheck(
            False,
            "OpenBao, PostgreSQL and Valkey may read no closed folder: this kernel has no Landlock to confine them",
            "move the project, and the environment of its interpreter, to folders that other users may enter",
        )
    yield HealthCheck(True, describe_separation(privileges.separation, sandbox.describe_limits(project)))
