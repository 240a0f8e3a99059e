"""Record findings: problems for a user to solve. Each finding is recorded once, even if it occurs again."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Callable
from functools import cached_property
from pathlib import PurePosixPath
from typing import NamedTuple

from pydantic import JsonValue

from wellspring.data.formats.registry import list_formats, load_format
from wellspring.data.sources.port import RemoteFile, is_unsafe
from wellspring.enclave.file_watch import file_version
from wellspring.errors import Refused, WellspringError, escape_text
from wellspring.records.ingestion import FileFinding
from wellspring.records.observe import Recorder
from wellspring.records.record import format_instant
from wellspring.trust.dlp.scanner import PiiScanner
from wellspring.trust.vault.postgres import VaultStore
from wellspring.trust.vault.records import OutboxEntry, StoredDrop

MAX_NAME_LENGTH = 200
"""Maximum length of a file name in characters, because the name is a fact in the ledger."""
_SHOWN_LENGTH = 60
"""Number of characters that are shown of a longer name."""
REFUSED_FILE_CODES = ("too_large", "unreadable_file")
"""Reasons for which a source refuses one file, until somebody acts."""


_WORD_MARKS = re.compile(r"_+|(?<=[^\W\d_])[-.]+|[-.]+(?=[^\W\d_])")
"""Underscores, and dashes and dots beside a letter."""


class UnusableName(NamedTuple):
    """A file name with which a file is not ingested. shown: the name as it may be printed."""

    code: str
    message: str
    shown: str


class FindingRecorder:
    """Writes the findings of the enclave to its database and to the ledger.

    version: of the file (`file_watch.file_version`). The same problem with another version is another finding.
    load_name_key: of the keyed digest that stands for a file name; without the key nobody can try out names.
    """

    def __init__(
        self, store: VaultStore, step: Recorder, scanner: PiiScanner, load_name_key: Callable[[], bytes]
    ) -> None:
        self._store = store
        self._step = step
        self._scanner = scanner
        self._load_name_key = load_name_key

    def record_finding(self, code: str, source: str, name: str, message: str, *, version: str = "") -> FileFinding:
        """Record a finding about a file that was not ingested. The subject contains a digest of the file name."""
        subject = self.file_subject(source, name)
        facts: dict[str, JsonValue] = {"shown": self.shown_name(name)}
        if len(name) <= MAX_NAME_LENGTH and not is_unsafe(name) and not contains_personal_data(name, self._scanner):
            facts["name"] = name
        return self._record_once(code, source, subject, message, facts, version)

    def record_changed_file(self, stored_drop: StoredDrop, file: RemoteFile) -> FileFinding:
        """Record that the file of a drop has other content."""
        facts: dict[str, JsonValue] = {"shown": stored_drop.drop.name, "modified": format_instant(file.modified)}
        return self._record_once(
            "changed",
            stored_drop.drop.source,
            stored_drop.drop.subject,
            "it was ingested with other content; ask the vendor to send a correction under a new name",
            facts,
            file_version(file),
        )

    def record_lost_drop(self, stored_drop: StoredDrop) -> FileFinding:
        """Record that the rows of a drop are not in the lake and that the retention of its original has ended."""
        message = "its retention ended, and its rows are not in the lake; ask the vendor for it under a new name"
        facts: dict[str, JsonValue] = {"shown": stored_drop.drop.name}
        return self._record_once(
            "retention_ended", stored_drop.drop.source, stored_drop.drop.subject, message, facts, ""
        )

    def record_overdue_original(self, stored_drop: StoredDrop) -> None:
        """Record that an original can still be decrypted after its retention ended."""
        message = "the original can still be decrypted after its retention ended"
        facts: dict[str, JsonValue] = {"shown": stored_drop.drop.name}
        self._record_once("overdue", stored_drop.drop.source, stored_drop.drop.subject, message, facts, "")

    def record_refused_file(self, source: str, name: str, refused: Refused, *, version: str) -> None:
        """Record the finding of a file that its source refuses to give, and name it as the subject of the verdict."""
        for reason in refused.verdict.reasons if refused.verdict is not None else ():
            if reason.code in REFUSED_FILE_CODES and refused.verdict is not None:
                finding = self.record_finding(reason.code, source, name, reason.message, version=version)
                refused.verdict = refused.verdict.model_copy(update={"subject": f"finding:{finding.id}"})

    def check_name(self, name: str) -> UnusableName | None:
        """Describe a name that is unsafe, contains personal data or is too long; None for any other."""
        # A control character inside an identifier must not hide it from the scanner.
        visible = "".join(character for character in name if character.isprintable())
        if contains_personal_data(name, self._scanner) or contains_personal_data(visible, self._scanner):
            shown = self._hide_name(name)
            if not is_unsafe(name):
                return UnusableName("personal_name", "the file name contains personal data", shown)
        else:
            shown = _shorten_name(escape_text(name))
        if is_unsafe(name):
            message = "the file name has a control character, a backslash, or a part like `..`"
            return UnusableName("unsafe_name", message, shown)
        if len(name) > MAX_NAME_LENGTH:
            return UnusableName("long_name", f"the file name has more than {MAX_NAME_LENGTH} characters", shown)
        return None

    def shown_name(self, name: str) -> str:
        """Return a name as it may be shown: escaped, at most MAX_NAME_LENGTH characters, nothing of a hidden one."""
        unusable = self.check_name(name)
        return escape_text(name) if unusable is None else unusable.shown

    def file_subject(self, source: str, name: str) -> str:
        """Return the subject of entries about a file without a drop; it has a digest of the name, not the name."""
        return f"file:{source}/{self._digest_name(name)}"

    def failure_subject(self, source: str, name: str) -> str:
        """Return the subject of an entry about a failed intake: the file, or only its source without the key server."""
        try:
            return self.file_subject(source, name)
        except WellspringError:
            return f"source:{source}"

    def _hide_name(self, name: str) -> str:
        """Return what is shown of a name with personal data: the digest of its finding, and the suffix of a format."""
        suffix = PurePosixPath(name).suffix.casefold()
        has_format = any(suffix in load_format(file_format).suffixes for file_format in list_formats())
        return f"(hidden) {self._digest_name(name)}{suffix if has_format else ''}"

    def _digest_name(self, name: str) -> str:
        return hmac.digest(self._name_key, name.encode(errors="surrogatepass"), "sha256").hex()[:16]

    @cached_property
    def _name_key(self) -> bytes:
        return self._load_name_key()

    def _record_once(
        self, code: str, source: str, subject: str, message: str, facts: dict[str, JsonValue], version: str
    ) -> FileFinding:
        finding_id = hashlib.sha256(f"{code}/{subject}/{version}".encode()).hexdigest()[:12]
        entry_facts: dict[str, JsonValue] = {
            "finding": finding_id, "code": code, "source": source, "message": message, **facts
        }  # fmt: skip
        outbox_entry = OutboxEntry(f"finding/{finding_id}", "finding", subject, (), (), entry_facts)
        if self._store.record_finding(outbox_entry):
            with self._step(outbox_entry.action, outbox_entry.subject, facts=outbox_entry.facts):
                pass
            self._store.outbox.mark_published(outbox_entry.key)
        return FileFinding(id=finding_id, code=code, message=message)


def _shorten_name(name: str) -> str:
    return name if len(name) <= MAX_NAME_LENGTH else f"{name[:_SHOWN_LENGTH]}..."


def contains_personal_data(name: str, scanner: PiiScanner) -> bool:
    """Return whether a file name contains personal data; numbers of public registers do not count.

    A vendor's file number may look like one by chance: a check digit excludes only nine of ten numbers. Words of a name
    are joined by marks, which would hide a number beside them.
    """
    words = _WORD_MARKS.sub(" ", name)
    return any(hit.kind not in scanner.public_kinds for text in (name, words) for hit in scanner.find_pii(text))
