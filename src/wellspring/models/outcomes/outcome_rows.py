"""The table `outcome`: the truth of predictions, one row for each label that became known after its prediction.

A label that is corrected later is a new row with a later `label_known_since`; the newest row of a prediction is its
outcome. Labels that were known before the prediction are left out: the model could have seen them.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import pyarrow as pa

    from wellspring.models.spec.definition import ModelDefinition

OUTCOME_TABLE = "outcome"
KNOWN_SINCE, SEQUENCE = "known_since", "sequence"


class OutcomeInputs(NamedTuple):
    """What outcomes are computed from. recorded: the outcomes so far, None before the first; edition: of the labels."""

    predictions: pa.Table
    labels: pa.Table
    recorded: pa.Table | None
    edition: str


def outcome_schema() -> pa.Schema:
    """Return the Arrow schema of the table; label: the value of the label column, as text."""
    import pyarrow as pa

    text, instant = pa.string(), pa.timestamp("us", tz="UTC")
    return pa.schema(
        [
            ("prediction_id", text),
            ("model", text),
            ("label", text),
            ("label_known_since", instant),
            ("label_edition", text),
        ]
    )


def find_new_outcomes(model: ModelDefinition, inputs: OutcomeInputs) -> pa.Table:
    """Join the newest label to each prediction of a model, and return those that are not recorded yet.

    predictions: rows of the table `prediction`. labels: the model's label table, with its keys.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    keys = list(model.keys)
    predictions = _expand_keys(inputs.predictions.filter(pc.equal(inputs.predictions["model"], model.name)), keys)
    labels = inputs.labels.select([*keys, model.label.column, KNOWN_SINCE, SEQUENCE])
    texts = pc.cast(labels[model.label.column], pa.string())
    labels = labels.set_column(labels.schema.get_field_index(model.label.column), model.label.column, texts)
    labels = labels.filter(pc.is_valid(texts))
    newest = _newest_labels(labels, keys)
    joined = predictions.join(newest, keys=keys, join_type="inner")
    instant = pa.timestamp("us", tz="UTC")
    rows = pa.table(
        {
            "prediction_id": joined["prediction_id"],
            "model": pa.array([model.name] * joined.num_rows, pa.string()),
            "label": joined[model.label.column],
            "label_known_since": pc.cast(joined[KNOWN_SINCE], instant),
            "label_edition": pa.array([inputs.edition] * joined.num_rows, pa.string()),
            "predicted_at": pc.cast(joined["predicted_at"], instant),
        }
    )
    rows = rows.filter(pc.greater(rows["label_known_since"], rows["predicted_at"])).drop_columns(["predicted_at"])
    if inputs.recorded is not None and inputs.recorded.num_rows:
        earlier = inputs.recorded.select(["prediction_id", "label", "label_known_since"])
        rows = rows.join(earlier, keys=earlier.column_names, join_type="left anti")
    return rows.select(outcome_schema().names).cast(outcome_schema()).sort_by("prediction_id")


def _newest_labels(labels: pa.Table, keys: list[str]) -> pa.Table:
    """Return the newest label of each key."""
    import pyarrow as pa

    ordered = labels.sort_by([(KNOWN_SINCE, "descending"), (SEQUENCE, "descending")])
    numbered = ordered.select(keys).append_column("position", pa.array(range(ordered.num_rows), pa.int64()))
    return ordered.take(numbered.group_by(keys).aggregate([("position", "min")])["position_min"])


def _expand_keys(predictions: pa.Table, keys: list[str]) -> pa.Table:
    """Replace the JSON of the tokens by a column for each key."""
    import pyarrow as pa

    parsed: list[dict[str, Any]] = [json.loads(text) for text in predictions["keys"].to_pylist()]
    columns = {key: pa.array([item.get(key) for item in parsed], pa.string()) for key in keys}
    return pa.table(
        {**columns, "prediction_id": predictions["prediction_id"], "predicted_at": predictions["predicted_at"]}
    )
