"""A source that reads a folder of the machine."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, Literal

from wellspring.stable import (
    RemoteFile,
    SourceContext,
    SourceKind,
    SourceProblem,
    SourceSettings,
    check_size,
    file_not_found,
    file_still_writing,
    is_ignored,
    is_unsafe,
    judge_age,
)


class FolderSettings(SourceSettings):
    """[sources.NAME] of kind folder. folder: relative to the project."""

    kind: Literal["folder"]
    folder: Path

    @property
    def place(self) -> str:
        return str(self.folder)

    def readable_paths(self, root: Path) -> tuple[Path, ...]:
        return (root / self.folder,)  # the confined enclave can open no other path

    def secret_path(self, name: str) -> str | None:
        return None  # no credentials


class FolderStream:
    def __init__(self, source: "FolderSource", file: RemoteFile, handle: BinaryIO) -> None:
        self.file = file
        self._source = source
        self._handle = handle

    def read(self, size: int, /) -> bytes:
        if block := self._handle.read(size):
            return block
        if self._source.stat(self.file.name) != self.file:  # changed during the read; raises NotFound if deleted
            raise file_still_writing(self._source.name, self.file.name)
        return b""


class FolderSource:
    def __init__(self, context: SourceContext) -> None:
        assert isinstance(context.settings, FolderSettings)
        self.name, self._settings, self._clock = context.name, context.settings, context.clock
        self._folder = context.root / context.settings.folder

    def list(self) -> tuple[RemoteFile, ...]:
        states = {
            entry.name: entry.stat(follow_symlinks=False)
            for entry in os.scandir(self._folder)
            if entry.is_file(follow_symlinks=False) and not is_ignored(entry.name)
        }
        files: list[RemoteFile] = []
        for name, state in states.items():
            modified = datetime.fromtimestamp(state.st_mtime, UTC)
            # A shared folder may have a clock that runs ahead of this machine's.
            settling, seconds_ahead = judge_age(modified, self._clock.now(), self._settings.settle_seconds)
            files.append(RemoteFile(name, state.st_size, modified, settling, seconds_ahead=seconds_ahead))
        return tuple(sorted(files, key=lambda file: (file.modified, file.name)))

    def stat(self, name: str) -> RemoteFile:
        files = [file for file in self.list() if file.name == name]
        if not files or is_unsafe(name):
            raise file_not_found(self.name, name)
        return files[0]

    @contextmanager
    def open(self, name: str) -> Iterator[FolderStream]:
        file = self.stat(name)
        if file.still_writing:
            raise file_still_writing(self.name, name)
        check_size(self.name, name, file.size, max_bytes=self._settings.max_bytes)
        with (self._folder / name).open("rb") as handle:
            yield FolderStream(self, file, handle)


def find_problems(settings: SourceSettings, root: Path) -> Iterator[SourceProblem]:
    """Report a folder that does not exist."""
    for folder in settings.readable_paths(root):
        if not folder.is_dir():
            yield SourceProblem(f"the folder {folder} does not exist", f"create it: mkdir {folder}")


FOLDER = SourceKind(
    settings=FolderSettings,
    open=FolderSource,
    template='kind = "folder"\nfolder = "inbox"\n',
    find_problems=find_problems,
)
