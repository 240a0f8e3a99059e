"""Sockets of servers that a test itself serves, in a folder of its own or in those of a project."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from wellspring.project import Project
from wellspring.runtime.privileges import detect_privileges
from wellspring.runtime.service_users import uid_range_path
from wellspring.runtime.unix_socket import ServerSocket
from wellspring.settings import SOCKET_FOLDERS


def own_server(path: Path) -> ServerSocket:
    """Return the socket of a server that runs as this user."""
    return ServerSocket(path, os.geteuid())


def create_socket_folders(project: Project) -> None:
    """Create the folders of a project's sockets for servers that all run as this user."""
    for folder in dict.fromkeys(SOCKET_FOLDERS.values()):
        (project.runtime_dir / folder).mkdir(parents=True, exist_ok=True, mode=0o700)
    project.runtime_dir.chmod(0o700)


def record_service_users(project: Project) -> None:
    """Record the numbers of the services' users, as the first `up` of root does; clients then expect them."""
    privileges = detect_privileges(project)
    if privileges.separation == "user":
        uid_range_path(project).write_text(f"{privileges.users.first_uid}\n", encoding="ascii")


def remove_socket_folders(project: Project) -> None:
    shutil.rmtree(project.runtime_dir, ignore_errors=True)
