"""The capability to read closed folders, which services have where the interpreter or the project is in one of them."""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
from pathlib import Path

from tests.redteam.catalogue import attempt
from tests.redteam.laid_links import SECRET
from tests.redteam.target import Target
from wellspring.runtime.privileges import detect_privileges, service_environment

_PRELUDE = """
import ctypes, json, os, sys
from pathlib import Path
from wellspring.project import load_project
from wellspring.runtime.sandbox import confine_process
project = load_project(Path(sys.argv[1]))
if sys.argv[2] != "open":
    confine_process(project, role=sys.argv[2])
"""
_READ = """
try:
    Path(sys.argv[3]).read_bytes()
    print("read")
except PermissionError:
    print("EACCES")
"""
_OPEN_HANDLE = """
class Handle(ctypes.Structure):
    _fields_ = [("size", ctypes.c_uint), ("kind", ctypes.c_int), ("content", ctypes.c_ubyte * 128)]
kind, content = json.loads(sys.argv[3])
handle = Handle(len(content), kind, (ctypes.c_ubyte * 128)(*content))
libc = ctypes.CDLL(None, use_errno=True)
mount = os.open(sys.argv[1] + "/wellspring.toml", os.O_RDONLY)
opened = libc.open_by_handle_at(mount, ctypes.byref(handle), os.O_RDONLY)
print("read" if opened >= 0 and os.read(opened, 1) else "EACCES" if ctypes.get_errno() == 13 else ctypes.get_errno())
"""


class FileHandle(ctypes.Structure):
    """A name of a file for the kernel, without its path."""

    _fields_ = (("size", ctypes.c_uint), ("kind", ctypes.c_int), ("content", ctypes.c_ubyte * 128))


def run_with_capability(target: Target, service: str, code: str, role: str, argument: str) -> str:
    """Run code as a service with the capability. role: of its rules, or `open` without any."""
    privileges = detect_privileges(target.project)._replace(closed_folders=True)
    argv = [sys.executable, "-P", "-c", _PRELUDE + code, str(target.project.root), role, argument]
    result = subprocess.run(
        privileges.command_for(service, argv), env=service_environment(target.project, service), cwd="/",
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return result.stdout.strip() or result.stderr[-500:]


def _read_passwords(target: Target, role: str, is_twin: bool) -> str:
    return run_with_capability(target, role, _READ, role, "/etc/passwd" if is_twin else "/etc/shadow")


@attempt("service-users", "worker", refused="EACCES", allowed="read", needs="servers")
def read_passwords_as_worker(target: Target, is_twin: bool) -> str:
    """The confined worker reads the machine's file of passwords; the list of its users it may read."""
    return _read_passwords(target, "worker", is_twin)


@attempt("service-users", "api", refused="EACCES", allowed="read", needs="servers")
def read_passwords_as_api(target: Target, is_twin: bool) -> str:
    """The confined API reads the machine's file of passwords; the list of its users it may read."""
    return _read_passwords(target, "api", is_twin)


@attempt("service-users", "vendor", refused="EACCES", allowed="read", needs="servers")
def read_passwords_as_vendor(target: Target, is_twin: bool) -> str:
    """The confined server of the vendor reads the machine's file of passwords; the list of its users it may read."""
    return _read_passwords(target, "vendor", is_twin)


@attempt("service-users", "worker", refused="EACCES", allowed="read", needs="servers")
def open_a_file_by_its_handle(target: Target, is_twin: bool) -> str:
    """The confined worker opens a file of root by its handle, without a path; without Landlock it may."""
    victim = target.create_folder() / "victim"
    victim.write_bytes(SECRET)
    victim.chmod(0o600)
    return run_with_capability(target, "worker", _OPEN_HANDLE, "open" if is_twin else "worker", _find_handle(victim))


def _find_handle(path: Path) -> str:
    handle, mount = FileHandle(size=128), ctypes.c_int()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.name_to_handle_at(-100, os.fsencode(path), ctypes.byref(handle), ctypes.byref(mount), 0) != 0:
        raise OSError(ctypes.get_errno(), "name_to_handle_at")
    return json.dumps([handle.kind, list(handle.content[: handle.size])])


@attempt("service-users", "worker", refused="EACCES", allowed="read", needs="servers")
def use_capability_beyond_landlock(target: Target, is_twin: bool) -> str:
    """The worker with the capability to read any file opens the seal key; without Landlock the same process may."""
    key = str(target.project.state_dir / "seal.key")
    return run_with_capability(target, "worker", _READ, "open" if is_twin else "worker", key)


def _read_through_a_rule(target: Target, role: str, is_twin: bool) -> str:
    """Let a confined service with the capability open the seal key, while the policies' folder is a link."""
    root = target.project.root
    folder, aside = root / "policies", root / "policies-aside"
    if is_twin:
        return run_with_capability(target, role, _READ, role, str(folder / "users.cedar"))
    folder.rename(aside)
    try:
        folder.symlink_to(root, target_is_directory=True)
        outcome = run_with_capability(target, role, _READ, role, str(folder / ".wellspring/seal.key"))
        return "refused" if "is a link" in outcome else outcome
    finally:
        folder.unlink()
        aside.rename(folder)


@attempt("service-users", "worker", refused="refused", allowed="read", needs="servers")
def use_a_link_in_a_rule_of_the_worker(target: Target, is_twin: bool) -> str:
    """The confined worker reads the seal key where `policies` is a link to the project; a policy in it may be read."""
    return _read_through_a_rule(target, "worker", is_twin)


@attempt("service-users", "api", refused="refused", allowed="read", needs="servers")
def use_a_link_in_a_rule_of_the_api(target: Target, is_twin: bool) -> str:
    """The confined API reads the seal key where `policies` is a link to the project; a policy in it may be read."""
    return _read_through_a_rule(target, "api", is_twin)
