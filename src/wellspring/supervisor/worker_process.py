"""Describe the worker and the server of project code: the sockets that they inherit, and when they are ready."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from wellspring.embedded import job_client
from wellspring.project import Project
from wellspring.runtime.privileges import ServicePrivileges
from wellspring.runtime.project_code import is_project_code_ready
from wellspring.supervisor.credential_channel import CredentialChannel
from wellspring.supervisor.managed_process import ManagedProcess


def configure_worker(child: ManagedProcess, project: Project, credentials: CredentialChannel) -> None:
    """Let the worker inherit its listening socket, and at each start a new socket on which it gets credentials.

    The supervisor creates the socket `jobs`, because the worker's user may not create one in the folder of sockets. It
    stays open while the worker is restarted.
    """
    listener = bind_jobs_socket(project.socket_path("jobs"))
    command = list(child.argv)

    def inherit_sockets() -> None:
        channel = credentials.open_pair()
        child.inherited_fds = (listener, channel)
        child.argv = [*command, "--listener", str(listener), "--credentials", str(channel)]

    child.before_start = inherit_sockets
    # The supervisor itself listens, so the pid is in the answer; nobody else can bind a socket in its folder.
    child.readiness_probe = lambda: job_client.is_worker_ready(project, child.pid)


def configure_project_code(child: ManagedProcess, project: Project, privileges: ServicePrivileges) -> None:
    """Let the server of project code inherit its listening socket, to which only the worker's user may connect."""
    path = project.socket_path("code")
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(os.fspath(path))
    os.chmod(path, 0o600)
    if (owner := privileges.owner_of("worker")) is not None:
        os.chown(path, owner.uid, owner.gid, follow_symlinks=False)
    listener.listen(64)
    listener.set_inheritable(True)
    child.inherited_fds = (listener.detach(),)
    child.argv = [*child.argv, "--listener", str(child.inherited_fds[0])]
    child.readiness_probe = lambda: is_project_code_ready(path)


def bind_jobs_socket(path: Path) -> int:
    """Listen on the socket of the worker, which only the owner and root may connect to; return its descriptor."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(os.fspath(path))
    os.chmod(path, 0o600)
    listener.listen(64)
    listener.set_inheritable(True)
    return listener.detach()
