"""As root the services run under separate users; the worker's user reaches no key, file or vault of the enclave."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from examples.health_plan import drops
from tests.builders.journeys import ProjectFixture
from tests.builders.landlock import has_landlock
from tests.builders.projects import run_as
from wellspring.runtime.privileges import detect_privileges
from wellspring.runtime.service_users import read_service_users

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root may give services users of their own"),
]

PROBE = """
import json, os, socket, struct
def open_path(path):
    try:
        if os.path.isdir(path):
            return f"listed {os.listdir(path)}"
        with open(path, "rb") as file:
            return f"read {len(file.read())} bytes"
    except OSError as error:
        return type(error).__name__
def connect(path):
    with socket.socket(socket.AF_UNIX) as connection:
        try:
            connection.connect(path)
            return "connected"
        except OSError as error:
            return type(error).__name__
def send_request(path, request):
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(60)
        try:
            connection.connect(path)
            body = json.dumps(request).encode()
            connection.sendall(struct.pack(">I", len(body)) + body)
        except PermissionError:
            return "PermissionError"
        except (BrokenPipeError, ConnectionResetError):
            pass
        head = connection.recv(4)
        return json.loads(connection.recv(65536)) if len(head) == 4 else "closed"
"""


@pytest.fixture(scope="module")
def secrets(project: ProjectFixture) -> list[Path]:
    """List the secret files of a project that has ingested drops; each must exist."""
    drops.good(project.outbox, lines=60, members=60)
    project.ingest()
    if detect_privileges(project.project).separation != "user":
        pytest.skip("this container maps no other users")
    state = project.project.state_dir
    originals = list(project.project.enclave_dir.rglob("*"))
    named = [
        state / "seal.key",
        state / "supervisor.key",
        state / "login-path",
        state / "openbao",
        state / "postgres",
        project.project.enclave_dir,
        project.root / "witness" / "key",
        project.project.vendor_dir / "host_key",
        *(path for path in originals if path.is_file()),
        *list((state / "openbao").iterdir())[:2],
        *list((state / "postgres").iterdir())[:2],
    ]
    assert len([path for path in originals if path.is_file()]) >= 2, "the original of each drop is stored"
    assert [path for path in named if not path.exists()] == []
    return named


def database(project: ProjectFixture) -> Path:
    """Return the socket of the enclave's database."""
    return next(path for path in project.project.socket_path("postgres").iterdir() if path.is_socket())


def probe_as_worker(project: ProjectFixture, paths: list[Path]) -> dict[str, Any]:
    """Fork, switch to the worker's user without capabilities, and try to open each path and socket."""
    socket_path, users = str(database(project)), read_service_users(project.project)
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(read)
            os.setgroups(list(users.groups_of("worker")))
            os.setresgid(*[users.gid_of("worker")] * 3)
            os.setresuid(*[users.uid_of("worker")] * 3)
            space: dict[str, Any] = {}
            exec(PROBE, space)
            result = {str(path): space["open_path"](str(path)) for path in paths}
            result["vault"] = space["send_request"](
                str(project.project.socket_path("vault")), {"op": "detokenize", "token": "t"}
            )
            result["database"] = space["connect"](socket_path)
            os.write(write, json.dumps(result).encode())
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as answer:
        result = json.loads(answer.read())
    os.waitpid(child, 0)
    return result


def test_a_process_of_the_worker_user_opens_no_secret_and_no_vault(project: ProjectFixture, secrets: list[Path]):
    result = probe_as_worker(project, secrets)
    vault = result.pop("vault")
    assert vault == "PermissionError" or vault["slug"] == "refused"
    assert result.pop("database") == "PermissionError"
    assert {path: outcome for path, outcome in result.items() if outcome != "PermissionError"} == {}


@pytest.mark.skipif(not has_landlock(), reason="this kernel has no Landlock")
def test_the_confined_enclave_finds_its_entries_in_the_index_of_the_log(project: ProjectFixture, secrets: list[Path]):
    (land, *_) = project.list_entries("land")
    code = (
        "from wellspring.bootstrap import open_ledger_index\n"
        "from wellspring.runtime.sandbox import confine_process\n"
        "assert confine_process(project, role='enclave') == ''\n"
        f"entries = open_ledger_index(project).list_entries(subject={land['subject']!r}, phase='done')\n"
        "print([item.entry.action for item in entries if item.entry.service == 'enclave'])"
    )
    ran = run_as(project.project, "enclave", code, stdin="")
    assert ran.returncode == 0, ran.stderr
    assert "land" in ran.stdout
    assert "admit" in ran.stdout


@pytest.mark.skipif(not has_landlock(), reason="this kernel has no Landlock")
def test_the_confined_worker_opens_no_secret_and_no_vault(project: ProjectFixture, secrets: list[Path]):
    code = (
        f"{PROBE}\nfrom wellspring.runtime.sandbox import confine_process\n"
        "result = {'confined': confine_process(project, role='worker'), 'uid': os.geteuid()}\n"
        "result['paths'] = {path: open_path(path) for path in json.loads(sys.stdin.read())}\n"
        "request = {'op': 'tokenize', 'domain': 'member', 'value': 'x'}\n"
        "result['vault'] = send_request(str(project.socket_path('vault')), request)\n"
        f"result['database'] = connect({str(database(project))!r})\n"
        "result['toml'] = open_path(str(project.root / 'wellspring.toml'))\n"
        "print(json.dumps(result))"
    )
    ran = run_as(project.project, "worker", code, stdin=json.dumps([str(path) for path in secrets]))
    assert ran.returncode == 0, ran.stderr
    result = json.loads(ran.stdout)
    assert (result["confined"], result["uid"]) == ("", read_service_users(project.project).uid_of("worker"))
    assert {path: outcome for path, outcome in result["paths"].items() if outcome != "PermissionError"} == {}
    assert result["vault"] == "PermissionError" or result["vault"]["slug"] == "refused"
    assert result["database"] == "PermissionError"
    # It can read the project file, which it needs.
    assert result["toml"].startswith("read ")


def test_the_probe_as_root_opens_every_secret(project: ProjectFixture, secrets: list[Path]):
    """The probe itself works: root can open every path."""
    space: dict[str, Any] = {}
    exec(PROBE, space)
    outcomes = {str(path): space["open_path"](str(path)) for path in secrets}
    assert {path: output for path, output in outcomes.items() if not output.startswith(("read", "listed"))} == {}
    assert space["connect"](str(database(project))) == "connected"


def test_each_service_runs_under_its_own_user(project: ProjectFixture, secrets: list[Path]):
    servers = {item["name"]: item["uid"] for item in project.run("status", "--json").document["servers"]}
    uids = read_service_users(project.project).uids
    assert servers["supervisor"] == os.geteuid()
    assert servers["enclave"] == uids["enclave"]
    assert servers["openbao"] == uids["keys"]
    assert servers["witness"] == uids["witness"]
    assert servers["sftp"] == uids["vendor"]
    assert servers["postgres"] == uids["postgres"]
    assert len(set(servers.values())) == len(servers)


def test_the_worker_gets_no_credential_from_the_supervisor(project: ProjectFixture):
    code = (
        "from wellspring.embedded.control_socket import send_request\n"
        "from wellspring.errors import WellspringError\n"
        "for role in ('worker', 'enclave'):\n"
        "    try:\n        send_request(project, {'op': 'credential', 'role': role})\n        print('issued')\n"
        "    except WellspringError as error:\n        print(error.slug)"
    )
    ran = run_as(project.project, "worker", code)
    assert ran.stdout.split() == ["refused", "refused"], ran.stderr
