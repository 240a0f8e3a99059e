"""Links that a service, an author or a vendor lays where root, or another service, reads or writes."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path
from typing import NamedTuple

from tests.builders.projects import create_project
from tests.redteam.catalogue import attempt
from tests.redteam.target import Identity, Target, describe_outcome, identify_service, run_as
from wellspring.embedded import layout
from wellspring.project import Project
from wellspring.runtime.privileges import detect_privileges
from wellspring.runtime.trusted_folder import open_appending, read_file, write_file

SECRET = b"a file of root: 5f1c9d\n"


class IdleProject(NamedTuple):
    """A project with all its folders, whose servers do not run, and a file of root outside of it."""

    project: Project
    victim: Path

    def identity(self, service: str) -> Identity:
        return identify_service(detect_privileges(self.project).users, service)

    def lay_link(self, service: str, path: Path, aim: Path) -> None:
        """Let a service replace a path of its own by a link."""

        def replace() -> str:
            with contextlib.suppress(FileNotFoundError):
                path.rmdir() if path.is_dir() else path.unlink()
            path.symlink_to(aim)
            return "laid"

        outcome = run_as(self.identity(service), replace)
        assert outcome == "laid", outcome

    def describe_victim(self) -> str:
        info = self.victim.stat()
        intact = self.victim.read_bytes() == SECRET and (info.st_uid, info.st_mode & 0o777) == (0, 0o600)
        return "intact" if intact else "changed"


@contextlib.contextmanager
def _idle_project(target: Target) -> Generator[IdleProject]:
    victim = target.create_folder() / "victim"
    victim.write_bytes(SECRET)
    victim.chmod(0o600)
    with create_project() as project:
        layout.ensure_ownership(project)
        layout.create_folders(project, detect_privileges(project))
        yield IdleProject(project, victim)


@attempt("laid-links", "worker", refused="refused, intact", allowed="created, intact")
def replace_folder_of_editions(target: Target, is_twin: bool) -> str:
    """The worker replaces its folder of editions by a link; the next start changes the owner of a plain folder only."""
    with _idle_project(target) as idle:
        path = idle.project.lake_dir / "editions"
        if not is_twin:
            idle.lay_link("worker", path, idle.victim.parent)

        def start() -> str:
            layout.create_folders(idle.project, detect_privileges(idle.project))
            return "created"

        return f"{describe_outcome(start)}, {idle.describe_victim()}"


@attempt("laid-links", "worker", refused="replaced, intact", allowed="replaced, intact")
def lay_link_for_a_certificate(target: Target, is_twin: bool) -> str:
    """The worker lays a link where the supervisor writes a certificate; it is replaced like a file, not followed."""
    with _idle_project(target) as idle:
        privileges = detect_privileges(idle.project)
        path = idle.project.mlflow_files.client_path
        if is_twin:
            write_file(path, b"old", 0o600, privileges.owner_of("worker"))
        else:
            idle.lay_link("worker", path, idle.victim)
        write_file(path, b"a certificate", 0o600, privileges.owner_of("worker"))
        outcome = "replaced" if not path.is_symlink() and path.read_bytes() == b"a certificate" else "followed"
        return f"{outcome}, {idle.describe_victim()}"


@attempt("laid-links", "api", refused="refused, intact", allowed="appended, intact")
def lay_link_for_a_log(target: Target, is_twin: bool) -> str:
    """The API lays a link in its journal folder, and root appends to that name; to a plain file it appends."""
    with _idle_project(target) as idle:
        path = idle.project.journals_dir / "api" / "0.log"
        if is_twin:
            path.write_bytes(b"")
        else:
            idle.lay_link("api", path, idle.victim)

        def append() -> str:
            with open_appending(path) as file:
                file.write(b"more")
            return "appended"

        return f"{describe_outcome(append)}, {idle.describe_victim()}"


@attempt("laid-links", "api", refused="refused", allowed="read")
def lay_link_for_a_reader(target: Target, is_twin: bool) -> str:
    """The API lays a link to a file of root, where root reads a file of the API; a plain file is read."""
    with _idle_project(target) as idle:
        path = idle.project.state_dir / "metrics/api/api.prom"
        if is_twin:
            path.write_bytes(b"x")
        else:
            idle.lay_link("api", path, idle.victim)
        return describe_outcome(lambda: "read" if read_file(path) else "empty")


@attempt("laid-links", "worker", refused="exit 0, intact", allowed="exit 0, intact")
def clean_through_a_link(target: Target, is_twin: bool) -> str:
    """The worker lays links to a folder of root, and the owner removes the project; plain folders are removed too."""
    with _idle_project(target) as idle:
        for path in (idle.project.lake_dir / "views", idle.project.state_dir / "packs" / "x"):
            if not is_twin:
                idle.lay_link("worker", path, idle.victim.parent)
        argv = [sys.executable, "-m", "wellspring.cli", "clean", "--yes", "--project", str(idle.project.root)]
        result = subprocess.run(argv, capture_output=True, text=True, check=False)
        left = "" if not idle.project.state_dir.exists() else ", something is left"
        return f"exit {result.returncode}{left}, {idle.describe_victim()}"


@attempt("laid-links", "author", refused="nothing of it", allowed="named")
def read_a_file_as_a_contract(target: Target, is_twin: bool) -> str:
    """An author lays a link to a file of root as a contract, and reads the error; of a plain file it has the name."""
    with _idle_project(target) as idle:
        path = idle.project.contracts_dir / "laid.odcs.yaml"
        if is_twin:
            path.write_bytes(SECRET)
        else:
            path.symlink_to(idle.victim)
        argv = [sys.executable, "-m", "wellspring.cli", "doctor", "--project", str(idle.project.root)]
        result = subprocess.run(argv, capture_output=True, text=True, check=False)
        if "5f1c9d" in result.stdout + result.stderr:
            return "its content"
        return "named" if is_twin and "laid.odcs.yaml" in result.stdout else "nothing of it"


@attempt("laid-links", "worker", refused="EACCES", allowed="laid", needs="servers")
def lay_link_in_the_spool(target: Target, is_twin: bool) -> str:
    """The worker lays a link where the enclave keeps rows that it sends; in its own folder it may."""
    folder = target.project.state_dir / "tmp" / ("worker" if is_twin else "enclave")

    def lay() -> str:
        path = folder / "laid"
        os.symlink("/etc/passwd", path)
        path.unlink()
        return "laid"

    return target.run_as("worker", lay)
