"""A copy of the example project in a folder of its own, its servers, and code run as one of its services."""

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
from wellspring.supervisor import client

EXAMPLE = repository.ROOT / "examples/health_plan"


def plain() -> str:
    """Return the example's wellspring.toml up to the sections that ask for more servers: MLflow alone takes seconds."""
    return (EXAMPLE / "wellspring.toml").read_text().partition("\n[dbt]")[0]


@contextmanager
def project(*, sections: str = "") -> Generator[Project]:
    """Copy the example to a folder that others may enter; what it started is stopped, and all of it removed.

    sections: what to add to `plain`.
    """
    root = Path(tempfile.mkdtemp(prefix="ws-test-"))
    root.chmod(0o755)
    (root / "wellspring.toml").write_text(f"{plain()}\n{sections}\n")
    shutil.copytree(EXAMPLE / "contracts", root / "contracts")
    project_value = load_project(root)
    try:
        yield project_value
    finally:
        client.stop_servers(project_value)
        shutil.rmtree(root)


@contextmanager
def project_value(*, sections: str = "") -> Generator[Project]:
    """Such a project with its servers up."""
    with project(sections=sections) as project_value:
        client.start_servers(project_value)
        yield project_value


def run_as(
    project_value: Project, service: str, code: str, *arguments: str, arguments_value: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run a few lines of Python as a service of the project; `here` is the project in them."""
    start = "import sys; from pathlib import Path; from wellspring.project import load"
    start = f"{start}\nhere = load(Path({str(project_value.root)!r}))"
    return subprocess.run(
        detect_privileges(project_value).command_for(service, [sys.executable, "-P", "-c", f"{start}\n{code}", *arguments]),
        input=arguments_value, env=service_environment(project_value, service), cwd="/", capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
