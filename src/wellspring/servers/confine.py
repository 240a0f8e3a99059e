"""Confine this process to an allow-list of files with Landlock, whatever capability it was given to read with."""

from __future__ import annotations

import ctypes
import os
import struct
import sys
import tempfile
from pathlib import Path
from typing import Literal

from wellspring.data.fence import ADD, CREATE, NO_NEW_PRIVS, PATH_BENEATH, RESTRICT, syscall
from wellspring.project import FILE, Project
from wellspring.servers.privileges import scratch, survey

Role = Literal["worker", "enclave", "api", "mlflow", "witness", "vendor"]

# Rights by the ABI that brought them: 1: bits 0-12, 2: refer, 3: truncate, 5: ioctl on devices.
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_REFER, _TRUNCATE, _IOCTL_DEV = 1 << 13, 1 << 14, 1 << 15
_READ = _EXECUTE | _READ_FILE | _READ_DIR
_ON_FILE = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL_DEV

SYSTEM = ("/usr", "/lib", "/lib64", "/lib32", "/bin", "/sbin", "/etc", "/proc", "/sys", "/opt")


def confine(project: Project, *, role: Role) -> str:
    """Give up, for good and for every child, all files but those that the role needs.

    Returns '' when the kernel now enforces it, else a sentence for `status` that says why it does not. Call it in the
    main thread before another thread starts: it binds the calling thread and what comes from it.
    """
    essential = [Path(place) for place in ("/usr", sys.prefix, sys.base_prefix)]
    if any(project.root.is_relative_to(place) for place in essential):
        return f"the project lies inside the system or the interpreter ({project.root}), so it cannot be confined"
    # The machine's folder of temporary files is about to close.
    if scratch(project, role).is_dir():
        tempfile.tempdir = str(scratch(project, role))
    abi = syscall(CREATE, None, 0, 1)
    if abi < 1:
        return "this kernel has no Landlock: files are kept apart by user and mode only"
    handled = (1 << 13) - 1
    handled |= _REFER if abi >= 2 else 0
    handled |= _TRUNCATE if abi >= 3 else 0
    handled |= _IOCTL_DEV if abi >= 5 else 0
    rules = syscall(CREATE, struct.pack("<Q", handled), 8, 0)
    if rules < 0:
        return f"Landlock gave no rule set (error {ctypes.get_errno()}): files are kept apart by user and mode only"
    try:
        reads, writes = allowed(project, role)
        for path in reads:
            _allow(rules, path, _READ & handled)
        for path in writes:
            _allow(rules, path, handled)
        _allow(rules, Path("/dev"), (_READ | _WRITE_FILE | _TRUNCATE | _IOCTL_DEV) & handled)
        ctypes.CDLL(None, use_errno=True).prctl(NO_NEW_PRIVS, 1, 0, 0, 0)
        if syscall(RESTRICT, rules, 0) != 0:
            return f"Landlock refused (error {ctypes.get_errno()}): files are kept apart by user and mode only"
    finally:
        os.close(rules)
    return ""


def allowed(project: Project, role: Role) -> tuple[list[Path], list[Path]]:
    """Say what a role may read and what it may write. Anything else of the project is closed to it."""
    state = project.state
    reads = [Path(place) for place in (*SYSTEM, sys.prefix, sys.base_prefix, *filter(None, sys.path))]
    # A rule opens all that lies below it: no folder above the project may stand here (`python -m` adds its cwd).
    reads = [path for path in reads if not project.root.is_relative_to(path)]
    reads += [Path(sys.executable).resolve(), Path(__file__).parents[1], project.root / FILE, project.contracts]
    writes = [scratch(project, role)]
    match role:
        case "worker":
            reads += [*project.own.values(), project.journals, state / "run.json", project.vendor / "known_hosts"]
            reads += [project.root / project.witness.folder / name for name in ("vkey", "logs", "seen")]
            writes += [state / name for name in ("lineage", "metrics", "ledger", "lake", "packs", "models", "logs")]
            writes += [project.journals / "worker", state / "writer.lock", project.runtime]
        case "enclave":
            reads += [state / "run.json", project.vendor / "known_hosts", *_policies(project)]
            writes += [project.enclave, project.journals / "enclave", state / "lineage", state / "metrics"]
            writes += [project.runtime]
        case "api":
            reads += [state / "run.json", project.models_kept, project.ledger, *_policies(project)]
            reads += [project.lake / name for name in ("editions", "views")]
            writes += [project.journals / "api", state / "lineage", state / "metrics", project.runtime]
        case "mlflow":
            writes += [state / "mlflow"]
        case "witness":
            reads += [state / "run.json", project.ledger / "origin", project.ledger / "vkey"]
            writes += [project.root / project.witness.folder, project.runtime]
        case "vendor":
            folders = {source.folder for source in project.sources.values() if source.address == "embedded"}
            reads += [project.vendor / name for name in ("host_key", "authorized_keys", *sorted(folders))]
    return reads, writes


def _policies(project: Project) -> list[Path]:
    return [project.own["policies"]] if "policies" in project.own else []


def told(project: Project) -> str:
    """Say in a sentence what keeps the services apart on this machine, for run.json and `status`."""
    privileges = survey(project)
    said = [privileges.why] if privileges.why else []
    if privileges.closed:
        said.append("the services read through folders closed to others (one capability, CAP_DAC_READ_SEARCH)")
    if syscall(CREATE, None, 0, 1) < 1:
        said.append("this kernel has no Landlock, so files are kept apart by user and mode only")
    return "; ".join(said)


def _allow(rules: int, path: Path, rights: int) -> None:
    """Add one rule. A path that does not exist is left out: nothing can be made where nothing is allowed."""
    try:
        handle = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return
    try:
        if not path.is_dir():
            rights &= _ON_FILE
        if syscall(ADD, rules, PATH_BENEATH, struct.pack("<Qi", rights, handle), 0) != 0:
            raise OSError(ctypes.get_errno(), f"Landlock took no rule for {path}")
    finally:
        os.close(handle)
