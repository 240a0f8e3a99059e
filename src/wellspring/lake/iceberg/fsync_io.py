"""pyiceberg FileIO for a local disk that calls fsync on each file and its folder before a commit names the file.

Only pyiceberg imports this module, by the class name in the catalog's properties, so it imports pyiceberg at the top.
"""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import TYPE_CHECKING, cast

from pyiceberg.io.pyarrow import PyArrowFile, PyArrowFileIO  # noqa: TID253 - see above

from wellspring.runtime.files import fsync_folder

if TYPE_CHECKING:
    from pyiceberg.io import OutputStream

FILE_IO_CLASS = "wellspring.lake.iceberg.fsync_io.DurableFileIO"
"""Value of the catalog's property `py-io-impl`."""


class DurableFileIO(PyArrowFileIO):
    """Reads like PyArrowFileIO; writes files that survive a power loss after the commit that names them."""

    def new_output(self, location: str) -> PyArrowFile:
        scheme, netloc, path = self.parse_location(location, self.properties)
        return _DurableOutputFile(location, path, self.fs_by_scheme(scheme, netloc))


class _DurableOutputFile(PyArrowFile):
    def create(self, overwrite: bool = False) -> OutputStream:
        path = Path(self._path)
        _create_folder(path.parent)
        # The protocol's parameter names differ from those of io.
        return cast("OutputStream", _FsyncStream(path, "wb" if overwrite else "xb"))


class _FsyncStream(io.BufferedWriter):
    def __init__(self, path: Path, mode: str) -> None:
        super().__init__(io.FileIO(path, mode))
        self._folder = path.parent

    def close(self) -> None:
        if self.closed:
            return
        self.flush()
        os.fsync(self.fileno())
        super().close()
        fsync_folder(self._folder)


def _create_folder(folder: Path) -> None:
    if folder.is_dir():
        return
    _create_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    fsync_folder(folder.parent)
