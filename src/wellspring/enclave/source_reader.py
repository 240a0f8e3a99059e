"""Read one file of a source: report the progress, and record a finding if the file cannot be read."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager

from wellspring.data.sources.port import FileSource, FileStream, RemoteFile, file_still_writing
from wellspring.enclave.findings import FindingRecorder
from wellspring.errors import NotFound, Refused, WellspringError
from wellspring.trust.vault.port import ProgressCallback


class SourceReader:
    """A stream of a source that reports each read. failure: the error of a read, if one failed."""

    def __init__(
        self,
        stream: FileStream,
        report_progress: ProgressCallback,
        record_deleted: Callable[[], None],
        record_refused: Callable[[Refused], None],
    ) -> None:
        self._stream = stream
        self._report_progress = report_progress
        self._record_deleted = record_deleted
        self._record_refused = record_refused
        self._done = 0
        self.failure: WellspringError | None = None

    @property
    def file(self) -> RemoteFile:
        return self._stream.file

    def read(self, size: int, /) -> bytes:
        try:
            block = self._stream.read(size)
        except WellspringError as exc:
            self.failure = exc
            if isinstance(exc, NotFound):
                self._record_deleted()
            elif isinstance(exc, Refused):
                self._record_refused(exc)
            raise
        self._done += len(block)
        if block:
            self._report_progress("fetch", self._done, self._stream.file.size)
        return block


@contextmanager
def open_file(
    source: str,
    name: str,
    file_source: FileSource,
    *,
    version: str,
    is_settled: Callable[[RemoteFile], bool],
    findings: FindingRecorder,
    report_progress: ProgressCallback,
) -> Generator[SourceReader]:
    """Open a file; record a finding if the source refuses it, or if it is deleted while it is read.

    version: of the file when it was listed. Raises as the source does, and Refused (`still_writing`) for a file that
    is not settled.
    """

    def record_deleted() -> None:
        findings.record_finding("deleted_while_read", source, name, "it was deleted during the read", version=version)

    def record_refused(refused: Refused) -> None:
        findings.record_refused_file(source, name, refused, version=version)

    # Errors of the caller, such as a key that the key server does not find, are not about the file.
    with ExitStack() as stack:
        try:
            stream = stack.enter_context(file_source.open(name))
        except Refused as refused:
            record_refused(refused)
            raise
        if not is_settled(stream.file):
            raise file_still_writing(source, name)
        yield SourceReader(stream, report_progress, record_deleted, record_refused)
