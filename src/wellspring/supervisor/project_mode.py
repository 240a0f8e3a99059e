"""Puts the mode of wellspring.toml into force when the servers start: the only place that records a mode."""

from __future__ import annotations

from collections.abc import Callable

from wellspring.project import Project
from wellspring.records.observe import Recorder
from wellspring.records.trust import LedgerEntries
from wellspring.trust.modes import MODE_ACTION, build_mode_error, find_mode_period, list_mode_entries, require_mode


def record_mode(
    project: Project, ledger: LedgerEntries, *, step: Recorder, remove_development_login: Callable[[], None]
) -> bool:
    """Record the mode of wellspring.toml if another one is in force. Return whether development ended.

    Development ends with the removal of its login, then with the entry: nobody signs in between, and a start after a
    crash does both again. Raises ProjectError for a governed project whose wellspring.toml says development.
    """
    require_mode(project, ledger)
    mode = project.project.mode
    current = find_mode_period(ledger).mode if list_mode_entries(ledger) else ""
    if not current and mode == "development" and ledger.list_entries(action="enroll", phase="done"):
        # A project without an entry of a mode is governed.
        raise build_mode_error(project)
    if current == mode:
        return False
    if current:
        remove_development_login()
    with step(MODE_ACTION, f"project:{project.name}", facts={"mode": mode, "previous": current, "principal": "owner"}):
        pass  # Only the entry: every process reads the mode from it.
    return bool(current)
