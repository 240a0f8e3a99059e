"""Adopt the first policies of a project when the worker starts: from then on they change by a release only."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import NamedTuple

from wellspring.errors import WellspringError, format_error
from wellspring.project import Project
from wellspring.records.changes import PROJECT_WIDE, ChangeRelease
from wellspring.records.clock import Clock
from wellspring.records.observe import Recorder
from wellspring.stores.locks.port import WriteFence
from wellspring.trust import policy
from wellspring.trust.changes import activation
from wellspring.trust.changes.activation import ChangeContext
from wellspring.trust.changes.store import ChangeStore
from wellspring.trust.ledger.index import LedgerIndex

RETRY_SECONDS = 1.0


class PolicyAdoption(NamedTuple):
    """What adoption needs. hold: opens the fence of the resource of policies; integrate: waits for the log."""

    project: Project
    store: ChangeStore
    index: LedgerIndex
    hold: Callable[[], AbstractContextManager[WriteFence]]
    integrate: Callable[[], object]
    step: Recorder
    clock: Clock

    def adopt(self) -> ChangeRelease | None:
        """Make the policies on disk live if there are any and no release of them was; complete what a crash left.

        Raises ProjectError for policies that do not parse, Unavailable when the log does not respond.
        """
        folder = self.project.source_paths.get("policies")
        with self.hold() as fence:
            self.integrate()
            context = ChangeContext(self.store, self.index, fence)
            # What a job left is completed by the next job: only the journals of jobs may record an activation.
            adoptions = [item for item in self.index.list_open_intents() if item.entry.action == "adopt"]
            if activation.recover_changes("policy", adoptions, context, apply=_apply_nothing, step=self.step):
                self.integrate()
            is_recorded = activation.find_live_change(self.index, "policy", PROJECT_WIDE)
            if is_recorded or self.store.live_id("policy", PROJECT_WIDE):
                return None
            if folder is None or not any(folder.glob("*.cedar")):
                return None
            content = self.store.objects.put(policy.encode_policies(policy.load_policies(folder).files))
            adopted = activation.adopt_content(
                "policy",
                PROJECT_WIDE,
                content,
                context,
                tenant=self.project.tenant,
                clock=self.clock,
                apply=_apply_nothing,
                step=self.step,
            )
            self.integrate()
            return adopted

    def adopt_until(self, stop: threading.Event) -> None:
        """Try once, and if it fails in a thread once a second until it succeeds or the event is set."""
        if not self._try_adopt():
            threading.Thread(target=self._retry, args=(stop,), name="policies", daemon=True).start()

    def _retry(self, stop: threading.Event) -> None:
        while not stop.wait(RETRY_SECONDS):
            if self._try_adopt():
                return

    def _try_adopt(self) -> bool:
        try:
            self.adopt()
        except WellspringError as exc:
            print(format_error(exc.slug, exc.what, exc.fix), file=sys.stderr)
            return False
        return True


def _apply_nothing(_change: ChangeRelease) -> None:
    return None
