"""Turn ledger entries into story.json and story.md, from the entries alone: the verifier does it again and compares.

The words of version 1 never change, or old packs would no longer verify: other words need another version.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from wellspring_verify import telling
from wellspring_verify.canonical import Value, dumps
from wellspring_verify.entries import Entry, Ref

VERSION = 1


def story_json(subject: str, entries: Sequence[Entry]) -> bytes:
    """Write story.json: who, what, when, which contract, which rows where, by digest. entries: in tree order."""
    return dumps({"v": VERSION, "subject": subject, "facts": [_fact(entry) for entry in entries]})


def story_md(subject: str, entries: Sequence[Entry]) -> bytes:
    """Write story.md: the same facts, for people."""
    lines = [f"# The story of `{_clean(subject)}`", "", f"{len(entries)} entries of the log, in its order.", ""]
    if short := telling.in_short(subject, entries):
        lines += [_clean(" ".join(short)), ""]
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
    if entry.action in _LATER:
        # The first release of a model replaces none, which the ledger writes as an empty text; a pass has no reasons.
        known = {name: word for name, word in known.items() if word not in {"", "[]"}}
        known |= {"score": telling.decimal(known["score"])} if "score" in known else {}
    # Every second piece is an optional clause: it is left out when one of its facts is unknown.
    pieces = re.split(r"[\[\]]", {**_WORDS, **_LATER}.get(entry.action, "did {action}"))
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
_LATER = {
    "materialize": "put the rows of {subject} where answers read them[: {rows}]",
    "train": "trained[ {model} as] {subject}[ on {train_rows} rows][, and tested it on {test_rows} others]",
    "gate": "held {subject} against the bars of its gate[: {outcome}][, for the reasons {reasons}]",
    "enrol": "enrolled {subject}[ as {roles}][, at the word of {by}][; the public key is {public}]",
    "propose": "asked for {subject}[, at the word of {person}]",
    "approve": "took down an approval of {subject}[ by {person}][, signed with the key {key}]",
    "judge": "saw whether {subject} may answer[ for {model}]",
    "promote": "made {subject} live[ for {model}][, in place of {former}][, at the word of {person}]",
    "rollback": "made {subject} live again[ for {model}][, in place of {former}][, at the word of {person}]",
    "serve": "loaded {subject}[ of {model}], to answer with it",
    "key": "made a key for its promises[, which holds until {expires}][; the public key is {public}]",
    "predict": "answered[ {decision}][ with the score {score}][ for the model {model}][, from {state} knowledge]",
}
"""Added when models came, for actions that no older log has."""


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


def _clean(text: str) -> str:
    """Show text that comes from elsewhere: nothing in it may act on a terminal or end a quotation in Markdown."""
    return re.sub(
        "[\x00-\x1f`\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]",
        lambda letter: f"\\u{ord(letter[0]):04x}",
        text,
    )
