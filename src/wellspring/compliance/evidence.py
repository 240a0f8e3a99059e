"""Collect the story of a drop, dataset, model or prediction, and write the pack that an auditor verifies offline.

`provenance` selects the entries of a story. A story may refer to sealed parts (`sealed_parts`): sealing it costs only
its own entries, and its pack has those of all parts.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, cast

from pydantic import JsonValue

from wellspring.compliance import pack_parts, provenance
from wellspring.compliance.sealed_parts import PROOF_ACTIONS, SIZE_FACT, SealedParts, StoryPart, parse_manifest
from wellspring.errors import CorruptedError, NotFound, Refused, suggest_name
from wellspring.records.observe import Recorder
from wellspring.records.record import Digest
from wellspring.records.trust import IndexedEntry, Ref
from wellspring.trust.ledger import journal
from wellspring.trust.ledger.index import LedgerIndex
from wellspring.trust.ledger.leaf import encode_leaf
from wellspring.trust.ledger.tree import MerkleTree, encode_hashes
from wellspring_verify import canonical, entries, notes
from wellspring_verify.leaf import parse_leaf
from wellspring_verify.modes import describe_development
from wellspring_verify.story import contract_refs, render_story_json, render_story_page

_DOCUMENT_KINDS = frozenset({"release", "candidate", "artifact", "views", "policies", "dbt"})
"""Kinds of references whose digest is that of a text; the pack includes the text."""
_DERIVED_FIELDS = frozenset({"id", "digest", "tenant", "known_since"})
"""Fields that the digest of a release leaves out: see `records.models.Release`."""
_MAX_DOCUMENT_BYTES = 2**20


@dataclass(frozen=True)
class ProvenanceStory:
    """The entries of one subject's story, in tree order, without those of its sealed parts.

    size: the number of entries in the ledger when it was collected.
    """

    subject: str
    entries: tuple[IndexedEntry, ...]
    parts: tuple[StoryPart, ...] = ()
    size: int = field(default=0, compare=False)

    # Once for each story: a publish entry of 64 KiB is in the story of each of its drops.
    @functools.cached_property
    def entry_files(self) -> dict[str, bytes]:
        """The files of the entries: each as it is in the tree, and the line of which the tree has only the digest."""
        files: dict[str, bytes] = {}
        for indexed in self.entries:
            line = journal.encode_entry(indexed.entry)
            content = _tree_content(indexed, line)
            files[_entry_file(indexed.index)] = content
            if (leaf := parse_leaf(content)) is not None:
                files[leaf.document] = line
        return files

    @functools.cached_property
    def verifier_entries(self) -> tuple[entries.PackEntry, ...]:
        """The entries, parsed by the verifier."""
        files = self.entry_files
        return tuple(
            entries.parse_stored_entry(indexed.index, files[_entry_file(indexed.index)], files)
            for indexed in self.entries
        )


class EvidencePack(NamedTuple):
    """The manifest of a pack, and the files that it lists. The seal covers the manifest; proofs are added later."""

    manifest: bytes
    files: dict[str, bytes]

    @property
    def digest(self) -> Digest:
        return hashlib.sha256(self.manifest).hexdigest()


def collect_story(index: LedgerIndex, subject: str, sealed: SealedParts | None = None) -> ProvenanceStory:
    """Collect the ledger entries of a subject (see `provenance.describe_subject_kinds`).

    The story of an edition includes those of its drops and ancestors; that of a dataset, every drop validated against
    the contract of that name and the editions that published them; that of a prediction, its release with the proposer
    and approver, the gate, the run, and the editions behind both. sealed: parts that the story may refer to instead.
    Raises NotFound with the nearest name.
    """
    size = index.count_entries()
    collected = provenance.collect_with_parts(index, subject, sealed)
    if collected is None:
        raise NotFound(f"{subject!a} has no story", fix=f"name {provenance.describe_subject_kinds()}")
    entries = tuple(indexed for indexed in collected.entries if indexed.entry.action not in PROOF_ACTIONS)
    if not entries and collected.parts and sealed is not None:
        return _unchanged_story(index, subject, collected.parts[0], sealed)
    if not entries:
        subjects = provenance.list_subjects_of_kind(index, subject.partition(":")[0])
        fix = (
            suggest_name(subject, subjects)
            if subjects
            else "check the id; the newest entries are in `wellspring ledger tail`"
        )
        raise NotFound(f"the ledger has no entry of {subject}", fix=fix)
    return ProvenanceStory(subject, entries, collected.parts, size)


def _unchanged_story(index: LedgerIndex, subject: str, part: StoryPart, sealed: SealedParts) -> ProvenanceStory:
    """Return the story of a dataset as it was sealed: nothing has come after its latest part."""
    contents = parse_manifest(sealed.read_manifest(part.digest))
    parts = tuple(StoryPart(name, digest) for name, digest in contents.parts.items())
    return ProvenanceStory(subject, tuple(index.read_entries(contents.tree_indexes)), parts, part.size)


def collect_documents(story: ProvenanceStory, contracts: Path, *folders: Path) -> dict[str, bytes]:
    """Find, by digest, the texts that entries of the story name, so that an auditor can read them.

    contracts: the folder of the archived contracts. folders: folders of releases, candidates and manifests, searched
    recursively. Returns the bytes by `NAME@VERSION` (a contract) or `documents/KIND/NAME/SHA256`; a text that changed
    since is left out.
    """
    verifier_entries = story.verifier_entries
    by_digest = _read_contracts(contracts)
    contract_texts = {
        ref.name.removeprefix("contract:"): by_digest[ref.digest]
        for ref in sorted(_story_contracts(verifier_entries), key=str)
        if ref.digest is not None and ref.digest in by_digest
    }
    names_by_ref = {ref: name for ref in _named_refs(verifier_entries) if (name := _document_path(ref)) is not None}
    texts = _find_texts(folders, {ref.digest for ref in names_by_ref})
    return contract_texts | {
        name: texts[ref.digest] for ref, name in sorted(names_by_ref.items()) if ref.digest in texts
    }


def find_texts(digests: Iterable[Digest], contracts: Path, *folders: Path) -> dict[Digest, bytes]:
    """Find texts by digest, as `collect_documents` does, for the sealed parts of a story."""
    remaining = set(digests)
    texts = {digest: content for digest, content in _read_contracts(contracts).items() if digest in remaining}
    documents = _find_texts(folders, remaining - texts.keys())
    return texts | documents


def _read_contracts(contracts: Path) -> dict[Digest, bytes]:
    archived = [path.read_bytes() for path in sorted(contracts.glob("*.yaml"))]
    return {hashlib.sha256(content).hexdigest(): content for content in archived}


def lay_out_pack(story: ProvenanceStory, origin: str, documents: Mapping[str, bytes]) -> EvidencePack:
    """Build the files of a pack, without those of the story's sealed parts.

    origin: the log's name. documents: bytes by name, from `collect_documents`. The manifest of a story with parts does
    not list the rendered story, which has the entries of all parts.
    Raises Refused for a contract that no entry of the story used (it is another version), and for a document whose
    digest no entry names.
    """
    verifier_entries = story.verifier_entries
    files = {} if story.parts else _render_story(story.subject, verifier_entries)
    files |= story.entry_files
    story_contracts = _story_contracts(verifier_entries)
    refs_by_name = {name: ref for ref in _named_refs(verifier_entries) if (name := _document_path(ref)) is not None}
    for name, content in sorted(documents.items()):
        if name.startswith("documents/"):
            if name not in refs_by_name or refs_by_name[name].digest != hashlib.sha256(content).hexdigest():
                raise Refused(f"no entry of the story names {name!a} by its digest", fix="leave it out of the pack")
            files[name] = content
            continue
        if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*@[A-Za-z0-9_.+-]+", name):
            raise Refused(f"{name!a} is not a contract NAME@VERSION", fix="use letters, digits, _ . and -")
        if entries.PackRef(f"contract:{name}", hashlib.sha256(content).hexdigest()) not in story_contracts:
            raise Refused(
                f"the contract {name} has changed since rows were validated against it",
                fix="use the archived bytes of that time, or leave the contract out of the pack",
            )
        files[f"contracts/{name}.yaml"] = content
    file_digests = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    content = {"version": 1, "subject": story.subject, "origin": origin, "files": file_digests}
    if describe_development(entries.EntryBook(verifier_entries)):
        content["mode"] = "development"
    if story.parts:
        content |= {"version": 2, "parts": {part.subject: part.digest for part in story.parts}}
    return EvidencePack(canonical.dumps_canonical(content), files)


def _render_story(subject: str, verifier_entries: Sequence[entries.PackEntry]) -> dict[str, bytes]:
    return {
        "story.json": render_story_json(subject, verifier_entries),
        "story.md": render_story_page(subject, verifier_entries),
    }


def find_seal(index: LedgerIndex, story: ProvenanceStory, documents: Mapping[str, bytes]) -> IndexedEntry | None:
    """Return the entry that sealed this story with these documents; None if the ledger has none."""
    return _find_seal_entry(index, story.subject, lay_out_pack(story, index.tree.read_head().origin, documents).digest)


def seal_story(
    step: Recorder,
    index: LedgerIndex,
    story: ProvenanceStory,
    documents: Mapping[str, bytes],
    sealed: SealedParts | None = None,
) -> Digest:
    """Record the manifest digest of this story in the ledger, unless it is recorded already; return the digest.

    sealed: stores the manifest, so that later stories can refer to this one. The entry is in the journal, not in the
    tree: run the sequencer before `write_pack`.
    """
    pack = lay_out_pack(story, index.tree.read_head().origin, documents)
    if _find_seal_entry(index, story.subject, pack.digest) is None:
        if sealed is not None:
            sealed.save_manifest(pack.manifest)
        ref = Ref(name=f"pack:{story.subject}", digest=pack.digest)
        facts: dict[str, JsonValue] = {"entries": len(story.entries), SIZE_FACT: story.size}
        with step("seal", story.subject, outputs=[ref], facts=facts):
            pass  # Sealing only records the entry.
    return pack.digest


def write_pack(
    folder: Path,
    story: ProvenanceStory,
    documents: Mapping[str, bytes],
    tree: MerkleTree,
    index: LedgerIndex,
    sealed: SealedParts | None = None,
) -> int:
    """Write the pack of a sealed story, and return its number of entries; the same state gives the same bytes.

    folder: a new or empty folder, or an older pack, which is replaced. sealed: the parts that the story refers to.
    Raises Refused for any other folder, NotFound if the story is not sealed in the tree, CorruptedError if index and
    tree contradict each other.
    """
    pack = lay_out_pack(story, tree.read_head().origin, documents)
    seal_entry = _find_seal_entry(index, story.subject, pack.digest)
    if seal_entry is None:
        raise NotFound(f"the story of {story.subject} is not sealed in the ledger", fix="run `wellspring prove` again")
    for indexed in (*story.entries, seal_entry):
        if tree.read_entry(indexed.index) != _tree_content(indexed, journal.encode_entry(indexed.entry)):
            raise CorruptedError(
                f"the ledger's index and its tree differ in entry {indexed.index}",
                fix="run `wellspring ledger verify`; the index can be rebuilt, the tree cannot",
            )
    files = dict(pack.files)
    tree_indexes = [indexed.index for indexed in story.entries]
    if sealed is not None and story.parts:
        files |= pack_parts.collect_files(story.parts, sealed, tree)
        tree_indexes = pack_parts.list_tree_indexes(files)
        files |= _render_story(
            story.subject,
            [
                entries.parse_stored_entry(tree_index, files[_entry_file(tree_index)], files)
                for tree_index in tree_indexes
            ],
        )
    # One checkpoint for the whole pack, read after the entries were found: the log may grow at any time.
    checkpoint = tree.read_checkpoint()
    size = notes.parse_checkpoint(notes.parse_note(checkpoint).text).size
    proofs = {
        str(tree_index): encode_hashes(tree.inclusion_proof(tree_index, size))
        for tree_index in (*tree_indexes, seal_entry.index)
    }
    files |= {
        "manifest.json": pack.manifest,
        "seal.json": canonical.dumps_canonical(
            {"version": 1, "index": seal_entry.index, "entry": seal_entry.entry.model_dump(mode="json")}
        ),
        "proofs.json": canonical.dumps_canonical({"version": 1, "size": size, "proofs": proofs}),
        "checkpoint": checkpoint,
    }
    if (successions := tree.read_successions()) is not None:
        files["log-keys.json"] = successions
    _replace_folder(folder, files)
    return len(tree_indexes)


def _find_seal_entry(index: LedgerIndex, subject: str, digest: Digest) -> IndexedEntry | None:
    pack_ref = Ref(name=f"pack:{subject}", digest=digest)
    seals = index.list_entries(subject=subject, action="seal", phase="done")
    return next((seal for seal in seals if pack_ref in seal.entry.outputs), None)


def _tree_content(indexed: IndexedEntry, line: bytes) -> bytes:
    """Return what the tree holds of an entry."""
    return encode_leaf(indexed.entry, line) if indexed.is_hashed else line


def _entry_file(tree_index: int) -> str:
    return f"entries/{tree_index:012d}.json"


def _story_contracts(verifier_entries: Iterable[entries.PackEntry]) -> set[entries.PackRef]:
    return {ref for entry in verifier_entries for ref in contract_refs(entry)}


def _named_refs(verifier_entries: Iterable[entries.PackEntry]) -> set[entries.PackRef]:
    return {ref for entry in verifier_entries for ref in (*entry.inputs, *entry.outputs)}


def _document_path(ref: entries.PackRef) -> str | None:
    """Return the path of a reference's text in a pack; None for a reference that packs have no text for."""
    kind, _, name = ref.name.partition(":")
    if kind not in _DOCUMENT_KINDS or ref.digest is None or not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", name):
        return None
    return f"documents/{kind}/{name}/{ref.digest}"


def _find_texts(folders: Iterable[Path], digests: Container[str | None]) -> dict[str, bytes]:
    """Search the folders for texts with these digests; files over _MAX_DOCUMENT_BYTES are skipped."""
    texts_by_digest: dict[str, bytes] = {}
    for folder in folders if digests else ():
        for path in sorted(folder.rglob("*")):
            if path.is_file() and path.stat().st_size <= _MAX_DOCUMENT_BYTES:
                for text in _digest_candidates(path.read_bytes()):
                    digest = hashlib.sha256(text).hexdigest()
                    if digest in digests:
                        texts_by_digest[digest] = text
    return texts_by_digest


def _digest_candidates(content: bytes) -> Iterator[bytes]:
    """Yield texts that may have a named digest: the bytes, a note without signatures, a record without some fields."""
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
        return  # The content is not a JSON record.


def _replace_folder(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write the files to a staging folder, then rename it into place, so that readers never see half a pack."""
    exists = folder.is_symlink() or folder.exists()
    if exists and not (folder.is_dir() and not folder.is_symlink() and _is_pack(folder)):
        raise Refused(f"{folder} exists and is not a pack", fix="name a new folder")
    folder.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        for name, content in sorted(files.items()):
            path = staging / "new" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        # All files are written before the first fsync, so the disk can write them together.
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
