"""Find the socket of a server of a project, and the user who must serve it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from wellspring.project import Project
from wellspring.runtime.privileges import are_uids_mapped
from wellspring.runtime.service_users import SERVICE_SLOTS, ServiceUsers, read_first_uid, uid_range_path
from wellspring.runtime.unix_socket import ServerSocket
from wellspring.settings import SOCKET_FOLDERS

SOCKET_OWNERS: Final[Mapping[str, str | None]] = {
    folder: ("keys" if folder == "openbao" else folder if folder in SERVICE_SLOTS else None)
    for folder in dict.fromkeys(SOCKET_FOLDERS.values())
}
"""The service that owns each folder of sockets; None for that of the supervisor, who is the project's owner."""


def find_server_socket(project: Project, name: str) -> ServerSocket:
    """Return the socket of a server (`openbao`, `intake`, `jobs` ...) and its uid, which the client must check."""
    return ServerSocket(project.socket_path(name), find_server_uid(project, name))


def find_server_uid(project: Project, name: str) -> int:
    """Return the uid of the server of a socket: of its service if root has given the services users of their own.

    Only root can write the file of the range, and only the owner can write the folder that it lies in.
    """
    service = SOCKET_OWNERS[SOCKET_FOLDERS[name]]
    folder = project.state_dir if project.state_dir.exists() else project.root
    owner = folder.stat().st_uid
    first_uid = read_first_uid(uid_range_path(project))
    if service is None or owner != 0 or first_uid is None:
        return owner
    users = ServiceUsers(first_uid)
    return users.uid_of(service) if are_uids_mapped(users.numbers) else owner
