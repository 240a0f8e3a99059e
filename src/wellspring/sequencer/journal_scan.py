"""Remember how far each journal was seen, so that lines that vanish before they are in the log are noticed."""

from __future__ import annotations

from pathlib import Path

from wellspring.errors import CorruptedError
from wellspring.trust.ledger import journal
from wellspring.trust.ledger.journal_state import (
    PACKED_FILE,
    SEEN_FILE,
    JournalState,
    describe_difference,
    read_states,
    write_states,
)


class JournalScan:
    """Reads the lines that are new since the last scan, of this process or of an earlier one, in each journal.

    Raises CorruptedError at the start if its own file is damaged.
    """

    def __init__(self, journals: Path, ledger: Path) -> None:
        self._journals = journals
        self._ledger = ledger
        # What was packed was seen, and may have left the journal.
        self._states = {**read_states(ledger, PACKED_FILE), **read_states(ledger, SEEN_FILE)}

    def find_differences(self) -> dict[str, CorruptedError]:
        """Read what is new; return, by service, why a journal is not the one that was seen before.

        A journal that became shorter, or whose own entries name other lines before them, is one finding at each call.
        """
        findings: dict[str, CorruptedError] = {}
        before = dict(self._states)
        for service in journal.list_services(self._journals):
            try:
                self._advance_state(service)
            except CorruptedError as exc:
                findings[service] = exc
        if self._states != before:
            write_states(self._ledger, SEEN_FILE, self._states)
        return findings

    def _advance_state(self, service: str) -> None:
        state = self._states.get(service, JournalState())
        for _, content in journal.read_lines(self._journals, service, state.lines - 1):
            if difference := describe_difference(state, content):
                raise CorruptedError(
                    f"the journal of {service}: {difference}", fix="keep the journal; run `wellspring ledger verify`"
                )
            self._states[service] = state = state.add_line(content)
