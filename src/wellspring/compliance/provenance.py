"""Collect the entries of a subject's story by following the references of each entry back to the drops.

| an entry of        | leads, by its                  | to the entries about      |
|--------------------|--------------------------------|---------------------------|
| predict            | inputs, fact `editions`        | release, edition, key     |
| propose            | inputs; fact `user`            | candidate; user           |
| approve            | fact `user`                    | user                      |
| promote, rollback, deploy, undeploy | fact `user`   | user                      |
| activate           | fact `user`                    | user                      |
| gate               | inputs                         | run                       |
| train              | inputs                         | edition                   |
| evaluate           | inputs                         | edition, run              |
| publish            | inputs, facts `parent`, `drops`| edition, drop             |

Each story has the entries that say in which mode the project was. Of the other releases of a model, only the changes of
its deployment are included. The story of a prediction has no entry after the prediction, so it is sealed once.

The story of a pipeline, which has the name of its source, has the newest landed edition with a drop of that source, the
newest built edition, the builds of both, and every entry about the contracts of that source.

An edition that is sealed is referred to as a part of the story, and its entries are not collected again. The story of a
dataset refers to its own latest part, and has what came after it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from wellspring.compliance.sealed_parts import SealedParts, StoryPart
from wellspring.records.trust import Entry, IndexedEntry
from wellspring.trust.ledger.index import LedgerIndex
from wellspring.trust.modes import MODE_ACTION

DEPLOYMENT_ACTIONS = ("promote", "rollback", "deploy", "undeploy")
"""Actions that change which releases of a model may answer."""
PROVENANCE_EDGES: dict[str, tuple[str, ...]] = {
    "predict": ("release", "edition", "key"),
    "propose": ("candidate", "user"),
    "approve": ("user",),
    "promote": ("user",),
    "activate": ("user",),
    "rollback": ("user",),
    "deploy": ("user",),
    "undeploy": ("user",),
    "gate": ("run",),
    "train": ("edition",),
    "evaluate": ("edition", "run"),
    "publish": ("edition", "drop"),
}
"""The table above, by action."""


_DROP_ACTIONS = (
    "land", "admit", "stage", "settle", "alert", "expire", "withdraw", "rejudge", "discard", "finding",
    "backfill",
)  # fmt: skip
"""Actions about a drop, by which the story of a dataset finds the drops with new entries."""


class CollectedStory(NamedTuple):
    """The entries of a story, in tree order, and the sealed parts that have its other entries."""

    entries: list[IndexedEntry]
    parts: tuple[StoryPart, ...]


def collect_entries(index: LedgerIndex, subject: str) -> list[IndexedEntry] | None:
    """Collect all entries of a story, in tree order; None for a kind of subject that has no story."""
    collected = collect_with_parts(index, subject, None)
    return None if collected is None else collected.entries


def collect_with_parts(index: LedgerIndex, subject: str, sealed: SealedParts | None) -> CollectedStory | None:
    """Collect the entries of a story that no sealed part has, and those parts; None for a kind without a story."""
    kind, _, name = subject.partition(":")
    if kind not in _COLLECTORS or not name:
        return None
    entries_by_index, parts = dict[int, IndexedEntry](), dict[StoryPart, None]()
    for item in _COLLECTORS[kind](_StorySource(index, sealed), name):
        if isinstance(item, StoryPart):
            parts[item] = None
        else:
            entries_by_index[item.index] = item
    if entries_by_index and kind != "prediction":
        entries_by_index |= {mode.index: mode for mode in index.list_entries(action=MODE_ACTION)}
    return CollectedStory([entries_by_index[tree_index] for tree_index in sorted(entries_by_index)], tuple(parts))


class _StorySource(NamedTuple):
    """Where a story is collected from. sealed: None to collect every entry. limit: no part was sealed after it."""

    index: LedgerIndex
    sealed: SealedParts | None
    limit: int | None = None

    def find_part(self, subject: str) -> StoryPart | None:
        if self.sealed is None or not subject.startswith("edition:"):
            return None
        return self.sealed.find_first(subject, limit=self.limit)


def describe_subject_kinds() -> str:
    """Describe the subjects that have a story, for a message."""
    return (
        "drop:ID, edition:ID, dataset:NAME, pipeline:SOURCE, prediction:ID, model:NAME@RELEASE, release:ID, "
        "candidate:ID or run:ID"
    )


def list_subjects_of_kind(index: LedgerIndex, kind: str) -> list[str]:
    """List the subjects of a kind, to suggest the nearest name; none for predictions, which are too many."""
    if kind == "prediction":
        return []
    if kind == "dataset":
        contract_names = (indexed.entry.facts.get("contract") for indexed in index.list_entries(action="land"))
        return sorted({f"dataset:{name}" for name in contract_names if isinstance(name, str)})
    if kind == "pipeline":
        landings = [indexed.entry for indexed in index.list_entries(action="land")]
        return sorted({f"pipeline:{_source_of(landing.subject)}" for landing in landings})
    if kind == "model":
        promotions = [indexed.entry for indexed in index.list_entries(action="promote", phase="done")]
        return sorted(
            {
                f"model:{promotion.text('model')}@{promotion.subject.removeprefix('release:')}"
                for promotion in promotions
            }
        )
    return [subject for subject in index.list_subjects() if subject.startswith(f"{kind}:")]


def _follow_edges(source: _StorySource, start: str) -> Iterator[IndexedEntry | StoryPart]:
    """Yield the entries of a subject, and of every subject that they lead to; a sealed edition is yielded as a part."""
    pending, visited = [start], set[str]()
    while pending:
        name = pending.pop()
        if name in visited:
            continue
        visited.add(name)
        if name != start and (part := source.find_part(name)) is not None:
            yield part
            continue
        for indexed in source.index.list_entries(subject=name):
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


def _drop_entries(source: _StorySource, drop: str) -> Iterator[IndexedEntry]:
    entries = source.index.list_entries(subject=f"drop:{drop}")
    yield from entries
    # A drop is published after it landed.
    yield from _publish_entries(source.index, {drop}, after=entries[0].index if entries else 0)


def _dataset_entries(source: _StorySource, name: str) -> Iterator[IndexedEntry | StoryPart]:
    index = source.index
    latest = None if source.sealed is None else source.sealed.find_latest(f"dataset:{name}")
    if latest is not None:
        yield latest
    after = 0 if latest is None else latest.size
    yield from index.list_entries(subject=f"dataset:{name}", after=after)
    changed = {
        indexed.entry.subject: None
        for action in _DROP_ACTIONS
        for indexed in index.list_entries(action=action, after=after)
        if indexed.entry.subject.startswith("drop:")
    }
    drops: set[str] = set()
    for subject in changed:
        entries = index.list_entries(subject=subject)
        if any(_names_contract(indexed.entry, name) for indexed in entries):
            drops.add(subject.removeprefix("drop:"))
            yield from entries
    yield from _publish_entries(index, drops, after=after)


def _pipeline_entries(source: _StorySource, name: str) -> Iterator[IndexedEntry | StoryPart]:
    """Yield what brought the rows of a source where they are: its newest editions, builds and contracts."""
    index = source.index
    published = [indexed.entry for indexed in index.list_entries(action="publish", phase="done")]
    built = [entry for entry in published if entry.text("level") == "built"]
    landed = [entry for entry in published if name in {_source_of(drop) for drop in _published_drops(entry)}]
    if not landed:
        return
    editions = dict.fromkeys(entry.subject for entry in (*landed[-1:], *built[-1:]))
    for edition in editions:
        part = source.find_part(edition)
        yield from _follow_edges(source, edition) if part is None else (part,)
    built_from = {*editions, *(f"edition:{entry.text('parent')}" for entry in built[-1:])}
    for indexed in index.list_entries(action="transform"):
        if any(ref.name in built_from for ref in indexed.entry.inputs):
            yield indexed
    contracts = {
        indexed.entry.text("contract")
        for indexed in index.list_entries(action="land")
        if _source_of(indexed.entry.subject) == name
    }
    for subject in index.list_subjects():
        if subject.startswith("contract:") and subject.removeprefix("contract:").partition("@")[0] in contracts:
            yield from index.list_entries(subject=subject)


def _source_of(drop: str) -> str:
    """Return the source of a drop: its id is the source, and twelve digits of its digest."""
    return drop.removeprefix("drop:").rpartition("-")[0]


def _names_contract(entry: Entry, name: str) -> bool:
    """Return whether an entry about a drop names a contract: it landed for it, or was validated against it."""
    if entry.action not in {"land", "admit"}:
        return False
    refs = (*entry.inputs, *entry.outputs)
    return entry.facts.get("contract") == name or any(ref.name.startswith(f"contract:{name}@") for ref in refs)


def _prediction_entries(source: _StorySource, prediction: str) -> Iterator[IndexedEntry | StoryPart]:
    index = source.index
    predictions = index.list_entries(subject=f"prediction:{prediction}", action="predict")
    if not predictions:
        return
    last_index = predictions[-1].index
    collected: list[IndexedEntry] = []
    for item in _follow_edges(source._replace(limit=last_index), f"prediction:{prediction}"):
        if isinstance(item, StoryPart):
            yield item
        else:
            collected.append(item)
    for model in {indexed.entry.text("model") for indexed in predictions}:
        collected += _live_changes(index, model)
    collected += index.list_entries(action=MODE_ACTION)
    intent_ids = {
        indexed.entry.id for indexed in collected if indexed.index <= last_index and indexed.entry.phase == "intent"
    }
    # A promotion or materialization has effect from its intent on; its last entry may come after the prediction.
    yield from (indexed for indexed in collected if indexed.index <= last_index or indexed.entry.intent in intent_ids)


def _model_entries(source: _StorySource, name: str) -> Iterator[IndexedEntry | StoryPart]:
    model, _, release = name.rpartition("@")
    live_changes = _live_changes(source.index, model)
    if any(change.entry.subject == f"release:{release}" for change in live_changes):
        yield from live_changes
        yield from _follow_edges(source, f"release:{release}")


def _live_changes(index: LedgerIndex, model: str) -> list[IndexedEntry]:
    """List the changes of a model's deployment, in every phase."""
    changes = [change for action in DEPLOYMENT_ACTIONS for change in index.list_entries(action=action)]
    return [change for change in changes if change.entry.text("model") == model]


def _publish_entries(index: LedgerIndex, drops: set[str], *, after: int) -> Iterator[IndexedEntry]:
    """Yield the publish entries from an index on, in every phase, of each edition that contains one of these drops."""
    published = index.list_entries(action="publish", after=after) if drops else []
    editions = {indexed.entry.subject for indexed in published if _published_drops(indexed.entry) & drops}
    yield from (indexed for indexed in published if indexed.entry.subject in editions)


def _published_drops(entry: Entry) -> set[str]:
    """Return the drops that a publish entry names, in its facts or by its input rows."""
    drops_fact = entry.facts.get("drops")
    named = [drop for drop in drops_fact if isinstance(drop, str)] if isinstance(drops_fact, list) else list[str]()
    rows = [match[1] for ref in entry.inputs if (match := re.fullmatch(r"rows:(.+)/[0-9]+", ref.name))]
    return {*rows, *(drop.removeprefix("drop:") for drop in named)}


def _kind_collector(kind: str) -> Callable[[_StorySource, str], Iterable[IndexedEntry | StoryPart]]:
    return lambda source, name: _follow_edges(source, f"{kind}:{name}")


_COLLECTORS: dict[str, Callable[[_StorySource, str], Iterable[IndexedEntry | StoryPart]]] = {
    "drop": _drop_entries,
    "dataset": _dataset_entries,
    "pipeline": _pipeline_entries,
    "prediction": _prediction_entries,
    "model": _model_entries,
    **{kind: _kind_collector(kind) for kind in ("edition", "release", "candidate", "run")},
}
