"""Vendor folder over SFTP, with a pinned host key. Files that are still being written are not read."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Coroutine, Generator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, TypeVar

from wellspring.data.sources.port import (
    FileStream,
    RemoteFile,
    SourceContext,
    check_size,
    file_not_found,
    file_still_writing,
    file_unreadable,
    is_ignored,
    judge_age,
)
from wellspring.data.sources.sftp.settings import EMBEDDED, SftpSettings
from wellspring.errors import NotFound, Refused, Unavailable

if TYPE_CHECKING:
    import asyncssh

T = TypeVar("T")

_BLOCK_SIZE = 131072
_TIMEOUT = 15.0


class SftpSource:
    """One folder of one SFTP server.

    The check of the host key cannot be disabled: an empty file of pinned keys matches no server.
    """

    def __init__(self, context: SourceContext) -> None:
        assert isinstance(context.settings, SftpSettings)
        self.name = context.name
        self._settings = context.settings
        self._known_hosts = context.root / context.settings.known_hosts
        self._folder = PurePosixPath(context.settings.folder)
        self._private_key = context.credentials.get("private_key", "")
        self._clock = context.clock

    def list(self) -> tuple[RemoteFile, ...]:
        with asyncio.Runner() as runner:
            return self._run(runner, self._list())

    def stat(self, name: str) -> RemoteFile:
        with asyncio.Runner() as runner:
            return self._run(runner, self._stat_file(name))

    @contextmanager
    def open(self, name: str) -> Generator[FileStream]:
        with asyncio.Runner() as runner:
            connection = self._connect()
            sftp = self._run(runner, connection.__aenter__())
            try:
                stream = SftpStream(self, runner, sftp, name)
                try:
                    yield stream
                finally:
                    stream.close()
            finally:
                self._run(runner, connection.__aexit__(None, None, None))

    def _run(self, runner: asyncio.Runner, operation: Coroutine[Any, Any, T]) -> T:
        """Run an operation and convert its errors to wellspring errors."""
        import asyncssh

        try:
            return runner.run(operation)
        except asyncssh.HostKeyNotVerifiable:
            raise Refused(
                f"source {self.name!r} has a host key that is not in {self._known_hosts}",
                fix="ask the vendor whether the key changed; only then replace the pinned key",
            ) from None
        except asyncssh.PermissionDenied:
            raise Refused(
                f"source {self.name!r} rejected the login of {self._settings.user!r}",
                fix=f"give the vendor the public key of the secret {self._settings.secret_path(self.name)}",
            ) from None
        except asyncssh.SFTPPermissionDenied:
            raise Refused(
                f"source {self.name!r} does not allow {self._settings.user!r} to read the folder",
                fix="ask the vendor for read permission",
            ) from None
        except (OSError, asyncssh.Error) as exc:
            raise Unavailable(
                f"source {self.name!r} does not answer ({type(exc).__name__})", fix="try again later"
            ) from None

    @asynccontextmanager
    async def _connect(self) -> AsyncIterator[asyncssh.SFTPClient]:
        import asyncssh

        host, port = self._address()
        # config and agent_path: the SSH configuration of the account may not add a key, a host or a proxy.
        connection = await asyncssh.connect(
            host,
            port,
            username=self._settings.user,
            client_keys=[self._login_key()],
            known_hosts=self._pinned_keys(),
            config=None,
            agent_path=None,
            preferred_auth="publickey",
            connect_timeout=_TIMEOUT,
            login_timeout=_TIMEOUT,
            keepalive_interval=_TIMEOUT,
        )
        # A name that is not UTF-8 is listed with escapes: it becomes a finding, and the other files are still listed.
        async with connection, connection.start_sftp_client(path_errors="backslashreplace") as sftp:
            yield sftp

    def _pinned_keys(self) -> asyncssh.SSHKnownHosts:
        import asyncssh

        try:
            return asyncssh.import_known_hosts(self._known_hosts.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise Refused(
                f"source {self.name!r} has no pinned host key: {self._known_hosts} does not exist",
                fix="write the host key of the vendor to it, in the known_hosts format of OpenSSH",
            ) from None
        except ValueError:
            raise Refused(
                f"{self._known_hosts} is not in the known_hosts format of OpenSSH", fix="write `host keytype key` lines"
            ) from None

    def _login_key(self) -> asyncssh.SSHKey:
        import asyncssh

        try:
            return asyncssh.import_private_key(self._private_key)
        except asyncssh.KeyImportError:
            raise Refused(
                f"the secret {self._settings.secret_path(self.name)} is not a private key in OpenSSH format",
                fix=f"store it again with `wellspring source login {self.name}`",
            ) from None

    def _address(self) -> tuple[str, int]:
        """Return host and port, for each connection again: a restarted embedded server may have another port."""
        return find_address(self.name, self._settings, self._known_hosts)

    async def _list(self) -> tuple[RemoteFile, ...]:
        import asyncssh

        async with self._connect() as sftp:
            try:
                entries = [entry async for entry in sftp.scandir(str(self._folder))]
            except asyncssh.SFTPNoSuchFile:
                raise NotFound(
                    f"source {self.name!r} has no folder {str(self._folder)!r}", fix="check `folder` in wellspring.toml"
                ) from None
        files = [(str(entry.filename), entry.attrs) for entry in entries if entry.attrs.type in _file_types()]
        # Without types, the folder itself and its parent look like files.
        named = [(name, attrs) for name, attrs in files if name not in (".", "..")]
        remote_files = [self._remote_file(name, attrs) for name, attrs in named if not is_ignored(name)]
        return tuple(sorted(remote_files, key=lambda file: (file.modified, file.name)))

    async def _stat_file(self, name: str) -> RemoteFile:
        async with self._connect() as sftp:
            return await self._read_file_state(sftp, name)

    async def _read_file_state(self, sftp: asyncssh.SFTPClient, name: str) -> RemoteFile:
        import asyncssh

        try:
            attrs = await sftp.lstat(self._path(name))
        except asyncssh.SFTPNoSuchFile:
            raise file_not_found(self.name, name) from None
        if attrs.type not in _file_types():
            raise file_not_found(self.name, name)
        if attrs.size is None:
            raise file_unreadable(
                self.name, name, "the server does not report its size", fix="ask the vendor for a server that does"
            )
        return self._remote_file(name, attrs)

    async def _open_file(self, sftp: asyncssh.SFTPClient, name: str) -> tuple[RemoteFile, asyncssh.SFTPClientFile]:
        import asyncssh

        try:
            file = await self._read_file_state(sftp, name)
            if file.still_writing:
                raise file_still_writing(self.name, name)
            check_size(self.name, name, file.size, max_bytes=self._settings.max_bytes)
            return file, await sftp.open(self._path(name), "rb", block_size=_BLOCK_SIZE)
        except asyncssh.SFTPNoSuchFile:
            raise file_not_found(self.name, name) from None
        except (asyncssh.SFTPPermissionDenied, asyncssh.SFTPFailure) as exc:
            raise self._unreadable(name, exc) from None

    def _unreadable(self, name: str, cause: Exception) -> Refused:
        """Return the error for one file that the server does not give; the other files may be readable."""
        what = f"the server does not give it ({type(cause).__name__})"
        return file_unreadable(self.name, name, what, fix="ask the vendor for read permission on the file")

    def _path(self, name: str) -> str:
        if "/" in name or "\0" in name or is_ignored(name):
            raise file_not_found(self.name, name)
        return str(self._folder / name)

    def _remote_file(self, name: str, attrs: asyncssh.SFTPAttrs) -> RemoteFile:
        # SFTP does not report the time of the server. One file with a wrong date must not age the others.
        size = attrs.size or 0
        if attrs.mtime is None:
            return RemoteFile(name, size, datetime.fromtimestamp(0, UTC), still_writing=False, is_dated=False)
        modified = datetime.fromtimestamp(attrs.mtime, UTC)
        settling, seconds_ahead = judge_age(modified, self._clock.now(), self._settings.settle_seconds)
        return RemoteFile(name, size, modified, settling, seconds_ahead=seconds_ahead)


class SftpStream:
    """An open file of an SFTP server. Each read runs the connection's event loop until the bytes are here."""

    def __init__(self, source: SftpSource, runner: asyncio.Runner, sftp: asyncssh.SFTPClient, name: str) -> None:
        self._source = source
        self._runner = runner
        self._sftp = sftp
        self.file, self._handle = source._run(runner, source._open_file(sftp, name))
        self._offset = 0

    def read(self, size: int) -> bytes:
        return self._source._run(self._runner, self._read(size))

    def close(self) -> None:
        """Close the file on the server."""
        self._source._run(self._runner, self._handle.close())

    async def _read(self, size: int) -> bytes:
        import asyncssh

        # Requests one byte past the end, to detect a file that grew during the read.
        wanted_size = min(size, self.file.size + 1 - self._offset)
        try:
            block = await self._handle.read(wanted_size, self._offset)
        except asyncssh.SFTPNoSuchFile:
            raise file_not_found(self._source.name, self.file.name) from None
        except (asyncssh.SFTPPermissionDenied, asyncssh.SFTPFailure) as exc:
            raise self._source._unreadable(self.file.name, exc) from None
        self._offset += len(block)
        if block and self._offset <= self.file.size:
            return block
        after = await self._source._read_file_state(self._sftp, self.file.name)
        if self._offset != self.file.size or (after.size, after.modified) != (self.file.size, self.file.modified):
            raise file_still_writing(self._source.name, self.file.name)
        return b""


def find_address(name: str, settings: SftpSettings, known_hosts: Path) -> tuple[str, int]:
    """Return host and port of a source. Raises Unavailable if the embedded server is not running.

    The port of the embedded server comes from its pinned host key: run.json is written after the enclave has confined
    itself, so the enclave cannot read that file.
    """
    if settings.address != EMBEDDED:
        host, _, port = settings.address.rpartition(":")
        return (host, int(port)) if host and port.isdigit() else (settings.address, 22)
    try:
        pinned_hosts = known_hosts.read_text(encoding="utf-8")
    except FileNotFoundError:
        pinned_hosts = ""
    match = re.match(r"\[(127\.0\.0\.1)\]:([0-9]+) ", pinned_hosts)
    if match is None:
        raise Unavailable(f"the embedded vendor of {name!r} is not running", fix="run `wellspring up`")
    return match[1], int(match[2])


def _file_types() -> tuple[int, int]:
    """Return the types of files: a server that reports no type must not make its files vanish."""
    from asyncssh.constants import FILEXFER_TYPE_REGULAR, FILEXFER_TYPE_UNKNOWN

    return FILEXFER_TYPE_REGULAR, FILEXFER_TYPE_UNKNOWN
