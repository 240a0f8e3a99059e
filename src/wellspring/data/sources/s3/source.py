"""Objects of a bucket. An object is read in the version it had when opened; one replaced during the read is refused."""

from __future__ import annotations

import email.utils
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, NamedTuple

from wellspring.data.sources.port import (
    FileStream,
    RemoteFile,
    SourceContext,
    check_size,
    compile_glob,
    file_not_found,
    file_still_writing,
    file_unreadable,
    is_ignored,
    is_unsafe,
    judge_age,
)
from wellspring.data.sources.s3.connection import METADATA_URL, create_client
from wellspring.data.sources.s3.failures import (
    ObjectChanged,
    ObjectMissing,
    ObjectUnreadable,
    check_region,
    map_errors,
    missing_bucket,
)
from wellspring.data.sources.s3.settings import S3Settings
from wellspring.errors import Refused, Unavailable

_UNVERSIONED = "null"


class _ObjectVersion(NamedTuple):
    """An object as it is now. version: empty in a bucket without versions."""

    file: RemoteFile
    etag: str
    version: str


class S3Source:
    """The objects of one bucket below one prefix. Each operation sends requests; nothing is cached."""

    def __init__(self, context: SourceContext, *, metadata_url: str = METADATA_URL) -> None:
        assert isinstance(context.settings, S3Settings)
        self.name = context.name
        self._context = context
        self._settings = context.settings
        self._metadata_url = metadata_url
        self._glob = compile_glob(context.settings.glob)

    @cached_property
    def _client(self) -> Any:
        with map_errors(self.name, self._settings):
            return create_client(self._context, self._settings, metadata_url=self._metadata_url)

    def list(self) -> tuple[RemoteFile, ...]:
        objects: list[tuple[str, Mapping[str, Any]]] = []
        instants: list[datetime] = []
        options = {"Bucket": self._settings.bucket, "Prefix": self._settings.key_prefix}
        if "/" not in self._settings.glob and "**" not in self._settings.glob:
            # Keys below another slash cannot match: S3 leaves them out.
            options["Delimiter"] = "/"
        with self._map_object_errors(""):
            for page in self._client.get_paginator("list_objects_v2").paginate(**options):
                instants.append(self._server_time(page))
                for item in page.get("Contents", ()):
                    name = str(item["Key"]).removeprefix(self._settings.key_prefix)
                    if self._is_delivered(name) or self._is_filled_marker(name, item["Size"]):
                        objects.append((name, item))
        files = [self._remote_file(name, item["Size"], item, max(instants)) for name, item in objects]
        return tuple(sorted(files, key=lambda file: (file.modified, file.name)))

    def stat(self, name: str) -> RemoteFile:
        return self._head(name).file

    @contextmanager
    def open(self, name: str) -> Generator[FileStream]:
        version = self._head(name)
        if version.file.still_writing:
            raise file_still_writing(self.name, name)
        check_size(self.name, name, version.file.size, max_bytes=self._settings.max_bytes)
        options = {"VersionId": version.version} if version.version else {}
        with self._map_object_errors(name):
            response = self._client.get_object(
                Bucket=self._settings.bucket, Key=self._key(name), IfMatch=version.etag, **options
            )
        stream = S3Stream(self, version, response["Body"])
        try:
            yield stream
        finally:
            response["Body"].close()

    def _head(self, name: str) -> _ObjectVersion:
        key = self._key(name)
        with self._map_object_errors(name):
            response = self._client.head_object(Bucket=self._settings.bucket, Key=key)
        version = str(response.get("VersionId", ""))
        file = self._remote_file(name, response["ContentLength"], response, self._server_time(response))
        return _ObjectVersion(file, str(response["ETag"]), "" if version == _UNVERSIONED else version)

    def _key(self, name: str) -> str:
        if not self._is_delivered(name):
            raise file_not_found(self.name, name)
        return self._settings.key_prefix + name

    def _is_delivered(self, name: str) -> bool:
        """Return whether the rest of a key is a file of this source: not a folder marker, not ignored, in the glob."""
        last_part = name.rpartition("/")[2]
        if is_ignored(last_part) and not is_unsafe(name):
            return False
        return bool(last_part) and self._glob.fullmatch(name) is not None

    def _is_filled_marker(self, name: str, size: int) -> bool:
        """Return whether a key looks like a folder and has content: an unsafe name, which must not vanish."""
        return name.endswith("/") and size > 0 and self._glob.fullmatch(name) is not None

    def _remote_file(self, name: str, size: int, attributes: Mapping[str, Any], now: datetime) -> RemoteFile:
        modified = _modified_at(attributes)
        settling, seconds_ahead = judge_age(modified, now, self._settings.settle_seconds)
        return RemoteFile(name, int(size), modified, settling, str(attributes["ETag"]).strip('"'), seconds_ahead)

    def _server_time(self, response: Mapping[str, Any]) -> datetime:
        """Return the time of the server at a response. Raises Refused if the bucket is in another region."""
        headers: Mapping[str, str] = response["ResponseMetadata"]["HTTPHeaders"]
        check_region(self.name, self._settings, headers)
        try:
            return email.utils.parsedate_to_datetime(headers.get("date", "")).astimezone(UTC)
        except ValueError:
            return self._context.clock.now()

    @contextmanager
    def _map_object_errors(self, name: str) -> Generator[None]:
        try:
            with map_errors(self.name, self._settings):
                yield
        except ObjectMissing:
            error = file_not_found(self.name, name) if name else missing_bucket(self.name, self._settings)
            raise error from None
        except ObjectChanged:
            raise file_still_writing(self.name, name) from None
        except ObjectUnreadable as refusal:
            if not name:
                error_type = Unavailable if refusal.is_temporary else Refused
                raise error_type(refusal.what, fix=refusal.fix) from None
            raise file_unreadable(self.name, name, refusal.what, fix=refusal.fix) from None


class S3Stream:
    """One version of an object. At its end it must still be the current one."""

    def __init__(self, source: S3Source, version: _ObjectVersion, body: Any) -> None:
        self.file = version.file
        self._source = source
        self._version = version
        self._body = body
        self._offset = 0

    def read(self, size: int, /) -> bytes:
        with self._source._map_object_errors(self.file.name):
            block = bytes(self._body.read(size))
        self._offset += len(block)
        if block and self._offset <= self.file.size:
            return block
        current = self._source._head(self.file.name)
        if self._offset != self.file.size or (current.etag, current.version) != self._version[1:]:
            raise file_still_writing(self._source.name, self.file.name)
        return b""


def _modified_at(attributes: Mapping[str, Any]) -> datetime:
    """Return when an object was written. A listing has milliseconds, a header has not."""
    modified: datetime = attributes["LastModified"]
    return modified.astimezone(UTC).replace(microsecond=0)
