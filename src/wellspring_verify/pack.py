"""Check a pack: a folder that tells one story, with the proof that each of its facts stands in the log.

What binds what: the witness's and the log's signatures bind `checkpoint`; it binds, by `proofs.json`, each file of
`entries/` and `seal.json`; the seal binds `manifest.json`; the manifest binds every other file; `story.json` and
`story.md` follow from the entries. No key is taken from the pack: whoever could write it could write a key into it.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple, cast

from wellspring_verify import answer as answers
from wellspring_verify import chain, merkle, notes, story
from wellspring_verify.canonical import Malformed, Value, dumps, loads_strict
from wellspring_verify.entries import Entry, Ref, read

MANIFEST, SEAL, PROOFS, CHECKPOINT = "manifest.json", "seal.json", "proofs.json", "checkpoint"
STORY, PAGE = "story.json", "story.md"
ANSWER = "the answer"
"""What findings about an answer that was handed in are said of; no file of a pack has a space in its name."""
VERIFIED, UNSIGNED, BROKEN = 0, 10, 20
_LARGEST = 64 * 2**20
_MOST_FILES = 200_000
_MOST_BYTES = 2**30
"""Of all files together: they are held in memory. No pack of a real house comes near."""


class Finding(NamedTuple):
    """What broke, and in which file of the pack."""

    file: str
    what: str

    def __str__(self) -> str:
        return f"{self.file}: {self.what}"


class Report(NamedTuple):
    """The outcome: 0 verified, 10 consistent but the signer was not checked, 20 broken (findings say why)."""

    outcome: Literal[0, 10, 20]
    findings: tuple[Finding, ...]
    summary: tuple[str, ...]
    subject: str | None


class _Pack:
    """What has been read so far, and what was found wrong."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.findings: list[Finding] = []
        self.broken: set[str] = set()

    def blame(self, file: str, what: str) -> None:
        self.findings.append(Finding(file, what))
        self.broken.add(file)

    def load(self, file: str, fields: set[str]) -> dict[str, Value] | None:
        """Read one of our JSON files: an object with exactly these fields, `v` being 1."""
        if file not in self.files:
            self.blame(file, "it is missing")
            return None
        try:
            value = loads_strict(self.files[file])
        except Malformed as wrong:
            self.blame(file, str(wrong))
            return None
        if not isinstance(value, dict) or value.keys() != fields | {"v"} or value["v"] != 1 or value["v"] is True:
            self.blame(file, f"it is not an object of version 1 with {', '.join(sorted(fields))}")
            return None
        return value


def verify(folder: Path, *, key: str | None = None, witness: str | None = None, answer: bytes | None = None) -> Report:
    """Check the pack in `folder` against the log's and the witness's verifier keys, which the caller brings.

    Without `key` a sound pack is 10, not 0: it agrees with itself, but anybody could have signed it.
    answer: an answer of the API that the caller holds, to check against the pack of its prediction.
    Raises Malformed for a key that is none, NotADirectoryError if the folder is not there.
    """
    keys = _keys(key, witness)
    pack = _Pack()
    _read(folder, pack)
    subject, origin, listed = _manifest(pack)
    entries = _entries(pack)
    sealed = _seal(pack, subject, entries)
    head = _checkpoint(pack, origin, keys)
    _proofs(pack, head, entries, sealed)
    _story(pack, subject, entries)
    _whole(pack, subject or "", entries)
    papers = _papers(pack, listed, entries)
    for gap in chain.gaps(subject or "", entries.values(), papers):
        pack.blame(MANIFEST if gap.place is None else _file(gap.place), gap.what)
    for fault in answers.faults(answer, subject or "", entries.values(), papers) if answer is not None else ():
        pack.blame(ANSWER, fault)
    if pack.findings:
        return Report(BROKEN, tuple(dict.fromkeys(pack.findings)), (), subject)
    summary = [
        f"{len(entries)} entries, each proved to stand in the log {origin!a}",
        f"the tree had {head.size if head else 0} entries when its checkpoint was signed",
        "the log's signature holds" if keys[0] else "the log's signature was NOT checked: give --key",
        "the witness's signature holds" if keys[1] else "the witness's signature was not checked: give --witness",
        "the rows, originals and editions that its entries took in lead back to the entries that made them",
        *answers.things(subject or "", entries.values()),
        *chain.summary(subject or "", answered=answer is not None),
        "other entries (a finding, a retention, a publishing) may have been left out when it was sealed;"
        " `wellspring ledger verify` reads the whole log",
    ]
    return Report(VERIFIED if keys[0] else UNSIGNED, (), tuple(summary), subject)


def _keys(key: str | None, witness: str | None) -> tuple[notes.Key | None, notes.Key | None]:
    log = notes.parse_key(key) if key is not None else None
    other = notes.parse_key(witness) if witness is not None else None
    if log and log.kind != notes.LOG:
        raise Malformed("the key given for the log is a witness's key")
    if other and other.kind != notes.WITNESS:
        raise Malformed("the key given for the witness is a log's key")
    return log, other


def _read(folder: Path, pack: _Pack) -> None:
    """Read every file; whatever is no plain file is named and left alone. A pack that is too large is not read on."""
    if not folder.is_dir():
        raise NotADirectoryError(f"{folder} is no folder")
    room = _MOST_BYTES
    for name, path in _walk(folder, pack):
        if len(pack.files) >= _MOST_FILES:
            pack.blame(name, f"it is one file too many: a pack has at most {_MOST_FILES}")
            return
        try:
            found = path.lstat()
            if not stat.S_ISREG(found.st_mode):
                pack.blame(name, "it is no plain file")
            elif found.st_size > _LARGEST:
                pack.blame(name, f"it is larger than any file of a pack ({_LARGEST} bytes)")
            elif found.st_size > room:
                pack.blame(
                    name, f"with it the files are larger than any pack ({_MOST_BYTES} bytes): the rest is not read"
                )
                return
            else:
                room -= found.st_size
                pack.files[name] = path.read_bytes()
        except OSError as wrong:
            pack.blame(name, f"it cannot be read ({wrong.strerror})")


def _walk(folder: Path, pack: _Pack) -> Iterator[tuple[str, Path]]:
    def unreadable(wrong: OSError) -> None:
        pack.blame(os.path.relpath(wrong.filename or folder, folder), f"it cannot be listed ({wrong.strerror})")

    for at, folders, files in os.walk(folder, onerror=unreadable):
        folders.sort()
        here = Path(at)
        links = [name for name in folders if (here / name).is_symlink()]
        for name in sorted(files + links):
            yield (here / name).relative_to(folder).as_posix(), here / name
        if not files and not folders and here != folder:
            pack.blame(here.relative_to(folder).as_posix(), "it is an empty folder that no pack has")


def _manifest(pack: _Pack) -> tuple[str | None, str | None, dict[str, str]]:
    value = pack.load(MANIFEST, {"subject", "origin", "files"})
    if value is None:
        return None, None, {}
    subject, origin, files = value["subject"], value["origin"], value["files"]
    if not isinstance(subject, str) or not isinstance(origin, str) or not isinstance(files, dict):
        pack.blame(MANIFEST, "subject and origin are text, files is an object")
        return None, None, {}
    listed = {name: digest for name, digest in files.items() if isinstance(digest, str)}
    for name in sorted({STORY, PAGE} - listed.keys()):
        pack.blame(MANIFEST, f"it does not list {name}")
    for name, digest in sorted(listed.items()):
        if name not in pack.files:
            if name not in pack.broken:
                pack.blame(name, "it is listed in manifest.json, and missing")
        elif hashlib.sha256(pack.files[name]).hexdigest() != digest:
            pack.blame(name, "it is not the file that manifest.json lists: its SHA-256 differs")
    for name in sorted(pack.files.keys() - files.keys() - {MANIFEST, SEAL, PROOFS, CHECKPOINT}):
        pack.blame(name, "it is not listed in manifest.json: it was added")
    for name in sorted(files.keys() - listed.keys() | files.keys() & {MANIFEST, SEAL, PROOFS, CHECKPOINT}):
        pack.blame(MANIFEST, f"it lists {name!a} in a way that no pack does")
    return subject, origin, listed


def _entries(pack: _Pack) -> dict[int, Entry]:
    entries: dict[int, Entry] = {}
    for name, content in sorted(pack.files.items()):
        if not name.startswith("entries/"):
            continue
        number = re.fullmatch(r"entries/([0-9]{12})\.json", name)
        if number is None:
            pack.blame(name, "an entry's file is named by its twelve-digit place in the log")
            continue
        try:
            entries[int(number[1])] = read(int(number[1]), content)
        except Malformed as wrong:
            pack.blame(name, str(wrong))
    seen: dict[str, int] = {}
    for index, entry in entries.items():
        if seen.setdefault(entry.id, index) != index:
            pack.blame(_file(index), f"{entry.id!a} stands in the log twice, also as entry {seen[entry.id]}")
    if not entries:
        pack.blame("entries", "there is no readable entry, so there is no story")
    return entries


def _seal(pack: _Pack, subject: str | None, entries: dict[int, Entry]) -> tuple[int, bytes] | None:
    value = pack.load(SEAL, {"index", "entry"})
    if value is None:
        return None
    index, content = value["index"], dumps(value["entry"])
    try:
        if not isinstance(index, int) or isinstance(index, bool) or index < 0:
            raise Malformed("its index is no place in a log")
        entry = read(index, content)
        if (entry.action, entry.phase) != ("seal", "done"):
            raise Malformed("its entry seals nothing")
    except Malformed as wrong:
        pack.blame(SEAL, str(wrong))
        return None
    if entries and max(entries) >= index:
        pack.blame(SEAL, "it is older than an entry of the story that it seals")
    if subject is not None and (entry.subject != subject or entry.outputs[:1] == ()):
        pack.blame(SEAL, f"it seals {entry.subject!a}, and the manifest is about {subject!a}")
    bound = Ref(f"pack:{entry.subject}", hashlib.sha256(pack.files.get(MANIFEST, b"")).hexdigest())
    if MANIFEST in pack.files and bound not in entry.outputs:
        pack.blame(MANIFEST, "it is not the manifest that seal.json binds: one of them was changed or is older")
    return index, content


def _checkpoint(pack: _Pack, origin: str | None, keys: tuple[notes.Key | None, notes.Key | None]) -> notes.Head | None:
    if CHECKPOINT not in pack.files:
        pack.blame(CHECKPOINT, "it is missing")
        return None
    try:
        note = notes.parse(pack.files[CHECKPOINT])
        head = notes.parse_head(note.text)
    except Malformed as wrong:
        pack.blame(CHECKPOINT, str(wrong))
        return None
    if origin is not None and head.origin != origin:
        pack.blame(CHECKPOINT, f"it is of the log {head.origin!a}, and manifest.json is of {origin!a}")
    if len(note.signatures) != 2:
        pack.blame(CHECKPOINT, f"it has {len(note.signatures)} signature lines, not the log's and the witness's")
        return head
    by_log, by_witness = note.signatures
    if by_log.name != head.origin or len(by_log.blob) != 64:
        pack.blame(CHECKPOINT, "its first signature line is not that of its log")
    if len(by_witness.blob) != 72:
        pack.blame(CHECKPOINT, "its second signature line is not that of a witness")
    for who, signature, key in (("log", by_log, keys[0]), ("witness", by_witness, keys[1])):
        if key is None or notes.signs(signature, key, note.text):
            continue
        if (signature.name, signature.key_id) != (key.name, key.id):
            pack.blame(
                CHECKPOINT,
                f"it is signed by another {who}: {signature.name!a}, key {signature.key_id.hex()}; "
                f"the key given is {key.name!a}, key {key.id.hex()}",
            )
        else:
            pack.blame(CHECKPOINT, f"the {who}'s signature does not hold: the text or the signature was changed")
    return head


def _proofs(pack: _Pack, head: notes.Head | None, entries: dict[int, Entry], sealed: tuple[int, bytes] | None) -> None:
    value = pack.load(PROOFS, {"size", "proofs"})
    if value is None:
        return
    proofs = value["proofs"]
    if not isinstance(proofs, dict):
        pack.blame(PROOFS, "its proofs are no object")
        return
    wanted = {index: (_file(index), pack.files[_file(index)]) for index in entries}
    if sealed:
        wanted[sealed[0]] = (SEAL, sealed[1])
    known = {str(index) for index in wanted}
    for name in sorted(proofs.keys() - known):
        pack.blame(PROOFS, f"it holds a proof for {name!a}, and the pack has no such entry")
    if head is not None and value["size"] != head.size:
        pack.blame(PROOFS, f"its proofs are for another tree than the one of {head.size} entries in checkpoint")
        head = None
    for index, (file, content) in sorted(wanted.items()):
        if str(index) not in proofs:
            pack.blame(PROOFS, f"the proof of entry {index} ({file}) is missing")
            continue
        try:
            hashes = _hashes(proofs[str(index)])
        except Malformed as wrong:
            pack.blame(PROOFS, f"the proof of entry {index}: {wrong}")
            continue
        if head and not merkle.included(merkle.leaf(content), index, head.size, hashes, head.root):
            pack.blame(PROOFS, f"the proof of entry {index} does not lead from {file} to the root in checkpoint")


def _hashes(value: Value) -> list[bytes]:
    if not isinstance(value, list) or len(value) > 64 or not all(isinstance(one, str) for one in value):
        raise Malformed("it is no list of hashes")
    hashes = [notes.unbase64(cast(str, one)) for one in value]
    if any(len(one) != 32 for one in hashes):
        raise Malformed("it holds something that is no SHA-256")
    return hashes


def _story(pack: _Pack, subject: str | None, entries: dict[int, Entry]) -> None:
    if subject is None:
        return
    told = [entries[index] for index in sorted(entries)]
    for name, derive in ((STORY, story.story_json), (PAGE, story.story_md)):
        if name in pack.files and pack.files[name] != derive(subject, told):
            pack.blame(name, "it does not say what the entries say")


def _whole(pack: _Pack, subject: str, entries: dict[int, Entry]) -> None:
    """Follow the rows, originals and parent editions that entries took in back to the entries that made them.

    What made nothing that a later entry took (a finding, a retention, the last publishing) is not missed here.
    A drop's and a dataset's story also hold the publishing of other drops' rows, which are told elsewhere.
    """
    everything = subject.partition(":")[0] in {"edition", *chain.KINDS}
    made = {ref for entry in entries.values() if entry.phase == "done" for ref in entry.outputs}
    told = {entry.subject.removeprefix("drop:") for entry in entries.values() if entry.subject.startswith("drop:")}
    for index, entry in sorted(entries.items()):
        for ref in entry.inputs:
            found = re.fullmatch(r"(?:rows:(.+)/[0-9]+|original:(.+))", ref.name)
            ours = found is not None and (everything or (found[1] or found[2]) in told)
            if ours and ref not in made:
                pack.blame(_file(index), f"it took in {ref.name!a}, and no entry of the pack says where that came from")
        parent = entry.facts.get("parent") if entry.action == "publish" else None
        if everything and isinstance(parent, str) and parent:
            name = f"edition:{parent.removeprefix('edition:')}"
            if not any(one.subject == name and one.phase == "done" for one in entries.values()):
                pack.blame(_file(index), f"it follows {name}, and the pack does not tell of that")


def _papers(pack: _Pack, listed: dict[str, str], entries: dict[int, Entry]) -> dict[Ref, bytes]:
    """Return the papers that entries name by digest: contracts, and what stands as `papers/KIND/NAME/SHA256`."""
    held = {ref for entry in entries.values() for ref in story.contracts(entry)}
    named = {ref for entry in entries.values() for ref in (*entry.inputs, *entry.outputs)}
    papers: dict[Ref, bytes] = {}
    for name, digest in sorted(listed.items()):
        if name.startswith("entries/") or name in {STORY, PAGE}:
            continue
        found = re.fullmatch(r"contracts/([^/]+@[^/]+)\.yaml|papers/([^/]+)/([^/]+)/([0-9a-f]{64})", name)
        if found is None:
            pack.blame(name, "a pack has no such file")
        elif found[1]:
            if Ref(f"contract:{found[1]}", digest) not in held:
                pack.blame(name, "no entry of the story was held against this contract")
        elif found[4] != digest or (ref := Ref(f"{found[2]}:{found[3]}", digest)) not in named:
            pack.blame(name, "no entry of the story names this paper by its digest")
        elif name not in pack.broken and name in pack.files:
            papers[ref] = pack.files[name]
    for name in sorted(pack.files.keys() - pack.broken):
        # Its name says what it is, even where the manifest cannot be read.
        if name.startswith("papers/") and hashlib.sha256(pack.files[name]).hexdigest() != name.rpartition("/")[2]:
            pack.blame(name, "its SHA-256 is not the one in its name")
    return papers


def _file(index: int) -> str:
    return f"entries/{index:012d}.json"
