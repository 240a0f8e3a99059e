"""The users of a project's services: numeric ids from a range that belongs to one project of the machine."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple

from wellspring.project import FIRST_UIDS, Project

SERVICE_SLOTS: Final[Mapping[str, int]] = {
    "keys": 1,
    "enclave": 2,
    "worker": 3,
    "api": 4,
    "witness": 5,
    "vendor": 6,
    "valkey": 7,
    "mlflow": 8,
    "sequencer": 9,
    "postgres": 11,
    "code": 12,
}
"""Position of each service in the range of its project. A position is never given to another service: 10 was one."""
_GROUP_SLOTS: Final[Mapping[str, int]] = {"project": 0, "lake": 14, "ledger": 15}
"""Further groups: all services, those that use files of the lake, and of the ledger."""
_PROJECT_SLOT, _LAKE_SLOT, _LEDGER_SLOT = _GROUP_SLOTS.values()
_GROUPS: Final[Mapping[str, tuple[int, ...]]] = {
    "keys": (_PROJECT_SLOT,),
    "enclave": (_PROJECT_SLOT, _LEDGER_SLOT, SERVICE_SLOTS["keys"], SERVICE_SLOTS["vendor"]),
    "worker": (
        _PROJECT_SLOT,
        _LEDGER_SLOT,
        SERVICE_SLOTS["keys"],
        SERVICE_SLOTS["valkey"],
        SERVICE_SLOTS["sequencer"],
        SERVICE_SLOTS["code"],
    ),
    "api": (_PROJECT_SLOT, _LAKE_SLOT, _LEDGER_SLOT, SERVICE_SLOTS["keys"], SERVICE_SLOTS["valkey"]),
    "witness": (_PROJECT_SLOT, _LEDGER_SLOT),
    "vendor": (_PROJECT_SLOT,),
    "valkey": (_PROJECT_SLOT,),
    "mlflow": (_PROJECT_SLOT,),
    "sequencer": (_PROJECT_SLOT, _LEDGER_SLOT, SERVICE_SLOTS["keys"], SERVICE_SLOTS["witness"]),
    "postgres": (_PROJECT_SLOT,),
    "code": (_PROJECT_SLOT, _LAKE_SLOT),
}
"""Further groups of each service.

The group of a server whose socket is closed to others has its clients; that of the sequencer has who reads journals,
that of the vendor who reads its public key (`embedded/path_access.py`).
"""


class ServiceUsers(NamedTuple):
    """The users and groups of the services of one project. first_uid: the first number of its range."""

    first_uid: int = FIRST_UIDS[0]

    @property
    def uids(self) -> dict[str, int]:
        return {service: self.uid_of(service) for service in SERVICE_SLOTS}

    @property
    def numbers(self) -> frozenset[int]:
        """All uids and gids."""
        return frozenset({*map(self.group_id, _GROUP_SLOTS), *self.uids.values()})

    def group_id(self, group: str) -> int:
        """Return the gid of a group: of a service, or one of the further groups, such as `project`."""
        return self.first_uid + _GROUP_SLOTS[group] if group in _GROUP_SLOTS else self.uid_of(group)

    def uid_of(self, service: str) -> int:
        return self.first_uid + SERVICE_SLOTS[service]

    def gid_of(self, service: str) -> int:
        """Return the primary group. PostgreSQL has the enclave's, so that only the enclave reaches its socket."""
        return self.uid_of("enclave" if service == "postgres" else service)

    def groups_of(self, service: str) -> tuple[int, ...]:
        """Return the further groups."""
        return tuple(self.first_uid + slot for slot in _GROUPS[service])


def list_members(group: str) -> frozenset[str]:
    """List the services that are in a group (`ServiceUsers.group_id`); of another name, the user of that name alone."""
    if group not in _GROUP_SLOTS and group not in SERVICE_SLOTS:
        return frozenset({group})
    users = ServiceUsers()
    gid = users.group_id(group)
    return frozenset(name for name in SERVICE_SLOTS if gid in (users.gid_of(name), *users.groups_of(name)))


def uid_range_path(project: Project) -> Path:
    """Return the file with the first number of the project's range; every service can read it."""
    return project.state_dir / "uid-range"


def read_service_users(project: Project) -> ServiceUsers:
    """Return the users of a project's services; those of the first range before the first `up` has chosen one."""
    first_uid = read_first_uid(uid_range_path(project))
    return ServiceUsers() if first_uid is None else ServiceUsers(first_uid)


def read_first_uid(path: Path) -> int | None:
    """Read the first number of a range; None without the file or for another content."""
    try:
        text = path.read_text(encoding="ascii", errors="replace").strip()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return int(text) if text.isascii() and text.isdigit() and int(text) in FIRST_UIDS else None
