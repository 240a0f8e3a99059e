"""Turn ledger entries into story.json and story.md, from the entries alone: the verifier does it again and compares.

The words of version 1 never change, or old packs would no longer verify: other words need another version.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple, cast

from wellspring_verify.canonical import Malformed, Value, dumps, loads_strict

VERSION = 1
_SHAPE: dict[str, tuple[type, ...]] = {
    "v": (int,),
    "service": (str,),
    "sequence": (int,),
    "actor": (str,),
    "action": (str,),
    "phase": (str,),
    "subject": (str,),
    "intent": (str, type(None)),
    "inputs": (list,),
    "outputs": (list,),
    "facts": (dict,),
    "trace": (str,),
    "tenant": (str,),
    "known_since": (str,),
}


class Ref(NamedTuple):
    """A thing named, and the SHA-256 (hex) of its bytes where it has bytes."""

    name: str
    digest: str | None


class Entry(NamedTuple):
    """One entry of the ledger, as its bytes say. place: its index in the tree."""

    place: int
    service: str
    sequence: int
    actor: str
    action: str
    phase: str
    subject: str
    known_since: str
    trace: str
    inputs: tuple[Ref, ...]
    outputs: tuple[Ref, ...]
    facts: dict[str, Value]

    @property
    def id(self) -> str:
        return f"{self.service}:{self.sequence}"


def read(place: int, data: bytes) -> Entry:
    """Read the bytes of one entry. Raises Malformed unless they are canonical and have exactly an entry's fields."""
    value = loads_strict(data)
    if not isinstance(value, dict) or value.keys() != _SHAPE.keys():
        raise Malformed("it has not the fields of an entry")
    if any(type(value[name]) not in kinds for name, kinds in _SHAPE.items()):
        raise Malformed("a field of the entry has a wrong type")
    if value["v"] != 1 or value["phase"] not in _PHASES or cast(int, value["sequence"]) < 0:
        raise Malformed("a field of the entry has an impossible value")
    text = cast("dict[str, str]", value)
    return Entry(
        place=place,
        service=text["service"],
        sequence=cast(int, value["sequence"]),
        actor=text["actor"],
        action=text["action"],
        phase=text["phase"],
        subject=text["subject"],
        known_since=text["known_since"],
        trace=text["trace"],
        inputs=_refs(cast("list[Value]", value["inputs"])),
        outputs=_refs(cast("list[Value]", value["outputs"])),
        facts=cast("dict[str, Value]", value["facts"]),
    )


def story_json(subject: str, entries: Sequence[Entry]) -> bytes:
    """Write story.json: who, what, when, which contract, which rows where, by digest. entries: in tree order."""
    return dumps({"v": VERSION, "subject": subject, "facts": [_fact(entry) for entry in entries]})


def story_md(subject: str, entries: Sequence[Entry]) -> bytes:
    """Write story.md: the same facts, for people."""
    lines = [f"# The story of `{_clean(subject)}`", "", f"{len(entries)} entries of the log, in its order.", ""]
    for number, entry in enumerate(entries, start=1):
        lines += [
            f"## {number}. {_clean(entry.action)} ({entry.phase}), {_clean(entry.known_since)}",
            "",
            f"{_clean(entry.actor)} {says(entry)}.",
            "",
            f"- about: `{_clean(entry.subject)}`",
        ]
        for title, refs in (("contract", contracts(entry)), ("from", _things(entry.inputs)), ("to", entry.outputs)):
            lines += [f"- {title}: `{_clean(ref.name)}`{_pinned(ref)}" for ref in refs]
        lines += [f"- proof: entry {entry.place} of the log, {_clean(entry.id)}, trace `{_clean(entry.trace)}`", ""]
    return "\n".join(lines).encode()


def contracts(entry: Entry) -> tuple[Ref, ...]:
    """Return the contracts that an entry held something against."""
    return tuple(ref for ref in entry.inputs if ref.name.startswith("contract:"))


def says(entry: Entry) -> str:
    """Say in plain words what an entry reports. Never raises: facts that are missing are left out."""
    known = {name: _word(value) for name, value in entry.facts.items() if value is not None}
    known |= {"action": _clean(entry.action), "subject": _clean(entry.subject)}
    # Every second piece is an optional clause: it is left out when one of its facts is unknown.
    pieces = re.split(r"[\[\]]", _WORDS.get(entry.action, "did {action}"))
    return _PHASES[entry.phase] + "".join(_fill(piece, known) for piece in pieces)


_PHASES = {"done": "", "intent": "set out to do this: ", "failed": "tried, and failed: ", "refused": "was refused: "}
_WORDS = {
    "land": "fetched the file[ {name}][ of {size} bytes][, {received} rows], and keeps the original encrypted"
    "[ until {retention_until}]",
    "admit": "held the rows[ of part {part}] against the contract[: {received} received][, {admitted} admitted as"
    " tokens][, {quarantined} waiting in quarantine][, {masked} masked][; outcome {outcome}]"
    "[; the waiting rows are those of the digest {quarantined_rows}]",
    "retain": "ended the retention: the key was destroyed, then the file[; {discarded} waiting rows were discarded]",
    "finding": "found[ {code}][: {what}]",
    "settle": "confirmed that the rows[ of part {part}] are published, so none of them waits in quarantine",
    "stage": "wrote the rows to a branch, and read them back to the digest below",
    "publish": "switched readers to {subject}[ ({level})][, after {parent}]",
    "alert": "left an alert for[ {owner},] the owner[ of {contract}][: {codes}]",
    "repair": "repaired {subject}",
}


def _fill(piece: str, known: dict[str, str]) -> str:
    names: list[str] = re.findall(r"\{([a-z_]+)\}", piece)
    if not known.keys() >= set(names):
        return ""
    return re.sub(r"\{([a-z_]+)\}", lambda name: known[name[1]], piece)


def _word(value: Value) -> str:
    if isinstance(value, str):
        return _clean(value)
    return _clean(dumps(value).decode())


def _fact(entry: Entry) -> dict[str, object]:
    return {
        "index": entry.place,
        "id": entry.id,
        "who": entry.actor,
        "what": says(entry),
        "action": entry.action,
        "phase": entry.phase,
        "about": entry.subject,
        "when": entry.known_since,
        "contracts": [ref._asdict() for ref in contracts(entry)],
        "from": [ref._asdict() for ref in _things(entry.inputs)],
        "to": [ref._asdict() for ref in entry.outputs],
        "facts": entry.facts,
    }


def _things(refs: tuple[Ref, ...]) -> tuple[Ref, ...]:
    return tuple(ref for ref in refs if not ref.name.startswith("contract:"))


def _pinned(ref: Ref) -> str:
    return f", SHA-256 `{_clean(ref.digest)}`" if ref.digest is not None else ""


def _refs(values: list[Value]) -> tuple[Ref, ...]:
    refs: list[Ref] = []
    for value in values:
        if not isinstance(value, dict) or value.keys() != {"name", "digest"}:
            raise Malformed("an input or output of the entry is no reference")
        name, digest = value["name"], value["digest"]
        if not isinstance(name, str) or not (digest is None or isinstance(digest, str)):
            raise Malformed("an input or output of the entry is no reference")
        refs.append(Ref(name, digest))
    return tuple(refs)


def _clean(text: str) -> str:
    """Show text that comes from elsewhere: nothing in it may act on a terminal or end a quotation in Markdown."""
    return re.sub(
        "[\x00-\x1f`\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]",
        lambda letter: f"\\u{ord(letter[0]):04x}",
        text,
    )
