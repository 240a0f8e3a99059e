"""Vendor folder over SFTP, with a pinned host key. Files that are still being written are not fetched."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, TypeVar

from wellspring.data.sources.port import ByteProgress, FetchedFile, RemoteFile
from wellspring.errors import NotFound, Refused, Unavailable
from wellspring.records.clock import Clock
from wellspring.records.verdict import Reason, Verdict

if TYPE_CHECKING:
    import asyncssh

T = TypeVar("T")

MAX_FILE_SIZE = 2 << 30
_READ_SIZE = 1 << 20
_UNFINISHED_SUFFIXES = (".part", ".tmp")
_TIMEOUT = 15.0


class SftpSource:
    """One folder of one SFTP server.

    known_hosts: OpenSSH file that pins the host key of the server. The check cannot be disabled: an empty file matches
    no server. private_key: OpenSSH text. address: returns (host, port); called for each connection, because a
    restarted server may have another port.
    """

    def __init__(
        self,
        name: str,
        *,
        address: Callable[[], tuple[str, int]],
        user: str,
        folder: str,
        private_key: str,
        known_hosts: Path,
        settle_seconds: float,
        clock: Clock,
        max_size: int = MAX_FILE_SIZE,
    ) -> None:
        self.name = name
        self._address = address
        self._user = user
        self._folder = PurePosixPath(folder)
        self._private_key = private_key
        self._known_hosts = known_hosts
        self._settle_seconds = settle_seconds
        self._clock = clock
        self._max_size = max_size

    def list(self) -> tuple[RemoteFile, ...]:
        return self._run_session(self._list())

    def stat(self, name: str) -> RemoteFile:
        return self._run_session(self._stat_file(name))

    def fetch(self, name: str, *, progress: ByteProgress | None = None) -> FetchedFile:
        return self._run_session(self._fetch(name, progress))

    def _run_session(self, operation: Coroutine[Any, Any, T]) -> T:
        """Run one SFTP session and convert its errors to wellspring errors."""
        import asyncssh

        try:
            return asyncio.run(operation)
        except asyncssh.HostKeyNotVerifiable:
            raise Refused(
                f"source {self.name!r} has a host key that is not in {self._known_hosts}",
                fix="ask the vendor whether the key changed; only then replace the pinned key",
            ) from None
        except asyncssh.PermissionDenied:
            raise Refused(
                f"source {self.name!r} rejected the login of {self._user!r}",
                fix="give the vendor the public key of the secret enclave/sftp",
            ) from None
        except asyncssh.SFTPPermissionDenied:
            raise Refused(
                f"source {self.name!r} does not allow {self._user!r} to read the folder",
                fix="ask the vendor for read permission",
            ) from None
        except (OSError, asyncssh.Error) as exc:
            raise Unavailable(
                f"source {self.name!r} does not answer ({type(exc).__name__})", fix="try again later"
            ) from None

    @asynccontextmanager
    async def _connect(self) -> AsyncIterator[asyncssh.SFTPClient]:
        import asyncssh

        try:
            pinned = asyncssh.import_known_hosts(self._known_hosts.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise Refused(
                f"source {self.name!r} has no pinned host key: {self._known_hosts} does not exist",
                fix="write the host key of the vendor to it, in the known_hosts format of OpenSSH",
            ) from None
        except ValueError:
            raise Refused(
                f"{self._known_hosts} is not in the known_hosts format of OpenSSH", fix="write `host keytype key` lines"
            ) from None
        try:
            key = asyncssh.import_private_key(self._private_key)
        except asyncssh.KeyImportError:
            raise Refused(
                "the secret enclave/sftp is not a private key in OpenSSH format",
                fix="write the secret again, or run `wellspring up`",
            ) from None
        host, port = self._address()
        # config and agent_path: the SSH configuration of the account may not add a key, a host or a proxy.
        connection = await asyncssh.connect(
            host,
            port,
            username=self._user,
            client_keys=[key],
            known_hosts=pinned,
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

    async def _list(self) -> tuple[RemoteFile, ...]:
        import asyncssh
        from asyncssh.constants import FILEXFER_TYPE_REGULAR

        async with self._connect() as sftp:
            try:
                entries = [entry async for entry in sftp.scandir(str(self._folder))]
            except asyncssh.SFTPNoSuchFile:
                raise NotFound(
                    f"source {self.name!r} has no folder {str(self._folder)!r}", fix="check `folder` in wellspring.toml"
                ) from None
        files = [(str(entry.filename), entry.attrs) for entry in entries if entry.attrs.type == FILEXFER_TYPE_REGULAR]
        now = self._server_now([attrs for _, attrs in files])
        remote_files = [self._remote_file(name, attrs, now) for name, attrs in files if not is_ignored(name)]
        return tuple(sorted(remote_files, key=lambda file: (file.modified, file.name)))

    async def _stat_file(self, name: str) -> RemoteFile:
        async with self._connect() as sftp:
            attrs = await self._read_attributes(sftp, name)
        return self._remote_file(name, attrs, self._server_now([attrs]))

    async def _fetch(self, name: str, progress: ByteProgress | None) -> FetchedFile:
        import asyncssh

        async with self._connect() as sftp:
            before = await self._read_attributes(sftp, name)
            if self._remote_file(name, before, self._server_now([before])).still_writing:
                raise self._still_writing(name)
            total = before.size or 0
            if total > self._max_size:
                raise Refused(
                    f"a file of source {self.name!r} has {total:,} bytes, more than the limit of {self._max_size:,}",
                    fix="ask the vendor for smaller files",
                )
            content = bytearray()
            hasher = hashlib.sha256()
            try:
                async with sftp.open(self._path(name), "rb", block_size=131072) as file:
                    # Requests one byte past the end, to detect a file that grew during the read.
                    while block := await file.read(min(_READ_SIZE, total + 1 - len(content)), len(content)):
                        content += block
                        hasher.update(block)
                        if len(content) > total:
                            break
                        if progress is not None:
                            progress(len(content), total)
            except asyncssh.SFTPNoSuchFile:
                raise self._not_found(name) from None
            after = await self._read_attributes(sftp, name)
        if len(content) != total or (after.size, after.mtime) != (before.size, before.mtime):
            raise self._still_writing(name)
        return FetchedFile(bytes(content), hasher.hexdigest(), _modified_at(after))

    async def _read_attributes(self, sftp: asyncssh.SFTPClient, name: str) -> asyncssh.SFTPAttrs:
        import asyncssh
        from asyncssh.constants import FILEXFER_TYPE_REGULAR

        try:
            attrs = await sftp.lstat(self._path(name))
        except asyncssh.SFTPNoSuchFile:
            raise self._not_found(name) from None
        if attrs.type != FILEXFER_TYPE_REGULAR:
            raise self._not_found(name)
        return attrs

    def _path(self, name: str) -> str:
        if "/" in name or "\0" in name or is_ignored(name):
            raise self._not_found(name)
        return str(self._folder / name)

    def _remote_file(self, name: str, attrs: asyncssh.SFTPAttrs, now: datetime) -> RemoteFile:
        modified = _modified_at(attrs)
        return RemoteFile(name, attrs.size or 0, modified, (now - modified).total_seconds() < self._settle_seconds)

    def _server_now(self, attributes: list[asyncssh.SFTPAttrs]) -> datetime:
        """Estimate the time of the server. SFTP does not report it, but its clock is not behind the newest file."""
        return max([self._clock.now(), *map(_modified_at, attributes)])

    def _not_found(self, name: str) -> NotFound:
        return NotFound(f"source {self.name!r} has no file {name!r}", fix="list the source again")

    def _still_writing(self, name: str) -> Refused:
        reason = Reason(code="still_writing", message="it changed during the read, or just before")
        return Refused(
            f"{name!r} of source {self.name!r} is still being written",
            fix="try again when the vendor has finished it",
            verdict=Verdict(subject=f"source:{self.name}", outcome="inconclusive", reasons=(reason,)),
        )


def is_ignored(name: str) -> bool:
    """Return whether a name is a dotfile or has the suffix of an unfinished file."""
    return name.startswith(".") or name.lower().endswith(_UNFINISHED_SUFFIXES)


def _modified_at(attrs: asyncssh.SFTPAttrs) -> datetime:
    return datetime.fromtimestamp(attrs.mtime or 0, UTC)
