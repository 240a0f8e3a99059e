"""Tell the story of an answer or a release in a few sentences, from its entries alone."""

from __future__ import annotations

from collections.abc import Iterable

from wellspring_verify.entries import Entry, EntryBook, Ref, fact_text, refs_of_kind, user_of


def summarize_subject(subject: str, entries: Iterable[Entry]) -> list[str]:
    """Say in one sentence each what the entries tell of `prediction:ID` or `model:NAME@RELEASE`; else nothing.

    Never raises: what the entries do not tell is left out. Nothing in it is made safe to show yet.
    """
    kind, _, name = subject.partition(":")
    book = EntryBook(entries)
    if kind == "prediction":
        return [line for one in book.completed("predict", subject)[-1:] for line in _summarize_answer(book, one)]
    if kind == "model":
        model, _, release = name.rpartition("@")
        return _summarize_release(book, f"release:{release}") + _summarize_switches(book, f"release:{release}", model)
    return []


def format_score(score: str) -> str:
    """Show a score, kept as float.hex, as a person reads it; what is none is shown as it is."""
    try:
        return f"{float.fromhex(score):.4f}"
    except (ValueError, OverflowError):
        return score


def _summarize_answer(book: EntryBook, answer: Entry) -> list[str]:
    score, freshness = format_score(fact_text(answer, "score")), fact_text(answer, "freshness")
    lines = [
        f"At {answer.known_since} the model {fact_text(answer, 'model')} answered {fact_text(answer, 'decision')}"
        + (f", with the score {score}" if score else "")
        + (f", from {freshness} knowledge" if freshness else "")
        + "."
    ]
    for one in refs_of_kind(answer.inputs, "release")[:1]:
        lines += _summarize_release(book, one.name)
    for one in refs_of_kind(answer.inputs, "edition")[:1]:
        lines.append(f"What it knew of this case came from {one.name}.")
    for one in refs_of_kind(answer.inputs, "key")[:1]:
        until = [fact_text(key, "expires_at") for key in book.completed("create_key", one.name)]
        lines.append(f"It was promised with {one.name}" + (f", which held until {until[-1]}." if until else "."))
    return lines


def _summarize_release(book: EntryBook, release: str) -> list[str]:
    proposed, approved = book.completed("propose", release), book.completed("approve", release)
    proposers, approvers = _join_names(user_of(one) for one in proposed), _join_names(user_of(one) for one in approved)
    lines = [
        f"It is {release}"
        + (f", which {proposers} proposed" if proposers else "")
        + f"{' and ' if proposers else ', which '}{approvers or 'nobody'} approved"
        + "."
    ]
    for candidate in [ref for one in proposed[-1:] for ref in refs_of_kind(one.inputs, "candidate")]:
        for gate in book.completed("gate", candidate.name)[-1:]:
            lines.append(f"The verdict of the gate on {candidate.name} was {fact_text(gate, 'outcome')}.")
            runs = [run for ref in refs_of_kind(gate.inputs, "run") for run in book.completed("train", ref.name)[-1:]]
            lines += [
                f"{run.subject} trained it on {_describe_edition(book, edition)}."
                for run in runs
                for edition in refs_of_kind(run.inputs, "edition")[:1]
            ]
    return lines


def _summarize_switches(book: EntryBook, release: str, model: str) -> list[str]:
    switches = sorted((*book.completed("promote"), *book.completed("rollback")), key=lambda one: one.tree_index)
    verbs = {"promote": "went live", "rollback": "went live again"}
    return [
        f"{one.subject} {verbs[one.action]} at {one.known_since}."
        for one in switches
        if fact_text(one, "model") == model or one.subject == release
    ]


def _describe_edition(book: EntryBook, ref: Ref) -> str:
    """Describe an edition by what it was built from and how many drops its rows came in."""
    parents = [fact_text(one, "parent") for one in book.completed("publish", ref.name)]
    origin = f", built from edition:{parents[-1]}" if parents and parents[-1] else ""
    drops = len(_drops_of_edition(book, ref.name))
    return ref.name + origin + (f" with the rows of {drops} drop{'s' if drops != 1 else ''}" if drops else "")


def _drops_of_edition(book: EntryBook, edition: str) -> set[str]:
    """Name the drops of an edition and of all that it follows, by the rows that they took in."""
    drops: set[str] = set()
    visited: set[str] = set()
    while edition not in visited:
        visited.add(edition)
        parent = ""
        for one in book.completed("publish", edition)[-1:]:
            drops |= {ref.name[len("rows:") :].rpartition("/")[0] for ref in refs_of_kind(one.inputs, "rows")}
            parent = fact_text(one, "parent")
        edition = f"edition:{parent}" if parent else edition
    return drops


def _join_names(names: Iterable[str]) -> str:
    return " and ".join(dict.fromkeys(name for name in names if name))
