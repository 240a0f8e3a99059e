"""Check an answer that somebody holds against the story that the log tells of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from wellspring_verify import promise, releases
from wellspring_verify.canonical import Malformed
from wellspring_verify.entries import Book, Entry, Ref, of_kind, text
from wellspring_verify.notes import unbase64


def faults(content: bytes, subject: str, entries: Iterable[Entry], papers: Mapping[Ref, bytes]) -> list[str]:
    """Say where a held answer, as the API returned it, is not the journalled one, or its promise does not hold.

    subject: of the pack, `prediction:ID`. papers: as for `chain.gaps`, which says whether the key held at that time.
    """
    try:
        answer = promise.read(content)
        digest, promised = promise.digest(answer), promise.promised(answer)
    except Malformed as wrong:
        return [str(wrong)]
    if subject != f"prediction:{answer.get('id')}":
        return [f"it is the answer {answer.get('id')!a}, and the pack is about {subject!a}"]
    book = Book(entries)
    told = book.done("predict", subject)
    if not told:
        return ["the pack does not tell of it"]
    entry = told[-1]
    said: list[str] = []
    if Ref(f"answer:{answer.get('id')}", digest) not in entry.outputs:
        said.append("it is not the answer that was given: its SHA-256 is not the one in the log")
    said += _others(answer, entry)
    asked = text(entry, "asked")
    if not asked or answer.get("asked") != asked:
        said.append("it was not given for what the log says was asked")
    for release in of_kind(entry.inputs, "release"):
        approved = releases.read(papers.get(release, b""))
        if approved is not None and answer.get("threshold") != approved.get("threshold"):
            said.append(f"its threshold is another than that of {release.name!a}")
    if Ref(f"key:{promised.key}", None) not in [Ref(one.name, None) for one in of_kind(entry.inputs, "key")]:
        return [*said, f"its promise names the key {promised.key!a}, and the log another one"]
    if not any(_signed(one, promised, answer) for one in book.done("key", f"key:{promised.key}")):
        said.append("its promise does not hold: the answer or the signature was changed")
    return said


def things(subject: str, entries: Iterable[Entry]) -> list[str]:
    """Name the tokens of what an answer is about, as the rows that it was given from have them."""
    told = Book(entries).done("predict", subject) if subject.startswith("prediction:") else []
    views = told[-1].facts.get("views") if told else None
    said: list[str] = []
    for view, row in sorted(views.items()) if isinstance(views, dict) else ():
        # Since when the row is known, what breaks a tie, and its key, token by token.
        tokens = row[2:] if isinstance(row, list) else []
        said.append(f"by the log, its row of {view!a} is that of {', '.join(ascii(one) for one in tokens)}")
    return said


def _others(answer: Mapping[str, object], entry: Entry) -> list[str]:
    """Name what the log tells of an answer otherwise than the answer itself does."""
    told: dict[str, list[object]] = {
        "vector": [one.digest for one in of_kind(entry.inputs, "vector")],
        "release": [one.name.partition(":")[2] for one in of_kind(entry.inputs, "release")],
        "edition": [one.name.partition(":")[2] for one in of_kind(entry.inputs, "edition")],
        **{fact: [entry.facts[fact]] for fact in ("model", "decision", "state", "score") if fact in entry.facts},
    }
    score = answer.get("score")
    held = {**answer, "score": promise.exact(score) if isinstance(score, (int, float)) else score}
    return [f"its {name} is another than the one in the log" for name in told if held.get(name) not in told[name]]


def _signed(key: Entry, promised: promise.Promise, answer: Mapping[str, object]) -> bool:
    try:
        public = unbase64(text(key, "public"))
    except Malformed:
        return False
    return promise.key_id(public) == promised.key and promise.holds(public, promised.signature, promise.text(answer))
