"""The clock of a process: the machine's, or in a project that is a simulation the one that its driver sets.

A project is a simulation from its first start to its end: its wellspring.toml has the table [simulation], and the name
of its log, which each checkpoint and each pack holds, begins with `simulation.`. Both must say the same.
"""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from wellspring.errors import ProjectError, Unavailable
from wellspring.project import PROJECT_FILE, Project
from wellspring.records.clock import Clock, SystemClock

SIMULATION_HOST = "simulation.wellspring.example.com"
"""The first part of the log's name in a simulation."""
CLOCK_FILE = "clock.json"
"""In a folder of its own, as it is replaced: a rule of Landlock for a file holds for its inode."""


class SimulatedClock:
    """Runs at the speed of real time from the instant that its file holds, in every process that reads the file.

    The file is JSON: `instant` (UTC), and `monotonic`, the machine's monotonic clock in seconds when that instant was
    set. Whoever sets the clock replaces the file. It is read at each call, so that all processes jump together.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def now(self) -> datetime:
        """Return the simulated instant, UTC. Raises Unavailable when the file is missing or damaged."""
        try:
            document = json.loads(self._path.read_bytes())
            instant = datetime.fromisoformat(document["instant"])
            elapsed = time.monotonic() - float(document["monotonic"])
        except (OSError, ValueError, KeyError, TypeError):
            raise Unavailable(
                f"the simulated clock {self._path} cannot be read", fix="set it: only the simulation harness runs this"
            ) from None
        return instant.astimezone(UTC) + timedelta(seconds=elapsed)


def open_clock(project: Project) -> Clock:
    """Return the machine's clock, or the simulated one of a simulation.

    Raises ProjectError for a [simulation] table in a project whose log has real instants.
    """
    if project.simulation is None:
        return SystemClock()
    if read_log_host(project) not in {"", SIMULATION_HOST}:
        raise ProjectError(
            f"{project.locate('simulation')}: [simulation] in a project whose log has real instants",
            fix="remove the table; a simulation is a new project",
        )
    return SimulatedClock(project.root / project.simulation.folder / CLOCK_FILE)


def check_clock(project: Project) -> None:
    """Check that the project and its log agree on which clock it has.

    Raises ProjectError for a simulation that lost its table, and like `open_clock`.
    """
    if project.simulation is None and read_log_host(project) == SIMULATION_HOST:
        raise ProjectError(
            f"{project.root / PROJECT_FILE}: the table [simulation] is missing, and this project is a simulation",
            fix="add the table again, or remove the simulation with `wellspring clean`",
        )
    open_clock(project)


def read_log_host(project: Project) -> str:
    """Return the first part of the name of the project's log; empty before its first start."""
    try:
        return (project.ledger_dir / "origin").read_text(encoding="ascii").partition("/")[0]
    except FileNotFoundError:
        return ""
