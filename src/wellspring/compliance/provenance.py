"""Collect the entries of a subject's story by following the references of each entry back to the drops.

| an entry of        | leads, by its                  | to the entries about      |
|--------------------|--------------------------------|---------------------------|
| predict            | inputs, fact `editions`        | release, edition, key     |
| propose            | inputs; fact `user`            | candidate; user           |
| approve            | fact `user`                    | user                      |
| promote, rollback  | fact `user`                    | user                      |
| gate               | inputs                         | run                       |
| train              | inputs                         | edition                   |
| publish            | inputs, facts `parent`, `drops`| edition, drop             |

Of the other releases of a model, only the promotions and rollbacks are included. The story of a prediction has no entry
after the prediction, so it is sealed once.
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
    """Collect the entries of a story, in tree order; None for a kind of subject that has no story."""
    kind, _, name = subject.partition(":")
    if kind not in _COLLECTORS or not name:
        return None
    entries_by_index = {indexed.index: indexed for indexed in _COLLECTORS[kind](index, name)}
    return [entries_by_index[tree_index] for tree_index in sorted(entries_by_index)]


def describe_subject_kinds() -> str:
    """Describe the subjects that have a story, for a message."""
    return "drop:ID, edition:ID, dataset:NAME, prediction:ID, model:NAME@RELEASE, release:ID, candidate:ID or run:ID"


def list_subjects_of_kind(index: LedgerIndex, kind: str) -> list[str]:
    """List the subjects of a kind, to suggest the nearest name; none for predictions, which are too many."""
    if kind == "prediction":
        return []
    if kind == "dataset":
        contract_names = (indexed.entry.facts.get("contract") for indexed in index.list_entries(action="land"))
        return sorted({f"dataset:{name}" for name in contract_names if isinstance(name, str)})
    if kind == "model":
        promotions = [indexed.entry for indexed in index.list_entries(action="promote", phase="done")]
        return sorted(
            {
                f"model:{promotion.text('model')}@{promotion.subject.removeprefix('release:')}"
                for promotion in promotions
            }
        )
    return [subject for subject in index.list_subjects() if subject.startswith(f"{kind}:")]


def _follow_edges(index: LedgerIndex, start: str) -> Iterator[IndexedEntry]:
    """Yield the entries of a subject, and of every subject that they lead to."""
    pending, visited = [start], set[str]()
    while pending:
        name = pending.pop()
        if name in visited:
            continue
        visited.add(name)
        for indexed in index.list_entries(subject=name):
            yield indexed
            pending += _linked_subjects(indexed.entry)


def _linked_subjects(entry: Entry) -> Iterator[str]:
    target_kinds = PROVENANCE_EDGES.get(entry.action, ())
    yield from (ref.name for ref in entry.inputs if ref.name.partition(":")[0] in target_kinds)
    if entry.action == "predict" and isinstance(editions := entry.facts.get("editions"), dict):
        # Rows that a newer edition did not change still name the edition that wrote them.
        yield from (f"edition:{edition}" for edition in editions.values())
    if "user" in target_kinds:
        yield f"user:{entry.text('user').removeprefix('user:')}"
    if "drop" in target_kinds:
        yield from (f"drop:{drop}" for drop in _published_drops(entry))
        if parent := entry.text("parent"):
            yield f"edition:{parent.removeprefix('edition:')}"


def _drop_entries(index: LedgerIndex, drop: str) -> Iterator[IndexedEntry]:
    yield from index.list_entries(subject=f"drop:{drop}")
    yield from _publish_entries(index, {drop})


def _dataset_entries(index: LedgerIndex, name: str) -> Iterator[IndexedEntry]:
    yield from index.list_entries(subject=f"dataset:{name}")
    drops: set[str] = set()
    for action in ("land", "admit"):
        for indexed in index.list_entries(action=action):
            refs = (*indexed.entry.inputs, *indexed.entry.outputs)
            names_contract = any(ref.name.startswith(f"contract:{name}@") for ref in refs)
            if names_contract or indexed.entry.facts.get("contract") == name:
                drops.add(indexed.entry.subject.removeprefix("drop:"))
    for drop in sorted(drops):
        yield from index.list_entries(subject=f"drop:{drop}")
    yield from _publish_entries(index, drops)


def _prediction_entries(index: LedgerIndex, prediction: str) -> Iterator[IndexedEntry]:
    predictions = index.list_entries(subject=f"prediction:{prediction}", action="predict")
    if not predictions:
        return
    last_index = predictions[-1].index
    collected = list(_follow_edges(index, f"prediction:{prediction}"))
    for model in {indexed.entry.text("model") for indexed in predictions}:
        collected += _live_changes(index, model)
    intent_ids = {
        indexed.entry.id for indexed in collected if indexed.index <= last_index and indexed.entry.phase == "intent"
    }
    # A promotion or materialization has effect from its intent on; its last entry may come after the prediction.
    yield from (indexed for indexed in collected if indexed.index <= last_index or indexed.entry.intent in intent_ids)


def _model_entries(index: LedgerIndex, name: str) -> Iterator[IndexedEntry]:
    model, _, release = name.rpartition("@")
    live_changes = _live_changes(index, model)
    if any(change.entry.subject == f"release:{release}" for change in live_changes):
        yield from live_changes
        yield from _follow_edges(index, f"release:{release}")


def _live_changes(index: LedgerIndex, model: str) -> list[IndexedEntry]:
    """List the promotions and rollbacks of a model, in every phase."""
    changes = [*index.list_entries(action="promote"), *index.list_entries(action="rollback")]
    return [change for change in changes if change.entry.text("model") == model]


def _publish_entries(index: LedgerIndex, drops: set[str]) -> Iterator[IndexedEntry]:
    """Yield the publish entries, in every phase, of each edition that contains one of these drops."""
    published = index.list_entries(action="publish")
    editions = {indexed.entry.subject for indexed in published if _published_drops(indexed.entry) & drops}
    yield from (indexed for indexed in published if indexed.entry.subject in editions)


def _published_drops(entry: Entry) -> set[str]:
    """Return the drops that a publish entry names, in its facts or by its input rows."""
    drops_fact = entry.facts.get("drops")
    named = [drop for drop in drops_fact if isinstance(drop, str)] if isinstance(drops_fact, list) else list[str]()
    rows = [match[1] for ref in entry.inputs if (match := re.fullmatch(r"rows:(.+)/[0-9]+", ref.name))]
    return {*rows, *(drop.removeprefix("drop:") for drop in named)}


def _kind_collector(kind: str) -> Callable[[LedgerIndex, str], Iterable[IndexedEntry]]:
    return lambda index, name: _follow_edges(index, f"{kind}:{name}")


_COLLECTORS: dict[str, Callable[[LedgerIndex, str], Iterable[IndexedEntry]]] = {
    "drop": _drop_entries,
    "dataset": _dataset_entries,
    "prediction": _prediction_entries,
    "model": _model_entries,
    **{kind: _kind_collector(kind) for kind in ("edition", "release", "candidate", "run")},
}
