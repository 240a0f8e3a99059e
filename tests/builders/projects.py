"""Builders of test projects: a copy of the example in its own folder, with or without servers, and code run in it."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from tests.architecture import repository
from wellspring.project import Project, load_project
from wellspring.runtime.privileges import detect_privileges, service_environment
from wellspring.runtime.server_sockets import find_server_socket
from wellspring.supervisor import client
from wellspring.trust.identity.openbao import OpenBaoSession, login_service

EXAMPLE = repository.ROOT / "examples/health_plan"


def minimal_config() -> str:
    """Return the example's wellspring.toml without the sections of optional servers: MLflow alone takes seconds."""
    return (EXAMPLE / "wellspring.toml").read_text().partition("\n[dbt]")[0]


@contextmanager
def create_project(*, sections: str = "") -> Generator[Project]:
    """Copy the example to a folder that other users may enter; at the end, stop its servers and remove it.

    sections: text to append to `minimal_config`.
    """
    root = Path(tempfile.mkdtemp(prefix="ws-test-"))
    root.chmod(0o755)
    (root / "wellspring.toml").write_text(f"{minimal_config()}\n{sections}\n")
    shutil.copytree(EXAMPLE / "contracts", root / "contracts")
    project = load_project(root)
    try:
        yield project
    finally:
        client.stop_servers(project)
        shutil.rmtree(root)


@contextmanager
def running_project(*, sections: str = "") -> Generator[Project]:
    """Create such a project and start its servers."""
    with create_project(sections=sections) as project:
        client.start_servers(project)
        yield project


def login_with_credential(project: Project, credential: dict[str, str]) -> OpenBaoSession:
    """Log in to the project's OpenBao with a credential that the supervisor has issued."""
    socket, role_id = find_server_socket(project, "openbao"), credential["role_id"]
    return login_service(socket, role_id=role_id, wrapped_secret_id=credential["wrapped"])


def run_as(
    project: Project, service: str, code: str, *arguments: str, stdin: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run a few lines of Python as a service of the project; the variable `project` holds the loaded project."""
    start = "import sys; from pathlib import Path; from wellspring.project import load_project"
    start = f"{start}\nproject = load_project(Path({str(project.root)!r}))"
    return subprocess.run(
        detect_privileges(project).command_for(service, [sys.executable, "-P", "-c", f"{start}\n{code}", *arguments]),
        input=stdin, env=service_environment(project, service), cwd="/", capture_output=True, text=True, timeout=60,
        check=False,
    )  # fmt: skip
