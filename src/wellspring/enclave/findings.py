"""Record findings: problems for a user to solve. Each finding is recorded once, even if it occurs again."""

from __future__ import annotations

import hashlib
from pathlib import PurePosixPath
from typing import NamedTuple

from pydantic import JsonValue

from wellspring.data.formats.registry import list_formats, load_format
from wellspring.data.sources.port import is_unsafe
from wellspring.errors import Refused, escape_text
from wellspring.records.observe import Recorder
from wellspring.trust.dlp.scanner import PiiScanner
from wellspring.trust.vault.postgres import VaultStore
from wellspring.trust.vault.records import OutboxEntry, StoredDrop

MAX_NAME_LENGTH = 200
"""Maximum length of a file name in characters, because the name is a fact in the ledger."""


class UnusableName(NamedTuple):
    """A file name with which a file is not ingested. shown: the name as it may be printed."""

    code: str
    message: str
    shown: str


class FindingRecorder:
    """Writes the findings of the enclave to its database and to the ledger."""

    def __init__(self, store: VaultStore, step: Recorder, scanner: PiiScanner) -> None:
        self._store = store
        self._step = step
        self._scanner = scanner

    def record_finding(self, code: str, source: str, name: str, message: str) -> None:
        """Record a finding about a file that was not ingested. The subject contains a digest of the file name."""
        subject = file_subject(source, name)
        facts: dict[str, JsonValue] = {"code": code, "message": message}
        if len(name) <= MAX_NAME_LENGTH and not is_unsafe(name) and not contains_personal_data(name, self._scanner):
            facts["name"] = name
        self._record_once(f"finding/{code}/{subject.removeprefix('file:')}", subject, facts)

    def record_changed_file(self, stored_drop: StoredDrop, modified: str) -> None:
        """Record that the file of a drop has other content. modified: its modification time, clock of the source."""
        facts: dict[str, JsonValue] = {
            "code": "changed",
            "message": "the file of an ingested drop has other content",
            "modified": modified,
        }
        self._record_once(f"finding/changed/{stored_drop.drop.id}/{modified}", stored_drop.drop.subject, facts)

    def record_overdue_original(self, stored_drop: StoredDrop) -> None:
        """Record that an original can still be decrypted after its retention ended."""
        facts: dict[str, JsonValue] = {
            "code": "overdue",
            "message": "the original can still be decrypted after its retention ended",
        }
        self._record_once(f"finding/overdue/{stored_drop.drop.id}", stored_drop.drop.subject, facts)

    def record_too_large(self, source: str, name: str, refused: Refused) -> None:
        """Record the finding of a file that was refused because of its size; ignore any other refusal."""
        for reason in refused.verdict.reasons if refused.verdict is not None else ():
            if reason.code == "too_large":
                self.record_finding(reason.code, source, name, reason.message)

    def record_unusable_name(self, source: str, name: str) -> UnusableName | None:
        """Record and describe a name that is unsafe, contains personal data or is too long; None for any other."""
        unusable = _check_name(name, self._scanner)
        if unusable is not None:
            self.record_finding(unusable.code, source, name, unusable.message)
        return unusable

    def _record_once(self, key: str, subject: str, facts: dict[str, JsonValue]) -> None:
        outbox_entry = OutboxEntry(key, "finding", subject, (), (), facts)
        if self._store.record_finding(outbox_entry):
            with self._step(outbox_entry.action, outbox_entry.subject, facts=outbox_entry.facts):
                pass
            self._store.mark_published(key)


def file_subject(source: str, name: str) -> str:
    """Return the subject of entries about a file without a drop; it has a digest of the name, not the name."""
    return f"file:{source}/{_name_digest(name)}"


def hide_name(name: str) -> str:
    """Return what is shown of a name with personal data: the digest of its finding, and the suffix of a format."""
    suffix = PurePosixPath(name).suffix.casefold()
    has_format = any(suffix in load_format(file_format).suffixes for file_format in list_formats())
    return f"(hidden) {_name_digest(name)}{suffix if has_format else ''}"


def _name_digest(name: str) -> str:
    return hashlib.sha256(name.encode(errors="surrogatepass")).hexdigest()[:16]


def _check_name(name: str, scanner: PiiScanner) -> UnusableName | None:
    # A control character inside an identifier must not hide it from the scanner.
    visible = "".join(character for character in name if character.isprintable())
    personal = contains_personal_data(name, scanner) or contains_personal_data(visible, scanner)
    shown = hide_name(name) if personal else escape_text(name)
    if is_unsafe(name):
        message = "the file name has a control character, a backslash, or a part like `..`"
        return UnusableName("unsafe_name", message, shown)
    if personal:
        return UnusableName("personal_name", "the file name contains personal data", shown)
    if len(name) > MAX_NAME_LENGTH:
        return UnusableName("long_name", f"the file name has more than {MAX_NAME_LENGTH} characters", shown)
    return None


def contains_personal_data(name: str, scanner: PiiScanner) -> bool:
    """Return whether a file name contains personal data; numbers of public registers do not count.

    A vendor's file number may look like one by chance: a check digit excludes only nine of ten numbers.
    """
    return any(hit.kind not in scanner.public_kinds for hit in scanner.find_pii(name))
