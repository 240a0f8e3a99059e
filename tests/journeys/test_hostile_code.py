"""Hostile code in the places of a running project: it reaches no server, process or file, and the run goes on."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from examples.health_plan import drops
from tests.builders import hostile_code
from tests.builders.journeys import EXAMPLE, ProjectFixture, running_project
from tests.builders.landlock import has_landlock
from wellspring.runtime.run_state import read_run_state
from wellspring.runtime.seccomp import describe_seccomp

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(
        bool(describe_seccomp()) or not has_landlock(), reason="this machine has no seccomp or Landlock"
    ),
]


DBT_FILES = {
    "sources.yml": "sources: [{name: landed, schema: landed, tables: [{name: medical_claim}]}]",
    "claims.sql": "select distinct claim_id from {{ source('landed', 'medical_claim') }}",
    "claims.yml": """
models:
  - name: claims
    config: {contract: {enforced: true}, meta: {keys: [claim_id]}}
    columns: [{name: claim_id, data_type: varchar}]
""",
}


@pytest.fixture(scope="module")
def project() -> Iterator[ProjectFixture]:
    with running_project(copied=EXAMPLE) as project:
        yield project


@pytest.fixture(scope="module")
def targets(project: ProjectFixture) -> Iterator[dict[str, Any]]:
    """List what the code tries to reach: the servers, files and processes of the project, and a file of another one."""
    drops.good(project.outbox, lines=60, members=60)
    project.ingest()
    state, running = project.project.state_dir, read_run_state(project.project)
    assert running is not None
    with tempfile.TemporaryDirectory(prefix="ws-other-") as neighbor, socket.create_server(("127.0.0.1", 0)) as server:
        Path(neighbor).chmod(0o755)
        (Path(neighbor) / "wellspring.toml").touch()
        with socket.create_server(("127.0.0.1", 0)) as free:
            free_port = free.getsockname()[1]
        yield {
            "sockets": [str(path) for path in project.project.runtime_dir.rglob("*") if path.is_socket()],
            "ports": [server.getsockname()[1]],
            "free_ports": [free_port],
            "keys": [str(state / "seal.key"), str(state / "supervisor.key"), str(project.root / "wellspring.toml")],
            "processes": [running.supervisor.pid, *(state.pid for state in running.servers.values())],
            "new_files": [
                str(project.root / "created"),
                str(state / "lake" / "created"),
                str(state / "tmp/code/created"),
            ],
            "indexes": [str(project.project.ledger_dir / "index.sqlite")],
            "pointers": [str(project.project.models_dir / "live"), str(project.project.models_dir / "created")],
            "other_files": [str(Path(neighbor) / "wellspring.toml")],
            "lake_files": [str(path) for path in (state / "lake").rglob("*.parquet")][:3],
        }


def list_pids(project: ProjectFixture) -> dict[str, int]:
    running = read_run_state(project.project)
    assert running is not None
    return {name: server.pid for name, server in running.servers.items()}


def test_a_model_file_and_feature_definitions_reach_nothing_and_the_job_goes_on(
    project: ProjectFixture, targets: dict[str, Any]
):
    assert all(targets.values())
    pids, code = list_pids(project), hostile_code.attempt_text(targets)
    features = (EXAMPLE / "features.py").read_text(encoding="utf-8")
    hostile_code.write_features(project.root / "features.py", code, features)
    hostile_code.write_model(project.root / "models", code)
    output = project.run("train", "denials")
    # Both files were read: what is missing is the edition that the training would use.
    assert "built" in output.err
    assert "RuntimeError" not in output.err
    assert list_pids(project) == pids


def test_an_estimator_of_a_model_file_reaches_nothing_and_is_refused(project: ProjectFixture, targets: dict[str, Any]):
    hostile_code.write_estimator(project.root / "models", hostile_code.attempt_text(targets))
    output = project.run("train", "denials")
    assert "Hostile is not the class that is registered" in output.err


def test_a_macro_of_dbt_reaches_nothing_and_the_build_ends_with_its_name(
    project: ProjectFixture, targets: dict[str, Any]
):
    shutil.rmtree(project.root / "dbt")
    hostile_code.write_dbt_project(project.root / "dbt", hostile_code.attempt_text(targets), DBT_FILES)
    output = project.run("transform")
    assert "model attack (models/attack.sql) failed" in output.err
    assert project.run("ledger", "verify").code == 0
    assert list((project.project.state_dir / "tmp/code").iterdir()) == []


def test_after_the_end_of_its_server_the_next_job_runs_its_code(project: ProjectFixture):
    hostile_code.write_model(project.root / "models", "raise RuntimeError('it ran')")
    os.kill(list_pids(project)["code"], signal.SIGKILL)
    # The supervisor keeps the listening socket, so the job waits for the next server.
    assert "RuntimeError: it ran" in project.run("train", "denials").err


def test_each_process_of_the_code_has_a_user_of_its_own(project: ProjectFixture):
    if os.geteuid() != 0:
        pytest.skip("only root may give services users of their own")
    servers = {item["name"]: item["uid"] for item in project.run("status", "--json").document["servers"]}
    assert [name for name, uid in servers.items() if uid == servers["code"]] == ["code"]
