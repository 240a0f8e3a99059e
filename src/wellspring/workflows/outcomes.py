"""Outcomes: from the predictions in the log and the labels of the newest built edition to two tables of the lake."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, NamedTuple

from wellspring.data.features.views import load_views_by_digest
from wellspring.models.outcomes.outcome_rows import OUTCOME_TABLE, OutcomeInputs, find_new_outcomes, outcome_schema
from wellspring.models.outcomes.prediction_rows import PREDICTION_TABLE, build_prediction_rows
from wellspring.models.spec.artifact import read_artifact
from wellspring.models.spec.definition import list_models
from wellspring.models.spec.definition_process import read_model_definition
from wellspring.records.trust import Ref
from wellspring.workflows.ingest import WorkflowProgress

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa

    from wellspring.bootstrap import ModelPorts, Platform, ReadPorts
    from wellspring.models.spec.definition import ModelDefinition
    from wellspring.records.features import FeatureViews
    from wellspring.records.lake import Edition

_ACTION = "record_rows"


class RecordedOutcomes(NamedTuple):
    """What one run recorded: new rows of each table. log_position: up to which predictions are recorded."""

    predictions: int
    outcomes: int
    log_position: int


def record_outcomes(platform: Platform, models: ModelPorts, *, progress: WorkflowProgress) -> RecordedOutcomes:
    """Append the new predictions of the log to the table `prediction`, and the labels that became known to `outcome`.

    A run that a crash interrupted is completed by the next one: the tables say how far they are complete.
    """
    platform.sequencer.integrate()
    _settle_interrupted_appends(platform)
    position = platform.ledger.tree.size - 1
    progress("predictions", 0, 1)
    predictions = _record_predictions(platform, models, position)
    progress("outcomes", 0, 1)
    outcomes = _record_labels(platform, position)
    platform.sequencer.integrate()
    return RecordedOutcomes(predictions, outcomes, position)


def summarize_outcomes(platform: Platform | ReadPorts) -> list[dict[str, str | int]]:
    """Count the recorded predictions of each model and those with an outcome."""
    predictions = platform.recorded_tables.read_rows(PREDICTION_TABLE, ["prediction_id", "model"])
    outcomes = platform.recorded_tables.read_rows(OUTCOME_TABLE, ["prediction_id"])
    if predictions is None:
        return []
    with_outcome = set() if outcomes is None else set(outcomes["prediction_id"].to_pylist())
    counts: dict[str, list[int]] = {}
    for prediction_id, model in zip(
        predictions["prediction_id"].to_pylist(), predictions["model"].to_pylist(), strict=True
    ):
        count = counts.setdefault(model, [0, 0])
        count[0] += 1
        count[1] += prediction_id in with_outcome
    return [
        {"model": model, "predictions": total, "with_outcome": labelled}
        for model, (total, labelled) in sorted(counts.items())
    ]


def _record_predictions(platform: Platform, models: ModelPorts, position: int) -> int:
    state = platform.recorded_tables.read_state(PREDICTION_TABLE)
    entries = platform.ledger.index.iter_entries(action="predict", phase="done", after=state.position + 1)
    first = next(entries, None)
    if first is None or first.index > position:
        return 0

    def load_views(release_id: str) -> tuple[FeatureViews, Sequence[str]]:
        release = models.releases.release_store.get(release_id)
        spec = read_artifact(
            release.artifact, objects=models.store.objects, paths=models.store.paths, keys=models.store.keys
        ).spec
        key_columns = dict.fromkeys(column for columns in spec.keys.values() for column in columns)
        return load_views_by_digest(platform.project.lake_dir / "views", release.views), tuple(key_columns)

    new_entries = itertools.takewhile(lambda indexed: indexed.index <= position, itertools.chain([first], entries))
    rows = build_prediction_rows(new_entries, load_views)
    return _append(platform, PREDICTION_TABLE, rows, position) - state.rows


def _record_labels(platform: Platform, position: int) -> int:
    edition = platform.lake.get_edition(level="built")
    predictions = platform.recorded_tables.read_rows(
        PREDICTION_TABLE, ["prediction_id", "model", "predicted_at", "keys"]
    )
    folder = platform.project.source_paths.get("models")
    if edition is None or predictions is None or folder is None:
        return 0
    recorded = platform.recorded_tables.read_rows(OUTCOME_TABLE)
    new_rows = [
        _find_outcomes(
            platform,
            read_model_definition(folder, name, platform.project_code),
            predictions,
            recorded,
            edition,
        )
        for name in list_models(folder)
    ]
    rows = [table for table in new_rows if table is not None and table.num_rows]
    if not rows:
        return 0
    state = platform.recorded_tables.read_state(OUTCOME_TABLE)
    batches = [batch for table in rows for batch in table.to_batches()]
    return _append(platform, OUTCOME_TABLE, _read_batches(batches), position) - state.rows


def _find_outcomes(
    platform: Platform, model: ModelDefinition, predictions: pa.Table, recorded: pa.Table | None, edition: Edition
) -> pa.Table | None:
    if model.label.table not in {table.table for table in edition.tables}:
        return None
    labels = platform.lake.read_table(
        edition, model.label.table, [*model.keys, model.label.column, "known_since", "sequence"]
    )
    return find_new_outcomes(model, OutcomeInputs(predictions, labels, recorded, edition.id))


def _append(platform: Platform, table: str, rows: pa.RecordBatchReader, position: int) -> int:
    """Append rows under an intent, and return the number of rows of the table."""
    with platform.step(_ACTION, f"dataset:{table}", intent=True, facts={"position": position}) as act:
        platform.step.crash_point("workflows.outcomes:intent")
        snapshot = platform.recorded_tables.append_rows(table, rows, position)
        platform.step.crash_point("workflows.outcomes:appended")
        act.add_outputs(Ref(name=f"snapshot:{table}@{snapshot.snapshot_id}"))
        act.add_facts(rows=snapshot.rows)
    return snapshot.rows


def _settle_interrupted_appends(platform: Platform) -> None:
    """Complete the intents that a crash left open: the table tells whether its rows were appended."""
    for indexed in platform.ledger.index.list_open_intents():
        entry = indexed.entry
        if entry.action != _ACTION:
            continue
        state = platform.recorded_tables.read_state(entry.subject.removeprefix("dataset:"))
        appended = state.position >= entry.count("position")
        platform.step.complete_after_crash(
            _ACTION, entry.subject, entry.id, facts={"recovered": True, "appended": appended}
        )
        platform.sequencer.integrate()


def _read_batches(batches: list[pa.RecordBatch]) -> pa.RecordBatchReader:
    import pyarrow as pa

    return pa.RecordBatchReader.from_batches(outcome_schema(), batches)
