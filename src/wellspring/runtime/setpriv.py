"""Replace util-linux's setpriv: change the user, keep one capability, die with the parent, run a program.

Run as a script, never imported: `setpriv.py [UID GID GROUPS CLOSED] -- PROGRAM ARGUMENT...`
"""

import ctypes
import os
import shutil
import signal
import struct
import sys

PR_SET_PDEATHSIG, PR_SET_KEEPCAPS, PR_SET_SECUREBITS, PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE = 1, 8, 28, 47, 2
NO_SETUID_FIXUP = 1 << 2
CAP_DAC_READ_SEARCH = 2
CAPABILITY_VERSION_3 = 0x20080522


def main(arguments: list[str]) -> None:
    """Change the user as the arguments say, then run the program; it returns only by raising."""
    separator = arguments.index("--")
    identity, program = arguments[:separator], arguments[separator + 1 :]
    # Look it up first: afterwards the files of this interpreter may be inaccessible.
    program_path = shutil.which(program[0])
    if program_path is None:
        raise SystemExit(f"{program[0]} cannot be run")
    libc = ctypes.CDLL(None, use_errno=True)
    parent = os.getppid()
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
        if capability_mask and libc.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_DAC_READ_SEARCH, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "prctl")
    # After the change of user, which clears this setting.
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        raise SystemExit("the parent process has ended")
    os.execv(program_path, program)  # noqa: S606 (no shell)


if __name__ == "__main__":
    main(sys.argv[1:])
