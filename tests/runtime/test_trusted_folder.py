"""No link is followed by what root does below a folder of a service; owner and mode are set on what was opened."""

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from wellspring.errors import Refused
from wellspring.runtime import trusted_folder
from wellspring.runtime.trusted_folder import (
    FileOwner,
    change_owners,
    copy_tree,
    create_folder,
    create_missing_folders,
    move_file,
    open_appending,
    read_file,
    remove_file,
    remove_tree,
    set_path_owner,
    write_file,
)

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a path to another user")


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    """A folder outside, with a file that only its owner may read."""
    folder = tmp_path / "victim"
    folder.mkdir(mode=0o700)
    (folder / "secret").write_bytes(b"secret")
    (folder / "secret").chmod(0o600)
    return folder


def append(path: Path) -> None:
    with open_appending(path) as log:
        log.write(b"x")


OPERATIONS: dict[str, Callable[[Path], object]] = {
    "create_folder": lambda path: create_folder(path, 0o777),
    "create_missing_folders": lambda path: create_missing_folders(path / "new", 0o777),
    "set_path_owner": lambda path: set_path_owner(path, 0o777, None),
    "write_file": lambda path: write_file(path, b"x", 0o777),
    "write_file_once": lambda path: write_file(path, b"x", 0o777, replace=False),
    "open_appending": append,
    "read_file": read_file,
    "remove_file": remove_file,
    "move_file": lambda path: move_file(path, path.with_name("moved")),
    "remove_tree": remove_tree,
    "copy_tree": lambda path: copy_tree(path, path.parents[1] / "copied"),
    "change_owners": lambda path: change_owners(path, lambda _: FileOwner(12345, 12345)),
}


def describe(folder: Path) -> list[tuple[str, int, int, bytes]]:
    paths = [folder, *sorted(folder.rglob("*"))]
    return [
        (str(path), path.stat().st_mode, path.stat().st_uid, path.read_bytes() if path.is_file() else b"")
        for path in paths
    ]


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("place", ["folder above", "name of a file", "name of a folder"])
def test_no_operation_follows_a_link(operation: str, place: str, tmp_path: Path, victim: Path):
    before = describe(victim)
    shared = tmp_path / "shared"
    shared.mkdir()
    link = shared / "link"
    link.symlink_to(victim / "secret" if place == "name of a file" else victim)
    path = link / "secret" if place == "folder above" else link
    try:
        OPERATIONS[operation](path)
    except (Refused, FileExistsError):
        pass
    else:
        # What replaces, renames or removes a name does so with the link itself.
        assert place != "folder above"
        assert operation in {"write_file", "remove_file", "move_file"}
    assert describe(victim) == before
    assert not (tmp_path / "copied").is_dir() or list((tmp_path / "copied").iterdir()) == []


@pytest.mark.parametrize("operation", OPERATIONS)
def test_each_operation_works_on_plain_folders(operation: str, tmp_path: Path):
    folder = tmp_path / "plain"
    folder.mkdir()
    name = "file" if operation in {"set_path_owner", "read_file", "remove_file", "move_file"} else "new"
    (folder / "file").write_bytes(b"x")
    OPERATIONS[operation](folder if operation in {"remove_tree", "copy_tree"} else folder / name)


def test_a_folder_that_becomes_a_link_between_two_steps_is_not_followed(
    tmp_path: Path, victim: Path, monkeypatch: pytest.MonkeyPatch
):
    shared = tmp_path / "shared" / "inner"
    shared.mkdir(parents=True)
    fsync = os.fsync

    def swap(descriptor: int) -> None:
        # A service exchanges the folder for a link when the temporary file has been written.
        if not (tmp_path / "moved").exists():
            shared.rename(tmp_path / "moved")
            shared.symlink_to(victim)
        fsync(descriptor)

    before = describe(victim)
    monkeypatch.setattr(trusted_folder.os, "fsync", swap)
    write_file(shared / "secret", b"x", 0o644)
    assert describe(victim) == before
    assert (tmp_path / "moved" / "secret").read_bytes() == b"x"


@pytest.mark.parametrize("operation", ["set_path_owner", "open_appending"])
def test_a_hard_link_is_refused(operation: str, tmp_path: Path, victim: Path):
    (tmp_path / "log").hardlink_to(victim / "secret")
    before = describe(victim)
    with pytest.raises(Refused, match="symbolic link, or not what wellspring created"):
        OPERATIONS[operation](tmp_path / "log")
    assert describe(victim) == before


@pytest.mark.parametrize("operation", ["set_path_owner", "open_appending", "read_file"])
def test_a_pipe_stops_nobody(operation: str, tmp_path: Path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(Refused):
        OPERATIONS[operation](tmp_path / "pipe")


def test_a_copied_folder_has_no_file_from_elsewhere(tmp_path: Path, victim: Path):
    pack = tmp_path / "pack"
    (pack / "entries").mkdir(parents=True)
    (pack / "entries" / "0").write_bytes(b"entry")
    copy_tree(pack, tmp_path / "copy")
    assert (tmp_path / "copy" / "entries" / "0").read_bytes() == b"entry"
    (pack / "entries" / "1").symlink_to(victim / "secret")
    with pytest.raises(Refused, match="entries/1"):
        copy_tree(pack, tmp_path / "second")


def test_a_file_is_private_until_it_has_its_owner_and_its_mode(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    modes: list[int] = []
    fchmod = os.fchmod

    def record(descriptor: int, mode: int) -> None:
        modes.append(stat.S_IMODE(os.fstat(descriptor).st_mode))
        fchmod(descriptor, mode)

    monkeypatch.setattr(trusted_folder.os, "fchmod", record)
    old = os.umask(0)
    try:
        write_file(tmp_path / "file", b"x", 0o640)
    finally:
        os.umask(old)
    assert modes == [0o600]
    assert (mode_of(tmp_path / "file"), list(tmp_path.iterdir())) == (0o640, [tmp_path / "file"])


def test_missing_folders_are_created_and_others_keep_their_mode(tmp_path: Path):
    (tmp_path / "old").mkdir(mode=0o700)
    create_missing_folders(tmp_path / "old" / "new" / "inner", 0o750)
    modes = [mode_of(tmp_path / name) for name in ("old", "old/new", "old/new/inner")]
    assert modes == [0o700, 0o750, 0o750]


def test_what_is_missing_is_no_error_for_a_removal(tmp_path: Path):
    remove_file(tmp_path / "none" / "file")
    assert not remove_tree(tmp_path / "none")
    change_owners(tmp_path / "none", lambda _: FileOwner(1, 1))


@root_only
def test_owners_change_below_a_folder_and_at_no_end_of_a_link(tmp_path: Path, victim: Path):
    top = tmp_path / "top"
    create_folder(top, 0o2750, FileOwner(12345, 12346))
    (top / "inner").mkdir()
    (top / "inner" / "file").touch()
    (top / "inner" / "link").symlink_to(victim)
    os.mkfifo(top / "pipe")
    before = describe(victim)
    change_owners(top, lambda info: FileOwner(info.st_uid + 1, 7))
    owners = {path.relative_to(tmp_path).as_posix(): path.lstat().st_uid for path in (top, *top.rglob("*"))}
    assert owners == {"top": 12346, "top/inner": 1, "top/inner/file": 1, "top/inner/link": 0, "top/pipe": 1}
    assert mode_of(top) == 0o2750
    assert describe(victim) == before
    # A folder with the setgid bit gives its group to the new file.
    for folder, owner in ((top, (3, 7)), (tmp_path, (3, 4))):
        write_file(folder / "new", b"", 0o600, FileOwner(3, 4))
        assert ((folder / "new").stat().st_uid, (folder / "new").stat().st_gid) == owner
