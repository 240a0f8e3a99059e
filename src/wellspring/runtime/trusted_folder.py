"""Create, replace, give away and remove paths of folders in which another user may write.

The supervisor and the commands of a project's owner, who may be root, use these functions for everything that they
change below the project's folder. A path is resolved once, from the root of the file system, each folder by the
descriptor of the one above it, and no symbolic link is followed: a service that replaces a folder or a file of its own
by a link gets an error (Refused), and nothing at the other end changes. Owners and modes are set through the
descriptor of what was opened.
"""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import stat
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, NamedTuple

from wellspring.errors import Refused
from wellspring.runtime.files import TEMPORARY_PREFIX

_TRAVERSE = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_READ_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
# Without O_NONBLOCK a pipe that a service laid would stop its reader.
_FILE = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


UNCHANGED = -1
"""An owner or group that stays what it is."""


class FileOwner(NamedTuple):
    """The user and the group of a path."""

    uid: int
    gid: int


def create_folder(path: Path, mode: int, owner: FileOwner | None = None, *, must_be_new: bool = False) -> None:
    """Create a folder if it is missing, and set its mode and owner. owner: None keeps the present one.

    must_be_new: raises FileExistsError if anything has its name. Otherwise raises Refused if that is a link or a file;
    FileNotFoundError if the folder above is missing.
    """
    with _open_parent(path) as (parent, name):
        try:
            os.mkdir(name, 0o700, dir_fd=parent)
        except FileExistsError:
            if must_be_new:
                raise
        with _closing(_open_at(parent, name, _READ_FOLDER, path)) as descriptor:
            _set_owner_and_mode(descriptor, mode, owner)


def create_missing_folders(path: Path, mode: int = 0o755) -> None:
    """Create a folder and those above it where they are missing, with this mode; the others stay as they are.

    Raises Refused if a link or a file has the name of one.
    """
    for folder in reversed((path, *path.parents)):
        if not folder.name:
            continue
        with _open_parent(folder) as (parent, name):
            try:
                os.mkdir(name, 0o700, dir_fd=parent)
            except FileExistsError:
                os.close(_open_at(parent, name, _TRAVERSE, folder))
            else:
                with _closing(_open_at(parent, name, _READ_FOLDER, folder)) as descriptor:
                    os.fchmod(descriptor, mode)


def set_path_owner(path: Path, mode: int, owner: FileOwner | None) -> None:
    """Set the mode of a folder or file that exists, and its owner. Raises Refused for anything else."""
    with _open_parent(path) as (parent, name):
        with _closing(_open_at(parent, name, os.O_RDONLY | _FILE, path)) as descriptor:
            if not stat.S_ISDIR(os.fstat(descriptor).st_mode):
                _require_plain_file(descriptor, path)
            _set_owner_and_mode(descriptor, mode, owner)


def write_file(path: Path, content: bytes, mode: int, owner: FileOwner | None = None, *, replace: bool = True) -> None:
    """Write a file under a temporary name, make it durable, and give it its name; no reader sees a part of it.

    Only this user can read it until it has its owner and mode. In a folder with the setgid bit it gets the folder's
    group. What had the name before, a link too, is replaced.
    replace: False raises FileExistsError if anything has the name.
    """
    with _open_parent(path) as (parent, name):
        temporary = f"{TEMPORARY_PREFIX}{secrets.token_hex(8)}"
        descriptor = os.open(temporary, _NEW_FILE, 0o600, dir_fd=parent)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                if owner is not None and os.fstat(parent).st_mode & stat.S_ISGID:
                    owner = owner._replace(gid=UNCHANGED)
                _set_owner_and_mode(file.fileno(), mode, owner)
                os.fsync(file.fileno())
            if replace:
                os.replace(temporary, name, src_dir_fd=parent, dst_dir_fd=parent)
            else:
                # link, unlike rename, fails on an existing name.
                os.link(temporary, name, src_dir_fd=parent, dst_dir_fd=parent, follow_symlinks=False)
        finally:
            with suppress(FileNotFoundError):
                os.unlink(temporary, dir_fd=parent)
        with _closing(os.open(".", _READ_FOLDER, dir_fd=parent)) as folder:
            os.fsync(folder)


def open_appending(path: Path, mode: int = 0o600) -> BinaryIO:
    """Open a log for appending; create it with this mode if it is missing. Raises Refused for a link or a hard link."""
    with _open_parent(path) as (parent, name):
        descriptor = _open_at(parent, name, os.O_WRONLY | os.O_APPEND | os.O_CREAT | _FILE, path, 0o600)
    try:
        _require_plain_file(descriptor, path)
        os.fchmod(descriptor, mode)
        os.set_blocking(descriptor, True)
        return os.fdopen(descriptor, "ab")
    except BaseException:
        os.close(descriptor)
        raise


def read_file(path: Path) -> bytes:
    """Read a file. Raises Refused for a link, a pipe or a folder; FileNotFoundError."""
    with _open_parent(path) as (parent, name):
        descriptor = _open_at(parent, name, os.O_RDONLY | _FILE, path)
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise _refuse(path)
        return file.read()


def remove_file(path: Path) -> None:
    """Remove a name that is not a folder, if it exists: of a link the link."""
    try:
        with _open_parent(path) as (parent, name):
            os.unlink(name, dir_fd=parent)
    except FileNotFoundError:
        return


def move_file(path: Path, new_path: Path) -> None:
    """Give a file another name, which is replaced if it exists."""
    with _open_parent(path) as (parent, name), _open_parent(new_path) as (new_parent, new_name):
        os.replace(name, new_name, src_dir_fd=parent, dst_dir_fd=new_parent)


def remove_tree(path: Path) -> bool:
    """Remove a folder with everything in it, of links the links. Returns False if it does not exist.

    Raises Refused if it is not a folder.
    """
    try:
        with _open_parent(path) as (parent, name):
            if not stat.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode):
                raise _refuse(path)
            shutil.rmtree(name, dir_fd=parent)
    except FileNotFoundError:
        return False
    return True


def copy_tree(source: Path, destination: Path) -> None:
    """Copy a folder that another user has written to a folder of the caller, which is created if it is missing.

    Raises Refused if it holds anything but folders and files: a link could name a file that only the caller can read.
    """
    destination.mkdir(parents=True, exist_ok=True)
    with _open_parent(source) as (parent, name):
        with _closing(_open_at(parent, name, _READ_FOLDER, source)) as descriptor:
            _copy_entries(descriptor, source, destination)


def close_to_others(top: Path, uid: int, gid: int) -> None:
    """Close what a user has below a folder to other users, and give what they could read to a group.

    What belongs to somebody else is left as it is: it could be a hard link. Folders get the setgid bit if `top` has it.
    """
    with _open_parent(top) as (parent, name), _closing(_open_at(parent, name, _READ_FOLDER, top)) as descriptor:
        _close_entries(descriptor, uid, gid, os.fstat(descriptor).st_mode & stat.S_ISGID)


def change_owners(top: Path, owner_of: Callable[[os.stat_result], FileOwner]) -> None:
    """Give each path at and below a folder to the owner that `owner_of` names for it; links are left as they are.

    Does nothing without that folder. Raises Refused if it is a link.
    """
    try:
        with _open_parent(top) as (parent, name):
            descriptor = _open_at(parent, name, _READ_FOLDER, top)
    except FileNotFoundError:
        return
    with _closing(descriptor):
        _change_owners_at(descriptor, owner_of)


@contextmanager
def _open_parent(path: Path) -> Generator[tuple[int, str]]:
    """Yield a descriptor of the folder of a path, and the last name of the path."""
    absolute = Path(os.path.normpath(path.absolute()))
    descriptor = os.open("/", _TRAVERSE)
    try:
        for folder in reversed(absolute.parents):
            if folder.name:
                below = _open_at(descriptor, folder.name, _TRAVERSE, folder)
                os.close(descriptor)
                descriptor = below
        yield descriptor, absolute.name
    finally:
        os.close(descriptor)


def _open_at(parent: int, name: str, flags: int, path: Path, mode: int = 0o777) -> int:
    """Open a name of a folder. path: for the error. Raises Refused for a link, or for another kind of file."""
    try:
        return os.open(name, flags, mode, dir_fd=parent)
    except OSError as exc:
        # ENXIO: a socket, or a pipe that nobody reads.
        if exc.errno in (errno.ELOOP, errno.ENOTDIR, errno.EISDIR, errno.ENXIO):
            raise _refuse(path) from None
        raise


def _set_owner_and_mode(descriptor: int, mode: int, owner: FileOwner | None) -> None:
    # The owner first: chown removes the bits that are set for a user or a group.
    if owner is not None:
        os.fchown(descriptor, *owner)
    os.fchmod(descriptor, mode)


def _require_plain_file(descriptor: int, path: Path) -> None:
    """Raise Refused unless it is a regular file with one name: a hard link could be a file of somebody else."""
    info = os.fstat(descriptor)
    if not stat.S_ISREG(info.st_mode) or info.st_nlink != 1:
        raise _refuse(path)


def _copy_entries(source: int, path: Path, destination: Path) -> None:
    for name in sorted(os.listdir(source)):
        with _closing(_open_at(source, name, os.O_RDONLY | _FILE, path / name)) as descriptor:
            if stat.S_ISDIR(os.fstat(descriptor).st_mode):
                (destination / name).mkdir(exist_ok=True)
                _copy_entries(descriptor, path / name, destination / name)
                continue
            _require_plain_file(descriptor, path / name)
            with open(descriptor, "rb", closefd=False) as file, (destination / name).open("wb") as target:
                shutil.copyfileobj(file, target)


@contextmanager
def _closing(descriptor: int) -> Generator[int]:
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _change_owners_at(folder: int, owner_of: Callable[[os.stat_result], FileOwner]) -> None:
    for name in os.listdir(folder):
        try:
            descriptor = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
        except FileNotFoundError:
            continue
        with _closing(descriptor):
            info = os.fstat(descriptor)
            if stat.S_ISDIR(info.st_mode):
                with _closing(os.open(".", _READ_FOLDER, dir_fd=descriptor)) as below:
                    _change_owners_at(below, owner_of)
            elif not stat.S_ISLNK(info.st_mode):
                _change_owner(descriptor, info, owner_of(info))
    info = os.fstat(folder)
    _change_owner(folder, info, owner_of(info))


def _close_entries(folder: int, uid: int, gid: int, folder_bit: int) -> None:
    for name in os.listdir(folder):
        with _closing(os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)) as descriptor:
            info = os.fstat(descriptor)
            is_folder, mode = stat.S_ISDIR(info.st_mode), stat.S_IMODE(info.st_mode)
            if info.st_uid == uid and mode & 0o007 and (is_folder or stat.S_ISREG(info.st_mode)):
                # A descriptor that was not opened for reading is changed through its name in /proc.
                os.chown(f"/proc/self/fd/{descriptor}", UNCHANGED, gid)
                os.chmod(f"/proc/self/fd/{descriptor}", (mode & ~0o027) | (folder_bit if is_folder else 0))
            if is_folder:
                with _closing(os.open(".", _READ_FOLDER, dir_fd=descriptor)) as below:
                    _close_entries(below, uid, gid, folder_bit)


def _change_owner(descriptor: int, info: os.stat_result, owner: FileOwner) -> None:
    if owner != (info.st_uid, info.st_gid):
        # A descriptor that was opened without reading can be given away only through its name in /proc, which
        # leads to the same file whatever its name is now.
        os.chown(f"/proc/self/fd/{descriptor}", *owner)


def _refuse(path: Path) -> Refused:
    return Refused(
        f"{path} is a symbolic link, or not what wellspring created there",
        fix="find out who created it, and remove it: wellspring follows no link below a project's folder",
    )
