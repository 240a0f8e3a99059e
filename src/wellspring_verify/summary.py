"""Summarize the story of a prediction or a release in a few sentences, from its entries."""

from __future__ import annotations

from collections.abc import Iterable

from wellspring_verify.entries import EntryBook, PackEntry, PackRef, fact_text, refs_of_kind, user_of


def summarize_subject(subject: str, entries: Iterable[PackEntry]) -> list[str]:
    """Summarize `prediction:ID` or `model:NAME@RELEASE` in sentences; an empty list for other subjects.

    Never raises; missing facts are left out. The text is not escaped.
    """
    kind, _, name = subject.partition(":")
    book = EntryBook(entries)
    if kind == "prediction":
        predictions = book.completed("predict", subject)
        return _summarize_prediction(book, predictions[-1]) if predictions else []
    if kind == "model":
        model, _, release = name.rpartition("@")
        return _summarize_release(book, f"release:{release}") + _summarize_switches(book, f"release:{release}", model)
    return []


def format_score(score: str) -> str:
    """Format a score (float.hex) with four decimals; other text is returned unchanged."""
    try:
        return f"{float.fromhex(score):.4f}"
    except (ValueError, OverflowError):
        return score


def _summarize_prediction(book: EntryBook, prediction: PackEntry) -> list[str]:
    score, freshness = format_score(fact_text(prediction, "score")), fact_text(prediction, "freshness")
    model, decision = fact_text(prediction, "model"), fact_text(prediction, "decision")
    lines = [
        f"At {prediction.known_since} the model {model} predicted"
        + (f" {decision}" if decision else " a number")
        + (f", with the score {score}" if score else "")
        + (f", from {freshness} features" if freshness else "")
        + "."
    ]
    for release in refs_of_kind(prediction.inputs, "release")[:1]:
        lines += _summarize_release(book, release.name)
    for edition in refs_of_kind(prediction.inputs, "edition")[:1]:
        lines.append(f"Its features are of {edition.name}.")
    for key in refs_of_kind(prediction.inputs, "key")[:1]:
        expiries = [fact_text(created, "expires_at") for created in book.completed("create_key", key.name)]
        lines.append(f"It was signed with {key.name}" + (f", which expires at {expiries[-1]}." if expiries else "."))
    return lines


def _summarize_release(book: EntryBook, release: str) -> list[str]:
    proposals, approvals = book.completed("propose", release), book.completed("approve", release)
    proposers = _join_names(user_of(proposal) for proposal in proposals)
    approvers = _join_names(user_of(approval) for approval in approvals)
    lines = [
        f"The release is {release}"
        + (f", proposed by {proposers}" if proposers else "")
        + f"{' and' if proposers else ','} approved by {approvers or 'nobody'}."
    ]
    for candidate in [ref for proposal in proposals[-1:] for ref in refs_of_kind(proposal.inputs, "candidate")]:
        for gate in book.completed("gate", candidate.name)[-1:]:
            lines.append(f"The gate verdict on {candidate.name} was {fact_text(gate, 'outcome')}.")
            runs = [
                run
                for ref in refs_of_kind(gate.inputs, "run")
                for run in [*book.completed("train", ref.name), *book.completed("evaluate", ref.name)][-1:]
            ]
            verbs = {"train": "trained it", "evaluate": "scored it without training"}
            lines += [
                f"{run.subject} {verbs[run.action]} on {_describe_edition(book, edition)}."
                for run in runs
                for edition in refs_of_kind(run.inputs, "edition")[:1]
            ]
    return lines


def _summarize_switches(book: EntryBook, release: str, model: str) -> list[str]:
    verbs = {
        "promote": "went live",
        "rollback": "went live again",
        "deploy": "became the challenger",
        "undeploy": "ceased to be the challenger",
    }
    switches = sorted(
        (entry for action in verbs for entry in book.completed(action)), key=lambda entry: entry.tree_index
    )
    return [
        f"{switch.subject} {verbs[switch.action]} at {switch.known_since}."
        for switch in switches
        if fact_text(switch, "model") == model or switch.subject == release
    ]


def _describe_edition(book: EntryBook, ref: PackRef) -> str:
    """Describe an edition by its parent and the number of drops that its rows came from."""
    parents = [fact_text(publish, "parent") for publish in book.completed("publish", ref.name)]
    origin = f", built from edition:{parents[-1]}" if parents and parents[-1] else ""
    drops = len(_drops_of_edition(book, ref.name))
    return ref.name + origin + (f" with the rows of {drops} drop{'s' if drops != 1 else ''}" if drops else "")


def _drops_of_edition(book: EntryBook, edition: str) -> set[str]:
    """List the drops whose rows are in an edition or in one of its ancestors."""
    drops: set[str] = set()
    visited: set[str] = set()
    while edition not in visited:
        visited.add(edition)
        parent = ""
        for publish in book.completed("publish", edition)[-1:]:
            drops |= {ref.name[len("rows:") :].rpartition("/")[0] for ref in refs_of_kind(publish.inputs, "rows")}
            parent = fact_text(publish, "parent")
        edition = f"edition:{parent}" if parent else edition
    return drops


def _join_names(names: Iterable[str]) -> str:
    return " and ".join(dict.fromkeys(name for name in names if name))
