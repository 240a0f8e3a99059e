"""The embedded vendor: an SFTP server, with its own uid, that gives the enclave's key read access to the outboxes."""

from __future__ import annotations

import asyncio
import posixpath
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wellspring.embedded.layout import create_vendor_dir, write_secret_file, write_shared_file
from wellspring.embedded.path_access import SHARED
from wellspring.project import Project, load_project
from wellspring.runtime.privileges import ServicePrivileges
from wellspring.runtime.process import build_argument_parser, find_source_paths
from wellspring.runtime.sandbox import confine_process
from wellspring.runtime.trusted_folder import create_missing_folders, read_file

if TYPE_CHECKING:
    import asyncssh

SERVER = "sftp"
"""What the settings of a source name as their embedded server."""
LOOPBACK_ADDRESS = "127.0.0.1"
_FXF_READ = 0x01


def generate_ssh_key_pair() -> tuple[bytes, bytes]:
    """Generate an Ed25519 key pair: the private key in OpenSSH's format and the public key line."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
    return private, key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)


def list_outboxes(project: Project) -> list[Path]:
    """List the folders of the sources that this server serves."""
    folders = [
        source.drop_folder(project.root) for source in project.sources.values() if source.embedded_server == SERVER
    ]
    return sorted({folder for folder in folders if folder is not None})


def create_vendor_dirs(project: Project, privileges: ServicePrivileges) -> None:
    """Create the vendor's folder, outboxes and host key where they are missing."""
    create_vendor_dir(project, privileges)
    for folder in list_outboxes(project):
        create_missing_folders(folder, SHARED)
    if not (project.vendor_dir / "host_key").exists():
        private, public = generate_ssh_key_pair()
        write_shared_file(project.vendor_dir / "host_key.pub", public + b"\n", privileges, None)
        write_secret_file(project.vendor_dir / "host_key", private, privileges, "vendor")


def authorize_sftp_key(project: Project, public: bytes, privileges: ServicePrivileges) -> None:
    """Write authorized_keys with the enclave's public key as the only entry."""
    write_shared_file(project.vendor_dir / "authorized_keys", b"restrict " + public + b" enclave\n", privileges, None)


def bind_sftp_port(project: Project, privileges: ServicePrivileges) -> socket.socket:
    """Bind a free loopback port and write known_hosts with the host key for it. The port changes at each start."""
    listener = socket.create_server((LOOPBACK_ADDRESS, 0))
    public = read_file(project.vendor_dir / "host_key.pub").strip()
    line = f"[{LOOPBACK_ADDRESS}]:{listener.getsockname()[1]} ".encode() + public + b"\n"
    write_shared_file(project.vendor_dir / "known_hosts", line, privileges, None)
    return listener


def is_sftp_ready(port: int) -> bool:
    """Return True if an SSH server sends its banner on this port."""
    try:
        with socket.create_connection((LOOPBACK_ADDRESS, port), timeout=1) as connection:
            return connection.recv(8).startswith(b"SSH-2.0-")
    except OSError:
        return False


def _build_server_class(project: Project, outboxes: Sequence[Path]) -> type[asyncssh.SFTPServer]:
    """Build the server class here because asyncssh, its base, is imported only when the server runs."""
    import asyncssh

    vendor = str(project.vendor_dir).encode()
    visible_folders = {folder.relative_to(project.vendor_dir).parts[0].encode() for folder in outboxes}

    class ReadOnlyServer(asyncssh.SFTPServer):
        """Serves the outboxes under / and refuses every write operation."""

        def __init__(self, chan: Any) -> None:
            super().__init__(chan, chroot=vendor)

        def map_path(self, path: bytes) -> bytes:
            first = posixpath.normpath(posixpath.join(b"/", path)).lstrip(b"/").split(b"/")[0]
            if first and first not in visible_folders:
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
        raise asyncssh.SFTPPermissionDenied("this server is read-only")

    write_operations = (
        "write",
        "setstat",
        "lsetstat",
        "fsetstat",
        "remove",
        "mkdir",
        "rmdir",
        "rename",
        "posix_rename",
    )
    for name in (*write_operations, "link", "lock"):
        setattr(ReadOnlyServer, name, lambda self, *args: _refuse(self, *args))
    return ReadOnlyServer


async def serve_sftp(project: Project, outboxes: Sequence[Path], listener: socket.socket) -> None:
    """Serve SFTP on a listening socket until a signal stops the process."""
    import asyncssh

    async with await asyncssh.listen(
        sock=listener,
        server_host_keys=[str(project.vendor_dir / "host_key")],
        authorized_client_keys=str(project.vendor_dir / "authorized_keys"),
        sftp_factory=_build_server_class(project, outboxes),
        allow_scp=False,
        password_auth=False,
        kbdint_auth=False,
        agent_forwarding=False,
        x11_forwarding=False,
    ) as server:
        await server.wait_closed()


def main() -> None:
    """Run the SFTP server on the listening socket that the supervisor passes."""
    parser = build_argument_parser("wellspring.embedded.sftp")
    parser.add_argument("--fd", type=int, required=True)
    arguments = parser.parse_args()
    project = load_project(arguments.project, sources=False)
    outboxes = find_source_paths(project, "vendor", list_outboxes)
    confine_process(project, role="vendor", readable=outboxes)
    asyncio.run(serve_sftp(project, outboxes, socket.socket(fileno=arguments.fd)))


if __name__ == "__main__":
    main()
