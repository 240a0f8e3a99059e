"""Verify a pack: a folder with the story of one subject, and the proof that each of its entries is in the log.

The signatures of the witness and the log cover `checkpoint`; `checkpoint` covers, through `proofs.json`, each file of
`entries/` and `seal.json`; the seal covers `manifest.json`; the manifest covers every other file, or the manifests in
`parts/` that cover it (`manifest`); `story.json` and `story.md` are rendered from the entries. Keys are never read from
the pack, because its writer could replace them; only a key that the given key of the log has signed in is
(`log_keys`, `log-keys.json`).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal, NamedTuple, cast

from wellspring_verify import chain, log_keys, merkle, notes, story
from wellspring_verify.canonical import CanonicalValue, MalformedError, dumps_canonical
from wellspring_verify.entries import ACTION_WRITERS, EntryBook, PackEntry, PackRef, parse_entry, parse_stored_entry
from wellspring_verify.entry_signature import find_signature_fault, parse_service_keys
from wellspring_verify.leaf import parse_leaf
from wellspring_verify.manifest import (
    CHECKPOINT,
    LOG_KEYS,
    MANIFEST,
    PROOFS,
    SEAL,
    STORY_JSON,
    STORY_PAGE,
    PackCheck,
    PackFinding,
    check_manifest,
)
from wellspring_verify.modes import describe_development
from wellspring_verify.pack_files import read_files
from wellspring_verify.prediction import describe_row_tokens, find_prediction_faults

ANSWER_LABEL = "the prediction"
"""The file named in findings about the given prediction; no file of a pack has a space in its name."""
VERIFIED, UNSIGNED, CORRUPTED, REFUSED = 0, 10, 20, 77


class VerificationReport(NamedTuple):
    """The outcome: 0 verified, 10 consistent but a signer was not checked, 20 corrupted (see `findings`), 77 refused.

    unchecked: those of `signer`, `witness` and `services` whose key was missing; empty if the outcome is 0 or 20.
    development: why this is evidence of development, for which one person was enough; '' for a governed project. It is
    refused unless it was allowed.
    """

    outcome: Literal[0, 10, 20, 77]
    findings: tuple[PackFinding, ...]
    summary: tuple[str, ...]
    subject: str | None
    unchecked: tuple[str, ...] = ()
    development: str = ""


def verify_pack(
    folder: Path,
    *,
    key: str | None = None,
    witness: str | None = None,
    services: Iterable[str] = (),
    answer: bytes | None = None,
    allow_development: bool = False,
) -> VerificationReport:
    """Verify the pack in `folder` with the verifier keys of the log, the witness and the services.

    allow_development: accept evidence of a project in development too; otherwise the outcome of a sound one is 77.

    services: lines with the keys of the services, and possibly others. Without them, or without `key`, the outcome of a
    sound pack is 10, not 0: it is consistent, but who signed it was not checked. Without `witness` it is 10 too: the
    holder of the log's key could have signed a second history.
    answer: a prediction as the API returned it, to check against its pack.
    Raises MalformedError for a malformed key, NotADirectoryError if the folder does not exist.
    """
    keys = _parse_keys(key, witness)
    service_keys = parse_service_keys(services)
    pack = PackCheck()
    read_files(folder, pack)
    subject, origin, listed_digests = check_manifest(pack)
    entries = _parse_entries(pack)
    seal_entry = _check_seal(pack, subject, entries)
    if service_keys:
        _check_signatures(pack, entries, seal_entry, service_keys)
    head = _check_checkpoint(pack, origin, keys)
    _check_proofs(pack, head, entries, seal_entry)
    _check_story(pack, subject, entries)
    _check_completeness(pack, subject or "", entries)
    documents = _collect_documents(pack, listed_digests, entries)
    for gap in chain.find_gaps(subject or "", entries.values(), documents):
        pack.add_finding(MANIFEST if gap.tree_index is None else _entry_file(gap.tree_index), gap.message)
    for fault in (
        find_prediction_faults(answer, subject or "", entries.values(), documents) if answer is not None else ()
    ):
        pack.add_finding(ANSWER_LABEL, fault)
    development = describe_development(EntryBook(entries.values()))
    if bool(development) != pack.is_development:
        statement = "says" if pack.is_development else "does not say"
        pack.add_finding(MANIFEST, f"it {statement} development, and its entries differ")
    if pack.findings:
        return VerificationReport(CORRUPTED, tuple(dict.fromkeys(pack.findings)), (), subject)
    checked = {"signer": keys[0], "witness": keys[1], "services": service_keys}
    unchecked = tuple(name for name, owner_key in checked.items() if not owner_key)
    summary = [
        f"{len(entries)} entries, each proved to be in the log {origin!a}",
        f"the tree had {head.size if head else 0} entries when its checkpoint was signed",
        "the log's signature is valid" if keys[0] else "the log's signature was NOT checked: give --key",
        _describe_signatures(entries, has_keys=bool(service_keys), answer_checked=answer is not None),
        "the witness's signature is valid" if keys[1] else "the witness's signature was NOT checked: give --witness",
        "every row set, original and edition that its entries read was produced by another of its entries",
        *describe_row_tokens(subject or "", entries.values()),
        *chain.summarize_chain(subject or "", answer_checked=answer is not None),
        "other entries (a finding, an expiry, a publish) may have been left out when it was sealed;"
        " `wellspring ledger verify` reads the whole log",
    ]
    if development:
        summary.insert(0, f"DEVELOPMENT: {development}; one person was enough for a release")
    signed = VERIFIED if not unchecked else UNSIGNED
    outcome = REFUSED if development and not allow_development else signed
    return VerificationReport(outcome, (), tuple(summary), subject, unchecked, development)


def _parse_keys(key: str | None, witness: str | None) -> tuple[notes.VerifierKey | None, notes.VerifierKey | None]:
    log_key = notes.parse_verifier_key(key) if key is not None else None
    witness_key = notes.parse_verifier_key(witness) if witness is not None else None
    if log_key and log_key.kind != notes.KIND_LOG:
        raise MalformedError("the key given for the log is a key of a witness")
    if witness_key and witness_key.kind != notes.KIND_WITNESS:
        raise MalformedError("the key given for the witness is a key of a log")
    return log_key, witness_key


def _parse_entries(pack: PackCheck) -> dict[int, PackEntry]:
    entries: dict[int, PackEntry] = {}
    for name, content in sorted(pack.files.items()):
        if not name.startswith("entries/"):
            continue
        number = re.fullmatch(r"entries/([0-9]{12})\.json", name)
        if number is None:
            pack.add_finding(name, "the file of an entry must be named by its twelve-digit index in the log")
            continue
        try:
            entries[int(number[1])] = parse_stored_entry(int(number[1]), content, pack.files)
        except MalformedError as exc:
            pack.add_finding(name, str(exc))
    first_index: dict[str, int] = {}
    for index, entry in entries.items():
        if first_index.setdefault(entry.id, index) != index:
            pack.add_finding(
                _entry_file(index), f"{entry.id!a} is in the log twice, also as entry {first_index[entry.id]}"
            )
    if not entries:
        pack.add_finding("entries", "the pack has no readable entry")
    return entries


def _check_seal(pack: PackCheck, subject: str | None, entries: dict[int, PackEntry]) -> tuple[int, bytes] | None:
    value = pack.load_object(SEAL, {"index", "entry"})
    if value is None:
        return None
    index, content = value["index"], dumps_canonical(value["entry"])
    try:
        if not isinstance(index, int) or isinstance(index, bool) or index < 0:
            raise MalformedError("its index is not an index in a log")
        entry = parse_entry(index, content)
        if (entry.action, entry.phase) != ("seal", "done"):
            raise MalformedError("its entry is not a completed seal")
    except MalformedError as exc:
        pack.add_finding(SEAL, str(exc))
        return None
    if entries and max(entries) >= index:
        pack.add_finding(SEAL, "it is older than an entry of the story that it seals")
    if subject is not None and (entry.subject != subject or entry.outputs[:1] == ()):
        pack.add_finding(SEAL, f"it seals {entry.subject!a}, and the manifest is about {subject!a}")
    expected_ref = PackRef(f"pack:{entry.subject}", hashlib.sha256(pack.files.get(MANIFEST, b"")).hexdigest())
    if MANIFEST in pack.files and expected_ref not in entry.outputs:
        pack.add_finding(MANIFEST, "it is not the manifest that seal.json binds: one of them was changed or is older")
    return index, content


def _check_signatures(
    pack: PackCheck,
    entries: dict[int, PackEntry],
    seal_entry: tuple[int, bytes] | None,
    service_keys: Mapping[str, bytes],
) -> None:
    """Check that each entry is signed by its service; the line of an answer is covered by the answer's signature."""
    signed = {_entry_file(index): (entry, pack.files[_entry_file(index)]) for index, entry in entries.items()}
    if seal_entry is not None:
        signed[SEAL] = (parse_entry(*seal_entry), seal_entry[1])
    for name, (entry, content) in sorted(signed.items()):
        leaf = parse_leaf(content)
        if leaf is not None and entry.signature is None and entry.service == ACTION_WRITERS["predict"]:
            continue
        line = content if leaf is None else pack.files[leaf.document]
        if fault := find_signature_fault(entry.service, line, entry.signature, service_keys):
            pack.add_finding(name, fault)


def _describe_signatures(entries: dict[int, PackEntry], *, has_keys: bool, answer_checked: bool) -> str:
    if not has_keys:
        return "the signatures of the services were NOT checked: --key must name the file of `wellspring ledger key`"
    if answer_checked or all(entry.signature is not None for entry in entries.values()):
        return "each entry is signed by its service, or by the signature of the prediction that was given"
    return "each entry is signed by its service, except that of the prediction, which only --answer proves"


def _check_checkpoint(
    pack: PackCheck, origin: str | None, keys: tuple[notes.VerifierKey | None, notes.VerifierKey | None]
) -> notes.CheckpointHead | None:
    if CHECKPOINT not in pack.files:
        pack.add_finding(CHECKPOINT, "it is missing")
        return None
    try:
        note = notes.parse_note(pack.files[CHECKPOINT])
        head = notes.parse_checkpoint(note.text)
    except MalformedError as exc:
        pack.add_finding(CHECKPOINT, str(exc))
        return None
    if origin is not None and head.origin != origin:
        pack.add_finding(CHECKPOINT, f"it is of the log {head.origin!a}, and manifest.json is of {origin!a}")
    if len(note.signatures) != 2:
        pack.add_finding(CHECKPOINT, f"it has {len(note.signatures)} signature lines, not the log's and the witness's")
        return head
    by_log, by_witness = note.signatures
    if by_log.name != head.origin or len(by_log.blob) != 64:
        pack.add_finding(CHECKPOINT, "its first signature line is not by its log")
    if len(by_witness.blob) != 72:
        pack.add_finding(CHECKPOINT, "its second signature line is not by a witness")
    for signer, signature, key in (
        ("log", by_log, _find_log_key(pack, keys[0], head)),
        ("witness", by_witness, keys[1]),
    ):
        if key is None or notes.verify_signature_line(signature, key, note.text):
            continue
        if (signature.name, signature.key_id) != (key.name, key.key_id):
            pack.add_finding(
                CHECKPOINT,
                f"it is signed by another {signer}: {signature.name!a}, key {signature.key_id.hex()}; "
                f"the given key is {key.name!a}, key {key.key_id.hex()}",
            )
        else:
            pack.add_finding(CHECKPOINT, f"the {signer}'s signature is invalid: the text or the signature was changed")
    return head


def _find_log_key(
    pack: PackCheck, key: notes.VerifierKey | None, head: notes.CheckpointHead
) -> notes.VerifierKey | None:
    """Return the key that signs for a tree of this size: the given one, or one that it signed in."""
    if key is None or LOG_KEYS not in pack.files:
        return key
    try:
        return log_keys.find_key(key, log_keys.parse_successions(key, pack.files[LOG_KEYS]), head.size)
    except MalformedError as exc:
        pack.add_finding(LOG_KEYS, str(exc))
        return key


def _check_proofs(
    pack: PackCheck,
    head: notes.CheckpointHead | None,
    entries: dict[int, PackEntry],
    seal_entry: tuple[int, bytes] | None,
) -> None:
    value = pack.load_object(PROOFS, {"size", "proofs"})
    if value is None:
        return
    proofs = value["proofs"]
    if not isinstance(proofs, dict):
        pack.add_finding(PROOFS, "its proofs are not an object")
        return
    expected_leaves = {index: (_entry_file(index), pack.files[_entry_file(index)]) for index in entries}
    if seal_entry:
        expected_leaves[seal_entry[0]] = (SEAL, seal_entry[1])
    expected_names = {str(index) for index in expected_leaves}
    for name in sorted(proofs.keys() - expected_names):
        pack.add_finding(PROOFS, f"it has a proof for {name!a}, but the pack has no such entry")
    if head is not None and value["size"] != head.size:
        pack.add_finding(PROOFS, f"its proofs are not for the tree of {head.size} entries in checkpoint")
        head = None
    for index, (file, content) in sorted(expected_leaves.items()):
        if str(index) not in proofs:
            pack.add_finding(PROOFS, f"the proof of entry {index} ({file}) is missing")
            continue
        try:
            hashes = _parse_hashes(proofs[str(index)])
        except MalformedError as exc:
            pack.add_finding(PROOFS, f"the proof of entry {index}: {exc}")
            continue
        if head and not merkle.verify_inclusion(merkle.hash_leaf(content), index, head.size, hashes, head.root):
            pack.add_finding(PROOFS, f"the proof of entry {index} does not lead from {file} to the root in checkpoint")


def _parse_hashes(value: CanonicalValue) -> list[bytes]:
    if not isinstance(value, list) or len(value) > 64 or not all(isinstance(text, str) for text in value):
        raise MalformedError("it is not a list of hashes")
    hashes = [notes.decode_base64(cast(str, text)) for text in value]
    if any(len(digest) != 32 for digest in hashes):
        raise MalformedError("it contains something that is not a SHA-256")
    return hashes


def _check_story(pack: PackCheck, subject: str | None, entries: dict[int, PackEntry]) -> None:
    if subject is None:
        return
    ordered_entries = [entries[index] for index in sorted(entries)]
    for name, render in ((STORY_JSON, story.render_story_json), (STORY_PAGE, story.render_story_page)):
        if name in pack.files and pack.files[name] != render(subject, ordered_entries):
            pack.add_finding(name, "it differs from what its entries render to")


def _check_completeness(pack: PackCheck, subject: str, entries: dict[int, PackEntry]) -> None:
    """Check that the pack has the entries that produced the rows, originals and parent editions which entries read.

    An entry whose output no later entry reads (a finding, an expiry, the last publish) can be missing unnoticed.
    The story of a drop or dataset also has publish entries with rows of other drops, which have their own stories.
    """
    follows_all = subject.partition(":")[0] in {"edition", "pipeline", *chain.CHAIN_KINDS}
    produced_refs = {ref for entry in entries.values() if entry.phase == "done" for ref in entry.outputs}
    drop_ids = {entry.subject.removeprefix("drop:") for entry in entries.values() if entry.subject.startswith("drop:")}
    for index, entry in sorted(entries.items()):
        for ref in entry.inputs:
            match = re.fullmatch(r"(?:rows:(.+)/[0-9]+|original:(.+))", ref.name)
            is_relevant = match is not None and (follows_all or (match[1] or match[2]) in drop_ids)
            if is_relevant and ref not in produced_refs:
                pack.add_finding(_entry_file(index), f"it read {ref.name!a}, and no entry of the pack produced it")
        parent = entry.facts.get("parent") if entry.action == "publish" else None
        if follows_all and isinstance(parent, str) and parent:
            name = f"edition:{parent.removeprefix('edition:')}"
            if not any(published.subject == name and published.phase == "done" for published in entries.values()):
                pack.add_finding(_entry_file(index), f"its parent is {name}, and the pack has no entry of that")


def _collect_documents(
    pack: PackCheck, listed_digests: dict[str, str], entries: dict[int, PackEntry]
) -> dict[PackRef, bytes]:
    """Return the documents that entries or their leaves name by digest: contracts, `documents/KIND/NAME/SHA256`."""
    contract_refs = {ref for entry in entries.values() for ref in story.contract_refs(entry)}
    named_refs = {ref for entry in entries.values() for ref in (*entry.inputs, *entry.outputs)}
    leaves = filter(None, (parse_leaf(pack.files[_entry_file(index)]) for index in entries))
    named_refs |= {PackRef(f"line:{leaf.id}", leaf.digest) for leaf in leaves}
    documents: dict[PackRef, bytes] = {}
    for name, digest in sorted(listed_digests.items()):
        if name.startswith("entries/") or name in {STORY_JSON, STORY_PAGE}:
            continue
        match = re.fullmatch(r"contracts/([^/]+@[^/]+)\.yaml|documents/([^/]+)/([^/]+)/([0-9a-f]{64})", name)
        if match is None:
            pack.add_finding(name, "a pack has no such file")
        elif match[1]:
            if PackRef(f"contract:{match[1]}", digest) not in contract_refs:
                pack.add_finding(name, "no entry of the story validated rows against this contract")
        elif match[4] != digest or (ref := PackRef(f"{match[2]}:{match[3]}", digest)) not in named_refs:
            pack.add_finding(name, "no entry of the story names this document by its digest")
        elif name not in pack.corrupted_files and name in pack.files:
            documents[ref] = pack.files[name]
    for name in sorted(pack.files.keys() - pack.corrupted_files):
        # Its name contains its digest, even if the manifest cannot be read.
        if name.startswith("documents/") and hashlib.sha256(pack.files[name]).hexdigest() != name.rpartition("/")[2]:
            pack.add_finding(name, "its SHA-256 is not the one in its name")
    return documents


def _entry_file(index: int) -> str:
    return f"entries/{index:012d}.json"
