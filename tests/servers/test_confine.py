"""A confined process opens what its role needs and nothing else, whatever it is capable of."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers import houses
from tests.servers.test_privileges import SECRETS
from wellspring.data import fence
from wellspring.project import Project
from wellspring.servers import confine, folders
from wellspring.servers.privileges import environment, survey

PROBE = """
import json, sys
from wellspring.servers.confine import confine
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
landlock = pytest.mark.skipif(fence.syscall(444, None, 0, 1) < 1, reason="this kernel has no Landlock")


@pytest.fixture(params=["open", "closed"])
def here(request: pytest.FixtureRequest) -> Iterator[Project]:
    """A furnished project with secrets, in a folder that others may enter, or that is closed to them."""
    with houses.project() as project:
        project.state.mkdir()
        granted = survey(project)
        folders.make(project, granted)
        folders.make_runtime(project, granted)
        project.vendor.mkdir()
        for name, service in SECRETS.items():
            path = project.root / name
            path.parent.mkdir(exist_ok=True)
            folders.write_secret(path, b"secret", granted, service)
        (project.journals / "enclave/000000000000.log").write_bytes(b"digests")
        if request.param == "closed":
            project.root.chmod(0o700)
        yield project


def probe(here: Project, role: str, paths: list[tuple[Path, str]], *, service: str = "worker") -> dict[str, str]:
    asked = json.dumps({"role": role, "paths": [(str(path), mode) for path, mode in paths]})
    told = houses.run_as(here, service, PROBE, given=asked)
    assert told.returncode == 0, told.stderr
    return json.loads(told.stdout)


def as_owner(here: Project, role: str, paths: list[tuple[Path, str]]) -> set[str]:
    """Try paths as the supervisor's own user: what is refused here, Landlock refuses, and no mode of a file."""
    asked = json.dumps({"role": role, "paths": [(str(path), mode) for path, mode in paths]})
    code = (
        f"from pathlib import Path\nfrom wellspring.project import load\nhere = load(Path({str(here.root)!r}))\n{PROBE}"
    )
    ran = subprocess.run(
        [sys.executable, "-P", "-c", code], input=asked, env=environment(here, role), cwd="/",
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
    if not survey(here).closed:
        pytest.skip("nothing is closed here, so no capability is given")
    told = probe(here, "", [(here.state / "seal.key", "rb")])
    assert told[str(here.state / "seal.key")] == "b'secret'"


@landlock
def test_the_worker_reads_the_project_and_the_journals(here: Project):
    paths = [here.root / "wellspring.toml", here.journals / "enclave/000000000000.log"]
    paths += sorted(here.contracts.glob("*.yaml"))
    told = probe(here, "worker", [(path, "rb") for path in paths])
    assert not [path for path, found in told.items() if "Error" in found]


@landlock
def test_the_worker_writes_its_own_folders_and_no_other(here: Project):
    mine = [here.state / name / "new" for name in ("lineage", "metrics", "ledger", "lake", "packs", "models")]
    mine += [here.journals / "worker/new", here.state / "writer.lock"]
    told = probe(here, "worker", [(path, "wb") for path in mine])
    assert told.pop("told") == ""
    assert set(told.values()) == {"1"}
    others = [here.root / "wellspring.toml", here.root / "new", here.journals / "supervisor/new", here.state / "new"]
    others += [here.state / "enclave/new", here.state / "openbao/new", here.vendor / "new", Path("/tmp/ws-confined")]
    others += [here.state / "valkey/new", here.state / "mlflow/new"]
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
    paths = [here.state / name for name in names]
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
    mine = [here.journals / "api/new", here.state / "lineage/new", here.state / "metrics/new", here.runtime / "new"]
    told = probe(here, "api", [(path, "wb") for path in mine], service="api")
    assert told.pop("told") == ""
    assert set(told.values()) == {"1"}
    hidden = filled(here, "lake/catalog.db", "lake/warehouse/rows.parquet", "journals/worker/0.log", "valkey/rows.aof")
    hidden += filled(here, "mlflow/mlflow.db", "logs/api.log", "packs/p.zip", "enclave/drop.sealed")
    assert as_owner(here, "api", [(path, "rb") for path in hidden]) == {"PermissionError"}
    others = [*shown, *hidden, here.root / "wellspring.toml", here.state / "new", here.journals / "new"]
    assert as_owner(here, "api", [(path, "wb") for path in others]) == {"PermissionError"}


@landlock
def test_mlflow_opens_only_its_own_folder(here: Project):
    told = probe(here, "mlflow", [(here.state / "mlflow/new", "wb")], service="mlflow")
    assert told == {"told": "", str(here.state / "mlflow/new"): "1"}
    hidden = filled(here, "models/live/denials", "lake/editions/e.json", "ledger/checkpoint", "run.json", "logs/x.log")
    hidden += filled(here, "journals/worker/0.log", "metrics/worker.prom", "valkey/rows.aof", "tmp/worker/x")
    tries = [(path, mode) for path in hidden for mode in ("rb", "wb")]
    assert as_owner(here, "mlflow", [*tries, (here.state / "new", "wb"), (here.runtime / "new", "wb")]) == {
        "PermissionError"
    }


def test_no_rule_opens_a_folder_above_the_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with houses.project() as project:
        monkeypatch.setattr(sys, "path", [*sys.path, "/", "/tmp", str(project.root.parent)])
        reads, writes = confine.allowed(project, "worker")
        assert not [path for path in (*reads, *writes) if project.root.is_relative_to(path)]


def test_a_kernel_without_landlock_is_told_and_nothing_breaks(monkeypatch: pytest.MonkeyPatch):
    with houses.project() as project:
        monkeypatch.setattr(confine, "syscall", lambda *_: -1)
        assert "no Landlock" in confine.confine(project, role="worker")
        assert "no Landlock" in confine.told(project)
