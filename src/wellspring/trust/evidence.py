"""The story of a drop, an edition or a dataset, and the pack that an auditor verifies without the house."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from wellspring.errors import Broken, NotFound, Refused
from wellspring.project import nearest
from wellspring.records.observe import Step
from wellspring.records.record import Digest
from wellspring.records.trust import Entry, Logged, Ref
from wellspring.trust.ledger import journal
from wellspring.trust.ledger.index import Index
from wellspring.trust.ledger.tree import Tree, encoded
from wellspring_verify import canonical
from wellspring_verify import story as words

_ABOUT_PROOF = frozenset({"seal", "prove"})
"""Actions that are about stories, not part of them: or each telling would change what is told."""


class Story(NamedTuple):
    """What the ledger holds about one subject, in the order of the tree."""

    subject: str
    entries: tuple[Logged, ...]

    @property
    def told(self) -> tuple[words.Entry, ...]:
        """The entries as the verifier reads them."""
        return tuple(words.read(one.index, journal.content(one.entry)) for one in self.entries)

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
    """Collect what the ledger holds about `drop:ID`, `edition:ID` or `dataset:NAME`.

    An edition's story holds those of its drops and of its ancestors; a dataset's, every drop held against the
    contract of that name and the editions that published them. Raises NotFound with the nearest name.
    """
    kind, _, name = subject.partition(":")
    telling: dict[str, Callable[[Index, str], Iterable[Logged]]] = {
        "drop": _drop,
        "edition": _edition,
        "dataset": _dataset,
    }
    if kind not in telling or not name:
        raise NotFound(f"{subject!a} names nothing that has a story", fix="name drop:ID, edition:ID or dataset:NAME")
    found = {one.index: one for one in telling[kind](index, name) if one.entry.action not in _ABOUT_PROOF}
    if not found:
        raise NotFound(f"the ledger knows no {subject}", fix=nearest(subject, _known(index, kind)))
    return Story(subject, tuple(found[place] for place in sorted(found)))


def papers(story: Story, folder: Path) -> dict[str, bytes]:
    """Find the contracts that rows of the story were held against, by digest, among the files of a folder.

    Returns `NAME@VERSION` -> the file's bytes; a contract that was changed since is not among them.
    """
    kept = [path.read_bytes() for path in sorted(folder.glob("*.yaml"))]
    by_digest = {hashlib.sha256(content).hexdigest(): content for content in kept}
    held = {ref for one in story.told for ref in words.contracts(one)}
    return {
        ref.name.removeprefix("contract:"): by_digest[ref.digest]
        for ref in sorted(held, key=str)
        if ref.digest is not None and ref.digest in by_digest
    }


def compose(story: Story, origin: str, papers: Mapping[str, bytes]) -> Pack:
    """Lay out a pack's files. origin: the log's name. papers: `NAME@VERSION` -> the contract file's bytes.

    Raises Refused for contract bytes that no entry of the story was held against: they are another version.
    """
    files = {"story.json": story.json(), "story.md": story.markdown()}
    for one in story.entries:
        files[f"entries/{one.index:012d}.json"] = journal.content(one.entry)
    held = {ref for one in story.told for ref in words.contracts(one)}
    for name, content in sorted(papers.items()):
        if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*@[A-Za-z0-9_.+-]+", name):
            raise Refused(f"{name!a} is no NAME@VERSION of a contract", fix="use letters, digits, _ . and -")
        if words.Ref(f"contract:{name}", hashlib.sha256(content).hexdigest()) not in held:
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


def _drop(index: Index, drop: str) -> Iterator[Logged]:
    yield from index.entries(subject=f"drop:{drop}")
    yield from _publishing(index, {drop})


def _edition(index: Index, edition: str) -> Iterator[Logged]:
    waiting, seen = [edition], set[str]()
    drops: set[str] = set()
    while waiting:
        one = waiting.pop()
        if one in seen:
            continue
        seen.add(one)
        for logged in index.entries(subject=f"edition:{one}"):
            yield logged
            drops |= _drops(logged.entry)
            parent = logged.entry.facts.get("parent")
            if isinstance(parent, str) and parent:
                waiting.append(parent.removeprefix("edition:"))
    for drop in sorted(drops):
        yield from index.entries(subject=f"drop:{drop}")


def _dataset(index: Index, name: str) -> Iterator[Logged]:
    yield from index.entries(subject=f"dataset:{name}")
    drops: set[str] = set()
    for action in ("land", "admit"):
        for logged in index.entries(action=action):
            refs = (*logged.entry.inputs, *logged.entry.outputs)
            held = any(ref.name.startswith(f"contract:{name}@") for ref in refs)
            if held or logged.entry.facts.get("contract") == name:
                drops.add(logged.entry.subject.removeprefix("drop:"))
    for drop in sorted(drops):
        yield from index.entries(subject=f"drop:{drop}")
    yield from _publishing(index, drops)


def _publishing(index: Index, drops: set[str]) -> Iterator[Logged]:
    """Yield the publish entries of every edition that took in one of these drops, its intent and what settled it."""
    published = index.entries(action="publish")
    editions = {one.entry.subject for one in published if _drops(one.entry) & drops}
    yield from (one for one in published if one.entry.subject in editions)


def _drops(entry: Entry) -> set[str]:
    """Return the drops that a publish entry names, in its facts or by the rows that it took in."""
    named = entry.facts.get("drops")
    texts = [one for one in named if isinstance(one, str)] if isinstance(named, list) else list[str]()
    rows = [match[1] for ref in entry.inputs if (match := re.fullmatch(r"rows:(.+)/[0-9]+", ref.name))]
    return {*rows, *(one.removeprefix("drop:") for one in texts)}


def _known(index: Index, kind: str) -> list[str]:
    if kind != "dataset":
        return [one for one in index.subjects() if one.startswith(f"{kind}:")]
    named = (one.entry.facts.get("contract") for one in index.entries(action="land"))
    return sorted({f"dataset:{one}" for one in named if isinstance(one, str)})


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
            with path.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        if taken:
            folder.rename(beside / "old")
        (beside / "new").rename(folder)
    finally:
        shutil.rmtree(beside)


def _is_pack(folder: Path) -> bool:
    return not any(folder.iterdir()) or ((folder / "manifest.json").is_file() and (folder / "seal.json").is_file())
