"""Turn ledger entries into story.json and story.md, from the entries alone: the verifier does it again and compares.

The words of version 1 never change, or old packs would no longer verify: other words need another version.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from wellspring_verify import summary as summary_module
from wellspring_verify.canonical import CanonicalValue, dumps_canonical
from wellspring_verify.entries import Entry, Ref

STORY_VERSION = 1


def render_story_json(subject: str, entries: Sequence[Entry]) -> bytes:
    """Write story.json: who, what, when, which contract, which rows where, by digest. entries: in tree order."""
    return dumps_canonical(
        {"version": STORY_VERSION, "subject": subject, "entries": [_entry_document(entry) for entry in entries]}
    )


def render_story_page(subject: str, entries: Sequence[Entry]) -> bytes:
    """Write story.md: the same facts, for people."""
    lines = [f"# The story of `{_escape_text(subject)}`", "", f"{len(entries)} entries of the log, in its order.", ""]
    if summary := summary_module.summarize_subject(subject, entries):
        lines += [_escape_text(" ".join(summary)), ""]
    for number, entry in enumerate(entries, start=1):
        lines += [
            f"## {number}. {_escape_text(entry.action)} ({entry.phase}), {_escape_text(entry.known_since)}",
            "",
            f"{_escape_text(entry.actor)} {describe_entry(entry)}.",
            "",
            f"- about: `{_escape_text(entry.subject)}`",
        ]
        for title, refs in (
            ("contract", contract_refs(entry)),
            ("from", _non_contract_refs(entry.inputs)),
            ("to", entry.outputs),
        ):
            lines += [f"- {title}: `{_escape_text(ref.name)}`{_digest_suffix(ref)}" for ref in refs]
        lines += [
            f"- proof: entry {entry.tree_index} of the log, {_escape_text(entry.id)}, trace `{_escape_text(entry.trace)}`",
            "",
        ]
    return "\n".join(lines).encode()


def contract_refs(entry: Entry) -> tuple[Ref, ...]:
    """Return the contracts that an entry held something against."""
    return tuple(ref for ref in entry.inputs if ref.name.startswith("contract:"))


def describe_entry(entry: Entry) -> str:
    """Say in plain words what an entry reports. Never raises: facts that are missing are left out."""
    values = {name: _format_value(value) for name, value in entry.facts.items() if value is not None}
    values |= {"action": _escape_text(entry.action), "subject": _escape_text(entry.subject)}
    if entry.action in _MODEL_TEMPLATES:
        # The first release of a model replaces none, which the ledger writes as an empty text; a pass has no reasons.
        values = {name: word for name, word in values.items() if word not in {"", "[]"}}
        values |= {"score": summary_module.format_score(values["score"])} if "score" in values else {}
    # Every second piece is an optional clause: it is left out when one of its facts is unknown.
    pieces = re.split(r"[\[\]]", {**_DATA_TEMPLATES, **_MODEL_TEMPLATES}.get(entry.action, "did {action}"))
    return _PHASE_PREFIXES[entry.phase] + "".join(_fill_template(piece, values) for piece in pieces)


_PHASE_PREFIXES = {
    "done": "",
    "intent": "set out to do this: ",
    "failed": "tried, and failed: ",
    "refused": "was refused: ",
}
_DATA_TEMPLATES = {
    "land": "fetched the file[ {name}][ of {size} bytes][, {received} rows], and keeps the original encrypted"
    "[ until {retention_until}]",
    "admit": "held the rows[ of part {replay_number}] against the contract[: {received} received][, {admitted} admitted as"
    " tokens][, {quarantined} waiting in quarantine][, {masked} masked][; outcome {outcome}]"
    "[; the waiting rows are those of the digest {quarantined_rows}]",
    "expire": "ended the retention: the key was destroyed, then the file[; {discarded} waiting rows were discarded]",
    "finding": "found[ {code}][: {message}]",
    "settle": "confirmed that the rows[ of part {replay_number}] are published, so none of them waits in quarantine",
    "stage": "wrote the rows to a branch, and read them back to the digest below",
    "publish": "switched readers to {subject}[ ({level})][, after {parent}]",
    "alert": "left an alert for[ {owner},] the owner[ of {contract}][: {codes}]",
    "repair": "repaired {subject}",
}
_MODEL_TEMPLATES = {
    "materialize": "put the rows of {subject} where answers read them[: {rows}]",
    "train": "trained[ {model} as] {subject}[ on {train_rows} rows][, and tested it on {test_rows} others]",
    "gate": "held {subject} against the bars of its gate[: {outcome}][, for the reasons {reasons}]",
    "enroll": "enrolled {subject}[ as {roles}][, at the word of {principal}][; the public key is {public_key}]",
    "propose": "asked for {subject}[, at the word of {user}]",
    "approve": "took down an approval of {subject}[ by {user}][, signed with the key {key_id}]",
    "check": "saw whether {subject} may answer[ for {model}]",
    "promote": "made {subject} live[ for {model}][, in place of {previous_release}][, at the word of {user}]",
    "rollback": "made {subject} live again[ for {model}][, in place of {previous_release}][, at the word of {user}]",
    "serve": "loaded {subject}[ of {model}], to answer with it",
    "create_key": "made a key for its promises[, which holds until {expires_at}][; the public key is {public_key}]",
    "predict": "answered[ {decision}][ with the score {score}][ for the model {model}][, from {freshness} knowledge]",
}
"""Added when models came, for actions that no older log has."""


def _fill_template(piece: str, values: dict[str, str]) -> str:
    names: list[str] = re.findall(r"\{([a-z_]+)\}", piece)
    if not values.keys() >= set(names):
        return ""
    return re.sub(r"\{([a-z_]+)\}", lambda name: values[name[1]], piece)


def _format_value(value: CanonicalValue) -> str:
    if isinstance(value, str):
        return _escape_text(value)
    return _escape_text(dumps_canonical(value).decode())


def _entry_document(entry: Entry) -> dict[str, object]:
    return {
        "index": entry.tree_index,
        "id": entry.id,
        "actor": entry.actor,
        "description": describe_entry(entry),
        "action": entry.action,
        "phase": entry.phase,
        "subject": entry.subject,
        "known_since": entry.known_since,
        "contracts": [ref._asdict() for ref in contract_refs(entry)],
        "inputs": [ref._asdict() for ref in _non_contract_refs(entry.inputs)],
        "outputs": [ref._asdict() for ref in entry.outputs],
        "facts": entry.facts,
    }


def _non_contract_refs(refs: tuple[Ref, ...]) -> tuple[Ref, ...]:
    return tuple(ref for ref in refs if not ref.name.startswith("contract:"))


def _digest_suffix(ref: Ref) -> str:
    return f", SHA-256 `{_escape_text(ref.digest)}`" if ref.digest is not None else ""


def _escape_text(text: str) -> str:
    """Show text that comes from elsewhere: nothing in it may act on a terminal or end a quotation in Markdown."""
    return re.sub(
        "[\x00-\x1f`\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]",
        lambda letter: f"\\u{ord(letter[0]):04x}",
        text,
    )
