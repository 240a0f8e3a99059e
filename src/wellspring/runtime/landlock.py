"""Restrict the files that a process may open with Landlock; this also limits CAP_DAC_READ_SEARCH."""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Iterable
from pathlib import Path

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_RULE_PATH_BENEATH = 1
_PR_SET_NO_NEW_PRIVS = 38
# Rights by Landlock ABI: 1: bits 0-12, 2: refer, 3: truncate, 5: ioctl on devices.
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_REFER, _TRUNCATE, _IOCTL_DEV = 1 << 13, 1 << 14, 1 << 15
_MAKE_CHAR, _MAKE_SOCK, _MAKE_FIFO, _MAKE_BLOCK, _MAKE_SYM = 1 << 6, 1 << 9, 1 << 10, 1 << 11, 1 << 12
_SPECIAL_FILES = _MAKE_CHAR | _MAKE_SOCK | _MAKE_FIFO | _MAKE_BLOCK | _MAKE_SYM
# By ABI: 4: bind and connect of TCP, 6: abstract sockets of, and signals to, processes outside.
_TCP = 1 << 0 | 1 << 1
_SCOPES = 1 << 0 | 1 << 1
_PLAIN_DEVICES = tuple(Path("/dev") / name for name in ("null", "zero", "full", "random", "urandom"))
_READ = _EXECUTE | _READ_FILE | _READ_DIR
_ON_FILE = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL_DEV
_MISSING = "this kernel has no Landlock: only users and file modes protect files"


def restrict_files(readable: Iterable[Path], writable: Iterable[Path], *, isolated: bool = False) -> str:
    """Deny this thread and its children, permanently, all files except those below these paths and plain devices.

    isolated: deny also links, sockets and special files in the writable paths, TCP, and
    signals to other processes, as far as the kernel can. Returns '' if the kernel enforces it, else the reason, a
    sentence. Call it in the main thread before another thread starts. A path that does not exist is skipped: the
    process cannot create it either.
    """
    abi = read_abi_version()
    if abi < 1:
        return _MISSING
    handled_access = (1 << 13) - 1
    handled_access |= _REFER if abi >= 2 else 0
    handled_access |= _TRUNCATE if abi >= 3 else 0
    handled_access |= _IOCTL_DEV if abi >= 5 else 0
    rules = _create_ruleset(handled_access, abi if isolated else 1)
    if rules < 0:
        return f"Landlock created no rule set (error {ctypes.get_errno()}): only users and file modes protect files"
    try:
        for path in readable:
            _add_rule(rules, path, _READ & handled_access)
        for path in writable:
            _add_rule(rules, path, handled_access & ~_SPECIAL_FILES if isolated else handled_access)
        # No other device: who may read any file could read a whole disk there.
        for device in _PLAIN_DEVICES:
            _add_rule(rules, device, (_READ | _WRITE_FILE | _TRUNCATE | _IOCTL_DEV) & handled_access)
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        if syscall(_RESTRICT_SELF, rules, 0) != 0:
            return f"Landlock failed (error {ctypes.get_errno()}): only users and file modes protect files"
    finally:
        os.close(rules)
    return ""


def _create_ruleset(handled_access: int, abi: int) -> int:
    """Create an empty rule set. abi: the network and the scopes that it has are denied too."""
    attributes = struct.pack("<QQQ", handled_access, _TCP if abi >= 4 else 0, _SCOPES if abi >= 6 else 0)
    # A kernel refuses a longer structure than its version has.
    return syscall(_CREATE_RULESET, attributes, 24 if abi >= 6 else 16 if abi >= 4 else 8, 0)


def read_abi_version() -> int:
    """Return the version of the kernel's Landlock; below 1 without it."""
    return syscall(_CREATE_RULESET, None, 0, 1)


def syscall(number: int, *arguments: int | bytes | None) -> int:
    """Make a system call by its number; after a negative result, `ctypes.get_errno` returns the error."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    c_arguments = [ctypes.c_long(value) if isinstance(value, int) else ctypes.c_char_p(value) for value in arguments]
    return int(libc.syscall(ctypes.c_long(number), *c_arguments))


def _add_rule(rules: int, path: Path, rights: int) -> None:
    try:
        handle = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return
    try:
        if not path.is_dir():
            rights &= _ON_FILE
        if syscall(_ADD_RULE, rules, _RULE_PATH_BENEATH, struct.pack("<Qi", rights, handle), 0) != 0:
            raise OSError(ctypes.get_errno(), f"Landlock rejected the rule for {path}")
    finally:
        os.close(handle)
