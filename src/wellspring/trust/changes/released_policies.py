"""The policies in force: those of the live release; before the first one, those on disk.

A file that is edited on disk acts when it is released, never before. Every process that asks the policies reads them
here, and compares the live release with the log, which the process that moves the pointer cannot write.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from wellspring.errors import WellspringError
from wellspring.records.changes import PROJECT_WIDE, ChangeRelease
from wellspring.trust import policy
from wellspring.trust.approvals import LedgerEntries
from wellspring.trust.changes.activation import check_in_force, propose_command
from wellspring.trust.changes.store import ChangeStore
from wellspring.trust.policy import PolicySet

DiskState = Literal["in force", "not released", "invalid"]


class ReleasedPolicies:
    """The policies of one project. folder: where they are edited. ledger: None for a project without a log.

    default: the set of a project that has neither a release nor a file; None: nothing is permitted then.
    """

    def __init__(
        self, store: ChangeStore, folder: Path | None, ledger: LedgerEntries | None, *, default: PolicySet | None = None
    ) -> None:
        self._store = store
        self._folder = folder
        self._ledger = ledger
        self._default = default

    def load(self) -> PolicySet:
        """Return the policies in force. Raises ProjectError before the first release, CorruptedError."""
        change = self.find_release()
        if change is not None:
            return policy.decode_policies(self._store.objects.get(change.content))
        if self._default is not None and (self._folder is None or not any(self._folder.glob("*.cedar"))):
            return self._default
        return policy.load_policies(self._folder)

    def find_release(self) -> ChangeRelease | None:
        """Return the live release; None before the first. Raises CorruptedError unless the log has it, signed."""
        change = self._store.get_live("policy", PROJECT_WIDE)
        if self._ledger is not None:
            check_in_force(change, "policy", PROJECT_WIDE, self._ledger)
        return change

    def read_version(self) -> object:
        """Return what differs whenever `load` may return another set; it reads no file."""
        live = self._store.live_version("policy", PROJECT_WIDE)
        if live is not None or self._folder is None:
            return live
        return [_stat_version(path) for path in sorted(self._folder.glob("*.cedar"))]

    def describe_difference(self) -> str:
        """Say that the policies on disk are not those in force, and what to do; '' if they are."""
        state = self.compare_disk()
        if state == "in force":
            return ""
        problem = "do not parse" if state == "invalid" else "differ from those in force, and act once they are released"
        return f"policies on disk {problem}: {propose_command('policy', PROJECT_WIDE)}"

    def compare_disk(self) -> DiskState:
        """Tell whether the policies on disk are those in force."""
        try:
            on_disk = policy.load_policies(self._folder)
        except WellspringError:
            return "invalid"
        try:
            return "in force" if on_disk.digest == self.load().digest else "not released"
        except WellspringError:
            return "not released"


def _stat_version(path: Path) -> tuple[str, int, int, int]:
    """Identify the version of a file by name, modification time, change time (mode and owner) and size."""
    try:
        file_stat = path.stat()
    except OSError:
        # The file was removed or became unreachable after the listing; reading it reports the error.
        return path.name, -1, -1, -1
    return path.name, file_stat.st_mtime_ns, file_stat.st_ctime_ns, file_stat.st_size
