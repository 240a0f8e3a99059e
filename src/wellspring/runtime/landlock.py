"""Restrict writes of a process to one folder with Landlock, for a child that runs code of the project."""

from __future__ import annotations

import ctypes
import os
import struct
from pathlib import Path

CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446
RULE_PATH_BENEATH = 1
PR_SET_NO_NEW_PRIVS = 38
# Write, remove and create rights of ABI 1; ABI 2 adds moves between folders, ABI 3 adds truncation.
_WRITE_FILE, _REFER, _TRUNCATE = 1 << 1, 1 << 13, 1 << 14
_WRITE_RIGHTS = _WRITE_FILE | sum(1 << bit for bit in range(4, 13))


def restrict_writes_to(folder: Path) -> bool:
    """Deny this thread and its children all writes outside the folder, permanently; return whether this is enforced.

    False if the kernel does not support Landlock: then only users and file modes protect other files.
    """
    abi = syscall(CREATE_RULESET, None, 0, 1)
    if abi < 1:
        return False
    handled = _WRITE_RIGHTS | (_REFER if abi >= 2 else 0) | (_TRUNCATE if abi >= 3 else 0)
    ruleset = syscall(CREATE_RULESET, struct.pack("<Q", handled), 8, 0)
    if ruleset < 0:
        return False
    try:
        for path, rights in ((folder, handled), (Path(os.devnull), handled & (_WRITE_FILE | _TRUNCATE))):
            descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
            try:
                if syscall(ADD_RULE, ruleset, RULE_PATH_BENEATH, struct.pack("<Qi", rights, descriptor), 0) != 0:
                    return False
            finally:
                os.close(descriptor)
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        return syscall(RESTRICT_SELF, ruleset, 0) == 0
    finally:
        os.close(ruleset)


def syscall(number: int, *arguments: int | bytes | None) -> int:
    """Make a system call by its number; after a negative result, `ctypes.get_errno` returns the error."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    c_arguments = [ctypes.c_long(value) if isinstance(value, int) else ctypes.c_char_p(value) for value in arguments]
    return int(libc.syscall(ctypes.c_long(number), *c_arguments))
