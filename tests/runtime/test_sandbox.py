"""A confined process opens what its role needs and nothing else, whatever it is capable of."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.builders import projects
from tests.runtime.test_privileges import SECRETS
from wellspring.embedded import layout
from wellspring.project import Project
from wellspring.runtime import landlock as landlock_module
from wellspring.runtime import sandbox
from wellspring.runtime.privileges import detect_privileges, service_environment

PROBE = """
import json, sys
from wellspring.runtime.sandbox import confine
asked = json.loads(sys.stdin.read())
told = confine(here, role=asked["role"]) if asked["role"] else ""
def tried(path, mode):
    try:
        with open(path, mode) as file:
            return file.read() if mode == "rb" else file.write(b"x")
    except OSError as wrong:
        return type(wrong).__name__
import decimal, sqlite3, tempfile
tempfile.TemporaryFile().close()
result = {path: str(tried(path, mode)) for path, mode in asked["paths"]}
print(json.dumps({"told": told, **result}))
"""
landlock = pytest.mark.skipif(landlock_module.syscall(444, None, 0, 1) < 1, reason="this kernel has no Landlock")


@pytest.fixture(params=["open", "closed"])
def here(request: pytest.FixtureRequest) -> Iterator[Project]:
    """A furnished project with secrets, in a folder that others may enter, or that is closed to them."""
    with projects.project() as project:
        project.state_dir.mkdir()
        granted = detect_privileges(project)
        layout.create_folders(project, granted)
        layout.create_runtime_dir(project, granted)
        project.vendor_dir.mkdir()
        for name, service in SECRETS.items():
            path = project.root / name
            path.parent.mkdir(exist_ok=True)
            layout.write_secret_file(path, b"secret", granted, service)
        (project.journals_dir / "enclave/000000000000.log").write_bytes(b"digests")
        if request.param == "closed":
            project.root.chmod(0o700)
        yield project


def probe(here: Project, role: str, paths: list[tuple[Path, str]], *, service: str = "worker") -> dict[str, str]:
    asked = json.dumps({"role": role, "paths": [(str(path), mode) for path, mode in paths]})
    told = projects.run_as(here, service, PROBE, given=asked)
    assert told.returncode == 0, told.stderr
    return json.loads(told.stdout)


def as_owner(here: Project, role: str, paths: list[tuple[Path, str]]) -> set[str]:
    """Try paths as the supervisor's own user: what is refused here, Landlock refuses, and no mode of a file."""
    asked = json.dumps({"role": role, "paths": [(str(path), mode) for path, mode in paths]})
    code = (
        f"from pathlib import Path\nfrom wellspring.project import load\nhere = load(Path({str(here.root)!r}))\n{PROBE}"
    )
    ran = subprocess.run(
        [sys.executable, "-P", "-c", code], input=asked, env=service_environment(here, role), cwd="/",
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    told = json.loads(ran.stdout)
    assert told.pop("told") == ""
    return set(told.values())


@landlock
def test_the_worker_opens_no_secret(here: Project):
    paths = [here.root / name for name, service in SECRETS.items() if service != "worker"]
    told = probe(here, "worker", [(path, "rb") for path in paths])
    assert told.pop("told") == ""
    assert set(told.values()) == {"PermissionError"}


@pytest.mark.skipif(os.geteuid() != 0, reason="a capability is given by root only")
def test_without_confinement_the_capability_would_open_them(here: Project):
    if not detect_privileges(here).closed_folders:
        pytest.skip("nothing is closed here, so no capability is given")
    told = probe(here, "", [(here.state_dir / "seal.key", "rb")])
    assert told[str(here.state_dir / "seal.key")] == "b'secret'"


@landlock
def test_the_worker_reads_the_project_and_the_journals(here: Project):
    paths = [here.root / "wellspring.toml", here.journals_dir / "enclave/000000000000.log"]
    paths += sorted(here.contracts_dir.glob("*.yaml"))
    told = probe(here, "worker", [(path, "rb") for path in paths])
    assert not [path for path, found in told.items() if "Error" in found]


@landlock
def test_the_worker_writes_its_own_folders_and_no_other(here: Project):
    mine = [here.state_dir / name / "new" for name in ("lineage", "metrics", "ledger", "lake", "packs", "models")]
    mine += [here.journals_dir / "worker/new", here.state_dir / "writer.lock"]
    told = probe(here, "worker", [(path, "wb") for path in mine])
    assert told.pop("told") == ""
    assert set(told.values()) == {"1"}
    others = [
        here.root / "wellspring.toml",
        here.root / "new",
        here.journals_dir / "supervisor/new",
        here.state_dir / "new",
    ]
    others += [
        here.state_dir / "enclave/new",
        here.state_dir / "openbao/new",
        here.vendor_dir / "new",
        Path("/tmp/ws-confined"),
    ]
    others += [here.state_dir / "valkey/new", here.state_dir / "mlflow/new"]
    assert as_owner(here, "worker", [(path, "wb") for path in others]) == {"PermissionError"}


@landlock
@pytest.mark.parametrize("role", ["enclave", "api", "mlflow", "witness", "vendor"])
def test_no_other_role_opens_a_secret_of_its_neighbours(here: Project, role: str):
    foreign = [here.root / name for name, service in SECRETS.items() if service != role]
    told = probe(here, role, [(path, "rb") for path in foreign], service=role)
    assert told.pop("told") == ""
    assert set(told.values()) == {"PermissionError"}


def filled(here: Project, *names: str) -> list[Path]:
    """Write a file of each name below `.wellspring/`, as what a service before left there."""
    paths = [here.state_dir / name for name in names]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"kept")
        path.chmod(0o644)
    return paths


@landlock
def test_the_api_reads_what_is_published_and_writes_only_its_own_journal(here: Project):
    shown = filled(
        here, "models/live/denials", "lake/editions/e.json", "lake/views/v.json", "ledger/checkpoint", "run.json"
    )
    told = probe(here, "api", [(path, "rb") for path in (*shown, here.root / "wellspring.toml")], service="api")
    assert not [path for path, found in told.items() if "Error" in found]
    mine = [
        here.journals_dir / "api/new",
        here.state_dir / "lineage/new",
        here.state_dir / "metrics/new",
        here.runtime_dir / "new",
    ]
    told = probe(here, "api", [(path, "wb") for path in mine], service="api")
    assert told.pop("told") == ""
    assert set(told.values()) == {"1"}
    hidden = filled(here, "lake/catalog.db", "lake/warehouse/rows.parquet", "journals/worker/0.log", "valkey/rows.aof")
    hidden += filled(here, "mlflow/mlflow.db", "logs/api.log", "packs/p.zip", "enclave/drop.sealed")
    assert as_owner(here, "api", [(path, "rb") for path in hidden]) == {"PermissionError"}
    others = [*shown, *hidden, here.root / "wellspring.toml", here.state_dir / "new", here.journals_dir / "new"]
    assert as_owner(here, "api", [(path, "wb") for path in others]) == {"PermissionError"}


@landlock
def test_mlflow_opens_only_its_own_folder(here: Project):
    told = probe(here, "mlflow", [(here.state_dir / "mlflow/new", "wb")], service="mlflow")
    assert told == {"told": "", str(here.state_dir / "mlflow/new"): "1"}
    hidden = filled(here, "models/live/denials", "lake/editions/e.json", "ledger/checkpoint", "run.json", "logs/x.log")
    hidden += filled(here, "journals/worker/0.log", "metrics/worker.prom", "valkey/rows.aof", "tmp/worker/x")
    tries = [(path, mode) for path in hidden for mode in ("rb", "wb")]
    assert as_owner(here, "mlflow", [*tries, (here.state_dir / "new", "wb"), (here.runtime_dir / "new", "wb")]) == {
        "PermissionError"
    }


def test_no_rule_opens_a_folder_above_the_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with projects.project() as project:
        monkeypatch.setattr(sys, "path", [*sys.path, "/", "/tmp", str(project.root.parent)])
        reads, writes = sandbox.file_rules_for(project, "worker")
        assert not [path for path in (*reads, *writes) if project.root.is_relative_to(path)]


def test_a_kernel_without_landlock_is_told_and_nothing_breaks(monkeypatch: pytest.MonkeyPatch):
    with projects.project() as project:
        monkeypatch.setattr(sandbox, "syscall", lambda *_: -1)
        assert "no Landlock" in sandbox.confine_process(project, role="worker")
        assert "no Landlock" in sandbox.describe_separation(project)
