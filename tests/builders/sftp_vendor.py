"""An SFTP vendor in this process: a real asyncssh server on its own thread, and sources of it."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import asyncssh

from wellspring.data.sources.port import SourceContext
from wellspring.data.sources.sftp.settings import SftpSettings
from wellspring.data.sources.sftp.source import SftpSource
from wellspring.records.clock import Clock, SystemClock

OnRead = Callable[[str, int], None]


class Vendor:
    """on_read: called with (name, offset) before each block is sent, so that a test can change a file during a read.

    denied: names of files that may not be read. unstated: names whose attributes it does not give.
    hidden_attributes: `type`, `size` or `mtime`, which the attributes of all files lack.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.outbox = folder / "outbox"
        self.outbox.mkdir(parents=True)
        self.known_hosts = folder / "known_hosts"
        self.on_read: OnRead | None = None
        self.reads = 0
        self.denied: set[str] = set()
        self.unstated: set[str] = set()
        self.hidden_attributes: set[str] = set()
        self.port = 0
        self._host_key = asyncssh.generate_private_key("ssh-ed25519")
        user_key = asyncssh.generate_private_key("ssh-ed25519")
        self.user_key = user_key.export_private_key().decode()
        self._public = user_key.export_public_key().decode()

    @contextmanager
    def open(self) -> Iterator[Vendor]:
        loop = asyncio.new_event_loop()
        ready = threading.Event()
        thread = threading.Thread(target=self._serve, args=(loop, ready), daemon=True)
        thread.start()
        assert ready.wait(60)
        try:
            yield self
        finally:
            loop.call_soon_threadsafe(loop.stop)
            thread.join(60)
            loop.close()

    def _serve(self, loop: asyncio.AbstractEventLoop, ready: threading.Event) -> None:
        asyncio.set_event_loop(loop)
        vendor = self

        class Files(asyncssh.SFTPServer):
            def __init__(self, chan: Any) -> None:
                super().__init__(chan, chroot=str(vendor.folder).encode())

            def open(self, path: bytes, pflags: int, attrs: Any) -> Any:
                if Path(path.decode()).name in vendor.denied:
                    raise asyncssh.SFTPPermissionDenied("denied")
                return (super().open(path, pflags, attrs), path.decode())

            def lstat(self, path: bytes) -> Any:
                if Path(path.decode()).name in vendor.unstated:
                    raise asyncssh.SFTPFailure("no attributes")
                hidden = vendor.hidden_attributes
                if not hidden:
                    return super().lstat(path)
                status = os.lstat(vendor.folder / path.decode().lstrip("/"))
                modified = None if "mtime" in hidden else int(status.st_mtime)
                return asyncssh.SFTPAttrs(
                    permissions=None if "type" in hidden else status.st_mode,
                    size=None if "size" in hidden else status.st_size,
                    atime=modified,
                    mtime=modified,
                )

            async def scandir(self, path: bytes) -> AsyncIterator[Any]:
                async for entry in super().scandir(path):
                    if vendor.hidden_attributes:
                        entry.attrs = self.lstat(b"/".join((path, os.fsencode(entry.filename))))
                    yield entry

            def read(self, file_obj: Any, offset: int, size: int) -> Any:
                vendor.reads += 1
                if vendor.on_read is not None:
                    vendor.on_read(Path(file_obj[1]).name, offset)
                return super().read(file_obj[0], offset, size)

            def close(self, file_obj: Any) -> None:
                super().close(file_obj[0])

            def fstat(self, file_obj: Any) -> Any:
                return super().fstat(file_obj[0])

        async def start() -> asyncssh.SSHAcceptor:
            return await asyncssh.listen(
                "127.0.0.1",
                0,
                server_host_keys=[self._host_key],
                authorized_client_keys=asyncssh.import_authorized_keys(self._public),
                sftp_factory=Files,
            )

        server = loop.run_until_complete(start())
        self.port = server.get_port()
        self.pin(self._host_key)
        ready.set()
        loop.run_forever()
        server.close()
        loop.run_until_complete(server.wait_closed())
        pending = asyncio.all_tasks(loop)
        for task in pending:
            task.cancel()
        loop.run_until_complete(asyncio.gather(*pending, return_exceptions=True))

    def pin(self, key: asyncssh.SSHKey) -> None:
        self.known_hosts.write_text(f"[127.0.0.1]:{self.port} {key.export_public_key().decode()}")

    def source(self, *, settle_seconds: float = 0, clock: Clock | None = None, max_bytes: int = 1 << 30) -> SftpSource:
        return open_sftp_source(
            self.port, self.known_hosts, self.user_key, settle_seconds=settle_seconds, clock=clock, max_bytes=max_bytes
        )

    def put(self, name: str, content: bytes, *, modified: datetime | None = None) -> Path:
        """Write a file into the outbox. modified: its time; by default, now."""
        path = self.outbox / name
        path.write_bytes(content)
        if modified is not None:
            os.utime(path, (modified.timestamp(), modified.timestamp()))
        return path

    def remove(self, name: str) -> None:
        (self.outbox / name).unlink(missing_ok=True)


def open_sftp_source(
    port: int,
    known_hosts: Path,
    private_key: str,
    *,
    folder: str = "/outbox",
    settle_seconds: float = 0,
    clock: Clock | None = None,
    max_bytes: int = 1 << 30,
) -> SftpSource:
    """Open a folder of an SFTP server on this machine as the source `clearinghouse`."""
    settings = SftpSettings(
        kind="sftp",
        address=f"127.0.0.1:{port}",
        folder=folder,
        known_hosts=known_hosts,
        settle_seconds=settle_seconds,
        max_bytes=max_bytes,
    )
    credentials = {"private_key": private_key}
    return SftpSource(SourceContext("clearinghouse", settings, known_hosts.parent, credentials, clock or SystemClock()))
