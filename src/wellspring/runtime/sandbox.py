"""Confine this process to an allow-list of files with Landlock; this also limits CAP_DAC_READ_SEARCH."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from wellspring.project import PROJECT_FILE, Project
from wellspring.runtime.landlock import read_abi_version, restrict_files
from wellspring.runtime.privileges import FileRules, detect_privileges, service_temp_dir
from wellspring.runtime.seccomp import describe_seccomp, restrict_system_calls
from wellspring.runtime.service_users import uid_range_path

SandboxRole = Literal["worker", "enclave", "api", "mlflow", "sequencer", "witness", "vendor", "code"]

ProgramService = Literal["keys", "postgres", "valkey"]
"""The services that run a program of others, which does not confine itself."""
_ETC_NAMES = (
    *(
        "ld.so.cache",
        "ld.so.conf",
        "ld.so.conf.d",
        "localtime",
        "timezone",
        "passwd",
        "group",
        "nsswitch.conf",
        "hosts",
    ),
    *("host.conf", "resolv.conf", "gai.conf", "services", "protocols", "os-release", "mime.types", "alternatives"),
    *("ssl/openssl.cnf", "ssl/certs", "ca-certificates", "pki/tls/certs", "pki/ca-trust"),
)
"""What our own processes may read below /etc: no passwords, no private keys."""
SYSTEM_PATHS = (
    *("/usr", "/lib", "/lib64", "/lib32", "/bin", "/sbin", "/proc", "/sys"),
    *(f"/etc/{name}" for name in _ETC_NAMES),
)
CODE_SYSTEM_PATHS = (
    *("/usr", "/lib", "/lib64", "/lib32", "/bin", "/sbin"),
    *(f"/etc/{name}" for name in ("ld.so.cache", "localtime", "passwd", "group", "nsswitch.conf", "os-release")),
    *(f"/proc/{name}" for name in ("self", "cpuinfo", "meminfo", "stat", "version", "filesystems", "sys/vm")),
    *("/sys/devices/system/cpu", "/sys/devices/system/node", "/sys/fs/cgroup", "/sys/kernel/mm"),
)
"""What code of the project may read of the system: libraries, its own process, and the figures of the machine."""


_PROGRAM_SYSTEM_PATHS = (
    *(f"/usr/{name}" for name in ("bin", "lib", "lib32", "lib64", "libexec", "share", "local/lib")),
    *("/lib", "/lib64", "/lib32", "/bin", "/proc"),
    *(f"/etc/{name}" for name in ("ld.so.cache", "ld.so.conf", "ld.so.conf.d", "localtime", "passwd", "group")),
    *(f"/etc/{name}" for name in ("nsswitch.conf", "hosts", "host.conf", "resolv.conf", "gai.conf", "ssl/openssl.cnf")),
    *("/sys/devices/system", "/sys/fs/cgroup", "/sys/kernel/mm"),
)


def file_rules_for_program(project: Project, service: ProgramService, program_paths: Sequence[Path]) -> FileRules:
    """Return what a program that is not ours may open. program_paths: the program and its own libraries and data."""
    state = project.state_dir
    reads = [*map(Path, _PROGRAM_SYSTEM_PATHS), *program_paths]
    # A rule applies to everything below its path: one above the project would open all of it.
    reads = [path for path in reads if not project.root.is_relative_to(path)]
    match service:
        case "keys":
            reads.append(state / "seal.key")
            writes = [state / "openbao", project.socket_path("openbao").parent]
        case "postgres":
            writes = [state / "postgres", project.socket_path("postgres")]
        case "valkey":
            writes = [state / "valkey", project.socket_path("valkey").parent]
    return FileRules(tuple(reads), (*writes, service_temp_dir(project, service)))


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
    reads, writes = file_rules_for(project, role)
    return restrict_files((*reads, *readable), writes)


def confine_project_code(folder: Path, readable: Sequence[Path]) -> str:
    """Deny this process, permanently, all files except these and one folder to write, sockets, and other processes.

    Returns as `confine_process` does.
    """
    tempfile.tempdir = str(folder)
    reads = _list_code_paths((folder, *readable), system=CODE_SYSTEM_PATHS)
    reasons = (restrict_files((*reads, *readable), (folder,), isolated=True), restrict_system_calls())
    return "; ".join(filter(None, reasons))


def _list_code_paths(needed: Sequence[Path], system: Sequence[str] = SYSTEM_PATHS) -> list[Path]:
    """List the paths of the system, of the interpreter and of the installed code.

    A rule applies to everything below its path, so folders above those that are needed are left out: `python -m` adds
    one to the import path.
    """
    paths = [Path(path) for path in (*system, sys.prefix, sys.base_prefix, *filter(None, sys.path))]
    paths = [path for path in paths if not any(item.is_relative_to(path) for item in needed)]
    return [*paths, Path(sys.executable).resolve(), Path(__file__).parents[1]]


def file_rules_for(project: Project, role: SandboxRole) -> tuple[list[Path], list[Path]]:
    """Return the paths that a role may read and those that it may write; it can access no other project file."""
    state = project.state_dir
    reads = _list_code_paths((project.root,))
    reads += [project.root / PROJECT_FILE, uid_range_path(project), project.runtime_record, project.contracts_dir]
    if project.simulation is not None:
        reads += [project.root / project.simulation.folder, project.ledger_dir / "origin"]
    writes = [service_temp_dir(project, role)]
    match role:
        case "worker":
            reads += [*project.source_paths.values(), project.journals_dir, project.ledger_dir, state / "run.json"]
            reads += [project.root / project.witness.folder / name for name in ("vkey", "logs", "checkpoints")]
            writes += [state / name for name in ("lake", "packs", "models", "changes")]
            journals = sorted(path.name for path in project.journals_dir.glob("worker*"))
            writes += [path for name in journals for path in _record_paths(project, name)]
            writes += [project.jobs_dir / "locks", service_temp_dir(project, "code")]
        case "enclave":
            # Of the ledger it reads which lines of its journal are packed, so that it may remove them.
            reads += [state / "run.json", project.ledger_dir, project.changes_dir, *_policy_paths(project)]
            resolver_folder = Path("/etc/resolv.conf").resolve().parent
            if resolver_folder != Path("/etc"):
                # The resolver's file is a link to a folder below /run; its neighbors replace it.
                reads.append(resolver_folder)
            writes += [project.enclave_dir, *_record_paths(project, "enclave")]
            writes.append(project.socket_path("intake").parent)
        case "api":
            reads += [state / "run.json", project.models_dir, project.ledger_dir, *_policy_paths(project)]
            reads.append(project.changes_dir)
            reads += [project.lake_dir / name for name in ("editions", "views")]
            writes += [*_record_paths(project, "api"), project.socket_path("api").parent]
        case "mlflow":
            writes += [state / "mlflow"]
        case "sequencer":
            reads += [state / "run.json", state / "service-keys", project.journals_dir]
            writes += [project.ledger_dir, *_record_paths(project, "sequencer")]
            writes.append(project.socket_path("sequencer").parent)
        case "witness":
            reads += [state / "run.json", project.ledger_dir / "origin", project.ledger_dir / "vkey"]
            writes += [project.root / project.witness.folder, project.socket_path("witness").parent]
        case "code":
            # A folder, because an editor replaces a file. Each piece of code may read less (`confine_project_code`).
            reads += [project.root, project.lake_dir]
        case "vendor":
            reads += [project.vendor_dir / name for name in ("host_key", "authorized_keys")]
    return reads, writes


def _record_paths(project: Project, journal: str) -> list[Path]:
    """Return the folders in which one journal, its metrics and its lineage are written."""
    return [project.journals_dir / journal, *(project.state_dir / kind / journal for kind in ("metrics", "lineage"))]


def _policy_paths(project: Project) -> list[Path]:
    return [project.source_paths["policies"]] if "policies" in project.source_paths else []


def describe_limits(project: Project) -> str:
    """Describe the limits of service separation on this machine, for run.json and `status`; '' without limits."""
    privileges = detect_privileges(project)
    notes = [privileges.reason] if privileges.reason else []
    if privileges.closed_folders:
        notes.append("the services read folders closed to other users (one capability, CAP_DAC_READ_SEARCH)")
    if read_abi_version() < 1:
        notes.append("this kernel has no Landlock, so only users and file modes protect files")
    if missing := describe_seccomp():
        notes.append(missing)
    return "; ".join(notes)
