"""The online store: Valkey on a Unix socket, with two users, one of whom only reads. No TCP port, no default user."""

from __future__ import annotations

import hashlib
import os
import secrets
import socket
from pathlib import Path

from wellspring.project import Project
from wellspring.servers.folders import write_secret
from wellspring.servers.privileges import Privileges

WRITER, READER, PROBE = "worker", "api", "probe"
_MAY = {
    WRITER: "~* resetchannels -@all +@read +@write +@connection +@scripting -@dangerous",
    READER: "~* resetchannels -@all +hmget +hgetall +@connection -@dangerous",
}


def folder(project: Project) -> Path:
    """Where it keeps its rows, and the hashes of its users' passwords."""
    return project.state / "valkey"


def passwords() -> dict[str, str]:
    """Make a password for each service that has a user."""
    return {user: secrets.token_urlsafe(32) for user in _MAY}


def welcome(project: Project, known: dict[str, str], privileges: Privileges) -> None:
    """Write who may do what. Only hashes stand there: the passwords lie with the key server, each for one service."""
    lines = ["user default off sanitize-payload resetchannels -@all"]
    # Whether it answers is no secret: a user without a password, a key or another command.
    lines.append(f"user {PROBE} on nopass sanitize-payload resetchannels -@all +ping")
    for user, password in known.items():
        hashed = hashlib.sha256(password.encode()).hexdigest()
        lines.append(f"user {user} on #{hashed} sanitize-payload {_MAY[user]}")
    write_secret(folder(project) / "users.acl", "\n".join([*lines, ""]).encode(), privileges, "valkey")


def argv(project: Project, program: Path) -> list[str]:
    """Return its command line: rows are kept at each second and at its end, so that a restart has them."""
    home = folder(project)
    words = {
        "port": "0",
        "unixsocket": str(project.socket("valkey")),
        # Who connects is for its users' passwords to say.
        "unixsocketperm": "777",
        "dir": str(home),
        "aclfile": str(home / "users.acl"),
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "3600 1",
        "daemonize": "no",
        "enable-debug-command": "no",
        "enable-module-command": "no",
        "enable-protected-configs": "no",
    }
    return [str(program), *(part for name, value in words.items() for part in (f"--{name}", value))]


def is_ready(path: Path) -> bool:
    """Say whether it answers, with all its rows loaded."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(2)
            connection.connect(os.fspath(path))
            connection.sendall(f"AUTH {PROBE} any\r\nPING\r\n".encode())
            said = b""
            while said.count(b"\r\n") < 2 and (more := connection.recv(1024)):
                said += more
            return said.endswith(b"+PONG\r\n")
    except OSError:
        return False
