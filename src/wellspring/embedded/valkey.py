"""Configures Valkey, the online store: a Unix socket, no TCP port, no default user, one writer and one reader."""

from __future__ import annotations

import hashlib
import secrets
from pathlib import Path

from wellspring.embedded.layout import write_secret_file
from wellspring.errors import Unavailable
from wellspring.project import Project
from wellspring.runtime.privileges import ServicePrivileges
from wellspring.runtime.unix_socket import ServerSocket, connect_unix_socket

WRITER_USER, READER_USER, PROBE_USER = "worker", "api", "probe"
_ACL_RULES = {
    WRITER_USER: "~* resetchannels -@all +@read +@write +@connection +@scripting -@dangerous",
    READER_USER: "~* resetchannels -@all +hmget +hgetall +@connection -@dangerous",
}


def valkey_data_dir(project: Project) -> Path:
    """Return the folder of the rows and of the users' password hashes."""
    return project.state_dir / "valkey"


def generate_passwords() -> dict[str, str]:
    """Generate a password for each user, by user name."""
    return {user: secrets.token_urlsafe(32) for user in _ACL_RULES}


def write_valkey_acl(project: Project, passwords: dict[str, str], privileges: ServicePrivileges) -> None:
    """Write the ACL file. It contains password hashes only; OpenBao stores each password for one service."""
    lines = ["user default off sanitize-payload resetchannels -@all"]
    # The readiness probe's user: no password, no keys, and PING as the only command.
    lines.append(f"user {PROBE_USER} on nopass sanitize-payload resetchannels -@all +ping")
    for user, password in passwords.items():
        password_hash = hashlib.sha256(password.encode()).hexdigest()
        lines.append(f"user {user} on #{password_hash} sanitize-payload {_ACL_RULES[user]}")
    write_secret_file(valkey_data_dir(project) / "users.acl", "\n".join([*lines, ""]).encode(), privileges, "valkey")


def valkey_command(project: Project, program: Path) -> list[str]:
    """Return Valkey's command line. Writes reach the disk each second and at shutdown, so a restart keeps them."""
    home = valkey_data_dir(project)
    settings = {
        "port": "0",
        "unixsocket": str(project.socket_path("valkey")),
        # Its clients are members of its group; the ACL and passwords control what each may do.
        "unixsocketperm": "770",
        "dir": str(home),
        "aclfile": str(home / "users.acl"),
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "3600 1",
        "daemonize": "no",
        # A client that is idle for this long is closed; the API and the worker connect again by themselves.
        "timeout": "300",
        "maxclients": "256",
        # A client that does not read its replies is closed, so that they cannot fill the memory.
        "client-output-buffer-limit": "normal 64mb 16mb 30",
        "maxmemory-clients": "512mb",
        "enable-debug-command": "no",
        "enable-module-command": "no",
        "enable-protected-configs": "no",
    }
    return [str(program), *(part for name, value in settings.items() for part in (f"--{name}", value))]


def is_valkey_ready(server: ServerSocket) -> bool:
    """Return True if Valkey responds to PING, which it does when all rows are loaded."""
    try:
        with connect_unix_socket(server, 2) as connection:
            connection.sendall(f"AUTH {PROBE_USER} any\r\nPING\r\n".encode())
            response = b""
            while response.count(b"\r\n") < 2 and (chunk := connection.recv(1024)):
                response += chunk
            return response.endswith(b"+PONG\r\n")
    except (OSError, Unavailable):
        return False
