"""As root the worker's user holds neither the enclave's keys nor its files nor the right to its vault."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from examples.health_plan import drops
from tests.builders.projects import run_as
from tests.journeys.conftest import ProjectFixture
from wellspring.runtime import landlock
from wellspring.runtime.privileges import SERVICE_GIDS, SERVICE_UIDS, SUPPLEMENTARY_GIDS, detect_privileges

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root may give services users of their own"),
]

PROBE = """
import json, os, socket, struct
def tried(path):
    try:
        if os.path.isdir(path):
            return f"listed {os.listdir(path)}"
        with open(path, "rb") as file:
            return f"read {len(file.read())} bytes"
    except OSError as wrong:
        return type(wrong).__name__
def reached(path):
    with socket.socket(socket.AF_UNIX) as door:
        try:
            door.connect(path)
            return "connected"
        except OSError as wrong:
            return type(wrong).__name__
def asked(path, request):
    with socket.socket(socket.AF_UNIX) as door:
        door.settimeout(10)
        try:
            door.connect(path)
            body = json.dumps(request).encode()
            door.sendall(struct.pack(">I", len(body)) + body)
        except PermissionError:
            return "PermissionError"
        except (BrokenPipeError, ConnectionResetError):
            pass
        head = door.recv(4)
        return json.loads(door.recv(65536)) if len(head) == 4 else "closed"
"""


@pytest.fixture(scope="module")
def secrets(project: ProjectFixture) -> list[Path]:
    """Every secret of a house that has received something; each must be there, or a test of it proves nothing."""
    drops.good(project.outbox, lines=60, members=60)
    project.receive()
    if detect_privileges(project.project).separation != "user":
        pytest.skip("this container maps no other users")
    state = project.project.state_dir
    originals = list(project.project.enclave_dir.rglob("*"))
    named = [
        state / "seal.key",
        state / "supervisor.key",
        state / "openbao",
        state / "postgres",
        project.project.enclave_dir,
        project.root / "witness" / "key",
        project.project.vendor_dir / "host_key",
        *(path for path in originals if path.is_file()),
        *list((state / "openbao").iterdir())[:2],
        *list((state / "postgres").iterdir())[:2],
    ]
    assert len([path for path in originals if path.is_file()]) >= 2, "an original of each drop is kept"
    assert [path for path in named if not path.exists()] == []
    return named


def database(project: ProjectFixture) -> Path:
    """The door of the enclave's database."""
    return next(path for path in project.project.socket_path("postgres").iterdir() if path.is_socket())


def as_the_user(project: ProjectFixture, paths: list[Path]) -> dict[str, Any]:
    """Become the worker's user by fork and setuid, without any capability, and try."""
    socket_path = str(database(project))
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(read)
            os.setgroups(list(SUPPLEMENTARY_GIDS["worker"]))
            os.setresgid(*[SERVICE_GIDS["worker"]] * 3)
            os.setresuid(*[SERVICE_UIDS["worker"]] * 3)
            space: dict[str, Any] = {}
            exec(PROBE, space)
            result = {str(path): space["tried"](str(path)) for path in paths}
            result["vault"] = space["asked"](
                str(project.project.socket_path("vault")), {"op": "detokenize", "token": "t"}
            )
            result["database"] = space["reached"](socket_path)
            os.write(write, json.dumps(result).encode())
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as answer:
        result = json.loads(answer.read())
    os.waitpid(child, 0)
    return result


def test_a_process_of_the_workers_user_opens_no_secret_and_no_vault(project: ProjectFixture, secrets: list[Path]):
    result = as_the_user(project, secrets)
    vault = result.pop("vault")
    assert vault == "PermissionError" or vault["slug"] == "refused"
    assert result.pop("database") == "PermissionError"
    assert {path: matches for path, matches in result.items() if matches != "PermissionError"} == {}


@pytest.mark.skipif(landlock.syscall(444, None, 0, 1) < 1, reason="this kernel has no Landlock")
def test_the_real_worker_with_its_capability_opens_no_secret_and_no_vault(project: ProjectFixture, secrets: list[Path]):
    code = (
        f"{PROBE}\nfrom wellspring.runtime.sandbox import confine_process\n"
        "told = {'confined': confine_process(project, role='worker'), 'uid': os.geteuid()}\n"
        "told['paths'] = {path: tried(path) for path in json.loads(sys.stdin.read())}\n"
        "told['vault'] = asked(str(project.socket_path('vault')), {'op': 'tokenize', 'domain': 'member', 'value': 'x'})\n"
        f"told['database'] = reached({str(database(project))!r})\n"
        "told['toml'] = tried(str(project.root / 'wellspring.toml'))\n"
        "print(json.dumps(told))"
    )
    ran = run_as(project.project, "worker", code, stdin=json.dumps([str(path) for path in secrets]))
    assert ran.returncode == 0, ran.stderr
    result = json.loads(ran.stdout)
    assert (result["confined"], result["uid"]) == ("", SERVICE_UIDS["worker"])
    assert {path: matches for path, matches in result["paths"].items() if matches != "PermissionError"} == {}
    assert result["vault"] == "PermissionError" or result["vault"]["slug"] == "refused"
    assert result["database"] == "PermissionError"
    # It is a worker: what it needs it can read.
    assert result["toml"].startswith("read ")


def test_the_same_probe_as_root_finds_each_of_them(project: ProjectFixture, secrets: list[Path]):
    """Without this, a probe that finds nothing anywhere would pass."""
    space: dict[str, Any] = {}
    exec(PROBE, space)
    matches = {str(path): space["tried"](str(path)) for path in secrets}
    assert {path: output for path, output in matches.items() if not output.startswith(("read", "listed"))} == {}
    assert space["reached"](str(database(project))) == "connected"


def test_each_service_runs_as_the_user_that_status_says(project: ProjectFixture, secrets: list[Path]):
    servers = {item["name"]: item["uid"] for item in project.run("status", "--json").document["servers"]}
    assert servers["supervisor"] == os.geteuid()
    assert servers["enclave"] == SERVICE_UIDS["enclave"]
    assert servers["openbao"] == SERVICE_UIDS["keys"]
    assert servers["witness"] == SERVICE_UIDS["witness"]
    assert servers["sftp"] == SERVICE_UIDS["vendor"]
    assert servers["postgres"] == SERVICE_UIDS["postgres"]
    assert len(set(servers.values())) == len(servers)


def test_the_worker_gets_no_credential_from_the_supervisor(project: ProjectFixture):
    code = (
        "from wellspring.embedded.control_socket import request_credential\nfrom wellspring.errors import WellspringError\n"
        "for role in ('worker', 'enclave'):\n"
        "    try:\n        request_credential(project, role)\n        print('given')\n"
        "    except WellspringError as wrong:\n        print(wrong.slug)"
    )
    ran = run_as(project.project, "worker", code)
    assert ran.stdout.split() == ["refused", "refused"], ran.stderr
