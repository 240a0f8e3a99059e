"""Render ledger entries as story.json and story.md. The verifier renders them again and compares.

The texts of a version never change, because packs of that version must still verify: new texts need a new version.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from wellspring_verify.canonical import CanonicalValue, dumps_canonical
from wellspring_verify.entries import PackEntry, PackRef
from wellspring_verify.summary import format_score, summarize_subject

STORY_VERSION = 1


def render_story_json(subject: str, entries: Sequence[PackEntry]) -> bytes:
    """Render story.json: actor, action, time, contracts, inputs and outputs by digest. entries: in tree order."""
    return dumps_canonical(
        {"version": STORY_VERSION, "subject": subject, "entries": [_entry_document(entry) for entry in entries]}
    )


def render_story_page(subject: str, entries: Sequence[PackEntry]) -> bytes:
    """Render story.md: the same facts as readable text."""
    lines = [f"# The story of `{_escape_text(subject)}`", "", f"{len(entries)} entries of the log, in its order.", ""]
    if sentences := summarize_subject(subject, entries):
        lines += [_escape_text(" ".join(sentences)), ""]
    for number, entry in enumerate(entries, start=1):
        lines += [
            f"## {number}. {_escape_text(entry.action)} ({entry.phase}), {_escape_text(entry.known_since)}",
            "",
            f"{_escape_text(entry.actor)} {describe_entry(entry)}.",
            "",
            f"- subject: `{_escape_text(entry.subject)}`",
        ]
        for title, refs in (
            ("contract", contract_refs(entry)),
            ("input", _non_contract_refs(entry.inputs)),
            ("output", entry.outputs),
        ):
            lines += [f"- {title}: `{_escape_text(ref.name)}`{_digest_suffix(ref)}" for ref in refs]
        lines += [
            f"- proof: entry {entry.tree_index} of the log, {_escape_text(entry.id)},"
            f" trace `{_escape_text(entry.trace)}`",
            "",
        ]
    return "\n".join(lines).encode()


def contract_refs(entry: PackEntry) -> tuple[PackRef, ...]:
    """Return the contracts that an entry validated rows against."""
    return tuple(ref for ref in entry.inputs if ref.name.startswith("contract:"))


def describe_entry(entry: PackEntry) -> str:
    """Describe an entry in a sentence. Never raises; missing facts are left out."""
    values = {name: _format_value(value) for name, value in entry.facts.items() if value is not None}
    values |= {"action": _escape_text(entry.action), "subject": _escape_text(entry.subject)}
    if entry.action in _MODEL_TEMPLATES:
        # The first release of a model has an empty `previous_release`; a passed gate has no reasons.
        values = {name: text for name, text in values.items() if text not in {"", "[]"}}
        values |= {"score": format_score(values["score"])} if "score" in values else {}
    # Every second piece is an optional clause: it is left out when one of its facts is missing.
    pieces = re.split(r"[\[\]]", {**_DATA_TEMPLATES, **_MODEL_TEMPLATES}.get(entry.action, "recorded {action}"))
    return _PHASE_PREFIXES[entry.phase] + "".join(_fill_template(piece, values) for piece in pieces)


_PHASE_PREFIXES = {
    "done": "",
    "intent": "started this action: ",
    "failed": "failed at this action: ",
    "refused": "was refused this action: ",
}
_DATA_TEMPLATES = {
    "land": "fetched the file[ {name}][ of {size} bytes][, {received} rows], and stored the encrypted original"
    "[ until {retention_until}]",
    "admit": "validated the rows[ (replay number {replay_number})] against the contract[: {received} received]"
    "[, {admitted} admitted as tokens][, {quarantined} quarantined][, {masked} masked][; outcome {outcome}]"
    "[; the digest of the quarantined rows is {quarantined_rows}]",
    "expire": "ended the retention: destroyed the key, then the file[; discarded {discarded} quarantined rows]",
    "withdraw": "withdrew {subject}[, as {user} decided][: {reason}][; its bytes are those of drop {same_bytes_as}]",
    "rejudge": "returned {subject} to a judgement by the contract below[, as {user} decided][: {reason}][: {message}]",
    "discard": "discarded {discarded} quarantined rows[, as {user} decided][: {reason}]",
    "finding": "found[ {code}][: {message}]",
    "acknowledge": "acknowledged {subject}[, requested by {user}][: {reason}]",
    "resolve": "closed {subject}[: {message}]",
    "reopen": "opened {subject} again",
    "retire": "retired {subject}[ after {age_days} days]: removed the data files that only it has",
    "hold": "let {subject} be kept[, as {user} decided][: {reason}]",
    "lift_hold": "removed the hold on {subject}[, as {user} decided][: {reason}]",
    "compact": "wrote the rows of {subject} again into fewer files[: {rows}]",
    "retain": "applied the retention[: {retired} editions retired][, {removed_files} files removed]",
    "backfill": "read {subject} again for the sealed rows of its persons[: {persons} rows are new]",
    "settle": "confirmed that the rows[ (replay number {replay_number})] are published, and removed them from"
    " quarantine",
    "stage": "wrote the rows to a branch, and read them back to compute the digest below",
    "publish": "switched readers to {subject}[ ({level})][, after {parent}]",
    "alert": "recorded an alert for[ {owner},] the owner[ of {contract}][: {codes}]",
    "repair": "repaired {subject}",
}
_MODEL_TEMPLATES = {
    "materialize": "wrote the rows of {subject} to the online store[: {rows}]",
    "train": "trained[ {model} as] {subject}[ on {train_rows} rows][, and tested it on {test_rows} other rows]",
    "evaluate": "scored[ {model}] again as {subject}, without training[, on {test_rows} rows]",
    "gate": "evaluated {subject} against the acceptance criteria[: {outcome}][, for the reasons {reasons}]",
    "mode": "put the project into the mode {mode}[, in place of {previous}][, requested by {principal}]",
    "issue_code": "printed a code for the first enrollment, whose digest is {code_digest}",
    "enroll": "enrolled {subject}[ as {roles}][, requested by {principal}][; the public key is {public_key}]",
    "propose": "proposed {subject}[, requested by {user}]",
    "approve": "recorded an approval of {subject}[ by {user}][, signed with the key {key_id}]",
    "check": "checked whether {subject} may serve predictions[ for {model}]",
    "adopt": "took {subject} from disk as the first [{kind} ]in force, without an approval",
    "activate": "made {subject} live[ for {kind}][, replacing {previous_release}][, signed by {user}]",
    "promote": "made {subject} live[ for {model}][, replacing {previous_release}][, requested by {user}]",
    "rollback": "made {subject} live again[ for {model}][, replacing {previous_release}][, requested by {user}]",
    "deploy": "made {subject} the challenger[ of {model}][, for a share of {share}][, requested by {user}]",
    "undeploy": "ended the role of {subject} as the challenger[ of {model}][, requested by {user}]",
    "serve": "loaded {subject}[ of {model}] to serve predictions",
    "create_key": "created a signing key[, which expires at {expires_at}][; the public key is {public_key}]",
    "predict": "predicted[ {decision}][ with the score {score}][ for the model {model}][ as the {role} release]"
    "[, from {freshness} features]",
}
"""Templates in which empty facts are left out too."""


def _fill_template(piece: str, values: dict[str, str]) -> str:
    names: list[str] = re.findall(r"\{([a-z_]+)\}", piece)
    if not values.keys() >= set(names):
        return ""
    return re.sub(r"\{([a-z_]+)\}", lambda match: values[match[1]], piece)


def _format_value(value: CanonicalValue) -> str:
    if isinstance(value, str):
        return _escape_text(value)
    return _escape_text(dumps_canonical(value).decode())


def _entry_document(entry: PackEntry) -> dict[str, object]:
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


def _non_contract_refs(refs: tuple[PackRef, ...]) -> tuple[PackRef, ...]:
    return tuple(ref for ref in refs if not ref.name.startswith("contract:"))


def _digest_suffix(ref: PackRef) -> str:
    return f", SHA-256 `{_escape_text(ref.digest)}`" if ref.digest is not None else ""


def _escape_text(text: str) -> str:
    """Escape text from outside: control and invisible characters, and backticks, which end a quotation in Markdown."""
    return re.sub(
        "[\x00-\x1f`\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]",
        lambda match: f"\\u{ord(match[0]):04x}",
        text,
    )
