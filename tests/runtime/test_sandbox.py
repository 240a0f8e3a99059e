"""A confined process can open only the files of its role, regardless of its capabilities."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.builders import projects
from tests.builders.landlock import has_landlock
from tests.builders.services import SECRETS
from wellspring.embedded import layout
from wellspring.project import Project
from wellspring.runtime import landlock, sandbox, seccomp
from wellspring.runtime.privileges import detect_privileges, service_environment

PROBE = """
import json, sys
from wellspring.runtime.sandbox import confine_process
request = json.loads(sys.stdin.read())
reason = confine_process(project, role=request["role"]) if request["role"] else ""
def open_path(path, mode):
    try:
        with open(path, mode) as file:
            return file.read() if mode == "rb" else file.write(b"x")
    except OSError as exc:
        return type(exc).__name__
import decimal, sqlite3, tempfile
tempfile.TemporaryFile().close()
result = {path: str(open_path(path, mode)) for path, mode in request["paths"]}
print(json.dumps({"unconfined_reason": reason, **result}))
"""
needs_landlock = pytest.mark.skipif(not has_landlock(), reason="this kernel has no Landlock")


@pytest.fixture(params=["open", "closed"])
def project(request: pytest.FixtureRequest) -> Iterator[Project]:
    """A project with secrets, in a folder that is open or closed to other users."""
    with projects.create_project() as project:
        project.state_dir.mkdir()
        service_privileges = detect_privileges(project)
        layout.create_folders(project, service_privileges)
        layout.create_runtime_dir(project, service_privileges)
        for name, service in SECRETS.items():
            path = project.root / name
            path.parent.mkdir(exist_ok=True)
            layout.write_secret_file(path, b"secret", service_privileges, service)
        (project.journals_dir / "enclave/000000000000.log").write_bytes(b"digests")
        if request.param == "closed":
            project.root.chmod(0o700)
        yield project


def probe(project: Project, role: str, paths: list[tuple[Path, str]], *, service: str = "worker") -> dict[str, str]:
    requests = json.dumps({"role": role, "paths": [(str(path), mode) for path, mode in paths]})
    result = projects.run_as(project, service, PROBE, stdin=requests)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def as_owner(project: Project, role: str, paths: list[tuple[Path, str]]) -> set[str]:
    """Open paths as the user of the supervisor, so that only Landlock and no file mode can refuse them."""
    requests = json.dumps({"role": role, "paths": [(str(path), mode) for path, mode in paths]})
    root = str(project.root)
    code = "from pathlib import Path\nfrom wellspring.project import load_project\n"
    code += f"project = load_project(Path({root!r}))\n{PROBE}"
    ran = subprocess.run(
        [sys.executable, "-P", "-c", code], input=requests, env=service_environment(project, role), cwd="/",
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    result = json.loads(ran.stdout)
    assert result.pop("unconfined_reason") == ""
    return set(result.values())


@needs_landlock
def test_the_worker_opens_no_secret(project: Project):
    paths = [project.root / name for name, service in SECRETS.items() if service != "worker"]
    result = probe(project, "worker", [(path, "rb") for path in paths])
    assert result.pop("unconfined_reason") == ""
    assert set(result.values()) == {"PermissionError"}


@pytest.mark.skipif(os.geteuid() != 0, reason="a capability is given by root only")
def test_without_confinement_the_capability_would_open_them(project: Project):
    if not detect_privileges(project).closed_folders:
        pytest.skip("nothing is closed here, so no capability is given")
    result = probe(project, "", [(project.state_dir / "seal.key", "rb")])
    assert result[str(project.state_dir / "seal.key")] == "b'secret'"


@needs_landlock
@pytest.mark.parametrize("role", ["worker", "enclave", "api", "mlflow", "sequencer", "witness", "vendor", "code"])
def test_no_role_opens_a_password_of_the_machine(project: Project, role: str):
    result = probe(project, role, [(Path(path), "rb") for path in ("/etc/shadow", "/etc/passwd")], service=role)
    assert result["/etc/shadow"] == "PermissionError"
    assert "Error" not in result["/etc/passwd"]


@needs_landlock
def test_the_worker_reads_the_project_and_the_journals(project: Project):
    paths = [project.root / "wellspring.toml", project.journals_dir / "enclave/000000000000.log"]
    paths += sorted(project.contracts_dir.glob("*.yaml"))
    result = probe(project, "worker", [(path, "rb") for path in paths])
    assert not [path for path, content in result.items() if "Error" in content]


@needs_landlock
def test_the_worker_writes_its_own_folders_and_no_other(project: Project):
    own_paths = [project.state_dir / name / "new" for name in ("lake", "packs", "models")]
    own_paths += [project.state_dir / kind / "worker-2" / "new" for kind in ("lineage", "metrics")]
    own_paths += [
        project.journals_dir / "worker/new",
        project.journals_dir / "worker-2/new",
        project.jobs_dir / "locks" / "new",
    ]
    result = probe(project, "worker", [(path, "wb") for path in own_paths])
    assert result.pop("unconfined_reason") == ""
    assert set(result.values()) == {"1"}
    rest = [
        project.root / "wellspring.toml",
        project.root / "new",
        project.ledger_dir / "new",
        project.journals_dir / "supervisor/new",
        project.state_dir / "new",
    ]
    rest += [
        project.state_dir / "enclave/new",
        project.state_dir / "openbao/new",
        project.vendor_dir / "new",
        Path("/tmp/ws-confined"),
    ]
    rest += [project.state_dir / "valkey/new", project.state_dir / "mlflow/new"]
    assert as_owner(project, "worker", [(path, "wb") for path in rest]) == {"PermissionError"}


@needs_landlock
@pytest.mark.parametrize("role", ["enclave", "api", "mlflow", "sequencer", "witness", "vendor"])
def test_no_role_opens_a_secret_of_another_role(project: Project, role: str):
    foreign = [project.root / name for name, service in SECRETS.items() if service != role]
    result = probe(project, role, [(path, "rb") for path in foreign], service=role)
    assert result.pop("unconfined_reason") == ""
    assert set(result.values()) == {"PermissionError"}


def write_state_files(project: Project, *names: str) -> list[Path]:
    """Write a file of each name below `.wellspring/`, as another service would."""
    paths = [project.state_dir / name for name in names]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"content")
        path.chmod(0o644)
    return paths


@needs_landlock
def test_the_api_reads_what_is_published_and_writes_only_its_own_journal(project: Project):
    readable = write_state_files(
        project,
        "models/live/denials",
        "lake/editions/e.json",
        "lake/views/v.json",
        "ledger/checkpoint",
        "run.json",
    )
    result = probe(
        project,
        "api",
        [(path, "rb") for path in (*readable, project.root / "wellspring.toml")],
        service="api",
    )
    assert not [path for path, content in result.items() if "Error" in content]
    own_paths = [
        project.journals_dir / "api/new",
        project.state_dir / "lineage/api/new",
        project.state_dir / "metrics/api/new",
        project.socket_path("api").with_name("new"),
    ]
    result = probe(project, "api", [(path, "wb") for path in own_paths], service="api")
    assert result.pop("unconfined_reason") == ""
    assert set(result.values()) == {"1"}
    hidden = write_state_files(
        project, "lake/catalog.db", "lake/warehouse/rows.parquet", "journals/worker/0.log", "valkey/rows.aof"
    )
    hidden += write_state_files(project, "mlflow/mlflow.db", "logs/api.log", "packs/p.zip", "enclave/drop.sealed")
    assert as_owner(project, "api", [(path, "rb") for path in hidden]) == {"PermissionError"}
    rest = [
        *readable,
        *hidden,
        project.root / "wellspring.toml",
        project.state_dir / "new",
        project.journals_dir / "new",
        project.state_dir / "metrics/new",
        project.state_dir / "lineage/worker/new",
    ]
    assert as_owner(project, "api", [(path, "wb") for path in rest]) == {"PermissionError"}


@needs_landlock
def test_the_sequencer_reads_the_journals_and_writes_the_ledger_only(project: Project):
    readable = write_state_files(project, "journals/worker/0.log", "journals/api/0.log", "run.json")
    result = probe(project, "sequencer", [(path, "rb") for path in readable], service="sequencer")
    assert not [path for path, content in result.items() if "Error" in content]
    own_paths = [
        project.ledger_dir / "new",
        project.journals_dir / "sequencer/new",
        project.state_dir / "lineage/sequencer/new",
        project.state_dir / "metrics/sequencer/new",
        project.socket_path("sequencer").with_name("new"),
    ]
    result = probe(project, "sequencer", [(path, "wb") for path in own_paths], service="sequencer")
    assert result.pop("unconfined_reason") == ""
    assert set(result.values()) == {"1"}
    hidden = write_state_files(
        project, "lake/catalog.db", "models/live/denials", "valkey/rows.aof", "enclave/drop.sealed"
    )
    hidden += [project.root / "witness/key", project.state_dir / "seal.key"]
    assert as_owner(project, "sequencer", [(path, "rb") for path in hidden]) == {"PermissionError"}
    rest = [*readable, *hidden, project.state_dir / "new", project.journals_dir / "worker/new"]
    assert as_owner(project, "sequencer", [(path, "wb") for path in rest]) == {"PermissionError"}


@needs_landlock
def test_mlflow_opens_only_its_own_folder(project: Project):
    result = probe(project, "mlflow", [(project.state_dir / "mlflow/new", "wb")], service="mlflow")
    assert result == {"unconfined_reason": "", str(project.state_dir / "mlflow/new"): "1"}
    hidden = write_state_files(
        project, "models/live/denials", "lake/editions/e.json", "ledger/checkpoint", "run.json", "logs/x.log"
    )
    hidden += write_state_files(
        project, "journals/worker/0.log", "metrics/worker/worker.prom", "valkey/rows.aof", "tmp/worker/x"
    )
    tries = [(path, mode) for path in hidden for mode in ("rb", "wb")]
    assert as_owner(
        project,
        "mlflow",
        [*tries, (project.state_dir / "new", "wb"), (project.runtime_dir / "new", "wb")],
    ) == {"PermissionError"}


def test_no_rule_opens_a_folder_above_the_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with projects.create_project() as project:
        monkeypatch.setattr(sys, "path", [*sys.path, "/", "/tmp", str(project.root.parent)])
        reads, writes = sandbox.file_rules_for(project, "worker")
        assert not [path for path in (*reads, *writes) if project.root.is_relative_to(path)]


CODE_PROBE = """
import json, os, sys
from wellspring.runtime.sandbox import confine_project_code
request = json.loads(sys.stdin.read())
scratch = project.state_dir / "tmp/code"
os.chdir(scratch)
outcomes = {"unconfined_reason": confine_project_code(scratch, [project.root / "wellspring.toml"])}
for path in request:
    try:
        outcomes[path] = f"read {len(open(path, 'rb').read())}"
    except OSError as error:
        outcomes[path] = type(error).__name__
print(json.dumps(outcomes))
"""


@needs_landlock
@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give services users of their own")
def test_code_of_the_project_opens_what_its_job_names_and_no_secret(project: Project):
    """In a closed folder too, where its user has the capability to read every file."""
    contract = next(project.contracts_dir.iterdir())
    refused = [*(project.root / name for name in SECRETS), contract, Path("/etc/shadow"), Path("/proc/1/cmdline")]
    allowed = project.root / "wellspring.toml"
    ran = projects.run_as(project, "code", CODE_PROBE, stdin=json.dumps([*map(str, (*refused, allowed))]))
    assert ran.returncode == 0, ran.stderr
    outcomes = json.loads(ran.stdout)
    assert outcomes.pop("unconfined_reason") == ""
    assert outcomes.pop(str(allowed)).startswith("read ")
    assert set(outcomes.values()) == {"PermissionError"}


def test_a_machine_without_seccomp_is_reported(monkeypatch: pytest.MonkeyPatch):
    with projects.create_project() as project:
        monkeypatch.setattr(seccomp, "syscall", lambda *_: -1)
        assert "no seccomp" in sandbox.describe_limits(project)


def test_a_kernel_without_landlock_is_reported(monkeypatch: pytest.MonkeyPatch):
    with projects.create_project() as project:
        monkeypatch.setattr(landlock, "syscall", lambda *_: -1)
        assert "no Landlock" in sandbox.confine_process(project, role="worker")
        assert "no Landlock" in sandbox.describe_limits(project)


READ_EACH = 'for path do if head -c 1 "$path" >/dev/null 2>&1; then echo open; else echo closed; fi; done'


def read_as_program(
    project: Project, service: sandbox.ProgramService, paths: list[Path], *, confined: bool
) -> list[str]:
    """Try to read files in the place of a service's program, with the capability to read any file."""
    granted = detect_privileges(project)._replace(closed_folders=True)
    rules = sandbox.file_rules_for_program(project, service, ()) if confined else None
    argv = granted.command_for(service, ["/bin/sh", "-c", READ_EACH, "sh", *map(str, paths)], rules)
    return subprocess.run(argv, capture_output=True, text=True, check=True, cwd="/").stdout.split()


@needs_landlock
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a service the capability")
@pytest.mark.parametrize("service", ["keys", "postgres", "valkey"])
def test_a_program_with_the_capability_reads_nothing_but_its_own_files(service: sandbox.ProgramService):
    with projects.create_project() as project, projects.create_project() as neighbor:
        granted = detect_privileges(project)
        for each_project in (project, neighbor):
            each_project.state_dir.mkdir()
            layout.create_folders(each_project, granted)
            each_project.root.chmod(0o700)
        layout.create_runtime_dir(project, granted)
        state, own_folder = project.state_dir, "openbao" if service == "keys" else service
        own_paths = [state / own_folder / "data", state / "tmp" / service / "file"]
        own_paths += [state / "seal.key"] if service == "keys" else []
        closed_paths = [
            state / name / "file" for name in ("enclave", "openbao", "postgres", "valkey", "ledger", "lake", "mlflow")
        ]
        closed_paths += [
            state / "seal.key",
            state / "supervisor.key",
            project.root / "witness/key",
            project.root / "wellspring.toml",
        ]
        closed_paths += [
            neighbor.state_dir / "enclave/file",
            neighbor.state_dir / own_folder / "file",
            Path("/etc/shadow"),
        ]
        closed_paths = [path for path in closed_paths if path not in own_paths and path.parent != state / own_folder]
        for path in (*own_paths, *closed_paths):
            if not path.exists():
                path.write_bytes(b"x")
                path.chmod(0o600)
        closed_paths += [path for path in Path("/dev").iterdir() if path.is_block_device()][:1]
        try:
            # Without the rules the capability opens all of them.
            paths = [*own_paths, *closed_paths]
            assert read_as_program(project, service, paths, confined=False) == ["open"] * len(paths)
            expected = ["open"] * len(own_paths) + ["closed"] * len(closed_paths)
            assert read_as_program(project, service, paths, confined=True) == expected
        finally:
            layout.remove_runtime_dir(project)


def test_no_rule_of_a_program_opens_a_folder_above_the_project():
    with projects.create_project() as project:
        rules = sandbox.file_rules_for_program(project, "valkey", (project.root.parent, Path("/")))
        assert not [path for path in (*rules.readable, *rules.writable) if project.root.is_relative_to(path)]
