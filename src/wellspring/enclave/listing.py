"""What lies in a source now, held against what is known of it."""

from __future__ import annotations

from wellspring.data import contract as contracts
from wellspring.data.sources.port import Found, Source
from wellspring.enclave.findings import LONGEST, Findings
from wellspring.errors import NotFound, Refused
from wellspring.records.data import Contract, Listed
from wellspring.records.record import stamp
from wellspring.trust.vault.kept import Kept
from wellspring.trust.vault.postgres import VaultStore


def listing(
    source: str, opened: Source, *, promised: tuple[Contract, ...], store: VaultStore, findings: Findings
) -> tuple[Listed, ...]:
    """List a source, oldest file first, and record what is wrong with a file, once.

    A file is `taken` when its first judgement stands: one that a crash interrupted is new, and its intake goes on.
    """
    known = {kept.drop.name: kept for kept in store.drops(source)}
    judged = store.admitted()
    listed: list[Listed] = []
    for file in opened.list():
        if masked := findings.personal_name(source, file.name):
            listed.append(_listed(source, file, "unmatched", name=masked))
        elif file.name in known:
            listed.append(_known(source, file, known[file.name], judged, opened, store, findings))
        elif file.settling:
            listed.append(_listed(source, file, "settling"))
        else:
            listed.append(_new(source, file, promised, findings))
    return tuple(listed)


def is_same(kept: Kept, file: Found, opened: Source, store: VaultStore) -> bool:
    """Say whether a known name still carries the known bytes; they are read only when their time alone differs."""
    if file.size != kept.drop.size:
        return False
    if file.modified == kept.modified:
        return True
    fetched = opened.fetch(file.name)
    if fetched.digest != kept.drop.digest:
        return False
    store.seen_again(kept.drop.id, fetched.modified)
    return True


def _known(
    source: str,
    file: Found,
    kept: Kept,
    judged: frozenset[str],
    opened: Source,
    store: VaultStore,
    findings: Findings,
) -> Listed:
    try:
        same = is_same(kept, file, opened, store)
    except (Refused, NotFound):
        # Written or gone while it was looked at: the next listing will tell.
        return _listed(source, file, "settling", kept=kept)
    if not same:
        if file.settling:
            return _listed(source, file, "settling", kept=kept)
        findings.changed(kept, stamp(file.modified))
        return _listed(source, file, "changed", kept=kept)
    return _listed(source, file, "taken" if kept.drop.id in judged else "new", kept=kept)


def _new(source: str, file: Found, promised: tuple[Contract, ...], findings: Findings) -> Listed:
    if len(file.name) > LONGEST:
        findings.record("long_name", source, file.name, f"the file's name has more than {LONGEST} characters")
        return _listed(source, file, "unmatched")
    try:
        contract = contracts.match(promised, source, file.name)
    except Refused as unmatched:
        reasons = unmatched.verdict.reasons if unmatched.verdict else ()
        code = reasons[0].code if reasons else "no_contract"
        findings.record(code, source, file.name, "the file fits no contract, or several; it waits untouched")
        return _listed(source, file, "unmatched")
    return _listed(source, file, "new", contract=contract.name)


def _listed(
    source: str, file: Found, state: str, *, name: str = "", kept: Kept | None = None, contract: str | None = None
) -> Listed:
    taken = kept is not None and state != "new"
    return Listed.model_validate(
        {
            "source": source,
            "name": name or file.name,
            "size": file.size,
            "modified": file.modified,
            "state": state,
            "drop": kept.drop.id if kept is not None and taken else None,
            "contract": kept.drop.contract if kept is not None else contract,
        }
    )
