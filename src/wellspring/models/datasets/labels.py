"""Join the label of each row as it was known at some instant, and encode it by the model's task."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from wellspring.data.features.views import KNOWN_SINCE_COLUMN, SEQUENCE_COLUMN
from wellspring.errors import ProjectError
from wellspring.models.spec.definition import ModelDefinition
from wellspring.models.tasks.port import TaskLabels

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

    Array = np.ndarray[Any, Any]

_JOINED_COLUMN = "label"
_NEVER_MICROS = 2**63 - 1


def require_label_type(model: ModelDefinition, label_table: pa.Table) -> None:
    """Raise ProjectError unless the label has a type that the task accepts."""
    label_type = label_table.schema.field(model.label.column).type
    if (error := model.task.label_type_error(label_type)) is not None:
        raise ProjectError(
            f"{model.label.table}.{model.label.column} is {label_type}; {error}",
            fix="cast it in the dbt model, or choose another task",
        )


def encode_labels(model: ModelDefinition, values: pa.ChunkedArray, train_rows: Array, test_rows: Array) -> TaskLabels:
    """Encode the labels by the task. Raises ProjectError for labels of train or test rows that it does not accept."""
    import numpy as np

    try:
        return model.task.encode_labels(values, np.concatenate([train_rows, test_rows]))
    except ValueError as exc:
        raise ProjectError(
            f"{model.label.table}.{model.label.column} {exc}", fix="correct it in the dbt model, or choose another task"
        ) from None


def find_present(labels: pa.ChunkedArray) -> Array:
    """Return which rows have a label."""
    import numpy as np
    import pyarrow.compute as pc

    return np.asarray(pc.is_valid(labels).combine_chunks().to_numpy(zero_copy_only=False), dtype=bool)


def first_label_instants(model: ModelDefinition, joined_rows: pa.Table, label_table: pa.Table) -> Array:
    """Return when the first label of each row was known, in microseconds; a far future instant without a label."""
    import numpy as np
    import pyarrow.compute as pc

    instants = pc.cast(join_labels(model, joined_rows, label_table, KNOWN_SINCE_COLUMN, "ascending"), "int64")
    return np.asarray(pc.fill_null(instants, _NEVER_MICROS).combine_chunks())


def join_labels(
    model: ModelDefinition,
    joined_rows: pa.Table,
    label_table: pa.Table,
    column_name: str,
    order: Literal["ascending", "descending"],
) -> pa.ChunkedArray:
    """Join one column of a row's label to each row: of the label that comes first in this order of known_since."""
    import numpy as np
    import pyarrow as pa

    label_rows = label_table.sort_by([(KNOWN_SINCE_COLUMN, order), (SEQUENCE_COLUMN, order)])
    _, first_positions = np.unique(encode_keys(label_rows, model.keys), return_index=True)
    label_rows = (
        label_rows.take(first_positions)
        .select([*model.keys, column_name])
        .rename_columns([*model.keys, _JOINED_COLUMN])
    )
    rows = joined_rows.select(list(model.keys)).append_column("row", pa.array(range(joined_rows.num_rows), pa.int64()))
    return rows.join(label_rows, keys=list(model.keys), join_type="left outer").sort_by("row").column(_JOINED_COLUMN)


def encode_keys(table: pa.Table, keys: Sequence[str]) -> Array:
    """Number the rows by key: equal keys get equal numbers."""
    import numpy as np

    codes = np.zeros(table.num_rows, dtype=np.int64)
    for key in keys:
        values: Any = table.column(key).combine_chunks()
        dictionary = values.dictionary_encode("encode")
        codes = codes * (len(dictionary.dictionary) + 1) + np.asarray(dictionary.indices)
        _, codes = np.unique(codes, return_inverse=True)
    return codes
