import numpy as np
import pyarrow as pa
import pytest

from tests.builders.synthetic_world import START, model, table
from wellspring.errors import ProjectError
from wellspring.models.datasets import labels
from wellspring.models.spec.definition import ModelDefinition

ROWS = pa.table({"claim_id": ["a", "b", "c"]})


def label_table(keys: list[str], values: list[bool]) -> pa.Table:
    return table({"claim_id": keys, "is_denied": values}, [START] * len(keys))


def test_the_newest_or_the_first_label_is_joined_and_others_are_null():
    rows = label_table(["a", "b", "a"], [True, True, False])
    assert labels.join_labels(model(), ROWS, rows, "is_denied", "descending").to_pylist() == [False, True, None]
    assert labels.join_labels(model(), ROWS, rows, "is_denied", "ascending").to_pylist() == [True, True, None]
    assert labels.find_present(pa.chunked_array([pa.array([True, None, False])])).tolist() == [True, False, True]
    instants = labels.first_label_instants(model(), ROWS, rows)
    assert instants.tolist() == [int(START.timestamp() * 1e6)] * 2 + [2**63 - 1]


def test_labels_that_the_task_refuses_are_an_error_of_the_project(monkeypatch: pytest.MonkeyPatch):
    numbers = pa.table({"is_denied": pa.array([1.5], pa.float64())})
    with pytest.raises(ProjectError, match=r"claim_label\.is_denied is double; a label must be a bool"):
        labels.require_label_type(model(), numbers)
    definition: ModelDefinition = model()

    def refuse(*_: object) -> None:
        raise ValueError("has 3 values that are not finite")

    monkeypatch.setattr(type(definition.task), "encode_labels", refuse)
    with pytest.raises(ProjectError, match=r"claim_label\.is_denied has 3 values that are not finite"):
        labels.encode_labels(definition, pa.chunked_array([[1.0]]), np.array([0]), np.array([], int))
