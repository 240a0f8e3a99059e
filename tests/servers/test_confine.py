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
landlock = pytest.mark.skipif(confine._syscall(444, None, 0, 1) < 1, reason="this kernel has no Landlock")


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


@landlock
def test_the_worker_opens_no_secret(here: Project):
    paths = [here.root / name for name in SECRETS]
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
    mine = [here.state / name / "new" for name in ("lineage", "metrics", "ledger", "lake", "packs")]
    mine += [here.journals / "worker/new", here.state / "writer.lock"]
    told = probe(here, "worker", [(path, "wb") for path in mine])
    assert told.pop("told") == ""
    assert set(told.values()) == {"1"}
    # As the supervisor's own user: what is refused here, Landlock refuses, and no mode of a file.
    others = [here.root / "wellspring.toml", here.root / "new", here.journals / "supervisor/new", here.state / "new"]
    others += [here.state / "enclave/new", here.state / "openbao/new", here.vendor / "new", Path("/tmp/ws-confined")]
    asked = json.dumps({"role": "worker", "paths": [(str(path), "wb") for path in others]})
    code = (
        f"from pathlib import Path\nfrom wellspring.project import load\nhere = load(Path({str(here.root)!r}))\n{PROBE}"
    )
    ran = subprocess.run(
        [sys.executable, "-P", "-c", code], input=asked, env=environment(here, "worker"), cwd="/",
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    refused = json.loads(ran.stdout)
    assert refused.pop("told") == ""
    assert set(refused.values()) == {"PermissionError"}


@landlock
@pytest.mark.parametrize(("role", "own"), [("enclave", "enclave"), ("witness", "witness"), ("vendor", "vendor")])
def test_no_other_role_opens_a_secret_of_its_neighbours(here: Project, role: str, own: str):
    foreign = [here.root / name for name, service in SECRETS.items() if service != own]
    told = probe(here, role, [(path, "rb") for path in foreign], service=own)
    assert told.pop("told") == ""
    assert set(told.values()) == {"PermissionError"}


def test_no_rule_opens_a_folder_above_the_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with houses.project() as project:
        monkeypatch.setattr(sys, "path", [*sys.path, "/", "/tmp", str(project.root.parent)])
        reads, writes = confine.allowed(project, "worker")
        assert not [path for path in (*reads, *writes) if project.root.is_relative_to(path)]


def test_a_kernel_without_landlock_is_told_and_nothing_breaks(monkeypatch: pytest.MonkeyPatch):
    with houses.project() as project:
        monkeypatch.setattr(confine, "_syscall", lambda *_: -1)
        assert "no Landlock" in confine.confine(project, role="worker")
        assert "no Landlock" in confine.told(project)
