"""The embedded vendor's house: an SFTP server of its own uid that lets the enclave's key read the outbox, no more."""

from __future__ import annotations

import argparse
import asyncio
import posixpath
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wellspring.project import Project, load
from wellspring.servers.confine import confine
from wellspring.servers.folders import write_public, write_secret
from wellspring.servers.packages import embedded
from wellspring.servers.privileges import Privileges

if TYPE_CHECKING:
    import asyncssh

ADDRESS = "127.0.0.1"
_FXF_READ = 0x01


def key_pair() -> tuple[bytes, bytes]:
    """Make an Ed25519 pair: the private key in OpenSSH's format, and the public line."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
    return private, key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)


def furnish(project: Project, privileges: Privileges) -> None:
    """Make the vendor's folder, outboxes and host key (once)."""
    folders = [project.vendor, *(project.vendor / project.sources[name].folder for name in embedded(project))]
    for folder in folders:
        if not folder.exists():
            folder.mkdir(parents=True)
            privileges.give(folder, None, 0o755)
    if not (project.vendor / "host_key").exists():
        private, public = key_pair()
        write_public(project.vendor / "host_key.pub", public + b"\n", privileges, None)
        write_secret(project.vendor / "host_key", private, privileges, "vendor")


def welcome(project: Project, public: bytes, privileges: Privileges) -> None:
    """Let the holder of one key, the enclave, log in."""
    write_public(project.vendor / "authorized_keys", b"restrict " + public + b" enclave\n", privileges, None)


def listen(project: Project, privileges: Privileges) -> socket.socket:
    """Take a free loopback port, and pin the host key to it in known_hosts (the port is new with each start)."""
    listening = socket.create_server((ADDRESS, 0))
    public = (project.vendor / "host_key.pub").read_bytes().strip()
    line = f"[{ADDRESS}]:{listening.getsockname()[1]} ".encode() + public + b"\n"
    write_public(project.vendor / "known_hosts", line, privileges, None)
    return listening


def is_ready(port: int) -> bool:
    """Say whether an SSH server greets on this port."""
    try:
        with socket.create_connection((ADDRESS, port), timeout=1) as connection:
            return connection.recv(8).startswith(b"SSH-2.0-")
    except OSError:
        return False


def _house(project: Project) -> type[asyncssh.SFTPServer]:
    """Make the server's class: the base is asyncssh's, which is imported only here."""
    import asyncssh

    vendor = str(project.vendor).encode()
    shown = {project.sources[name].folder.split("/")[0].encode() for name in embedded(project)}

    class ReadOnly(asyncssh.SFTPServer):
        """Shows the outboxes under /, and refuses whatever would change something."""

        def __init__(self, chan: Any) -> None:
            super().__init__(chan, chroot=vendor)

        def map_path(self, path: bytes) -> bytes:
            first = posixpath.normpath(posixpath.join(b"/", path)).lstrip(b"/").split(b"/")[0]
            if first and first not in shown:
                raise asyncssh.SFTPNoSuchFile("no such file")
            return super().map_path(path)

        def open(self, path: bytes, pflags: int, attrs: asyncssh.SFTPAttrs) -> Any:
            if pflags & ~_FXF_READ:
                _refuse()
            return super().open(path, pflags, attrs)

        def open56(self, path: bytes, desired_access: int, flags: int, attrs: asyncssh.SFTPAttrs) -> Any:
            _refuse(path, desired_access, flags, attrs)

        def symlink(self, oldpath: bytes, newpath: bytes) -> Any:
            _refuse(oldpath, newpath)

    def _refuse(*_: object) -> None:
        raise asyncssh.SFTPPermissionDenied("this house is read only")

    changing = ("write", "setstat", "lsetstat", "fsetstat", "remove", "mkdir", "rmdir", "rename", "posix_rename")
    for name in (*changing, "link", "lock"):
        setattr(ReadOnly, name, lambda self, *given: _refuse(self, *given))
    return ReadOnly


async def serve(project: Project, listening: socket.socket) -> None:
    """Serve until the process is told to end."""
    import asyncssh

    async with await asyncssh.listen(
        sock=listening,
        server_host_keys=[str(project.vendor / "host_key")],
        authorized_client_keys=str(project.vendor / "authorized_keys"),
        sftp_factory=_house(project),
        allow_scp=False,
        password_auth=False,
        kbdint_auth=False,
        agent_forwarding=False,
        x11_forwarding=False,
    ) as server:
        await server.wait_closed()


def main() -> None:
    """Run the vendor's house on a socket that the supervisor has opened."""
    parser = argparse.ArgumentParser(prog="python -m wellspring.servers.sftp")
    parser.add_argument("--project", type=Path, required=True)
    parser.add_argument("--fd", type=int, required=True)
    given = parser.parse_args()
    project = load(given.project)
    confine(project, role="vendor")
    asyncio.run(serve(project, socket.socket(fileno=given.fd)))


if __name__ == "__main__":
    main()
