"""Check an answer that somebody holds against the story that the log tells of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from wellspring_verify import answer_signature, releases
from wellspring_verify.canonical import MalformedError
from wellspring_verify.entries import Entry, EntryBook, Ref, fact_text, refs_of_kind
from wellspring_verify.notes import decode_base64


def find_prediction_faults(
    content: bytes, subject: str, entries: Iterable[Entry], documents: Mapping[Ref, bytes]
) -> list[str]:
    """Say where a held answer, as the API returned it, is not the journalled one, or its promise does not hold.

    subject: of the pack, `prediction:ID`. papers: as for `chain.gaps`, which says whether the key held at that time.
    """
    try:
        answer = answer_signature.parse_answer(content)
        digest, signature = answer_signature.answer_digest(answer), answer_signature.read_signature(answer)
    except MalformedError as exc:
        return [str(exc)]
    if subject != f"prediction:{answer.get('id')}":
        return [f"it is the answer {answer.get('id')!a}, and the pack is about {subject!a}"]
    book = EntryBook(entries)
    predictions = book.completed("predict", subject)
    if not predictions:
        return ["the pack does not tell of it"]
    entry = predictions[-1]
    faults: list[str] = []
    if Ref(f"answer:{answer.get('id')}", digest) not in entry.outputs:
        faults.append("it is not the answer that was given: its SHA-256 is not the one in the log")
    faults += _find_differences(answer, entry)
    request_digest = fact_text(entry, "request_digest")
    if not request_digest or answer.get("request_digest") != request_digest:
        faults.append("it was not given for what the log says was asked")
    for release in refs_of_kind(entry.inputs, "release"):
        approved = releases.parse_release(documents.get(release, b""))
        if approved is not None and answer.get("threshold") != approved.get("threshold"):
            faults.append(f"its threshold is another than that of {release.name!a}")
    if Ref(f"key:{signature.key_id}", None) not in [Ref(one.name, None) for one in refs_of_kind(entry.inputs, "key")]:
        return [*faults, f"its promise names the key {signature.key_id!a}, and the log another one"]
    if not any(
        _is_signed_by(one, signature, answer) for one in book.completed("create_key", f"key:{signature.key_id}")
    ):
        faults.append("its promise does not hold: the answer or the signature was changed")
    return faults


def describe_row_tokens(subject: str, entries: Iterable[Entry]) -> list[str]:
    """Name the tokens of what an answer is about, as the rows that it was given from have them."""
    predictions = EntryBook(entries).completed("predict", subject) if subject.startswith("prediction:") else []
    views = predictions[-1].facts.get("views") if predictions else None
    lines: list[str] = []
    for view, row in sorted(views.items()) if isinstance(views, dict) else ():
        # Since when the row is known, what breaks a tie, and its key, token by token.
        tokens = row[2:] if isinstance(row, list) else []
        lines.append(f"by the log, its row of {view!a} is that of {', '.join(ascii(one) for one in tokens)}")
    return lines


def _find_differences(answer: Mapping[str, object], entry: Entry) -> list[str]:
    """Name what the log tells of an answer otherwise than the answer itself does."""
    recorded: dict[str, list[object]] = {
        "vector_digest": [one.digest for one in refs_of_kind(entry.inputs, "vector")],
        "release": [one.name.partition(":")[2] for one in refs_of_kind(entry.inputs, "release")],
        "edition": [one.name.partition(":")[2] for one in refs_of_kind(entry.inputs, "edition")],
        **{fact: [entry.facts[fact]] for fact in ("model", "decision", "freshness", "score") if fact in entry.facts},
    }
    score = answer.get("score")
    claimed = {**answer, "score": answer_signature.float_hex(score) if isinstance(score, (int, float)) else score}
    return [
        f"its {name} is another than the one in the log" for name in recorded if claimed.get(name) not in recorded[name]
    ]


def _is_signed_by(key: Entry, signature: answer_signature.DetachedSignature, answer: Mapping[str, object]) -> bool:
    try:
        public_key = decode_base64(fact_text(key, "public_key"))
    except MalformedError:
        return False
    return answer_signature.compute_key_id(public_key) == signature.key_id and answer_signature.verify_signature(
        public_key, signature.signature, answer_signature.signed_text(answer)
    )
