"""Who runs as whom: as root every service has a uid of its own (numeric, nobody is added), else all share one."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final, Literal, NamedTuple

from wellspring.project import Project

UIDS: Final[Mapping[str, int]] = {
    "keys": 64101,
    "enclave": 64102,
    "worker": 64103,
    "api": 64104,
    "witness": 64105,
    "vendor": 64106,
    "valkey": 64107,
    "mlflow": 64108,
    "postgres": 65534,
}
# PostgreSQL runs as nobody with the enclave's group, so that only the enclave reaches its socket.
GIDS: Final[Mapping[str, int]] = {**UIDS, "postgres": UIDS["enclave"]}

HOUSE: Final = 64100
"""The group of every service that writes lineage and metrics."""
DOORS: Final = 64110
"""The group of the services that open a socket in the runtime folder; the worker is not among them."""
GROUPS: Final[Mapping[str, tuple[int, ...]]] = {
    "keys": (DOORS,),
    "enclave": (HOUSE, DOORS),
    "worker": (HOUSE,),
    "api": (HOUSE, DOORS),
    "witness": (DOORS,),
    "vendor": (),
    "valkey": (DOORS,),
    "mlflow": (),
    "postgres": (),
}


class Privileges(NamedTuple):
    """How this machine lets services be kept apart. closed: they must read through folders closed to others."""

    separation: Literal["user", "process"]
    why: str
    closed: bool
    setpriv: str | None

    def uid(self, service: str) -> int:
        return UIDS[service] if self.separation == "user" else os.geteuid()

    def command(self, service: str, argv: Sequence[str]) -> list[str]:
        """Return the command line that runs argv as the service, and kills it when its parent dies."""
        user = self.separation == "user"
        if self.setpriv is None:
            shim = [sys.executable, "-S", str(Path(__file__).with_name("become.py"))]
            if user:
                groups = ",".join(map(str, GROUPS[service]))
                shim += [str(UIDS[service]), str(GIDS[service]), groups, str(int(self.closed))]
            return [*shim, "--", *argv]
        line = [self.setpriv, "--pdeathsig", "KILL"]
        if user:
            line += ["--reuid", str(UIDS[service]), "--regid", str(GIDS[service])]
            groups = ",".join(map(str, GROUPS[service]))
            line += ["--groups", groups] if groups else ["--clear-groups"]
            if self.closed:
                line += ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]
                # access(2), by which initdb looks for postgres, would else not count the capability.
                line += ["--securebits=+no_setuid_fixup"]
        return [*line, "--", *argv]

    def give(self, path: Path, service: str | None, mode: int, *, group: int | None = None) -> None:
        """Hand one path of the house to a service (None: to whoever runs the supervisor)."""
        if self.separation == "user":
            owner = os.geteuid() if service is None else UIDS[service]
            owning = group if group is not None else (os.getegid() if service is None else GIDS[service])
            os.chown(path, owner, owning, follow_symlinks=False)
        os.chmod(path, mode)


def survey(project: Project) -> Privileges:
    """Find out how the services of this project can be kept apart here."""
    setpriv = shutil.which("setpriv", path=os.defpath + os.pathsep + "/usr/bin:/bin")
    if os.geteuid() != 0:
        why = f"started by uid {os.geteuid()}, not by root: separated by process and keys, not by user"
        return Privileges("process", why, False, setpriv)
    if not _mapped((HOUSE, DOORS, *UIDS.values())):
        why = "this container maps no other users: separated by process and keys, not by user"
        return Privileges("process", why, False, setpriv)
    places = [sys.prefix, sys.base_prefix, str(Path(__file__).parent), str(project.root), *filter(None, sys.path)]
    return Privileges("user", "", any(is_closed(Path(place)) for place in places), setpriv)


def command(project: Project, service: str, argv: Sequence[str]) -> list[str]:
    """Return the command line that runs argv as a service of this project; give it `environment` and cwd "/"."""
    return survey(project).command(service, argv)


def is_closed(path: Path) -> bool:
    """Say whether any folder on the way to a path, or the path's own folder, is closed to other users."""
    real = path.resolve()
    for place in (real, *real.parents):
        try:
            mode = place.stat().st_mode
        except FileNotFoundError:
            continue
        if place.is_dir() and not mode & 0o001:
            return True
    return False


def _mapped(uids: Iterable[int]) -> bool:
    try:
        lines = Path("/proc/self/uid_map").read_text(encoding="ascii").splitlines()
    except FileNotFoundError:
        return True
    spans = [(int(first), int(first) + int(count)) for first, _, count in map(str.split, lines)]
    return all(any(low <= uid < high for low, high in spans) for uid in uids)


def scratch(project: Project, service: str) -> Path:
    """The folder of a service's temporary files: the machine's own is shared, and closed to a confined process."""
    return project.state / "tmp" / service


def environment(project: Project, service: str) -> dict[str, str]:
    """Return the few variables that a child sees: nothing is inherited, no token, no proxy, no home of the owner."""
    chosen = {
        "PATH": "/usr/bin:/bin",
        "LANG": "C.UTF-8",
        "TZ": "UTC",
        "TMPDIR": str(scratch(project, service)),
        "HOME": str(scratch(project, service)),
        # asyncssh asks for the name of a local user, and these uids have none.
        "USER": service,
        "PYTHONPATH": str(Path(__file__).parents[2]),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUNBUFFERED": "1",
    }
    return {**chosen, "WELLSPRING_CRASH_AT": project.crash_at} if project.crash_at else chosen
