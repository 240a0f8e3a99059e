"""A process's own append-only journal: an entry is durable before its act is told to anybody."""

from __future__ import annotations

import fcntl
import json
import os
import re
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from pydantic import JsonValue

from wellspring.errors import Broken, Refused, Unavailable
from wellspring.records.clock import Clock
from wellspring.records.trust import Entry, Phase, Ref
from wellspring_verify import canonical

LONGEST = 65_535
"""Bytes of the longest entry: a bundle of the tree writes lengths in 16 bits."""
SEGMENT = 4 * 2**20
"""Bytes after which a new segment begins; small, because the sequencer reads the newest one again each time."""


class Segment(NamedTuple):
    """One file of a journal: lines `first`, `first` + 1, ..."""

    first: int
    path: Path


class Journal:
    """The journal of one service, written by one process; safe for its threads.

    Group commit: whoever comes while a write is under way waits for the next one, which carries them all.
    Raises Refused if another process holds the journal, Broken if its lines are not the ones that were written.
    """

    def __init__(self, folder: Path, service: str, *, tenant: str, clock: Clock) -> None:
        self.service = service
        self._folder = folder / service
        self._tenant = tenant
        self._clock = clock
        self._turn = threading.Condition()
        self._waiting: list[bytes] = []
        self._writing = False
        self._stopped: str | None = None
        self._open = True
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(self._folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as wrong:
            raise Unavailable(
                f"the journal of {service} cannot be opened ({wrong.strerror})", fix="mend the folder's owner or mode"
            ) from wrong
        try:
            self._take_lock()
            self._next, self._file = self._open_newest()
        except BaseException:
            os.close(self._lock)
            raise
        self._durable = self._next - 1
        self._size = os.fstat(self._file).st_size

    @property
    def assigned(self) -> int:
        """How many sequences are given out: entries kept, and entries under way."""
        return self._next

    def append(
        self,
        *,
        actor: str,
        action: str,
        phase: Phase,
        subject: str,
        intent: str | None = None,
        inputs: Iterable[Ref] = (),
        outputs: Iterable[Ref] = (),
        facts: dict[str, JsonValue] | None = None,
        trace: str,
    ) -> Entry:
        """Write one entry; it is durable when this returns. Raises Refused for facts that no entry can hold,
        Unavailable when it cannot be written: then nothing that it would have told may be done."""
        reads, writes = tuple(inputs), tuple(outputs)
        with self._turn:
            self._check()
            entry = Entry(
                tenant=self._tenant,
                known_since=self._clock.now(),
                service=self.service,
                sequence=self._next,
                actor=actor,
                action=action,
                phase=phase,
                subject=subject,
                intent=intent,
                inputs=reads,
                outputs=writes,
                facts=facts or {},
                trace=trace,
            )
            self._waiting.append(content(entry) + b"\n")
            self._next += 1
            while self._durable < entry.sequence:
                if self._writing:
                    self._turn.wait()
                else:
                    self._write()
                if self._durable < entry.sequence:
                    self._check()
        return entry

    def close(self) -> None:
        """Let go of the journal, after the entries under way. Closing again changes nothing."""
        with self._turn:
            while self._writing:
                self._turn.wait()
            if self._open:
                os.close(self._file)
                os.close(self._lock)
            self._open, self._stopped = False, "it is closed"

    def _check(self) -> None:
        if self._stopped is not None:
            raise Unavailable(
                f"the journal of {self.service} takes no entry: {self._stopped}",
                fix="free the disk or mend the folder, then start the process again",
            )

    def _write(self) -> None:
        """Write all that waits, once. Called with the turn held; gives it up while the disk works."""
        batch, upto = self._waiting, self._next - 1
        self._waiting, self._writing = [], True
        first = upto - len(batch) + 1
        self._turn.release()
        wrong = "its writer was interrupted"
        try:
            self._write_batch(first, b"".join(batch))
            wrong = ""
        except OSError as problem:
            wrong = f"it could not be written ({problem.strerror})"
        finally:
            self._turn.acquire()
            self._writing = False
            if wrong:
                # Nobody knows now what the disk holds: only a new process may look again.
                self._stopped = wrong
            else:
                self._durable = upto
            self._turn.notify_all()

    def _write_batch(self, first: int, lines: bytes) -> None:
        if self._size >= SEGMENT:
            full, self._file = self._file, _create(self._folder, first)
            self._size = 0
            os.close(full)
        try:
            rest = memoryview(lines)
            while rest:
                rest = rest[os.write(self._file, rest) :]
            os.fdatasync(self._file)
        except OSError:
            # Nobody was told that these lines are kept, so they had better not appear later.
            os.ftruncate(self._file, self._size)
            raise
        self._size += len(lines)

    def _take_lock(self) -> None:
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Refused(
                f"another process writes the journal of {self.service}", fix="stop it, or wait until it has finished"
            ) from None

    def _open_newest(self) -> tuple[int, int]:
        """Return the next sequence and the newest segment, open for appending, without a torn last line."""
        known = segments(self._folder)
        if not known:
            return 0, _create(self._folder, 0)
        newest = known[-1]
        file = os.open(newest.path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)
        try:
            lines = newest.path.read_bytes()
            whole = lines.rfind(b"\n") + 1
            if whole < len(lines):
                # A line without its end was never acknowledged: its writer died before it could be.
                os.ftruncate(file, whole)
                os.fsync(file)
            count = lines.count(b"\n")
            if count:
                _check_line(lines[lines.rfind(b"\n", 0, whole - 1) + 1 : whole - 1], newest, newest.first + count - 1)
        except BaseException:
            os.close(file)
            raise
        return newest.first + count, file


def read(folder: Path, service: str, after: int = -1) -> Iterator[tuple[int, bytes]]:
    """Yield (sequence, line without its newline) of a journal's whole lines after `after`, in order.

    Each line is durable when it is yielded. Raises Broken for a gap between segments, or if the journal ends
    before `after`: what was acknowledged once cannot be gone.
    """
    known = segments(folder / service)
    starts = [segment for segment in known if segment.first <= after + 1]
    if not starts:
        if known or after >= 0:
            raise _gap(service, after + 1)
        return
    expected = starts[-1].first
    for segment in known[len(starts) - 1 :]:
        if segment.first != expected:
            raise _gap(service, expected)
        handle = os.open(segment.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            with open(handle, "rb", closefd=False) as file:
                lines = file.read().split(b"\n")[:-1]
            fresh = lines[max(0, after + 1 - expected) :]
            if fresh:
                # What its writer has only handed to the system must not reach the tree, and then be lost here.
                os.fdatasync(handle)
        finally:
            os.close(handle)
        yield from enumerate(fresh, start=max(expected, after + 1))
        expected += len(lines)
    if expected < after + 1:
        raise _gap(service, expected)


def services(folder: Path) -> list[str]:
    """Name the services that have a journal, sorted."""
    return sorted(one.name for one in folder.iterdir() if one.is_dir()) if folder.is_dir() else []


def segments(folder: Path) -> list[Segment]:
    """List a journal's files, oldest first."""
    if not folder.is_dir():
        return []
    found = [(re.fullmatch(r"([0-9]{12})\.log", one.name), one) for one in folder.iterdir()]
    return sorted(Segment(int(name[1]), one) for name, one in found if name)


def content(entry: Entry) -> bytes:
    """Write an entry as the bytes that are journalled and become its leaf. Raises Refused if no entry can hold it."""
    try:
        line = canonical.dumps(entry.model_dump(mode="json"))
    except canonical.Malformed as wrong:
        raise Refused(
            f"{entry.action} of {entry.subject} cannot be recorded: {wrong}",
            fix="record counts, digests and names: whole numbers up to 2^53 and text",
        ) from None
    if len(line) > LONGEST:
        raise Refused(
            f"{entry.action} of {entry.subject} cannot be recorded: its entry has {len(line)} bytes",
            fix=f"record a digest of the list instead of the list: an entry has at most {LONGEST} bytes",
        )
    return line


def _create(folder: Path, first: int) -> int:
    path = folder / f"{first:012d}.log"
    file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    os.fchmod(file, 0o644)  # Whatever the umask: the sequencer reads it as another user.
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
    return file


def _check_line(line: bytes, segment: Segment, sequence: int) -> None:
    try:
        found = json.loads(line)["sequence"]
    except (ValueError, TypeError, KeyError):
        found = None
    if found != sequence:
        raise Broken(
            f"{segment.path.name} of the journal {segment.path.parent.name} does not end with entry {sequence}",
            fix="keep the file; compare it with the ledger (`wellspring ledger verify`)",
        )


def _gap(service: str, sequence: int) -> Broken:
    return Broken(
        f"the journal of {service} lacks entry {sequence}, which was there before",
        fix="keep the folder, restore the journal from a copy; do not retry",
    )
