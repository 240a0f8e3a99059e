"""An answer, given again: the rows that it names, the vector made of them, and the score, equal to the last bit.

The rows come out of the lake's edition and not out of the online store, which knows only the newest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from wellspring.data import joins
from wellspring.data.lake import Lake
from wellspring.data.materialize import source
from wellspring.errors import Broken, NotFound
from wellspring.models.predict import Scorer
from wellspring.models.release import Releases, pinned
from wellspring.records.data import FeatureRow, Views
from wellspring.records.models import Release
from wellspring.records.record import Digest
from wellspring.records.trust import Entry, Ref
from wellspring.trust.approvals import Ledger
from wellspring_verify import promise


class Replayed(NamedTuple):
    """What came of it. differs: the first thing that is not as it was told, '' when all is. score: float.hex."""

    prediction: str
    equal: bool
    differs: str
    model: str
    release: str
    edition: str
    vector: Digest
    score: str
    decision: str


class _Said(NamedTuple):
    """What a predict entry says. rows: by view, where to find each; their values are not known yet."""

    prediction: str
    release: Release
    edition: str
    rows: dict[str, FeatureRow]
    vector: Digest
    score: str
    decision: str


class Replayer:
    """Gives answers again, many of them with one look at each table. load: `Scorer.load`, bound; views: by digest."""

    def __init__(
        self,
        *,
        index: Ledger,
        lake: Lake,
        releases: Releases,
        load: Callable[[Release], Scorer],
        views: Callable[[Digest], Views],
    ) -> None:
        self._index = index
        self._lake = lake
        self._releases = releases
        self._load = load
        self._views = views
        self._scorers: dict[str, Scorer] = {}

    def replay(self, prediction: str) -> Replayed:
        """Give one answer again. Raises NotFound, and Broken for an entry, a release or a file that is not whole."""
        return self.replay_all([prediction])[0]

    def replay_all(self, predictions: Sequence[str]) -> list[Replayed]:
        """Give many answers again, in the order asked."""
        said = [self._said(each.removeprefix("prediction:")) for each in predictions]
        found = self._rows(said)
        return [self._judged(each, rows) for each, rows in zip(said, found, strict=True)]

    def _said(self, prediction: str) -> _Said:
        told = self._index.entries(subject=f"prediction:{prediction}", action="predict", phase="done")
        if not told:
            raise NotFound(
                f"the ledger has no answer {prediction[:40]!a}",
                fix="answers are in the ledger when the next run has taken them in; then try again",
            )
        entry = told[0].entry
        if len(told) > 1:
            raise Broken(f"the ledger tells {len(told)} answers of {entry.subject}", fix=_STOP)
        release = self._releases.get(_one(entry, entry.inputs, "release").name.removeprefix("release:"))
        if pinned(release) not in entry.inputs:
            raise Broken(f"{entry.id} names {release.subject} with another digest than it has", fix=_STOP)
        edition = _one(entry, entry.inputs, "edition").name.removeprefix("edition:")
        elsewhere = entry.facts.get("editions")
        elsewhere = elsewhere if isinstance(elsewhere, dict) else {}
        views = entry.facts.get("views")
        if not isinstance(views, dict):
            raise Broken(f"{entry.id} does not say which rows it rests on", fix=_STOP)
        return _Said(
            prediction,
            release,
            edition,
            {name: _row(entry, name, told, str(elsewhere.get(name, edition))) for name, told in views.items()},
            str(_one(entry, entry.inputs, "vector").digest),
            str(entry.facts.get("score")),
            str(entry.facts.get("decision")),
        )

    def _rows(self, said: Sequence[_Said]) -> list[dict[str, FeatureRow | None]]:
        """Find the rows of all answers: those of one view and edition at once."""
        found: list[dict[str, FeatureRow | None]] = [{} for _ in said]
        groups: dict[tuple[str, str, Digest], list[int]] = {}
        for place, each in enumerate(said):
            for name, row in each.rows.items():
                groups.setdefault((name, row.edition, each.release.views), []).append(place)
        for (name, edition_id, digest), places in groups.items():
            view = self._views(digest).view(name)
            edition = self._lake.edition(edition_id)
            if view is None or edition is None:
                raise Broken(f"an answer rests on the view {name}, which its release does not have", fix=_STOP)
            rows = joins.exactly(
                view, source(self._lake, edition, view.table), [said[place].rows[name] for place in places]
            )
            for place, row in zip(places, rows, strict=True):
                found[place][name] = row
        return found

    def _judged(self, said: _Said, rows: dict[str, FeatureRow | None]) -> Replayed:
        if said.release.id not in self._scorers:
            self._scorers[said.release.id] = self._load(said.release)
        scorer = self._scorers[said.release.id]
        scored = scorer.score(rows, reasons=False)
        score = promise.exact(scored.score)
        missing = [name for name in scorer.recipe.keys if rows.get(name) is None]
        if missing:
            differs = f"the row of {missing[0]}: its edition does not hold it"
        elif scored.vector_digest != said.vector:
            differs = "the vector: its rows hold other values than when it was answered"
        elif score != said.score:
            differs = f"the score: it was {_decimal(said.score)}, and is {_decimal(score)}"
        elif scored.decision != said.decision:
            differs = f"the decision: it was {said.decision!a}, and is {scored.decision!a}"
        else:
            differs = ""
        return Replayed(
            said.prediction,
            not differs,
            differs,
            said.release.model,
            said.release.id,
            said.edition,
            scored.vector_digest,
            score,
            scored.decision,
        )


def _one(entry: Entry, refs: Iterable[Ref], kind: str) -> Ref:
    found = [each for each in refs if each.name.startswith(f"{kind}:")]
    if len(found) != 1:
        raise Broken(f"{entry.id} names {len(found)} things of the kind {kind}, not one", fix=_STOP)
    return found[0]


def _row(entry: Entry, view: str, told: object, edition: str) -> FeatureRow:
    """Read which row an entry names. Raises Broken."""
    match told:
        case [str() as known_since, int() as sequence, *key] if key and all(isinstance(each, str) for each in key):
            try:
                at = datetime.strptime(known_since, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC)
            except ValueError:
                pass
            else:
                return FeatureRow(view, tuple(map(str, key)), {}, at, sequence, edition)
    raise Broken(f"{entry.id} names a row of {view} that cannot be looked for", fix=_STOP)


def _decimal(score: str) -> str:
    try:
        return repr(float.fromhex(score))
    except ValueError:
        return "no number"


_STOP = "keep everything, and verify the ledger with `wellspring ledger verify`"
