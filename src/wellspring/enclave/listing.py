"""List the files of a source and compare them with the stored drops."""

from __future__ import annotations

import hashlib
from collections.abc import Container, Mapping
from datetime import datetime
from typing import NamedTuple

from wellspring.data.contracts import contract as contracts
from wellspring.data.sources.port import FileSource, RemoteFile
from wellspring.enclave.file_watch import FileWatch, file_version
from wellspring.enclave.findings import FindingRecorder
from wellspring.errors import NotFound, Refused
from wellspring.records.contracts import DataContract
from wellspring.records.ingestion import FileFinding, SourceFile
from wellspring.trust.vault.postgres import VaultStore
from wellspring.trust.vault.records import FinishedFile, StoredDrop, UnfinishedDrop

MAX_SECONDS_AHEAD = 86_400
"""A file that is dated further ahead is a finding: a clock is wrong, or somebody set the date."""
UNMATCHED_MESSAGES = {
    "no_contract": "its name matches no contract; it stays in the source",
    "several_contracts": "its name matches several contracts; it stays in the source",
}
_BLOCK_SIZE = 1 << 20


class SourceLister(NamedTuple):
    """Lists one source, oldest file first, and records each problem with a file as a finding, once for each version.

    settle_seconds: of the source. now: by the clock of this machine.
    """

    source: str
    file_source: FileSource
    project_contracts: tuple[DataContract, ...]
    store: VaultStore
    findings: FindingRecorder
    watch: FileWatch
    settle_seconds: float
    now: datetime

    def list_files(self) -> tuple[SourceFile, ...]:
        """List the files that need a decision: not one whose drop is finished and that is as it was then.

        A file is `ingested` after its first admission; one whose intake was interrupted is `new`. Drops that were
        stored and are not finished are listed too if their file is gone from the source.
        """
        finished, unfinished = (
            self.store.list_finished_files(self.source),
            self.store.list_unfinished_drops(self.source),
        )
        files = self.file_source.list()
        listed_names = {file.name for file in files}
        undecided = [
            file for file in files if finished.get(file.name) != FinishedFile(file.size, file.modified, file.identity)
        ]
        self.watch.observe_files(self.source, undecided, self.now)
        described = tuple(self._describe_file(file, finished.keys(), unfinished) for file in undecided)
        removed = [drop for name, drop in unfinished.items() if name not in listed_names and not drop.settled]
        return (*described, *map(self._describe_removed_file, removed))

    def _describe_removed_file(self, unfinished: UnfinishedDrop) -> SourceFile:
        stored_drop = unfinished.stored_drop
        drop = stored_drop.drop
        file = RemoteFile(drop.name, drop.size, stored_drop.modified, still_writing=False)
        return self._source_file(file, "ingested" if unfinished.admitted else "new", stored_drop=stored_drop)

    def _describe_file(
        self, file: RemoteFile, finished: Container[str], unfinished: Mapping[str, UnfinishedDrop]
    ) -> SourceFile:
        settled = self.watch.is_settled(self.source, file, self.settle_seconds, self.now)
        unusable = self.findings.check_name(file.name)
        if unusable is not None:
            finding = self._record(file, unusable.code, unusable.message) if settled else None
            return self._source_file(
                file, "unmatched" if settled else "still_writing", name=unusable.shown, finding=finding
            )
        if file.name in unfinished:
            earlier = unfinished[file.name]
            return self._describe_stored_file(file, earlier.stored_drop, is_admitted=earlier.admitted)
        stored_drop = self.store.find_drop_by_name(self.source, file.name) if file.name in finished else None
        if stored_drop is not None:
            return self._describe_stored_file(file, stored_drop, is_admitted=True)
        finding = None
        if file.seconds_ahead > MAX_SECONDS_AHEAD:
            days = file.seconds_ahead // MAX_SECONDS_AHEAD
            finding = self._record(file, "future_dated", f"its modification time lies {days} days in the future")
        if not settled:
            return self._source_file(file, "still_writing", finding=finding)
        try:
            contract = contracts.contract_for_file(self.project_contracts, self.source, file.name)
        except Refused as unmatched:
            codes = [reason.code for reason in unmatched.verdict.reasons] if unmatched.verdict else []
            code = codes[0] if codes else "no_contract"
            return self._source_file(file, "unmatched", finding=self._record(file, code, UNMATCHED_MESSAGES[code]))
        return self._source_file(file, "new", contract=contract.name, finding=finding)

    def _describe_stored_file(self, file: RemoteFile, stored_drop: StoredDrop, *, is_admitted: bool) -> SourceFile:
        try:
            unchanged = content_unchanged(stored_drop, file, self.file_source, self.store)
        except (Refused, NotFound):
            # The file was changed or deleted during the check; the next listing decides.
            return self._source_file(file, "still_writing", stored_drop=stored_drop)
        if unchanged:
            state = "withdrawn" if stored_drop.withdrawn else "ingested" if is_admitted else "new"
            return self._source_file(file, state, stored_drop=stored_drop)
        if not self.watch.is_settled(self.source, file, self.settle_seconds, self.now):
            return self._source_file(file, "still_writing", stored_drop=stored_drop)
        finding = self.findings.record_changed_file(stored_drop, file)
        return self._source_file(file, "changed", stored_drop=stored_drop, finding=finding)

    def _record(self, file: RemoteFile, code: str, message: str) -> FileFinding:
        return self.findings.record_finding(code, self.source, file.name, message, version=file_version(file))

    def _source_file(
        self,
        file: RemoteFile,
        state: str,
        *,
        name: str = "",
        stored_drop: StoredDrop | None = None,
        contract: str | None = None,
        finding: FileFinding | None = None,
    ) -> SourceFile:
        ingested = stored_drop is not None and state != "new"
        return SourceFile.model_validate(
            {
                "source": self.source,
                "name": name or file.name,
                "size": file.size,
                "modified": file.modified,
                "state": state,
                "drop": stored_drop.drop.id if stored_drop is not None and ingested else None,
                "contract": stored_drop.drop.contract if stored_drop is not None else contract,
                "finding": finding,
                "seconds_ahead": file.seconds_ahead,
            }
        )


def content_unchanged(stored_drop: StoredDrop, file: RemoteFile, file_source: FileSource, store: VaultStore) -> bool:
    """Return whether a file still has the content of its drop.

    Reads it only if its identity or its modification time differs.
    """
    if file.size != stored_drop.drop.size:
        return False
    if (file.identity, file.modified) == (stored_drop.identity, stored_drop.modified):
        return True
    with file_source.open(file.name) as stream:
        content_hash = hashlib.sha256()
        while block := stream.read(_BLOCK_SIZE):
            content_hash.update(block)
    if content_hash.hexdigest() != stored_drop.drop.digest:
        return False
    store.update_file_state(stored_drop.drop.id, stream.file.modified, stream.file.identity)
    return True
