"""Write and read the append-only journal of a process: an entry is durable before the caller continues."""

from __future__ import annotations

import fcntl
import itertools
import json
import os
import re
import threading
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import JsonValue

from wellspring.errors import CorruptedError, Refused, Unavailable
from wellspring.records.clock import Clock
from wellspring.records.trust import Entry, EntryPhase, Ref
from wellspring.runtime.files import fsync_folder, open_plain_file, read_plain_file
from wellspring.runtime.lock_holders import describe_lock_holder
from wellspring.trust.ledger.journal_key import JournalKey
from wellspring.trust.ledger.journal_state import STATE_ACTIONS, JournalState, find_named_state
from wellspring.trust.ledger.leaf import HASHED_ACTIONS
from wellspring_verify import canonical

MAX_ENTRY_BYTES = 65_535
"""Maximum bytes of an entry: a bundle of the tree stores lengths in 16 bits."""
SEGMENT_BYTES = 4 * 2**20
"""Bytes after which a new segment begins; small, because the sequencer reads the newest segment each time."""

STATE_LINES, STATE_INTERVAL = 1024, timedelta(minutes=1)
"""After so many lines, or so long after the last time, the next entry is followed by a heartbeat that names the state
of the journal. It also bounds what a new process reads to continue the running digest."""


class JournalSegment(NamedTuple):
    """One file of a journal, with the lines from `first_sequence` on."""

    first_sequence: int
    path: Path


class Journal:
    """The journal of one service, written by one process; safe for its threads.

    key: signs each line, except those of answers, which the next entry of STATE_ACTIONS covers.
    Group commit: entries that arrive during a write are written together by the next one.
    count_packed: returns how many of its first lines the log and the line packs have; files with only such lines are
    removed. crash_point: called after each removal.
    Raises Refused if another process has locked the journal, CorruptedError if its last line was changed.
    """

    def __init__(
        self,
        folder: Path,
        key: JournalKey,
        *,
        tenant: str,
        clock: Clock,
        count_packed: Callable[[], int] = lambda: 0,
        crash_point: Callable[[str], None] = lambda point: None,
    ) -> None:
        self.service = service = key.journal
        self._key = key
        self._folder = folder / service
        self._tenant = tenant
        self._clock = clock
        self._count_packed = count_packed
        self._crash_point = crash_point
        self._condition = threading.Condition()
        self._pending_lines: list[bytes] = []
        self._write_in_progress = False
        self._stop_reason: str | None = None
        self._is_open = True
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._lock_fd = os.open(self._folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        except OSError as exc:
            raise Unavailable(
                f"the journal of {service} cannot be opened ({exc.strerror})", fix="correct the folder's owner or mode"
            ) from exc
        try:
            self._take_lock()
            self._next_sequence, self._segment_fd = self._open_newest()
        except BaseException:
            os.close(self._lock_fd)
            raise
        self._durable_sequence = self._next_sequence - 1
        self._state, self._named_lines = _recover_state(self._folder)
        self._named_at = clock.now()
        self._segment_size = os.fstat(self._segment_fd).st_size
        self._remove_packed()

    @property
    def assigned_count(self) -> int:
        """Number of assigned sequences: of durable entries and of entries being written."""
        return self._next_sequence

    def append_entry(
        self,
        *,
        actor: str,
        action: str,
        phase: EntryPhase,
        subject: str,
        intent: str | None = None,
        inputs: Iterable[Ref] = (),
        outputs: Iterable[Ref] = (),
        facts: dict[str, JsonValue] | None = None,
        trace: str,
    ) -> Entry:
        """Write one entry; it is durable when this returns.

        An entry of STATE_ACTIONS also names the number and the digest of the lines before it. Raises Refused for facts
        that an entry cannot contain, Unavailable if it cannot be written: then the caller must not perform the action.
        """
        fields = {"actor": actor, "action": action, "phase": phase, "subject": subject, "intent": intent}
        references = {"inputs": tuple(inputs), "outputs": tuple(outputs)}
        with self._condition:
            self._require_writable()
            entry = self._add_pending({**fields, **references, "facts": facts or {}, "trace": trace})
            is_state_due = action not in STATE_ACTIONS and self._is_state_due(entry)
            if is_state_due:
                self._add_pending(
                    {"actor": actor, "action": "heartbeat", "phase": "done", "subject": f"journal:{self.service}"}
                    | {"facts": {}, "trace": trace}
                )
            while self._durable_sequence < entry.sequence:
                if self._write_in_progress:
                    self._condition.wait()
                else:
                    self._flush_pending()
                if self._durable_sequence < entry.sequence:
                    self._require_writable()
            if is_state_due:
                self._remove_packed()
        return entry

    def _add_pending(self, fields: dict[str, Any]) -> Entry:
        """Assign the next sequence to an entry, and queue its line. Called with the condition locked."""
        now = self._clock.now()
        names_state = fields["action"] in STATE_ACTIONS
        if names_state:
            state_facts = {"lines": self._state.lines, "digest": self._state.digest.hex()}
            fields = {**fields, "facts": {**fields["facts"], **state_facts}}
        entry = Entry(
            tenant=self._tenant, known_since=now, service=self.service, sequence=self._next_sequence, **fields
        )
        line = encode_entry(entry)
        if entry.action not in HASHED_ACTIONS:
            entry = entry.model_copy(update={"signature": self._key.sign_line(line)})
            line = encode_entry(entry)
        if names_state:
            self._named_lines, self._named_at = self._state.lines, now
        self._pending_lines.append(line + b"\n")
        self._state = self._state.add_line(line)
        self._next_sequence += 1
        return entry

    def _is_state_due(self, entry: Entry) -> bool:
        """Return whether the journal should name its state: after that many lines, or that long after the last time."""
        lines = self._state.lines - self._named_lines
        return lines >= STATE_LINES or abs(entry.known_since - self._named_at) >= STATE_INTERVAL

    def close(self) -> None:
        """Close the journal after the running write. Closing again has no effect."""
        with self._condition:
            while self._write_in_progress:
                self._condition.wait()
            if self._is_open:
                os.close(self._segment_fd)
                os.close(self._lock_fd)
            self._is_open, self._stop_reason = False, "it is closed"

    def _require_writable(self) -> None:
        if self._stop_reason is not None:
            raise Unavailable(
                f"the journal of {self.service} accepts no entries: {self._stop_reason}",
                fix="free the disk or repair the folder, then restart the process",
            )

    def _flush_pending(self) -> None:
        """Write all pending lines at once. Called with the condition locked; releases it during the write."""
        batch, last_sequence = self._pending_lines, self._next_sequence - 1
        self._pending_lines, self._write_in_progress = [], True
        first_sequence = last_sequence - len(batch) + 1
        self._condition.release()
        failure = "its writer was interrupted"
        try:
            self._write_batch(first_sequence, b"".join(batch))
            failure = ""
        except OSError as exc:
            failure = f"it could not be written ({exc.strerror})"
        finally:
            self._condition.acquire()
            self._write_in_progress = False
            if failure:
                # The state of the disk is unknown now: only a new process may read it again.
                self._stop_reason = failure
            else:
                self._durable_sequence = last_sequence
            self._condition.notify_all()

    def _write_batch(self, first_sequence: int, lines: bytes) -> None:
        if self._segment_size >= SEGMENT_BYTES:
            full_fd, self._segment_fd = self._segment_fd, _create_segment(self._folder, first_sequence)
            self._segment_size = 0
            os.close(full_fd)
        try:
            rest = memoryview(lines)
            while rest:
                rest = rest[os.write(self._segment_fd, rest) :]
            os.fdatasync(self._segment_fd)
        except OSError:
            # These lines were not acknowledged, so they must not appear later.
            os.ftruncate(self._segment_fd, self._segment_size)
            raise
        self._segment_size += len(lines)

    def _remove_packed(self) -> None:
        """Remove the oldest files of which every line is packed; a file after them names the state of the journal."""
        if self._durable_sequence < self._named_lines:
            return
        segments = list_segments(self._folder)
        limit = min(self._count_packed(), self._named_lines) if len(segments) > 1 else 0
        for segment, successor in itertools.pairwise(segments):
            if successor.first_sequence > limit:
                return
            segment.path.unlink()
            # Durable one by one: what is left has no gap after a crash.
            fsync_folder(self._folder)
            self._crash_point("ledger.journal:segment-removed")

    def _take_lock(self) -> None:
        try:
            fcntl.flock(self._lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Refused(
                f"another process writes the journal of {self.service}: "
                f"{describe_lock_holder(self._folder / 'lock') or 'unknown'}",
                fix="wait until it ends; `wellspring down` ends one that was left over",
            ) from None

    def _open_newest(self) -> tuple[int, int]:
        """Return the next sequence and the newest segment, open for appending. Removes an incomplete last line."""
        journal_segments = list_segments(self._folder)
        if not journal_segments:
            return 0, _create_segment(self._folder, 0)
        newest = journal_segments[-1]
        segment_fd = open_plain_file(newest.path, os.O_RDWR | os.O_APPEND)
        try:
            lines = read_plain_file(newest.path)
            complete_length = lines.rfind(b"\n") + 1
            if complete_length < len(lines):
                # An incomplete line was never acknowledged: its writer crashed before that.
                os.ftruncate(segment_fd, complete_length)
                os.fsync(segment_fd)
            count = lines.count(b"\n")
            if count:
                _check_line(
                    lines[lines.rfind(b"\n", 0, complete_length - 1) + 1 : complete_length - 1],
                    newest,
                    newest.first_sequence + count - 1,
                )
        except BaseException:
            os.close(segment_fd)
            raise
        return newest.first_sequence + count, segment_fd


def read_lines(folder: Path, service: str, after_sequence: int | None = None) -> Iterator[tuple[int, bytes]]:
    """Yield (sequence, line without its newline) of the complete lines after `after_sequence`, in order.

    None: from the first line that the journal still has. Each line is durable when it is yielded. Raises CorruptedError
    for a gap between segments, or if the journal ends before `after_sequence`; FileNotFoundError if a file of it is
    removed meanwhile, because its lines were packed.
    """
    journal_segments = list_segments(folder / service)
    if after_sequence is None:
        after_sequence = journal_segments[0].first_sequence - 1 if journal_segments else -1
    earlier_segments = [segment for segment in journal_segments if segment.first_sequence <= after_sequence + 1]
    if not earlier_segments:
        if journal_segments or after_sequence >= 0:
            raise _gap_error(service, after_sequence + 1)
        return
    expected = earlier_segments[-1].first_sequence
    for segment in journal_segments[len(earlier_segments) - 1 :]:
        if segment.first_sequence != expected:
            raise _gap_error(service, expected)
        handle = open_plain_file(segment.path)
        try:
            with open(handle, "rb", closefd=False) as file:
                lines = file.read().split(b"\n")[:-1]
            new_lines = lines[max(0, after_sequence + 1 - expected) :]
            if new_lines:
                # Sync before the lines reach the tree: the writer may not have synced them yet.
                os.fdatasync(handle)
        finally:
            os.close(handle)
        yield from enumerate(new_lines, start=max(expected, after_sequence + 1))
        expected += len(lines)
    if expected < after_sequence + 1:
        raise _gap_error(service, expected)


def first_sequence(folder: Path, service: str) -> int:
    """Return the sequence of the first line that a journal still has; 0 for an empty one."""
    segments = list_segments(folder / service)
    return segments[0].first_sequence if segments else 0


def count_lines(folder: Path, service: str) -> int:
    """Count the complete lines of a journal. Only its newest segment is read."""
    segments = list_segments(folder / service)
    return segments[-1].first_sequence + read_plain_file(segments[-1].path).count(b"\n") if segments else 0


def list_services(folder: Path) -> list[str]:
    """List the services that have a journal, sorted."""
    return sorted(path.name for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []


def list_segments(folder: Path) -> list[JournalSegment]:
    """List the segments of a journal, oldest first."""
    if not folder.is_dir():
        return []
    matches = [(re.fullmatch(r"([0-9]{12})\.log", path.name), path) for path in folder.iterdir()]
    return sorted(JournalSegment(int(match[1]), path) for match, path in matches if match)


def encode_entry(entry: Entry) -> bytes:
    """Encode an entry as the bytes of its journal line and leaf. Raises Refused if it cannot be encoded."""
    try:
        line = canonical.dumps_canonical(entry.model_dump(mode="json"))
    except canonical.MalformedError as exc:
        raise Refused(
            f"{entry.action} of {entry.subject} cannot be recorded: {exc}",
            fix="record counts, digests and names: whole numbers up to 2^53 and text",
        ) from None
    if len(line) > MAX_ENTRY_BYTES:
        raise Refused(
            f"{entry.action} of {entry.subject} cannot be recorded: its entry has {len(line)} bytes",
            fix=f"record a digest of the list instead of the list: an entry has at most {MAX_ENTRY_BYTES} bytes",
        )
    return line


def _recover_state(folder: Path) -> tuple[JournalState, int]:
    """Compute the state of a journal from the last line that names one; return also how many lines that line names."""
    segments = list_segments(folder)
    contents: list[list[bytes]] = []
    state = JournalState()
    for segment in reversed(segments):
        lines = read_plain_file(segment.path).split(b"\n")[:-1]
        contents.append(lines)
        for position in range(len(lines) - 1, -1, -1):
            if (named := find_named_state(lines[position])) is not None:
                contents[-1], state = lines[position:], named
                break
        else:
            continue
        break
    named_lines = state.lines
    for lines in reversed(contents):
        for line in lines:
            state = state.add_line(line)
    return state, named_lines


def _create_segment(folder: Path, first_sequence: int) -> int:
    path = folder / f"{first_sequence:012d}.log"
    segment_fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640)
    os.fchmod(segment_fd, 0o640)  # Independent of the umask: the sequencer reads it as another user.
    fsync_folder(folder)
    return segment_fd


def _check_line(line: bytes, segment: JournalSegment, sequence: int) -> None:
    try:
        stored_sequence = json.loads(line)["sequence"]
    except (ValueError, TypeError, KeyError):
        stored_sequence = None
    if stored_sequence != sequence:
        raise CorruptedError(
            f"{segment.path.name} of the journal {segment.path.parent.name} does not end with entry {sequence}",
            fix="keep the file; compare it with the ledger (`wellspring ledger verify`)",
        )


def _gap_error(service: str, sequence: int) -> CorruptedError:
    return CorruptedError(
        f"the journal of {service} lacks entry {sequence}, which it had before",
        fix="keep the folder, restore the journal from a copy; do not retry",
    )
