"""Replace setpriv of util-linux: change the user, restrict files, keep one capability, die with the parent, exec.

Run as a script, never imported:
`setpriv.py [--parent PID] [--files RULES] [UID GID GROUPS CLOSED] -- PROGRAM ARGUMENT...`.
PID: of the process that started it; without it, the parent that it has now.
RULES: JSON {"readable": [path], "writable": [path], "passwd": path or ""}. CLOSED: 1 for the capability to read files
that are closed to the user; with rules, the program gets it only if the kernel enforces them.
"""

import ctypes
import json
import os
import pathlib
import runpy
import shutil
import signal
import struct
import sys

PR_SET_PDEATHSIG, PR_SET_KEEPCAPS, PR_SET_SECUREBITS, PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE = 1, 8, 28, 47, 2
NO_SETUID_FIXUP = 1 << 2
CAP_DAC_READ_SEARCH = 2
CAPABILITY_VERSION_3 = 0x20080522
CLONE_NEWNS, MS_BIND, MS_REC, MS_PRIVATE = 0x20000, 0x1000, 0x4000, 0x40000


def main(arguments: list[str]) -> None:
    """Change the user as the arguments say, then run the program; it returns only by raising."""
    separator = arguments.index("--")
    identity, program = arguments[:separator], arguments[separator + 1 :]
    parent = os.getppid()
    if identity[:1] == ["--parent"]:
        parent, identity = int(identity[1]), identity[2:]
    rules = None
    if identity[:1] == ["--files"]:
        rules, identity = json.loads(identity[1]), identity[2:]
    # Look it up first: afterwards the files of this interpreter may be inaccessible.
    program_path = shutil.which(program[0])
    if program_path is None:
        raise SystemExit(f"{program[0]} cannot be run")
    landlock = runpy.run_path(os.path.join(os.path.dirname(os.path.abspath(__file__)), "landlock.py")) if rules else {}
    libc = ctypes.CDLL(None, use_errno=True)
    if rules and rules["passwd"]:
        mount_passwd_file(libc, rules["passwd"])
    capability_mask = 0
    if identity:
        uid, gid = int(identity[0]), int(identity[1])
        capability_mask = 1 << CAP_DAC_READ_SEARCH if identity[3] == "1" else 0
        libc.prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0)
        if capability_mask:
            # Without it access(2), with which initdb looks for postgres, ignores the capability.
            libc.prctl(PR_SET_SECUREBITS, NO_SETUID_FIXUP, 0, 0, 0)
        os.setgroups([int(group) for group in identity[2].split(",") if group])
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
        header = struct.pack("<Ii", CAPABILITY_VERSION_3, 0)
        if libc.capset(header, struct.pack("<6I", capability_mask, capability_mask, capability_mask, 0, 0, 0)) != 0:
            raise OSError(ctypes.get_errno(), "capset")
    if rules:
        paths = {name: [pathlib.Path(path) for path in rules[name]] for name in ("readable", "writable")}
        reason = landlock["restrict_files"](**paths)
        if reason and capability_mask:
            raise SystemExit(
                f"{program[0]} may read no closed folder, because it cannot be confined: {reason}. "
                "Move the project, and the environment of its interpreter, to folders that other users may enter"
            )
        if reason:
            print(f"not confined: {reason}", file=sys.stderr, flush=True)
    if capability_mask and libc.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_DAC_READ_SEARCH, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")
    # After the change of user, which clears this setting.
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        raise SystemExit("the parent process has ended")
    os.execv(program_path, program)  # noqa: S606 (no shell)


def mount_passwd_file(libc: ctypes.CDLL, path: str) -> None:
    """Show this process and its children another passwd file, in a mount namespace of their own. Needs root."""
    if (
        libc.unshare(CLONE_NEWNS) != 0
        or libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None) != 0
        or libc.mount(os.fsencode(path), b"/etc/passwd", None, MS_BIND, None) != 0
    ):
        raise SystemExit(f"no private passwd file: {os.strerror(ctypes.get_errno())}")


if __name__ == "__main__":
    main(sys.argv[1:])
