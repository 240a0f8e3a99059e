"""Ingestion: from a vendor's drop to a landed edition, and the replay of quarantined rows."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import JsonValue

from wellspring.data.contracts import contract as contracts
from wellspring.data.intake import reconciliation
from wellspring.data.intake.known_rows import has_comparable_key, summarize_known_rows
from wellspring.errors import NotFound, Refused, suggest_name
from wellspring.lake.publish_pieces import MAX_PARTS_PER_EDITION
from wellspring.records.contracts import DataContract
from wellspring.records.ingestion import AdmissionResult, SourceFile
from wellspring.records.trust import Ref
from wellspring.records.verdict import Reason
from wellspring.workflows.contracts_in_force import (
    explain_unreleased,
    find_contract,
    list_unreleased,
    load_accepted,
    read_contracts_in_force,
)
from wellspring.workflows.findings import SourceFindings
from wellspring.workflows.ingest_result import FileResult, FileStatus, IngestResult
from wellspring.workflows.mended_contracts import rejudge_mended
from wellspring.workflows.prove import seal_edition
from wellspring.workflows.publish import publish_complete_sets

if TYPE_CHECKING:
    import pyarrow as pa

    from wellspring.bootstrap import Platform
    from wellspring.lake.part_index import PartIndex

WorkflowProgress = Callable[[str, int, int], None]
MAX_SECONDS_AHEAD = 60
"""A file that is dated further ahead of this clock is named with the difference."""


def ingest_source(platform: Platform, source: str, *, progress: WorkflowProgress | None = None) -> IngestResult:
    """Ingest the new files of a source and publish the valid drops; a stopped drop holds back only its own set."""
    platform.project.require_source(source)
    recover_interrupted_ingests(platform)
    loaded_contracts = read_contracts_in_force(platform)
    rejudge_mended(platform, source, loaded_contracts)
    findings = SourceFindings(platform, source)
    parts = platform.lake.index_parts()
    unhandled = [file for file in platform.vault.list_files(source) if not _is_handled(platform, file, parts)]
    file_results: list[FileResult] = []
    newly_published = False
    # Of a backfill, readers see the first editions while the rest is still admitted.
    for start in range(0, max(len(unhandled), 1), MAX_PARTS_PER_EDITION):
        batch = [
            file_result
            for file in unhandled[start : start + MAX_PARTS_PER_EDITION]
            for file_result in _handle_file(platform, file, loaded_contracts, findings, parts, progress)
        ]
        _record_alerts(platform, batch, loaded_contracts)
        batch_result = publish_complete_sets(platform, source, batch, loaded_contracts)
        file_results += batch_result.files
        newly_published |= batch_result.newly_published
    findings.close_ended()
    return batch_result.model_copy(
        update={
            "files": tuple(file_results),
            "newly_published": newly_published,
            "open_findings": findings.count_open(),
            "unreleased_contracts": list_unreleased(platform),
        }
    )


def replay_drop(platform: Platform, drop_id: str, *, progress: WorkflowProgress | None = None) -> IngestResult:
    """Validate the quarantined rows of a drop by the current contract, and publish the rows that pass."""
    recover_interrupted_ingests(platform)
    landed = platform.ledger.index.list_entries(subject=f"drop:{drop_id}", action="land", phase="done")
    if not landed:
        drops = sorted(platform.drops.list_drops())
        raise NotFound(f"no drop {drop_id!r} in the ledger", fix=suggest_name(drop_id, drops))
    if platform.drops.list_states([drop_id])[drop_id].is_withdrawn:
        raise Refused(f"drop {drop_id} was withdrawn", fix=f"run `wellspring drop rejudge {drop_id}` to admit it")
    facts = landed[0].entry.facts
    loaded_contracts = read_contracts_in_force(platform)
    contract = find_contract(loaded_contracts, str(facts["contract"]))
    platform.lake.adapt_table(contract.name, contracts.egress_schema(contract))
    known_rows = _find_known_rows(
        platform,
        contract,
        lambda: platform.vault.read_quarantined_keys(drop_id, contract.digest, progress=progress),
    )
    try:
        admission = platform.vault.replay_quarantined(
            drop_id, contract.digest, known_rows=known_rows, progress=progress
        )
    except Refused as refused:
        raise explain_unreleased(refused, list_unreleased(platform), contract.name) from None
    if admission.counts.admitted == 0 and not admission.counts.copies:
        remaining = admission.counts.quarantined
        raise Refused(
            f"none of the {remaining} quarantined rows of {drop_id} pass {contract.name} {contract.version}",
            fix=f"see why with `wellspring quarantine show {drop_id}`, then fix the contract or ask for a new file",
            verdict=admission.counts.verdict,
        )
    if admission.rows is not None:
        _stage_admission(platform, admission)
    platform.step.crash_point("workflows.replay:staged")
    file_result = _admitted_result(str(facts["name"]), admission, contract)
    return publish_complete_sets(platform, contract.source, [file_result], loaded_contracts)


def admit_again(
    platform: Platform,
    file: SourceFile,
    decide: Callable[[DataContract], None] | None,
    *,
    progress: WorkflowProgress | None = None,
) -> IngestResult:
    """Admit the stored original of a drop by the contract in force, and publish what is complete.

    file: of the drop. decide: called with that contract before the admission; None after a crash.
    """
    loaded_contracts = read_contracts_in_force(platform)
    contract = find_contract(loaded_contracts, str(file.contract))
    if decide is not None:
        decide(contract)
    findings = SourceFindings(platform, file.source)
    file_results = list(_handle_file(platform, file, loaded_contracts, findings, platform.lake.index_parts(), progress))
    _record_alerts(platform, file_results, loaded_contracts)
    return publish_complete_sets(platform, file.source, file_results, loaded_contracts)


def recover_interrupted_ingests(platform: Platform) -> None:
    """Complete interrupted work: integrate the ledger, finish open publishes and stage lost replays."""
    platform.sequencer.integrate()
    finished = platform.lake.recover(platform.ledger.index.list_open_intents(), step=platform.step)
    if finished:
        platform.sequencer.integrate()
    for edition in finished:
        seal_edition(platform, edition)
    _confirm_published(platform)
    _stage_lost_replays(platform)


# --- one file ---------------------------------------------------------------------------------------------------------


def _is_handled(platform: Platform, file: SourceFile, parts: PartIndex) -> bool:
    """Return whether a file was handled: it is in the lake, has no row for it, or was stopped with an alert."""
    return file.state == "ingested" and file.drop is not None and _is_finished(platform, file.drop, parts)


def _is_finished(platform: Platform, drop: str, parts: PartIndex) -> bool:
    if parts.has_part(drop, 0):
        return True
    entries = reconciliation.list_current_entries(
        platform.ledger.index.list_entries(subject=f"drop:{drop}", phase="done")
    )
    admissions = [indexed.entry for indexed in entries if indexed.entry.action == "admit"]
    if any(admission.facts["outcome"] == "pass" and not admission.count("admitted") for admission in admissions):
        return True
    return any(indexed.entry.action == "alert" for indexed in entries)


def _handle_file(
    platform: Platform,
    file: SourceFile,
    loaded_contracts: tuple[DataContract, ...],
    findings: SourceFindings,
    parts: PartIndex,
    progress: WorkflowProgress | None,
) -> Iterator[FileResult]:
    """Ingest one file and yield its result; nothing for a file whose finding an earlier run has reported."""
    reasons: tuple[Reason, ...] = ()
    if file.finding is not None and findings.report_finding(file.finding.id):
        reasons = (Reason(code=file.finding.code, message=file.finding.message),)
    if file.state == "still_writing":
        status: FileStatus = "finding" if reasons else "still_writing"
        yield FileResult(name=file.name, status=status, reasons=(*reasons, _describe_wait(file)))
        return
    if file.state == "withdrawn":
        withdrawn = Reason(code="withdrawn", message=f"its bytes were withdrawn; `wellspring drop show {file.drop}`")
        yield FileResult(name=file.name, status="withdrawn", contract=file.contract, reasons=(*reasons, withdrawn))
        return
    # Of a file that changed, the stored drop is finished if a crash interrupted it.
    is_unfinished = file.state == "changed" and file.drop is not None and not _is_finished(platform, file.drop, parts)
    if not (is_unfinished or file.state in {"new", "ingested"}) or file.contract is None:
        if reasons:
            yield FileResult(name=file.name, status="finding", reasons=reasons)
        return
    if file.contract not in {contract.name for contract in loaded_contracts}:
        missing = Reason(code="no_contract", message=f"its contract {file.contract} is no longer in the project")
        yield FileResult(name=file.name, status="finding", reasons=(*reasons, missing))
        return
    contract = find_contract(loaded_contracts, file.contract)
    try:
        # Before the drop is admitted: rows that the table cannot hold would wait for ever.
        platform.lake.adapt_table(contract.name, contracts.egress_schema(contract))
        known_rows = _find_known_rows(
            platform,
            contract,
            lambda: platform.vault.read_file_keys(file.source, file.name, contract.digest, progress=progress),
        )
        platform.step.crash_point("workflows.ingest:keys-compared")
        admission = platform.vault.ingest_file(
            file.source, file.name, contract.digest, known_rows=known_rows, progress=progress
        )
    except NotFound as exc:
        # Deleted while it was read, or its original has expired: affects this file only, not the run.
        yield FileResult(name=file.name, status="finding", reasons=(Reason(code="file_missing", message=exc.what),))
    except Refused as refused:
        # The file, or the contract of these files, is refused: the files of other contracts do not wait for it.
        if refused.verdict is None:
            raise
        refusals = refused.verdict.reasons
        kind, _, finding_id = refused.verdict.subject.partition(":")
        if any(reason.code == "still_writing" for reason in refusals):
            yield FileResult(name=file.name, status="still_writing", reasons=refusals)
        elif any(reason.code == "withdrawn" for reason in refusals):
            yield FileResult(name=file.name, status="withdrawn", contract=contract.name, reasons=refusals)
        elif kind != "finding" or findings.report_finding(finding_id):
            yield FileResult(name=file.name, status="finding", contract=contract.name, reasons=refusals)
    else:
        if file.finding is not None:
            findings.end_finding(file.finding.id)
        if admission.counts.verdict.passed:
            if admission.rows is not None:
                _stage_admission(platform, admission)
            platform.step.crash_point("workflows.ingest:staged")
        file_result = _admitted_result(file.name, admission, contract)
        yield file_result.model_copy(update={"reasons": (*reasons, *file_result.reasons)})


def _describe_wait(file: SourceFile) -> Reason:
    message = "it was modified a moment ago and may be unfinished; a later run ingests it"
    if file.seconds_ahead > MAX_SECONDS_AHEAD:
        message = (
            f"its modification time lies {timedelta(seconds=file.seconds_ahead)} ahead of this clock; a run ingests it "
            "once it has not changed for the settle_seconds of its source"
        )
    return Reason(code="still_writing", message=message)


def _admitted_result(name: str, admission: AdmissionResult, contract: DataContract) -> FileResult:
    """Describe what became of a drop. Only a drop with admitted rows has something to publish."""
    counts = admission.counts
    status: FileStatus = "stopped"
    if counts.verdict.passed:
        status = "waiting" if counts.admitted else "quarantined" if counts.quarantined else "copied"
    copies = tuple(
        Reason(code="copy", message=f"came before as drop {drop}", count=rows) for drop, rows in counts.copies.items()
    )
    return FileResult(
        name=name,
        status=status,
        drop=admission.drop.id,
        contract=contract.name,
        reasons=(*(counts.reasons if counts.verdict.passed else counts.verdict.reasons), *copies),
    )


def _find_known_rows(
    platform: Platform, contract: DataContract, read_keys: Callable[[], pa.RecordBatchReader | None]
) -> pa.Table | None:
    """Find the rows of earlier drops, published or staged, that have a key of a new drop; None without any."""
    if not has_comparable_key(contract) or not platform.lake.index_parts().has_rows(contract.name):
        return None
    keys = read_keys()
    if keys is None:
        return None
    with tempfile.TemporaryDirectory(prefix="wellspring-keys-") as scratch:
        rows = platform.lake.find_rows_by_key(contract, keys, engine=platform.query_engine, scratch=Path(scratch))
        return summarize_known_rows(contract, rows)


def _stage_admission(platform: Platform, admission: AdmissionResult) -> None:
    """Stage rows under the archived contract that admitted them: the project's contract may have changed since."""
    contract = load_accepted(platform, admission.drop.contract_digest)
    platform.lake.stage_part(admission, contract, step=platform.step)


def _stage_lost_replays(platform: Platform) -> None:
    """Stage each replayed part that a crash kept out of the lake; the enclave returns the same rows again."""
    for part in platform.drops.list_waiting_replays():
        if platform.lake.has_part(part.drop, part.replay_number):
            continue
        try:
            admission = platform.vault.replay_quarantined(part.drop, part.contract_digest)
        except NotFound:
            # Its retention ended: the enclave has discarded these rows and recorded it.
            continue
        if admission.rows is not None:
            _stage_admission(platform, admission)


def _record_alerts(
    platform: Platform, file_results: Iterable[FileResult], loaded_contracts: Iterable[DataContract]
) -> None:
    for file_result in file_results:
        if file_result.status == "stopped":
            _record_alert(platform, file_result, find_contract(loaded_contracts, str(file_result.contract)))


def _record_alert(platform: Platform, file_result: FileResult, contract: DataContract) -> None:
    """Record an alert for the contract's owner: contract, contact and reason codes.

    Recorded after all files of the batch are ingested: only a drop that lands after it can replace the stopped one.
    """
    with platform.step("alert", f"drop:{file_result.drop}") as act:
        act.add_inputs(Ref(name=f"contract:{contract.name}@{contract.version}", digest=contract.digest))
        act.add_facts(
            contract=f"{contract.name}@{contract.version}",
            owner=contract.owner,
            contact=contract.contact,
            codes=list[JsonValue](sorted({reason.code for reason in file_result.reasons})),
        )


# --- recovery ---------------------------------------------------------------------------------------------------------


def _confirm_published(platform: Platform) -> None:
    """Confirm to the enclave each published part without a `settle` entry: a crash came between publish and settle."""
    unsettled = platform.drops.list_unsettled()
    if not unsettled:
        return
    waiting = {(staged_part.drop, staged_part.replay_number) for staged_part in platform.lake.staged_parts()}
    for drop, replay_number in unsettled:
        if (drop, replay_number) not in waiting:
            platform.vault.confirm_published(drop, replay_number)
