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

from wellspring.records.trust import Entry, Logged
from wellspring.trust.ledger.index import Index

LEADS: dict[str, tuple[str, ...]] = {
    "predict": ("release", "edition", "key"),
    "propose": ("candidate", "person"),
    "approve": ("person",),
    "promote": ("person",),
    "rollback": ("person",),
    "gate": ("run",),
    "train": ("edition",),
    "publish": ("edition", "drop"),
}
"""The table above, by action."""


def walk(index: Index, subject: str) -> list[Logged] | None:
    """Collect the entries of a story, in the order of the tree; None for a kind of subject that has none."""
    kind, _, name = subject.partition(":")
    if kind not in _KINDS or not name:
        return None
    found = {one.index: one for one in _KINDS[kind](index, name)}
    return [found[place] for place in sorted(found)]


def kinds() -> str:
    """Say which subjects have a story."""
    return "drop:ID, edition:ID, dataset:NAME, prediction:ID, model:NAME@RELEASE, release:ID, candidate:ID or run:ID"


def known(index: Index, kind: str) -> list[str]:
    """List the subjects of a kind, to find the one that was meant; no answers, of which there are too many."""
    if kind == "prediction":
        return []
    if kind == "dataset":
        named = (one.entry.facts.get("contract") for one in index.entries(action="land"))
        return sorted({f"dataset:{one}" for one in named if isinstance(one, str)})
    if kind == "model":
        acts = [one.entry for one in index.entries(action="promote", phase="done")]
        return sorted({f"model:{_text(one, 'model')}@{one.subject.removeprefix('release:')}" for one in acts})
    return [one for one in index.subjects() if one.startswith(f"{kind}:")]


def _follow(index: Index, start: str) -> Iterator[Logged]:
    """Yield what is told of a thing, and of all that it leads to."""
    waiting, seen = [start], set[str]()
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        for logged in index.entries(subject=name):
            yield logged
            waiting += _leads(logged.entry)


def _leads(entry: Entry) -> Iterator[str]:
    to = LEADS.get(entry.action, ())
    yield from (ref.name for ref in entry.inputs if ref.name.partition(":")[0] in to)
    if entry.action == "predict" and isinstance(rows := entry.facts.get("editions"), dict):
        # Rows that a newer edition did not change still bear the name of the one that brought them.
        yield from (f"edition:{one}" for one in rows.values())
    if "person" in to:
        yield f"person:{_text(entry, 'person').removeprefix('user:')}"
    if "drop" in to:
        yield from (f"drop:{drop}" for drop in _drops(entry))
        if parent := _text(entry, "parent"):
            yield f"edition:{parent.removeprefix('edition:')}"


def _drop(index: Index, drop: str) -> Iterator[Logged]:
    yield from index.entries(subject=f"drop:{drop}")
    yield from _publishing(index, {drop})


def _dataset(index: Index, name: str) -> Iterator[Logged]:
    yield from index.entries(subject=f"dataset:{name}")
    drops: set[str] = set()
    for action in ("land", "admit"):
        for logged in index.entries(action=action):
            refs = (*logged.entry.inputs, *logged.entry.outputs)
            held = any(ref.name.startswith(f"contract:{name}@") for ref in refs)
            if held or logged.entry.facts.get("contract") == name:
                drops.add(logged.entry.subject.removeprefix("drop:"))
    for drop in sorted(drops):
        yield from index.entries(subject=f"drop:{drop}")
    yield from _publishing(index, drops)


def _prediction(index: Index, prediction: str) -> Iterator[Logged]:
    answers = index.entries(subject=f"prediction:{prediction}", action="predict")
    if not answers:
        return
    found = list(_follow(index, f"prediction:{prediction}"))
    for model in {_text(one.entry, "model") for one in answers}:
        found += _switches(index, model)
    told = {one.entry.id for one in found if one.index <= answers[-1].index and one.entry.phase == "intent"}
    # A promotion, or an edition on its way online, has effect from its intent on; what ends it may come after answers.
    yield from (one for one in found if one.index <= answers[-1].index or one.entry.intent in told)


def _model(index: Index, name: str) -> Iterator[Logged]:
    model, _, release = name.rpartition("@")
    acts = _switches(index, model)
    if any(one.entry.subject == f"release:{release}" for one in acts):
        yield from acts
        yield from _follow(index, f"release:{release}")


def _switches(index: Index, model: str) -> list[Logged]:
    """List what made releases of a model live: promotions and rollbacks, whole or not."""
    acts = [*index.entries(action="promote"), *index.entries(action="rollback")]
    return [one for one in acts if _text(one.entry, "model") == model]


def _publishing(index: Index, drops: set[str]) -> Iterator[Logged]:
    """Yield the publish entries of every edition that took in one of these drops, its intent and what settled it."""
    published = index.entries(action="publish")
    editions = {one.entry.subject for one in published if _drops(one.entry) & drops}
    yield from (one for one in published if one.entry.subject in editions)


def _drops(entry: Entry) -> set[str]:
    """Return the drops that a publish entry names, in its facts or by the rows that it took in."""
    named = entry.facts.get("drops")
    texts = [one for one in named if isinstance(one, str)] if isinstance(named, list) else list[str]()
    rows = [match[1] for ref in entry.inputs if (match := re.fullmatch(r"rows:(.+)/[0-9]+", ref.name))]
    return {*rows, *(one.removeprefix("drop:") for one in texts)}


def _text(entry: Entry, fact: str) -> str:
    value = entry.facts.get(fact)
    return value if isinstance(value, str) else ""


def _followed(kind: str) -> Callable[[Index, str], Iterable[Logged]]:
    return lambda index, name: _follow(index, f"{kind}:{name}")


_KINDS: dict[str, Callable[[Index, str], Iterable[Logged]]] = {
    "drop": _drop,
    "dataset": _dataset,
    "prediction": _prediction,
    "model": _model,
    **{kind: _followed(kind) for kind in ("edition", "release", "candidate", "run")},
}
