"""Tell the story of an answer or a release in a few sentences, from its entries alone."""

from __future__ import annotations

from collections.abc import Iterable

from wellspring_verify.entries import Book, Entry, Ref, of_kind, person, text


def in_short(subject: str, entries: Iterable[Entry]) -> list[str]:
    """Say in one sentence each what the entries tell of `prediction:ID` or `model:NAME@RELEASE`; else nothing.

    Never raises: what the entries do not tell is left out. Nothing in it is made safe to show yet.
    """
    kind, _, name = subject.partition(":")
    book = Book(entries)
    if kind == "prediction":
        return [line for one in book.done("predict", subject)[-1:] for line in _answer(book, one)]
    if kind == "model":
        model, _, release = name.rpartition("@")
        return _release(book, f"release:{release}") + _switches(book, f"release:{release}", model)
    return []


def decimal(score: str) -> str:
    """Show a score, kept as float.hex, as a person reads it; what is none is shown as it is."""
    try:
        return f"{float.fromhex(score):.4f}"
    except (ValueError, OverflowError):
        return score


def _answer(book: Book, answer: Entry) -> list[str]:
    score, state = decimal(text(answer, "score")), text(answer, "state")
    lines = [
        f"At {answer.known_since} the model {text(answer, 'model')} answered {text(answer, 'decision')}"
        + (f", with the score {score}" if score else "")
        + (f", from {state} knowledge" if state else "")
        + "."
    ]
    for one in of_kind(answer.inputs, "release")[:1]:
        lines += _release(book, one.name)
    for one in of_kind(answer.inputs, "edition")[:1]:
        lines.append(f"What it knew of this case came from {one.name}.")
    for one in of_kind(answer.inputs, "key")[:1]:
        until = [text(key, "expires") for key in book.done("key", one.name)]
        lines.append(f"It was promised with {one.name}" + (f", which held until {until[-1]}." if until else "."))
    return lines


def _release(book: Book, release: str) -> list[str]:
    proposed, approved = book.done("propose", release), book.done("approve", release)
    asked, agreed = _all(person(one) for one in proposed), _all(person(one) for one in approved)
    lines = [
        f"It is {release}"
        + (f", which {asked} proposed" if asked else "")
        + f"{' and ' if asked else ', which '}{agreed or 'nobody'} approved"
        + "."
    ]
    for candidate in [ref for one in proposed[-1:] for ref in of_kind(one.inputs, "candidate")]:
        for gate in book.done("gate", candidate.name)[-1:]:
            lines.append(f"The verdict of the gate on {candidate.name} was {text(gate, 'outcome')}.")
            runs = [run for ref in of_kind(gate.inputs, "run") for run in book.done("train", ref.name)[-1:]]
            lines += [
                f"{run.subject} trained it on {_edition(book, edition)}."
                for run in runs
                for edition in of_kind(run.inputs, "edition")[:1]
            ]
    return lines


def _switches(book: Book, release: str, model: str) -> list[str]:
    acts = sorted((*book.done("promote"), *book.done("rollback")), key=lambda one: one.place)
    did = {"promote": "went live", "rollback": "went live again"}
    return [
        f"{one.subject} {did[one.action]} at {one.known_since}."
        for one in acts
        if text(one, "model") == model or one.subject == release
    ]


def _edition(book: Book, ref: Ref) -> str:
    """Describe an edition by what it was built from and how many drops its rows came in."""
    told = [text(one, "parent") for one in book.done("publish", ref.name)]
    landed = f", built from edition:{told[-1]}" if told and told[-1] else ""
    drops = len(_drops(book, ref.name))
    return ref.name + landed + (f" with the rows of {drops} drop{'s' if drops != 1 else ''}" if drops else "")


def _drops(book: Book, edition: str) -> set[str]:
    """Name the drops of an edition and of all that it follows, by the rows that they took in."""
    drops: set[str] = set()
    seen: set[str] = set()
    while edition not in seen:
        seen.add(edition)
        parent = ""
        for one in book.done("publish", edition)[-1:]:
            drops |= {ref.name[len("rows:") :].rpartition("/")[0] for ref in of_kind(one.inputs, "rows")}
            parent = text(one, "parent")
        edition = f"edition:{parent}" if parent else edition
    return drops


def _all(names: Iterable[str]) -> str:
    return " and ".join(dict.fromkeys(name for name in names if name))
