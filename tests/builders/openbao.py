"""The real key server alone, as the bootstrap leaves it: for what people may do there, without the other servers."""

from __future__ import annotations

import base64
import hashlib
import hmac
import struct
import time
from collections.abc import Generator
from contextlib import contextmanager
from urllib.parse import parse_qs, urlsplit

from tests.builders import projects
from tests.builders.sockets import record_service_users
from wellspring.embedded import layout, openbao, openbao_setup, packages
from wellspring.project import Project, load_project
from wellspring.records.clock import SystemClock
from wellspring.records.trust import ProjectMode
from wellspring.runtime.privileges import detect_privileges, service_environment
from wellspring.runtime.server_sockets import find_server_socket
from wellspring.supervisor.managed_process import ManagedProcess
from wellspring.trust.identity.users import UserToken, login_user, read_login_mount

PEOPLE = {
    "ana": "owner",
    "bo": "approver",
    "cy": "",
    "dee": "owner",
    "eli": "",
    "flo": "",
    "gus": "",
    "hal": "",
    "ivy": "",
    "jo": "",
}
PASSWORD = "a sentence that ana keeps in mind"


@contextmanager
def keyserver(mode: ProjectMode = "governed") -> Generator[Project]:
    """Start OpenBao for a copy of the example that names some people, and give it its keys, roles and policies.

    mode: in which it is bootstrapped.
    """
    with projects.create_project() as copied:
        with (copied.root / "wellspring.toml").open("a") as toml:
            for name, role in PEOPLE.items():
                toml.write(f"\n[users.{name}]\nroles = {[role] if role else []}\n")
        project = in_mode(load_project(copied.root), mode)
        privileges = detect_privileges(project)
        layout.ensure_ownership(project)
        layout.create_folders(project, privileges)
        layout.create_runtime_dir(project, privileges)
        record_service_users(project)
        openbao.prepare_openbao(project, privileges)
        child = ManagedProcess(
            name="openbao",
            service="keys",
            argv=[
                str(packages.check_installed(project).openbao),
                "server",
                f"-config={openbao.openbao_data_dir(project) / 'config.hcl'}",
            ],
            readiness_probe=lambda: openbao.is_openbao_active(child.own_socket()),
            version="",
            log_path=project.state_dir / "openbao.log",
            socket=find_server_socket(project, "openbao"),
        )
        child.start(privileges.command_for("keys", child.argv), service_environment(project, "keys"), None)
        try:
            deadline = time.monotonic() + 60
            child.wait_ready(deadline, probe=lambda: openbao.fetch_health(child.own_socket()) is not None)
            making = openbao_setup.OpenBaoBootstrap(project, privileges)
            child.wait_ready(deadline)
            making.configure_server()
            making.finish_bootstrap()
            yield project
        finally:
            child.stop()
            layout.remove_runtime_dir(project)


def in_mode(project: Project, mode: ProjectMode) -> Project:
    """Return the project as if its wellspring.toml said this mode."""
    return project.model_copy(update={"project": project.project.model_copy(update={"mode": mode})})


class Authenticator:
    """What a person's telephone does: six digits from the secret in an otpauth address and the time (RFC 6238)."""

    def __init__(self, otpauth_url: str) -> None:
        result = parse_qs(urlsplit(otpauth_url).query)
        secret, self._period = result["secret"][0], int(result["period"][0])
        self._key = base64.b32decode(secret + "=" * (-len(secret) % 8))

    def code(self, *, steps: int = 0) -> str:
        """Return the code of now, or of `steps` half minutes later (earlier, if negative)."""
        counter = (int(SystemClock().now().timestamp()) + 30 * steps) // self._period
        digest = hmac.new(self._key, struct.pack(">Q", counter), hashlib.sha1).digest()
        instant = digest[-1] & 15
        return f"{(int.from_bytes(digest[instant : instant + 4], 'big') & 0x7FFFFFFF) % 10**6:06d}"


def log_in(project: Project, name: str, password: str, code: str) -> UserToken:
    """Log a user in as the owner's command line does."""
    server, mount = find_server_socket(project, "openbao"), read_login_mount(project)
    return login_user(server, name, password, code, mount=mount)
