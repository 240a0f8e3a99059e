"""How a subject leads to the entries of its story: by the things that each entry names, back to the drops.

| an entry of        | leads, by                      | to the entries about      |
|--------------------|--------------------------------|---------------------------|
| predict            | inputs, fact `editions`        | release, edition, key     |
| propose            | inputs; fact `person`          | candidate; person         |
| approve            | fact `person`                  | person                    |
| promote, rollback  | fact `person`                  | person                    |
| gate               | inputs                         | run                       |
| train              | inputs                         | edition                   |
| publish            | inputs, facts `parent`, `drops`| edition, drop             |

The other releases of a model are told only by when they went live. The story of an answer ends with the answer: what
came later is told elsewhere, so it is sealed once.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator

from wellspring.records.trust import Entry, IndexedEntry
from wellspring.trust.ledger.index import LedgerIndex

PROVENANCE_EDGES: dict[str, tuple[str, ...]] = {
    "predict": ("release", "edition", "key"),
    "propose": ("candidate", "user"),
    "approve": ("user",),
    "promote": ("user",),
    "rollback": ("user",),
    "gate": ("run",),
    "train": ("edition",),
    "publish": ("edition", "drop"),
}
"""The table above, by action."""


def collect_entries(index: LedgerIndex, subject: str) -> list[IndexedEntry] | None:
    """Collect the entries of a story, in the order of the tree; None for a kind of subject that has none."""
    kind, _, name = subject.partition(":")
    if kind not in _COLLECTORS or not name:
        return None
    entries_by_index = {one.index: one for one in _COLLECTORS[kind](index, name)}
    return [entries_by_index[tree_index] for tree_index in sorted(entries_by_index)]


def describe_subject_kinds() -> str:
    """Say which subjects have a story."""
    return "drop:ID, edition:ID, dataset:NAME, prediction:ID, model:NAME@RELEASE, release:ID, candidate:ID or run:ID"


def list_subjects_of_kind(index: LedgerIndex, kind: str) -> list[str]:
    """List the subjects of a kind, to find the one that was meant; no answers, of which there are too many."""
    if kind == "prediction":
        return []
    if kind == "dataset":
        contract_names = (one.entry.facts.get("contract") for one in index.list_entries(action="land"))
        return sorted({f"dataset:{one}" for one in contract_names if isinstance(one, str)})
    if kind == "model":
        promotions = [one.entry for one in index.list_entries(action="promote", phase="done")]
        return sorted(
            {f"model:{_text_fact(one, 'model')}@{one.subject.removeprefix('release:')}" for one in promotions}
        )
    return [one for one in index.list_subjects() if one.startswith(f"{kind}:")]


def _follow_edges(index: LedgerIndex, start: str) -> Iterator[IndexedEntry]:
    """Yield what is told of a thing, and of all that it leads to."""
    pending, visited = [start], set[str]()
    while pending:
        name = pending.pop()
        if name in visited:
            continue
        visited.add(name)
        for logged in index.list_entries(subject=name):
            yield logged
            pending += _linked_subjects(logged.entry)


def _linked_subjects(entry: Entry) -> Iterator[str]:
    target_kinds = PROVENANCE_EDGES.get(entry.action, ())
    yield from (ref.name for ref in entry.inputs if ref.name.partition(":")[0] in target_kinds)
    if entry.action == "predict" and isinstance(rows := entry.facts.get("editions"), dict):
        # Rows that a newer edition did not change still bear the name of the one that brought them.
        yield from (f"edition:{one}" for one in rows.values())
    if "user" in target_kinds:
        yield f"user:{_text_fact(entry, 'user').removeprefix('user:')}"
    if "drop" in target_kinds:
        yield from (f"drop:{drop}" for drop in _published_drops(entry))
        if parent := _text_fact(entry, "parent"):
            yield f"edition:{parent.removeprefix('edition:')}"


def _drop_entries(index: LedgerIndex, drop: str) -> Iterator[IndexedEntry]:
    yield from index.list_entries(subject=f"drop:{drop}")
    yield from _publish_entries(index, {drop})


def _dataset_entries(index: LedgerIndex, name: str) -> Iterator[IndexedEntry]:
    yield from index.list_entries(subject=f"dataset:{name}")
    drops: set[str] = set()
    for action in ("land", "admit"):
        for logged in index.list_entries(action=action):
            refs = (*logged.entry.inputs, *logged.entry.outputs)
            names_contract = any(ref.name.startswith(f"contract:{name}@") for ref in refs)
            if names_contract or logged.entry.facts.get("contract") == name:
                drops.add(logged.entry.subject.removeprefix("drop:"))
    for drop in sorted(drops):
        yield from index.list_entries(subject=f"drop:{drop}")
    yield from _publish_entries(index, drops)


def _prediction_entries(index: LedgerIndex, prediction: str) -> Iterator[IndexedEntry]:
    answers = index.list_entries(subject=f"prediction:{prediction}", action="predict")
    if not answers:
        return
    collected = list(_follow_edges(index, f"prediction:{prediction}"))
    for model in {_text_fact(one.entry, "model") for one in answers}:
        collected += _live_changes(index, model)
    intent_ids = {one.entry.id for one in collected if one.index <= answers[-1].index and one.entry.phase == "intent"}
    # A promotion, or an edition on its way online, has effect from its intent on; what ends it may come after answers.
    yield from (one for one in collected if one.index <= answers[-1].index or one.entry.intent in intent_ids)


def _model_entries(index: LedgerIndex, name: str) -> Iterator[IndexedEntry]:
    model, _, release = name.rpartition("@")
    live_changes = _live_changes(index, model)
    if any(one.entry.subject == f"release:{release}" for one in live_changes):
        yield from live_changes
        yield from _follow_edges(index, f"release:{release}")


def _live_changes(index: LedgerIndex, model: str) -> list[IndexedEntry]:
    """List what made releases of a model live: promotions and rollbacks, whole or not."""
    changes = [*index.list_entries(action="promote"), *index.list_entries(action="rollback")]
    return [one for one in changes if _text_fact(one.entry, "model") == model]


def _publish_entries(index: LedgerIndex, drops: set[str]) -> Iterator[IndexedEntry]:
    """Yield the publish entries of every edition that took in one of these drops, its intent and what settled it."""
    published = index.list_entries(action="publish")
    editions = {one.entry.subject for one in published if _published_drops(one.entry) & drops}
    yield from (one for one in published if one.entry.subject in editions)


def _published_drops(entry: Entry) -> set[str]:
    """Return the drops that a publish entry names, in its facts or by the rows that it took in."""
    drops_fact = entry.facts.get("drops")
    texts = [one for one in drops_fact if isinstance(one, str)] if isinstance(drops_fact, list) else list[str]()
    rows = [match[1] for ref in entry.inputs if (match := re.fullmatch(r"rows:(.+)/[0-9]+", ref.name))]
    return {*rows, *(one.removeprefix("drop:") for one in texts)}


def _text_fact(entry: Entry, fact: str) -> str:
    value = entry.facts.get(fact)
    return value if isinstance(value, str) else ""


def _kind_collector(kind: str) -> Callable[[LedgerIndex, str], Iterable[IndexedEntry]]:
    return lambda index, name: _follow_edges(index, f"{kind}:{name}")


_COLLECTORS: dict[str, Callable[[LedgerIndex, str], Iterable[IndexedEntry]]] = {
    "drop": _drop_entries,
    "dataset": _dataset_entries,
    "prediction": _prediction_entries,
    "model": _model_entries,
    **{kind: _kind_collector(kind) for kind in ("edition", "release", "candidate", "run")},
}
