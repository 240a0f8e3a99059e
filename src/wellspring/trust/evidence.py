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

from wellspring.errors import Broken, NotFound, Refused
from wellspring.project import nearest
from wellspring.records.observe import Step
from wellspring.records.record import Digest
from wellspring.records.trust import Logged, Ref
from wellspring.trust import walking
from wellspring.trust.ledger import journal
from wellspring.trust.ledger.index import Index
from wellspring.trust.ledger.tree import Tree, encoded
from wellspring_verify import canonical, entries
from wellspring_verify import story as words

_PAPERS = frozenset({"release", "candidate", "artefact", "views", "policies", "dbt"})
"""Kinds of things that entries name by the digest of a text which a reader of the pack may want to see."""
_MADE = frozenset({"id", "digest", "tenant", "known_since"})
"""Fields of a release that its digest is not about: see `records.models.Release`."""
_LARGEST_PAPER = 2**20
_ABOUT_PROOF = frozenset({"seal", "prove"})
"""Actions that are about stories, not part of them: or each telling would change what is told."""


class Story(NamedTuple):
    """What the ledger holds about one subject, in the order of the tree."""

    subject: str
    entries: tuple[Logged, ...]

    @property
    def told(self) -> tuple[entries.Entry, ...]:
        """The entries as the verifier reads them."""
        return tuple(entries.read(one.index, journal.content(one.entry)) for one in self.entries)

    def json(self) -> bytes:
        """Write it as facts: who, what, when, which contract, which rows where, by digest."""
        return words.story_json(self.subject, self.told)

    def markdown(self) -> bytes:
        """Write it for people: the same facts, in words that follow from the entries alone."""
        return words.story_md(self.subject, self.told)


class Pack(NamedTuple):
    """A pack's manifest, and the files that it lists; the seal binds the manifest, proofs and checkpoint come after."""

    manifest: bytes
    files: dict[str, bytes]

    @property
    def digest(self) -> Digest:
        return hashlib.sha256(self.manifest).hexdigest()


def story(index: Index, subject: str) -> Story:
    """Collect what the ledger holds about a subject (see `walking.kinds`).

    An edition's story holds those of its drops and of its ancestors; a dataset's, every drop held against the
    contract of that name and the editions that published them; an answer's, its release and whoever proposed and
    approved it, the gate, the run, and the editions behind both. Raises NotFound with the nearest name.
    """
    walked = walking.walk(index, subject)
    if walked is None:
        raise NotFound(f"{subject!a} names nothing that has a story", fix=f"name {walking.kinds()}")
    entries = tuple(one for one in walked if one.entry.action not in _ABOUT_PROOF)
    if not entries:
        known = walking.known(index, subject.partition(":")[0])
        fix = nearest(subject, known) if known else "check the id; the newest entries are in `wellspring ledger tail`"
        raise NotFound(f"the ledger knows no {subject}", fix=fix)
    return Story(subject, entries)


def papers(story: Story, contracts: Path, *others: Path) -> dict[str, bytes]:
    """Find, by digest, the texts that entries of the story name: an auditor reads there what a digest stands for.

    contracts: the folder of the contracts that rows were held against. others: folders of releases, candidates and
    manifests, looked through with all that is below them. Returns the bytes by `NAME@VERSION` (a contract), or by
    `papers/KIND/NAME/SHA256`; what was changed since is not among them.
    """
    told = story.told
    kept = [path.read_bytes() for path in sorted(contracts.glob("*.yaml"))]
    by_digest = {hashlib.sha256(content).hexdigest(): content for content in kept}
    found = {
        ref.name.removeprefix("contract:"): by_digest[ref.digest]
        for ref in sorted(_held(told), key=str)
        if ref.digest is not None and ref.digest in by_digest
    }
    wanted = {ref: name for ref in _named(told) if (name := _paper(ref)) is not None}
    texts = _texts(others, {ref.digest for ref in wanted})
    return found | {name: texts[ref.digest] for ref, name in sorted(wanted.items()) if ref.digest in texts}


def compose(story: Story, origin: str, papers: Mapping[str, bytes]) -> Pack:
    """Lay out a pack's files. origin: the log's name. papers: bytes by name, as `papers` returns them.

    Raises Refused for contract bytes that no entry of the story was held against (they are another version), and for
    a paper whose digest no entry names.
    """
    told = story.told
    files = {"story.json": words.story_json(story.subject, told), "story.md": words.story_md(story.subject, told)}
    for one in story.entries:
        files[f"entries/{one.index:012d}.json"] = journal.content(one.entry)
    held, named = _held(told), {name: ref for ref in _named(told) if (name := _paper(ref)) is not None}
    for name, content in sorted(papers.items()):
        if name.startswith("papers/"):
            if name not in named or named[name].digest != hashlib.sha256(content).hexdigest():
                raise Refused(f"no entry of the story names {name!a} by its digest", fix="leave it out of the pack")
            files[name] = content
            continue
        if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*@[A-Za-z0-9_.+-]+", name):
            raise Refused(f"{name!a} is no NAME@VERSION of a contract", fix="use letters, digits, _ . and -")
        if entries.Ref(f"contract:{name}", hashlib.sha256(content).hexdigest()) not in held:
            raise Refused(
                f"the contract {name} has changed since rows were held against it",
                fix="hand in the bytes of that time, or leave the contract out of the pack",
            )
        files[f"contracts/{name}.yaml"] = content
    listed = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    manifest = canonical.dumps({"v": 1, "subject": story.subject, "origin": origin, "files": listed})
    return Pack(manifest, files)


def seal_of(index: Index, story: Story, papers: Mapping[str, bytes]) -> Logged | None:
    """Return the entry that sealed this story with these contracts; None if the ledger has none."""
    return _sealed(index, story.subject, compose(story, index.tree.head().origin, papers).digest)


def seal(step: Step, index: Index, story: Story, papers: Mapping[str, bytes]) -> Digest:
    """Record which manifest tells this story now, unless the ledger already says so; return the manifest's digest.

    The entry is journalled, not yet integrated: run the sequencer before `write_pack`.
    """
    pack = compose(story, index.tree.head().origin, papers)
    if _sealed(index, story.subject, pack.digest) is None:
        ref = Ref(name=f"pack:{story.subject}", digest=pack.digest)
        with step("seal", story.subject, outputs=[ref], facts={"entries": len(story.entries)}):
            pass  # The entry is the act.
    return pack.digest


def write_pack(folder: Path, story: Story, papers: Mapping[str, bytes], tree: Tree, index: Index) -> Pack:
    """Write the pack of a sealed story; the same state of the ledger gives the same bytes.

    folder: it must not exist, be empty, or be an older pack, which is replaced whole. Raises Refused for any other
    folder, NotFound if the story is not sealed in the tree, Broken if index and tree contradict each other.
    """
    head = tree.head()
    pack = compose(story, head.origin, papers)
    sealing = _sealed(index, story.subject, pack.digest)
    if sealing is None:
        raise NotFound(f"the story of {story.subject} is not sealed in the ledger", fix="run `wellspring prove` again")
    proofs: dict[str, list[str]] = {}
    for one in (*story.entries, sealing):
        if tree.entry(one.index) != journal.content(one.entry):
            raise Broken(
                f"the ledger's index and its tree differ in entry {one.index}",
                fix="run `wellspring ledger verify`; the index can be made again, the tree cannot",
            )
        proofs[str(one.index)] = encoded(tree.inclusion(one.index, head.size))
    files = {
        **pack.files,
        "manifest.json": pack.manifest,
        "seal.json": canonical.dumps({"v": 1, "index": sealing.index, "entry": sealing.entry.model_dump(mode="json")}),
        "proofs.json": canonical.dumps({"v": 1, "size": head.size, "proofs": proofs}),
        "checkpoint": tree.checkpoint(),
    }
    _replace(folder, files)
    return pack


def _sealed(index: Index, subject: str, digest: Digest) -> Logged | None:
    bound = Ref(name=f"pack:{subject}", digest=digest)
    found = index.entries(subject=subject, action="seal", phase="done")
    return next((one for one in found if bound in one.entry.outputs), None)


def _held(told: Iterable[entries.Entry]) -> set[entries.Ref]:
    return {ref for one in told for ref in words.contracts(one)}


def _named(told: Iterable[entries.Entry]) -> set[entries.Ref]:
    return {ref for one in told for ref in (*one.inputs, *one.outputs)}


def _paper(ref: entries.Ref) -> str | None:
    """Name the file of a pack that holds what a digest stands for; None for things whose bytes no pack holds."""
    kind, _, name = ref.name.partition(":")
    if kind not in _PAPERS or ref.digest is None or not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", name):
        return None
    return f"papers/{kind}/{name}/{ref.digest}"


def _texts(folders: Iterable[Path], digests: set[str | None]) -> dict[str | None, bytes]:
    """Look for texts with these digests in all files that are small enough to be one."""
    found: dict[str | None, bytes] = {}
    for folder in folders if digests else ():
        for path in sorted(folder.rglob("*")):
            if path.is_file() and path.stat().st_size <= _LARGEST_PAPER:
                for text in _readings(path.read_bytes()):
                    digest = hashlib.sha256(text).hexdigest()
                    if digest in digests:
                        found[digest] = text
    return found


def _readings(content: bytes) -> Iterator[bytes]:
    """Yield what a digest may be of: the bytes; a signed note's text; a record without what is made from the rest."""
    yield content
    text, line, signed = content.rpartition(b"\n\n")
    if signed.startswith("\u2014 ".encode()):
        yield text + line[:1]
    try:
        value = json.loads(content)
        if isinstance(value, dict):
            record = cast("dict[str, object]", value)
            yield canonical.dumps({name: record[name] for name in record.keys() - _MADE})
    except (ValueError, RecursionError):
        return  # It is no such record.


def _replace(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write a folder beside, then put it in place: nobody sees half a pack."""
    taken = folder.is_symlink() or folder.exists()
    if taken and not (folder.is_dir() and not folder.is_symlink() and _is_pack(folder)):
        raise Refused(f"{folder} is there already, and is no pack", fix="name a new folder")
    folder.parent.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        for name, content in sorted(files.items()):
            path = beside / "new" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        # All are on their way by now, so the disk is waited for once, more or less.
        for name in files:
            with (beside / "new" / name).open("rb") as file:
                os.fsync(file.fileno())
        if taken:
            folder.rename(beside / "old")
        (beside / "new").rename(folder)
    finally:
        shutil.rmtree(beside)


def _is_pack(folder: Path) -> bool:
    return not any(folder.iterdir()) or ((folder / "manifest.json").is_file() and (folder / "seal.json").is_file())
