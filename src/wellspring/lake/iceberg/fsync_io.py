"""pyiceberg FileIO for a local disk that calls fsync on each file and its folder before a commit names the file.

Only pyiceberg imports this module, by the class name in the catalog's properties, so it imports pyiceberg at the top.
"""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, cast

from pyiceberg.io.pyarrow import PyArrowFile, PyArrowFileIO  # noqa: TID253 - see above

from wellspring.lake.file_pins import PinnedFile
from wellspring.runtime.files import fsync_folder

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer
    from pyarrow.fs import FileSystem
    from pyiceberg.io import OutputStream

FILE_IO_CLASS = "wellspring.lake.iceberg.fsync_io.DurableFileIO"
"""Value of the catalog's property `py-io-impl`."""
DATA_SUFFIX = ".parquet"


class DurableFileIO(PyArrowFileIO):
    """Reads like PyArrowFileIO; writes files that survive a power loss after the commit that names them.

    written_files: the data files written through it and not yet taken, by path, hashed while they were written.
    """

    def __init__(self, properties: dict[str, str] | None = None) -> None:
        super().__init__(properties or {})
        self.written_files: dict[str, PinnedFile] = {}

    def new_output(self, location: str) -> PyArrowFile:
        scheme, netloc, path = self.parse_location(location, self.properties)
        return _DurableOutputFile(location, path, self.fs_by_scheme(scheme, netloc), self.written_files)


class _DurableOutputFile(PyArrowFile):
    def __init__(self, location: str, path: str, fs: FileSystem, written_files: dict[str, PinnedFile]) -> None:
        super().__init__(location, path, fs)
        self._written_files = written_files

    def create(self, overwrite: bool = False) -> OutputStream:
        path = Path(self._path)
        _create_folder(path.parent)
        # The protocol's parameter names differ from those of io.
        return cast("OutputStream", _FsyncStream(path, "wb" if overwrite else "xb", self._note_written))

    def _note_written(self, size: int, sha256: str) -> None:
        if self.location.endswith(DATA_SUFFIX):
            self._written_files[self.location] = PinnedFile(self.location, size, sha256)


class _FsyncStream(io.BufferedWriter):
    """Append only: what is hashed is what is written. on_close: gets size and SHA-256."""

    def __init__(self, path: Path, mode: str, on_close: Callable[[int, str], None]) -> None:
        super().__init__(io.FileIO(path, mode))
        self._folder = path.parent
        self._hash = hashlib.sha256()
        self._size = 0
        self._on_close = on_close

    def write(self, content: ReadableBuffer, /) -> int:
        self._hash.update(content)
        written = super().write(content)
        self._size += written
        return written

    def seekable(self) -> bool:
        return False

    def close(self) -> None:
        if self.closed:
            return
        self.flush()
        os.fsync(self.fileno())
        super().close()
        fsync_folder(self._folder)
        self._on_close(self._size, self._hash.hexdigest())


def _create_folder(folder: Path) -> None:
    if folder.is_dir():
        return
    _create_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    fsync_folder(folder.parent)
