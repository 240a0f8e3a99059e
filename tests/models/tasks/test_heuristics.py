"""A feature as the prediction of the heuristic baseline."""

import numpy as np

from wellspring.models.tasks.heuristics import feature_as_output


def test_missing_values_become_the_median_of_the_train_rows():
    output = feature_as_output(np.array([1.0, np.nan]), np.array([2.0, 4.0, np.nan]))
    assert output.tolist() == [[1.0], [3.0]]


def test_without_train_values_missing_values_become_zero():
    assert feature_as_output(np.array([np.nan]), np.array([np.nan])).tolist() == [[0.0]]
