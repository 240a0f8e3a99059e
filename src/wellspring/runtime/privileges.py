"""Assign users to services: started by root, each has its own numeric uid; otherwise all share one."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from wellspring.project import Project
from wellspring.runtime.service_users import ServiceUsers, read_service_users
from wellspring.runtime.trusted_folder import FileOwner, set_path_owner


class FileRules(NamedTuple):
    """What a program that is not ours may open; everything else is denied by Landlock before it starts.

    passwd_file: the file that it sees as /etc/passwd, which only root can arrange; None for the machine's.
    """

    readable: tuple[Path, ...]
    writable: tuple[Path, ...]
    passwd_file: Path | None = None


class ServicePrivileges(NamedTuple):
    """How services are separated on this machine. closed_folders: they need CAP_DAC_READ_SEARCH to read code.

    users: of the project's services; without separation by user they are not used.
    """

    separation: Literal["user", "process"]
    reason: str
    closed_folders: bool
    setpriv_path: str | None
    users: ServiceUsers = ServiceUsers()

    def uid_of(self, service: str) -> int:
        return self.users.uid_of(service) if self.separation == "user" else os.geteuid()

    def command_for(self, service: str, argv: Sequence[str], files: FileRules | None = None) -> list[str]:
        """Return the command line that runs argv as the service, and kills it when its parent dies.

        files: of a program that does not confine itself.
        """
        users = self.users
        return self.command_as(users.uid_of(service), users.gid_of(service), users.groups_of(service), argv, files)

    def command_as(
        self, uid: int, gid: int, groups: Sequence[int], argv: Sequence[str], files: FileRules | None = None
    ) -> list[str]:
        """Return the command line that runs argv as a user, and kills it when its parent dies. files: `command_for`."""
        separate = self.separation == "user"
        group_list = ",".join(map(str, groups))
        if self.setpriv_path is None or files is not None:
            # Its interpreter needs a moment, in which this process may end.
            shim = [sys.executable, "-S", str(Path(__file__).with_name("setpriv.py")), "--parent", str(os.getpid())]
            if files is not None:
                shim += ["--files", _encode_rules(files)]
            if separate:
                shim += [str(uid), str(gid), group_list, str(int(self.closed_folders))]
            return [*shim, "--", *argv]
        command_line = [self.setpriv_path, "--pdeathsig", "KILL"]
        if separate:
            command_line += ["--reuid", str(uid), "--regid", str(gid)]
            command_line += ["--groups", group_list] if group_list else ["--clear-groups"]
            if self.closed_folders:
                command_line += ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]
                # Without it access(2), with which initdb looks for postgres, ignores the capability.
                command_line += ["--securebits=+no_setuid_fixup"]
        return [*command_line, "--", *argv]

    def owner_of(self, service: str | None, *, group: str | None = None) -> FileOwner | None:
        """Return the owner of what a service writes; None if all services share one user.

        service: None for the user of the supervisor. group: instead of the group of the service (`group_id`).
        """
        if self.separation != "user":
            return None
        gid = None if group is None else self.users.group_id(group)
        if service is None:
            return FileOwner(os.geteuid(), os.getegid() if gid is None else gid)
        return FileOwner(self.users.uid_of(service), self.users.gid_of(service) if gid is None else gid)

    def set_owner(self, path: Path, service: str | None, mode: int, *, group: str | None = None) -> None:
        """Make a service the owner of a path and set its mode; no link is followed. service, group: as `owner_of`."""
        set_path_owner(path, mode, self.owner_of(service, group=group))


def _encode_rules(files: FileRules) -> str:
    """Encode rules for setpriv.py."""
    return json.dumps(
        {
            "readable": [str(path) for path in files.readable],
            "writable": [str(path) for path in files.writable],
            "passwd": "" if files.passwd_file is None else str(files.passwd_file),
        }
    )


def detect_privileges(project: Project) -> ServicePrivileges:
    """Detect how the services of this project can be separated on this machine."""
    setpriv = shutil.which("setpriv", path=os.defpath + os.pathsep + "/usr/bin:/bin")
    if os.geteuid() != 0:
        reason = f"started by uid {os.geteuid()}, not by root"
        return ServicePrivileges("process", reason, False, setpriv)
    users = read_service_users(project)
    if not are_uids_mapped(users.numbers):
        reason = "this container maps no other users"
        return ServicePrivileges("process", reason, False, setpriv)
    paths = [sys.prefix, sys.base_prefix, str(Path(__file__).parent), str(project.root), *filter(None, sys.path)]
    return ServicePrivileges("user", "", any(is_closed_path(Path(path)) for path in paths), setpriv, users)


def service_command(project: Project, service: str, argv: Sequence[str]) -> list[str]:
    """Return the command line that runs argv as a service; run it with `service_environment` and cwd "/"."""
    return detect_privileges(project).command_for(service, argv)


def is_closed_path(path: Path) -> bool:
    """Return whether other users cannot enter the path or one of the folders above it."""
    real = path.resolve()
    for folder in (real, *real.parents):
        try:
            mode = folder.stat().st_mode
        except FileNotFoundError:
            continue
        if folder.is_dir() and not mode & 0o001:
            return True
    return False


def are_uids_mapped(uids: Iterable[int]) -> bool:
    """Return whether this container has these users."""
    try:
        lines = Path("/proc/self/uid_map").read_text(encoding="ascii").splitlines()
    except FileNotFoundError:
        return True
    spans = [(int(first), int(first) + int(count)) for first, _, count in map(str.split, lines)]
    return all(any(low <= uid < high for low, high in spans) for uid in uids)


def service_temp_dir(project: Project, service: str) -> Path:
    """Return the folder for temporary files of a service; a confined process cannot use the shared /tmp."""
    return project.state_dir / "tmp" / service


def service_environment(project: Project, service: str) -> dict[str, str]:
    """Return the environment of a child: it inherits no variable, so no token, proxy or home of the owner."""
    variables = {
        "PATH": "/usr/bin:/bin",
        "LANG": "C.UTF-8",
        "TZ": "UTC",
        "TMPDIR": str(service_temp_dir(project, service)),
        "HOME": str(service_temp_dir(project, service)),
        # asyncssh needs the name of the local user, and these uids have no passwd entry.
        "USER": service,
        "PYTHONPATH": str(Path(__file__).parents[2]),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUNBUFFERED": "1",
    }
    return {**variables, "WELLSPRING_CRASH_AT": project.crash_at} if project.crash_at else variables
