"""List the files of a source and compare them with the stored drops."""

from __future__ import annotations

import hashlib

from wellspring.data.contracts import contract as contracts
from wellspring.data.sources.port import FileSource, RemoteFile
from wellspring.enclave.findings import FindingRecorder
from wellspring.errors import NotFound, Refused
from wellspring.records.contracts import DataContract
from wellspring.records.ingestion import SourceFile
from wellspring.records.record import format_instant
from wellspring.trust.vault.postgres import VaultStore
from wellspring.trust.vault.records import StoredDrop

_BLOCK_SIZE = 1 << 20


def list_source(
    source: str,
    file_source: FileSource,
    *,
    project_contracts: tuple[DataContract, ...],
    store: VaultStore,
    findings: FindingRecorder,
) -> tuple[SourceFile, ...]:
    """List a source, oldest file first, and record each problem with a file as a finding, once.

    A file has the state `ingested` after its first admission; a file whose intake a crash interrupted is `new`.
    """
    drops_by_name = {stored_drop.drop.name: stored_drop for stored_drop in store.list_drops(source)}
    admitted_drops = store.list_admitted_drops()
    source_files: list[SourceFile] = []
    for file in file_source.list():
        if unusable := findings.record_unusable_name(source, file.name):
            source_files.append(_source_file(source, file, "unmatched", name=unusable.shown))
        elif file.name in drops_by_name:
            source_files.append(
                _stored_file(source, file, drops_by_name[file.name], admitted_drops, file_source, store, findings)
            )
        elif file.still_writing:
            source_files.append(_source_file(source, file, "still_writing"))
        else:
            source_files.append(_new_file(source, file, project_contracts, findings))
    return tuple(source_files)


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


def _stored_file(
    source: str,
    file: RemoteFile,
    stored_drop: StoredDrop,
    admitted_drops: frozenset[str],
    file_source: FileSource,
    store: VaultStore,
    findings: FindingRecorder,
) -> SourceFile:
    try:
        unchanged = content_unchanged(stored_drop, file, file_source, store)
    except (Refused, NotFound):
        # The file was changed or deleted during the check; the next listing decides.
        return _source_file(source, file, "still_writing", stored_drop=stored_drop)
    if not unchanged:
        if file.still_writing:
            return _source_file(source, file, "still_writing", stored_drop=stored_drop)
        findings.record_changed_file(stored_drop, format_instant(file.modified))
        return _source_file(source, file, "changed", stored_drop=stored_drop)
    return _source_file(
        source, file, "ingested" if stored_drop.drop.id in admitted_drops else "new", stored_drop=stored_drop
    )


def _new_file(
    source: str, file: RemoteFile, project_contracts: tuple[DataContract, ...], findings: FindingRecorder
) -> SourceFile:
    try:
        contract = contracts.contract_for_file(project_contracts, source, file.name)
    except Refused as unmatched:
        reasons = unmatched.verdict.reasons if unmatched.verdict else ()
        code = reasons[0].code if reasons else "no_contract"
        findings.record_finding(
            code, source, file.name, "the file matches zero or several contracts; it stays in the source"
        )
        return _source_file(source, file, "unmatched")
    return _source_file(source, file, "new", contract=contract.name)


def _source_file(
    source: str,
    file: RemoteFile,
    state: str,
    *,
    name: str = "",
    stored_drop: StoredDrop | None = None,
    contract: str | None = None,
) -> SourceFile:
    ingested = stored_drop is not None and state != "new"
    return SourceFile.model_validate(
        {
            "source": source,
            "name": name or file.name,
            "size": file.size,
            "modified": file.modified,
            "state": state,
            "drop": stored_drop.drop.id if stored_drop is not None and ingested else None,
            "contract": stored_drop.drop.contract if stored_drop is not None else contract,
        }
    )
