"""The length and the running digest of a journal, which some of its entries name for the lines before them.

The digest of n + 1 lines is the SHA-256 of the digest of n lines and the next line: whoever knows the state of a
journal at one time can tell later whether its lines up to there are the same.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, cast

from wellspring.errors import CorruptedError
from wellspring.runtime.files import write_atomically

STATE_ACTIONS = frozenset({"heartbeat", "create_key"})
"""Actions whose entries name the state of their journal before them."""
SEEN_FILE = "seen.json"
"""File in the ledger's folder with the newest state of each journal that the sequencer has seen."""
PACKED_FILE = "packed.json"
"""File in the ledger's folder with the newest state of each journal whose lines are all in the witnessed log, and in a
line pack where the log holds only their digest. The owner of the journal may remove them."""
_MARKS = tuple(f'"action":"{action}"'.encode() for action in sorted(STATE_ACTIONS))


class JournalState(NamedTuple):
    """The first lines of a journal: how many, and their running digest."""

    lines: int = 0
    digest: bytes = bytes(32)

    def add_line(self, content: bytes) -> JournalState:
        """Return the state after one more line. content: without its newline."""
        return JournalState(self.lines + 1, hashlib.sha256(self.digest + content).digest())


def find_named_state(content: bytes) -> JournalState | None:
    """Return the state that a line names for the lines before it; None if it names none."""
    if not any(mark in content for mark in _MARKS):
        return None
    try:
        entry: Any = json.loads(content)
        if entry["action"] not in STATE_ACTIONS:
            return None
        return JournalState(int(entry["facts"]["lines"]), bytes.fromhex(entry["facts"]["digest"]))
    except (ValueError, TypeError, KeyError):
        return None


def describe_difference(state: JournalState, content: bytes) -> str:
    """Return how the lines before this one differ from those that it names, or ''. state: of the lines before it."""
    named = find_named_state(content)
    if named is None or named == state:
        return ""
    missing = named.lines - state.lines
    return f"line {state.lines} names the {named.lines} lines before it, and " + (
        f"{missing} of them are missing" if missing > 0 else "they were changed"
    )


def read_states(ledger: Path, file: str) -> dict[str, JournalState]:
    """Read the state of each journal from a file of the ledger's folder. Raises CorruptedError for a damaged file."""
    path = ledger / file
    try:
        stored = cast("dict[str, dict[str, Any]]", json.loads(path.read_bytes()))
        return {
            service: JournalState(int(state["lines"]), bytes.fromhex(state["digest"]))
            for service, state in stored.items()
        }
    except FileNotFoundError:
        return {}
    except (ValueError, TypeError, KeyError, AttributeError):
        raise CorruptedError(f"{path} is damaged", fix="keep it; run `wellspring ledger verify`") from None


def write_states(ledger: Path, file: str, states: Mapping[str, JournalState]) -> None:
    """Store the state of each journal, durably."""
    stored = {service: {"lines": state.lines, "digest": state.digest.hex()} for service, state in states.items()}
    write_atomically(ledger / file, json.dumps(stored, sort_keys=True).encode())


def count_packed_lines(ledger: Path, service: str) -> int:
    """Return how many of the first lines of a journal its owner may remove. Raises CorruptedError."""
    return read_states(ledger, PACKED_FILE).get(service, JournalState()).lines
