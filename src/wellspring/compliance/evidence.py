"""The story of any drop, dataset, model or answer, and the pack that an auditor verifies without the house.

Which entries belong to a story, `walking` says.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple, cast

from wellspring.compliance import provenance
from wellspring.errors import CorruptedError, NotFound, Refused
from wellspring.project import suggest_name
from wellspring.records.observe import Recorder
from wellspring.records.record import Digest
from wellspring.records.trust import IndexedEntry, Ref
from wellspring.trust.ledger import journal
from wellspring.trust.ledger.index import LedgerIndex
from wellspring.trust.ledger.tree import MerkleTree, encode_hashes
from wellspring_verify import canonical, entries
from wellspring_verify import story as words

_DOCUMENT_KINDS = frozenset({"release", "candidate", "artifact", "views", "policies", "dbt"})
"""Kinds of things that entries name by the digest of a text which a reader of the pack may want to see."""
_DERIVED_FIELDS = frozenset({"id", "digest", "tenant", "known_since"})
"""Fields of a release that its digest is not about: see `records.models.Release`."""
_MAX_DOCUMENT_BYTES = 2**20
_PROOF_ACTIONS = frozenset({"seal", "prove"})
"""Actions that are about stories, not part of them: or each telling would change what is told."""


class ProvenanceStory(NamedTuple):
    """What the ledger holds about one subject, in the order of the tree."""

    subject: str
    entries: tuple[IndexedEntry, ...]

    @property
    def verifier_entries(self) -> tuple[entries.Entry, ...]:
        """The entries as the verifier reads them."""
        return tuple(entries.parse_entry(one.index, journal.encode_entry(one.entry)) for one in self.entries)

    def to_json(self) -> bytes:
        """Write it as facts: who, what, when, which contract, which rows where, by digest."""
        return words.render_story_json(self.subject, self.verifier_entries)

    def to_markdown(self) -> bytes:
        """Write it for people: the same facts, in words that follow from the entries alone."""
        return words.render_story_page(self.subject, self.verifier_entries)


class EvidencePack(NamedTuple):
    """A pack's manifest, and the files that it lists; the seal binds the manifest, proofs and checkpoint come after."""

    manifest: bytes
    files: dict[str, bytes]

    @property
    def digest(self) -> Digest:
        return hashlib.sha256(self.manifest).hexdigest()


def collect_story(index: LedgerIndex, subject: str) -> ProvenanceStory:
    """Collect what the ledger holds about a subject (see `walking.kinds`).

    An edition's story holds those of its drops and of its ancestors; a dataset's, every drop held against the
    contract of that name and the editions that published them; an answer's, its release and whoever proposed and
    approved it, the gate, the run, and the editions behind both. Raises NotFound with the nearest name.
    """
    collected = provenance.collect_entries(index, subject)
    if collected is None:
        raise NotFound(f"{subject!a} names nothing that has a story", fix=f"name {provenance.describe_subject_kinds()}")
    entries = tuple(one for one in collected if one.entry.action not in _PROOF_ACTIONS)
    if not entries:
        subjects = provenance.list_subjects_of_kind(index, subject.partition(":")[0])
        fix = (
            suggest_name(subject, subjects)
            if subjects
            else "check the id; the newest entries are in `wellspring ledger tail`"
        )
        raise NotFound(f"the ledger knows no {subject}", fix=fix)
    return ProvenanceStory(subject, entries)


def collect_documents(story: ProvenanceStory, contracts: Path, *folders: Path) -> dict[str, bytes]:
    """Find, by digest, the texts that entries of the story name: an auditor reads there what a digest stands for.

    contracts: the folder of the contracts that rows were held against. others: folders of releases, candidates and
    manifests, looked through with all that is below them. Returns the bytes by `NAME@VERSION` (a contract), or by
    `documents/KIND/NAME/SHA256`; what was changed since is not among them.
    """
    verifier_entries = story.verifier_entries
    archived = [path.read_bytes() for path in sorted(contracts.glob("*.yaml"))]
    by_digest = {hashlib.sha256(content).hexdigest(): content for content in archived}
    contract_texts = {
        ref.name.removeprefix("contract:"): by_digest[ref.digest]
        for ref in sorted(_contract_refs(verifier_entries), key=str)
        if ref.digest is not None and ref.digest in by_digest
    }
    names_by_ref = {ref: name for ref in _named_refs(verifier_entries) if (name := _document_path(ref)) is not None}
    texts = _find_texts(folders, {ref.digest for ref in names_by_ref})
    return contract_texts | {
        name: texts[ref.digest] for ref, name in sorted(names_by_ref.items()) if ref.digest in texts
    }


def lay_out_pack(story: ProvenanceStory, origin: str, documents: Mapping[str, bytes]) -> EvidencePack:
    """Lay out a pack's files. origin: the log's name. papers: bytes by name, as `papers` returns them.

    Raises Refused for contract bytes that no entry of the story was held against (they are another version), and for
    a paper whose digest no entry names.
    """
    verifier_entries = story.verifier_entries
    files = {
        "story.json": words.render_story_json(story.subject, verifier_entries),
        "story.md": words.render_story_page(story.subject, verifier_entries),
    }
    for one in story.entries:
        files[f"entries/{one.index:012d}.json"] = journal.encode_entry(one.entry)
    contract_refs, refs_by_name = (
        _contract_refs(verifier_entries),
        {name: ref for ref in _named_refs(verifier_entries) if (name := _document_path(ref)) is not None},
    )
    for name, content in sorted(documents.items()):
        if name.startswith("documents/"):
            if name not in refs_by_name or refs_by_name[name].digest != hashlib.sha256(content).hexdigest():
                raise Refused(f"no entry of the story names {name!a} by its digest", fix="leave it out of the pack")
            files[name] = content
            continue
        if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*@[A-Za-z0-9_.+-]+", name):
            raise Refused(f"{name!a} is no NAME@VERSION of a contract", fix="use letters, digits, _ . and -")
        if entries.Ref(f"contract:{name}", hashlib.sha256(content).hexdigest()) not in contract_refs:
            raise Refused(
                f"the contract {name} has changed since rows were held against it",
                fix="hand in the bytes of that time, or leave the contract out of the pack",
            )
        files[f"contracts/{name}.yaml"] = content
    file_digests = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    manifest = canonical.dumps_canonical(
        {"version": 1, "subject": story.subject, "origin": origin, "files": file_digests}
    )
    return EvidencePack(manifest, files)


def find_seal(index: LedgerIndex, story: ProvenanceStory, documents: Mapping[str, bytes]) -> IndexedEntry | None:
    """Return the entry that sealed this story with these contracts; None if the ledger has none."""
    return _find_seal_entry(index, story.subject, lay_out_pack(story, index.tree.read_head().origin, documents).digest)


def seal_story(step: Recorder, index: LedgerIndex, story: ProvenanceStory, documents: Mapping[str, bytes]) -> Digest:
    """Record which manifest tells this story now, unless the ledger already says so; return the manifest's digest.

    The entry is journalled, not yet integrated: run the sequencer before `write_pack`.
    """
    pack = lay_out_pack(story, index.tree.read_head().origin, documents)
    if _find_seal_entry(index, story.subject, pack.digest) is None:
        ref = Ref(name=f"pack:{story.subject}", digest=pack.digest)
        with step("seal", story.subject, outputs=[ref], facts={"entries": len(story.entries)}):
            pass  # The entry is the act.
    return pack.digest


def write_pack(
    folder: Path, story: ProvenanceStory, documents: Mapping[str, bytes], tree: MerkleTree, index: LedgerIndex
) -> EvidencePack:
    """Write the pack of a sealed story; the same state of the ledger gives the same bytes.

    folder: it must not exist, be empty, or be an older pack, which is replaced whole. Raises Refused for any other
    folder, NotFound if the story is not sealed in the tree, Broken if index and tree contradict each other.
    """
    head = tree.read_head()
    pack = lay_out_pack(story, head.origin, documents)
    seal_entry = _find_seal_entry(index, story.subject, pack.digest)
    if seal_entry is None:
        raise NotFound(f"the story of {story.subject} is not sealed in the ledger", fix="run `wellspring prove` again")
    proofs: dict[str, list[str]] = {}
    for one in (*story.entries, seal_entry):
        if tree.read_entry(one.index) != journal.encode_entry(one.entry):
            raise CorruptedError(
                f"the ledger's index and its tree differ in entry {one.index}",
                fix="run `wellspring ledger verify`; the index can be made again, the tree cannot",
            )
        proofs[str(one.index)] = encode_hashes(tree.inclusion_proof(one.index, head.size))
    files = {
        **pack.files,
        "manifest.json": pack.manifest,
        "seal.json": canonical.dumps_canonical(
            {"version": 1, "index": seal_entry.index, "entry": seal_entry.entry.model_dump(mode="json")}
        ),
        "proofs.json": canonical.dumps_canonical({"version": 1, "size": head.size, "proofs": proofs}),
        "checkpoint": tree.read_checkpoint(),
    }
    _replace_folder(folder, files)
    return pack


def _find_seal_entry(index: LedgerIndex, subject: str, digest: Digest) -> IndexedEntry | None:
    pack_ref = Ref(name=f"pack:{subject}", digest=digest)
    seals = index.list_entries(subject=subject, action="seal", phase="done")
    return next((one for one in seals if pack_ref in one.entry.outputs), None)


def _contract_refs(verifier_entries: Iterable[entries.Entry]) -> set[entries.Ref]:
    return {ref for one in verifier_entries for ref in words.contract_refs(one)}


def _named_refs(verifier_entries: Iterable[entries.Entry]) -> set[entries.Ref]:
    return {ref for one in verifier_entries for ref in (*one.inputs, *one.outputs)}


def _document_path(ref: entries.Ref) -> str | None:
    """Name the file of a pack that holds what a digest stands for; None for things whose bytes no pack holds."""
    kind, _, name = ref.name.partition(":")
    if kind not in _DOCUMENT_KINDS or ref.digest is None or not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", name):
        return None
    return f"documents/{kind}/{name}/{ref.digest}"


def _find_texts(folders: Iterable[Path], digests: set[str | None]) -> dict[str | None, bytes]:
    """Look for texts with these digests in all files that are small enough to be one."""
    texts_by_digest: dict[str | None, bytes] = {}
    for folder in folders if digests else ():
        for path in sorted(folder.rglob("*")):
            if path.is_file() and path.stat().st_size <= _MAX_DOCUMENT_BYTES:
                for text in _digest_candidates(path.read_bytes()):
                    digest = hashlib.sha256(text).hexdigest()
                    if digest in digests:
                        texts_by_digest[digest] = text
    return texts_by_digest


def _digest_candidates(content: bytes) -> Iterator[bytes]:
    """Yield what a digest may be of: the bytes; a signed note's text; a record without what is made from the rest."""
    yield content
    text, line, signature = content.rpartition(b"\n\n")
    if signature.startswith("\u2014 ".encode()):
        yield text + line[:1]
    try:
        value = json.loads(content)
        if isinstance(value, dict):
            record = cast("dict[str, object]", value)
            yield canonical.dumps_canonical({name: record[name] for name in record.keys() - _DERIVED_FIELDS})
    except (ValueError, RecursionError):
        return  # It is no such record.


def _replace_folder(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write a folder beside, then put it in place: nobody sees half a pack."""
    exists = folder.is_symlink() or folder.exists()
    if exists and not (folder.is_dir() and not folder.is_symlink() and _is_pack(folder)):
        raise Refused(f"{folder} is there already, and is no pack", fix="name a new folder")
    folder.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        for name, content in sorted(files.items()):
            path = staging / "new" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        # All are on their way by now, so the disk is waited for once, more or less.
        for name in files:
            with (staging / "new" / name).open("rb") as file:
                os.fsync(file.fileno())
        if exists:
            folder.rename(staging / "old")
        (staging / "new").rename(folder)
    finally:
        shutil.rmtree(staging)


def _is_pack(folder: Path) -> bool:
    return not any(folder.iterdir()) or ((folder / "manifest.json").is_file() and (folder / "seal.json").is_file())
