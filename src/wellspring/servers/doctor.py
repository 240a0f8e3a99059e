"""Look a project over, changing nothing: what would stop it, each with its mend."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator
from typing import NamedTuple

from wellspring.data import contract
from wellspring.errors import WellspringError
from wellspring.models import definition
from wellspring.project import FILE, Project
from wellspring.records.clock import SystemClock
from wellspring.servers import confine, packages
from wellspring.servers.bootstrap import is_done
from wellspring.servers.children import lives
from wellspring.servers.privileges import survey
from wellspring.trust import policy

_ROOM = 2 * 1024**3


class Ill(NamedTuple):
    """One thing that was looked at. fix: how to mend it, empty when it is well."""

    well: bool
    what: str
    fix: str = ""


def examine(project: Project) -> list[Ill]:
    """Look at packages, contracts, policies and people, models, owners, leftovers and room."""
    looks = (_packages, _contracts, _policies, _models, _owners, _leftovers, _machine)
    return [ill for look in looks for ill in look(project)]


def _packages(project: Project) -> Iterator[Ill]:
    try:
        programs = packages.check(project)
    except WellspringError as error:
        yield Ill(False, error.what, error.fix)
    else:
        yield Ill(True, f"the servers' programs are here: {programs.openbao}, {programs.postgres}")


def _contracts(project: Project) -> Iterator[Ill]:
    try:
        found = contract.load_all(project.contracts, tenant=project.tenant, known_since=SystemClock().now())
    except WellspringError as error:
        yield Ill(False, error.what, error.fix)
        return
    if found:
        yield Ill(True, f"contracts in {project.contracts}: {', '.join(sorted(each.name for each in found))}")
    else:
        yield Ill(False, f"no contract in {project.contracts}", "write one, NAME.odcs.yaml, for each file of a vendor")


def _policies(project: Project) -> Iterator[Ill]:
    if project.models is None:
        return
    folder = project.own.get("policies")
    try:
        policy.load(folder)
    except WellspringError as error:
        yield Ill(False, error.what, error.fix)
        return
    yield Ill(True, f"policies in {folder} can be read")
    text = "".join(path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.cedar"))) if folder else ""
    for name, person in project.people.items():
        for role in person.roles:
            if f'"{role}"' not in text:
                fix = f"correct it in {project.root / FILE}, or write a policy that permits something to it"
                yield Ill(False, f"{name} has the role {role!r}, and no policy names it", fix)


def _models(project: Project) -> Iterator[Ill]:
    folder = project.own.get("models")
    if folder is None:
        return
    for name in definition.names(folder):
        # Read, never run: it is somebody's program, and whoever asks the doctor may be root.
        path = folder / f"{name}.py"
        try:
            compile(path.read_bytes(), str(path), "exec")
        except (SyntaxError, ValueError) as wrong:
            line = f":{wrong.lineno}" if isinstance(wrong, SyntaxError) and wrong.lineno else ""
            yield Ill(False, f"{path}{line}: it is not Python", f"edit {path}")
        else:
            yield Ill(True, f"model {name} is Python")


def _owners(project: Project) -> Iterator[Ill]:
    if not project.state.exists():
        yield Ill(True, f"{project.state} is not made yet; the first `wellspring up` makes it")
        return
    owner = project.state.stat().st_uid
    if owner != os.geteuid():
        yield Ill(False, f"{project.state} belongs to uid {owner}, you are {os.geteuid()}", "run as that user")
        return
    for name in ("seal.key", "supervisor.key"):
        path = project.state / name
        if path.exists():
            mode = stat.S_IMODE(path.stat().st_mode)
            yield Ill(mode == 0o600, f"{path} has mode {mode:04o}", "" if mode == 0o600 else f"chmod 0600 {path}")
    if (project.ledger / "checkpoint").exists() and not is_done(project):
        yield Ill(False, "the ledger holds data, and supervisor.key is gone", "restore it from a backup")


def _leftovers(project: Project) -> Iterator[Ill]:
    try:
        running = project.running()
    except WellspringError as error:
        yield Ill(False, error.what, error.fix)
        return
    if running is None and project.runtime.exists():
        yield Ill(False, f"no server runs, but {project.runtime} was left", "run `wellspring down`")
        return
    if running is None:
        yield Ill(True, "no server runs")
        return
    dead = [name for name, server in running.servers.items() if not lives(server)]
    dead += [] if lives(running.supervisor) else ["supervisor"]
    if dead:
        yield Ill(False, f"ended by themselves: {', '.join(dead)}", "run `wellspring up`")
    else:
        yield Ill(True, "all servers run")


def _machine(project: Project) -> Iterator[Ill]:
    free = shutil.disk_usage(project.root).free
    fix = "" if free > _ROOM else "make room: the servers and a lake want 2 GiB"
    yield Ill(free > _ROOM, f"{free // 1024**2:,} MiB of disk are free", fix)
    privileges = survey(project)
    told = confine.told(project)
    yield Ill(True, f"separated by {privileges.separation}" + (f"; {told}" if told else ""))
