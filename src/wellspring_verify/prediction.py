"""Compare a prediction, as the API returned it, with the entries of the log."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import cast

from wellspring_verify import answer_signature, releases
from wellspring_verify.canonical import MalformedError
from wellspring_verify.entries import EntryBook, PackEntry, PackRef, fact_text, refs_of_kind
from wellspring_verify.notes import decode_base64


def find_prediction_faults(
    content: bytes, subject: str, entries: Iterable[PackEntry], documents: Mapping[PackRef, bytes]
) -> list[str]:
    """List how a prediction differs from its entry in the log, and whether its signature is invalid.

    content: JSON, as the API returned it. subject: of the pack, `prediction:ID`. documents: as for `chain.find_gaps`,
    which checks whether the key was valid at that time.
    """
    try:
        answer = answer_signature.parse_answer(content)
        digest, signature = answer_signature.answer_digest(answer), answer_signature.read_signature(answer)
    except MalformedError as exc:
        return [str(exc)]
    if subject != f"prediction:{answer.get('id')}":
        return [f"it is the prediction {answer.get('id')!a}, and the pack is about {subject!a}"]
    book = EntryBook(entries)
    predictions = book.completed("predict", subject)
    if not predictions:
        return ["the pack has no entry of it"]
    entry = predictions[-1]
    faults: list[str] = []
    if PackRef(f"answer:{answer.get('id')}", digest) not in entry.outputs:
        faults.append("it is not the prediction that the API returned: its SHA-256 is not the one in the log")
    faults += _find_differences(answer, entry)
    request_digest = fact_text(entry, "request_digest")
    if not request_digest or answer.get("request_digest") != request_digest:
        faults.append("its request_digest differs from the one in the log")
    for release in refs_of_kind(entry.inputs, "release"):
        approved = releases.parse_release(documents.get(release, b""))
        if approved is not None and answer.get("threshold") != releases.release_threshold(approved):
            faults.append(f"its threshold differs from that of {release.name!a}")
    if f"key:{signature.key_id}" not in {key.name for key in refs_of_kind(entry.inputs, "key")}:
        return [*faults, f"its signature names the key {signature.key_id!a}, and the log names another"]
    created = book.completed("create_key", f"key:{signature.key_id}")
    if not any(_is_signed_by(key, signature, answer) for key in created):
        faults.append("its signature is invalid: the prediction or the signature was changed")
    return faults


def describe_row_tokens(subject: str, entries: Iterable[PackEntry]) -> list[str]:
    """List the key tokens of the rows that a prediction used, by view."""
    predictions = EntryBook(entries).completed("predict", subject) if subject.startswith("prediction:") else []
    views = predictions[-1].facts.get("views") if predictions else None
    lines: list[str] = []
    for view, row in sorted(views.items()) if isinstance(views, dict) else ():
        # A row reference is known_since, the tie breaker, then the tokens of the key.
        tokens = row[2:] if isinstance(row, list) else []
        lines.append(
            f"according to the log, its row of {view!a} has the key {', '.join(ascii(token) for token in tokens)}"
        )
    return lines


def _find_differences(answer: Mapping[str, object], entry: PackEntry) -> list[str]:
    """List the fields in which a prediction differs from its entry."""
    recorded: dict[str, list[object]] = {
        "vector_digest": [vector.digest for vector in refs_of_kind(entry.inputs, "vector")],
        "release": [release.name.partition(":")[2] for release in refs_of_kind(entry.inputs, "release")],
        "edition": [edition.name.partition(":")[2] for edition in refs_of_kind(entry.inputs, "edition")],
        **{fact: [entry.facts[fact]] for fact in ("model", "decision", "freshness", "score") if fact in entry.facts},
    }
    for name in ("interval", "mode", "probabilities"):
        recorded[name] = [entry.facts.get(name)]
    returned = {**answer, **_encode_numbers(answer)}
    return [
        f"its {name} differs from the one in the log" for name in recorded if returned.get(name) not in recorded[name]
    ]


def _encode_numbers(answer: Mapping[str, object]) -> dict[str, object]:
    """Encode the numbers of a prediction as its entry holds them; other values stay as they are."""
    score, interval, probabilities = (answer.get(name) for name in ("score", "interval", "probabilities"))
    numbers: dict[str, object] = {"score": _encode_number(score), "interval": interval, "probabilities": probabilities}
    if isinstance(interval, list):
        numbers["interval"] = [_encode_number(end) for end in cast("list[object]", interval)]
    if isinstance(probabilities, list):
        members = [
            cast("dict[str, object]", item) for item in cast("list[object]", probabilities) if isinstance(item, dict)
        ]
        numbers["probabilities"] = [[item.get("label"), _encode_number(item.get("probability"))] for item in members]
    return numbers


def _encode_number(value: object) -> object:
    return answer_signature.float_hex(value) if isinstance(value, (int, float)) else value


def _is_signed_by(key: PackEntry, signature: answer_signature.DetachedSignature, answer: Mapping[str, object]) -> bool:
    try:
        public_key = decode_base64(fact_text(key, "public_key"))
    except MalformedError:
        return False
    return answer_signature.compute_key_id(public_key) == signature.key_id and answer_signature.verify_signature(
        public_key, signature.signature, answer_signature.signed_text(answer)
    )
