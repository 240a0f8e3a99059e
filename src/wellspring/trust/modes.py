"""The mode of a project: which rules of two persons hold, as the `mode` entries of its ledger say.

In `development` one person proposes and approves, with a password and without an authenticator, and everything that the
project returns says so. A project that was ever governed stays governed. What was enrolled, proposed and approved in
development does not count any more once the project is governed: one person may have acted under two names.
"""

from __future__ import annotations

from wellspring.errors import ProjectError
from wellspring.project import Project
from wellspring.records.trust import IndexedEntry, LedgerEntries
from wellspring_verify.modes import ModePeriod

MODE_ACTION = "mode"
"""Action of the entries that put a mode into force."""
RECORDING_SERVICE = "supervisor"
"""The only service whose entries of a mode count; no other service can write its journal."""


def list_mode_entries(ledger: LedgerEntries) -> list[IndexedEntry]:
    """List the entries that put a mode into force, in the order of the log."""
    return [
        indexed
        for indexed in ledger.list_entries(action=MODE_ACTION, phase="done")
        if indexed.entry.service == RECORDING_SERVICE
    ]


def find_mode_period(ledger: LedgerEntries, *, before_index: int | None = None) -> ModePeriod:
    """Return the mode in force, now or before an index. A ledger without an entry of a mode is governed."""
    was_development = False
    for indexed in list_mode_entries(ledger):
        if before_index is not None and indexed.index >= before_index:
            break
        if indexed.entry.text("mode") != "development":
            return ModePeriod("governed", indexed.index if was_development else -1)
        was_development = True
    return ModePeriod("development" if was_development else "governed")


def require_mode(project: Project, ledger: LedgerEntries) -> None:
    """Raise ProjectError if wellspring.toml sets a governed project back to development.

    A ledger that has no entry of a mode yet is that of a new project: `up` records the mode of wellspring.toml.
    """
    if project.project.mode != "development" or not list_mode_entries(ledger):
        return
    if find_mode_period(ledger).mode == "governed":
        raise build_mode_error(project)


def build_mode_error(project: Project) -> ProjectError:
    """Build the error of a project whose wellspring.toml is below the mode in force."""
    return ProjectError(
        f"{project.locate('project', 'mode')}: mode is development, and this project is governed according to its"
        " ledger",
        fix='write mode = "governed": a governed project stays governed; for development create another project',
    )
