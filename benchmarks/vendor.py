"""A second SFTP vendor, the same server as the embedded one, whose key the benchmark has: for parts and peers."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from wellspring import project
from wellspring.data.sources.port import SourceContext
from wellspring.data.sources.sftp.settings import SftpSettings
from wellspring.data.sources.sftp.source import SftpSource
from wellspring.embedded import sftp
from wellspring.records.clock import SystemClock
from wellspring.runtime import privileges

READY_SECONDS = 15.0


class Vendor(NamedTuple):
    """host, port, user and private_key: how to log in. outbox: where its files lie."""

    host: str
    port: int
    user: str
    private_key: str
    known_hosts: Path
    outbox: Path

    def source(self) -> SftpSource:
        """Open the source as the enclave does."""
        settings = SftpSettings(
            kind="sftp",
            address=f"{self.host}:{self.port}",
            user=self.user,
            folder=self.outbox.name,
            known_hosts=self.known_hosts,
            settle_seconds=0,
        )
        credentials = {"private_key": self.private_key}
        return SftpSource(SourceContext("clearinghouse", settings, self.outbox.parent, credentials, SystemClock()))


@contextmanager
def vendor(folder: Path) -> Iterator[Vendor]:
    """Serve `folder/vendor/outbox` from a separate process. folder: contains a wellspring.toml."""
    vendor_project = project.load_project(folder)
    rights = privileges.detect_privileges(vendor_project)
    sftp.create_vendor_dirs(vendor_project, rights)
    scratch = privileges.service_temp_dir(vendor_project, "vendor")
    scratch.mkdir(parents=True, exist_ok=True)
    rights.set_owner(scratch, "vendor", 0o700)
    private, public = sftp.generate_ssh_key_pair()
    sftp.authorize_sftp_key(vendor_project, public, rights)
    with sftp.bind_sftp_port(vendor_project, rights) as listening:
        port = listening.getsockname()[1]
        argv = [
            sys.executable,
            "-m",
            "wellspring.embedded.sftp",
            "--project",
            str(folder),
            "--fd",
            str(listening.fileno()),
        ]
        child = subprocess.Popen(
            rights.command_for("vendor", argv),
            cwd="/",
            env=privileges.service_environment(vendor_project, "vendor"),
            pass_fds=[listening.fileno()],
        )
    try:
        deadline = time.monotonic() + READY_SECONDS
        while not sftp.is_sftp_ready(port):
            if child.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("the vendor's server did not start")
        source = vendor_project.sources["clearinghouse"]
        assert isinstance(source, SftpSettings)
        outbox = vendor_project.vendor_dir / source.folder
        yield Vendor(
            sftp.LOOPBACK_ADDRESS,
            port,
            source.user,
            private.decode(),
            vendor_project.vendor_dir / "known_hosts",
            outbox,
        )
    finally:
        child.terminate()
        child.wait(READY_SECONDS)
