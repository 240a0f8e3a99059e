"""Read one file of a source: report the progress, and record a finding if the file cannot be read."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from wellspring.data.sources.port import FileSource, FileStream, RemoteFile
from wellspring.enclave.findings import FindingRecorder
from wellspring.errors import NotFound, Refused
from wellspring.trust.vault.port import ProgressCallback


class SourceReader:
    """A stream of a source that reports each read."""

    def __init__(self, stream: FileStream, report_progress: ProgressCallback) -> None:
        self._stream = stream
        self._report_progress = report_progress
        self._done = 0

    @property
    def file(self) -> RemoteFile:
        return self._stream.file

    def read(self, size: int, /) -> bytes:
        block = self._stream.read(size)
        self._done += len(block)
        if block:
            self._report_progress("fetch", self._done, self._stream.file.size)
        return block


@contextmanager
def open_file(
    source: str, name: str, file_source: FileSource, *, findings: FindingRecorder, report_progress: ProgressCallback
) -> Generator[SourceReader]:
    """Open a file; record a finding if it is too large, or is deleted while it is read. Raises as the source does."""
    is_open = False
    try:
        with file_source.open(name) as stream:
            is_open = True
            yield SourceReader(stream, report_progress)
    except NotFound:
        if is_open:
            findings.record_finding("deleted_while_read", source, name, "it was deleted during the read")
        raise
    except Refused as refused:
        findings.record_too_large(source, name, refused)
        raise
