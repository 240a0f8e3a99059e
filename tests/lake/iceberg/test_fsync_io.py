"""Files of a table are on the disk before a commit names them."""

import os
from pathlib import Path

import pytest

from wellspring.lake.iceberg.fsync_io import DurableFileIO


def test_a_file_and_its_folder_are_synced_when_it_is_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    synced: list[str] = []
    fsync = os.fsync

    def watched(handle: int) -> None:
        synced.append(os.readlink(f"/proc/self/fd/{handle}"))
        fsync(handle)

    monkeypatch.setattr(os, "fsync", watched)
    path = tmp_path / "new" / "data.parquet"
    output = DurableFileIO().new_output(str(path))
    with output.create() as stream:
        stream.write(b"bytes")
        assert str(path) not in synced
    stream.close()
    assert synced[-2:] == [str(path), str(path.parent)]
    assert str(tmp_path) in synced
    assert (path.read_bytes(), len(output)) == (b"bytes", 5)


def test_a_file_is_overwritten_only_when_asked(tmp_path: Path):
    path = tmp_path / "once"
    output = DurableFileIO().new_output(str(path))
    with output.create() as stream:
        stream.write(b"first")
    with pytest.raises(FileExistsError):
        output.create()
    with output.create(overwrite=True) as stream:
        stream.write(b"second")
    assert path.read_bytes() == b"second"
