"""Take the answers that were recorded after a backup from journals that survived the loss of the project.

Only the lines of the API: they refer to what was there, and change nothing. What other services recorded after the
backup was done in stores that are lost. The lines keep their signatures, which the sequencer checks like all others.
"""

from __future__ import annotations

import os
from pathlib import Path

from wellspring.errors import CorruptedError, Refused
from wellspring.trust.ledger import journal
from wellspring.trust.ledger.line_signature import ANSWERING_SERVICE

_FIX = "name the folder journals/ of the lost project, or leave the option out"


def adopt_answers(restored: Path, surviving: Path) -> int:
    """Append the lines that only the surviving journal of the API has to the restored one; return their number.

    restored, surviving: folders of journals. Raises Refused if the surviving journal is not a continuation of the
    restored one, or if lines in between have been packed.
    """
    if not (surviving / ANSWERING_SERVICE).is_dir():
        raise Refused(f"{surviving} has no journal of {ANSWERING_SERVICE}", fix=_FIX)
    path, last_sequence = _cut_torn_line(restored)
    first = journal.first_sequence(surviving, ANSWERING_SERVICE)
    if first > last_sequence + 1:
        raise Refused(
            f"the surviving journal begins at line {first}, and the backup ends at line {last_sequence}: the lines in "
            "between were packed",
            fix="leave the option out; keep the line packs of the lost project's ledger",
        )
    restored_lines = dict(journal.read_lines(restored, ANSWERING_SERVICE))
    added: list[bytes] = []
    for sequence, line in journal.read_lines(surviving, ANSWERING_SERVICE):
        if sequence <= last_sequence and restored_lines.get(sequence, line) != line:
            raise Refused(f"line {sequence} of the surviving journal differs from that of the backup", fix=_FIX)
        if sequence > last_sequence:
            added.append(line)
    with open(path, "ab", opener=_open_existing) as file:
        file.write(b"".join(line + b"\n" for line in added))
        file.flush()
        os.fsync(file.fileno())
    return len(added)


def _cut_torn_line(restored: Path) -> tuple[Path, int]:
    """Remove an incomplete last line; return the newest segment, and the sequence of the last line (-1 for none)."""
    segments = journal.list_segments(restored / ANSWERING_SERVICE)
    if not segments:
        raise CorruptedError(f"the backup has no journal of {ANSWERING_SERVICE}", fix="leave the option out")
    newest = segments[-1]
    content = newest.path.read_bytes()
    complete = content.rfind(b"\n") + 1
    if complete < len(content):
        os.truncate(newest.path, complete)
    return newest.path, newest.first_sequence + content.count(b"\n") - 1


def _open_existing(path: str, flags: int) -> int:
    return os.open(path, (flags & ~os.O_CREAT) | os.O_NOFOLLOW | os.O_CLOEXEC)
