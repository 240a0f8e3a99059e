"""Replay recorded predictions: read the referenced rows, rebuild the feature vector, and compare the score bit by bit.

The rows come from the edition in the lake, because the online store holds only the newest rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from pydantic import JsonValue

from wellspring.data.features import point_in_time
from wellspring.errors import CorruptedError, NotFound
from wellspring.lake.lake import Lake
from wellspring.models.releases.release_context import build_release_ref
from wellspring.models.releases.store import ReleaseStore
from wellspring.query.port import QueryEngine
from wellspring.records.features import FeatureRow, FeatureViews
from wellspring.records.models import Release
from wellspring.records.record import Digest
from wellspring.records.trust import Entry, Ref
from wellspring.serving.prediction import encode_output_facts
from wellspring.serving.scorer import Scorer
from wellspring.trust.approvals import LedgerEntries


class ReproductionResult(NamedTuple):
    """The outcome of one replay. first_difference: the first value that differs, or ''. score: float.hex text."""

    prediction: str
    equal: bool
    first_difference: str
    model: str
    release: str
    edition: str
    vector_digest: Digest
    score: str
    decision: str


class _RecordedPrediction(NamedTuple):
    """The content of a predict entry. rows: row references by view, without values. output: its numbers, exactly."""

    prediction: str
    release: Release
    edition: str
    rows: dict[str, FeatureRow]
    vector_digest: Digest
    output: dict[str, JsonValue]
    decision: str


class PredictionReplayer:
    """Replay predictions in batches; each table is read once per batch."""

    def __init__(
        self,
        *,
        index: LedgerEntries,
        lake: Lake,
        engine: QueryEngine,
        release_store: ReleaseStore,
        load_scorer: Callable[[Release], Scorer],
        views_by_digest: Callable[[Digest], FeatureViews],
    ) -> None:
        self._index = index
        self._lake = lake
        self._engine = engine
        self._release_store = release_store
        self._load_scorer = load_scorer
        self._views_by_digest = views_by_digest
        self._scorers: dict[str, Scorer] = {}

    def replay(self, prediction_id: str) -> ReproductionResult:
        """Replay one prediction. Raises NotFound, and CorruptedError for an invalid entry, release or file."""
        return self.replay_all([prediction_id])[0]

    def replay_all(self, prediction_ids: Sequence[str]) -> list[ReproductionResult]:
        """Replay many predictions; the results have the same order."""
        recorded_predictions = [
            self._read_recorded(prediction_id.removeprefix("prediction:")) for prediction_id in prediction_ids
        ]
        rows_by_prediction = self._find_rows(recorded_predictions)
        return [
            self._compare_scored(recorded_prediction, rows)
            for recorded_prediction, rows in zip(recorded_predictions, rows_by_prediction, strict=True)
        ]

    def _read_recorded(self, prediction_id: str) -> _RecordedPrediction:
        recorded = self._index.list_entries(subject=f"prediction:{prediction_id}", action="predict", phase="done")
        if not recorded:
            raise NotFound(
                f"the ledger has no prediction {prediction_id[:40]!a}",
                fix="the next run integrates new predictions into the ledger; retry after it",
            )
        entry = recorded[0].entry
        if len(recorded) > 1:
            raise CorruptedError(f"the ledger has {len(recorded)} predict entries for {entry.subject}", fix=_STOP_FIX)
        release = self._release_store.get(_single_ref(entry, entry.inputs, "release").name.removeprefix("release:"))
        if build_release_ref(release) not in entry.inputs:
            raise CorruptedError(
                f"{entry.id} names a digest of {release.subject} that differs from the stored release", fix=_STOP_FIX
            )
        edition = _single_ref(entry, entry.inputs, "edition").name.removeprefix("edition:")
        edition_by_view = entry.facts.get("editions")
        edition_by_view = edition_by_view if isinstance(edition_by_view, dict) else {}
        views = entry.facts.get("views")
        if not isinstance(views, dict):
            raise CorruptedError(f"{entry.id} does not name the rows of the prediction", fix=_STOP_FIX)
        return _RecordedPrediction(
            prediction_id,
            release,
            edition,
            {
                name: _parse_row_reference(entry, name, reference, str(edition_by_view.get(name, edition)))
                for name, reference in views.items()
            },
            str(_single_ref(entry, entry.inputs, "vector").digest),
            {name: entry.facts[name] for name in _OUTPUT_FACTS if name in entry.facts},
            str(entry.facts.get("decision")),
        )

    def _find_rows(self, recorded_predictions: Sequence[_RecordedPrediction]) -> list[dict[str, FeatureRow | None]]:
        """Find the rows of all predictions, with one query for each view and edition."""
        rows_by_prediction: list[dict[str, FeatureRow | None]] = [{} for _ in recorded_predictions]
        groups: dict[tuple[str, str, Digest], list[int]] = {}
        for position, recorded in enumerate(recorded_predictions):
            for name, row in recorded.rows.items():
                groups.setdefault((name, row.edition, recorded.release.views), []).append(position)
        for (name, edition_id, digest), positions in groups.items():
            view = self._views_by_digest(digest).find_view(name)
            edition = self._lake.get_edition(edition_id)
            if view is None or edition is None:
                raise CorruptedError(
                    f"a prediction uses the view {name}, which its release does not define", fix=_STOP_FIX
                )
            rows = point_in_time.rows_at_version(
                view,
                self._lake.open_table(edition, view.table),
                [recorded_predictions[position].rows[name] for position in positions],
                engine=self._engine,
            )
            for position, row in zip(positions, rows, strict=True):
                rows_by_prediction[position][name] = row
        return rows_by_prediction

    def _compare_scored(self, recorded: _RecordedPrediction, rows: dict[str, FeatureRow | None]) -> ReproductionResult:
        if recorded.release.id not in self._scorers:
            self._scorers[recorded.release.id] = self._load_scorer(recorded.release)
        scorer = self._scorers[recorded.release.id]
        scored_row = scorer.score(rows, include_reasons=False)
        output = encode_output_facts(scored_row.output)
        score, recorded_score = str(output["score"]), str(recorded.output.get("score"))
        missing = [name for name in scorer.spec.keys if rows.get(name) is None]
        if missing:
            first_difference = f"the row of {missing[0]}: it is missing from its edition"
        elif scored_row.vector_digest != recorded.vector_digest:
            first_difference = "the vector: the values of its rows have changed since the prediction"
        elif score != recorded_score:
            first_difference = f"the score: it was {_format_score(recorded_score)}, and is {_format_score(score)}"
        elif different := [name for name in _OUTPUT_FACTS if output.get(name) != recorded.output.get(name)]:
            first_difference = f"the {different[0]}: its numbers differ from the recorded ones"
        elif scored_row.decision != recorded.decision:
            first_difference = f"the decision: it was {recorded.decision!a}, and is {scored_row.decision!a}"
        else:
            first_difference = ""
        return ReproductionResult(
            recorded.prediction,
            not first_difference,
            first_difference,
            recorded.release.model,
            recorded.release.id,
            recorded.edition,
            scored_row.vector_digest,
            score,
            scored_row.decision,
        )


def _single_ref(entry: Entry, refs: Iterable[Ref], kind: str) -> Ref:
    matches = [ref for ref in refs if ref.name.startswith(f"{kind}:")]
    if len(matches) != 1:
        raise CorruptedError(f"{entry.id} names {len(matches)} references of kind {kind}; expected 1", fix=_STOP_FIX)
    return matches[0]


def _parse_row_reference(entry: Entry, view: str, reference: object, edition: str) -> FeatureRow:
    """Parse the row reference of an entry. Raises CorruptedError."""
    match reference:
        case [str() as known_since, int() as sequence, *key] if key and all(isinstance(token, str) for token in key):
            try:
                instant = datetime.strptime(known_since, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC)
            except ValueError:
                pass
            else:
                return FeatureRow(view, tuple(map(str, key)), {}, instant, sequence, edition)
    raise CorruptedError(f"{entry.id} has an invalid row reference for {view}", fix=_STOP_FIX)


def _format_score(score: str) -> str:
    try:
        return repr(float.fromhex(score))
    except ValueError:
        return "an invalid number"


_OUTPUT_FACTS = ("score", "interval", "probabilities")
_STOP_FIX = "keep all files, and run `wellspring ledger verify`"
