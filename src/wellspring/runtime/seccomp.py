"""Deny system calls to a process, permanently, with a seccomp filter: sockets, other processes, links, new programs."""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final, NamedTuple

from wellspring.runtime.landlock import syscall

_PR_SET_NO_NEW_PRIVS = 38
_SET_MODE_FILTER, _GET_ACTION_AVAIL, _FLAG_TSYNC = 1, 2, 1
_ALLOW, _ERRNO, _KILL_PROCESS = 0x7FFF0000, 0x00050000, 0x80000000
# Of classic BPF: load a word of the call's data, compare it, return.
_LOAD, _JUMP_EQUAL, _JUMP_GREATER, _JUMP_SET, _RETURN = 0x20, 0x15, 0x25, 0x45, 0x06
_NUMBER_OFFSET, _ARCHITECTURE_OFFSET, _ARGUMENTS_OFFSET = 0, 4, 16
_LAST_KNOWN_CALL = 456
"""Calls of later kernels, and those of the x32 ABI, do not exist for the process."""
_CLONE_THREAD, _CLONE_NAMESPACES = 0x00010000, 0x7E020000


class _Architecture(NamedTuple):
    """One architecture. column: of the tables below. audit: its number in the call's data."""

    column: int
    audit: int
    seccomp: int


_ARCHITECTURES: Final[Mapping[str, _Architecture]] = MappingProxyType(
    {"x86_64": _Architecture(0, 0xC000003E, 317), "aarch64": _Architecture(1, 0xC00000B7, 277)}
)
_Numbers = tuple[int | None, int | None]
_DENIED_CALLS: Final[Mapping[str, _Numbers]] = MappingProxyType(
    {
        # Sockets.
        "socket": (41, 198),
        "socketpair": (53, 199),
        "bind": (49, 200),
        "listen": (50, 201),
        "accept": (43, 202),
        "accept4": (288, 242),
        "connect": (42, 203),
        "sendto": (44, 206),
        "sendmsg": (46, 211),
        "sendmmsg": (307, 269),
        "recvfrom": (45, 207),
        "recvmsg": (47, 212),
        "recvmmsg": (299, 243),
        # New processes and programs; the group and the session in which a process is killed.
        "fork": (57, None),
        "vfork": (58, None),
        "execve": (59, 221),
        "execveat": (322, 281),
        "setsid": (112, 157),
        "setpgid": (109, 154),
        # Other processes: memory, descriptors, signals, priorities.
        "ptrace": (101, 117),
        "process_vm_readv": (310, 270),
        "process_vm_writev": (311, 271),
        "process_madvise": (440, 440),
        "process_mrelease": (448, 448),
        "kcmp": (312, 272),
        "pidfd_open": (434, 434),
        "pidfd_getfd": (438, 438),
        "pidfd_send_signal": (424, 424),
        "tkill": (200, 130),
        "rt_sigqueueinfo": (129, 138),
        "rt_tgsigqueueinfo": (297, 240),
        "setpriority": (141, 140),
        "ioprio_set": (251, 30),
        "sched_setscheduler": (144, 119),
        "sched_setparam": (142, 118),
        "sched_setattr": (314, 274),
        "sched_setaffinity": (203, 122),
        "move_pages": (279, 239),
        "migrate_pages": (256, 238),
        # Links and special files, which another process might follow or open; files by handle, past every folder.
        "symlink": (88, None),
        "symlinkat": (266, 36),
        "link": (86, None),
        "linkat": (265, 37),
        "mknod": (133, None),
        "mknodat": (259, 33),
        "name_to_handle_at": (303, 264),
        "open_by_handle_at": (304, 265),
        # Memory and queues that outlive the process or count for none.
        "memfd_create": (319, 279),
        "memfd_secret": (447, 447),
        "shmget": (29, 194),
        "shmat": (30, 196),
        "shmctl": (31, 195),
        "semget": (64, 190),
        "semop": (65, 193),
        "semctl": (66, 191),
        "semtimedop": (220, 192),
        "msgget": (68, 186),
        "msgsnd": (69, 189),
        "msgrcv": (70, 188),
        "msgctl": (71, 187),
        "mq_open": (240, 180),
        "mq_unlink": (241, 181),
        # Namespaces, mounts, keys, and the parts of the kernel that most exploits begin with.
        "unshare": (272, 97),
        "setns": (308, 268),
        "mount": (165, 40),
        "umount2": (166, 39),
        "pivot_root": (155, 41),
        "chroot": (161, 51),
        "open_tree": (428, 428),
        "move_mount": (429, 429),
        "fsopen": (430, 430),
        "fsconfig": (431, 431),
        "fsmount": (432, 432),
        "fspick": (433, 433),
        "mount_setattr": (442, 442),
        "add_key": (248, 217),
        "request_key": (249, 218),
        "keyctl": (250, 219),
        "bpf": (321, 280),
        "perf_event_open": (298, 241),
        "userfaultfd": (323, 282),
        "fanotify_init": (300, 262),
        "io_uring_setup": (425, 425),
        "io_uring_enter": (426, 426),
        "io_uring_register": (427, 427),
        "init_module": (175, 105),
        "finit_module": (313, 273),
        "delete_module": (176, 106),
        "kexec_load": (246, 104),
        "kexec_file_load": (320, 294),
        "reboot": (169, 142),
        "swapon": (167, 224),
        "swapoff": (168, 225),
        "acct": (163, 89),
        "syslog": (103, 116),
        "personality": (135, 92),
        "quotactl": (179, 60),
        "iopl": (172, None),
        "ioperm": (173, None),
        "modify_ldt": (154, None),
    }
)
_CLONE: Final[_Numbers] = (56, 220)
_CLONE3: Final[_Numbers] = (435, 435)
_OWN_PROCESS_ONLY: Final[Mapping[str, tuple[_Numbers, bool]]] = MappingProxyType(
    {"kill": ((62, 129), False), "tgkill": ((234, 131), False), "prlimit64": ((302, 261), True)}
)
"""Calls whose first argument must be this process; the second value tells whether 0 means the same."""
_DENIED_ARGUMENTS: Final[Mapping[str, tuple[_Numbers, int, tuple[int, ...]]]] = MappingProxyType(
    {
        # PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_MM, PR_SET_CHILD_SUBREAPER: it would outlive its server, or be read.
        "prctl": ((157, 167), 0, (1, 4, 35, 36)),
        # F_SETOWN, F_SETSIG, F_SETOWN_EX: a signal to another process.
        "fcntl": ((72, 25), 1, (8, 10, 15)),
        # TIOCSTI, TIOCLINUX, FIOASYNC, FIOSETOWN, SIOCSPGRP: keystrokes and signals to another process.
        "ioctl": ((16, 29), 1, (0x5412, 0x541C, 0x5452, 0x8901, 0x8902)),
    }
)
"""Number of the argument, and the values for which the call is denied."""


def restrict_system_calls() -> str:
    """Deny this process and its threads, permanently, system calls that code of the project does not need.

    A denied call fails with EPERM. Returns '' if the kernel enforces it, else the reason, a sentence. The filter names
    this process, so a child of it, which it cannot start any more, would need another one.
    """
    reason = describe_seccomp()
    if reason:
        return reason
    architecture = _ARCHITECTURES[platform.machine()]
    filters = _build_filter(architecture, os.getpid())
    content = ctypes.create_string_buffer(filters, len(filters))
    program = struct.pack("HP", len(filters) // 8, ctypes.addressof(content))
    ctypes.CDLL(None).prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if syscall(architecture.seccomp, _SET_MODE_FILTER, _FLAG_TSYNC, program) != 0:
        return f"the seccomp filter was refused (error {ctypes.get_errno()}): system calls are not restricted"
    return ""


def describe_seccomp() -> str:
    """Return why this machine cannot restrict system calls, a sentence; '' if it can."""
    architecture = _ARCHITECTURES.get(platform.machine())
    if architecture is None:
        return f"no seccomp filter for {platform.machine()} exists: system calls are not restricted"
    if syscall(architecture.seccomp, _GET_ACTION_AVAIL, 0, struct.pack("=I", _ERRNO)) != 0:
        return "this kernel has no seccomp: system calls are not restricted"
    return ""


def list_call_numbers(column: int) -> list[int]:
    """List the numbers of the calls that have a rule. column: 0 for x86_64, 1 for aarch64."""
    rules = (*_OWN_PROCESS_ONLY.values(), *_DENIED_ARGUMENTS.values())
    numbers = [_CLONE, _CLONE3, *_DENIED_CALLS.values(), *(rule[0] for rule in rules)]
    return [number for pair in numbers if (number := pair[column]) is not None]


def _build_filter(architecture: _Architecture, pid: int) -> bytes:
    """Return the program: each rule either returns, or leaves the number of the call loaded for the next one."""
    column = architecture.column
    instructions = [
        _instruction(_LOAD, _ARCHITECTURE_OFFSET),
        _instruction(_JUMP_EQUAL, architecture.audit, 1, 0),
        _instruction(_RETURN, _KILL_PROCESS),
        _instruction(_LOAD, _NUMBER_OFFSET),
        _instruction(_JUMP_GREATER, _LAST_KNOWN_CALL, 0, 1),
        _instruction(_RETURN, _ERRNO | errno.ENOSYS),
    ]
    # The C library then uses clone, whose flags a filter can read.
    instructions += _for_call(_CLONE3[column], [_instruction(_RETURN, _ERRNO | errno.ENOSYS)])
    instructions += _for_call(_CLONE[column], _allow_only_threads())
    for numbers, accepts_zero in _OWN_PROCESS_ONLY.values():
        instructions += _for_call(numbers[column], _allow_values(0, (pid, 0) if accepts_zero else (pid,)))
    for numbers, argument, values in _DENIED_ARGUMENTS.values():
        instructions += _for_call(numbers[column], _deny_values(argument, values))
    for numbers in _DENIED_CALLS.values():
        instructions += _for_call(numbers[column], [_instruction(_RETURN, _ERRNO | errno.EPERM)])
    instructions.append(_instruction(_RETURN, _ALLOW))
    return b"".join(instructions)


def _for_call(number: int | None, rule: Sequence[bytes]) -> list[bytes]:
    """Apply a rule, which always returns, to one call."""
    return [] if number is None else [_instruction(_JUMP_EQUAL, number, 0, len(rule)), *rule]


def _allow_only_threads() -> list[bytes]:
    return [
        _load_argument(0),
        _instruction(_JUMP_SET, _CLONE_NAMESPACES, 1, 0),
        _instruction(_JUMP_SET, _CLONE_THREAD, 1, 0),
        _instruction(_RETURN, _ERRNO | errno.EPERM),
        _instruction(_RETURN, _ALLOW),
    ]


def _allow_values(argument: int, values: Sequence[int]) -> list[bytes]:
    return _compare_argument(argument, values, listed=_ALLOW, otherwise=_ERRNO | errno.EPERM)


def _deny_values(argument: int, values: Sequence[int]) -> list[bytes]:
    return _compare_argument(argument, values, listed=_ERRNO | errno.EPERM, otherwise=_ALLOW)


def _compare_argument(argument: int, values: Sequence[int], *, listed: int, otherwise: int) -> list[bytes]:
    comparisons = [_instruction(_JUMP_EQUAL, value, len(values) - position, 0) for position, value in enumerate(values)]
    return [_load_argument(argument), *comparisons, _instruction(_RETURN, otherwise), _instruction(_RETURN, listed)]


def _load_argument(argument: int) -> bytes:
    """Load the low half of an argument: all that the kernel reads of a pid, a command or the flags of clone."""
    return _instruction(_LOAD, _ARGUMENTS_OFFSET + 8 * argument)


def _instruction(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("<HBBI", code, if_true, if_false, value)
