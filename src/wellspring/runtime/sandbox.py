"""Confine this process to an allow-list of files with Landlock; this also limits CAP_DAC_READ_SEARCH."""

from __future__ import annotations

import ctypes
import os
import struct
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from wellspring.project import PROJECT_FILE, Project
from wellspring.runtime.landlock import (
    ADD_RULE,
    CREATE_RULESET,
    PR_SET_NO_NEW_PRIVS,
    RESTRICT_SELF,
    RULE_PATH_BENEATH,
    syscall,
)
from wellspring.runtime.privileges import detect_privileges, service_temp_dir
from wellspring.runtime.service_users import uid_range_path

SandboxRole = Literal["worker", "enclave", "api", "mlflow", "sequencer", "witness", "vendor"]

# Rights by Landlock ABI: 1: bits 0-12, 2: refer, 3: truncate, 5: ioctl on devices.
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_REFER, _TRUNCATE, _IOCTL_DEV = 1 << 13, 1 << 14, 1 << 15
_READ = _EXECUTE | _READ_FILE | _READ_DIR
_ON_FILE = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL_DEV

SYSTEM_PATHS = ("/usr", "/lib", "/lib64", "/lib32", "/bin", "/sbin", "/etc", "/proc", "/sys", "/opt")


def confine_process(project: Project, *, role: SandboxRole, readable: Sequence[Path] = ()) -> str:
    """Deny this process and its children, permanently, all files except those that the role needs.

    readable: further paths that it may read, those of the sources. Returns '' if the kernel enforces it, else the
    reason, a sentence for `status`. Call it in the main thread before another thread starts: it applies to the calling
    thread and its descendants.
    """
    essential = [Path(path) for path in ("/usr", sys.prefix, sys.base_prefix)]
    if any(project.root.is_relative_to(folder) for folder in essential):
        return f"the project lies inside the system or the interpreter ({project.root}), so it cannot be confined"
    # The shared /tmp becomes inaccessible below.
    if service_temp_dir(project, role).is_dir():
        tempfile.tempdir = str(service_temp_dir(project, role))
    abi = syscall(CREATE_RULESET, None, 0, 1)
    if abi < 1:
        return "this kernel has no Landlock: only users and file modes protect files"
    handled_access = (1 << 13) - 1
    handled_access |= _REFER if abi >= 2 else 0
    handled_access |= _TRUNCATE if abi >= 3 else 0
    handled_access |= _IOCTL_DEV if abi >= 5 else 0
    rules = syscall(CREATE_RULESET, struct.pack("<Q", handled_access), 8, 0)
    if rules < 0:
        return f"Landlock created no rule set (error {ctypes.get_errno()}): only users and file modes protect files"
    try:
        reads, writes = file_rules_for(project, role)
        for path in (*reads, *readable):
            _add_rule(rules, path, _READ & handled_access)
        for path in writes:
            _add_rule(rules, path, handled_access)
        _add_rule(rules, Path("/dev"), (_READ | _WRITE_FILE | _TRUNCATE | _IOCTL_DEV) & handled_access)
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        if syscall(RESTRICT_SELF, rules, 0) != 0:
            return f"Landlock failed (error {ctypes.get_errno()}): only users and file modes protect files"
    finally:
        os.close(rules)
    return ""


def file_rules_for(project: Project, role: SandboxRole) -> tuple[list[Path], list[Path]]:
    """Return the paths that a role may read and those that it may write; it can access no other project file."""
    state = project.state_dir
    reads = [Path(path) for path in (*SYSTEM_PATHS, sys.prefix, sys.base_prefix, *filter(None, sys.path))]
    # A rule applies to everything below its path, so folders above the project are left out (`python -m` adds one).
    reads = [path for path in reads if not project.root.is_relative_to(path)]
    reads += [
        Path(sys.executable).resolve(),
        Path(__file__).parents[1],
        project.root / PROJECT_FILE,
        uid_range_path(project),
        project.contracts_dir,
    ]
    if project.simulation is not None:
        reads += [project.root / project.simulation.folder, project.ledger_dir / "origin"]
    writes = [service_temp_dir(project, role)]
    match role:
        case "worker":
            reads += [*project.source_paths.values(), project.journals_dir, project.ledger_dir, state / "run.json"]
            reads += [project.root / project.witness.folder / name for name in ("vkey", "logs", "checkpoints")]
            writes += [state / name for name in ("lineage", "metrics", "lake", "packs", "models", "logs")]
            writes += sorted(project.journals_dir.glob("worker*"))
            writes += [project.jobs_dir / "locks", project.runtime_dir]
        case "enclave":
            # Of the ledger it reads which lines of its journal are packed, so that it may remove them.
            reads += [state / "run.json", project.ledger_dir, *_policy_paths(project)]
            # The resolver's file is often a link to a folder below /run; its neighbors replace it.
            reads.append(Path("/etc/resolv.conf").resolve().parent)
            writes += [project.enclave_dir, project.journals_dir / "enclave", state / "lineage", state / "metrics"]
            writes += [project.runtime_dir]
        case "api":
            reads += [state / "run.json", project.models_dir, project.ledger_dir, *_policy_paths(project)]
            reads += [project.lake_dir / name for name in ("editions", "views")]
            writes += [project.journals_dir / "api", state / "lineage", state / "metrics", project.runtime_dir]
        case "mlflow":
            writes += [state / "mlflow"]
        case "sequencer":
            reads += [state / "run.json", project.journals_dir]
            writes += [project.ledger_dir, project.journals_dir / "sequencer", state / "lineage", state / "metrics"]
            writes += [project.runtime_dir]
        case "witness":
            reads += [state / "run.json", project.ledger_dir / "origin", project.ledger_dir / "vkey"]
            writes += [project.root / project.witness.folder, project.runtime_dir]
        case "vendor":
            reads += [project.vendor_dir / name for name in ("host_key", "authorized_keys")]
    return reads, writes


def _policy_paths(project: Project) -> list[Path]:
    return [project.source_paths["policies"]] if "policies" in project.source_paths else []


def describe_separation(project: Project) -> str:
    """Describe the limits of service separation on this machine, for run.json and `status`; '' without limits."""
    privileges = detect_privileges(project)
    notes = [privileges.reason] if privileges.reason else []
    if privileges.closed_folders:
        notes.append("the services read folders closed to other users (one capability, CAP_DAC_READ_SEARCH)")
    if syscall(CREATE_RULESET, None, 0, 1) < 1:
        notes.append("this kernel has no Landlock, so only users and file modes protect files")
    return "; ".join(notes)


def _add_rule(rules: int, path: Path, rights: int) -> None:
    """Add one rule. A path that does not exist is skipped: the process cannot create it either."""
    try:
        handle = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return
    try:
        if not path.is_dir():
            rights &= _ON_FILE
        if syscall(ADD_RULE, rules, RULE_PATH_BENEATH, struct.pack("<Qi", rights, handle), 0) != 0:
            raise OSError(ctypes.get_errno(), f"Landlock rejected the rule for {path}")
    finally:
        os.close(handle)
